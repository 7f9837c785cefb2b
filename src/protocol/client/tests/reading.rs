//! Reads: what they must see, long lists, and their limits.

use super::*;
use crate::kv::command::{Key, Value};
use crate::protocol::message::{KeysPage, Page, PageRequest};

fn elements(from: u64, to: u64) -> Vec<Value> {
    (from..to).map(|index| Value::from(index.to_string().as_str())).collect()
}

fn page(generation: u64, from: u64, to: u64, end: u64) -> Outcome {
    let generation = OperationNumber(generation);
    Outcome::Page(Page { generation, start: from, end, values: elements(from, to) })
}

fn wanted(request: &Request) -> PageRequest {
    match &request.ask {
        Ask::Get { page: Some(page), .. } => *page,
        other => panic!("not a later page: {other:?}"),
    }
}

fn after(request: &Request) -> Option<(SessionId, RequestNumber)> {
    match &request.ask {
        Ask::Get { after, .. } => *after,
        other => panic!("not a read: {other:?}"),
    }
}

fn list(values: Vec<Value>) -> Answer {
    Ok(Completed::List(Some(values)))
}

#[test]
fn a_short_list_needs_one_page() {
    let mut bench = Bench::served();
    let call = bench.call(get(), 1000);
    let read = bench.take_requests(s1()).remove(0);
    assert_eq!(after(&read), None, "there is no session");
    bench.reply(s1(), &read, page(3, 0, 4, 4));
    assert_eq!(bench.answers[&call], list(elements(0, 4)));
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn a_read_must_see_every_write_sent_before_it() {
    let mut bench = Bench::opened();
    bench.call(get(), 1000);
    assert_eq!(after(&bench.take_requests(s1())[0]), Some((session(1), RequestNumber(1))));
    bench.call(append("x"), 1000);
    bench.take_requests(s1());
    bench.call(get(), 1000);
    assert_eq!(after(&bench.take_requests(s1())[0]), Some((session(1), RequestNumber(2))));
}

#[test]
fn a_read_does_not_overtake_a_write_that_waits_for_its_session() {
    let mut bench = Bench::served();
    bench.call(append("x"), 1000);
    bench.call(get(), 1000);
    let open = bench.take_requests(s1());
    assert_eq!(open.len(), 1, "the read waits until the write has a number");
    bench.reply(s1(), &open[0], Outcome::Opened(session(1)));
    let sent = bench.take_requests(s1());
    assert_eq!(numbers(&sent), [1]);
    assert_eq!(after(&sent[1]), Some((session(1), RequestNumber(1))));
}

#[test]
fn a_long_list_is_put_together_from_pages_that_come_in_any_order() {
    let mut bench = Bench::served();
    let call = bench.call(get(), 1000);
    let read = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &read, page(3, 0, 10, 95));
    let mut asked = bench.take_requests(s1());
    assert_eq!(asked.len(), 4, "several at the same time");
    let mut seen = 0;
    while let Some(request) = asked.pop() {
        let PageRequest { generation, start, end } = wanted(&request);
        assert_eq!(generation, OperationNumber(3));
        assert!(end <= 95 && start < end);
        // Some pages hold less than was asked for, some more.
        let to = if seen % 3 == 0 { start + 1 } else { end + 2 };
        seen += 1;
        bench.reply(s1(), &request, page(3, start, to.min(97), 95));
        bench.reply(s1(), &request, page(3, start, to.min(97), 95));
        asked.extend(bench.take_requests(s1()));
        assert!(asked.len() <= 4);
    }
    assert_eq!(bench.answers[&call], list(elements(0, 95)));
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn a_list_that_is_replaced_while_it_is_read_is_read_again_from_the_beginning() {
    let mut bench = Bench::served();
    let call = bench.call(get(), 1000);
    let read = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &read, page(3, 0, 10, 30));
    let asked = bench.take_requests(s1());
    bench.reply(s1(), &asked[0], page(3, 10, 20, 30));
    bench.reply(s1(), &asked[1], Outcome::GenerationChanged);
    let again = bench.take_requests(s1()).remove(0);
    assert!(matches!(again.ask, Ask::Get { page: None, .. }));
    bench.reply(s1(), &again, page(8, 0, 2, 3));
    let rest = bench.take_requests(s1()).remove(0);
    // A new history numbers its operations anew: the same generation there is another list.
    bench.reply_in(ViewId { epoch: Epoch(2, 9), number: 1 }, s1(), &rest, page(8, 2, 3, 3));
    assert!(!bench.answers.contains_key(&call));
    let again = bench.take_requests(s1()).remove(0);
    bench.reply_in(ViewId { epoch: Epoch(2, 9), number: 1 }, s1(), &again, Outcome::Missing);
    assert_eq!(bench.answers[&call], Ok(Completed::List(None)));
}

