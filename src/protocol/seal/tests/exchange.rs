//! How two processes get to know each other, and find each other again.

use super::*;

#[test]
fn the_first_datagram_costs_one_round_trip_and_the_answer_none() {
    let (mut a, mut b) = (node(Role::Client, &[A_KEY], 1), node(Role::Server, &[A_KEY], 2));
    let hello = only(a.send(b.address, "question"));
    let (got, answers) = b.take(&a, &hello);
    assert_eq!(got, Got::Nothing);
    assert!(b.seal.current.senders.is_empty(), "a hello is not remembered");
    let welcome = only(answers);
    assert_eq!(welcome.len(), hello.len());
    let (got, waited) = a.take(&b, &welcome);
    assert_eq!(got, Got::Nothing);
    let (got, answers) = b.take(&a, &only(waited));
    assert_eq!((got, answers), (Got::Clear("question".to_owned(), Role::Client), vec![]));

    let answer = only(b.send(a.address, "answer"));
    assert_eq!(a.take(&b, &answer).0, Got::Clear("answer".to_owned(), Role::Server));
    let again = only(a.send(b.address, "again"));
    assert_eq!(again.len(), SHORTEST + OVERHEAD);
    assert_eq!(b.take(&a, &again).0, Got::Clear("again".to_owned(), Role::Client));
    assert_eq!(b.seal.counters.opened, 2);
}

#[test]
fn what_waits_leaves_in_order_and_one_question_is_enough_for_it() {
    let (mut a, mut b) = (node(Role::Server, &[A_KEY], 1), node(Role::ViewServer, &[A_KEY], 2));
    let mut sent = a.send(b.address, "1");
    sent.extend(a.send(b.address, "2"));
    sent.extend(a.send(b.address, "3"));
    assert_eq!(sent.len(), 1);
    assert_eq!(carry(&mut a, &mut b, sent).1, ["1", "2", "3"]);
}

#[test]
fn what_waits_is_bounded_and_does_not_leave_when_it_is_old() {
    let (mut a, mut b) = (node(Role::Client, &[A_KEY], 1), node(Role::Server, &[A_KEY], 2));
    a.send(b.address, "old");
    after(&mut a, Duration::from_secs(1));
    for number in 0..100 {
        a.send(b.address, &number.to_string());
    }
    after(&mut a, Duration::from_millis(2));
    let hello = a.send(b.address, "last");
    let arrived = carry(&mut a, &mut b, hello).1;
    assert_eq!((arrived.len(), arrived.last().map(String::as_str)), (64, Some("last")));
    assert_eq!(a.seal.counters.gave_up, 38);
}

#[test]
fn a_lost_hello_or_welcome_is_made_up_for_when_somebody_sends_again() {
    let (mut a, mut b) = (node(Role::Client, &[A_KEY], 1), node(Role::Server, &[A_KEY], 2));
    assert_eq!(a.send(b.address, "one").len(), 1, "lost");
    after(&mut a, Duration::from_millis(1));
    assert_eq!(a.send(b.address, "two").len(), 0, "too soon");
    after(&mut a, Duration::from_millis(1));
    let hello = a.send(b.address, "three");
    assert_eq!(carry(&mut a, &mut b, hello).1, ["one", "two", "three"]);
}

#[test]
fn a_receiver_that_began_again_is_found_with_the_next_datagram() {
    let (mut a, mut b) = acquainted();
    b.restart(3);
    let stale = a.send(b.address, "for the former life");
    assert_eq!(carry(&mut a, &mut b, stale).1, [""; 0], "not executed");
    let next = a.send(b.address, "next");
    assert_eq!(carry(&mut a, &mut b, next).1, ["next"]);
}

#[test]
fn a_sender_that_began_again_is_known_by_what_it_sends() {
    let (mut a, mut b) = acquainted();
    a.restart(3);
    let hello = a.send(b.address, "question");
    assert_eq!(carry(&mut a, &mut b, hello).1, ["question"]);
    let answer = only(b.send(a.address, "answer"));
    assert_eq!(a.take(&b, &answer).0, Got::Clear("answer".to_owned(), Role::Server));
}

#[test]
fn a_sender_that_moved_proves_its_new_address_with_one_round_trip() {
    let (mut a, mut b) = acquainted();
    a.address = at(99);
    let moved = a.send(b.address, "moved");
    assert_eq!(carry(&mut a, &mut b, moved).1, [""; 0]);
    let next = a.send(b.address, "next");
    assert_eq!(carry(&mut a, &mut b, next).1, ["next"]);
    assert_eq!(only(b.send(a.address, "answer")).len(), SHORTEST + OVERHEAD);
}

