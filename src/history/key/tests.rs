use super::search::mix;
use super::*;

/// `(process, called, answered, action)`; an answer at 0 stands for an unknown outcome.
fn history(operations: &[(u64, u64, u64, Action)]) -> Vec<Operation> {
    operations
        .iter()
        .map(|(process, called, answered, action)| Operation {
            process: *process,
            called: *called,
            answered: (*answered > 0).then_some(*answered),
            action: action.clone(),
        })
        .collect()
}

fn saw(values: &[Value]) -> Action {
    Action::Get((!values.is_empty()).then(|| values.to_vec()))
}

/// Both checkers must agree on an append-only history.
fn appends_are(operations: &[(u64, u64, u64, Action)], linearizable: bool) {
    let history = history(operations);
    let quick = check_appends(&history);
    let searched = check(&history, 1_000_000);
    assert_eq!(quick == Verdict::Linearizable, linearizable, "{quick:?}");
    assert_eq!(searched == Verdict::Linearizable, linearizable, "{searched:?}");
}

fn mixed_is(operations: &[(u64, u64, u64, Action)], linearizable: bool) {
    let verdict = check(&history(operations), 1_000_000);
    assert_eq!(verdict == Verdict::Linearizable, linearizable, "{verdict:?}");
}

use Action::{Append, Put, Remove};

#[test]
fn concurrent_appends_may_take_effect_in_any_order() {
    appends_are(&[(1, 1, 9, Append(1)), (2, 2, 8, Append(2)), (1, 10, 11, saw(&[2, 1]))], true);
    appends_are(&[(1, 1, 9, Append(1)), (2, 2, 8, Append(2)), (1, 10, 11, saw(&[1, 2]))], true);
}

#[test]
fn an_acknowledged_append_that_a_later_read_misses_is_refused() {
    appends_are(&[(1, 1, 2, Append(1)), (2, 3, 4, saw(&[]))], false);
    appends_are(&[(1, 1, 2, Append(1)), (1, 3, 4, Append(2)), (2, 5, 6, saw(&[2]))], false);
}

#[test]
fn an_append_that_occurs_twice_is_refused() {
    appends_are(&[(1, 1, 2, Append(1)), (2, 3, 4, saw(&[1, 1]))], false);
}

#[test]
fn appends_in_the_wrong_real_time_order_are_refused() {
    appends_are(&[(1, 1, 2, Append(1)), (2, 3, 4, Append(2)), (3, 5, 6, saw(&[2, 1]))], false);
}

#[test]
fn an_unanswered_append_may_happen_late_or_never_but_not_before_its_call() {
    appends_are(&[(1, 1, 0, Append(1)), (2, 3, 4, saw(&[])), (2, 5, 6, saw(&[1]))], true);
    appends_are(&[(1, 1, 0, Append(1)), (2, 3, 4, saw(&[]))], true);
    appends_are(&[(2, 1, 2, saw(&[1])), (1, 3, 0, Append(1))], false);
}

#[test]
fn a_stale_read_after_a_newer_one_is_refused() {
    appends_are(&[(1, 1, 9, Append(1)), (2, 2, 3, saw(&[1])), (3, 4, 5, saw(&[]))], false);
}

#[test]
fn reads_that_are_no_prefixes_of_one_another_are_refused() {
    appends_are(
        &[
            (1, 1, 9, Append(1)),
            (2, 1, 9, Append(2)),
            (3, 3, 4, saw(&[1])),
            (3, 5, 6, saw(&[2, 1])),
        ],
        false,
    );
}

#[test]
fn a_value_that_nobody_wrote_is_refused() {
    appends_are(&[(1, 1, 2, saw(&[7]))], false);
}

#[test]
fn pipelined_appends_of_one_process_keep_their_order() {
    let swapped = history(&[(1, 1, 9, Append(1)), (1, 2, 8, Append(2)), (2, 10, 11, saw(&[2, 1]))]);
    assert!(matches!(check_appends(&swapped), Verdict::Violation(_)));
}

#[test]
fn puts_and_removes_replace_the_list() {
    mixed_is(
        &[
            (1, 1, 2, Append(1)),
            (1, 3, 4, Put(2)),
            (1, 5, 6, Append(3)),
            (1, 7, 8, saw(&[2, 3])),
            (1, 9, 10, Remove),
            (1, 11, 12, saw(&[])),
            (1, 13, 14, Append(4)),
            (1, 15, 16, saw(&[4])),
        ],
        true,
    );
}

#[test]
fn a_value_that_a_put_replaced_does_not_come_back() {
    mixed_is(
        &[(1, 1, 2, Put(1)), (1, 3, 4, Put(2)), (1, 5, 6, saw(&[2])), (1, 7, 8, saw(&[1]))],
        false,
    );
}

#[test]
fn a_late_copy_of_an_unanswered_put_counts_once_only() {
    mixed_is(
        &[(1, 1, 0, Put(1)), (2, 3, 4, saw(&[1])), (2, 5, 6, Put(2)), (2, 7, 8, saw(&[2]))],
        true,
    );
    mixed_is(
        &[
            (1, 1, 0, Put(1)),
            (2, 3, 4, saw(&[1])),
            (2, 5, 6, Put(2)),
            (2, 7, 8, saw(&[2])),
            (2, 9, 10, saw(&[1])),
        ],
        false,
    );
}

