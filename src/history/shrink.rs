//! Finds a small part of a key's history that is a violation by itself.
//!
//! Kept here: only what a linearizable history could lose without becoming a violation is left
//! out, so that a violation of the part is one of the whole.
//!
//! * The end: writes that were called later; those that were answered later become unknown, and
//!   reads that were answered later vanish.
//! * The beginning: an acknowledged put or remove makes every write that was answered before its
//!   call, and every read that was called before its answer, irrelevant to what follows.
//! * A read.
//! * A write that nobody saw: between it and the next put or remove there is no read.
//! * An append, if its value vanishes from all reads with it: every list of every state is then
//!   the same without that value.

use std::collections::HashSet;

use super::check::{check_key, values};
use super::key::{Action, Explanation, Operation, Value, Verdict};

/// Elements that all attempts together may look at.
const EFFORT: usize = 200_000_000;

/// Steps of search that one attempt may take: what is hard to refute is no explanation.
const ATTEMPT_BUDGET: u64 = 200_000;

/// A part of a history that is a violation.
pub(super) struct Small {
    pub operations: Vec<Operation>,
    /// Where each of them stands in the history.
    pub from: Vec<usize>,
    pub explanation: Explanation,
}

/// Shrinks a history of which [`check_key`] said that it is a violation, with this budget.
pub(super) fn shrink(history: &[Operation], budget: u64) -> Small {
    let Verdict::Violation(explanation) = check_key(history, budget) else {
        unreachable!("the same check of the same history has found a violation");
    };
    let from = (0..history.len()).collect();
    let small = Small { operations: history.to_vec(), from, explanation };
    let mut shrinker = Shrinker { small, effort_left: EFFORT };
    shrinker.cut_end();
    shrinker.cut_beginning();
    shrinker.drop_chunks();
    shrinker.small
}

impl Small {
    /// The operations, each changed or left out.
    fn part(&self, keep: impl Fn(&Operation) -> Option<Operation>) -> Part {
        let numbered = self.from.iter().copied().zip(&self.operations);
        numbered.filter_map(|(from, operation)| Some((from, keep(operation)?))).collect()
    }
}

type Part = Vec<(usize, Operation)>;

/// The values in what these reads saw. Whoever wrote one stays where possible, although it is
/// irrelevant: "never written" would be a wrong reason.
fn seen_by(operations: &[Operation], of: impl Fn(&Operation) -> bool) -> HashSet<Value> {
    let is_read = |operation: &&Operation| matches!(operation.action, Action::Get(_));
    let reads = operations.iter().filter(|operation| is_read(operation) && of(operation));
    reads.flat_map(|read| values(read).iter().copied()).collect()
}

fn is_seen(operation: &Operation, seen: &HashSet<Value>) -> bool {
    operation.written().is_some_and(|value| seen.contains(&value))
}

struct Shrinker {
    small: Small,
    effort_left: usize,
}

impl Shrinker {
    /// Whether the part is still a violation; then it replaces what there was.
    fn try_part(&mut self, part: Part) -> bool {
        let size: usize = part.iter().map(|(_, operation)| 8 + values(operation).len()).sum();
        if size > self.effort_left {
            self.effort_left = 0;
            return false;
        }
        self.effort_left -= size;
        let (from, operations): (Vec<usize>, Vec<Operation>) = part.into_iter().unzip();
        match check_key(&operations, ATTEMPT_BUDGET) {
            Verdict::Linearizable | Verdict::Unknown => false,
            Verdict::Violation(explanation) => {
                self.small = Small { operations, from, explanation };
                true
            }
        }
    }

    /// Finds the earliest end that leaves a violation.
    fn cut_end(&mut self) {
        let answers = self.small.operations.iter().filter_map(|operation| operation.answered);
        let mut ends: Vec<u64> = answers.collect();
        ends.sort_unstable();
        self.bisect(&ends, |small, end| {
            let is_open = |operation: &Operation| operation.answered.is_none_or(|at| at > end);
            let seen = seen_by(&small.operations, |read| !is_open(read));
            small.part(|operation| match operation.action {
                Action::Get(_) => (!is_open(operation)).then(|| operation.clone()),
                Action::Put(_) | Action::Append(_) | Action::Remove => {
                    let is_kept = operation.called <= end || is_seen(operation, &seen);
                    let answered = operation.answered.filter(|at| *at <= end);
                    is_kept.then(|| Operation { answered, ..operation.clone() })
                }
            })
        });
    }

