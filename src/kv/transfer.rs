//! What a state transfer carries.
//!
//! Items are *effects*: applied in order and without a session check they rebuild a copy.

use serde::{Deserialize, Serialize};

use crate::kv::command::{Key, Value};
use crate::kv::session::SessionState;
use crate::types::{OperationNumber, SessionId};

/// One effect.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// Elements of a list. `start` 0 replaces whatever the joiner has under the key; any other must
    /// be the length that it has.
    List {
        /// Which list.
        key: Key,
        /// The operation that began the list.
        generation: OperationNumber,
        /// Index of the first element here.
        start: u64,
        /// The elements.
        values: Vec<Value>,
    },
    /// The key is missing from now on.
    Gone {
        /// Which list.
        key: Key,
    },
    /// A session as it is now, in place of what the joiner has of it.
    Session(SessionState),
    /// The session was evicted.
    SessionGone(SessionId),
    /// The copy is complete: it is the primary's at this operation.
    End {
        /// The last operation whose effects are in the copy.
        applied: OperationNumber,
        /// Digest of the primary's state there.
        digest: u64,
    },
}
