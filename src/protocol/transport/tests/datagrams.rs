//! What is sent and accepted, datagram by datagram.

use super::*;

#[test]
fn small_messages_share_datagrams_that_leave_in_the_order_of_the_sends() {
    let mut transport = Transport::new(Incarnation(1), Limits::default());
    let (first, second) = (address("10.0.0.2:1"), address("10.0.0.1:1"));
    let plain = Message::GetView(GetView {});
    for id in 0..100 {
        transport.send(Timestamp::ZERO, first, &put(id, "value"));
        transport.send(Timestamp::ZERO, second, &put(1000 + id, "value"));
        if id == 50 {
            transport.send(Timestamp::ZERO, second, &plain);
        }
    }
    let mut out = Vec::new();
    transport.flush(&mut out);
    let line = encoded(&put(1000, "value")).len();
    assert!(out.len() <= 3 + 2 * 100 * (line + 1) / (1200 - 2 * line), "{}", out.len());
    assert_eq!((out[0].to, out[1].to), (first, second));
    assert_eq!(transport.counters().datagrams_sent, out.len() as u64);

    let mut messages = Vec::new();
    let mut receiver = Transport::new(Incarnation(2), Limits::default());
    for datagram in &out {
        assert!(datagram.bytes.len() <= 1200);
        receiver.receive(Timestamp::ZERO, first, &datagram.bytes, &mut messages);
    }
    let of = |base: u64| {
        messages.iter().filter(move |message| {
            let Message::Request(request) = message else { return false };
            (base..base + 100).contains(&request.id.0)
        })
    };
    assert!(of(0).eq((0..100).map(|id| put(id, "value")).collect::<Vec<_>>().iter()));
    assert!(of(1000).eq((1000..1100).map(|id| put(id, "value")).collect::<Vec<_>>().iter()));
    assert_eq!(messages.len(), 201);
    let alone = out.iter().filter(|datagram| datagram.bytes == encoded(&plain)).count();
    assert_eq!(alone, 1);

    out.truncate(0);
    transport.flush(&mut out);
    assert!(out.is_empty());
}

#[test]
fn without_a_header_only_plain_messages_are_accepted() {
    let mut transport = Transport::new(Incarnation(1), Limits::default());
    let from = address("127.0.0.1:1");
    let receive = |transport: &mut Transport, bytes: &[u8]| {
        let mut out = Vec::new();
        transport.receive(Timestamp::ZERO, from, bytes, &mut out);
        out
    };
    let view = Message::GetView(GetView {});
    let one = std::slice::from_ref(&view);
    let get_view = encoded(&view);
    let request = encoded(&put(1, "a"));
    let lines = |parts: &[&[u8]]| parts.join(&b'\n');

    assert_eq!(receive(&mut transport, &get_view), one);
    let several = lines(&[b"", &get_view, b"\r", &request, b"nonsense", &get_view, b"", b""]);
    assert_eq!(receive(&mut transport, &several), [view.clone(), view.clone()]);
    let unknown = lines(&[b"{\"type\":\"hello\"}", &get_view]);
    assert_eq!(receive(&mut transport, &unknown), one);
    assert_eq!(receive(&mut transport, &lines(&[b"nonsense", &get_view])), []);
    assert_eq!(receive(&mut transport, b""), []);
    let mut piece = piece(1, 1, 10, 0, "{");
    assert_eq!(receive(&mut transport, &piece.split_off(43)), []);
    // Harmless behind a checksum, too.
    assert_eq!(receive(&mut transport, &checked(&get_view)), one);
    // Written by another program, with the header's fields in another order.
    let sum = checksum(&request);
    let header = format!("{{\"x\":[], \"sum\":{sum}, \"type\":\"pbkv\"}}");
    assert_eq!(receive(&mut transport, &lines(&[header.as_bytes(), &request])).len(), 1);
    assert_eq!(receive(&mut transport, &lines(&[b"{\"type\":\"pbkv\"}", &get_view])), []);
    assert_eq!(
        *transport.counters(),
        Counters {
            datagrams_received: 9,
            bytes_received: transport.counters().bytes_received,
            dropped_unchecked: 2,
            dropped_undecodable: 2,
            dropped_unknown_type: 1,
            dropped_checksum: 1,
            ..Counters::default()
        }
    );
}

#[test]
fn what_nobody_could_receive_is_not_sent() {
    let limits = Limits { message_bytes: 100_000, ..Limits::default() };
    let mut transport = Transport::new(Incarnation(1), limits);
    let to = address("10.0.0.1:1");
    let plain = |size| {
        let value = Some(Some(vec![Value::from("x".repeat(size).as_str())]));
        Message::Success(Success {
            command: "get".to_owned(),
            key: Key::from("k"),
            value,
            result: None,
        })
    };
    let overhead = encoded(&plain(0)).len();
    let mut out = Vec::new();
    transport.send(Timestamp::ZERO, to, &plain(65_507 - overhead));
    transport.flush(&mut out);
    assert_eq!(out[0].bytes.len(), 65_507);
    transport.send(Timestamp::ZERO, to, &plain(65_508 - overhead));
    transport.send(Timestamp::ZERO, to, &put_of(1, 100_001));
    transport.flush(&mut out);
    assert_eq!((out.len(), transport.counters().dropped_too_large), (1, 2));
    assert_eq!(transport.poll_timeout(), None);
}

