//! A read in progress: puts long lists together from pages.
//!
//! Kept here: the list is the one that the first page saw. All parts have the first page's
//! generation and epoch, and lists of one generation only grow, so the elements before the length
//! that the first page named cannot have changed. Anything else means to begin again.

use std::collections::BTreeMap;

use crate::kv::command::{Key, Value};
use crate::protocol::client::Completed;
use crate::protocol::message::{Ask, Page, PageRequest, SnapshotCursor};
use crate::types::{Epoch, OperationNumber, RequestId, RequestNumber, SessionId};

/// Pages of one read that are asked for at the same time.
const PAGES_IN_FLIGHT: usize = 4;

/// What a read is to find out.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Wanted {
    /// A list.
    List(Key),
    /// Several lists, as they are at one instant.
    Lists(Vec<Key>),
    /// How long a list is.
    Length(Key),
    /// Whether there is a list.
    Existence(Key),
    /// Keys that begin with this text, after that one, as many as one answer holds.
    Keys(Key, Option<Key>),
    /// All lists at one instant, as many as one answer holds.
    Snapshot(Option<SnapshotCursor>),
}

impl Wanted {
    /// The first question to the primary.
    pub(super) fn ask(&self, after: Option<(SessionId, RequestNumber)>) -> Ask {
        match self {
            Wanted::List(key) => Ask::Get { key: key.clone(), after, page: None },
            Wanted::Lists(keys) => Ask::Mget { keys: keys.clone(), after },
            Wanted::Length(key) | Wanted::Existence(key) => Ask::Len { key: key.clone(), after },
            Wanted::Keys(prefix, start_after) => {
                let (prefix, start_after) = (prefix.clone(), start_after.clone());
                Ask::Keys { prefix, start_after, after }
            }
            Wanted::Snapshot(cursor) => Ask::Snapshot { after, cursor: cursor.clone() },
        }
    }

    /// The key of the list at this place of the answer.
    fn key(&self, place: usize) -> Option<&Key> {
        match self {
            Wanted::List(key) => Some(key),
            Wanted::Lists(keys) => keys.get(place),
            Wanted::Length(_) | Wanted::Existence(_) | Wanted::Keys(..) | Wanted::Snapshot(_) => {
                None
            }
        }
    }
}

/// A read that was sent.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Read {
    pub(super) wanted: Wanted,
    /// The session and the write that it must see.
    pub(super) after: Option<(SessionId, RequestNumber)>,
    pub(super) stage: Stage,
}

/// See [`Read`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Stage {
    /// The first page is asked for. Left with its answer.
    First(RequestId),
    /// The rest of long lists is asked for.
    Rest(Gathering),
}

impl Read {
    /// Every request that this read has in flight.
    pub(super) fn requests(&self) -> Vec<RequestId> {
        match &self.stage {
            Stage::First(id) => vec![*id],
            Stage::Rest(gathering) => gathering.in_flight.keys().copied().collect(),
        }
    }
}

/// What a page did to a read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// Everything that was wanted is here.
    Complete,
    /// More is needed.
    Incomplete,
    /// The page belongs to another list than the first one.
    Changed,
    /// The page is not what was asked for.
    Useless,
}

/// The lists of one read, all as they were at the instant of its first answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Gathering {
    epoch: Epoch,
    /// In the order in which they are wanted.
    lists: Vec<Part>,
    /// Every list before this place is complete, or all of it is asked for.
    first: usize,
    /// How many lists are not complete.
    missing: usize,
    /// To which list a page belongs.
    in_flight: BTreeMap<RequestId, usize>,
}

/// A list of a [`Gathering`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Part {
    /// All of it is here; none for a missing key.
    Complete(Option<Vec<Value>>),
    /// Some of it is not.
    Growing(Assembly),
}

impl Gathering {
    /// Begins with the first pages of all lists; none if they cannot be that.
    pub(super) fn begin(
        epoch: Epoch,
        wanted: &Wanted,
        pages: Vec<Option<Page>>,
    ) -> Option<Gathering> {
        let expected = match wanted {
            Wanted::List(_) => 1,
            Wanted::Lists(keys) => keys.len(),
            Wanted::Length(_) | Wanted::Existence(_) | Wanted::Keys(..) | Wanted::Snapshot(_) => {
                return None;
            }
        };
        if pages.len() != expected {
            return None;
        }
        let alone = matches!(wanted, Wanted::List(_));
        let part = |page: Option<Page>| match page {
            None => Some(Part::Complete(None)),
            // With `mget`, there may be no room for the first element of a list.
            Some(page) if alone && page.values.is_empty() && page.end > 0 => None,
            Some(page) => Assembly::begin(page),
        };
        let lists = pages.into_iter().map(part).collect::<Option<Vec<Part>>>()?;
        let missing = lists.iter().filter(|part| matches!(part, Part::Growing(_))).count();
        Some(Gathering { epoch, lists, first: 0, missing, in_flight: BTreeMap::new() })
    }

