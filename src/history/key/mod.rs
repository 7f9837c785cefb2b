//! Decides whether the history of one key is linearizable, when some operations have an unknown
//! outcome. Linearizability is compositional, so a store is linearizable if every key is.
//!
//! Two checkers with one input. [`check_appends`] is for keys that are only appended to and read:
//! linear time after sorting, and its complaint says what is wrong. [`check`] takes puts, appends,
//! removes and reads: Wing and Gong's search with Lowe's memo, and with prunings that rest on every
//! written value being unique. It never says "linearizable" when its budget ran out.
//!
//! Not checked here: that a history is well formed across keys.

use std::collections::{HashMap, HashSet};

/// A written value. Every write of a history writes another one.
pub type Value = u64;

/// What one operation did to, or saw of, its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The list becomes `[value]`.
    Put(Value),
    /// The value joins the end of the list; a missing key starts a new one.
    Append(Value),
    /// The key is missing afterwards.
    Remove,
    /// The list that was seen; none if the key was missing. A read without an answer does not
    /// belong into a history, because it says nothing.
    Get(Option<Vec<Value>>),
}

/// One operation of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Who called. Within one process, acknowledged appends take effect in the order of the calls,
    /// and a read sees the acknowledged appends that were called before it, even if the calls
    /// overlap. A caller that promises less gives every operation a process of its own.
    pub process: u64,
    /// When it was called, on a scale that all processes share.
    pub called: u64,
    /// When it was answered; none if the outcome is unknown: it may have happened at any time after
    /// the call, or may never happen.
    pub answered: Option<u64>,
    /// What it did.
    pub action: Action,
}

/// What a checker found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is an order that explains the history.
    Linearizable,
    /// There is none; the text says where the search ended.
    Violation(String),
    /// The budget ran out before either was certain.
    Unknown,
}

impl Operation {
    fn end(&self) -> u64 {
        self.answered.unwrap_or(u64::MAX)
    }

    fn written(&self) -> Option<Value> {
        match self.action {
            Action::Put(value) | Action::Append(value) => Some(value),
            Action::Remove | Action::Get(_) => None,
        }
    }

    fn describe(&self) -> String {
        let answered = self.answered.map_or("no answer".to_owned(), |at| at.to_string());
        let action = match &self.action {
            Action::Get(Some(list)) if list.len() > 12 => {
                format!("Get([{} elements, .. {:?}])", list.len(), &list[list.len() - 6..])
            }
            Action::Get(_) | Action::Put(_) | Action::Append(_) | Action::Remove => {
                format!("{:?}", self.action)
            }
        };
        format!("{action} by {} [{}, {answered}]", self.process, self.called)
    }
}

/// Checks the history of a key that is only appended to and read.
///
/// The longest read fixes the order of everything that any read saw, because a list only grows.
/// What is left to check is that this one order does not contradict the real-time order.
pub fn check_appends(history: &[Operation]) -> Verdict {
    match explain_appends(history) {
        Ok(()) => Verdict::Linearizable,
        Err(complaint) => Verdict::Violation(complaint),
    }
}

fn explain_appends(history: &[Operation]) -> Result<(), String> {
    let mut appends: HashMap<Value, &Operation> = HashMap::new();
    let mut longest: &[Value] = &[];
    for operation in history {
        match &operation.action {
            Action::Append(value) => {
                if appends.insert(*value, operation).is_some() {
                    return Err(format!("value {value} is appended by two operations"));
                }
            }
            Action::Get(Some(list)) if list.len() > longest.len() => longest = list,
            Action::Get(_) => {}
            Action::Put(_) | Action::Remove => {
                return Err(format!("{} in an append-only history", operation.describe()));
            }
        }
    }

    // Rank of an operation in the only possible order: an append of the element with index i has
    // rank 2i+1, a read of n elements has rank 2n, an acknowledged append that nobody saw comes last.
    let mut index_of: HashMap<Value, usize> = HashMap::new();
    for (index, value) in longest.iter().enumerate() {
        if index_of.insert(*value, index).is_some() {
            return Err(format!("value {value} occurs twice: it was executed twice"));
        }
        if !appends.contains_key(value) {
            return Err(format!("value {value} was read but never written"));
        }
    }
    let mut ranked: Vec<(usize, &Operation)> = Vec::with_capacity(history.len());
    for operation in history {
        match &operation.action {
            Action::Append(value) => match index_of.get(value) {
                Some(index) => ranked.push((2 * index + 1, operation)),
                None if operation.answered.is_some() => ranked.push((usize::MAX, operation)),
                None => {}
            },
            Action::Get(list) => {
                let list = list.as_deref().unwrap_or_default();
                if list != &longest[..list.len()] {
                    return Err(format!(
                        "{} is no prefix of {longest:?}, which was read too",
                        operation.describe()
                    ));
                }
                ranked.push((2 * list.len(), operation));
            }
            Action::Put(_) | Action::Remove => {}
        }
    }
    ranked.sort_by_key(|(rank, operation)| (*rank, operation.called));

    // Whatever comes later in this order must not have been answered before something earlier was
    // even called.
    let mut latest: Option<&Operation> = None;
    for (_, operation) in &ranked {
        if let Some(latest) = latest
            && operation.end() < latest.called
        {
            return Err(format!(
                "{} takes effect before {}, which had been answered before it was called",
                latest.describe(),
                operation.describe()
            ));
        }
        if latest.is_none_or(|latest| latest.called < operation.called) {
            latest = Some(operation);
        }
    }
    check_process_order(&ranked)
}

