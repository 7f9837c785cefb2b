//! Reads, and other statements about the present that need a proof.
//!
//! Kept here (I9, no-stale-read): a read is answered from committed state, and only after this
//! server has shown that it was still the serving primary *after the read arrived*: by a barrier
//! first sent after that and confirmed by the backup in this view, by a lease that is valid when the
//! answer leaves, or by being the only eligible copy. It waits besides until the earlier writes of
//! its session are applied.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use crate::config::Limits;
use crate::kv::command::{Key, Value, check_keys};
use crate::kv::replica::Replica;
use crate::kv::store::List;
use crate::protocol::message::{Ask, KeysPage, Outcome, Page, PageRequest};
use crate::protocol::server::intake::Asker;
use crate::types::{RequestNumber, SessionId};

/// Reads of one session that may wait for its writes. One that is dropped is asked again.
const BEHIND_OF_ONE_SESSION: usize = 64;

/// The least that one read takes here, in bytes.
const READ_BYTES: usize = 128;

/// What shall be said about the present.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Question {
    /// The list under a key, or its first page.
    Get(Key),
    /// The length of the list under a key.
    Len(Key),
    /// The first keys that begin with this text, after that key.
    Keys(Key, Option<Key>),
    /// The lists under several keys, or their first pages.
    Mget(Vec<Key>),
    /// All lists, page by page.
    Snapshot,
    /// That a session is not known.
    Expired,
}

impl Question {
    /// Whether it is one that our own client would send.
    #[must_use]
    pub fn fits(&self, limits: &Limits) -> bool {
        match self {
            // One that is too long is under no list.
            Question::Get(_)
            | Question::Len(_)
            | Question::Keys(..)
            | Question::Snapshot
            | Question::Expired => true,
            Question::Mget(keys) => check_keys(keys, limits).is_ok(),
        }
    }
}

/// A question and who asked it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Read {
    /// Who.
    pub asker: Asker,
    /// What.
    pub question: Question,
    /// The session's last write before the read, which it must see.
    pub after: Option<(SessionId, RequestNumber)>,
}

impl Read {
    /// Bytes that it takes, roughly.
    fn size(&self) -> usize {
        READ_BYTES
            + match &self.question {
                Question::Get(key) | Question::Len(key) => key.0.len(),
                Question::Keys(prefix, after) => {
                    prefix.0.len() + after.as_ref().map_or(0, |key| key.0.len())
                }
                Question::Mget(keys) => keys.iter().map(|key| 32 + key.0.len()).sum(),
                Question::Snapshot | Question::Expired => 0,
            }
    }

    /// What is asked, unless it is no question about the present.
    #[must_use]
    pub fn of(asker: Asker, ask: &Ask) -> Option<Read> {
        let (question, after) = match ask {
            Ask::Get { key, after, page: None } => (Question::Get(key.clone()), *after),
            Ask::Len { key, after } => (Question::Len(key.clone()), *after),
            Ask::Keys { prefix, start_after, after } => {
                (Question::Keys(prefix.clone(), start_after.clone()), *after)
            }
            Ask::Mget { keys, after } => (Question::Mget(keys.clone()), *after),
            Ask::Snapshot { after, cursor: None } => (Question::Snapshot, *after),
            Ask::Open { .. }
            | Ask::Write { .. }
            | Ask::Get { page: Some(_), .. }
            | Ask::Snapshot { cursor: Some(_), .. } => return None,
        };
        Some(Read { asker, question, after })
    }
}

/// Questions that wait.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Reads {
    /// Arrived since a barrier was last drawn.
    unproven: Vec<Read>,
    /// Wait for this barrier, oldest first.
    proving: VecDeque<(u64, Vec<Read>)>,
    /// Proven, but earlier writes of the session are not applied yet. They may never be: their
    /// client can have given up. So this is bounded by itself, by dropping the oldest.
    behind: BTreeMap<SessionId, Vec<Read>>,
    /// Questions in the first two.
    count: usize,
    /// Bytes of those.
    bytes: usize,
    /// Bytes of the ones that wait for writes of their session.
    behind_bytes: usize,
}

impl Reads {
    /// Whether so many wait for a proof that another one is turned away.
    #[must_use]
    pub fn is_full(&self, limits: &Limits) -> bool {
        self.count >= limits.pending_reads || self.bytes >= limits.backlog_bytes
    }

    /// A question that needs a barrier.
    pub fn add(&mut self, read: Read) {
        self.count += 1;
        self.bytes += read.size();
        self.unproven.push(read);
    }

    /// A proven question that needs earlier writes of its session. Without room it is dropped, and
    /// asked again: then those writes are probably there.
    pub fn add_behind(&mut self, session: SessionId, read: Read, limits: &Limits) {
        if self.behind_bytes + read.size() > limits.backlog_bytes {
            return;
        }
        let waiting = self.behind.entry(session).or_default();
        let mut freed = 0;
        waiting.retain(|other| {
            let is_same = other.asker == read.asker;
            freed += if is_same { other.size() } else { 0 };
            !is_same
        });
        if waiting.len() >= BEHIND_OF_ONE_SESSION {
            freed += waiting.remove(0).size();
        }
        self.behind_bytes = self.behind_bytes + read.size() - freed;
        waiting.push(read);
    }

    /// Whether a barrier must be drawn.
    #[must_use]
    pub fn needs_barrier(&self) -> bool {
        !self.unproven.is_empty()
    }