#[test]
fn a_list_removed_between_two_pages_is_missing() {
    let mut bench = Bench::served();
    let call = bench.call(get(), 1000);
    let read = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &read, page(3, 0, 1, 2));
    let rest = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &rest, Outcome::Missing);
    let again = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &again, Outcome::Missing);
    assert_eq!(bench.answers[&call], Ok(Completed::List(None)));
}

#[test]
fn a_page_that_was_not_asked_for_is_asked_for_again_later() {
    let mut bench = Bench::served();
    let call = bench.call(get(), 1000);
    let read = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &read, page(3, 0, 0, 5));
    assert_eq!(bench.take_requests(s1()), []);
    bench.wait(20);
    assert_eq!(bench.take_requests(s1()), [read.clone()]);
    bench.reply(s1(), &read, page(3, 0, 5, 5));
    assert_eq!(bench.answers[&call], list(elements(0, 5)));
}

#[test]
fn a_page_of_another_place_or_of_another_list_is_not_put_into_the_list() {
    let mut bench = Bench::served();
    let call = bench.call(get(), 1000);
    let read = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &read, page(3, 0, 2, 4));
    let rest = bench.take_requests(s1()).remove(0);
    assert_eq!((wanted(&rest).start, wanted(&rest).end), (2, 4));
    // As many elements as were asked for, but not those.
    bench.reply(s1(), &rest, page(3, 0, 2, 4));
    assert!(!bench.answers.contains_key(&call));
    // Those places, of the list that has replaced the one that is being read.
    bench.reply(s1(), &rest, page(8, 2, 4, 4));
    assert!(!bench.answers.contains_key(&call));
    let again = bench.take_requests(s1()).pop().expect("it begins again");
    bench.reply(s1(), &again, page(8, 0, 4, 4));
    assert_eq!(bench.answers[&call], list(elements(0, 4)));
}

#[test]
fn a_failed_read_certainly_did_not_happen_and_is_forgotten() {
    let mut bench = Bench::served();
    let call = bench.call(get(), 100);
    let read = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &read, page(3, 0, 1, 9));
    bench.wait(100);
    let reason = FailureReason::PrimarySilent("s1 at 127.0.0.1:5010".into());
    assert_eq!(*bench.failure(call), Failure::not_executed(reason));
    assert_eq!(bench.client.poll_timeout(), None);
    for rest in bench.take_requests(s1()) {
        let PageRequest { start, end, .. } = wanted(&rest);
        bench.reply(s1(), &rest, page(3, start, end, 9));
    }
}

#[test]
fn a_read_whose_session_is_unknown_goes_on_without_it() {
    let mut bench = Bench::opened();
    let read = bench.call(get(), 1000);
    let other = bench.call(get(), 1000);
    let asked = bench.take_requests(s1());
    bench.reply(s1(), &asked[0], Outcome::SessionExpired);
    let again = bench.take_requests(s1());
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|request| after(request).is_none()));
    for request in &again {
        bench.reply(s1(), request, Outcome::Missing);
    }
    assert!(bench.answers.contains_key(&read) && bench.answers.contains_key(&other));
}

#[test]
fn reads_that_were_to_see_a_write_of_an_abandoned_session_do_not_wait_for_it() {
    let mut bench = Bench::opened();
    for _ in 0..64 {
        bench.call(append("x"), 100);
    }
    bench.take_requests(s1());
    bench.call(get(), 1000);
    let read = bench.take_requests(s1()).remove(0);
    assert_eq!(after(&read), Some((session(1), RequestNumber(65))));
    bench.wait(100);
    bench.take_requests(s1());
    bench.call(append("y"), 1000);
    let sent = bench.take_requests(s1());
    assert!(sent.iter().any(|request| {
        matches!(request.ask, Ask::Get { after: None, .. }) && request.id != read.id
    }));
}

