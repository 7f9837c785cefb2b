//! Wing and Gong's search for an order that explains a history of puts, appends, removes and reads.
//!
//! What comes next is tried in the order in which it was answered. Where every value is written
//! once, most choices are none:
//!
//! * A list that some read saw has one way to come about, element by element.
//! * A write that no read saw spoils the list: nothing fits it until a put or remove replaces it.
//!   So it may as well take effect right before a replacement, together with all others that can,
//!   or after everything else.
//! * Removes without an answer are alike, so the one that was called first goes first; and one is
//!   of use only if what needs a missing key comes right behind it.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::seen::Seen;
use super::{Action, Explanation, Operation, Reason, Value, Verdict};

/// State of a key on the way: enough to compare it with what a read saw.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    length: u32,
    hash: u64,
    last: Value,
}

impl State {
    const MISSING: State = State { length: 0, hash: 0, last: 0 };

    fn appended(self, value: Value) -> State {
        let hash = self.hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(mix(value));
        State { length: self.length + 1, hash, last: value }
    }

    fn of(list: Option<&[Value]>) -> State {
        list.unwrap_or_default().iter().fold(State::MISSING, |state, value| state.appended(*value))
    }
}

pub(super) fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Checks the history of a key with puts, appends, removes and reads. Gives up after `budget`
/// steps. Much faster if every written value is unique.
#[must_use]
pub fn check(history: &[Operation], budget: u64) -> Verdict {
    let seen = match Seen::of(history) {
        Ok(seen) => seen,
        Err((reason, involved)) => {
            return Verdict::Violation(Explanation::new(reason, history, &involved));
        }
    };
    // A write that was neither answered nor seen may never have happened: without it there are no
    // fewer explanations, because nothing depends on it.
    let mut places: Vec<usize> = (0..history.len())
        .filter(|place| match history[*place].written() {
            Some(value) => history[*place].answered.is_some() || seen.before.contains_key(&value),
            None => history[*place].answered.is_some() || history[*place].action == Action::Remove,
        })
        .collect();
    places.sort_by_key(|place| history[*place].called);
    let operations: Vec<&Operation> = places.iter().map(|place| &history[*place]).collect();
    match Search::new(&operations, &seen).run(budget) {
        Found::Order => Verdict::Linearizable,
        Found::Nothing => Verdict::Unknown,
        Found::Stuck(operation) => {
            let involved: Vec<usize> = operation.map(|index| places[index]).into_iter().collect();
            Verdict::Violation(Explanation::new(Reason::NoOrder, history, &involved))
        }
    }
}

/// How a search ended.
enum Found {
    /// With an order that explains everything.
    Order,
    /// Without one; this is the operation that could not be explained when most of the others were.
    Stuck(Option<usize>),
    /// Before it was over.
    Nothing,
}

/// How an operation takes part in the search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// A read that fits changes nothing, so taking it never hurts.
    Read,
    /// A write that nobody saw, though it was answered.
    Unseen,
    /// It replaces whatever there was.
    Replacement,
    /// A remove without an answer.
    OpenRemove,
    /// It may be taken whenever it fits.
    Other,
}

/// The depth-first search: a list of calls and answers in the order of time, from which whatever
/// has taken effect is unlinked.
struct Search<'a> {
    operations: &'a [&'a Operation],
    seen: &'a Seen,
    parts: Vec<Part>,
    /// What each read must find.
    expected: Vec<State>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Operation of each entry, and whether the entry is its call.
    entries: Vec<(usize, bool)>,
    /// The other entry of the same operation, if it was answered.
    answer_of: Vec<Option<usize>>,
    call_of: Vec<usize>,
    /// What has taken effect, in order.
    trail: Vec<usize>,
    /// The same as a set.
    hash: u64,
    /// Operations that must still take effect.
    left: usize,
}

/// Index of the list's head; entry indices are shifted by one.
const HEAD: usize = 0;

