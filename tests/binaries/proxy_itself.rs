//! The proxy does what the tests that use it believe.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::support::proxy::{CLIENT, Faults, Proxy};

/// Two nodes, `a` and `b`, and their fronts.
struct Pair {
    proxy: Proxy,
    a: UdpSocket,
    b: UdpSocket,
    front_a: SocketAddr,
    front_b: SocketAddr,
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket
}

fn pair() -> Pair {
    let (proxy, a, b) = (Proxy::new(7), socket(), socket());
    let (front_a, front_b) = (proxy.add_node("a"), proxy.add_node("b"));
    proxy.set_real("a", a.local_addr().unwrap());
    proxy.set_real("b", b.local_addr().unwrap());
    Pair { proxy, a, b, front_a, front_b }
}

fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut bytes = vec![0; 1 << 16];
    let (size, from) = socket.recv_from(&mut bytes).ok()?;
    bytes.truncate(size);
    Some((bytes, from))
}

#[test]
fn both_ways_of_a_path_lead_through_the_fronts_for_nodes_and_for_clients() {
    let Pair { proxy: _proxy, a, b, front_a, front_b } = pair();
    let large = vec![7; 60 << 10];
    a.send_to(&large, front_b).unwrap();
    let (bytes, from) = receive(&b).unwrap();
    assert!(bytes == large && from == front_a);
    b.send_to(b"answer", from).unwrap();
    assert_eq!(receive(&a), Some((b"answer".to_vec(), front_b)));

    let client = socket();
    client.send_to(b"question", front_b).unwrap();
    let (_, from) = receive(&b).unwrap();
    assert!(from != client.local_addr().unwrap() && from != front_a);
    b.send_to(b"answer", from).unwrap();
    assert_eq!(receive(&client), Some((b"answer".to_vec(), front_b)));
}

#[test]
fn a_cut_works_in_one_direction_until_it_is_healed() {
    let Pair { proxy, a, b, front_a, front_b } = pair();
    proxy.cut("a", "b");
    a.send_to(b"forth", front_b).unwrap();
    assert_eq!(receive(&b), None);
    b.send_to(b"back", front_a).unwrap();
    assert_eq!(receive(&a), Some((b"back".to_vec(), front_b)));
    assert_eq!(proxy.counters().cut, 1);
    proxy.heal();
    a.send_to(b"forth", front_b).unwrap();
    assert_eq!(receive(&b), Some((b"forth".to_vec(), front_a)));
    proxy.cut_both(CLIENT, "b");
    socket().send_to(b"question", front_b).unwrap();
    assert_eq!(receive(&b), None);
}

#[test]
fn loss_duplication_and_reordering_happen_as_often_as_asked() {
    let Pair { proxy, a, b, front_b, .. } = pair();
    proxy.everywhere(Faults {
        loss: 20,
        duplication: 20,
        delay: Duration::ZERO..Duration::from_millis(20),
    });
    let (sent, mut order) = (1000_u32, Vec::new());
    for number in 0..sent {
        a.send_to(&number.to_be_bytes(), front_b).unwrap();
        if number % 50 == 49 {
            while let Some((bytes, _)) = receive(&b) {
                order.push(u32::from_be_bytes(bytes.try_into().unwrap()));
                if order.len() as u64 == proxy.counters().delivered {
                    break;
                }
            }
        }
    }
    while let Some((bytes, _)) = receive(&b) {
        order.push(u32::from_be_bytes(bytes.try_into().unwrap()));
    }
    let counters = proxy.counters();
    assert!((120..280).contains(&counters.lost), "{counters:?}");
    assert!((100..230).contains(&counters.duplicated), "{counters:?}");
    assert_eq!(counters.delivered, u64::from(sent) - counters.lost + counters.duplicated);
    assert_eq!(order.len() as u64, counters.delivered, "nothing else is lost");
    assert!(!order.is_sorted(), "reordered");
    // One path may have rules of its own.
    proxy.on_path("a", "b", Faults { loss: 100, ..Faults::default() });
    a.send_to(b"lost", front_b).unwrap();
    assert_eq!(receive(&b), None);
}