    /// Whether everything is here.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// The lists, once everything is here, in the form in which they were wanted.
    pub(super) fn take_answer(&mut self, wanted: &Wanted) -> Completed {
        let list = |part| match part {
            Part::Complete(list) => list,
            Part::Growing(_) => unreachable!("no list lacks anything"),
        };
        let mut lists = std::mem::take(&mut self.lists).into_iter().map(list);
        match wanted {
            Wanted::Lists(_) => Completed::Lists(lists.collect()),
            Wanted::List(_)
            | Wanted::Length(_)
            | Wanted::Existence(_)
            | Wanted::Keys(..)
            | Wanted::Snapshot(_) => Completed::List(lists.next().flatten()),
        }
    }

    /// The next page to ask for, with the place of its list, unless enough is in flight.
    pub(super) fn wanted(&mut self) -> Option<(usize, PageRequest)> {
        if self.in_flight.len() >= PAGES_IN_FLIGHT {
            return None;
        }
        // An earlier list may have been sent less than it was asked for.
        for place in self.first..self.lists.len() {
            if let Part::Growing(assembly) = &mut self.lists[place]
                && let Some(page) = assembly.wanted()
            {
                self.first = place;
                return Some((place, page));
            }
        }
        None
    }

    /// The page that [`Gathering::wanted`] named was asked for.
    pub(super) fn asked(&mut self, id: RequestId, place: usize, page: PageRequest) {
        self.in_flight.insert(id, place);
        if let Part::Growing(assembly) = &mut self.lists[place] {
            assembly.in_flight.insert(id, (page.start, page.end));
        }
    }

    /// Takes the answer to a request in flight. After `Useless` it is still in flight.
    pub(super) fn take(&mut self, epoch: Epoch, id: RequestId, page: Page) -> Progress {
        let Some(&place) = self.in_flight.get(&id) else { return Progress::Useless };
        if epoch != self.epoch {
            return Progress::Changed;
        }
        let Part::Growing(assembly) = &mut self.lists[place] else { return Progress::Useless };
        let progress = assembly.take(id, page);
        match progress {
            Progress::Complete => {
                self.lists[place] = Part::Complete(Some(assembly.take_list()));
                self.missing -= 1;
            }
            // What this page left out is asked for again.
            Progress::Incomplete => self.first = self.first.min(place),
            Progress::Changed | Progress::Useless => return progress,
        }
        self.in_flight.remove(&id);
        if self.is_complete() { Progress::Complete } else { Progress::Incomplete }
    }

    /// The question for a page of the list at this place.
    pub(super) fn ask(wanted: &Wanted, place: usize, page: PageRequest) -> Option<Ask> {
        // Whatever the first page had to see, this generation contains.
        let key = wanted.key(place)?.clone();
        Some(Ask::Get { key, after: None, page: Some(page) })
    }
}

/// The parts of a long list, some of them here, some asked for, some not yet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Assembly {
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
    /// Begins with the first page; none if it cannot be one.
    fn begin(page: Page) -> Option<Part> {
        let held = count(&page.values);
        if page.start != 0 || held > page.end {
            return None;
        }
        if held == page.end {
            return Some(Part::Complete(Some(page.values)));
        }
        Some(Part::Growing(Assembly {
            generation: page.generation,
            end: page.end,
            // Without a hint, everything is asked for, and what a page leaves out once more.
            stride: if held == 0 { page.end } else { held },
            parts: BTreeMap::from([(0, page.values)]),
            held,
            next: held,
            left_out: Vec::new(),
            in_flight: BTreeMap::new(),
        }))
    }

    /// The next part to ask for.
    fn wanted(&mut self) -> Option<PageRequest> {
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

    /// Takes the answer to a request in flight. After `Useless` it is still in flight.
    fn take(&mut self, id: RequestId, mut page: Page) -> Progress {
        let Some(&(start, end)) = self.in_flight.get(&id) else { return Progress::Useless };
        if page.generation != self.generation {
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
        if self.held < self.end { Progress::Incomplete } else { Progress::Complete }
    }

    /// The whole list, once it is complete.
    fn take_list(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.parts).into_values().flatten().collect()
    }
}
