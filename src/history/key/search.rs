//! Wing and Gong's search for an order that explains a history of puts, appends, removes and reads.

use std::collections::{HashMap, HashSet};

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

/// What the reads tell of the neighbours of each value. A value that is written once stands in one
/// list only, always behind the same one and before the same one.
struct Seen {
    /// Every value that was read, with the one before it; none if it was the first element.
    before: HashMap<Value, Option<Value>>,
    after: HashMap<Value, Value>,
    /// Every value is written by one operation at most; without this nothing follows from
    /// neighbours.
    is_unique: bool,
}

impl Seen {
    fn of(history: &[Operation]) -> Result<Seen, (Reason, Vec<usize>)> {
        let mut writers: HashMap<Value, usize> = HashMap::new();
        let mut seen = Seen { before: HashMap::new(), after: HashMap::new(), is_unique: true };
        for (place, operation) in history.iter().enumerate() {
            if let Some(value) = operation.written() {
                seen.is_unique &= writers.insert(value, place).is_none();
            }
        }
        // Which read told each neighbour.
        let mut told_before: HashMap<Value, usize> = HashMap::new();
        let mut told_after: HashMap<Value, usize> = HashMap::new();
        for (place, operation) in history.iter().enumerate() {
            let Action::Get(Some(list)) = &operation.action else { continue };
            let mut previous = None;
            for value in list {
                let Some(writer) = writers.get(value) else {
                    return Err((Reason::NeverWritten(*value), vec![place]));
                };
                let before = *seen.before.entry(*value).or_insert(previous);
                if !seen.is_unique {
                    continue;
                }
                let teller = *told_before.entry(*value).or_insert(place);
                if before != previous {
                    let reason = match teller == place {
                        true => Reason::ExecutedTwice(*value),
                        false => Reason::TwoPlaces(*value),
                    };
                    return Err((
                        reason,
                        vec![place, if teller == place { *writer } else { teller }],
                    ));
                }
                if previous.is_some() && matches!(history[*writer].action, Action::Put(_)) {
                    return Err((Reason::PutBehind(*value), vec![place, *writer]));
                }
                if let Some(previous) = previous {
                    let teller = *told_after.entry(previous).or_insert(place);
                    if *seen.after.entry(previous).or_insert(*value) != *value {
                        return Err((Reason::TwoSuccessors(previous), vec![place, teller]));
                    }
                }
                previous = Some(*value);
            }
        }
        Ok(seen)
    }
}

/// The depth-first search: a list of calls and answers in the order of time, from which whatever
/// has taken effect is unlinked.
struct Search<'a> {
    operations: &'a [&'a Operation],
    seen: &'a Seen,
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
        let successor = (state.length > 0).then(|| self.seen.after.get(&state.last)).flatten();
        if let Some(successor) = successor
            && *action != Action::Append(*successor)
        {
            return None;
        }
        match action {
            Action::Put(value) => Some(State::MISSING.appended(*value)),
            Action::Append(value) => {
                let last = (state.length > 0).then_some(state.last);
                let seen = self.seen.before.get(value).filter(|_| self.seen.is_unique);
                let fits = seen.is_none_or(|before| *before == last);
                fits.then(|| state.appended(*value))
            }
            Action::Remove => Some(State::MISSING),
            Action::Get(_) => None,
        }
    }

    fn run(mut self, budget: u64) -> Found {
        let mut left: usize = self.answer_of.iter().flatten().count();
        let mut state = State::MISSING;
        let mut done_hash = 0_u64;
        let mut visited: HashSet<(u64, State)> = HashSet::new();
        // What has taken effect: the operation, the state before it, and whether something else
        // may be tried in its place.
        let mut stack: Vec<(usize, State, bool)> = Vec::new();
        let mut deepest = (usize::MAX, None);
        let mut steps = 0_u64;
        let mut entry = self.next[HEAD];
        loop {
            if left == 0 {
                return Found::Order;
            }
            steps += 1;
            if steps > budget {
                return Found::Nothing;
            }
            let at_answer = entry >= self.entries.len() || !self.entries[entry].1;
            if !at_answer {
                let (operation, _) = self.entries[entry];
                let is_read = matches!(self.operations[operation].action, Action::Get(_));
                let changed = self.step(operation, state).filter(|changed| {
                    let hash = done_hash ^ mix(operation as u64 + 1);
                    is_read || visited.insert((hash, *changed))
                });
                let Some(changed) = changed else {
                    entry = self.next[entry];
                    continue;
                };
                // A read that fits changes nothing, so taking it never hurts: no alternative.
                stack.push((operation, state, !is_read));
                self.take(operation);
                done_hash ^= mix(operation as u64 + 1);
                left -= usize::from(self.answer_of[operation].is_some());
                state = changed;
                entry = self.next[HEAD];
                continue;
            }
            if left < deepest.0 && entry < self.entries.len() {
                deepest = (left, Some(self.entries[entry].0));
            }
            // The operation that was answered here has not taken effect: go back.
            loop {
                let Some((operation, before, has_alternative)) = stack.pop() else {
                    return Found::Stuck(deepest.1);
                };
                self.give_back(operation);
                done_hash ^= mix(operation as u64 + 1);
                left += usize::from(self.answer_of[operation].is_some());
                state = before;
                if has_alternative {
                    entry = self.next[self.call_of[operation]];
                    break;
                }
            }
        }
    }
}
