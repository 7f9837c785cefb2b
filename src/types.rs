//! The identities that every other module speaks of, as newtypes, so that an operation number can
//! never be passed where a view number is meant.
//!
//! Kept here: identity is `(id, incarnation)`. Memory lost means a new incarnation, and a restarted
//! process is a different server that holds nothing, however fast it came back.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de};
use twox_hash::XxHash3_64;

/// The name of a server, as the operator types it (`s1`). It survives restarts; what a process
/// remembers does not, so a name alone never proves that anything is held. What is read from the
/// network or a file is a name that [`check_id`] allows, or not read at all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ServerId(pub Arc<str>);

impl<'de> Deserialize<'de> for ServerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Arc::<str>::deserialize(deserializer)?;
        check_id(&name).map_err(de::Error::custom)?;
        Ok(ServerId(name))
    }
}

/// The longest name of a server, in bytes.
const ID_BYTES_MAX: usize = 64;

/// Whether a server may bear this name. Names stand in lines that people and scripts read, so they
/// hold no blanks, and none of them is `none`, which is what `view` prints for a missing member.
///
/// # Errors
/// What is wrong with the name.
pub fn check_id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("the name of a server cannot be empty".to_owned());
    }
    if id == "none" {
        return Err("the name \"none\" means a missing server".to_owned());
    }
    if id.len() > ID_BYTES_MAX {
        return Err(format!("the name of a server has at most {ID_BYTES_MAX} bytes"));
    }
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    match id.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(format!(
            "the name of a server holds letters, digits, '-', '_' and '.' only, not {c:?}"
        )),
        None => Ok(()),
    }
}

impl From<&str> for ServerId {
    fn from(name: &str) -> Self {
        ServerId(name.into())
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 64 random bits drawn when a process starts (SWIM's incarnation, without the refutation).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The one under which a process begins again without being started again: as good as drawn
    /// anew, and the same wherever the same process is simulated.
    #[must_use]
    pub fn next(self) -> Incarnation {
        Incarnation(XxHash3_64::oneshot(&self.0.to_le_bytes()))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Names one history of operations. Drawn once, when a cluster first starts; a server that holds a
/// copy of another history is never promoted, joined or wiped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HistoryId(pub u64);

/// The largest number that is read of anything that is counted: no process counts so far in a
/// thousand years, and one more, or the sum of two, is still a number. What claims more is damaged
/// or forged, and not decoded.
pub const COUNT_MAX: u64 = 1 << 62;

/// Reads a number that was counted to.
fn counted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let count = u64::deserialize(deserializer)?;
    if count > COUNT_MAX {
        return Err(de::Error::custom("nobody has counted so far"));
    }
    Ok(count)
}

/// Orders what different view servers decide within one history. A new one is drawn when the
/// durable record was lost and when the operator gives up all data (`reset`).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Epoch(
    /// Greater than the counter of every epoch its author had heard of. No greater than
    /// [`COUNT_MAX`].
    #[serde(deserialize_with = "counted")]
    pub u64,
    /// The incarnation of the view server that drew it: two authors never draw the same epoch.
    pub u64,
);

/// Names a view: one number has one content, for ever. Ordered by epoch, then number.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct ViewId {
    /// The epoch the number belongs to.
    pub epoch: Epoch,
    /// Rises by at least one with every view.
    #[serde(deserialize_with = "counted")]
    pub number: u64,
}

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch.0, self.number)
    }
}

/// The position of an operation in the history. The first operation is number 1; 0 means "none yet".
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct OperationNumber(#[serde(deserialize_with = "counted")] pub u64);

impl OperationNumber {
    /// The number that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        OperationNumber(self.0 + 1)
    }
}

impl fmt::Display for OperationNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names a session: the epoch and the number of the operation that opened it, so that no two
/// sessions of a history ever share a name.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct SessionId(
    /// Epoch in which the session was opened.
    pub Epoch,
    /// Operation that opened it.
    pub OperationNumber,
);

/// Numbers the writes of one session from 1, without gaps. 0 means "none yet". Reads have none.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RequestNumber(#[serde(deserialize_with = "counted")] pub u64);

impl RequestNumber {
    /// The number that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        RequestNumber(self.0 + 1)
    }
}

/// Matches an answer to what a client asked. Unique within a client's incarnation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// Matches an answer to a command that a local caller gave to its own process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_have_counted_to_is_not_read() {
        for text in [u64::MAX.to_string(), (COUNT_MAX + 1).to_string()] {
            assert!(serde_json::from_str::<OperationNumber>(&text).is_err(), "{text}");
            assert!(serde_json::from_str::<RequestNumber>(&text).is_err(), "{text}");
            assert!(serde_json::from_str::<Epoch>(&format!("[{text},1]")).is_err(), "{text}");
            let view = format!(r#"{{"epoch":[1,1],"number":{text}}}"#);
            assert!(serde_json::from_str::<ViewId>(&view).is_err(), "{text}");
        }
        let most = format!("[{COUNT_MAX},{}]", u64::MAX);
        assert_eq!(serde_json::from_str::<Epoch>(&most).unwrap(), Epoch(COUNT_MAX, u64::MAX));
        assert!(COUNT_MAX.checked_add(COUNT_MAX).is_some());
    }
}
