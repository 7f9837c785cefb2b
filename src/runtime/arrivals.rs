//! Datagrams that were taken off the socket and wait for their turn.
//!
//! When more arrives than can be handled, the kernel's buffer would fill, and what it then drops is
//! whatever comes: pings and acknowledgements as well as the requests that are too many. A server
//! would be declared dead because it has much to do. So the loop empties the socket quickly,
//! handles what comes from servers at once, and lets everything else wait here.
//!
//! Kept here: what waits is bounded, in all and for each source, so that one that sends without end
//! does not keep the others out. What finds no room is dropped, which is what a network does too:
//! whoever needs an answer asks again, at growing intervals.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use crate::protocol::seal::Role;

/// Datagrams that wait, at most, and their bytes.
pub const WAITING_MAX: usize = 4096;
/// See [`WAITING_MAX`].
pub const WAITING_BYTES_MAX: usize = 8 << 20;
/// Of one source; fewer when many wait, so that there is always room for another one.
pub const WAITING_OF_ONE_MAX: usize = 256;
/// But this many in any case.
const WAITING_OF_ONE_MIN: usize = 16;

/// Buffers kept for later, and the largest one worth keeping.
const POOL_MAX: usize = 512;
const POOL_BYTES_MAX: usize = 4 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    waiting: VecDeque<(SocketAddr, Option<Role>, Vec<u8>)>,
    bytes: usize,
    /// How many of each source wait. Only looked up: its order, which is random, never shows.
    of_one: HashMap<SocketAddr, usize>,
    /// Empty buffers.
    pool: Vec<Vec<u8>>,
    /// Datagrams that found no room.
    pub(super) shed: u64,
}

impl Arrivals {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Lets a datagram wait, if there is room, with what its seal says of its sender.
    pub(super) fn push(&mut self, from: SocketAddr, sender: Option<Role>, datagram: &[u8]) {
        let share = WAITING_MAX / (self.of_one.len() + 1);
        let share = share.clamp(WAITING_OF_ONE_MIN, WAITING_OF_ONE_MAX);
        let of_one = self.of_one.entry(from).or_default();
        if self.waiting.len() >= WAITING_MAX
            || self.bytes + datagram.len() > WAITING_BYTES_MAX
            || *of_one >= share
        {
            if *of_one == 0 {
                self.of_one.remove(&from);
            }
            self.shed += 1;
            return;
        }
        *of_one += 1;
        self.bytes += datagram.len();
        let mut buffer = self.pool.pop().unwrap_or_default();
        buffer.extend_from_slice(datagram);
        self.waiting.push_back((from, sender, buffer));
    }

    /// The one that waits longest. To be given back when it was handled.
    pub(super) fn pop(&mut self) -> Option<(SocketAddr, Option<Role>, Vec<u8>)> {
        let (from, sender, buffer) = self.waiting.pop_front()?;
        self.bytes -= buffer.len();
        if let Some(of_one) = self.of_one.get_mut(&from) {
            *of_one -= 1;
            if *of_one == 0 {
                self.of_one.remove(&from);
            }
        }
        Some((from, sender, buffer))
    }

    /// Keeps the memory of a datagram that was handled.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.pool.len() < POOL_MAX && buffer.capacity() <= POOL_BYTES_MAX {
            buffer.clear();
            self.pool.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn what_waits_is_bounded_in_all_and_for_each_source_and_leaves_in_order() {
        let mut arrivals = Arrivals::default();
        for number in 0..1000_u32 {
            arrivals.push(source(1), None, &number.to_le_bytes());
        }
        assert_eq!(arrivals.shed, 1000 - WAITING_OF_ONE_MAX as u64);
        arrivals.push(source(2), None, b"another");
        for number in 0..WAITING_OF_ONE_MAX as u32 {
            let (from, _, bytes) = arrivals.pop().unwrap();
            assert_eq!((from, &bytes[..]), (source(1), &number.to_le_bytes()[..]));
            arrivals.give_back(bytes);
        }
        assert_eq!(arrivals.pop(), Some((source(2), None, b"another".to_vec())));
        assert!(arrivals.is_empty() && arrivals.pop().is_none());
        assert_eq!((arrivals.bytes, arrivals.of_one.len()), (0, 0));

        let mut arrivals = Arrivals::default();
        for port in (0..300).flat_map(|_| 0..200) {
            arrivals.push(source(port), None, b"x");
        }
        assert!(arrivals.waiting.len() < WAITING_MAX, "there is room for one more");
        let mut arrivals = Arrivals::default();
        for port in 0..60_000 {
            arrivals.push(source(port), None, b"x");
        }
        assert_eq!(arrivals.waiting.len(), WAITING_MAX);
        assert_eq!(arrivals.of_one.len(), WAITING_MAX, "who has no room is not remembered");
        let mut arrivals = Arrivals::default();
        for port in 0..1000 {
            arrivals.push(source(port), None, &[0; 60_000]);
        }
        assert!(arrivals.bytes <= WAITING_BYTES_MAX && arrivals.waiting.len() > 100);
    }
}
