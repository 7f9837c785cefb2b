//! Who is primary, and what is said when nobody is.

use super::*;

#[test]
fn a_silent_view_server_is_named_when_nothing_was_heard() {
    let mut bench = Bench::new();
    let write = bench.call(append("x"), 400);
    let read = bench.call(get(), 400);
    assert_eq!(bench.questions(view_server()), 1, "asked at once");
    bench.wait(399);
    assert!(bench.answers.is_empty());
    assert!((4..=8).contains(&bench.questions(view_server())), "repeated, but not in a hurry");
    bench.wait(1);
    for call in [write, read] {
        let reason = FailureReason::ViewServerSilent(view_server());
        assert_eq!(*bench.failure(call), Failure::not_executed(reason));
    }
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn without_a_primary_the_failure_says_what_the_view_server_waits_for() {
    let mut bench = Bench::new();
    let write = bench.call(append("x"), 300);
    for _ in 0..6 {
        let none = Shown { waiting: Some("waiting for s1".into()), ..shown(view(5), None) };
        bench.show_from(view_server(), &none);
        bench.wait(50);
    }
    let reason = FailureReason::NoPrimary("waiting for s1".into());
    assert_eq!(*bench.failure(write), Failure::not_executed(reason));
}

#[test]
fn a_new_primary_is_noticed_within_one_interval_after_it_is_shown() {
    let mut bench = Bench::new();
    bench.call(get(), 5000);
    for _ in 0..200 {
        bench.show(view(5), None);
        bench.wait(3);
    }
    bench.sent.clear();
    bench.wait(20);
    assert_eq!(bench.show(view(6), Some(s1())), 1);
    assert_eq!(bench.take_requests(s1()).len(), 1);
}

#[test]
fn silence_of_the_primary_makes_the_client_ask_again_every_interval() {
    let mut bench = Bench::served();
    bench.questions(view_server());
    bench.call(get(), 5000);
    bench.wait(49);
    assert_eq!(bench.questions(view_server()), 0);
    for _ in 0..20 {
        bench.wait(1);
        assert_eq!(bench.show(view(5), Some(s1())), 1);
        bench.wait(19);
    }
    assert!(bench.take_requests(s1()).len() > 2, "and it is repeated to the primary meanwhile");
}

#[test]
fn a_change_of_primary_resends_everything_to_the_new_one_at_once_in_order() {
    let mut bench = Bench::opened();
    for value in ["a", "b", "c", "d"] {
        bench.call(append(value), 5000);
    }
    bench.call(get(), 5000);
    let first = bench.take_requests(s1());
    bench.wait(60);
    bench.show(view(6), Some(s2()));
    assert_eq!(bench.take_requests(s2()), first);
    // The new primary answers, and serves what comes next.
    for request in &first {
        let missing = matches!(request.ask, Ask::Get { .. });
        let outcome = if missing { Outcome::Missing } else { Outcome::Done };
        bench.reply_in(view(6), s2(), request, outcome);
    }
    assert_eq!(bench.answers.len(), 7);
    bench.call(append("e"), 5000);
    assert_eq!(numbers(&bench.take_requests(s2())), [6]);
}

#[test]
fn a_refusal_that_names_a_higher_view_is_followed_at_once() {
    let mut bench = Bench::served();
    let call = bench.call(get(), 1000);
    let read = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &read, Outcome::NotPrimary(shown(view(6), Some(s2())).into()));
    assert_eq!(bench.take_requests(s2()), [read.clone()]);
    bench.reply_in(view(6), s2(), &read, Outcome::Missing);
    assert_eq!(bench.answers[&call], Ok(Completed::List(None)));
}

#[test]
fn a_refused_request_is_not_resent_at_once_and_the_view_server_is_asked() {
    let mut bench = Bench::served();
    bench.call(get(), 3000);
    let read = bench.take_requests(s1()).remove(0);
    bench.questions(view_server());
    let mut sendings = 0;
    for _ in 0..1000 {
        bench.reply(s1(), &read, Outcome::NotPrimary(shown(view(5), Some(s1())).into()));
        assert_eq!(bench.take_requests(s1()).len(), 0, "never in answer to a refusal");
        bench.wait(1);
        sendings += bench.take_requests(s1()).len();
    }
    // A thousand refusals put it off a thousand times; what counts is that it still gets through.
    assert!(sendings < 100, "{sendings}");
    assert!(bench.questions(view_server()) >= 10);
}

