//! Messages to JSON lines and back.
//!
//! Kept here: whatever bytes arrive, decoding ends in a message or in a [`DecodeError`], never in a
//! panic, and costs no more than reading the line twice. The tag is found first and then the one
//! right struct is read; serde's own tagged enums would buffer every field before that. What is sent
//! all the time has a shorter way (`usual`), which knows nothing that serde does not.
//!
//! Not here: checksums, pieces, and who may send what (see `transport`).

mod usual;

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use thiserror::Error;

use crate::protocol::message::Message;

/// How every line of our own programs begins.
const TAG_PREFIX: &str = "{\"type\":\"";

/// Why a line is not a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum DecodeError {
    /// Not UTF-8, or not a JSON object.
    #[error("not a JSON object")]
    NotJson,
    /// An object of a type that this program does not know.
    #[error("unknown type")]
    UnknownType,
    /// The type is missing, or a field of it is missing, twice there, or of a wrong kind.
    #[error("a field is missing or malformed")]
    Malformed,
}

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            Category::Io | Category::Syntax | Category::Eof => DecodeError::NotJson,
            Category::Data => DecodeError::Malformed,
        }
    }
}

/// Appends the message to `out`: one JSON object, `"type"` first, no newline in or after it.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    if !usual::encode(message, out) {
        serde_json::to_writer(out, message)
            .expect("messages have no map and no float, and a vector takes every byte");
    }
}

/// Reads one line. Blanks around the object and fields it does not know are ignored.
///
/// # Errors
/// When the line is anything but a message; see [`DecodeError`].
pub fn decode(line: &[u8]) -> Result<Message, DecodeError> {
    let line = std::str::from_utf8(line).map_err(|_| DecodeError::NotJson)?;
    decode_tagged(&tag(line)?, line)
}

/// The `"type"` of a line. When it comes first, as our own programs write it, the rest of the line
/// is not looked at, and may still turn out to be no JSON.
///
/// # Errors
/// When the line is no JSON object, or has no type.
pub(super) fn tag(line: &str) -> Result<Cow<'_, str>, DecodeError> {
    if let Some(rest) = line.strip_prefix(TAG_PREFIX)
        && let Some(end) = rest.find(['"', '\\'])
        && rest.as_bytes()[end] == b'"'
    {
        return Ok(Cow::Borrowed(&rest[..end]));
    }

    #[derive(Deserialize)]
    struct Tag<'a> {
        #[serde(borrow, rename = "type")]
        name: Cow<'a, str>,
    }
    // serde would take the elements of an array for the fields of a struct.
    if !line.trim_ascii_start().starts_with('{') {
        return Err(DecodeError::NotJson);
    }
    Ok(serde_json::from_str::<Tag<'_>>(line)?.name)
}

/// Reads a line whose tag has been found.
///
/// # Errors
/// As [`decode`].
pub(super) fn decode_tagged(tag: &str, line: &str) -> Result<Message, DecodeError> {
    usual::decode(tag, line).map_or_else(|| decode_by_serde(tag, line), Ok)
}

fn decode_by_serde(tag: &str, line: &str) -> Result<Message, DecodeError> {
    Ok(match tag {
        "get_view" => Message::GetView(read(line)?),
        "view" => Message::ViewAnswer(read(line)?),
        "client_request" => Message::ClientRequest(read(line)?),
        "success" => Message::Success(read(line)?),
        "fail" => Message::Fail(read(line)?),
        "ping" => Message::Probe(read(line)?),
        "pong" => Message::ProbeAnswer(read(line)?),
        "online" => Message::Announce(read(line)?),
        "refused" => Message::Refused(read(line)?),
        "view_ping" => Message::Ping(read(line)?),
        "view_pong" => Message::Pong(read(line)?),
        "replicate" => Message::Replicate(read(line)?),
        "ack" => Message::Ack(read(line)?),
        "newer_view" => Message::NewerView(read(line)?),
        "offer" => Message::Offer(read(line)?),
        "verdict" => Message::Verdict(read(line)?),
        "transfer" => Message::Transfer(read(line)?),
        "transfer_ack" => Message::TransferAck(read(line)?),
        "view_request" => Message::ViewRequest(read(line)?),
        "view_reply" => Message::ViewReply(read(line)?),
        "request" => Message::Request(read(line)?),
        "reply" => Message::Reply(read(line)?),
        "get_status" => Message::StatusRequest(read(line)?),
        "status" => Message::StatusReply(read(line)?),
        _ => {
            serde_json::from_str::<IgnoredAny>(line)?;
            return Err(DecodeError::UnknownType);
        }
    })
}

fn read<T: DeserializeOwned>(line: &str) -> Result<T, DecodeError> {
    Ok(serde_json::from_str(line)?)
}

#[cfg(test)]
mod tests;