#[test]
fn sending_a_large_message_again_only_reminds_the_receiver() {
    let mut transport = Transport::new(Incarnation(1), Limits::default());
    let to = address("10.0.0.1:1");
    let mut sent = |now: u64, message: &Message| {
        let mut out = Vec::new();
        transport.send(Timestamp(now), to, message);
        transport.flush(&mut out);
        transport.handle_timeout(Timestamp(now));
        out.len()
    };
    let message = put_of(1, 1 << 20);
    assert_eq!(sent(0, &message), 2);
    assert_eq!(sent(1, &message), 1);
    assert_eq!(sent(9_000_000_000, &message), 1);
    assert_eq!(sent(18_000_000_000, &message), 1);
    assert_eq!(sent(18_000_000_001, &put_of(2, 1 << 20)), 2);
    let expiry = 28_000_000_000;
    assert_eq!(transport.poll_timeout(), Some(Timestamp(expiry)));
    transport.handle_timeout(Timestamp(expiry));
    assert_eq!(transport.outgoing.bytes(), 1 << 20);
    transport.handle_timeout(Timestamp(expiry + 1));
    assert_eq!((transport.outgoing.bytes(), transport.poll_timeout()), (0, None));
}

#[test]
fn what_waits_to_be_fetched_is_bounded_and_the_least_recently_used_goes_first() {
    let limits = Limits { assembly_bytes: 100_000, ..Limits::default() };
    let mut transport = Transport::new(Incarnation(1), limits);
    let to = address("10.0.0.1:1");
    for id in 0..100 {
        transport.send(Timestamp(id), to, &put_of(0, 10_000));
        transport.send(Timestamp(id), to, &put_of(id, 9_000 + id as usize));
        assert!(transport.outgoing.bytes() <= 100_000);
    }
    let mut out = Vec::new();
    transport.flush(&mut out);
    let before = out.len();
    transport.send(Timestamp(100), to, &put_of(0, 10_000));
    transport.flush(&mut out);
    assert_eq!(out.len() - before, 1, "the one in use is still remembered");
}

/// A datagram under a header of our choice.
fn under(header: &str, lines: &[u8]) -> Vec<u8> {
    [header.as_bytes(), b"\n", lines].concat()
}

#[test]
fn crc_32_guards_a_datagram_as_well_and_what_goes_back_carries_it_too() {
    let mut transport = Transport::new(Incarnation(1), Limits::default());
    let (from, other) = (address("127.0.0.1:1"), address("127.0.0.1:2"));
    let lines = encoded(&put(1, "a"));
    let crc32 = crc32fast::hash(&lines);
    let sum = checksum(&lines);
    let right = format!(r#"{{"type":"pbkv","crc32":{crc32}}}"#);
    let sent = |transport: &mut Transport, to: SocketAddr| {
        let mut out = Vec::new();
        transport.send(Timestamp::ZERO, to, &put(2, "answer"));
        transport.flush(&mut out);
        String::from_utf8(out.remove(0).bytes).unwrap()
    };
    let receive = |transport: &mut Transport, bytes: &[u8]| {
        let mut out = Vec::new();
        transport.receive(Timestamp::ZERO, from, bytes, &mut out);
        out.len()
    };
    assert!(sent(&mut transport, from).starts_with(r#"{"type":"pbkv","sum":"#));
    assert_eq!(receive(&mut transport, &under(&right, &lines)), 1);

    let answer = sent(&mut transport, from);
    let (header, body) = answer.split_once('\n').unwrap();
    let header: serde_json::Value = serde_json::from_str(header).unwrap();
    assert_eq!(header["crc32"], crc32fast::hash(body.as_bytes()), "{answer}");
    assert!(sent(&mut transport, other).starts_with(r#"{"type":"pbkv","sum":"#));
    let mut messages = Vec::new();
    transport.receive(Timestamp::ZERO, other, answer.as_bytes(), &mut messages);
    assert_eq!(messages, [put(2, "answer")], "our own programs read it");

    // Every bit of it matters, in header and body alike.
    let whole = under(&right, &lines);
    for bit in (right.len() + 1) * 8..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(receive(&mut transport, &damaged), 0, "bit {bit}");
    }
    let wrong = transport.counters().dropped_checksum;
    for header in [
        format!(r#"{{"type":"pbkv","crc32":{}}}"#, crc32 ^ 1),
        format!(r#"{{"type":"pbkv","crc32":{crc32},"sum":{}}}"#, sum ^ 1),
        format!(r#"{{"type":"pbkv","crc32":{},"sum":{sum}}}"#, crc32 ^ 1),
        r#"{"type":"pbkv","crc32":null}"#.to_owned(),
        r#"{"type":"pbkv"}"#.to_owned(),
    ] {
        assert_eq!(receive(&mut transport, &under(&header, &lines)), 0, "{header}");
    }
    assert_eq!(transport.counters().dropped_checksum, wrong + 5);

    // Whoever comes from there next may be another program.
    let ours = format!(r#"{{"type":"pbkv","sum":{sum}}}"#);
    assert_eq!(receive(&mut transport, &under(&ours, &lines)), 1);
    assert!(sent(&mut transport, from).starts_with(r#"{"type":"pbkv","sum":"#));
}

#[test]
fn a_flood_of_addresses_does_not_fill_the_memory_and_whoever_asks_last_is_answered() {
    let mut transport = Transport::new(Incarnation(1), Limits::default());
    let lines = encoded(&put(1, "a"));
    let datagram =
        under(&format!(r#"{{"type":"pbkv","crc32":{}}}"#, crc32fast::hash(&lines)), &lines);
    for port in 1..=5_000 {
        let from = SocketAddr::from(([10, 0, 0, 1], port));
        transport.receive(Timestamp::ZERO, from, &datagram, &mut Vec::new());
        let mut out = Vec::new();
        transport.send(Timestamp::ZERO, from, &put(2, "answer"));
        transport.flush(&mut out);
        assert!(out[0].bytes.starts_with(br#"{"type":"pbkv","crc32":"#), "port {port}");
    }
    assert!(transport.packer.crc32_receivers() <= 1024);
}
