//! A snapshot, read page by page while everything goes on.

use super::bench::{Bench, append, put, remove, write};
use crate::config::Limits;
use crate::kv::command::Command;
use crate::protocol::message::{Ask, Outcome, SnapshotCursor, SnapshotPage, SnapshotRefusal};
use crate::types::{RequestId, SessionId};

fn first() -> Ask {
    Ask::Snapshot { after: None, cursor: None }
}

fn later(cursor: &SnapshotCursor) -> Ask {
    Ask::Snapshot { after: None, cursor: Some(cursor.clone()) }
}

fn page(outcome: Option<Outcome>) -> SnapshotPage {
    match outcome {
        Some(Outcome::Snapshot(page)) => page,
        other => panic!("{other:?}"),
    }
}

fn refusal(outcome: Option<Outcome>) -> SnapshotRefusal {
    match outcome {
        Some(Outcome::SnapshotRefused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn texts(page: &SnapshotPage) -> Vec<(String, Vec<String>)> {
    let text = |value: &crate::kv::command::Value| value.to_string();
    page.parts
        .iter()
        .map(|part| (part.key.to_string(), part.values.iter().map(text).collect()))
        .collect()
}

/// A pair with some keys, and pages of about two of them.
struct Read {
    bench: Bench,
    session: SessionId,
    number: u64,
}

impl Read {
    fn new(snapshot_bytes: usize) -> Read {
        let limits = Limits { page_bytes: 70, snapshot_bytes, ..Limits::default() };
        let mut bench = Bench::pair_with(limits);
        let session = bench.open(1);
        let mut read = Read { bench, session, number: 0 };
        for index in 0..10 {
            read.write(append(&format!("k{index}"), "old"));
        }
        read
    }

    fn write(&mut self, command: Command) {
        self.number += 1;
        let ask = write(self.session, self.number, self.number - 1, command);
        let primary = self.bench.primary_index();
        assert_eq!(self.bench.ask_now(primary, ask), Some(Outcome::Done));
    }

    fn change_everything(&mut self) {
        for index in 0..10 {
            let key = format!("k{index}");
            self.write(match index % 3 {
                0 => append(&key, "new"),
                1 => put(&key, "new"),
                _ => remove(&key),
            });
        }
        self.write(append("k5a", "new"));
    }
}

#[test]
fn every_page_shows_the_instant_of_the_first_whatever_is_written_meanwhile() {
    let mut read = Read::new(1 << 20);
    let opening = read.bench.ask_now(1, first());
    let mut page = page(opening);
    assert_eq!(page.at.0, 11);
    let mut all = texts(&page);
    assert!(all.len() < 4);
    read.change_everything();
    while let Some(cursor) = page.next {
        page = self::page(read.bench.ask_now(1, later(&cursor)));
        assert_eq!(page.at.0, 11);
        all.extend(texts(&page));
    }
    let old = |index| (format!("k{index}"), vec!["old".to_owned()]);
    assert_eq!(all, (0..10).map(old).collect::<Vec<_>>());
    assert_eq!(read.bench.copy(1).unwrap().digest(), read.bench.copy(2).unwrap().digest());
}

#[test]
fn a_first_page_waits_for_its_proof_like_any_other_read() {
    let mut read = Read::new(1 << 20);
    read.bench.cut.insert((2, 1));
    let id = read.bench.ask(1, first());
    read.bench.settle();
    assert_eq!(read.bench.outcome(id), None);
}

#[test]
fn a_repeated_opening_gets_the_same_snapshot_so_that_either_answer_can_be_gone_on_with() {
    let mut read = Read::new(1 << 20);
    let id = read.bench.ask(1, first());
    read.bench.settle();
    let before = read.bench.outcome(id).cloned();
    read.change_everything();
    read.bench.resend(1, id);
    read.bench.settle();
    assert_eq!(read.bench.outcomes(id).len(), 2);
    assert_eq!(read.bench.outcome(id).cloned(), before);
    let cursor = page(before).next.unwrap();
    let second = page(read.bench.ask_now(1, later(&cursor)));
    read.bench.resend(1, id);
    read.bench.settle();
    let old = refusal(read.bench.outcome(id).cloned());
    assert_eq!(old, SnapshotRefusal::Gone, "its answer has arrived, it seems");
    let third = page(read.bench.ask_now(1, later(&second.next.unwrap())));
    assert!(texts(&third).iter().all(|(_, list)| *list == ["old"]));
}

#[test]
fn another_primary_does_not_go_on_with_a_snapshot_that_it_has_not_begun() {
    let mut read = Read::new(1 << 20);
    let id = read.bench.ask(1, first());
    read.bench.settle();
    let cursor = page(read.bench.outcome(id).cloned()).next.unwrap();
    read.bench.fail_over(1, 2);
    assert_eq!(refusal(read.bench.ask_now(2, later(&cursor))), SnapshotRefusal::Gone);
    // A copy of the opening arrives there: it begins another one, of another instant.
    read.write(put("k9", "new"));
    read.bench.resend(2, id);
    read.bench.settle();
    assert!(matches!(read.bench.outcome(id), Some(Outcome::Snapshot(_))));
    assert_eq!(refusal(read.bench.ask_now(2, later(&cursor))), SnapshotRefusal::Gone);
}

#[test]
fn what_is_put_aside_is_bounded_and_the_reader_is_told() {
    let mut read = Read::new(300);
    let cursor = page(read.bench.ask_now(1, first())).next.unwrap();
    read.change_everything();
    let refused = refusal(read.bench.ask_now(1, later(&cursor)));
    assert_eq!(refused, SnapshotRefusal::TooMuchChanged);
    assert!(page(read.bench.ask_now(1, first())).next.is_some(), "it may begin again");
}

#[test]
fn one_client_reads_at_a_time_until_it_stops_asking() {
    let mut read = Read::new(1 << 20);
    let cursor = page(read.bench.ask_now(1, first())).next.unwrap();
    let other = |read: &mut Read| {
        let id = RequestId(900 + read.bench.replies.len() as u64);
        read.bench.ask_as(1, 78, id, first());
        read.bench.settle();
        read.bench.outcome(id).cloned()
    };
    assert_eq!(refusal(other(&mut read)), SnapshotRefusal::Taken);
    read.bench.run(super::bench::ms(1500));
    let cursor = page(read.bench.ask_now(1, later(&cursor))).next.unwrap();
    read.bench.run(super::bench::ms(1500));
    assert_eq!(refusal(other(&mut read)), SnapshotRefusal::Taken, "it has asked since");
    read.bench.run(super::bench::ms(1000));
    assert!(page(other(&mut read)).next.is_some());
    assert_eq!(refusal(read.bench.ask_now(1, later(&cursor))), SnapshotRefusal::Gone);
}

#[test]
fn a_snapshot_that_nobody_reads_is_given_up() {
    let mut read = Read::new(1 << 20);
    let cursor = page(read.bench.ask_now(1, first())).next.unwrap();
    read.bench.run(super::bench::ms(29_000));
    let cursor = page(read.bench.ask_now(1, later(&cursor))).next.unwrap();
    read.bench.run(super::bench::ms(31_000));
    assert_eq!(refusal(read.bench.ask_now(1, later(&cursor))), SnapshotRefusal::Gone);
}

#[test]
fn a_reader_that_has_read_everything_makes_room_for_the_next_one_soon() {
    let mut read = Read::new(1 << 20);
    let mut cursor = page(read.bench.ask_now(1, first())).next;
    let mut last = None;
    while let Some(next) = cursor {
        last = Some(next.clone());
        cursor = page(read.bench.ask_now(1, later(&next))).next;
    }
    let last = later(&last.unwrap());
    page(read.bench.ask_now(1, last.clone()));
    read.bench.run(super::bench::ms(600));
    let id = RequestId(900);
    read.bench.ask_as(1, 78, id, first());
    read.bench.settle();
    assert!(page(read.bench.outcome(id).cloned()).next.is_some());
    assert_eq!(refusal(read.bench.ask_now(1, last)), SnapshotRefusal::Gone);
}

#[test]
fn a_late_copy_of_an_older_opening_does_not_end_the_snapshot_that_is_read() {
    let mut read = Read::new(1 << 20);
    let old = read.bench.ask(1, first());
    read.bench.settle();
    let cursor = page(read.bench.ask_now(1, first())).next.unwrap();
    read.bench.resend(1, old);
    read.bench.settle();
    assert_eq!(refusal(read.bench.outcome(old).cloned()), SnapshotRefusal::Gone);
    page(read.bench.ask_now(1, later(&cursor)));
}
