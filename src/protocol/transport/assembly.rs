//! Messages that are being put together from pieces (counterpart: `outgoing`).
//!
//! The receiver sets the pace. It asks for ranges of bytes so that no more than a window of them is
//! outstanding over all messages; what does not come in time is asked for again. The window shrinks
//! when something did not come and grows with what does.
//!
//! Kept here: pieces are joined only by (sender incarnation, id, length), and a message leaves only
//! if its bytes hash to its id. Bytes are bounded as declared by first pieces, not as received; no
//! message is put together for longer than a minute; and where there is no room, whoever takes the
//! most of it makes room for another one.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::Counters;
use super::outgoing::WANT_BYTES_MAX;
use super::wire::{Piece, RANGES_MAX, Want, checksum};
use crate::time::Timestamp;
use crate::types::Incarnation;

/// Messages that are put together at the same time.
const ASSEMBLIES_MAX: usize = 64;

/// Gaps in what has been received of one message, as far as it pays to know them.
const INTERVALS_MAX: usize = 2048;

/// Bytes that may be outstanding, over all messages.
const WINDOW_MAX: usize = WANT_BYTES_MAX;
const WINDOW_MIN: usize = 64 << 10;

/// Whatever the others have asked for, each message may ask for this much, so that senders that
/// died hold up nobody.
const SHARE_MIN: usize = 16 << 10;

/// Waiting time for what was asked for, at first and at most.
const PATIENCE_MIN: Duration = Duration::from_millis(20);
const PATIENCE_MAX: Duration = Duration::from_millis(200);

/// Askings without any answer before a message is given up.
const ATTEMPTS_MAX: u32 = 20;

/// A message without progress for so long makes room for another.
const STALE_AFTER: Duration = Duration::from_millis(100);

/// However slowly a message comes, it is given up after this.
const AGE_MAX: Duration = Duration::from_secs(60);

/// Stray pieces of a message that is complete are ignored for so long. A retransmission that comes
/// later means that the message was not answered, and it is put together once more.
const COMPLETED_FOR: Duration = Duration::from_millis(50);
const COMPLETED_MAX: usize = 64;

/// What pieces are joined by. The id is the checksum of the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    from: Incarnation,
    id: u64,
    length: usize,
    /// Whether its datagrams are proven to be a client's.
    is_client: bool,
}

/// Everything that is being put together.
#[derive(Clone, Debug)]
pub(super) struct Assemblies {
    /// In the order in which they began.
    assemblies: Vec<Assembly>,
    /// Declared lengths of all of them.
    bytes: usize,
    bytes_max: usize,
    message_bytes_max: usize,
    /// Bytes that may be outstanding now.
    window: usize,
    /// Lately completed, oldest first.
    completed: VecDeque<(Identity, Timestamp)>,
    /// Whether anything has changed since wants were taken.
    may_want: bool,
}

#[derive(Clone, Debug)]
struct Assembly {
    identity: Identity,
    /// Where its first piece came from, most recently.
    address: SocketAddr,
    buffer: Vec<u8>,
    received: Intervals,
    /// What is missing before this byte has been asked for.
    asked: usize,
    /// Since when an answer to something asked for is waited for.
    waiting_since: Option<Timestamp>,
    /// How long to wait for an answer: twice as long as one took that was asked for once.
    patience: Duration,
    /// Askings since the last progress.
    attempts: u32,
    /// When to ask again.
    deadline: Timestamp,
    progress_at: Timestamp,
    began_at: Timestamp,
}

impl Assemblies {
    pub(super) fn new(message_bytes_max: usize, bytes_max: usize) -> Self {
        Assemblies {
            assemblies: Vec::new(),
            bytes: 0,
            bytes_max,
            message_bytes_max,
            window: WINDOW_MAX,
            completed: VecDeque::new(),
            may_want: false,
        }
    }

    /// Takes in a piece. Returns the message if it is complete now.
    pub(super) fn on_piece(
        &mut self,
        now: Timestamp,
        address: SocketAddr,
        is_client: bool,
        piece: &Piece<'_>,
        counters: &mut Counters,
    ) -> Option<Vec<u8>> {
        let Piece { from, id, length, .. } = *piece;
        let identity = Identity { from, id, length, is_client };
        let index = match self.assemblies.iter().position(|known| known.identity == identity) {
            Some(index) => index,
            None => self.begin(now, address, identity, piece, counters)?,
        };
        let assembly = &mut self.assemblies[index];
        let new_bytes = assembly.take_in(now, address, piece);
        self.may_want = true;
        self.window = (self.window + new_bytes / 8).min(WINDOW_MAX);
        if assembly.received.total() < identity.length {
            return None;
        }

        let assembly = self.remove(index);
        if checksum(&assembly.buffer) != identity.id {
            counters.assemblies_damaged += 1;
            return None;
        }
        counters.assemblies_completed += 1;
        if self.completed.len() == COMPLETED_MAX {
            self.completed.pop_front();
        }
        self.completed.push_back((identity, now));
        Some(assembly.buffer)
    }

