//! Damage, forgery and nonsense.

use super::*;

#[test]
fn each_damaged_byte_of_a_shared_datagram_drops_all_of_it() {
    let mut sender = Transport::new(Incarnation(1), Limits::default());
    let to = address("127.0.0.1:1");
    sender.send(Timestamp::ZERO, to, &put(1, "a"));
    sender.send(Timestamp::ZERO, to, &put(2, "b"));
    let mut datagrams = Vec::new();
    sender.flush(&mut datagrams);
    assert_eq!(datagrams.len(), 1);
    let bytes = &datagrams[0].bytes;
    let mut receiver = Transport::new(Incarnation(2), Limits::default());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let mut out = Vec::new();
            receiver.receive(Timestamp::ZERO, to, &damaged, &mut out);
            // A blank of the header that became another blank is no damage.
            assert!(out.is_empty() || out == [put(1, "a"), put(2, "b")]);
            assert!(out.is_empty() || damaged[at].is_ascii_whitespace());
        }
    }
}

#[test]
fn only_the_destination_of_a_message_can_fetch_it_and_only_from_this_incarnation() {
    let mut transport = Transport::new(Incarnation(1), Limits::default());
    let (to, other) = (address("10.0.0.1:1"), address("10.0.0.1:2"));
    let message = put_of(1, 100_000);
    let id = checksum(&encoded(&message));
    let mut out = Vec::new();
    transport.send(Timestamp::ZERO, to, &message);
    transport.flush(&mut out);
    let mut answers = |from: SocketAddr, incarnation: u64, ranges: &[(usize, usize)]| {
        let mut line = Vec::new();
        let to = Incarnation(incarnation);
        let want = Want { from: Incarnation(2), to, id, ranges: ranges.to_vec() };
        wire::encode_want(&want, &mut line);
        transport.receive(Timestamp::ZERO, from, &checked(&line), &mut Vec::new());
        let mut out = Vec::new();
        transport.flush(&mut out);
        out.iter().map(|datagram| datagram.bytes.len()).sum::<usize>()
    };
    assert!(answers(to, 1, &[(0, 5000)]) > 5000);
    assert_eq!(answers(other, 1, &[(0, 5000)]), 0);
    assert_eq!(answers(to, 2, &[(0, 5000)]), 0);
    assert_eq!(answers(to, 1, &[(9, 9), (9, 8), (usize::MAX, usize::MAX), (5, usize::MAX)]), 0);
    // However much is asked for, the answer is bounded.
    assert!(answers(to, 1, &[(0, 100_000); 50]) < 2 * outgoing::WANT_BYTES_MAX);
}

#[test]
fn what_is_put_together_must_be_what_its_id_names_and_no_piece_itself() {
    let mut transport = Transport::new(Incarnation(1), Limits::default());
    let from = address("127.0.0.1:1");
    let receive = |transport: &mut Transport, now: u64, bytes: &[u8]| {
        let mut out = Vec::new();
        transport.receive(Timestamp(now), from, bytes, &mut out);
        out
    };
    let message = put(1, "a");
    let text = String::from_utf8(encoded(&message)).unwrap();
    let id = checksum(text.as_bytes());
    let (start, end) = text.split_at(20);
    let first = piece(7, id, text.len(), 0, start);
    let second = piece(7, id, text.len(), 20, end);

    // Only a first piece begins a message, and pieces of others do not mix with it.
    assert!(receive(&mut transport, 0, &second).is_empty());
    assert!(receive(&mut transport, 0, &first).is_empty());
    assert!(receive(&mut transport, 0, &piece(8, id, text.len(), 20, end)).is_empty());
    assert!(receive(&mut transport, 0, &piece(7, id, text.len() + 1, 20, end)).is_empty());
    assert!(receive(&mut transport, 0, &piece(7, id, text.len(), 21, end)).is_empty());
    assert!(receive(&mut transport, 0, &piece(7, id, text.len(), usize::MAX, end)).is_empty());
    assert_eq!(receive(&mut transport, 0, &second), std::slice::from_ref(&message));

    // A stray copy right afterwards is ignored; later it is a retransmission.
    assert!(receive(&mut transport, 49_999_999, &first).is_empty());
    assert!(receive(&mut transport, 49_999_999, &second).is_empty());
    assert!(receive(&mut transport, 50_000_000, &first).is_empty());
    assert_eq!(receive(&mut transport, 50_000_000, &second), [message]);

    let whole = piece(7, id ^ 1, text.len(), 0, &text);
    assert!(receive(&mut transport, 0, &whole).is_empty());
    assert_eq!(transport.counters().assemblies_damaged, 1);

    let nested =
        "{\"type\":\"piece\",\"from\":1,\"id\":1,\"length\":1,\"offset\":0,\"body\":\"1\"}";
    let nested = piece(7, checksum(nested.as_bytes()), nested.len(), 0, nested);
    assert!(receive(&mut transport, 0, &nested).is_empty());
    assert_eq!(transport.counters().dropped_unknown_type, 1);
    assert_eq!(transport.assemblies.bytes(), 0);
}

