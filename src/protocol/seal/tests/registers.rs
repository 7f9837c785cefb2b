//! Bounded memory that forgets no window that could still refuse something.

use super::*;

#[test]
fn when_a_register_is_full_those_in_it_are_served_without_a_gap_and_newcomers_too() {
    let mut server = node(Role::Server, &[A_KEY], 2);
    server.seal.senders_max = 4;
    let mut steady = node(Role::Client, &[A_KEY], 1);
    let first = steady.send(server.address, "steady");
    carry(&mut steady, &mut server, first);
    for number in 100..160 {
        let mut passing = node(Role::Client, &[A_KEY], number);
        let first = passing.send(server.address, "passing");
        if carry(&mut passing, &mut server, first).1.is_empty() {
            // The one that found the register full was told the new id, and sends again.
            let again = passing.send(server.address, "passing");
            assert_eq!(carry(&mut passing, &mut server, again).1, ["passing"]);
        }
        let next = steady.send(server.address, "steady");
        assert_eq!(carry(&mut steady, &mut server, next).1, ["steady"], "after {number}");
        assert!(server.seal.current.senders.len() <= 4);
    }
    let renewals = server.seal.counters.renewals;
    assert!((10..=30).contains(&renewals), "{renewals}");
}

#[test]
fn those_who_only_hear_learn_the_new_id_from_what_they_hear() {
    let (mut a, mut b) = acquainted();
    b.seal.renew();
    let told = only(b.send(a.address, "told"));
    assert!(matches!(a.take(&b, &told).0, Got::Clear(_, _)));
    let next = only(a.send(b.address, "next"));
    assert_eq!(next[22..38], b.seal.current.id.0);
    assert!(matches!(b.take(&a, &next).0, Got::Clear(_, _)));
}

#[test]
fn nothing_is_taken_twice_however_often_the_register_is_renewed() {
    let (mut a, mut b) = acquainted();
    let mut recorded = Vec::new();
    for round in 0..6 {
        let data = a.send(b.address, &round.to_string());
        recorded.extend(data.iter().map(|datagram| datagram.bytes.clone()));
        carry(&mut a, &mut b, data);
        for bytes in &recorded {
            assert_eq!(b.take(&a, bytes).0, Got::Nothing);
        }
        if round % 2 == 1 {
            b.seal.renew();
        }
    }
    assert_eq!(b.seal.counters.opened, 7);
}

#[test]
fn only_two_ids_are_ever_answered_to() {
    let (mut a, mut b) = acquainted();
    let data = only(a.send(b.address, "late"));
    b.seal.renew();
    b.seal.renew();
    let (got, answers) = b.take(&a, &data);
    assert_eq!((got, answers.len()), (Got::Nothing, 1), "as after a new start");
}

#[test]
fn a_newcomer_is_not_taken_into_the_old_register() {
    let (mut a, mut b) = (node(Role::Client, &[A_KEY], 1), node(Role::Server, &[A_KEY], 2));
    let hello = only(a.send(b.address, "first"));
    let welcome = only(b.take(&a, &hello).1);
    let data = only(a.take(&b, &welcome).1);
    b.seal.renew();
    let (got, answers) = b.take(&a, &data);
    assert_eq!(got, Got::Nothing);
    a.take(&b, &only(answers));
    let next = a.send(b.address, "next");
    assert_eq!(carry(&mut a, &mut b, next).1, ["next"]);
}

#[test]
fn addresses_that_are_remembered_are_bounded() {
    let mut a = node(Role::Server, &[A_KEY], 1);
    for number in 0..40_000u32 {
        let to = SocketAddr::from((number.to_be_bytes(), 7));
        a.send(to, "to nobody");
    }
    assert!(a.seal.counters.gave_up > 0);
    let (mut a, mut b) = (a, node(Role::Server, &[A_KEY], 2));
    let hello = a.send(b.address, "to somebody");
    assert_eq!(carry(&mut a, &mut b, hello).1, ["to somebody"]);
}
