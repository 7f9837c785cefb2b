//! `view` at the terminal, and fresh questions of clients.

use super::bench::{Bench, ms};
use crate::protocol::message::{GetView, Message, ReportKind};
use crate::protocol::view::Phase;
use crate::protocol::view_server::{Answer, Command};

/// Types `view` and runs until it is answered. Returns the line and how long it took.
fn view(bench: &mut Bench) -> (String, std::time::Duration) {
    let asked = bench.now;
    let at_once = bench.ask(Command::View);
    assert_eq!(at_once, None, "nobody has been heard from yet");
    bench.run_until(|bench| !bench.answers.is_empty());
    let (_, answer) = bench.answers.pop().unwrap();
    let Answer::View(shown) = answer else { panic!("{answer:?}") };
    (shown.to_string(), bench.now.since(asked))
}

#[test]
fn view_answers_as_soon_as_both_members_have_answered_a_fresh_ping() {
    let mut bench = Bench::pair();
    let (line, took) = view(&mut bench);
    assert_eq!(line, "primary: s1 backup: s2");
    assert!(took < ms(20), "{took:?}");
}

#[test]
fn view_shows_no_member_that_died_just_before() {
    for (dead, line) in [("s1", "primary: s2 backup: none"), ("s2", "primary: s1 backup: none")] {
        let mut bench = Bench::pair();
        bench.cut("s3");
        bench.run(ms(400));
        bench.cut(dead);
        bench.duplicates = true;
        let (shown, took) = view(&mut bench);
        assert_eq!(shown, line);
        assert!(took <= ms(300), "{took:?}");
    }
}

#[test]
fn view_says_none_when_nobody_is_left_and_does_not_wait_longer_than_it_must() {
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.cut("s2");
    let (line, took) = view(&mut bench);
    assert_eq!(line, "primary: none backup: none");
    assert!(took <= ms(300), "{took:?}");
}

#[test]
fn view_is_answered_without_any_server() {
    let mut bench = Bench::new();
    let (line, took) = view(&mut bench);
    assert_eq!(line, "primary: none backup: none");
    assert!(took <= ms(305), "{took:?}");
}

#[test]
fn view_does_not_show_who_was_only_forgiven_after_a_pause() {
    // Sequence: `view` is typed, the view server is stopped, the primary dies, it goes on.
    let mut bench = Bench::pair();
    bench.cut("s1");
    assert_eq!(bench.ask(Command::View), None);
    bench.pause_view_server(ms(1000));
    bench.wake();
    bench.run_until(|bench| !bench.answers.is_empty());
    let (_, Answer::View(shown)) = bench.answers.pop().unwrap() else { panic!() };
    assert_eq!(shown.to_string(), "primary: s2 backup: none");
}

#[test]
fn a_fresh_question_of_a_client_is_answered_once_however_often_it_is_repeated() {
    let mut bench = Bench::pair();
    bench.ask_fresh(500);
    bench.ask_fresh(500);
    bench.ask_fresh(501);
    assert!(bench.replies.is_empty());
    bench.run(ms(30));
    assert_eq!(bench.replies.len(), 2);
    assert_eq!(bench.replies[0].servers.len(), 3);
    assert_eq!(bench.replies[0].shown.to_string(), "primary: s1 backup: s2");
}

#[test]
fn a_proposed_primary_or_backup_is_shown_to_nobody() {
    let mut bench = Bench::pair();
    bench.server("s1").helps = false;
    bench.cut("s2");
    bench.run_until(|bench| bench.joining().is_some());
    let joiner = bench.incarnation("s3");
    bench.server("s1").says = vec![(joiner, ReportKind::CaughtUp)];
    bench.run_until(|bench| bench.is("s1", Some("s3"), Phase::Proposed));
    assert_eq!(bench.shown(), (Some("s1".to_owned()), None));
    bench.tell(super::bench::CLIENT.parse().unwrap(), Message::GetView(GetView {}));
}