/// Acknowledged appends of one process keep the order of their calls, and its reads see them.
fn check_process_order(ranked: &[(usize, &Operation)]) -> Result<(), String> {
    let mut by_call: Vec<(usize, &Operation)> =
        ranked.iter().copied().filter(|(_, operation)| operation.answered.is_some()).collect();
    by_call.sort_by_key(|(_, operation)| operation.called);
    let mut highest: HashMap<u64, (usize, &Operation)> = HashMap::new();
    for (rank, operation) in by_call {
        if let Some((earlier_rank, earlier)) = highest.get(&operation.process)
            && *earlier_rank > rank
        {
            return Err(format!(
                "{} does not follow {}, which the same process called before",
                operation.describe(),
                earlier.describe()
            ));
        }
        // Reads do not bind later operations: those may overlap with them.
        if matches!(operation.action, Action::Append(_)) {
            highest.insert(operation.process, (rank, operation));
        }
    }
    Ok(())
}

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

fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Checks the history of a key with puts, appends, removes and reads. Gives up after `budget`
/// steps.
pub fn check(history: &[Operation], budget: u64) -> Verdict {
    let seen = match Seen::of(history) {
        Ok(seen) => seen,
        Err(complaint) => return Verdict::Violation(complaint),
    };
    // A write that was neither answered nor seen may never have happened: without it there are no
    // fewer explanations, because nothing depends on it.
    let mut operations: Vec<&Operation> = history
        .iter()
        .filter(|operation| match operation.written() {
            Some(value) => operation.answered.is_some() || seen.before.contains_key(&value),
            None => operation.answered.is_some() || operation.action == Action::Remove,
        })
        .collect();
    operations.sort_by_key(|operation| operation.called);
    Search::new(&operations, &seen).run(budget)
}

/// What the reads tell of the neighbours of each value. A value is written once, so it stands in
/// one list only, always behind the same one and before the same one.
struct Seen {
    /// None: it was the first element.
    before: HashMap<Value, Option<Value>>,
    after: HashMap<Value, Value>,
}

impl Seen {
    fn of(history: &[Operation]) -> Result<Seen, String> {
        let mut writers: HashMap<Value, &Operation> = HashMap::new();
        for operation in history {
            if let Some(value) = operation.written()
                && writers.insert(value, operation).is_some()
            {
                return Err(format!("value {value} is written by two operations"));
            }
        }
        let mut seen = Seen { before: HashMap::new(), after: HashMap::new() };
        for operation in history {
            let Action::Get(Some(list)) = &operation.action else { continue };
            let mut previous = None;
            for value in list {
                let Some(writer) = writers.get(value) else {
                    return Err(format!("value {value} was read but never written"));
                };
                if *seen.before.entry(*value).or_insert(previous) != previous {
                    return Err(format!("value {value} was read at two places"));
                }
                if previous.is_some() && matches!(writer.action, Action::Put(_)) {
                    return Err(format!("put value {value} was read behind another one"));
                }
                if let Some(previous) = previous
                    && *seen.after.entry(previous).or_insert(*value) != *value
                {
                    return Err(format!("value {previous} was read with two successors"));
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
        // Somebody saw what follows the present last element: nothing else can come next.
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
                let fits = self.seen.before.get(value).is_none_or(|before| *before == last);
                fits.then(|| state.appended(*value))
            }
            Action::Remove => Some(State::MISSING),
            Action::Get(_) => None,
        }
    }

    fn run(mut self, budget: u64) -> Verdict {
        let mut left: usize = self.answer_of.iter().flatten().count();
        let mut state = State::MISSING;
        let mut done_hash = 0_u64;
        let mut visited: HashSet<(u64, State)> = HashSet::new();
        // What has taken effect: the operation, the state before it, and whether something else
        // may be tried in its place.
        let mut stack: Vec<(usize, State, bool)> = Vec::new();
        let mut deepest = (usize::MAX, String::new());
        let mut steps = 0_u64;
        let mut entry = self.next[HEAD];
        loop {
            if left == 0 {
                return Verdict::Linearizable;
            }
            steps += 1;
            if steps > budget {
                return Verdict::Unknown;
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
                let stuck = self.operations[self.entries[entry].0];
                deepest = (left, format!("cannot explain {}", stuck.describe()));
            }
            // The operation that was answered here has not taken effect: go back.
            loop {
                let Some((operation, before, has_alternative)) = stack.pop() else {
                    return Verdict::Violation(deepest.1);
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

#[cfg(test)]
mod tests;
