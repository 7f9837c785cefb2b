//! Whatever a datagram holds, the transport and the codec make messages of it or drop it.
//!
//! Must hold: no panic; without a checksum only plain messages come out; what is delivered is
//! counted once and what is not is counted as dropped; every message that was understood is written
//! and understood again as the same one, and another transport that is sent it delivers it.

use std::net::SocketAddr;

use pbkv::config::Limits;
use pbkv::protocol::codec;
use pbkv::protocol::message::Message;
use pbkv::protocol::transport::Transport;
use pbkv::time::Timestamp;
use pbkv::types::Incarnation;
use twox_hash::XxHash3_64;

/// The first byte says how the others are wrapped: as they are, or with a checksum that fits, which
/// no fuzzer would ever guess.
pub fn run(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let sum = XxHash3_64::oneshot(body);
    let (header, is_checked) = match kind % 4 {
        0 => (String::new(), false),
        1 => (format!("{{\"type\":\"pbkv\",\"sum\":{sum}}}\n"), true),
        2 => (format!("{{\"type\":\"pbkv\",\"crc32\":{}}}\n", crc32fast::hash(body)), true),
        _ => (format!("{{\"type\":\"pbkv\",\"sum\":{}}}\n", sum ^ 1), false),
    };
    let datagram = [header.as_bytes(), body].concat();
    let from: SocketAddr = "192.0.2.1:5000".parse().expect("an address");
    let limits = Limits { assembly_bytes: 1 << 20, message_bytes: 1 << 18, ..Limits::default() };
    let mut receiver = Transport::new(Incarnation(1), limits);
    let mut messages = Vec::new();
    receiver.receive(Timestamp(1), from, &datagram, &mut messages);
    let counters = *receiver.counters();
    assert_eq!(counters.datagrams_received, 1);
    if !header.is_empty() && !is_checked {
        assert_eq!(messages, [], "the checksum is wrong");
        assert_eq!(counters.dropped_checksum, 1);
    }
    // The body itself may open with a header that fits.
    let is_bare = header.is_empty() && !body.starts_with(b"{\"type\":\"pbkv\"");
    if is_bare && !messages.is_empty() && !has_header(body) {
        assert!(messages.iter().all(Message::is_plain), "unchecked: {messages:?}");
    }
    answers_are_bounded(&mut receiver, datagram.len());
    for message in &messages {
        arrives_as_it_is(message, from, limits);
    }
}

/// Blanks and escapes let a header look otherwise than our own programs write it.
fn has_header(body: &[u8]) -> bool {
    let first = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<serde_json::Value>(first)
        .is_ok_and(|value| value.get("type").and_then(|name| name.as_str()) == Some("pbkv"))
}

/// What goes back on the strength of one datagram is a few times its size at most.
fn answers_are_bounded(transport: &mut Transport, received: usize) {
    let mut out = Vec::new();
    transport.flush(&mut out);
    for round in 2..6 {
        let now = Timestamp(round * 1_000_000_000);
        if transport.poll_timeout().is_some_and(|due| due <= now) {
            transport.handle_timeout(now);
            assert!(transport.poll_timeout().is_none_or(|due| due > now), "timer-advances");
        }
        transport.flush(&mut out);
    }
    let sent: usize = out.iter().map(|datagram| datagram.bytes.len()).sum();
    assert!(sent <= 40 * received.max(200), "{sent} bytes for {received}");
}

fn arrives_as_it_is(message: &Message, from: SocketAddr, limits: Limits) {
    let mut line = Vec::new();
    codec::encode(message, &mut line);
    assert!(!line.contains(&b'\n'), "a message is one line");
    assert_eq!(codec::decode(&line).as_ref(), Ok(message), "{}", String::from_utf8_lossy(&line));
    // A large message is fetched from where it came from.
    let addresses = [from, "192.0.2.2:5000".parse().expect("an address")];
    let mut ends = [Transport::new(Incarnation(2), limits), Transport::new(Incarnation(3), limits)];
    ends[0].send(Timestamp(2), addresses[1], message);
    let (mut out, mut arrived) = (Vec::new(), Vec::new());
    for turn in 0..40 {
        let (sender, receiver) = (turn % 2, 1 - turn % 2);
        ends[sender].flush(&mut out);
        for datagram in out.drain(..) {
            ends[receiver].receive(Timestamp(3), addresses[sender], &datagram.bytes, &mut arrived);
        }
        if !arrived.is_empty() {
            break;
        }
    }
    let too_large = ends[0].counters().dropped_too_large > 0;
    assert_eq!(arrived.first(), (!too_large).then_some(message), "sent over a perfect network");
}