#[test]
fn more_reads_than_may_be_in_flight_wait_for_their_turn() {
    let mut bench = Bench::served();
    for _ in 0..1100 {
        bench.call(get(), 1000);
    }
    let first = bench.take_requests(s1());
    assert_eq!(first.len(), 1024);
    for request in &first {
        bench.reply(s1(), request, Outcome::Missing);
    }
    let rest = bench.take_requests(s1());
    assert_eq!(rest.len(), 76);
    for request in &rest {
        bench.reply(s1(), request, Outcome::Missing);
    }
    assert_eq!(bench.answers.len(), 1101);
    assert_eq!(bench.client.poll_timeout(), None);
}

fn ask(bench: &mut Bench, action: Action) -> (CallId, Request) {
    let call = bench.call(action, 1000);
    (call, bench.take_requests(s1()).remove(0))
}

fn some(generation: u64, from: u64, to: u64, end: u64) -> Option<Page> {
    match page(generation, from, to, end) {
        Outcome::Page(page) => Some(page),
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_lists_are_put_together_from_pages_of_the_generations_that_were_seen_first() {
    let mut bench = Bench::served();
    let keys: Vec<Key> = ["a", "b", "c", "d"].map(Key::from).to_vec();
    let (call, read) = ask(&mut bench, Action::Mget(keys.clone()));
    assert_eq!(read.ask, Ask::Mget { keys, after: None });
    let first = vec![some(3, 0, 2, 20), None, some(5, 0, 0, 30), some(7, 0, 1, 1)];
    bench.reply(s1(), &read, Outcome::Pages(first));
    let mut asked = bench.take_requests(s1());
    assert_eq!(asked.len(), 4, "several at the same time");
    while let Some(request) = asked.pop() {
        let PageRequest { generation, start, end } = wanted(&request);
        let Ask::Get { key, .. } = &request.ask else { panic!() };
        assert_eq!(generation.0, if *key == Key::from("a") { 3 } else { 5 });
        let whole = if generation.0 == 3 { 20 } else { 30 };
        assert!(end <= whole);
        bench.reply(s1(), &request, page(generation.0, start, end.min(start + 4), whole));
        asked.extend(bench.take_requests(s1()));
        assert!(asked.len() <= 4);
    }
    let lists = vec![Some(elements(0, 20)), None, Some(elements(0, 30)), Some(elements(0, 1))];
    assert_eq!(bench.answers[&call], Ok(Completed::Lists(lists)));
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn when_one_of_several_lists_is_replaced_all_of_them_are_read_again() {
    let mut bench = Bench::served();
    let (call, read) = ask(&mut bench, Action::Mget(vec!["a".into(), "b".into()]));
    bench.reply(s1(), &read, Outcome::Pages(vec![some(3, 0, 1, 2), some(4, 0, 1, 2)]));
    let asked = bench.take_requests(s1());
    assert_eq!(asked.len(), 2);
    bench.reply(s1(), &asked[0], page(3, 1, 2, 2));
    bench.reply(s1(), &asked[1], Outcome::GenerationChanged);
    let again = bench.take_requests(s1()).remove(0);
    assert_eq!(again.ask, read.ask);
    bench.reply(s1(), &again, Outcome::Pages(vec![some(8, 0, 1, 1), None]));
    let lists = vec![Some(elements(0, 1)), None];
    assert_eq!(bench.answers[&call], Ok(Completed::Lists(lists)));
}

#[test]
fn an_answer_to_another_question_is_no_answer() {
    let mut bench = Bench::served();
    let keys = || Action::Keys { prefix: "k".into(), start_after: Some("k1".into()) };
    let more = |keys: &[&str], more| {
        Outcome::Keys(KeysPage { keys: keys.iter().map(|key| Key::from(*key)).collect(), more })
    };
    for (action, wrong, right, completed) in [
        (Action::Len("k".into()), Outcome::Missing, Outcome::Length(3), Completed::Length(3)),
        (
            Action::Exists("k".into()),
            more(&[], false),
            Outcome::Length(0),
            Completed::Exists(false),
        ),
        (Action::Get("k".into()), Outcome::Length(1), Outcome::Missing, Completed::List(None)),
        (
            Action::Mget(vec!["k".into(), "l".into()]),
            Outcome::Pages(vec![None]),
            Outcome::Pages(vec![None, None]),
            Completed::Lists(vec![None, None]),
        ),
        // One that would be asked for again and again.
        (
            keys(),
            more(&[], true),
            more(&["k2"], true),
            Completed::Keys(KeysPage { keys: vec!["k2".into()], more: true }),
        ),
    ] {
        let (call, read) = ask(&mut bench, action);
        bench.reply(s1(), &read, wrong);
        assert!(!bench.answers.contains_key(&call));
        bench.wait(20);
        assert_eq!(bench.take_requests(s1()), [read.clone()]);
        bench.reply(s1(), &read, right);
        assert_eq!(bench.answers[&call], Ok(completed));
    }
}

#[test]
fn a_write_is_told_what_its_execution_came_to() {
    let mut bench = Bench::opened();
    for (outcome, answer) in [
        (Outcome::Number(-4), Ok(Completed::Number(-4))),
        (Outcome::Mismatch(2), Ok(Completed::Mismatch(2))),
        (Outcome::NotANumber, Err(Failure::not_executed(FailureReason::NotANumber))),
        (Outcome::Overflow, Err(Failure::not_executed(FailureReason::Overflow))),
    ] {
        let incr = command::Command::Incr { key: "k".into(), by: 1 };
        let (call, request) = ask(&mut bench, Action::Write(incr));
        bench.reply(s1(), &request, outcome);
        assert_eq!(bench.answers[&call], answer);
    }
    assert_eq!(bench.client.poll_timeout(), None, "a refusal is final, too");
}

#[test]
fn too_much_for_one_command_is_refused_before_anything_is_sent() {
    let limits =
        Limits { keys_per_command: 2, key_bytes: 30, value_bytes: 30, ..Limits::default() };
    let mut bench = Bench::with_limits(limits);
    let keys = |count: usize, size: usize| vec![Key::from("x".repeat(size).as_str()); count];
    let entries = |count: usize, size: usize| {
        let entry = (Key::from("k"), vec![Value::from("v".repeat(size).as_str())]);
        Action::Write(command::Command::Mput { entries: vec![entry; count] })
    };
    for (action, reason) in [
        (Action::Mget(keys(3, 1)), FailureReason::TooManyKeys { count: 3, limit: 2 }),
        (Action::Mget(keys(2, 31)), FailureReason::KeyTooLarge { size: 31, limit: 30 }),
        (Action::Mget(keys(2, 30)), FailureReason::CommandTooLarge { size: 92, limit: 60 }),
        (entries(3, 0), FailureReason::TooManyKeys { count: 3, limit: 2 }),
        (entries(2, 31), FailureReason::ValueTooLarge { size: 31, limit: 30 }),
        (entries(2, 14), FailureReason::CommandTooLarge { size: 62, limit: 60 }),
        (
            Action::Len("x".repeat(31).as_str().into()),
            FailureReason::KeyTooLarge { size: 31, limit: 30 },
        ),
    ] {
        let call = bench.call(action, 1000);
        assert_eq!(*bench.failure(call), Failure::not_executed(reason));
        assert!(bench.sent.is_empty());
    }
}

#[test]
fn a_single_list_of_several_may_come_without_its_first_element() {
    // Its first element alone may be longer than a page.
    let mut bench = Bench::served();
    let (call, read) = ask(&mut bench, Action::Mget(vec!["a".into()]));
    bench.reply(s1(), &read, Outcome::Pages(vec![some(3, 0, 0, 1)]));
    let asked = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &asked, page(3, 0, 1, 1));
    assert_eq!(bench.answers[&call], Ok(Completed::Lists(vec![Some(elements(0, 1))])));
}
