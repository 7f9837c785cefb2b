//! Why an operation failed, and what is known of its effect.
//!
//! Kept here: `NotExecuted` is said only of what certainly did not happen and never will. A write
//! of which a single datagram was sent may still be executed when nobody expects it any more.

use std::fmt;
use std::net::SocketAddr;

use crate::kv::command::Excess;
use crate::protocol::message::SnapshotRefusal;

/// Why an operation could not be completed, and whether it may have happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Failure {
    /// What is known of its effect.
    pub outcome: FailureOutcome,
    /// Why.
    pub reason: FailureReason,
}

impl Failure {
    pub(super) fn not_executed(reason: FailureReason) -> Self {
        Failure { outcome: FailureOutcome::NotExecuted, reason }
    }

    pub(super) fn unknown(reason: FailureReason) -> Self {
        Failure { outcome: FailureOutcome::Unknown, reason }
    }
}

/// See [`Failure`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailureOutcome {
    /// It certainly did not happen, and never will.
    NotExecuted,
    /// It may have happened, or may still happen.
    Unknown,
}

/// See [`Failure`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum FailureReason {
    /// The view server, and every other server known, did not answer before the deadline.
    ViewServerSilent(SocketAddr),
    /// There was no primary before the deadline. Says what the view server waits for.
    NoPrimary(String),
    /// The primary (its name and address) did not answer before the deadline.
    PrimarySilent(String),
    /// The session was evicted while the operation was in flight.
    SessionExpired,
    /// Key longer than the limit.
    KeyTooLarge {
        /// Bytes it has.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Value longer than the limit.
    ValueTooLarge {
        /// Bytes it has.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// More keys at once than the limit.
    TooManyKeys {
        /// Keys named.
        count: usize,
        /// Keys allowed.
        limit: usize,
    },
    /// Keys and values together larger than one command may be.
    CommandTooLarge {
        /// Bytes they take.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The list that was to be incremented is not one decimal number.
    NotANumber,
    /// The number that was to be incremented would exceed 64 bits.
    Overflow,
    /// A server has reached its limit of memory.
    OutOfMemory,
    /// All lists cannot be read as they were at the instant of the first page.
    NoSnapshot(SnapshotRefusal),
    /// The client was closed.
    Closed,
    /// Whoever waited for it does so no more. The program `client` says this on Ctrl-C; the library
    /// itself never does.
    GivenUp,
}

impl From<Excess> for FailureReason {
    fn from(excess: Excess) -> Self {
        match excess {
            Excess::Key { size, limit } => FailureReason::KeyTooLarge { size, limit },
            Excess::Value { size, limit } => FailureReason::ValueTooLarge { size, limit },
            Excess::Keys { count, limit } => FailureReason::TooManyKeys { count, limit },
            Excess::Command { size, limit } => FailureReason::CommandTooLarge { size, limit },
        }
    }
}

impl fmt::Display for Failure {
    /// One sentence: what happened, and what is known of the effect.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = match self.outcome {
            FailureOutcome::NotExecuted => "the operation certainly did not happen",
            FailureOutcome::Unknown => {
                "the outcome is unknown: the operation may have happened, or may still happen"
            }
        };
        write!(f, "{}; {known}", self.reason)
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureReason::ViewServerSilent(address) => {
                write!(
                    f,
                    "the view server at {address} did not answer before the deadline (if it has \
                     a key file, the client needs --key-file too)"
                )
            }
            FailureReason::NoPrimary(waiting) => {
                write!(f, "there was no primary before the deadline ({waiting})")
            }
            FailureReason::PrimarySilent(primary) => {
                write!(f, "the primary {primary} did not answer before the deadline")
            }
            FailureReason::SessionExpired => {
                f.write_str("the servers had forgotten the session of this client")
            }
            FailureReason::KeyTooLarge { size, limit } => {
                write!(f, "{}", Excess::Key { size: *size, limit: *limit })
            }
            FailureReason::ValueTooLarge { size, limit } => {
                write!(f, "{}", Excess::Value { size: *size, limit: *limit })
            }
            FailureReason::TooManyKeys { count, limit } => {
                write!(f, "{}", Excess::Keys { count: *count, limit: *limit })
            }
            FailureReason::CommandTooLarge { size, limit } => {
                write!(f, "{}", Excess::Command { size: *size, limit: *limit })
            }
            FailureReason::NotANumber => f.write_str(
                "the list is not one decimal number between -9223372036854775808 and \
                 9223372036854775807",
            ),
            FailureReason::OutOfMemory => f.write_str(
                "a server has reached its limit of memory (--max-memory); what makes the store no \
                 larger is executed, such as a remove",
            ),
            FailureReason::NoSnapshot(SnapshotRefusal::Gone) => f.write_str(
                "the primary does not keep that snapshot any more: another server is primary now, \
                 or nothing was asked of it for half a minute",
            ),
            FailureReason::NoSnapshot(SnapshotRefusal::TooMuchChanged) => f.write_str(
                "more was changed while the snapshot was read than the primary may keep of it",
            ),
            FailureReason::NoSnapshot(SnapshotRefusal::Taken) => {
                f.write_str("another client reads a snapshot; there can be one at a time")
            }
            FailureReason::Overflow => {
                f.write_str("the sum is not between -9223372036854775808 and 9223372036854775807")
            }
            FailureReason::GivenUp => f.write_str("interrupted while waiting for the answer"),
            FailureReason::Closed => f.write_str("the client was closed before the answer came"),
        }
    }
}

impl std::error::Error for Failure {}