#[test]
fn nothing_new_is_sent_to_a_primary_that_refuses() {
    let mut bench = Bench::served();
    let read = bench.call(get(), 300);
    let request = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &request, Outcome::NotPrimary(shown(view(5), None).into()));
    let write = bench.call(append("x"), 300);
    bench.wait(300);
    for call in [read, write] {
        let reason =
            FailureReason::NoPrimary("s1 at 127.0.0.1:5010 does not serve as primary".into());
        assert_eq!(*bench.failure(call), Failure::not_executed(reason));
    }
    assert_eq!(numbers(&bench.take_requests(s1())), [0u64; 0]);
}

#[test]
fn two_servers_that_name_each_other_are_not_asked_in_a_tight_loop() {
    let mut bench = Bench::served();
    bench.call(get(), 2000);
    let mut sendings = 0;
    let mut number = 6;
    for _ in 0..1000 {
        for (here, there) in [(s1(), s2()), (s2(), s1())] {
            for request in bench.take_requests(here) {
                sendings += 1;
                number += 1;
                let hint = shown(view(number), Some(there));
                bench.reply(here, &request, Outcome::NotPrimary(hint.into()));
            }
        }
        bench.wait(1);
    }
    assert!(sendings <= 250, "{sendings} sendings in a second");
}

#[test]
fn a_higher_view_of_an_isolated_server_does_not_lock_the_client_out() {
    let mut bench = Bench::served();
    let call = bench.call(get(), 3000);
    let read = bench.take_requests(s1()).remove(0);
    // The primary refuses for a moment, and an isolated server in view 9 never answers.
    bench.reply(s1(), &read, Outcome::NotPrimary(shown(view(9), Some(s2())).into()));
    assert_eq!(bench.take_requests(s2()).len(), 1);
    bench.wait(60);
    bench.show(view(5), Some(s1()));
    assert_eq!(bench.take_requests(s1()), [read.clone()], "the view server knows better");
    bench.reply(s1(), &read, Outcome::Missing);
    assert!(bench.answers.contains_key(&call));
    bench.call(get(), 3000);
    assert_eq!(bench.take_requests(s1()).len(), 1);
}

#[test]
fn an_answer_frees_the_client_from_an_isolated_server_even_while_the_view_server_is_silent() {
    // D40: nobody else can say that the highest view was never activated.
    let mut bench = Bench::served();
    let call = bench.call(get(), 3000);
    let read = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &read, Outcome::NotPrimary(shown(view(9), Some(s2())).into()));
    bench.wait(250);
    bench.reply(s1(), &read, Outcome::Missing);
    assert!(bench.answers.contains_key(&call));
    bench.take_requests(s1());
    bench.call(get(), 3000);
    assert_eq!(bench.take_requests(s1()).len(), 1);
}

#[test]
fn a_late_word_of_the_view_server_does_not_call_the_client_back() {
    let mut bench = Bench::opened();
    bench.call(append("x"), 3000);
    let write = bench.take_requests(s1()).remove(0);
    bench.wait(60);
    let late = bench.take(view_server(), |message| match message {
        Message::ViewRequest(request) => Some(request.id),
        _ => None,
    });
    bench.wait(60);
    bench.show(view(6), Some(s2()));
    bench.reply_in(view(6), s2(), &write, Outcome::Done);
    bench.take_requests(s2());
    let shown = shown(view(5), Some(s1()));
    let reply = ViewReply { client: CLIENT, id: late[0], shown, servers: vec![] };
    bench.deliver(view_server(), Message::ViewReply(reply.into()));
    bench.call(get(), 3000);
    assert_eq!(bench.take_requests(s2()).len(), 1);
}

#[test]
fn a_refusal_counts_from_whichever_of_its_addresses_the_primary_sends_it() {
    // D41.
    let mut bench = Bench::served();
    bench.call(get(), 300);
    let read = bench.take_requests(s1()).remove(0);
    bench.reply(address(5011), &read, Outcome::NotPrimary(shown(view(5), None).into()));
    bench.call(append("x"), 300);
    bench.wait(100);
    let sent = bench.take_requests(s1());
    assert!(sent.iter().all(|request| *request == read), "nothing new: {sent:?}");
}

