//! Messages to datagrams and back.
//!
//! * Messages of our own programs to the same destination share datagrams. Such a datagram opens
//!   with a header line that carries a checksum of everything after it.
//! * Plain messages, which have no checksum, travel alone.
//! * A message that is too large for one datagram becomes *pieces*. The sender pushes the first
//!   ones and remembers the message; the receiver asks for the rest (*want*) at the pace at which
//!   it takes them in. Nothing is lost with a lost piece, and no receiver is flooded.
//!
//! ```text
//! {"type":"pbkv","sum":  1234567890}   (the 64-bit XXH3 of every byte after this line)
//! {"type":"piece","from":7,"id":99,"length":70000,"offset":0,"body":"{\"type\":\"transfer\",..."}
//! {"type":"want","from":8,"to":7,"id":99,"ranges":[[57000,70000]]}
//! ```
//!
//! A program in another language may have no XXH3 at hand. A header may say `"crc32"` instead, the
//! CRC-32 of zlib over the same bytes, and what goes back to that address says it as well. Either
//! finds what a network damages that UDP's own checksum lets through: CRC-32 every burst of up to
//! 32 bits and all but one in four billion of anything else, XXH3 all but one in 2^64 of whatever
//! it is. Neither stops an attacker. The ids of pieces stay XXH3: a receiver that cannot compute it
//! takes an id for a name, and every piece is covered by the checksum of its datagram.
//!
//! Kept here: what is not plain is delivered only if a checksum covered every byte of it; a message
//! id names one byte sequence (it is its hash), and pieces are joined only by sender incarnation,
//! id, length and that hash (rule 10). Every buffer is bounded.
//!
//! Not here: whether a message arrives. Whoever needs an answer sends the same message again; the
//! same bytes find what is left of the first attempt at both ends. No sockets, no clock.
//!
//! Reading order: `packing`, `wire`, `proof`, `outgoing`, `assembly`.

mod assembly;
mod outgoing;
mod packing;
mod proof;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;

use crate::config::Limits;
use crate::protocol::codec::{self, DecodeError};
use crate::protocol::message::Message;
use crate::time::Timestamp;
use crate::types::Incarnation;

use assembly::Assemblies;
use outgoing::{Outgoing, PieceWriter};
use packing::{Opened, Packer};
use proof::{PROOF_BYTES, Retry};
use wire::{Check, Piece, Want, checksum};

pub use proof::Secret;

/// The largest payload that IPv4 and UDP can carry.
const UDP_BYTES_MAX: usize = 65_507;

/// A piece needs room for its own fields, whatever the configured limit is.
const DATAGRAM_BYTES_MIN: usize = 512;

/// Pieces that answer wants between two flushes, in bytes. A receiver that is passed over asks
/// again.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Bytes for one `sendto`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Datagram {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// What has happened since the start. None of it needs attention by itself: the network may lose
/// and damage whatever it likes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Counters {
    /// Datagrams handed out by flushes.
    pub datagrams_sent: u64,
    /// Datagrams received, whatever became of them.
    pub datagrams_received: u64,
    /// Bytes in the datagrams handed out by flushes.
    pub bytes_sent: u64,
    /// Bytes in the datagrams received.
    pub bytes_received: u64,
    /// Datagrams whose checksum did not match.
    pub dropped_checksum: u64,
    /// Datagrams or lines that could not be decoded.
    pub dropped_undecodable: u64,
    /// Lines of a type that is not known here.
    pub dropped_unknown_type: u64,
    /// Lines that came without a checksum and need one.
    pub dropped_unchecked: u64,
    /// Datagrams from an address that has not proven that somebody receives there.
    pub dropped_unproven: u64,
    /// Proofs that others asked for, and that are repeated from then on.
    pub proofs_learned: u64,
    /// Messages, sent or announced by a first piece, that exceed what can be carried.
    pub dropped_too_large: u64,
    /// Pieces sent.
    pub pieces_sent: u64,
    /// Pieces received, whether or not they were of use.
    pub pieces_received: u64,
    /// Requests for pieces sent.
    pub wants_sent: u64,
    /// Requests for pieces received, whether or not they could be answered.
    pub wants_received: u64,
    /// Messages put together from pieces.
    pub assemblies_completed: u64,
    /// Unfinished messages given up, because the sender fell silent or to make room.
    pub assemblies_expired: u64,
    /// First pieces ignored for want of room.
    pub assemblies_refused: u64,
    /// Messages whose pieces were all there and did not add up to what the sender had.
    pub assemblies_damaged: u64,
}

/// Packs messages into datagrams, and puts messages together from datagrams.
///
/// The driver calls [`Transport::receive`] and [`Transport::send`] as often as it likes and then
/// [`Transport::flush`]; both also make it ask [`Transport::poll_timeout`] anew. A flush follows
/// [`Transport::handle_timeout`] too.
#[derive(Clone, Debug)]
pub struct Transport {
    incarnation: Incarnation,
    limits: Limits,
    /// The latest time that any call named, for flushes, which name none.
    now: Timestamp,
    /// The message that is being encoded; kept for its memory.
    line: Vec<u8>,
    packer: Packer,
    outgoing: Outgoing,
    assemblies: Assemblies,
    /// Whether what is received now comes from a client; see [`Transport::set_client`].
    is_client: bool,
    /// Whether addresses must prove themselves; see [`proof`].
    secret: Option<Secret>,
    /// What is left of [`ANSWER_BYTES_MAX`] until the next flush.
    answer_bytes: usize,
    counters: Counters,
}

