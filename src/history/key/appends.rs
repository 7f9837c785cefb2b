//! The linear-time checker for a list that only grows.

use std::collections::HashMap;

use super::{Action, Explanation, Operation, Reason, Value, Verdict};

/// Checks the history of a key that is only appended to and read. Every append writes another
/// value.
///
/// The longest read fixes the order of everything that any read saw, because a list only grows.
/// What is left to check is that this one order does not contradict the real-time order.
#[must_use]
pub fn check_appends(history: &[Operation]) -> Verdict {
    match explain(history) {
        Ok(()) => Verdict::Linearizable,
        Err((reason, involved)) => Verdict::Violation(Explanation::new(reason, history, &involved)),
    }
}

type Complaint = (Reason, Vec<usize>);

/// Rank in the only possible order, and place in the history.
type Ranked = (usize, usize);

fn explain(history: &[Operation]) -> Result<(), Complaint> {
    let mut appends: HashMap<Value, usize> = HashMap::new();
    let mut longest: (&[Value], usize) = (&[], 0);
    for (place, operation) in history.iter().enumerate() {
        match &operation.action {
            Action::Append(value) => {
                if let Some(other) = appends.insert(*value, place) {
                    return Err((Reason::WrittenTwice(*value), vec![other, place]));
                }
            }
            Action::Get(Some(list)) if list.len() > longest.0.len() => longest = (list, place),
            Action::Get(_) => {}
            Action::Put(_) | Action::Remove => return Err((Reason::NotAppendOnly, vec![place])),
        }
    }
    let (longest, longest_read) = longest;
    let mut index_of: HashMap<Value, usize> = HashMap::new();
    for (index, value) in longest.iter().enumerate() {
        if !appends.contains_key(value) {
            return Err((Reason::NeverWritten(*value), vec![longest_read]));
        }
        if index_of.insert(*value, index).is_some() {
            return Err((Reason::ExecutedTwice(*value), vec![longest_read, appends[value]]));
        }
    }

    // An append of the element with index i has rank 2i+1, a read of n elements has rank 2n, an
    // acknowledged append that nobody saw comes last.
    let mut ranked: Vec<Ranked> = Vec::with_capacity(history.len());
    for (place, operation) in history.iter().enumerate() {
        match &operation.action {
            Action::Append(value) => match index_of.get(value) {
                Some(index) => ranked.push((2 * index + 1, place)),
                None if operation.answered.is_some() => ranked.push((usize::MAX, place)),
                None => {}
            },
            Action::Get(list) => {
                let list = list.as_deref().unwrap_or_default();
                if list != &longest[..list.len()] {
                    return Err((Reason::NoPrefix, vec![place, longest_read]));
                }
                ranked.push((2 * list.len(), place));
            }
            Action::Put(_) | Action::Remove => {}
        }
    }
    ranked.sort_by_key(|(rank, place)| (*rank, history[*place].called));

    // Whatever comes later in this order must not have been answered before something earlier was
    // even called.
    let mut latest: Option<usize> = None;
    for (_, place) in &ranked {
        let operation = &history[*place];
        if let Some(latest) = latest
            && operation.end() < history[latest].called
        {
            return Err((Reason::OutOfOrder, vec![latest, *place]));
        }
        if latest.is_none_or(|latest| history[latest].called < operation.called) {
            latest = Some(*place);
        }
    }
    check_process_order(history, &ranked)
}

/// Acknowledged appends of one process keep the order of their calls.
fn check_process_order(history: &[Operation], ranked: &[Ranked]) -> Result<(), Complaint> {
    let mut by_call: Vec<Ranked> = ranked
        .iter()
        .copied()
        .filter(|(_, place)| {
            let operation = &history[*place];
            operation.answered.is_some() && matches!(operation.action, Action::Append(_))
        })
        .collect();
    by_call.sort_by_key(|(_, place)| history[*place].called);
    let mut last: HashMap<u64, Ranked> = HashMap::new();
    for (rank, place) in by_call {
        if let Some((earlier_rank, earlier)) = last.insert(history[place].process, (rank, place))
            && earlier_rank > rank
        {
            return Err((Reason::ProcessOrder, vec![place, earlier]));
        }
    }
    Ok(())
}