#[test]
fn a_late_answer_of_the_former_primary_counts_but_does_not_call_the_client_back() {
    let mut bench = Bench::opened();
    let call = bench.call(append("x"), 3000);
    let write = bench.take_requests(s1()).remove(0);
    bench.wait(60);
    bench.show(view(6), Some(s2()));
    bench.reply(s1(), &write, Outcome::Done);
    assert_eq!(bench.answers[&call], Ok(Completed::Written));
    bench.take_requests(s2());
    bench.call(get(), 3000);
    assert_eq!(bench.take_requests(s2()).len(), 1);
}

#[test]
fn answers_of_a_lower_epoch_are_ignored() {
    let mut bench = Bench::served();
    let call = bench.call(get(), 3000);
    let read = bench.take_requests(s1()).remove(0);
    bench.wait(60);
    let reset = ViewId { epoch: Epoch(2, 9), number: 1 };
    bench.show(reset, Some(s2()));
    bench.reply(s1(), &read, Outcome::Missing);
    assert!(!bench.answers.contains_key(&call), "that history was given up");
    bench.show(view(7), Some(s1()));
    bench.take_requests(s2());
    bench.reply_in(reset, s2(), &read, Outcome::Missing);
    assert!(bench.answers.contains_key(&call));
}

#[test]
fn while_the_view_server_is_silent_the_servers_are_asked_in_turn() {
    let mut bench = Bench::served();
    bench.call(get(), 3000);
    bench.wait(500);
    assert!(bench.questions(s1()) >= 1);
    assert!(bench.questions(s2()) >= 1);
    bench.wait(300);
    assert!(bench.show_from(s2(), &shown(view(6), Some(s2()))) >= 1);
    assert_eq!(bench.take_requests(s2()).len(), 1, "it names itself in a higher view");
}

#[test]
fn a_primary_that_only_the_view_server_does_not_hear_is_found_again() {
    let mut bench = Bench::served();
    bench.call(get(), 100);
    bench.wait(60);
    bench.show(view(5), None);
    bench.wait(100);
    bench.sent.clear();
    let call = bench.call(append("x"), 1000);
    bench.wait(60);
    assert_eq!(bench.take_requests(s1()), [], "the view server shows none");
    bench.show_from(s1(), &shown(view(5), Some(s1())));
    let open = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &open, Outcome::Opened(session(1)));
    let write = bench.take_requests(s1()).remove(0);
    bench.reply(s1(), &write, Outcome::Done);
    assert_eq!(bench.answers[&call], Ok(Completed::Written));
}

#[test]
fn a_view_is_answered_by_the_first_fresh_reply_of_the_view_server() {
    let mut bench = Bench::new();
    let call = bench.call(Action::View, 1000);
    bench.wait(250);
    let asked = bench.take(view_server(), |message| match message {
        Message::ViewRequest(request) => Some(request.clone()),
        _ => None,
    });
    assert_eq!(asked.len(), 3, "asked with patience");
    assert!(asked.iter().all(|request| request.fresh && request.id == asked[0].id));
    let reply = ViewReply {
        client: CLIENT,
        id: asked[0].id,
        shown: shown(view(5), Some(s1())),
        servers: vec![],
    };
    // D31: ports are reused, and so are the ids of requests.
    let other = ViewReply { client: Incarnation(78), ..reply.clone() };
    bench.deliver(view_server(), Message::ViewReply(other.into()));
    assert!(!bench.answers.contains_key(&call));
    bench.deliver(view_server(), Message::ViewReply(reply.clone().into()));
    bench.deliver(view_server(), Message::ViewReply(reply.into()));
    assert_eq!(bench.answers[&call], Ok(Completed::View(shown(view(5), Some(s1())).into())));
    assert_eq!(bench.client.poll_timeout(), None);

    let call = bench.call(Action::View, 150);
    bench.wait(150);
    let reason = FailureReason::ViewServerSilent(view_server());
    assert_eq!(*bench.failure(call), Failure::not_executed(reason));
}

#[test]
fn what_is_addressed_to_another_client_or_answers_nothing_is_ignored() {
    let mut bench = Bench::served();
    let call = bench.call(get(), 1000);
    let read = bench.take_requests(s1()).remove(0);
    let other = Request { client: Incarnation(78), ..read.clone() };
    bench.reply(s1(), &other, Outcome::Missing);
    let unknown = Request { id: RequestId(999), ..read };
    bench.reply(s1(), &unknown, Outcome::Missing);
    assert!(!bench.answers.contains_key(&call));
}
