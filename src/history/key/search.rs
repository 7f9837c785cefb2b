//! Wing and Gong's search for an order that explains a history of puts, appends, removes and reads.
//!
//! Where every value is written once, most choices are none, and what is left is found in nearly
//! linear time:
//!
//! * A list that some read saw has one way to come about, element by element.
//! * A write that no read saw spoils the list: nothing fits it until a put or remove replaces it
//!   (the state `SPOILED`). So it may as well take effect right before a replacement, together
//!   with all others that can; before that only when it is the next one that was answered.
//! * Removes without an answer are alike, so the one that was called first goes first; and one is
//!   of use only if what needs a missing key comes right behind it.

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
    /// A list with a value that nobody saw. No list has this length.
    const SPOILED: State = State { length: u32::MAX, hash: 0, last: 0 };

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
        };
        for (_, is_call, index) in times {
            let entry = search.entries.len();
            search.entries.push((index, is_call));
            if is_call {
                search.call_of[index] = entry;
            } else {
                search.answer_of[index] = Some(entry);
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
    }

    fn give_back(&mut self, operation: usize) {
        if let Some(answer) = self.answer_of[operation] {
            self.relink(answer);
        }
        self.relink(self.call_of[operation]);
    }

    /// The state after the operation, if it may take effect now.
    fn step(&self, operation: usize, state: State) -> Option<State> {
        let action = &self.operations[operation].action;
        if let Action::Get(_) = action {
            return (self.expected[operation] == state).then_some(state);
        }
        // Somebody saw what follows the present last element: nothing else can come next. (A put or
        // a remove could, but then nobody could have seen it afterwards, for it stands once.)
        let is_list = state != State::MISSING && state != State::SPOILED;
        let successor = is_list.then(|| self.seen.after.get(&state.last)).flatten();
        if let Some(successor) = successor
            && *action != Action::Append(*successor)
        {
            return None;
        }
        if self.parts[operation] == Part::Unseen {
            return Some(State::SPOILED);
        }
        match action {
            Action::Put(value) => Some(State::MISSING.appended(*value)),
            Action::Append(value) => {
                let last = is_list.then_some(state.last);
                let seen = self.seen.before.get(value).filter(|_| self.seen.is_unique);
                let fits = seen.is_none_or(|before| *before == last);
                (fits && state != State::SPOILED).then(|| state.appended(*value))
            }
            Action::Remove => Some(State::MISSING),
            Action::Get(_) => None,
        }
    }

    /// Every operation that may take effect now, given that those that nobody saw do so as well.
    fn window(&self) -> impl Iterator<Item = usize> {
        let mut entry = self.next[HEAD];
        std::iter::from_fn(move || {
            while let Some((operation, is_call)) = self.entries.get(entry) {
                if *is_call {
                    entry = self.next[entry];
                    return Some(*operation);
                }
                if self.parts[*operation] != Part::Unseen {
                    return None;
                }
                entry = self.next[entry];
            }
            None
        })
    }

    /// Whether there is a reason to take a remove that was never answered.
    fn is_of_use(&self, remove: usize, state: State) -> bool {
        let is_first = self.window().find(|other| self.parts[*other] == Part::OpenRemove);
        let needs_missing = |other: usize| match &self.operations[other].action {
            Action::Get(_) => self.expected[other] == State::MISSING,
            Action::Append(value) => self.seen.before.get(value) == Some(&None),
            Action::Put(_) | Action::Remove => false,
        };
        // It also wipes away what nobody saw.
        let changes =
            state != State::MISSING || self.window().any(|other| self.parts[other] == Part::Unseen);
        changes && is_first == Some(remove) && self.window().any(needs_missing)
    }

    fn run(mut self, budget: u64) -> Found {
        let mut progress = Progress {
            left: self.answer_of.iter().flatten().count(),
            state: State::MISSING,
            done_hash: 0,
            stack: Vec::new(),
        };
        let mut visited: HashSet<(u64, State)> = HashSet::new();
        let mut deepest = (usize::MAX, None);
        let mut steps = 0_u64;
        let mut entry = self.next[HEAD];
        loop {
            if progress.left == 0 {
                return Found::Order;
            }
            steps += 1;
            if steps > budget {
                return Found::Nothing;
            }
            let state = progress.state;
            let (operation, is_call) = match self.entries.get(entry) {
                Some((operation, is_call)) => (Some(*operation), *is_call),
                None => (None, false),
            };
            // What may be taken here, and whether something else may be tried in its place.
            let choice = operation.and_then(|operation| match (self.parts[operation], is_call) {
                (Part::Read, true) => Some((operation, false)),
                (Part::Unseen, true) => (state == State::SPOILED).then_some((operation, false)),
                // Whatever could have come before it has been tried.
                (Part::Unseen, false) => Some((operation, false)),
                (Part::OpenRemove, true) => {
                    self.is_of_use(operation, state).then_some((operation, true))
                }
                (Part::Replacement | Part::Other, true) => Some((operation, true)),
                (Part::Read | Part::Replacement | Part::OpenRemove | Part::Other, false) => None,
            });
            let taken = choice.and_then(|(operation, has_alternative)| {
                let changed = self.step(operation, state)?;
                // Those that take effect with it, right before.
                let with = match self.parts[operation] {
                    Part::Replacement | Part::OpenRemove => {
                        self.window().filter(|other| self.parts[*other] == Part::Unseen).collect()
                    }
                    Part::Read | Part::Unseen | Part::Other => Vec::new(),
                };
                let mut hash = progress.done_hash ^ mark(operation);
                hash = with.iter().fold(hash, |hash, other| hash ^ mark(*other));
                let is_new =
                    changed == state && !has_alternative || visited.insert((hash, changed));
                is_new.then_some((operation, has_alternative, changed, with))
            });
            if let Some((operation, has_alternative, changed, with)) = taken {
                progress.take(&mut self, operation, has_alternative, changed);
                for other in with {
                    progress.take(&mut self, other, false, changed);
                }
                entry = self.next[HEAD];
            } else if is_call {
                entry = self.next[entry];
            } else {
                if progress.left < deepest.0 && operation.is_some() {
                    deepest = (progress.left, operation);
                }
                // What was answered here has not taken effect: go back.
                let Some(other) = progress.go_back(&mut self) else {
                    return Found::Stuck(deepest.1);
                };
                entry = other;
            }
        }
    }
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

/// How far a search has come.
struct Progress {
    /// Answered operations that have not taken effect.
    left: usize,
    state: State,
    done_hash: u64,
    /// What has taken effect: the operation, the state before it, and whether something else may
    /// be tried in its place.
    stack: Vec<(usize, State, bool)>,
}

impl Progress {
    fn take(
        &mut self,
        search: &mut Search<'_>,
        operation: usize,
        has_alternative: bool,
        changed: State,
    ) {
        self.stack.push((operation, self.state, has_alternative));
        search.take(operation);
        self.done_hash ^= mark(operation);
        self.left -= usize::from(search.answer_of[operation].is_some());
        self.state = changed;
    }

    /// Undoes the last choice that had an alternative, and says where to go on.
    fn go_back(&mut self, search: &mut Search<'_>) -> Option<usize> {
        while let Some((operation, before, has_alternative)) = self.stack.pop() {
            search.give_back(operation);
            self.done_hash ^= mark(operation);
            self.left += usize::from(search.answer_of[operation].is_some());
            self.state = before;
            if has_alternative {
                return Some(search.next[search.call_of[operation]]);
            }
        }
        None
    }
}
