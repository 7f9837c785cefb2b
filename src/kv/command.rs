//! What clients ask for and what becomes of it: the vocabulary of the replicated state machine.
//!
//! An [`Operation`] is a pure function of the state it is applied to: no time, no randomness, no
//! local setting. That is what makes two copies that applied the same operations identical.

use std::fmt;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::config::Limits;
use crate::types::{RequestNumber, SessionId};

/// A key: any UTF-8 text, the empty string included. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub SmolStr);

/// One element of a list: any UTF-8 text, the empty string included. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(pub ArcStr);

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Key(text.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value(text.into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A change to the store.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The value becomes the one-element list `[value]`.
    Put {
        /// Which list.
        key: Key,
        /// Its only element from now on.
        value: Value,
    },
    /// The value joins the end of the list; a missing key starts a new one.
    Append {
        /// Which list.
        key: Key,
        /// Its new last element.
        value: Value,
    },
    /// The key is missing afterwards, whether or not it was there.
    Remove {
        /// Which list.
        key: Key,
    },
    /// The list is replaced if it is, as a whole, the expected one.
    Cas(Box<Cas>),
    /// The one element, a decimal number, grows; a missing key counts as 0.
    Incr {
        /// Which list.
        key: Key,
        /// By how much; may be negative.
        by: i64,
    },
    /// Every key gets its list, all at once and in this order; a list without elements makes its
    /// key missing.
    Mput {
        /// The keys and their lists.
        entries: Vec<(Key, Vec<Value>)>,
    },
    /// Nothing. In the place of a command for which the primary had no memory left: the request has
    /// its number and its result like any other, and no late copy of it is executed when there is
    /// room again.
    Refused,
}

/// See [`Command::Cas`]. A list without elements is a missing key, like none.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Cas {
    /// Which list.
    pub key: Key,
    /// What it must be, as a whole; none for a missing key.
    pub old: Option<Vec<Value>>,
    /// What it becomes; none for a missing key.
    pub new: Option<Vec<Value>>,
}

impl Cas {
    /// The elements of both lists.
    fn values(&self) -> impl Iterator<Item = &Value> {
        self.old.iter().chain(&self.new).flatten()
    }
}

/// Which limit a command exceeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Excess {
    /// A key is longer, in bytes, than allowed.
    Key {
        /// Bytes it has.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A value is longer, in bytes, than allowed.
    Value {
        /// Bytes it has.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The command names more keys than allowed.
    Keys {
        /// Keys it names.
        count: usize,
        /// Keys allowed.
        limit: usize,
    },
    /// All of it together is more than one message may carry.
    Command {
        /// Bytes it takes.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excess::Key { size, limit } => {
                write!(f, "the key has {size} bytes, and at most {limit} are allowed")
            }
            Excess::Value { size, limit } => {
                write!(f, "the value has {size} bytes, and at most {limit} are allowed")
            }
            Excess::Keys { count, limit } => {
                write!(f, "{count} keys are named at once, and at most {limit} are allowed")
            }
            Excess::Command { size, limit } => write!(
                f,
                "keys and values together take {size} bytes, and at most {limit} are allowed in \
                 one command"
            ),
        }
    }
}

/// What an element of a list takes in a message beside its text, roughly.
const ELEMENT: usize = 16;

fn check_key(key: &Key, limits: &Limits) -> Result<(), Excess> {
    let (size, limit) = (key.0.len(), limits.key_bytes);
    if size > limit { Err(Excess::Key { size, limit }) } else { Ok(()) }
}

fn check_value(value: &Value, limits: &Limits) -> Result<(), Excess> {
    let (size, limit) = (value.0.len(), limits.value_bytes);
    if size > limit { Err(Excess::Value { size, limit }) } else { Ok(()) }
}

/// Whether so many bytes, in so many keys, can be one command.
fn check_whole(size: usize, count: usize, limits: &Limits) -> Result<(), Excess> {
    let limit = limits.keys_per_command;
    if count > limit {
        return Err(Excess::Keys { count, limit });
    }
    let limit = limits.command_bytes();
    if size > limit { Err(Excess::Command { size, limit }) } else { Ok(()) }
}