    /// What to ask for now, and where. The sender of the want is left to the caller.
    pub(super) fn take_wants(&mut self, now: Timestamp) -> Vec<(SocketAddr, Want)> {
        if !std::mem::take(&mut self.may_want) {
            return Vec::new();
        }
        let mut wants = Vec::new();
        let mut outstanding: usize = self.assemblies.iter().map(Assembly::outstanding).sum();
        for assembly in &mut self.assemblies {
            let free = self.window.saturating_sub(outstanding);
            let allowance = if assembly.attempts > 1 {
                // A sender that may be dead keeps little of the window from the others.
                SHARE_MIN.saturating_sub(assembly.outstanding())
            } else if assembly.outstanding() == 0 {
                free.max(SHARE_MIN)
            } else if free >= self.window / 2 {
                free
            } else {
                // Many small requests would make many small pieces.
                continue;
            };
            let ranges = assembly.ask(now, allowance);
            if ranges.is_empty() {
                continue;
            }
            outstanding += ranges.iter().map(|(start, end)| end - start).sum::<usize>();
            let Identity { from, id, .. } = assembly.identity;
            wants.push((assembly.address, Want { from: Incarnation(0), to: from, id, ranges }));
        }
        wants
    }

    /// Asks again for what has not come, and gives up what never comes.
    pub(super) fn handle_timeout(&mut self, now: Timestamp, counters: &mut Counters) {
        let mut index = 0;
        while let Some(assembly) = self.assemblies.get_mut(index) {
            let is_too_old = now.since(assembly.began_at) >= AGE_MAX;
            if assembly.deadline > now && !is_too_old {
                index += 1;
            } else if assembly.attempts == ATTEMPTS_MAX || is_too_old {
                self.remove(index);
                counters.assemblies_expired += 1;
            } else {
                if assembly.attempts == 0 {
                    // Later silence is the sender's, and says nothing about the window.
                    self.window = (self.window / 2).max(WINDOW_MIN);
                }
                assembly.attempts += 1;
                assembly.ask_again(now);
                self.may_want = true;
                index += 1;
            }
        }
    }

    /// When to ask again.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        let due = |assembly: &Assembly| assembly.deadline.min(assembly.began_at + AGE_MAX);
        self.assemblies.iter().map(due).min()
    }

    /// Declared bytes of everything that is being put together.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        assert!(self.assemblies.len() <= ASSEMBLIES_MAX);
        assert!(self.completed.len() <= COMPLETED_MAX);
        for assembly in &self.assemblies {
            assert!(assembly.received.0.len() <= INTERVALS_MAX);
            assert_eq!(assembly.buffer.len(), assembly.identity.length);
        }
        let bytes: usize = self.assemblies.iter().map(|assembly| assembly.buffer.len()).sum();
        assert_eq!(self.bytes, bytes);
        bytes
    }

    /// Begins a message, if this is its first piece and there is room.
    fn begin(
        &mut self,
        now: Timestamp,
        address: SocketAddr,
        identity: Identity,
        piece: &Piece<'_>,
        counters: &mut Counters,
    ) -> Option<usize> {
        let stray = self
            .completed
            .iter()
            .any(|(known, at)| *known == identity && now.since(*at) < COMPLETED_FOR);
        if stray || piece.offset != 0 || piece.body.is_empty() || piece.body.len() > piece.length {
            return None;
        }
        if identity.length > self.message_bytes_max.min(self.bytes_max) {
            counters.dropped_too_large += 1;
            return None;
        }
        while self.assemblies.len() == ASSEMBLIES_MAX
            || self.bytes + identity.length > self.bytes_max
        {
            let stalest = (0..self.assemblies.len())
                .min_by_key(|index| self.assemblies[*index].progress_at)
                .filter(|index| now.since(self.assemblies[*index].progress_at) >= STALE_AFTER);
            let Some(stalest) = stalest.or_else(|| self.greediest(address, identity.length)) else {
                counters.assemblies_refused += 1;
                return None;
            };
            self.remove(stalest);
            counters.assemblies_expired += 1;
        }
        self.bytes += identity.length;
        self.assemblies.push(Assembly {
            identity,
            address,
            buffer: vec![0; identity.length],
            received: Intervals::default(),
            asked: 0,
            waiting_since: None,
            patience: PATIENCE_MIN,
            attempts: 0,
            deadline: now + PATIENCE_MIN,
            progress_at: now,
            began_at: now,
        });
        Some(self.assemblies.len() - 1)
    }

    /// The stalest message of the source that takes the most room, if that is more than a quarter
    /// of all, and this one takes less.
    fn greediest(&self, than: SocketAddr, length: usize) -> Option<usize> {
        let taken = |by: SocketAddr| -> usize {
            let of_one = self.assemblies.iter().filter(|assembly| assembly.address == by);
            // The share of all places, or of all bytes, whichever is larger.
            let (count, bytes) = of_one.fold((0, 0), |(count, bytes), assembly| {
                (count + 1, bytes + assembly.identity.length)
            });
            (bytes >> 10).max(count * (self.bytes_max >> 10) / ASSEMBLIES_MAX)
        };
        let one_more = (length >> 10).max((self.bytes_max >> 10) / ASSEMBLIES_MAX);
        let (most, by) =
            self.assemblies.iter().map(|other| (taken(other.address), other.address)).max()?;
        let quarter = (self.bytes_max >> 10) / 4;
        if by == than || most <= quarter || taken(than) + one_more >= most {
            return None;
        }
        (0..self.assemblies.len())
            .filter(|index| self.assemblies[*index].address == by)
            .min_by_key(|index| self.assemblies[*index].progress_at)
    }

    fn remove(&mut self, index: usize) -> Assembly {
        let assembly = self.assemblies.remove(index);
        self.bytes -= assembly.identity.length;
        assembly
    }
}