impl Transport {
    /// A transport of the process with this incarnation.
    #[must_use]
    pub fn new(incarnation: Incarnation, limits: Limits) -> Self {
        Transport {
            incarnation,
            limits,
            now: Timestamp::ZERO,
            line: Vec::new(),
            packer: Packer::default(),
            outgoing: Outgoing::new(limits.assembly_bytes),
            assemblies: Assemblies::new(limits.message_bytes, limits.assembly_bytes),
            is_client: false,
            secret: None,
            answer_bytes: ANSWER_BYTES_MAX,
            counters: Counters::default(),
        }
    }

    /// Takes nothing from an address before it has proven that somebody receives there, with what
    /// this secret makes of it. For servers whose datagrams prove nothing by themselves.
    #[must_use]
    pub fn demanding_proof(self, secret: Secret) -> Self {
        Transport { secret: Some(secret), ..self }
    }

    /// Queues a message; it shares a datagram with others to the same destination.
    pub fn send(&mut self, now: Timestamp, to: SocketAddr, message: &Message) {
        self.now = self.now.max(now);
        self.line.clear();
        codec::encode(message, &mut self.line);
        if message.is_plain() {
            if self.line.len() > UDP_BYTES_MAX {
                self.counters.dropped_too_large += 1;
            } else {
                self.packer.push_plain(to, &self.line);
            }
            return;
        }
        let limit = self.datagram_bytes_to(to);
        if packing::fits(self.line.len(), limit) {
            self.packer.append(to, &self.line, limit);
        } else {
            self.send_in_pieces(to, limit);
        }
    }

    /// Takes out every datagram that is ready, in the order of the sends.
    pub fn flush(&mut self, out: &mut Vec<Datagram>) {
        self.send_wants();
        self.answer_bytes = ANSWER_BYTES_MAX;
        let before = out.len();
        self.packer.flush(out);
        self.counters.datagrams_sent += (out.len() - before) as u64;
        let bytes: usize = out[before..].iter().map(|datagram| datagram.bytes.len()).sum();
        self.counters.bytes_sent += bytes as u64;
    }

    /// Gives back datagrams that have been sent, so that their memory is used again. Optional.
    pub fn recycle(&mut self, sent: &mut Vec<Datagram>) {
        self.packer.recycle(sent);
    }

    /// Whether the next datagrams are proven to come from clients. Their pieces are never joined
    /// with those of servers: a message that a server completes is the server's as a whole.
    pub fn set_client(&mut self, is_client: bool) {
        self.is_client = is_client;
    }

    /// A datagram has arrived: appends the messages that are complete now. Whatever it needs to
    /// send in return leaves with the next flush.
    pub fn receive(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        bytes: &[u8],
        out: &mut Vec<Message>,
    ) {
        self.now = self.now.max(now);
        self.counters.datagrams_received += 1;
        self.counters.bytes_received += bytes.len() as u64;
        let (body, check) = match packing::open(bytes) {
            Opened::Checked(body, check) => (body, Some(check)),
            Opened::Unchecked => (bytes, None),
            Opened::Damaged => {
                self.counters.dropped_checksum += 1;
                return;
            }
        };
        if check.is_none()
            && let Some(retry) = proof::retry_in(bytes)
        {
            self.counters.proofs_learned += u64::from(self.packer.learn_proof(from, retry));
            return;
        }
        if !self.is_proven(from, body) {
            self.counters.dropped_unproven += 1;
            self.ask_for_proof(from, bytes.len(), body, check);
            return;
        }
        if let Some(check) = check {
            self.packer.learn(from, check);
        }
        let checked = check.is_some();
        let Ok(text) = std::str::from_utf8(body) else {
            self.counters.dropped_undecodable += 1;
            return;
        };
        let lines = text.split('\n').filter(|line| !line.trim_ascii().is_empty());
        for (index, line) in lines.enumerate() {
            match self.receive_line(from, line, checked, out) {
                Ok(()) => {}
                Err(DecodeError::UnknownType) => self.counters.dropped_unknown_type += 1,
                Err(DecodeError::Malformed) => self.counters.dropped_undecodable += 1,
                Err(DecodeError::NotJson) => {
                    self.counters.dropped_undecodable += 1;
                    // Something that is not of this protocol at all is not searched for messages.
                    if index == 0 && !checked {
                        return;
                    }
                }
            }
        }
    }

