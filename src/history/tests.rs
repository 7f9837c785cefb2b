use super::*;

fn event(client: u64, call_ns: u64, return_ns: u64, action: Action, outcome: Outcome) -> Event {
    Event { client, key: Key::from("k"), action, call_ns, return_ns: Some(return_ns), outcome }
}

fn ok(client: u64, call_ns: u64, return_ns: u64, action: Action) -> Event {
    event(client, call_ns, return_ns, action, Outcome::Ok)
}

fn put(value: &str) -> Action {
    Action::Put(Value::from(value))
}

fn append(value: &str) -> Action {
    Action::Append(Value::from(value))
}

fn saw(values: &[&str]) -> Action {
    let list: Vec<Value> = values.iter().map(|value| Value::from(*value)).collect();
    Action::Get((!list.is_empty()).then_some(list))
}

fn violation(history: &[Event]) -> Violation {
    match check(history, 1_000_000) {
        Verdict::Violation(violation) => *violation,
        other @ (Verdict::Linearizable | Verdict::Unknown { .. }) => panic!("{other:?}"),
    }
}

fn passes(history: &[Event]) {
    assert_eq!(check(history, 1_000_000), Verdict::Linearizable);
}

/// What one client after another does, correctly: puts, appends, removes, each followed by a read.
fn long_history(mixed: bool) -> Vec<Event> {
    let mut history = Vec::new();
    let mut list: Vec<String> = Vec::new();
    for index in 0..600_u64 {
        let value = format!("v{index}");
        let action = match if mixed { index % 7 } else { 1 } {
            0 => {
                list = vec![value.clone()];
                put(&value)
            }
            5 => {
                list.clear();
                Action::Remove
            }
            _ => {
                list.push(value.clone());
                append(&value)
            }
        };
        let at = index * 100;
        history.push(ok(index % 5, at, at + 30, action));
        let seen: Vec<&str> = list.iter().map(String::as_str).collect();
        history.push(ok(7, at + 40, at + 60, saw(&seen)));
    }
    history
}

/// The history with one read changed.
fn tampered(mut history: Vec<Event>, place: usize, change: impl Fn(&mut Vec<Value>)) -> Vec<Event> {
    let Action::Get(Some(list)) = &mut history[place].action else { panic!("{place} is a read") };
    change(list);
    history
}

fn places(violation: &Violation) -> Vec<usize> {
    violation.operations.iter().map(|involved| involved.place).collect()
}

#[test]
fn long_correct_histories_pass() {
    passes(&long_history(false));
    passes(&long_history(true));
    passes(&[]);
}

#[test]
fn of_a_lost_append_the_append_and_the_read_are_shown() {
    // Of 1,200 operations: the read at 801 misses the append at 798 that an earlier one had seen.
    let drop_one = |list: &mut Vec<Value>| list.retain(|value| &*value.0 != "v399");
    let violation = violation(&tampered(long_history(false), 801, drop_one));
    assert!(violation.operations.len() <= 4, "{violation}");
    assert!(places(&violation).contains(&801), "{violation}");
    assert!(violation.to_string().contains("line 802: client 7: get returned ["), "{violation}");
    assert_eq!(violation.of_key, 1_200);
}

#[test]
fn of_swapped_elements_a_few_operations_are_shown() {
    for mixed in [false, true] {
        // Read 1,195 ends with two appends behind each other, in both histories.
        let swap = |list: &mut Vec<Value>| {
            let last = list.len() - 1;
            list.swap(last, last - 1);
        };
        let violation = violation(&tampered(long_history(mixed), 1_195, swap));
        assert!(violation.operations.len() <= 4, "{violation}");
        assert!(places(&violation).contains(&1_195), "{violation}");
    }
}

#[test]
fn a_stale_read_is_shown_with_both_writes() {
    let history = [
        ok(1, 0, 10, put("old")),
        ok(1, 20, 30, saw(&["old"])),
        ok(2, 40, 50, put("new")),
        ok(3, 55, 58, saw(&["new"])),
        ok(1, 60, 70, saw(&["old"])),
        ok(2, 80, 90, Action::Remove),
        ok(2, 95, 99, saw(&[])),
    ];
    let violation = violation(&history);
    let mut places = places(&violation);
    places.sort_unstable();
    assert_eq!(places, [0, 2, 4], "{violation}");
}