#[test]
fn memory_stays_bounded_whatever_pieces_arrive() {
    let limits = Limits { assembly_bytes: 1 << 20, message_bytes: 300_000, ..Limits::default() };
    let mut transport = Transport::new(Incarnation(1), limits);
    let mut random = Random(11);
    let mut now = Timestamp::ZERO;
    let mut out = Vec::new();
    for step in 0..60_000 {
        let from = SocketAddr::from(([10, 0, 0, 1], 1 + random.below(3) as u16));
        let length = [10, 2_000, 290_000, 300_001, usize::MAX][random.below(5)];
        let offset = if random.percent(30) { 0 } else { random.below(length) };
        let body = &"\"xyz"[..random.below(5)];
        let bytes = piece(random.below(3) as u64, random.below(200) as u64, length, offset, body);
        transport.receive(now, from, &bytes, &mut out);
        now = now + Duration::from_micros(random.below(200) as u64);
        if transport.poll_timeout().is_some_and(|at| at <= now) {
            transport.handle_timeout(now);
        }
        if step % 100 == 0 {
            assert!(transport.assemblies.bytes() <= limits.assembly_bytes);
            let mut wants = Vec::new();
            transport.flush(&mut wants);
            assert!(wants.len() <= 64, "{}", wants.len());
        }
    }
    assert!(out.is_empty());
    let counters = transport.counters();
    assert!(counters.dropped_too_large > 0 && counters.assemblies_refused > 0);
    assert!(counters.assemblies_expired > 0 && counters.assemblies_damaged > 0, "{counters:?}");
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = Random(12);
    let mut transport = Transport::new(Incarnation(1), Limits::default());
    let to = address("10.0.0.1:1");
    let message = put_of(1, 9_000);
    let text = String::from_utf8(encoded(&message)).unwrap();
    let id = checksum(text.as_bytes());
    let want = Want { from: Incarnation(2), to: Incarnation(1), id, ranges: vec![(0, 99), (7, 8)] };
    let mut want_line = Vec::new();
    wire::encode_want(&want, &mut want_line);
    let samples = [
        encoded(&Message::GetView(GetView {})),
        checked(&encoded(&put(1, "\"\u{e9}"))),
        piece(7, id, text.len(), 0, &text[..50]),
        piece(7, id, text.len(), 50, &text[50..]),
        checked(&want_line),
    ];
    let mut now = Timestamp::ZERO;
    for step in 0..200_000 {
        let mut bytes = samples[random.below(samples.len())].clone();
        if step % 10 == 0 {
            bytes = (0..random.below(100)).map(|_| random.next() as u8).collect();
        } else if step % 3 == 0 && bytes.len() > 43 {
            // Damage behind a good checksum, as a faulty program would send it.
            let mut lines = bytes.split_off(43);
            damage(&mut random, &mut lines);
            bytes = checked(&lines);
        } else if step % 3 == 1 {
            damage(&mut random, &mut bytes);
        }
        let mut out = Vec::new();
        transport.receive(now, to, &bytes, &mut out);
        now = now + Duration::from_micros(100);
        if step % 50 == 0 {
            transport.send(now, to, &message);
            transport.handle_timeout(now);
            assert!(transport.poll_timeout().is_none_or(|at| at > now));
            transport.flush(&mut Vec::new());
        }
    }
    let counters = transport.counters();
    assert!(counters.assemblies_completed > 0 && counters.wants_received > 0, "{counters:?}");
}

#[test]
fn one_source_that_takes_all_room_does_not_keep_the_others_out() {
    let limits = Limits { assembly_bytes: 1 << 20, message_bytes: 300_000, ..Limits::default() };
    let mut transport = Transport::new(Incarnation(1), limits);
    let (greedy, honest) = (address("10.0.0.1:1"), address("10.0.0.2:1"));
    let mut receiver = |from: SocketAddr, bytes: &[u8]| {
        let mut out = Vec::new();
        transport.receive(Timestamp::ZERO, from, bytes, &mut out);
        (out.len(), transport.counters().assemblies_refused)
    };
    for id in 0..200 {
        receiver(greedy, &piece(7, id, 10_000, 0, "x"));
    }
    let (_, refused) = receiver(greedy, &piece(7, 500, 10_000, 0, "x"));
    assert!(refused > 0, "it does not make room for itself");
    let mut sender = Transport::new(Incarnation(2), limits);
    sender.send(Timestamp::ZERO, address("127.0.0.1:1"), &put_of(1, 100_000));
    let mut datagrams = Vec::new();
    sender.flush(&mut datagrams);
    assert_eq!(receiver(honest, &datagrams[0].bytes), (0, refused), "it has its place");
}

#[test]
fn a_message_that_comes_a_byte_at_a_time_is_given_up_in_the_end() {
    let mut transport = Transport::new(Incarnation(1), Limits::default());
    let from = address("10.0.0.1:1");
    let mut now = Timestamp::ZERO;
    for offset in 0..1000 {
        let bytes = piece(7, 9, 1_000_000, offset, "x");
        transport.receive(now, from, &bytes, &mut Vec::new());
        now = now + Duration::from_millis(100);
        while transport.poll_timeout().is_some_and(|at| at <= now) {
            transport.handle_timeout(now);
        }
    }
    assert_eq!(transport.counters().assemblies_expired, 1);
    assert_eq!(transport.assemblies.bytes(), 0);
}