#[test]
fn a_sender_that_moved_while_the_receiver_began_again_is_heard_too() {
    let (mut a, mut b) = acquainted();
    b.restart(3);
    a.address = at(99);
    let stale = a.send(b.address, "stale");
    assert_eq!(carry(&mut a, &mut b, stale).1, [""; 0]);
    let next = a.send(b.address, "next");
    assert_eq!(carry(&mut a, &mut b, next).1, ["next"]);
}

#[test]
fn answers_from_another_address_than_the_one_that_was_asked_arrive_from_the_second_one_on() {
    // A server of two addresses answers from the other one.
    let (mut a, mut b) = acquainted();
    let (asked, answers_from) = (b.address, at(50));
    let lost = only(b.send(a.address, "one"));
    let (got, welcome) = a.take_from(answers_from, &lost);
    assert_eq!(got, Got::Nothing);
    assert_eq!(b.take(&a, &only(welcome)).0, Got::Nothing);
    for text in ["two", "three"] {
        let question = only(a.send(asked, "question"));
        assert!(matches!(b.take(&a, &question).0, Got::Clear(_, _)));
        let answer = only(b.send(a.address, text));
        let (got, _) = a.take_from(answers_from, &answer);
        assert_eq!(got, Got::Clear(text.to_owned(), Role::Server));
    }
}

#[test]
fn nothing_is_answered_with_more_than_it_has() {
    let (mut a, mut b) = acquainted();
    b.restart(3);
    for length in 0..2 * SHORTEST {
        let clear = vec![b'x'; length];
        let stale = a.seal.seal(a.now, b.address, &clear).expect("they know each other").to_vec();
        // Which `take` compares with the answer.
        let answers = b.take(&a, &stale).1;
        assert_eq!(answers.len(), usize::from(length >= SHORTEST), "{length}");
    }
}

#[test]
fn two_that_ask_each_other_at_once_both_get_through() {
    let (mut a, mut b) = (node(Role::Server, &[A_KEY], 1), node(Role::Server, &[A_KEY], 2));
    let from_b = only(b.send(a.address, "from b"));
    let from_a = a.send(b.address, "from a");
    let (_, answers) = a.take(&b, &from_b);
    let (at_a, at_b) = carry(&mut a, &mut b, [from_a, answers].concat());
    assert_eq!((at_a, at_b), (vec!["from b".to_owned()], vec!["from a".to_owned()]));
}

#[test]
fn a_known_peer_that_says_nothing_is_asked_again_and_still_sent_to() {
    let (mut a, mut b) = acquainted();
    assert_eq!(a.send(b.address, "lost").len(), 1);
    after(&mut a, Duration::from_millis(199));
    assert_eq!(a.send(b.address, "lost").len(), 1);
    after(&mut a, Duration::from_millis(1));
    assert_eq!(a.send(b.address, "lost").len(), 2, "a hello as well");
    after(&mut a, Duration::from_millis(100));
    assert_eq!(a.send(b.address, "lost").len(), 1, "not every time");
    // It has another key now: only the hello gets through to it.
    let keyring = Keyring::parse(A_KEY).unwrap();
    b.seal = Seal::new(keyring, Role::Server, &[3; SECRET_BYTES]);
    after(&mut a, Duration::from_millis(200));
    let both = a.send(b.address, "lost");
    assert_eq!(both.len(), 2);
    carry(&mut a, &mut b, vec![both[0].clone()]);
    let next = a.send(b.address, "next");
    assert_eq!(carry(&mut a, &mut b, next).1, ["next"]);
}

#[test]
fn the_same_process_at_two_addresses_is_sent_no_nonce_twice() {
    let (mut a, mut b) = acquainted();
    let alias = at(77);
    let hello = only(a.send(alias, "by the other name"));
    let (_, welcome) = b.take(&a, &hello);
    let (_, waited) = a.take_from(alias, &only(welcome));
    let one = only(waited);
    let two = only(a.send(b.address, "by its name"));
    let counters = [&one, &two].map(|bytes| Header::decode(bytes).unwrap().counter);
    assert_eq!(one[6..38], two[6..38], "the same two ids: the same key");
    assert_ne!(counters[0], counters[1]);
    assert!(matches!(b.take(&a, &two).0, Got::Clear(_, _)));
    assert!(matches!(b.take(&a, &one).0, Got::Clear(_, _)));
}
