//! What can be wrong with the history of a key, and how it is said.

use super::Value;

/// What is wrong. Each speaks of the operations that an [`Explanation`](super::Explanation) lists,
/// in that order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Two operations append the same value, so that nobody can tell what a read saw.
    WrittenTwice(Value),
    /// Something else than appends and reads, where only those are allowed.
    NotAppendOnly,
    /// A read shows a value that no operation wrote.
    NeverWritten(Value),
    /// A read shows a value twice that was written once.
    ExecutedTwice(Value),
    /// A read does not begin with what a shorter one showed, although the list only grows.
    NoPrefix,
    /// The lists that were read fix an order that contradicts the times.
    OutOfOrder,
    /// An operation does not follow an earlier one of the same process.
    ProcessOrder,
    /// Two reads show different values before the same one.
    TwoPlaces(Value),
    /// Two reads show different values behind the same one.
    TwoSuccessors(Value),
    /// A read shows the value of a put behind another one.
    PutBehind(Value),
    /// The search tried every order, and no one fits.
    NoOrder,
}

impl Reason {
    /// One sentence without a full stop, in which `(1)` and `(2)` stand for the operations.
    #[must_use]
    pub fn sentence(self, name: impl Fn(Value) -> String) -> String {
        match self {
            Reason::WrittenTwice(value) => {
                format!("{} is appended by two operations, (1) and (2)", name(value))
            }
            Reason::NotAppendOnly => "(1) does not belong into an append-only history".to_owned(),
            Reason::NeverWritten(value) => {
                format!("{} was read by (1) but never written", name(value))
            }
            Reason::ExecutedTwice(value) => {
                format!("{} occurs twice in what (1) read: it was executed twice", name(value))
            }
            Reason::NoPrefix => "what (1) read is no beginning of what (2) read, although the \
                                 list only grows"
                .to_owned(),
            Reason::OutOfOrder => "what was read shows that (1) took effect before (2), although \
                                   (2) had been answered before (1) was called"
                .to_owned(),
            Reason::ProcessOrder => {
                "(1) does not follow (2), which the same process called before".to_owned()
            }
            Reason::TwoPlaces(value) => {
                format!("(1) and (2) read {} behind different values", name(value))
            }
            Reason::TwoSuccessors(value) => {
                format!("(1) and (2) read different values behind {}", name(value))
            }
            Reason::PutBehind(value) => {
                format!("(1) read {}, which was put, behind another value", name(value))
            }
            Reason::NoOrder => "no order of the operations that fits their times explains what \
                                was read; the search got as far as (1)"
                .to_owned(),
        }
    }
}