    /// The time that `poll_timeout` named has come. A flush must follow.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.assemblies.handle_timeout(now, &mut self.counters);
        self.outgoing.expire(now);
    }

    /// When to call `handle_timeout` next. Changes with every other call; after
    /// `handle_timeout(now)` it is later than `now`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [self.assemblies.poll_timeout(), self.outgoing.poll_timeout()].into_iter().flatten().min()
    }

    #[cfg(test)]
    fn proven_addresses(&self) -> usize {
        self.packer.proven_addresses()
    }

    /// What has happened since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The configured limit, within what UDP can carry and what a piece needs. A proof, which only
    /// others than this machine want, has room besides.
    fn datagram_bytes_to(&self, to: SocketAddr) -> usize {
        let limit = self.limits.datagram_bytes_to(to).clamp(DATAGRAM_BYTES_MIN, UDP_BYTES_MAX);
        if to.ip().is_loopback() { limit } else { limit - PROOF_BYTES }
    }

    /// Whether somebody receives at the address that a datagram with these lines came from.
    fn is_proven(&self, from: SocketAddr, lines: &[u8]) -> bool {
        let Some(secret) = self.secret else { return true };
        from.ip().is_loopback() || proof::token_in(lines) == Some(secret.token(from))
    }

    /// Answers a datagram of so many bytes, unless the answer were larger.
    fn ask_for_proof(&mut self, from: SocketAddr, size: usize, body: &[u8], check: Option<Check>) {
        let Some(secret) = self.secret else { return };
        let of = check.map(|check| match check {
            Check::Sum => checksum(body),
            Check::Crc32 => u64::from(crc32fast::hash(body)),
        });
        self.line.clear();
        proof::encode_retry(Retry { token: secret.token(from), of }, &mut self.line);
        if self.line.len() <= size {
            self.packer.push_plain(from, &self.line);
        }
    }

    /// Sends `self.line`, which does not fit into one datagram.
    fn send_in_pieces(&mut self, to: SocketAddr, limit: usize) {
        let mut text = String::from_utf8(std::mem::take(&mut self.line))
            .expect("the JSON that serde_json writes is UTF-8");
        // The line grew by doubling; what is remembered shall be no larger than it counts.
        text.shrink_to_fit();
        if text.len() > self.limits.message_bytes.min(self.limits.assembly_bytes) {
            self.counters.dropped_too_large += 1;
            return;
        }
        let id = checksum(text.as_bytes());
        let first_push = self.outgoing.remember(self.now, to, id, text);
        let Some(text) = self.outgoing.recall(self.now, to, id) else { return };
        let mut writer =
            PieceWriter { from: self.incarnation, id, text, to, limit, packer: &mut self.packer };
        self.counters.pieces_sent += writer.push_first(first_push);
    }

    fn receive_line(
        &mut self,
        from: SocketAddr,
        line: &str,
        checked: bool,
        out: &mut Vec<Message>,
    ) -> Result<(), DecodeError> {
        let tag = codec::tag(line)?;
        match (&*tag, checked) {
            ("piece", true) => return self.on_piece(from, serde_json::from_str(line)?, out),
            ("want", true) => {
                self.on_want(from, &serde_json::from_str(line)?);
                return Ok(());
            }
            // Looked at when the datagram came.
            ("proof" | "retry", _) => return Ok(()),
            ("piece" | "want", false) => {
                self.counters.dropped_unchecked += 1;
                return Ok(());
            }
            (_, _) => {}
        }
        let message = codec::decode_tagged(&tag, line)?;
        if checked || message.is_plain() {
            out.push(message);
        } else {
            self.counters.dropped_unchecked += 1;
        }
        Ok(())
    }

    fn on_piece(
        &mut self,
        from: SocketAddr,
        piece: Piece<'_>,
        out: &mut Vec<Message>,
    ) -> Result<(), DecodeError> {
        self.counters.pieces_received += 1;
        if let Some(whole) =
            self.assemblies.on_piece(self.now, from, self.is_client, &piece, &mut self.counters)
        {
            // The codec knows neither pieces nor wants: none can hide in another.
            out.push(codec::decode(&whole)?);
        }
        Ok(())
    }

    /// Answers at the address that asks, and only if the message was meant for it.
    fn on_want(&mut self, from: SocketAddr, want: &Want) {
        self.counters.wants_received += 1;
        if want.to != self.incarnation {
            return;
        }
        let limit = self.datagram_bytes_to(from);
        let Some(text) = self.outgoing.recall(self.now, from, want.id) else { return };
        let mut writer = PieceWriter {
            from: self.incarnation,
            id: want.id,
            text,
            to: from,
            limit,
            packer: &mut self.packer,
        };
        self.counters.pieces_sent += writer.push_ranges(&want.ranges, &mut self.answer_bytes);
    }

    fn send_wants(&mut self) {
        for (to, mut want) in self.assemblies.take_wants(self.now) {
            want.from = self.incarnation;
            let limit = self.datagram_bytes_to(to);
            self.line.clear();
            wire::encode_want(&want, &mut self.line);
            while !packing::fits(self.line.len(), limit) {
                // What is not asked for now is asked for when nothing else arrives any more.
                want.ranges.truncate(want.ranges.len() / 2);
                self.line.clear();
                wire::encode_want(&want, &mut self.line);
            }
            self.packer.append(to, &self.line, limit);
            self.counters.wants_sent += 1;
        }
    }
}
