//! What the reads of a key tell before any search begins.

use std::collections::HashMap;

use super::{Action, Operation, Reason, Value};

/// What the reads tell of the neighbours of each value. A value that is written once stands in one
/// list only, always behind the same one and before the same one.
pub(super) struct Seen {
    /// Every value that was read, with the one before it; none if it was the first element.
    pub(super) before: HashMap<Value, Option<Value>>,
    pub(super) after: HashMap<Value, Value>,
    /// Every value is written by one operation at most; without this nothing follows from
    /// neighbours.
    pub(super) is_unique: bool,
}

impl Seen {
    pub(super) fn of(history: &[Operation]) -> Result<Seen, (Reason, Vec<usize>)> {
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
