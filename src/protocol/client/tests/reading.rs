//! Reads: what they must see, long lists, and their limits.

use super::*;
use crate::kv::command::Value;
use crate::protocol::message::{Page, PageRequest};

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
