//! Lines into datagrams: sharing, the header with the checksum, and buffers that are used again.
//!
//! Kept here: datagrams leave in the order in which they were begun, and none is longer than the
//! limit that came with its first line.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::net::SocketAddr;

use super::Datagram;
use super::proof::{Proofs, Retry};
use super::wire::{Check, Header, checksum};
use crate::protocol::codec;

/// A header in which the checksum is still to be filled in: right-aligned, because JSON allows
/// blanks before a number but no zeros.
const BLANK_HEADER: &[u8] = b"{\"type\":\"pbkv\",\"sum\":                    }\n";

/// Where in the header the checksum stands.
const SUM: std::ops::Range<usize> = 21..41;

/// The header of the same length for receivers that know the other checksum only.
const BLANK_CRC32_HEADER: &[u8; BLANK_HEADER.len()] =
    b"{\"type\":\"pbkv\",\"crc32\":                  }\n";
const CRC32: std::ops::Range<usize> = 23..41;

/// Receivers that are remembered to know the other checksum only. One that is forgotten is answered
/// in vain, and remembered again when it asks again.
const CRC32_RECEIVERS_MAX: usize = 1024;

/// A first line that is longer than this is not looked at for a header.
const HEADER_BYTES_MAX: usize = 256;

/// Buffers kept for later, and the largest one worth keeping.
const POOL_MAX: usize = 128;
const POOL_BYTES_MAX: usize = 64 << 10;

/// Whether a line of this many bytes can travel in one datagram of `limit` bytes.
pub(super) fn fits(line: usize, limit: usize) -> bool {
    room(limit) >= line
}

/// Bytes that the longest line of a datagram may have, without its newline.
pub(super) fn room(limit: usize) -> usize {
    limit.saturating_sub(BLANK_HEADER.len() + 1)
}

/// What the first line says of a datagram that has arrived.
pub(super) enum Opened<'a> {
    /// The checksum matches: these are the lines.
    Checked(&'a [u8], Check),
    /// No header.
    Unchecked,
    /// A header with a checksum that does not match, or without one.
    Damaged,
}

/// Looks at the header.
pub(super) fn open(bytes: &[u8]) -> Opened<'_> {
    // As our own programs write it, so that the sum is all there is to read.
    if let Some((header, body)) = bytes.split_at_checked(BLANK_HEADER.len())
        && header[..SUM.start] == BLANK_HEADER[..SUM.start]
        && header[SUM.end..] == BLANK_HEADER[SUM.end..]
        && let Ok(sum) = std::str::from_utf8(&header[SUM])
        && let digits = sum.trim_start_matches(' ')
        // JSON has no sign and no zeros before a number.
        && digits.starts_with(|first: char| matches!(first, '1'..='9'))
        && let Ok(sum) = digits.parse::<u64>()
        && sum == checksum(body)
    {
        return Opened::Checked(body, Check::Sum);
    }
    let start = &bytes[..bytes.len().min(HEADER_BYTES_MAX)];
    let end = start.iter().position(|byte| *byte == b'\n').unwrap_or(start.len());
    let Ok(line) = std::str::from_utf8(&bytes[..end]) else { return Opened::Unchecked };
    if !codec::tag(line).is_ok_and(|tag| tag == "pbkv") {
        return Opened::Unchecked;
    }
    let body = bytes.get(end + 1..).unwrap_or_default();
    let check = serde_json::from_str::<Header>(line).ok().and_then(|header| header.check(body));
    check.map_or(Opened::Damaged, |check| Opened::Checked(body, check))
}

/// Gathers lines into datagrams.
#[derive(Clone, Debug, Default)]
pub(super) struct Packer {
    /// Datagrams in the order in which they were begun.
    queue: Vec<Queued>,
    /// For each destination the datagram in the queue that may still have room. Only looked up:
    /// its order, which is random, never shows.
    open: HashMap<SocketAddr, usize>,
    /// The entry of `open` that was used last: nearly always that of the next line as well.
    recent: Option<(SocketAddr, usize)>,
    /// Receivers whose last datagram carried the other checksum. Only looked up.
    crc32: HashSet<SocketAddr>,
    /// What receivers want to see in front of everything else.
    proofs: Proofs,
    /// Empty buffers.
    pool: Vec<Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Queued {
    datagram: Datagram,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// Begins with a header whose checksum is filled in when it leaves.
    Checked(Check),
    /// A plain message, and nothing else.
    Plain,
}

impl Packer {
    /// A datagram came from there: what goes back carries the checksum that it carried.
    pub(super) fn learn(&mut self, from: SocketAddr, check: Check) {
        match check {
            Check::Sum if self.crc32.is_empty() => {}
            Check::Sum => {
                self.crc32.remove(&from);
            }
            Check::Crc32 => {
                if self.crc32.len() >= CRC32_RECEIVERS_MAX && !self.crc32.contains(&from) {
                    self.crc32.clear();
                }
                self.crc32.insert(from);
            }
        }
    }

