//! Messages that did not fit into one datagram, kept until their receivers have fetched them
//! (counterpart: `assembly`).
//!
//! Kept here: what is remembered is bounded in bytes and in age, and the message that was used
//! least recently goes first. A receiver that still wants one that is gone gets it with the next
//! retransmission of the whole.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::packing::{self, Packer};
use super::wire::{self, Piece, RANGES_MAX};
use crate::time::Timestamp;
use crate::types::Incarnation;

/// A message that nobody has asked for, or sent again, for so long is forgotten.
const AGE_MAX: Duration = Duration::from_secs(10);

/// What is pushed without having been asked for: enough for most messages, and for a receiver's
/// buffer however many senders there are.
const PUSH_BYTES: usize = 64 << 10;
const PUSH_PIECES: u64 = 2;

/// What one want is answered with at most: what an honest one asks for.
pub(super) const WANT_BYTES_MAX: usize = 256 << 10;

/// How much of a message leaves before it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Push {
    /// It is new: the first bytes.
    Start,
    /// It was sent before: a reminder, from which the receiver continues.
    Reminder,
}

/// Messages that may be asked for.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    messages: BTreeMap<(SocketAddr, u64), Remembered>,
    /// The same keys, least recently used first.
    by_use: BTreeMap<u64, (SocketAddr, u64)>,
    /// Numbers uses.
    uses: u64,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Clone, Debug)]
struct Remembered {
    text: String,
    used_at: Timestamp,
    /// Its place in `by_use`.
    used: u64,
}

impl Outgoing {
    pub(super) fn new(bytes_max: usize) -> Self {
        Outgoing {
            messages: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// Remembers a message, which must not exceed the bound by itself.
    pub(super) fn remember(
        &mut self,
        now: Timestamp,
        to: SocketAddr,
        id: u64,
        text: String,
    ) -> Push {
        if self.messages.get(&(to, id)).is_some_and(|known| known.text == text) {
            return Push::Reminder;
        }
        self.forget((to, id));
        while self.bytes + text.len() > self.bytes_max
            && let Some((_, &oldest)) = self.by_use.first_key_value()
        {
            self.forget(oldest);
        }
        self.bytes += text.len();
        self.uses += 1;
        self.by_use.insert(self.uses, (to, id));
        self.messages.insert((to, id), Remembered { text, used_at: now, used: self.uses });
        Push::Start
    }

    /// The message, if it is remembered for this destination. Counts as a use.
    pub(super) fn recall(&mut self, now: Timestamp, to: SocketAddr, id: u64) -> Option<&str> {
        let message = self.messages.get_mut(&(to, id))?;
        self.by_use.remove(&message.used);
        self.uses += 1;
        self.by_use.insert(self.uses, (to, id));
        message.used = self.uses;
        message.used_at = now;
        Some(&message.text)
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some((at, oldest)) = self.oldest()
            && at + AGE_MAX <= now
        {
            self.forget(oldest);
        }
    }

    /// When something will be too old.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.oldest().map(|(at, _)| at + AGE_MAX)
    }

    /// Bytes that are remembered.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let bytes: usize = self.messages.values().map(|message| message.text.len()).sum();
        assert_eq!(self.bytes, bytes);
        assert_eq!(self.messages.len(), self.by_use.len());
        self.bytes
    }

    fn oldest(&self) -> Option<(Timestamp, (SocketAddr, u64))> {
        let (_, key) = self.by_use.first_key_value()?;
        Some((self.messages[key].used_at, *key))
    }

    fn forget(&mut self, key: (SocketAddr, u64)) {
        if let Some(message) = self.messages.remove(&key) {
            self.by_use.remove(&message.used);
            self.bytes -= message.text.len();
        }
    }
}

/// Cuts one message into pieces.
pub(super) struct PieceWriter<'a> {
    pub from: Incarnation,
    pub id: u64,
    pub text: &'a str,
    pub to: SocketAddr,
    /// Bytes of the largest datagram to `to`.
    pub limit: usize,
    pub packer: &'a mut Packer,
}

impl PieceWriter<'_> {
    /// Sends the beginning of the message. Returns the number of pieces.
    pub(super) fn push_first(&mut self, push: Push) -> u64 {
        let pieces = match push {
            Push::Start => PUSH_PIECES,
            Push::Reminder => 1,
        };
        let end = ceil(self.text, PUSH_BYTES.min(self.text.len()));
        self.push_range(0, end, pieces)
    }

    /// Sends the parts that were asked for, and takes them off `allowance`. Returns the number of
    /// pieces.
    pub(super) fn push_ranges(&mut self, ranges: &[(usize, usize)], allowance: &mut usize) -> u64 {
        let mut left = WANT_BYTES_MAX.min(*allowance);
        let granted = left;
        let mut pieces = 0;
        for &(start, end) in ranges.iter().take(RANGES_MAX) {
            let end = end.min(start.saturating_add(left));
            if start >= end || end > self.text.len() {
                continue;
            }
            left -= end - start;
            // Whoever asks counts in bytes and need not know where a character begins.
            pieces += self.push_range(floor(self.text, start), ceil(self.text, end), u64::MAX);
        }
        *allowance -= granted - left;
        pieces
    }

    /// Sends `text[start..end]`, or the first part of it, in at most so many pieces.
    fn push_range(&mut self, start: usize, end: usize, pieces_max: u64) -> u64 {
        let mut piece = Piece {
            from: self.from,
            id: self.id,
            length: self.text.len(),
            // The widest one, to measure with.
            offset: self.text.len(),
            body: Cow::Borrowed(""),
        };
        let mut empty = Vec::new();
        wire::encode_piece(&piece, &mut empty);
        let room = packing::room(self.limit).saturating_sub(empty.len());

        let mut offset = start;
        let mut pieces = 0;
        while offset < end && pieces < pieces_max {
            let cut = cut(self.text, offset, end, room);
            if cut <= offset {
                break;
            }
            piece.offset = offset;
            piece.body = Cow::Borrowed(&self.text[offset..cut]);
            self.packer.push_checked(self.to, |bytes| wire::encode_piece(&piece, bytes));
            pieces += 1;
            offset = cut;
        }
        pieces
    }
}

/// Where to end a piece that begins at `start`, so that its body takes at most `room` bytes once
/// it is escaped. Both ends must be, and the result is, at the beginning of a character.
fn cut(text: &str, start: usize, end: usize, room: usize) -> usize {
    // The text is JSON that serde_json wrote: control characters are escaped in it already.
    let escaped =
        |part: &[u8]| part.len() + part.iter().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    let bytes = text.as_bytes();
    let mut left = room;
    let mut at = start;
    // Long strides first; the counting is what costs.
    for stride in [256, 1] {
        while at < end {
            let next = end.min(at + stride);
            let size = escaped(&bytes[at..next]);
            if size > left {
                break;
            }
            left -= size;
            at = next;
        }
    }
    floor(text, at)
}

/// The beginning of the character that `at` is in.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The end of the character that `at` is in.
fn ceil(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}
