//! A read in progress: puts a long list together from pages.
//!
//! Kept here: the list is the one that the first page saw. All parts have the first page's
//! generation and epoch, and lists of one generation only grow, so the elements before the length
//! that the first page named cannot have changed. Anything else means to begin again.

use std::collections::BTreeMap;

use crate::kv::command::{Key, Value};
use crate::protocol::message::{Page, PageRequest};
use crate::types::{Epoch, OperationNumber, RequestId, RequestNumber, SessionId};

/// Pages of one read that are asked for at the same time.
const PAGES_IN_FLIGHT: usize = 4;

/// A read that was sent.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Read {
    pub(super) key: Key,
    /// The session and the write that it must see.
    pub(super) after: Option<(SessionId, RequestNumber)>,
    pub(super) stage: Stage,
}

/// See [`Read`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Stage {
    /// The first page is asked for. Left with its answer.
    First(RequestId),
    /// The rest of a long list is asked for.
    Rest(Assembly),
}

impl Read {
    /// Every request that this read has in flight.
    pub(super) fn requests(&self) -> Vec<RequestId> {
        match &self.stage {
            Stage::First(id) => vec![*id],
            Stage::Rest(assembly) => assembly.in_flight.keys().copied().collect(),
        }
    }
}

/// What a page did to a read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// Here is the whole list.
    Complete(Vec<Value>),
    /// More is needed.
    Incomplete,
    /// The page belongs to another list than the first one.
    Changed,
    /// The page is not what was asked for.
    Useless,
}

/// A first page, judged.
pub(super) enum Opening {
    /// The list has but one page.
    Complete(Vec<Value>),
    /// It has more.
    Long(Assembly),
    /// The page is not what was asked for.
    Useless,
}

/// The parts of a long list, some of them here, some asked for, some not yet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Assembly {
    epoch: Epoch,
    generation: OperationNumber,
    /// Length of the list.
    end: u64,
    /// Elements in the first page: as many are asked for at a time.
    stride: u64,
    /// Parts by their first element. They never overlap.
    parts: BTreeMap<u64, Vec<Value>>,
    /// Elements in all parts.
    held: u64,
    /// First element that nobody has been asked for.
    next: u64,
    /// What a page left out because it was full: first element, and the one after the last.
    left_out: Vec<(u64, u64)>,
    in_flight: BTreeMap<RequestId, (u64, u64)>,
}

fn count(values: &[Value]) -> u64 {
    u64::try_from(values.len()).expect("an index of this machine fits 64 bits")
}

impl Assembly {
    /// Begins with the first page.
    pub(super) fn begin(epoch: Epoch, page: Page) -> Opening {
        let held = count(&page.values);
        if page.start != 0 || held > page.end || (held == 0 && page.end > 0) {
            return Opening::Useless;
        }
        if held == page.end {
            return Opening::Complete(page.values);
        }
        Opening::Long(Assembly {
            epoch,
            generation: page.generation,
            end: page.end,
            stride: held,
            parts: BTreeMap::from([(0, page.values)]),
            held,
            next: held,
            left_out: Vec::new(),
            in_flight: BTreeMap::new(),
        })
    }

    /// The next part to ask for, unless enough is in flight.
    pub(super) fn wanted(&mut self) -> Option<PageRequest> {
        if self.in_flight.len() >= PAGES_IN_FLIGHT {
            return None;
        }
        let (start, end) = match self.left_out.pop() {
            Some(range) => range,
            None if self.next < self.end => {
                let start = self.next;
                self.next = start.saturating_add(self.stride).min(self.end);
                (start, self.next)
            }
            None => return None,
        };
        Some(PageRequest { generation: self.generation, start, end })
    }

    /// The part that [`Assembly::wanted`] named was asked for.
    pub(super) fn asked(&mut self, id: RequestId, page: PageRequest) {
        self.in_flight.insert(id, (page.start, page.end));
    }

    /// Takes the answer to a request in flight. After `Useless` it is still in flight.
    pub(super) fn take(&mut self, epoch: Epoch, id: RequestId, mut page: Page) -> Progress {
        let Some(&(start, end)) = self.in_flight.get(&id) else { return Progress::Useless };
        if epoch != self.epoch || page.generation != self.generation {
            return Progress::Changed;
        }
        // A server may send more than was asked for; the rest is asked for elsewhere.
        let room = usize::try_from(end - start).unwrap_or(usize::MAX);
        page.values.truncate(room);
        let received = count(&page.values);
        if page.start != start || received == 0 {
            return Progress::Useless;
        }
        self.in_flight.remove(&id);
        if start + received < end {
            self.left_out.push((start + received, end));
        }
        self.held += received;
        self.parts.insert(start, page.values);
        if self.held < self.end {
            return Progress::Incomplete;
        }
        let parts = std::mem::take(&mut self.parts);
        Progress::Complete(parts.into_values().flatten().collect())
    }
}