impl<'a> Search<'a> {
    fn new(operations: &'a [&'a Operation], seen: &'a Seen) -> Self {
        let mut times: Vec<(u64, bool, usize)> = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            times.push((operation.called, true, index));
            if let Some(answered) = operation.answered {
                times.push((answered, false, index));
            }
        }
        // At equal times calls come first: then the operations overlap.
        times.sort_by_key(|(at, is_call, index)| (*at, !is_call, *index));
        let mut search = Search {
            operations,
            seen,
            parts: operations.iter().map(|operation| part(operation, seen)).collect(),
            expected: operations
                .iter()
                .map(|operation| match &operation.action {
                    Action::Get(list) => State::of(list.as_deref()),
                    Action::Put(_) | Action::Append(_) | Action::Remove => State::MISSING,
                })
                .collect(),
            next: (1..=times.len() + 1).collect(),
            previous: (0..=times.len()).map(|index| index.saturating_sub(1)).collect(),
            entries: vec![(0, false)],
            answer_of: vec![None; operations.len()],
            call_of: vec![0; operations.len()],
            trail: Vec::new(),
            hash: 0,
            left: 0,
        };
        for (_, is_call, index) in times {
            let entry = search.entries.len();
            search.entries.push((index, is_call));
            if is_call {
                search.call_of[index] = entry;
            } else {
                search.answer_of[index] = Some(entry);
                search.left += usize::from(search.parts[index] != Part::Unseen);
            }
        }
        search
    }

    fn unlink(&mut self, entry: usize) {
        let (before, after) = (self.previous[entry], self.next[entry]);
        self.next[before] = after;
        if after < self.entries.len() {
            self.previous[after] = before;
        }
    }

    fn relink(&mut self, entry: usize) {
        let (before, after) = (self.previous[entry], self.next[entry]);
        self.next[before] = entry;
        if after < self.entries.len() {
            self.previous[after] = entry;
        }
    }

    fn take(&mut self, operation: usize) {
        self.unlink(self.call_of[operation]);
        if let Some(answer) = self.answer_of[operation] {
            self.unlink(answer);
        }
        self.hash ^= mark(operation);
        self.left -= usize::from(self.must_happen(operation));
        self.trail.push(operation);
    }

    /// Undoes everything but the first `keep` operations.
    fn give_back(&mut self, keep: usize) {
        while self.trail.len() > keep
            && let Some(operation) = self.trail.pop()
        {
            if let Some(answer) = self.answer_of[operation] {
                self.relink(answer);
            }
            self.relink(self.call_of[operation]);
            self.hash ^= mark(operation);
            self.left += usize::from(self.must_happen(operation));
        }
    }

    /// What nobody saw can come last, and needs no place.
    fn must_happen(&self, operation: usize) -> bool {
        self.answer_of[operation].is_some() && self.parts[operation] != Part::Unseen
    }

    /// The value that must come next, because somebody saw it behind the last one. (A put or remove
    /// could come, but then nobody could have seen it afterwards, for the last one stands once.)
    fn successor(&self, state: State) -> Option<Value> {
        if state == State::MISSING { None } else { self.seen.after.get(&state.last).copied() }
    }

    /// The state after the operation, if it may take effect now.
    fn step(&self, operation: usize, state: State) -> Option<State> {
        let action = &self.operations[operation].action;
        if let Action::Get(_) = action {
            return (self.expected[operation] == state).then_some(state);
        }
        if let Some(successor) = self.successor(state)
            && *action != Action::Append(successor)
        {
            return None;
        }
        match action {
            Action::Put(value) => Some(State::MISSING.appended(*value)),
            Action::Append(value) => {
                let last = (state != State::MISSING).then_some(state.last);
                let seen = self.seen.before.get(value).filter(|_| self.seen.is_unique);
                let fits = seen.is_none_or(|before| *before == last);
                fits.then(|| state.appended(*value))
            }
            Action::Remove => Some(State::MISSING),
            Action::Get(_) => None,
        }
    }

    /// Every operation that may take effect now, and whether it may do so only if unseen writes
    /// do so before.
    fn window(&self) -> impl Iterator<Item = (usize, bool)> {
        let mut entry = self.next[HEAD];
        let mut is_behind = false;
        std::iter::from_fn(move || {
            while let Some((operation, is_call)) = self.entries.get(entry) {
                if !is_call && self.parts[*operation] != Part::Unseen {
                    return None;
                }
                entry = self.next[entry];
                if *is_call {
                    return Some((*operation, is_behind));
                }
                is_behind = true;
            }
            None
        })
    }

    fn unseen(&self) -> impl Iterator<Item = usize> {
        self.window().map(|(other, _)| other).filter(|other| self.parts[*other] == Part::Unseen)
    }

    /// What may take effect now, and need not wait: a read that fits, or else the element that must
    /// come next.
    fn free_move(&self, state: State) -> Option<usize> {
        let now = || self.window().filter(|(_, is_behind)| !is_behind).map(|(other, _)| other);
        let is_read = |other: &usize| self.parts[*other] == Part::Read;
        let read = now().find(|other| is_read(other) && self.expected[*other] == state);
        read.or_else(|| {
            let successor = Action::Append(self.successor(state)?);
            now().find(|other| self.operations[*other].action == successor)
        })
    }

    /// What may be tried next, the best last.
    fn choices(&self, state: State) -> Vec<usize> {
        let mut choices: Vec<usize> = self
            .window()
            .filter(|(operation, is_behind)| match self.parts[*operation] {
                Part::Read | Part::Unseen => false,
                Part::Other => !is_behind,
                Part::Replacement => true,
                Part::OpenRemove => self.is_of_use(*operation, state),
            })
            .map(|(operation, _)| operation)
            .collect();
        choices.sort_by_key(|operation| Reverse(self.operations[*operation].end()));
        choices
    }

    /// Whether there is a reason to take a remove that was never answered.
    fn is_of_use(&self, remove: usize, state: State) -> bool {
        let operations = || self.window().map(|(operation, _)| operation);
        let first = operations().find(|other| self.parts[*other] == Part::OpenRemove);
        let needs_missing = |other: usize| match &self.operations[other].action {
            Action::Get(_) => self.expected[other] == State::MISSING,
            Action::Append(value) => self.seen.before.get(value) == Some(&None),
            Action::Put(_) | Action::Remove => false,
        };
        // It also makes room for what nobody saw.
        let changes = state != State::MISSING || self.unseen().next().is_some();
        changes && first == Some(remove) && operations().any(needs_missing)
    }

    fn run(mut self, budget: u64) -> Found {
        let mut visited: HashSet<(u64, State)> = HashSet::new();
        let mut frames: Vec<Frame> = Vec::new();
        let mut state = State::MISSING;
        let mut deepest = (usize::MAX, None);
        let mut steps = 0_u64;
        loop {
            while let Some(operation) = self.free_move(state) {
                state = self.step(operation, state).unwrap_or(state);
                self.take(operation);
                steps += 1;
            }
            if self.left == 0 {
                return Found::Order;
            }
            if self.left < deepest.0 {
                deepest = (self.left, self.first_answered());
            }
            frames.push(Frame { choices: self.choices(state), state, taken: self.trail.len() });
            state = loop {
                let Some(frame) = frames.last_mut() else { return Found::Stuck(deepest.1) };
                self.give_back(frame.taken);
                let Some(operation) = frame.choices.pop() else {
                    frames.pop();
                    continue;
                };
                steps += 1;
                if steps > budget {
                    return Found::Nothing;
                }
                let Some(changed) = self.step(operation, frame.state) else { continue };
                let with: Vec<usize> = match self.parts[operation] {
                    Part::Replacement | Part::OpenRemove => self.unseen().collect(),
                    Part::Read | Part::Unseen | Part::Other => Vec::new(),
                };
                let hash = with.iter().fold(self.hash, |hash, other| hash ^ mark(*other));
                if visited.insert((hash ^ mark(operation), changed)) {
                    with.into_iter().for_each(|other| self.take(other));
                    self.take(operation);
                    break changed;
                }
            };
        }
    }

    /// What was answered first of what has not taken effect and cannot come last.
    fn first_answered(&self) -> Option<usize> {
        let mut entry = self.next[HEAD];
        while let Some((operation, is_call)) = self.entries.get(entry) {
            if !is_call && self.parts[*operation] != Part::Unseen {
                return Some(*operation);
            }
            entry = self.next[entry];
        }
        None
    }
}

/// A point at which something was chosen.
struct Frame {
    /// What has not been tried yet, the best last.
    choices: Vec<usize>,
    /// Before the choice.
    state: State,
    /// Operations that had taken effect before the choice.
    taken: usize,
}

fn part(operation: &Operation, seen: &Seen) -> Part {
    let is_unseen = operation.written().is_some_and(|value| !seen.before.contains_key(&value));
    match &operation.action {
        Action::Get(_) => Part::Read,
        Action::Put(_) | Action::Append(_) | Action::Remove if !seen.is_unique => Part::Other,
        Action::Put(_) | Action::Append(_) if is_unseen => Part::Unseen,
        Action::Append(_) => Part::Other,
        Action::Remove if operation.answered.is_none() => Part::OpenRemove,
        Action::Put(_) | Action::Remove => Part::Replacement,
    }
}

/// What an operation adds to the hash of what has taken effect.
fn mark(operation: usize) -> u64 {
    mix(operation as u64 + 1)
}
