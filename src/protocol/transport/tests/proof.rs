use super::*;
use crate::protocol::message::Probe;

const SERVER: &str = "192.168.1.1:5010";
const FAR: &str = "192.168.1.9:4000";

fn demanding() -> Transport {
    Transport::new(Incarnation(1), Limits::default()).demanding_proof(Secret([1, 2]))
}

fn receive(transport: &mut Transport, from: &str, bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    transport.receive(Timestamp::ZERO, address(from), bytes, &mut messages);
    messages
}

fn flush(transport: &mut Transport) -> Vec<Datagram> {
    let mut datagrams = Vec::new();
    transport.flush(&mut datagrams);
    datagrams
}

fn one(transport: &mut Transport) -> Vec<u8> {
    let datagrams = flush(transport);
    assert_eq!(datagrams.len(), 1, "{datagrams:?}");
    datagrams.into_iter().next().unwrap().bytes
}

/// A datagram with one message of our own programs.
fn datagram(transport: &mut Transport, to: &str) -> Vec<u8> {
    transport.send(Timestamp::ZERO, address(to), &put_of(7, 10));
    one(transport)
}

#[test]
fn an_address_that_proves_nothing_gets_one_answer_that_is_not_larger_and_reaches_nobody() {
    let mut server = demanding();
    let mut sender = Transport::new(Incarnation(2), Limits::default());
    let checked = datagram(&mut sender, SERVER);
    let plain = br#"{"type":"client_request","command":"put","key":"a","value":"1"}"#.to_vec();
    let pieces = {
        sender.send(Timestamp::ZERO, address(SERVER), &put_of(7, 9000));
        one_of(flush(&mut sender))
    };
    for bytes in [checked, plain, pieces] {
        assert!(receive(&mut server, FAR, &bytes).is_empty());
        let answer = one(&mut server);
        assert!(answer.len() <= bytes.len());
        assert!(answer.starts_with(br#"{"type":"retry","#));
    }
    for short in [&br#"{"type":"ping"}"#[..], b"", b"x", b"{}"] {
        assert!(receive(&mut server, FAR, short).is_empty());
        assert!(flush(&mut server).is_empty(), "the answer would be larger");
    }
    assert_eq!(server.counters().dropped_unproven, 7);
}

fn one_of(datagrams: Vec<Datagram>) -> Vec<u8> {
    datagrams.into_iter().next().unwrap().bytes
}

#[test]
fn whoever_repeats_the_token_is_heard_from_then_on() {
    let mut server = demanding();
    let mut sender = Transport::new(Incarnation(2), Limits::default());
    let first = datagram(&mut sender, SERVER);
    assert!(receive(&mut server, FAR, &first).is_empty());
    let retry = one(&mut server);
    assert!(receive(&mut sender, SERVER, &retry).is_empty());
    assert_eq!(sender.counters().proofs_learned, 1);
    for _ in 0..3 {
        let again = datagram(&mut sender, SERVER);
        assert_eq!(receive(&mut server, FAR, &again), [put_of(7, 10)]);
        assert!(receive(&mut server, "192.168.1.9:4001", &again).is_empty(), "another port");
        assert!(receive(&mut server, "192.168.1.8:4000", &again).is_empty(), "another machine");
        flush(&mut server);
    }
    // It is in the way of nobody who does not ask for it.
    let again = datagram(&mut sender, SERVER);
    let mut trusting = Transport::new(Incarnation(3), Limits::default());
    assert_eq!(receive(&mut trusting, FAR, &again), [put_of(7, 10)]);
    assert_eq!(trusting.counters().dropped_unknown_type, 0);
}

#[test]
fn a_large_message_travels_in_pieces_that_carry_the_proof() {
    let mut server = demanding();
    let mut sender = Transport::new(Incarnation(2), Limits::default());
    let message = put_of(7, 20_000);
    let mut got = Vec::new();
    for step in 0..200 {
        let now = Timestamp::ZERO + Duration::from_millis(30) * step;
        sender.send(now, address(SERVER), &message);
        for Datagram { bytes, .. } in flush(&mut sender) {
            assert!(bytes.len() <= Limits::default().datagram_bytes);
            server.receive(now, address(FAR), &bytes, &mut got);
        }
        server.handle_timeout(now);
        for Datagram { bytes, .. } in flush(&mut server) {
            sender.receive(now, address(SERVER), &bytes, &mut Vec::new());
        }
        for Datagram { bytes, .. } in flush(&mut sender) {
            assert!(bytes.len() <= Limits::default().datagram_bytes);
            server.receive(now, address(FAR), &bytes, &mut got);
        }
        if !got.is_empty() {
            break;
        }
    }
    assert_eq!(got, [message]);
}

#[test]
fn the_plain_form_carries_the_token_as_a_field() {
    let mut server = demanding();
    let padded = br#"{"type":"ping","pad":"............................"}"#;
    assert!(receive(&mut server, FAR, padded).is_empty());
    let retry: serde_json::Value = serde_json::from_slice(&one(&mut server)).unwrap();
    let with_token = format!(r#"{{"type":"ping","token":{}}}"#, retry["token"]);
    assert_eq!(receive(&mut server, FAR, with_token.as_bytes()), [Message::Probe(Probe {})]);
    let wrong = r#"{"type":"ping","token":1}"#;
    assert!(receive(&mut server, FAR, wrong.as_bytes()).is_empty());
    for strange in ["[1]", r#"{"type":"ping","token":"1"}"#, r#"{"type":"ping","token":-1}"#] {
        assert!(receive(&mut server, FAR, strange.as_bytes()).is_empty());
    }
}

#[test]
fn this_machine_needs_no_proof() {
    let mut server = demanding();
    for near in ["127.0.0.1:9", "[::1]:9"] {
        let messages = receive(&mut server, near, br#"{"type":"ping"}"#);
        assert_eq!(messages, [Message::Probe(Probe {})]);
    }
}

#[test]
fn a_retry_is_never_answered_and_a_forged_one_is_not_believed() {
    let mut server = demanding();
    let mut sender = Transport::new(Incarnation(2), Limits::default());
    let bytes = datagram(&mut sender, SERVER);
    receive(&mut server, FAR, &bytes);
    let retry = one(&mut server);
    for forged in [
        r#"{"type":"retry","token":5}"#.to_owned(),
        r#"{"type":"retry","token":5,"of":17}"#.to_owned(),
        format!("{} ", String::from_utf8(retry.clone()).unwrap().replace("\"of\":", "\"of\":1")),
    ] {
        receive(&mut sender, SERVER, forged.as_bytes());
        receive(&mut server, FAR, forged.as_bytes());
        assert!(flush(&mut server).is_empty(), "or two servers would never end");
    }
    // A right one that comes from elsewhere tells nothing of this address.
    receive(&mut sender, "192.168.1.2:5010", &retry);
    assert_eq!(sender.counters().proofs_learned, 0);
    receive(&mut sender, SERVER, &retry);
    assert_eq!(sender.counters().proofs_learned, 1);
}

#[test]
fn a_server_that_was_started_again_is_given_its_new_token() {
    let mut server = demanding();
    let mut sender = Transport::new(Incarnation(2), Limits::default());
    for secret in [3, 4] {
        let bytes = datagram(&mut sender, SERVER);
        assert!(receive(&mut server, FAR, &bytes).is_empty());
        let retry = one(&mut server);
        receive(&mut sender, SERVER, &retry);
        let bytes = datagram(&mut sender, SERVER);
        assert_eq!(receive(&mut server, FAR, &bytes).len(), 1);
        server = Transport::new(Incarnation(9), Limits::default())
            .demanding_proof(Secret([secret, secret]));
    }
}

#[test]
fn what_is_remembered_of_addresses_is_bounded() {
    let mut sender = Transport::new(Incarnation(2), Limits::default());
    for number in 0..3000_u32 {
        let to = SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + number), 5));
        sender.send(Timestamp::ZERO, to, &put_of(7, 10));
        let bytes = one(&mut sender);
        let mut server = demanding();
        receive(&mut server, FAR, &bytes);
        let retry = one(&mut server);
        sender.receive(Timestamp::ZERO, to, &retry, &mut Vec::new());
    }
    assert_eq!(sender.counters().proofs_learned, 3000);
    assert!(sender.proven_addresses() <= 1024);
}
