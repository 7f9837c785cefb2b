//! What somebody without a key, or on the path, can do: nothing but what a bad network can.

use super::*;

#[test]
fn without_the_key_nothing_is_answered_or_changed() {
    let (mut a, mut b) = acquainted();
    let before = b.seal.counters;
    let mut wrong = node(Role::Client, &[B_KEY], 9);
    let hello = only(wrong.send(b.address, "wrong key"));
    assert_eq!(b.take(&wrong, &hello), (Got::Refused(Refusal::UnknownKey), vec![]));
    for clear in ["{\"type\":\"get_view\"}", "", "x"] {
        assert_eq!(b.take_from(at(9), clear.as_bytes()).0, Got::Refused(Refusal::Unsealed));
    }
    for short in 1..HEADER + TAG {
        assert_eq!(b.take_from(at(9), &hello[..short]).0, Got::Refused(Refusal::Forged));
    }
    // One who has seen what a key is called, but not the key.
    let mut forged = only(a.send(b.address, "question"));
    forged[HEADER..].fill(0);
    for form in [Form::Hello, Form::Welcome, Form::Data] {
        forged[0] = form as u8;
        let (got, answers) = b.take(&a, &forged);
        assert!(matches!(got, Got::Refused(Refusal::Forged)), "{form:?} {got:?}");
        assert_eq!(answers, vec![]);
    }
    assert_eq!(b.seal.current.senders.len(), 1);
    assert_eq!(b.seal.counters.opened, before.opened);
    assert_eq!(b.seal.counters.welcomes_sent, before.welcomes_sent);
    assert_eq!(b.seal.counters.refused, [3, 1, 64, 0, 0]);
}

#[test]
fn no_bit_of_a_datagram_can_be_changed() {
    let (mut a, mut b) = acquainted();
    let data = only(a.send(b.address, "question"));
    for bit in 0..data.len() * 8 {
        let mut changed = data.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let (got, answers) = b.take(&a, &changed);
        assert!(!matches!(got, Got::Clear(_, _)), "bit {bit}");
        assert_eq!(answers, vec![], "bit {bit}");
    }
    assert!(matches!(b.take(&a, &data).0, Got::Clear(_, _)));
}

#[test]
fn what_is_recorded_is_taken_once_and_never_in_another_life_or_from_elsewhere() {
    let (mut a, mut b) = acquainted();
    let data = only(a.send(b.address, "once"));
    assert_eq!(b.take_from(at(66), &data).0, Got::Nothing, "sent on from elsewhere");
    assert!(matches!(b.take(&a, &data).0, Got::Clear(_, _)), "the sender's own is still taken");
    for from in [a.address, at(66)] {
        assert_eq!(b.take_from(from, &data), (Got::Nothing, vec![]));
    }
    b.restart(3);
    for from in [a.address, at(66), b.address] {
        assert_eq!(b.take_from(from, &data).0, Got::Nothing);
    }
    let mut other = node(Role::Server, &[A_KEY], 5);
    assert_eq!(other.take(&a, &data).0, Got::Nothing);
    assert!(b.seal.current.senders.is_empty() && other.seal.current.senders.is_empty());
}

#[test]
fn what_comes_back_to_its_sender_is_nothing() {
    let (mut a, b) = acquainted();
    let data = only(a.send(b.address, "question"));
    for from in [a.address, b.address] {
        assert_eq!(a.take_from(from, &data), (Got::Nothing, vec![]));
    }
}

#[test]
fn an_old_welcome_or_one_from_elsewhere_changes_nothing() {
    let (mut a, mut b) = (node(Role::Client, &[A_KEY], 1), node(Role::Server, &[A_KEY], 2));
    let hello = only(a.send(b.address, "first"));
    let welcome = only(b.take(&a, &hello).1);
    assert_eq!(a.take_from(at(66), &welcome).1, vec![], "from elsewhere");
    assert_eq!(a.take(&b, &welcome).1.len(), 1);
    b.restart(3);
    let stale = only(a.send(b.address, "stale"));
    let news = only(b.take(&a, &stale).1);
    assert_eq!(a.take(&b, &news).0, Got::Nothing);
    let known = |a: &mut Node| a.seal.peers.get_mut(at(2)).unwrap().known.as_ref().unwrap().id;
    let id = known(&mut a);
    assert_eq!(id, b.seal.current.id);
    for old in [&welcome, &news] {
        assert_eq!(a.take(&b, old), (Got::Nothing, vec![]));
        assert_eq!(known(&mut a), id);
    }
    // A second server's welcome, brought from the first one's address.
    let mut other = node(Role::Server, &[A_KEY], 5);
    let hello = only(a.send(other.address, "for the other"));
    let welcome = only(other.take(&a, &hello).1);
    assert_eq!(a.take(&b, &welcome), (Got::Nothing, vec![]));
    assert_eq!(known(&mut a), id);
    assert_eq!(a.take(&other, &welcome).1.len(), 1);
}

#[test]
fn a_former_process_heard_late_does_not_take_the_place_of_its_successor() {
    let (mut a, mut b) = acquainted();
    let late = only(a.send(b.address, "late"));
    a.restart(3);
    let hello = a.send(b.address, "successor");
    carry(&mut a, &mut b, hello);
    let mut former = node(Role::Client, &[A_KEY], 1);
    assert!(matches!(b.take(&a, &late).0, Got::Clear(_, _)), "it was delayed, and comes once");
    let answer = only(b.send(a.address, "answer"));
    assert!(matches!(a.take(&b, &answer).0, Got::Clear(_, _)));
    assert!(!matches!(former.take(&b, &answer).0, Got::Clear(_, _)));
}

#[test]
fn a_flood_of_recorded_hellos_is_answered_within_a_bound() {
    let (mut a, mut b) = (node(Role::Client, &[A_KEY], 1), node(Role::Server, &[A_KEY], 2));
    let hello = only(a.send(b.address, "first"));
    for _ in 0..WELCOMES_PER_SECOND + 100 {
        b.take_from(at(66), &hello);
    }
    assert_eq!(b.seal.counters.welcomes_sent, WELCOMES_PER_SECOND);
    assert_eq!(b.seal.counters.welcomes_withheld, 100);
    after(&mut b, Duration::from_millis(100));
    assert_eq!(b.take(&a, &hello).1.len(), 1);
    assert!(b.seal.current.senders.is_empty(), "nothing is kept of any");
}