    /// Finds the latest beginning that leaves a violation.
    fn cut_beginning(&mut self) {
        let resets = self.small.operations.iter().filter_map(|operation| match operation.action {
            Action::Put(_) | Action::Remove => Some((operation.called, operation.answered?)),
            Action::Append(_) | Action::Get(_) => None,
        });
        let mut resets: Vec<(u64, u64)> = resets.collect();
        resets.sort_unstable_by(|one, other| other.cmp(one));
        self.bisect(&resets, |small, (called, answered)| {
            let seen = seen_by(&small.operations, |read| read.called > answered);
            small.part(|operation| {
                let is_kept = match operation.action {
                    Action::Get(_) => operation.called > answered,
                    Action::Put(_) | Action::Append(_) | Action::Remove => {
                        operation.answered.is_none_or(|end| end >= called)
                            || is_seen(operation, &seen)
                    }
                };
                is_kept.then(|| operation.clone())
            })
        });
    }

    /// Cuts at the first of `cuts` that leaves a violation, if the later ones do so too.
    fn bisect<T: Copy>(&mut self, cuts: &[T], cut: impl Fn(&Small, T) -> Part) {
        let (mut low, mut high) = (0, cuts.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let part = cut(&self.small, cuts[middle]);
            if self.try_part(part) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
    }

    /// Leaves out operations, in chunks that become smaller, until no single one can be spared.
    fn drop_chunks(&mut self) {
        let mut chunk = self.small.operations.len().div_ceil(2).max(1);
        loop {
            let before = self.small.operations.len();
            let mut start = 0;
            while start < self.small.operations.len() && self.effort_left > 0 {
                let part = self.without(start, start + chunk);
                let is_less = part.len() < self.small.operations.len();
                if !(is_less && self.try_part(part)) {
                    start += chunk;
                }
            }
            let done = chunk == 1 && self.small.operations.len() == before;
            if done || self.effort_left == 0 {
                return;
            }
            chunk = (chunk / 2).max(1);
        }
    }

    /// All but those in `start..end` that can be left out.
    fn without(&self, start: usize, end: usize) -> Part {
        let in_chunk = |index: usize| (start..end).contains(&index);
        let operations = &self.small.operations;
        // What others than the dropped appends write must stay where it was read.
        let mut dropped: HashSet<Value> = HashSet::new();
        let mut bound: HashSet<Value> = HashSet::new();
        for (index, operation) in operations.iter().enumerate() {
            match operation.action {
                Action::Append(value) if in_chunk(index) => {
                    dropped.insert(value);
                }
                Action::Append(value) | Action::Put(value) => {
                    bound.insert(value);
                }
                Action::Remove | Action::Get(_) => {}
            }
        }
        dropped.retain(|value| !bound.contains(value));
        let reads_left = operations.iter().enumerate().filter(|(index, _)| !in_chunk(*index));
        let seen: HashSet<Value> = reads_left
            .filter(|(_, operation)| matches!(operation.action, Action::Get(_)))
            .flat_map(|(_, operation)| values(operation).iter().copied())
            .collect();
        let mut part = Part::new();
        for (index, operation) in operations.iter().enumerate() {
            let mut operation = operation.clone();
            let is_dropped = match &mut operation.action {
                Action::Get(_) if in_chunk(index) => true,
                Action::Get(Some(list)) => {
                    list.retain(|value| !dropped.contains(value));
                    false
                }
                Action::Get(None) | Action::Remove => false,
                Action::Append(value) => in_chunk(index) && dropped.contains(value),
                Action::Put(value) => in_chunk(index) && !seen.contains(value),
            };
            if !is_dropped {
                part.push((self.small.from[index], operation));
            }
        }
        part
    }
}