    /// Somebody asks for a proof. Returns whether that is new.
    pub(super) fn learn_proof(&mut self, from: SocketAddr, retry: Retry) -> bool {
        self.proofs.learn(from, retry)
    }

    #[cfg(test)]
    pub(super) fn proven_addresses(&self) -> usize {
        self.proofs.addresses()
    }

    #[cfg(test)]
    pub(super) fn crc32_receivers(&self) -> usize {
        self.crc32.len()
    }

    /// Adds a line without header, in a datagram of its own.
    pub(super) fn push_plain(&mut self, to: SocketAddr, line: &[u8]) {
        let mut bytes = self.buffer();
        bytes.extend_from_slice(line);
        self.queue.push(Queued { datagram: Datagram { to, bytes }, form: Form::Plain });
    }

    /// Adds a line, which `fits`, to the open datagram of its destination, or to a new one.
    pub(super) fn append(&mut self, to: SocketAddr, line: &[u8], limit: usize) {
        debug_assert!(fits(line.len(), limit));
        let recent = self.recent.filter(|(recent, _)| *recent == to);
        if let Some(index) = recent.map_or_else(|| self.open.get(&to).copied(), |(_, at)| Some(at))
        {
            self.recent = Some((to, index));
            let bytes = &mut self.queue[index].datagram.bytes;
            if bytes.len() + line.len() < limit {
                bytes.extend_from_slice(line);
                bytes.push(b'\n');
                return;
            }
        }
        self.open.insert(to, self.queue.len());
        self.recent = Some((to, self.queue.len()));
        self.push_checked(to, |bytes| bytes.extend_from_slice(line));
    }

    /// Adds the line that `write` appends, which [`fits`], in a datagram of its own.
    pub(super) fn push_checked(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.buffer();
        let is_crc32 = !self.crc32.is_empty() && self.crc32.contains(&to);
        let check = if is_crc32 { Check::Crc32 } else { Check::Sum };
        bytes.extend_from_slice(match check {
            Check::Sum => BLANK_HEADER,
            Check::Crc32 => BLANK_CRC32_HEADER,
        });
        self.proofs.write(to, &mut bytes);
        write(&mut bytes);
        bytes.push(b'\n');
        self.queue.push(Queued { datagram: Datagram { to, bytes }, form: Form::Checked(check) });
    }

    /// Takes everything out, in order, with checksums.
    pub(super) fn flush(&mut self, out: &mut Vec<Datagram>) {
        self.open.clear();
        self.recent = None;
        let proofs = &mut self.proofs;
        out.extend(self.queue.drain(..).map(|Queued { mut datagram, form }| {
            match form {
                Form::Plain => {}
                Form::Checked(Check::Sum) => {
                    let sum = checksum(&datagram.bytes[BLANK_HEADER.len()..]);
                    write!(&mut datagram.bytes[SUM], "{sum:>20}")
                        .expect("a u64 has at most twenty digits");
                    proofs.note(datagram.to, sum);
                }
                Form::Checked(Check::Crc32) => {
                    let sum = crc32fast::hash(&datagram.bytes[BLANK_HEADER.len()..]);
                    write!(&mut datagram.bytes[CRC32], "{sum:>18}")
                        .expect("a u32 has at most ten digits");
                    proofs.note(datagram.to, u64::from(sum));
                }
            }
            datagram
        }));
    }

    /// Keeps the buffers of datagrams that have been sent.
    pub(super) fn recycle(&mut self, sent: &mut Vec<Datagram>) {
        for Datagram { mut bytes, .. } in sent.drain(..) {
            if self.pool.len() < POOL_MAX && bytes.capacity() <= POOL_BYTES_MAX {
                bytes.clear();
                self.pool.push(bytes);
            }
        }
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.pool.pop().unwrap_or_default()
    }
}
