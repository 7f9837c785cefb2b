//! The lines that only transports exchange: header, piece, want. None of them is a message.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::types::Incarnation;

/// A want names at most this many ranges; one that names more is answered only this far.
pub(super) const RANGES_MAX: usize = 32;

/// First line of a datagram. The tag, `pbkv`, tells it from any message.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Header {
    /// Checksum of every byte after the header's newline, as our own programs write it.
    #[serde(default)]
    pub sum: Option<u64>,
    /// Another checksum of the same bytes, for programs in languages that have no other at hand.
    #[serde(default)]
    pub crc32: Option<u32>,
}

/// Which checksum a datagram carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Check {
    /// [`checksum`].
    Sum,
    /// The CRC-32 of zlib, gzip and PNG.
    Crc32,
}

impl Header {
    /// The checksum that matches the bytes; none if there is none, or any that is there does not.
    pub(super) fn check(&self, bytes: &[u8]) -> Option<Check> {
        let sum = self.sum.map(|sum| (sum == checksum(bytes), Check::Sum));
        let crc32 = self.crc32.map(|crc32| (crc32 == crc32fast::hash(bytes), Check::Crc32));
        let all_match = [sum, crc32].into_iter().flatten().all(|(matches, _)| matches);
        sum.or(crc32).filter(|_| all_match).map(|(_, check)| check)
    }
}

/// A part of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Piece<'a> {
    /// The sender.
    pub from: Incarnation,
    /// Checksum of the whole message's bytes.
    pub id: u64,
    /// Bytes of the whole message.
    pub length: usize,
    /// Where the body begins in it.
    pub offset: usize,
    /// The part itself: JSON text, escaped once more.
    #[serde(borrow)]
    pub body: Cow<'a, str>,
}

/// Asks for parts of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Want {
    /// Who asks.
    pub from: Incarnation,
    /// The process that had the message; another one at the same address does not answer.
    pub to: Incarnation,
    /// As in [`Piece`].
    pub id: u64,
    /// First byte and the byte after the last one, of each part.
    pub ranges: Vec<(usize, usize)>,
}

/// Puts the tags before the fields.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Piece(&'a Piece<'a>),
    Want(&'a Want),
}

/// Appends the piece to `out`, without a newline.
pub(super) fn encode_piece(piece: &Piece<'_>, out: &mut Vec<u8>) {
    encode(&Line::Piece(piece), out);
}

/// Appends the want to `out`, without a newline.
pub(super) fn encode_want(want: &Want, out: &mut Vec<u8>) {
    encode(&Line::Want(want), out);
}

fn encode(line: &Line<'_>, out: &mut Vec<u8>) {
    serde_json::to_writer(out, line).expect("numbers and text, and a vector takes every byte");
}

/// Guards datagrams and names messages.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}
