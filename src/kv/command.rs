//! What clients ask for and what becomes of it: the vocabulary of the replicated state machine.
//!
//! An [`Operation`] is a pure function of the state it is applied to: no time, no randomness, no
//! local setting. That is what makes two copies that applied the same operations identical.

use std::fmt;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

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
}

impl Command {
    /// The key that the command is about.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Command::Put { key, .. } | Command::Append { key, .. } | Command::Remove { key } => key,
        }
    }

    /// Whether key and value are within these limits, in bytes.
    #[must_use]
    pub fn fits(&self, key_bytes: usize, value_bytes: usize) -> bool {
        match self {
            Command::Put { key, value } | Command::Append { key, value } => {
                key.0.len() <= key_bytes && value.0.len() <= value_bytes
            }
            Command::Remove { key } => key.0.len() <= key_bytes,
        }
    }

    /// Bytes of text that the command carries.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Command::Put { key, value } | Command::Append { key, value } => {
                key.0.len() + value.0.len()
            }
            Command::Remove { key } => key.0.len(),
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
    /// Nothing was executed, because the session that asked is not (or no longer) known.
    SessionExpired,
}