impl Assembly {
    /// Copies the body to its place. Returns how many bytes are new.
    fn take_in(&mut self, now: Timestamp, address: SocketAddr, piece: &Piece<'_>) -> usize {
        let (start, end) = (piece.offset, piece.offset.saturating_add(piece.body.len()));
        if end > self.identity.length {
            return 0;
        }
        if start == 0 {
            self.address = address;
        }
        let new_bytes = self.received.insert(start, end);
        if new_bytes > 0 {
            self.buffer[start..end].copy_from_slice(piece.body.as_bytes());
            if self.attempts > 0 {
                // Which asking this answers is not known (Karn's rule).
                self.patience = self.backed_off();
            } else if let Some(since) = self.waiting_since {
                self.patience = (now.since(since) * 2).clamp(PATIENCE_MIN, PATIENCE_MAX);
            }
            self.waiting_since = None;
            self.attempts = 0;
            self.deadline = now + self.patience;
            self.progress_at = now;
        } else if start == 0 && self.attempts > 0 {
            // The sender lives and has the message (again); nothing is gained by waiting longer.
            self.ask_again(now);
        }
        new_bytes
    }

    /// Bytes that were asked for and have not come.
    fn outstanding(&self) -> usize {
        self.received.gaps(0, self.asked).map(|(start, end)| end - start).sum()
    }

    /// Takes everything that was asked for as lost.
    fn ask_again(&mut self, now: Timestamp) {
        self.asked = 0;
        self.deadline = now + self.backed_off();
    }

    /// How long to wait now: twice as long with every attempt.
    fn backed_off(&self) -> Duration {
        self.patience.saturating_mul(1 << self.attempts.min(8)).min(PATIENCE_MAX)
    }

    /// The next ranges to ask for, `allowance` bytes at most.
    fn ask(&mut self, now: Timestamp, allowance: usize) -> Vec<(usize, usize)> {
        let mut left = allowance;
        let mut ranges = Vec::new();
        for (start, end) in self.received.gaps(self.asked, self.identity.length) {
            if left == 0 || ranges.len() == RANGES_MAX {
                break;
            }
            let end = end.min(start + left);
            left -= end - start;
            ranges.push((start, end));
        }
        if let Some((_, end)) = ranges.last() {
            self.asked = *end;
            self.waiting_since.get_or_insert(now);
        }
        ranges
    }
}

/// Disjoint, non-adjacent, ascending ranges of bytes.
#[derive(Clone, Debug, Default)]
struct Intervals(Vec<(usize, usize)>);

impl Intervals {
    /// Adds a range, unless there would be too many. Returns how many bytes are new.
    fn insert(&mut self, start: usize, end: usize) -> usize {
        // Those that overlap or touch the new one.
        let first = self.0.partition_point(|(_, known_end)| *known_end < start);
        let after = self.0.partition_point(|(known_start, _)| *known_start <= end);
        if start >= end || (first == after && self.0.len() == INTERVALS_MAX) {
            return 0;
        }
        let touched = &self.0[first..after];
        let known: usize = touched.iter().map(|(start, end)| end - start).sum();
        let merged = touched
            .iter()
            .fold((start, end), |merged, range| (merged.0.min(range.0), merged.1.max(range.1)));
        self.0.splice(first..after, [merged]);
        merged.1 - merged.0 - known
    }

    /// Bytes in all ranges.
    fn total(&self) -> usize {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// What is missing between `from` and `to`.
    fn gaps(&self, from: usize, to: usize) -> impl Iterator<Item = (usize, usize)> {
        let first = self.0.partition_point(|(_, end)| *end <= from);
        let starts = std::iter::once(from).chain(self.0[first..].iter().map(|(_, end)| *end));
        let ends = self.0[first..].iter().map(|(start, _)| *start).chain(std::iter::once(to));
        starts
            .zip(ends)
            .map(move |(start, end)| (start, end.min(to)))
            .filter(|(start, end)| start < end)
    }
}