#[test]
fn a_read_of_the_future_and_a_value_from_nowhere_are_told_apart() {
    let future = violation(&[ok(1, 0, 10, saw(&["x"])), ok(2, 20, 30, append("x"))]);
    assert!(!future.why.contains("never written"), "{future}");
    assert_eq!(future.operations.len(), 2);
    let nowhere = violation(&[ok(1, 0, 10, saw(&["x"])), ok(2, 20, 30, append("y"))]);
    assert_eq!(nowhere.why, "\"x\" was read by (1) but never written");
}

#[test]
fn what_was_not_executed_may_never_be_seen_and_what_is_unknown_may() {
    let history = |outcome| {
        [
            event(1, 0, 10, append("x"), outcome),
            ok(2, 20, 30, saw(&["x"])),
            ok(3, 40, 50, saw(&["x"])),
        ]
    };
    passes(&history(Outcome::Unknown));
    let violation = violation(&history(Outcome::NotExecuted));
    assert!(violation.why.contains("was said not to be executed"), "{violation}");
    assert_eq!(violation.operations[1].place, 0);
}

#[test]
fn what_is_unknown_may_happen_after_its_caller_has_given_up() {
    // With a put the other checker judges.
    for begun in [append("w"), put("w")] {
        let history = |outcome| {
            [
                ok(4, 0, 5, begun.clone()),
                event(1, 6, 10, append("x"), outcome),
                ok(2, 20, 30, saw(&["w"])),
                ok(3, 40, 50, saw(&["w", "x"])),
            ]
        };
        passes(&history(Outcome::Unknown));
        violation(&history(Outcome::Ok));
    }
}

#[test]
fn reads_that_failed_say_nothing() {
    passes(&[
        ok(1, 0, 10, append("x")),
        event(2, 20, 30, saw(&[]), Outcome::NotExecuted),
        event(2, 40, 50, saw(&[]), Outcome::Unknown),
    ]);
}

#[test]
fn overlapping_operations_of_one_client_have_no_order() {
    passes(&[
        ok(1, 0, 90, append("x")),
        ok(1, 1, 80, append("y")),
        ok(2, 95, 99, saw(&["y", "x"])),
    ]);
}

#[test]
fn repeated_values_are_judged_too() {
    let history = |last: &[&str]| {
        [
            ok(1, 0, 10, append("x")),
            ok(1, 20, 30, append("x")),
            ok(2, 40, 50, saw(&["x", "x"])),
            ok(1, 60, 70, put("x")),
            ok(2, 80, 90, saw(last)),
        ]
    };
    passes(&history(&["x"]));
    violation(&history(&["x", "x"]));
    let appends_only = [ok(1, 0, 10, append("x")), ok(1, 20, 30, append("x"))];
    passes(&appends_only);
}

#[test]
fn keys_are_judged_by_themselves_and_undecided_ones_are_named() {
    let mut history: Vec<Event> =
        (1..=12_u64).map(|client| ok(client, 0, 100, put(&(client % 6).to_string()))).collect();
    history.push(ok(99, 200, 201, saw(&[])));
    let other = Event { key: Key::from("other"), ..ok(1, 0, 10, append("x")) };
    history.push(other);
    let keys = vec![Key::from("k")];
    assert_eq!(check(&history, 50), Verdict::Unknown { keys, budget: 50 });
    assert_eq!(violation(&history).key, Key::from("k")); // One wrong key among right ones is found, wherever it stands.
    for wrong in ["a", "m", "z"] {
        let history: Vec<Event> = ["a", "m", "z"]
            .into_iter()
            .flat_map(|key| {
                let list: &[&str] = if key == wrong { &[] } else { &["x"] };
                [ok(1, 0, 10, append("x")), ok(2, 20, 30, saw(list))]
                    .map(|event| Event { key: Key::from(key), ..event })
            })
            .collect();
        assert_eq!(violation(&history).key, Key::from(wrong));
    }
}
