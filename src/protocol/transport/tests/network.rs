//! Whole transfers over good and bad networks.

use super::*;

#[test]
fn messages_of_every_size_arrive_intact_over_a_bad_network() {
    for (seed, addresses) in [(1, REMOTE), (2, LOCAL)] {
        let limits = Limits::default();
        let mut world = World::new(seed, LOSSY, &addresses, limits);
        let room = packing::room(limits.datagram_bytes_to(address(addresses[1])));
        let around = |size: usize| [size - 2, size - 1, size, size + 1, size + 2];
        let sizes = around(room).into_iter().chain(around(2 * room)).chain([0, 5 * room + 3]);
        for (id, size) in sizes.chain(around(64 << 10)).chain([300 << 10]).enumerate() {
            world.deliver(0, 1, &put_of(id as u64, size));
        }
        assert!(world.counters(1).assemblies_completed >= 10);
    }
}

#[test]
fn long_values_of_any_text_arrive_intact_over_a_bad_network() {
    for (seed, addresses) in [(3, REMOTE), (4, LOCAL)] {
        let mut world = World::new(seed, LOSSY, &addresses, Limits::default());
        let mixed = "a\u{e9}\u{4e2d}\u{1f980} and more text than signs: \"\\\n\u{7f}\u{0}";
        let texts = [("\"", 17), ("\u{1}", 16), ("\\\"\n", 17), ("\u{1f980}", 18), (mixed, 20)];
        for (id, (text, size)) in texts.into_iter().enumerate() {
            let value = text.repeat((1 << size) / text.len());
            world.deliver(id % 2, 1 - id % 2, &put(id as u64, &value));
        }
    }
}

#[test]
fn a_large_message_crosses_a_good_network_without_any_timeout_or_waste() {
    for addresses in [REMOTE, LOCAL] {
        let mut world = World::new(5, NO_FAULTS, &addresses, Limits::default());
        let message = put_of(1, 1 << 20);
        let limit = Limits::default().datagram_bytes_to(address(addresses[1]));
        world.send(0, 1, &message);
        world.run_until(world.now + Duration::from_millis(15));
        assert!(world.nodes[1].delivered == [message]);
        let pieces = world.counters(0).pieces_sent as usize;
        assert!(pieces * limit < (1 << 20) * 3 / 2, "{pieces} pieces of {limit}");
        let wants = world.counters(1).wants_sent as usize;
        assert!(wants <= 64, "{wants} wants");
    }
}

#[test]
fn many_large_messages_from_many_senders_all_arrive() {
    let addresses: Vec<String> = (0..9).map(|node| format!("10.0.0.{node}:1")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut world = World::new(6, LOSSY, &addresses, Limits::default());
    let messages: Vec<_> = (1..9).map(|node| (node, put_of(node as u64, 50 << 10))).collect();
    for _ in 0..100 {
        for (node, message) in &messages {
            world.send(*node, 0, message);
        }
        world.run_until(world.now + Duration::from_millis(100));
        if messages.iter().all(|(_, message)| world.nodes[0].delivered.contains(message)) {
            return;
        }
    }
    panic!("some never arrived");
}

#[test]
fn a_dead_sender_is_given_up_and_holds_up_nobody() {
    let mut world = World::new(7, NO_FAULTS, &["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"], {
        Limits::default()
    });
    let begun = piece(77, 1, 4 << 20, 0, "{");
    let dead = address("10.9.9.9:1");
    let mut out = Vec::new();
    let now = world.now;
    world.nodes[1].transport.receive(now, dead, &begun, &mut out);
    world.run_until(now + Duration::from_millis(50));
    let message = put_of(1, 1 << 20);
    world.send(0, 1, &message);
    world.run_until(world.now + Duration::from_millis(100));
    assert!(world.nodes[1].delivered == [message]);
    world.run_until(world.now + Duration::from_secs(11));
    assert_eq!(world.counters(1).assemblies_expired, 1);
    for node in &world.nodes {
        assert_eq!(node.transport.poll_timeout(), None);
        assert_eq!(node.transport.assemblies.bytes(), 0);
        assert_eq!(node.transport.outgoing.bytes(), 0);
    }
}

#[test]
fn a_damaged_datagram_never_delivers_anything_that_was_not_sent() {
    let faults = Faults { damaged: 40, ..LOSSY };
    for (seed, addresses) in [(8, REMOTE), (9, LOCAL)] {
        let mut world = World::new(seed, faults, &addresses, Limits::default());
        let mut messages: Vec<_> = (0..20).map(|id| put_of(id, 0)).collect();
        messages.extend((20..24).map(|id| put_of(id, 9_000)));
        messages.push(put_of(24, 200 << 10));
        for _ in 0..60 {
            for message in &messages {
                world.send(0, 1, message);
            }
            world.run_until(world.now + Duration::from_millis(100));
        }
        let delivered = &world.nodes[1].delivered;
        assert!(delivered.iter().all(|message| messages.contains(message)));
        assert!(messages.iter().all(|message| delivered.contains(message)));
        assert!(world.counters(1).dropped_checksum > 0);
    }
}

#[test]
fn the_same_calls_give_the_same_datagrams() {
    let trace = || {
        let mut world = World::new(13, LOSSY, &REMOTE, Limits::default());
        for id in 0..5 {
            world.deliver(0, 1, &put_of(id, 3_000 << id));
        }
        (world.now, world.sent, world.counters(0), world.counters(1))
    };
    assert_eq!(trace(), trace());
}

#[test]
fn a_distant_receiver_learns_how_long_an_answer_takes_and_asks_little_twice() {
    let far = Duration::from_millis(60);
    let faults = Faults { delay_min: far, delay_max: far, ..NO_FAULTS };
    let mut world = World::new(14, faults, &REMOTE, Limits::default());
    let message = put_of(1, 4 << 20);
    world.send(0, 1, &message);
    world.run_until(world.now + Duration::from_secs(5));
    assert!(world.nodes[1].delivered == [message]);
    let pieces = world.counters(0).pieces_sent as usize;
    assert!(pieces * 1200 < (4 << 20) * 3 / 2, "{pieces} pieces");
}