    /// Everything that has arrived waits for this barrier, which was never sent yet.
    pub fn prove_by(&mut self, barrier: u64) {
        let reads = std::mem::take(&mut self.unproven);
        match self.proving.back_mut() {
            Some((last, waiting)) if *last == barrier => waiting.extend(reads),
            Some(_) | None => self.proving.push_back((barrier, reads)),
        }
    }

    /// The questions that this barrier proves.
    pub fn take_proven(&mut self, barrier: u64) -> Vec<Read> {
        let mut proven = Vec::new();
        while self.proving.front().is_some_and(|(number, _)| *number <= barrier) {
            let Some((_, reads)) = self.proving.pop_front() else { break };
            self.count -= reads.len();
            self.bytes -= reads.iter().map(Read::size).sum::<usize>();
            proven.extend(reads);
        }
        proven
    }

    /// All questions that lack a proof: nobody else can be primary any more.
    pub fn take_all_unproven(&mut self) -> Vec<Read> {
        let mut all = self.take_proven(u64::MAX);
        self.count -= self.unproven.len();
        self.bytes -= self.unproven.iter().map(Read::size).sum::<usize>();
        all.append(&mut self.unproven);
        all
    }

    /// The questions that waited for writes of this session.
    pub fn take_behind(&mut self, session: SessionId) -> Vec<Read> {
        let waiting = self.behind.remove(&session).unwrap_or_default();
        self.behind_bytes -= waiting.iter().map(Read::size).sum::<usize>();
        waiting
    }
}

/// Whether the session's writes up to this one are applied; an unknown session has none to wait
/// for, and the client is told so.
#[must_use]
pub fn is_behind(replica: &Replica, after: Option<(SessionId, RequestNumber)>) -> bool {
    after.is_some_and(|(session, number)| {
        replica.sessions().get(session).is_some_and(|known| known.executed < number)
    })
}

/// What the copy says now.
#[must_use]
pub fn evaluate(replica: &Replica, read: &Read, page_bytes: usize) -> Outcome {
    let store = replica.store();
    if read.after.is_some_and(|(session, _)| replica.sessions().get(session).is_none()) {
        return Outcome::SessionExpired;
    }
    match &read.question {
        // The one is said of a session that is not known; the other needs more than a look.
        Question::Expired | Question::Snapshot => Outcome::SessionExpired,
        Question::Get(key) => match store.get(key) {
            None => Outcome::Missing,
            Some(list) => Outcome::Page(page(list, 0, list.values().len(), page_bytes)),
        },
        Question::Len(key) => {
            Outcome::Length(store.get(key).map_or(0, |list| list.values().len() as u64))
        }
        Question::Keys(prefix, start_after) => {
            let start = start_after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut following = store.keys_with(&prefix.0, start).peekable();
            let (mut keys, mut bytes) = (Vec::new(), 0);
            while let Some(key) = following.peek()
                && (keys.is_empty() || bytes + key.0.len() + 4 <= page_bytes)
            {
                bytes += key.0.len() + 4;
                keys.extend(following.next().cloned());
            }
            Outcome::Keys(KeysPage { keys, more: following.peek().is_some() })
        }
        Question::Mget(keys) => {
            let mut room = page_bytes;
            let mut first = |key| {
                let list = store.get(key)?;
                let end = list.values().len();
                // Whatever does not fit here comes in later pages, of the same lists.
                let fits = |value: &&Value| {
                    let size = value.0.len() + 4;
                    room = room.saturating_sub(size);
                    room > 0
                };
                let values = list.values().iter().take_while(fits).cloned().collect();
                let generation = list.generation();
                Some(Page { generation, start: 0, end: end as u64, values })
            };
            Outcome::Pages(keys.iter().map(&mut first).collect())
        }
    }
}

/// A later page of a list. Needs no proof: within a generation the elements before `end` never
/// change, and they were committed when the first page was read.
#[must_use]
pub fn later_page(
    replica: &Replica,
    key: &Key,
    request: PageRequest,
    page_bytes: usize,
) -> Outcome {
    let start = usize::try_from(request.start).unwrap_or(usize::MAX);
    let end = usize::try_from(request.end).unwrap_or(usize::MAX);
    match replica.store().get(key) {
        Some(list)
            if list.generation() == request.generation
                && start < end
                && end <= list.values().len() =>
        {
            Outcome::Page(page(list, start, end, page_bytes))
        }
        Some(_) | None => Outcome::GenerationChanged,
    }
}

fn page(list: &List, start: usize, end: usize, page_bytes: usize) -> Page {
    let mut bytes = 0;
    let fits = |value: &&Value| {
        let first = bytes == 0;
        bytes += value.0.len() + 4;
        first || bytes <= page_bytes
    };
    let values = list.values()[start..end].iter().take_while(fits).cloned().collect();
    Page { generation: list.generation(), start: start as u64, end: end as u64, values }
}

/// Whether a key and its list surely fit into one datagram as JSON, which is all that the plain
/// form can have.
#[must_use]
pub fn fits_plain(key: &Key, list: &List, limit: usize) -> bool {
    let escaped = |text: &str| {
        let escapes = text.bytes().filter(|byte| *byte < 0x20).count() * 5
            + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        text.len() + escapes + 3
    };
    let mut size = escaped(&key.0);
    for value in list.values() {
        size += escaped(&value.0);
        if size > limit {
            return false;
        }
    }
    true
}
