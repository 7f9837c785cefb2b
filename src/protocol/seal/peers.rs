//! Those to whom a process sends, by the address that it uses, and what waits until they are known.
//!
//! Kept here: everything is bounded in number, bytes and age. Forgetting a peer is always safe: it
//! is asked again, and what waited is lost as it might have been on the way.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use ring::aead::LessSafeKey;

use super::wire::{Mark, SealId};
use super::{Counters, Role};
use crate::time::Timestamp;

/// Addresses that are remembered.
const PEERS_MAX: usize = 16_384;

/// What may wait for one peer, and for all of them.
const WAITING_MAX: usize = 64;
const WAITING_BYTES_MAX: usize = 256 << 10;
const ALL_WAITING_BYTES_MAX: usize = 4 << 20;

/// What has waited longer was sent again by whoever needs it.
const WAITING_AGE_MAX: Duration = Duration::from_secs(1);

/// Between two questions to the same peer: several datagrams of one turn need one question.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// A known peer that is sent something and says nothing for so long is asked again, and so often.
const SILENCE: Duration = Duration::from_millis(200);

/// A place that was asked for, heard from, or sent what is meant for a server, within this time is
/// not abandoned.
const ABANDONED_AFTER: Duration = Duration::from_secs(10);

/// A peer whose seal id is known.
pub(super) struct Known {
    pub(super) id: SealId,
    pub(super) role: Role,
    /// The key that it has proven.
    pub(super) key: usize,
    /// Where it sees this process.
    pub(super) seen: Mark,
    /// That was said by a welcome, and not inferred from where it sends to.
    pub(super) is_told: bool,
    /// What seals for it, for one own id.
    pub(super) sealing: Option<(SealId, LessSafeKey)>,
}

impl Known {
    pub(super) fn new(id: SealId, role: Role, key: usize, seen: Mark, is_told: bool) -> Known {
        Known { id, role, key, seen, is_told, sealing: None }
    }

    pub(super) fn is(&self, id: SealId, key: usize) -> bool {
        (self.id, self.key) == (id, key)
    }
}

/// See the module.
pub(super) struct Peer {
    /// Of its address.
    pub(super) mark: Mark,
    pub(super) known: Option<Known>,
    /// Clear datagrams, with the time at which they began to wait.
    waiting: VecDeque<(Timestamp, Vec<u8>)>,
    waiting_bytes: usize,
    pub(super) asked_at: Option<Timestamp>,
    /// When something was sent there last that is meant for a server.
    pub(super) reserved_at: Option<Timestamp>,
    heard_at: Option<Timestamp>,
    /// When something was first sent to it after it was heard last.
    unanswered_since: Option<Timestamp>,
    /// The highest counter that a welcome of its has echoed.
    pub(super) echoed: u64,
}

impl Peer {
    fn new(address: SocketAddr) -> Peer {
        Peer {
            mark: Mark::of(address),
            known: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            asked_at: None,
            reserved_at: None,
            heard_at: None,
            unanswered_since: None,
            echoed: 0,
        }
    }

    pub(super) fn hear(&mut self, now: Timestamp) {
        self.heard_at = Some(now);
        self.unanswered_since = None;
    }

    /// Something is sent now: must its seal id be asked for?
    pub(super) fn is_to_be_asked(&mut self, now: Timestamp) -> bool {
        let since = *self.unanswered_since.get_or_insert(now);
        let rest = match &self.known {
            Some(_) if now.since(since) < SILENCE => return false,
            Some(_) => SILENCE,
            None => ASK_AGAIN_AFTER,
        };
        self.asked_at.is_none_or(|asked_at| now.since(asked_at) >= rest)
    }

    pub(super) fn is_reserved(&self, now: Timestamp) -> bool {
        is_recent(self.reserved_at, now)
    }

    pub(super) fn is_abandoned(&self, now: Timestamp) -> bool {
        !is_recent(self.asked_at, now) && !is_recent(self.heard_at, now)
    }
}

fn is_recent(at: Option<Timestamp>, now: Timestamp) -> bool {
    at.is_some_and(|at| now.since(at) < ABANDONED_AFTER)
}

/// Only looked up: its order never shows.
#[derive(Default)]
pub(super) struct Peers {
    peers: HashMap<SocketAddr, Peer>,
    waiting_bytes: usize,
}

impl Peers {
    pub(super) fn get_mut(&mut self, address: SocketAddr) -> Option<&mut Peer> {
        self.peers.get_mut(&address)
    }

    /// The peer at this address, which may be a new one.
    pub(super) fn of(
        &mut self,
        now: Timestamp,
        address: SocketAddr,
        counters: &mut Counters,
    ) -> &mut Peer {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&address) {
            self.forget(now, counters);
        }
        self.peers.entry(address).or_insert_with(|| Peer::new(address))
    }

    /// Makes room: first of what is of no use any more, and if that is too little, of everything.
    fn forget(&mut self, now: Timestamp, counters: &mut Counters) {
        let mut kept = std::mem::take(&mut self.peers);
        kept.retain(|_, peer| !peer.is_abandoned(now));
        if kept.len() > PEERS_MAX / 4 * 3 {
            kept.clear();
        }
        let bytes = kept.values().map(|peer| peer.waiting_bytes).sum();
        if bytes < self.waiting_bytes {
            counters.gave_up += 1;
        }
        (self.peers, self.waiting_bytes) = (kept, bytes);
    }

    /// Keeps a clear datagram until its receiver is known. The oldest ones make room.
    pub(super) fn wait(
        &mut self,
        now: Timestamp,
        to: SocketAddr,
        clear: &[u8],
        counters: &mut Counters,
    ) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let (bytes, all_bytes) = (&mut peer.waiting_bytes, &mut self.waiting_bytes);
        while peer.waiting.len() >= WAITING_MAX || *bytes + clear.len() > WAITING_BYTES_MAX {
            let Some((_, oldest)) = peer.waiting.pop_front() else { break };
            *bytes -= oldest.len();
            *all_bytes -= oldest.len();
            counters.gave_up += 1;
        }
        if *all_bytes + clear.len() > ALL_WAITING_BYTES_MAX {
            counters.gave_up += 1;
            return;
        }
        *bytes += clear.len();
        *all_bytes += clear.len();
        peer.waiting.push_back((now, clear.to_vec()));
    }

    /// What waited for this peer, in order.
    pub(super) fn take_waiting(
        &mut self,
        now: Timestamp,
        to: SocketAddr,
        counters: &mut Counters,
    ) -> impl Iterator<Item = Vec<u8>> + use<> {
        let mut waited = VecDeque::new();
        if let Some(peer) = self.peers.get_mut(&to) {
            waited = std::mem::take(&mut peer.waiting);
            self.waiting_bytes -= std::mem::take(&mut peer.waiting_bytes);
        }
        let all = waited.len();
        waited.retain(|(since, _)| now.since(*since) < WAITING_AGE_MAX);
        counters.gave_up += (all - waited.len()) as u64;
        waited.into_iter().map(|(_, clear)| clear)
    }
}