/// Whether these keys can be named at once.
///
/// # Errors
/// With the limit that they exceed.
pub fn check_keys(keys: &[Key], limits: &Limits) -> Result<(), Excess> {
    keys.iter().try_for_each(|key| check_key(key, limits))?;
    let size = keys.iter().map(|key| ELEMENT + key.0.len()).sum();
    check_whole(size, keys.len(), limits)
}

impl Command {
    /// Whether all parts of the command, and the whole, are within the limits.
    ///
    /// # Errors
    /// With the limit that it exceeds.
    pub fn check(&self, limits: &Limits) -> Result<(), Excess> {
        match self {
            Command::Put { key, value } | Command::Append { key, value } => {
                check_key(key, limits)?;
                check_value(value, limits)
            }
            Command::Remove { key } | Command::Incr { key, .. } => check_key(key, limits),
            Command::Refused => Ok(()),
            Command::Cas(cas) => {
                check_key(&cas.key, limits)?;
                cas.values().try_for_each(|value| check_value(value, limits))?;
                check_whole(self.size(), 1, limits)
            }
            Command::Mput { entries } => {
                for (key, values) in entries {
                    check_key(key, limits)?;
                    values.iter().try_for_each(|value| check_value(value, limits))?;
                }
                check_whole(self.size(), entries.len(), limits)
            }
        }
    }

    /// Bytes that the command takes, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        let element = |value: &Value| ELEMENT + value.0.len();
        match self {
            Command::Put { key, value } | Command::Append { key, value } => {
                key.0.len() + value.0.len()
            }
            Command::Remove { key } | Command::Incr { key, .. } => key.0.len(),
            Command::Refused => 0,
            Command::Cas(cas) => cas.key.0.len() + cas.values().map(element).sum::<usize>(),
            Command::Mput { entries } => entries
                .iter()
                .map(|(key, values)| key.0.len() + values.iter().map(element).sum::<usize>())
                .sum(),
        }
    }
}

/// Which request of which session an operation executes, so that it is executed once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The session that asked.
    pub session: SessionId,
    /// The request's number in the session.
    pub number: RequestNumber,
    /// Every request up to this one has been answered to the client; their results can go.
    pub acknowledged: RequestNumber,
}

/// One entry of the history: what is replicated, in order, to the backup.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Opens a session. Its id is the epoch given here and the operation's own number.
    Open {
        /// Drawn by the client; while the session lives, a repeated `open` returns the same one.
        nonce: u64,
        /// First part of the session's id.
        epoch: crate::types::Epoch,
        /// The number of sessions that may be left afterwards; the least recently used ones go.
        /// It rides in the operation so that both copies evict the same ones.
        capacity: u64,
    },
    /// Executes a command.
    Write {
        /// The request it executes; none for the plain form, which is executed once a datagram.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        origin: Option<Origin>,
        /// What changes.
        command: Command,
    },
}

impl Operation {
    /// Bytes that the operation takes in a buffer, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Operation::Open { .. } => 64,
            Operation::Write { command, .. } => 96 + command.size(),
        }
    }
}

/// What became of an operation. Part of the replicated state: a repeated request gets the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationResult {
    /// The session is open.
    Opened(SessionId),
    /// The command was executed.
    Done,
    /// An `incr` was executed; this is the number now.
    Number(i64),
    /// Nothing was changed by a `cas`: the list is another one, of so many elements; 0 for a missing
    /// key.
    Mismatch(u64),
    /// Nothing was changed by an `incr`: the list is not one decimal number.
    NotANumber,
    /// Nothing was changed by an `incr`: the sum is beyond 64 bits.
    Overflow,
    /// Nothing was executed, because a server has reached its limit of memory.
    OutOfMemory,
    /// Nothing was executed, because the session that asked is not (or no longer) known.
    SessionExpired,
}