#[test]
fn an_unanswered_remove_explains_a_missing_key_at_one_time_only() {
    let told = |last: Action| {
        [
            (1, 1, 2, Put(1)),
            (2, 3, 0, Remove),
            (1, 5, 6, saw(&[1])),
            (1, 7, 8, saw(&[])),
            (1, 9, 10, Put(2)),
            (1, 11, 12, saw(&[2])),
            (1, 13, 14, last),
        ]
    };
    mixed_is(&told(saw(&[2])), true);
    mixed_is(&told(saw(&[])), false);
}

#[test]
fn an_exhausted_budget_is_never_a_pass() {
    // Repeated values leave nothing but trying.
    let concurrent: Vec<_> = (1..=12).map(|client| (client, 1, 100, Put(client % 6))).collect();
    let mut operations = concurrent;
    operations.push((99, 200, 201, saw(&[])));
    assert_eq!(check(&history(&operations), 50), Verdict::Unknown);
    assert!(matches!(check(&history(&operations), 10_000_000), Verdict::Violation(_)));
}

/// The plainest possible checker: every order, no memo, no prunings.
fn plain(operations: &[Operation], done: u32, state: &Option<Vec<Value>>) -> bool {
    let open = |index: usize| done & (1 << index) == 0;
    if operations.iter().enumerate().all(|(index, o)| !open(index) || o.answered.is_none()) {
        return true;
    }
    let horizon = operations
        .iter()
        .enumerate()
        .filter(|(index, _)| open(*index))
        .map(|(_, operation)| operation.end())
        .min()
        .unwrap_or(u64::MAX);
    operations.iter().enumerate().any(|(index, operation)| {
        if !open(index) || operation.called > horizon {
            return false;
        }
        let next = match &operation.action {
            Action::Put(value) => Some(vec![*value]),
            Action::Append(value) => {
                Some(state.iter().flatten().copied().chain([*value]).collect())
            }
            Action::Remove => None,
            Action::Get(seen) if seen == state => state.clone(),
            Action::Get(_) => return false,
        };
        plain(operations, done | (1 << index), &next)
    })
}

#[test]
fn the_search_agrees_with_trying_every_order_on_random_small_histories() {
    let mut seed = 1_u64;
    let mut chance = move |bound: u64| {
        seed = mix(seed);
        seed % bound
    };
    let (mut good, mut bad) = (0, 0);
    for _ in 0..50_000 {
        // A true run of a register with overlapping calls, then perhaps one read changed.
        let mut operations = Vec::new();
        let mut state: Option<Vec<Value>> = None;
        let only_appends = chance(3) == 0;
        let values = if chance(4) == 0 { 2 } else { 100 };
        for index in 1..=chance(8) + 1 {
            let at = index * 10;
            let action = match if only_appends { 2 + chance(4) % 4 } else { chance(6) } {
                0 => Put(index % values),
                1 => Remove,
                2 | 3 => Append(index % values),
                _ => Action::Get(None),
            };
            let happened = chance(5) > 0;
            let mut action = action;
            if happened {
                match &mut action {
                    Action::Put(value) => state = Some(vec![*value]),
                    Action::Append(value) => state.get_or_insert_default().push(*value),
                    Action::Remove => state = None,
                    Action::Get(seen) => *seen = state.clone(),
                }
            } else if matches!(action, Action::Get(_)) {
                continue;
            }
            let answered = happened && (chance(4) > 0 || matches!(action, Action::Get(_)));
            operations.push(Operation {
                process: index,
                called: at - chance(12).min(at - 1),
                answered: answered.then(|| at + chance(12)),
                action,
            });
        }
        let length = operations.len() as u64;
        for _ in 0..chance(3).min(length) {
            let victim = chance(length) as usize;
            let donor = operations[chance(length) as usize].action.clone();
            if let Action::Get(seen) = &mut operations[victim].action {
                match (donor, chance(3)) {
                    (Action::Get(other), 0) => *seen = other,
                    (_, 1) => *seen = None,
                    _ => {
                        seen.as_mut().and_then(Vec::pop);
                        *seen = seen.take().filter(|list| !list.is_empty());
                    }
                }
            }
        }
        let expected = plain(&operations, 0, &None);
        let verdict = check(&operations, 1_000_000);
        assert_eq!(verdict == Verdict::Linearizable, expected, "{verdict:?}: {operations:#?}");
        if values > 10 && operations.iter().all(|o| matches!(o.action, Append(_) | Action::Get(_)))
        {
            let quick = check_appends(&operations);
            assert_eq!(quick == Verdict::Linearizable, expected, "{quick:?}: {operations:#?}");
        }
        if expected { good += 1 } else { bad += 1 }
    }
    assert!(good > 1_000 && bad > 1_000, "{good} linearizable, {bad} not: too few of a kind");
}
