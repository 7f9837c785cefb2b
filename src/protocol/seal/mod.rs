//! Sealed datagrams: encrypted, authenticated, and executed once at most, now or never.
//!
//! Whoever runs a cluster gives all its processes a key file. Each clear datagram (a header line
//! with JSON objects, or one plain message) then travels inside a sealed one; `wire` has the form.
//! What is here stands between a process's transport and its socket, and knows neither of them, no
//! clock, and no randomness but the seed that it is given.
//!
//! # What is proven by a datagram that is handed on
//!
//! *Somebody who holds the key sealed it, for this process, in this role, in its present life; it
//! was not handed on before; and its sender receives what is sent to the address it came from.*
//!
//! * **Identity.** A process is known by its *seal id*, 128 random bits drawn at its start. Each
//!   direction between two seal ids has a key of its own, derived (HKDF) from the cluster key, both
//!   ids, both roles and the form of the datagram. The nonce is a counter of the sender, which
//!   counts everything that it ever seals: no nonce comes twice under a key, whatever the number of
//!   peers, addresses and restarts, as long as no two processes have the same seal id. (Cloning the
//!   memory of a running process breaks that, as it breaks incarnations.)
//! * **Now.** The receiver's seal id is in the key. What was sealed for an earlier life of it, or
//!   for anybody else, does not open under the key of its present id, and is never handed on. So
//!   nothing that was recorded before this process started can do anything but have it say hello.
//! * **Once.** Within its present life a receiver keeps a window of counters for each sender id
//!   (`window`). What is older than the window counts as taken.
//! * **Bounded, without forgetting.** The windows are kept in a *register*, which belongs to one
//!   own id. A register that is full is not emptied: this process draws another id and begins a
//!   second register, and keeps the first only to serve those who are in it until the second one is
//!   full too. When a register is dropped, its id is dropped with it, so that a window that could
//!   still refuse something is never forgotten. Those who are in the old register are told the new
//!   id with the next datagram they get: nobody notices. Only holders of a key fill registers.
//! * **From there.** Each datagram says, sealed, at which address the receiver sees the sender. The
//!   sender knows that only from a welcome, which was sent to that very address. So an answer goes
//!   to an address that has proven that it receives there, and whoever catches a datagram and sends
//!   it on from elsewhere gets nothing executed. Addresses are compared as the receiver sees them,
//!   whatever translates them on the way; the peers of a process are known by the addresses that it
//!   uses itself.
//!
//! # The exchange
//!
//! ```text
//!   A (does not know B's id)                          B
//!     hello(A, nobody, counter) ----------------------> opens it, keeps nothing
//!                              <---------------------- welcome(B, A; counter, where A is seen)
//!     data(A, B; where A is seen, where B is seen) ---> hands it on, and knows A from now on
//!                              <---------------------- data(B, A; ...)
//! ```
//!
//! Data that is authentic for another id (B was restarted, or it was recorded) or that came from
//! another address (A was moved) is answered with a welcome as well and not handed on. A welcome is
//! as long as a hello and no longer than any data, so that nobody gains by forging an address; it
//! is never answered; and there is a bound on how many leave a second. A takes a welcome only if it
//! echoes a counter of A's that is higher than the last one echoed from there, and the address to
//! which A sent that: an old welcome changes nothing, one from elsewhere neither. What waits for
//! the welcome leaves with it, so that the first datagram to a peer is late by one round trip.
//! No timer is needed: whoever needs an answer sends again, and that asks again. The same happens
//! when a peer that is known says nothing for a while, whatever the reason, so that there is no
//! state of two processes with a common key from which they cannot find back together.
//!
//! Not proven by a hello: that its sender receives anything. It is not remembered.
//!
//! # Keys of two kinds
//!
//! With a key of the kind `client` in addition, a peer that proves only that one must be a client,
//! and a client may only send what anybody may ([`Message::speaker`]). Servers never speak first to
//! a peer of that kind, and never send what is meant for a server to one
//! ([`Seal::reserve_for_servers`]): else a client on the path between two servers could take the
//! place of one of them, read what is replicated, and swallow it.
//!
//! # What is not done
//!
//! No forward secrecy: who has recorded everything and steals the key later reads everything.
//! Holders of one key are not protected from one another: whoever has the client key, and is on the
//! path of another client, can pose as the server. Nothing hides how much is said to whom, and
//! whoever is on the path can drop and delay; the protocol takes that for a bad network.
//!
//! Reading order: `keys`, `wire`, `window`, `peers`, then this file. Counterparts:
//! [`transport`](super::transport), whose datagrams these are; `runtime::guard`, which uses it.

mod keys;
mod peers;
#[cfg(test)]
mod tests;
mod window;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;

use ring::aead::LessSafeKey;
use ring::hkdf::{HKDF_SHA256, Prk, Salt};

use crate::protocol::message::{Message, Speaker};
use crate::protocol::transport::Datagram;
use crate::time::Timestamp;

pub use keys::{KEYS_MAX, KeyKind, Keyring, KeysError, SECRET_BYTES, key_line};
pub use wire::{OVERHEAD, is_sealed};

use peers::{Known, Peer, Peers};
use window::Window;
use wire::{Form, HEADER, HELLO_BODY, Header, MARKS, Mark, NOBODY, SealId, TAG, WELCOME, array};

/// Senders in one register. Each takes about two kilobytes, and there are two registers.
const SENDERS_MAX: usize = 8192;

/// Welcomes that leave in a second, and at once. They cost more than what they answer.
const WELCOMES_PER_SECOND: u64 = 8192;

/// What a process is. Stands in every sealed datagram.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The view server.
    ViewServer = 1,
    /// A kv server.
    Server = 2,
    /// Anybody who asks them.
    Client = 3,
}

impl Role {
    /// Whether a process in this role hears one in that role that has proven a key of that kind.
    fn hears(self, sender: Role, kind: KeyKind) -> bool {
        match (self, sender, kind) {
            (Role::Client, Role::Client, _) => false,
            (Role::Client, Role::ViewServer | Role::Server, _) => true,
            (Role::ViewServer | Role::Server, _, KeyKind::Cluster) => true,
            (Role::ViewServer | Role::Server, Role::Client, KeyKind::Client) => true,
            (Role::ViewServer | Role::Server, Role::ViewServer | Role::Server, KeyKind::Client) => {
                false
            }
        }
    }

    /// Whether a process in this role takes such a message from a sender in that role. The one
    /// place that keeps clients from speaking as servers.
    #[must_use]
    pub fn takes(self, sender: Role, message: &Message) -> bool {
        let speaker = message.speaker();
        match (self, sender) {
            (Role::Client, Role::Client) => false,
            (Role::Client, Role::ViewServer | Role::Server) => speaker == Speaker::WhoeverWasAsked,
            (Role::ViewServer | Role::Server, Role::Client) => speaker == Speaker::Anybody,
            (Role::ViewServer | Role::Server, Role::Server) => speaker == Speaker::Server,
            (Role::ViewServer | Role::Server, Role::ViewServer) => speaker == Speaker::ViewServer,
        }
    }
}

/// Why something was not even looked at, or not handed on, where that needs somebody's attention.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// It is not sealed at all: its sender has no key.
    Unsealed,
    /// It is sealed with a key that is not known here.
    UnknownKey,
    /// It names a key that is known here, and was not sealed with it, or was changed.
    Forged,
    /// Its sender has the key, but not one for the role it claims.
    Role,
    /// Its sender has the key of a client, and sent what only servers send.
    Message,
}

impl Refusal {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Refusal; 5] =
        [Refusal::Unsealed, Refusal::UnknownKey, Refusal::Forged, Refusal::Role, Refusal::Message];

    /// How metrics and logs name it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Refusal::Unsealed => "unsealed",
            Refusal::UnknownKey => "unknown_key",
            Refusal::Forged => "forged",
            Refusal::Role => "role",
            Refusal::Message => "message",
        }
    }
}

/// What has happened since the start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Counters {
    /// Datagrams sealed, exchanges included.
    pub sealed: u64,
    /// Clear datagrams handed on.
    pub opened: u64,
    /// Questions for a seal id, sent and authentic ones received.
    pub hellos_sent: u64,
    /// See above.
    pub hellos_received: u64,
    /// Answers to them, and to what was stale.
    pub welcomes_sent: u64,
    /// Answers that were taken.
    pub welcomes_taken: u64,
    /// Answers not given, because there were too many.
    pub welcomes_withheld: u64,
    /// Authentic, and for an earlier life, from another address, or a welcome nobody waits for.
    pub stale: u64,
    /// Taken before, or too old to know.
    pub repeated: u64,
    /// Datagrams that waited for a welcome in vain.
    pub gave_up: u64,
    /// Registers that were full.
    pub renewals: u64,
    /// By [`Refusal`].
    pub refused: [u64; Refusal::ALL.len()],
}

impl Counters {
    /// One more was refused.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refused[refusal as usize] += 1;
    }
}

/// What became of a datagram that arrived.
#[derive(PartialEq, Eq, Debug)]
pub enum Opened<'a> {
    /// A clear datagram, and who sent it.
    Clear(&'a [u8], Role),
    /// It was part of an exchange, or is of no use any more.
    Nothing,
    /// It is not for this process, or from nobody who may send it.
    Refused(Refusal),
}

/// A sender that was heard under one own id.
struct Sender {
    /// Which key it uses.
    key: usize,
    opening: LessSafeKey,
    window: Window,
    /// Where it was seen last, and the mark of that.
    address: SocketAddr,
    mark: Mark,
    /// It was sent a welcome because the register is the old one.
    is_told: bool,
}

/// Everybody who was heard under one own id. Only looked up: its order never shows.
struct Register {
    id: SealId,
    senders: HashMap<SealId, Sender>,
}

impl Register {
    fn new(id: SealId) -> Register {
        Register { id, senders: HashMap::new() }
    }
}

/// See the module. What this process seals, and what it makes of what others sealed.
pub struct Seal {
    keyring: Keyring,
    role: Role,
    /// Yields own ids.
    seed: Prk,
    current: Register,
    previous: Option<Register>,
    /// The last counter used, with whatever id and key.
    counter: u64,
    peers: Peers,
    /// Welcomes that may leave, in billionths, as of this time.
    allowance: (u64, Timestamp),
    /// Reused: what is sealed.
    scratch: Vec<u8>,
    /// Sealed datagrams that leave with the next flush: parts of exchanges, and what waited.
    ready: Vec<Datagram>,
    senders_max: usize,
    counters: Counters,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").field("keyring", &self.keyring).field("role", &self.role).finish()
    }
}

impl Seal {
    /// `seed` is secret, random, and drawn anew for every process: everything rests on that.
    #[must_use]
    pub fn new(keyring: Keyring, role: Role, seed: &[u8; SECRET_BYTES]) -> Seal {
        let seed = Salt::new(HKDF_SHA256, b"pbkv seal ids, version 1").extract(seed);
        let mut seal = Seal {
            keyring,
            role,
            seed,
            current: Register::new(NOBODY),
            previous: None,
            counter: 0,
            peers: Peers::default(),
            allowance: (WELCOMES_PER_SECOND * 1_000_000_000, Timestamp::ZERO),
            scratch: Vec::new(),
            ready: Vec::new(),
            senders_max: SENDERS_MAX,
            counters: Counters::default(),
        };
        seal.current = Register::new(seal.draw(0));
        seal
    }

    /// What this process is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// What has happened since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Something was refused by whoever looked into it.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.counters.refuse(refusal);
    }

    /// Takes out what is to be sent besides what [`Seal::seal`] returns. Call it after that, and
    /// after [`Seal::open`].
    pub fn drain(&mut self) -> std::vec::Drain<'_, Datagram> {
        self.ready.drain(..)
    }

    /// Seals a clear datagram; none if it must wait until the peer is known.
    pub fn seal(&mut self, now: Timestamp, to: SocketAddr, clear: &[u8]) -> Option<&[u8]> {
        let peer = self.peers.of(now, to, &mut self.counters);
        let is_known = peer.known.is_some();
        if peer.is_to_be_asked(now) {
            self.ask(now, to);
        }
        if is_known {
            self.seal_known(to, clear);
            Some(&self.scratch)
        } else {
            self.peers.wait(now, to, clear, &mut self.counters);
            None
        }
    }

    /// What goes there next is meant for a server: a peer there that has only proven the key of a
    /// client is not taken for one.
    pub fn reserve_for_servers(&mut self, now: Timestamp, to: SocketAddr) {
        if !(self.keyring.has(KeyKind::Client) && self.keyring.has(KeyKind::Cluster)) {
            return;
        }
        let peer = self.peers.of(now, to, &mut self.counters);
        peer.reserved_at = Some(now);
        let is_client = |known: &mut Known| self.keyring.get(known.key).kind == KeyKind::Client;
        peer.known.take_if(is_client);
    }

    /// Opens a datagram that has arrived, in place.
    pub fn open<'a>(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Opened<'a> {
        let opened = self.look_into(now, from, datagram);
        match &opened {
            Opened::Clear(_, _) => self.counters.opened += 1,
            Opened::Nothing => {}
            Opened::Refused(refusal) => self.counters.refuse(*refusal),
        }
        opened
    }

    fn look_into<'a>(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Opened<'a> {
        if !is_sealed(datagram) {
            return Opened::Refused(Refusal::Unsealed);
        }
        let Some(header) = Header::decode(datagram) else {
            return Opened::Refused(Refusal::Forged);
        };
        let Some(key) = self.keyring.find(header.key) else {
            return Opened::Refused(Refusal::UnknownKey);
        };
        if self.is_own(header.from) {
            // Somebody sends our own datagrams back to us.
            self.counters.stale += 1;
            return Opened::Nothing;
        }
        match header.form {
            Form::Hello => self.on_hello(now, from, &header, key, datagram),
            Form::Welcome => self.on_welcome(now, from, &header, key, datagram),
            Form::Data => self.on_data(now, from, &header, key, datagram),
        }
    }

    fn on_hello<'a>(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        header: &Header,
        key: usize,
        datagram: &'a mut [u8],
    ) -> Opened<'a> {
        let body = match self.unlock(header, key, datagram) {
            Ok(body) => body,
            Err(refusal) => return Opened::Refused(refusal),
        };
        // A shorter one would be answered with more than it has.
        if body.len() < HELLO_BODY {
            return Opened::Refused(Refusal::Forged);
        }
        self.counters.hellos_received += 1;
        self.welcome(now, from, Mark::of(from), header, key, Mark(array(body)));
        Opened::Nothing
    }

    fn on_welcome<'a>(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        header: &Header,
        key: usize,
        datagram: &'a mut [u8],
    ) -> Opened<'a> {
        if !self.is_own(header.to) || self.peers.get_mut(from).is_none() {
            self.counters.stale += 1;
            return Opened::Nothing;
        }
        let body = match self.unlock(header, key, datagram) {
            Ok(body) if body.len() == WELCOME - HEADER - TAG => body,
            Ok(_) => return Opened::Refused(Refusal::Forged),
            Err(refusal) => return Opened::Refused(refusal),
        };
        let echo = u64::from_be_bytes(array(body));
        let (seen, there) = (Mark(array(&body[8..])), Mark(array(&body[16..])));
        let is_takeable = self.may_take_the_place(now, from, key);
        let Some(peer) = self.peers.get_mut(from) else { return Opened::Nothing };
        let is_news = there == peer.mark && echo > peer.echoed && echo <= self.counter;
        if !is_news || !is_takeable {
            self.counters.stale += 1;
            return Opened::Nothing;
        }
        peer.echoed = echo;
        peer.hear(now);
        self.counters.welcomes_taken += 1;
        match &mut peer.known {
            Some(known) if known.is(header.from, key) => {
                (known.seen, known.is_told) = (seen, true);
            }
            Some(_) | None => {
                peer.known = Some(Known::new(header.from, header.role, key, seen, true));
            }
        }
        self.send_what_waits(now, from);
        Opened::Nothing
    }

    fn on_data<'a>(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        header: &Header,
        key: usize,
        datagram: &'a mut [u8],
    ) -> Opened<'a> {
        let is_current = header.to == self.current.id;
        let register = if is_current { Some(&self.current) } else { self.previous.as_ref() };
        let sender = register
            .filter(|register| register.id == header.to)
            .and_then(|register| register.senders.get(&header.from));
        if sender.as_ref().is_some_and(|sender| sender.window.has(header.counter)) {
            self.counters.repeated += 1;
            return Opened::Nothing;
        }

        // Is it authentic?
        let mut derived = None;
        let mut known_mark = None;
        let opened = match sender {
            Some(sender) if sender.key == key => {
                known_mark = (sender.address == from).then_some(sender.mark);
                header.open(&sender.opening, datagram)
            }
            Some(_) | None => {
                let opening = derived.insert(header.derive(&self.keyring.get(key).root, self.role));
                header.open(opening, datagram)
            }
        };
        let Some((marks, clear)) = opened.and_then(|body| body.split_at_checked(MARKS)) else {
            return Opened::Refused(Refusal::Forged);
        };
        if !self.role.hears(header.role, self.keyring.get(key).kind) {
            return Opened::Refused(Refusal::Role);
        }
        let mark = known_mark.unwrap_or_else(|| Mark::of(from));
        let (told, here) = (Mark(array(marks)), Mark(array(&marks[8..])));

        // Is it for this life, and from where its sender is?
        let is_registered = self.register(header.to).is_some_and(|register| {
            register.senders.contains_key(&header.from)
                || (is_current && register.senders.len() < self.senders_max)
        });
        if !is_registered || told != mark {
            if is_current && !is_registered {
                self.renew();
            }
            self.counters.stale += 1;
            if HEADER + MARKS + clear.len() + TAG >= WELCOME {
                self.welcome(now, from, mark, header, key, here);
            }
            return Opened::Nothing;
        }

        let register = match &mut self.previous {
            Some(previous) if !is_current => previous,
            Some(_) | None => &mut self.current,
        };
        let mut is_news = false;
        let sender = match (register.senders.entry(header.from), derived) {
            (std::collections::hash_map::Entry::Occupied(entry), None) => entry.into_mut(),
            (std::collections::hash_map::Entry::Occupied(entry), Some(opening)) => {
                // Another of its keys. It counts with all of them alike.
                let sender = entry.into_mut();
                (sender.key, sender.opening) = (key, opening);
                sender
            }
            (std::collections::hash_map::Entry::Vacant(entry), Some(opening)) => {
                is_news = true;
                let (window, address) = (Window::default(), from);
                entry.insert(Sender { key, opening, window, address, mark, is_told: false })
            }
            (std::collections::hash_map::Entry::Vacant(_), None) => {
                unreachable!("what opened it is in the register")
            }
        };
        sender.window.take(header.counter);
        if sender.address != from {
            (sender.address, sender.mark) = (from, mark);
            is_news = true;
        }
        if !is_current && !std::mem::replace(&mut sender.is_told, true) {
            self.welcome(now, from, mark, header, key, here);
        }
        self.learn(now, from, header, key, here, is_news);
        Opened::Clear(clear, header.role)
    }

    /// What a datagram of an exchange holds, if it is authentic and its sender may send it.
    fn unlock<'a>(
        &self,
        header: &Header,
        key: usize,
        datagram: &'a mut [u8],
    ) -> Result<&'a [u8], Refusal> {
        let known = self.keyring.get(key);
        let opening = header.derive(&known.root, self.role);
        let body = header.open(&opening, datagram).ok_or(Refusal::Forged)?;
        if self.role.hears(header.role, known.kind) { Ok(body) } else { Err(Refusal::Role) }
    }

    /// Somebody who has proven a key was heard from there: it can be spoken to.
    fn learn(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        header: &Header,
        key: usize,
        seen: Mark,
        is_news: bool,
    ) {
        let is_takeable = self.may_take_the_place(now, from, key);
        let peer = self.peers.of(now, from, &mut self.counters);
        let was_waiting = peer.known.is_none();
        match &mut peer.known {
            Some(known) if known.id == header.from => {
                // A welcome knows better, where the way back is another than the way there.
                if !known.is_told {
                    known.seen = seen;
                }
                peer.hear(now);
            }
            // An earlier process at this address, heard late, does not take the place of its
            // successor: that one is in the register too, and only the first datagram counts.
            Some(_) | None if is_takeable && (is_news || was_waiting) => {
                peer.known = Some(Known::new(header.from, header.role, key, seen, false));
                peer.hear(now);
            }
            Some(_) | None => {}
        }
        if was_waiting {
            self.send_what_waits(now, from);
        }
    }

    /// A server's place is not taken by somebody who has only proven the key of a client.
    fn may_take_the_place(&mut self, now: Timestamp, at: SocketAddr, key: usize) -> bool {
        if self.keyring.get(key).kind == KeyKind::Cluster || !self.keyring.has(KeyKind::Cluster) {
            return true;
        }
        let Some(peer) = self.peers.get_mut(at) else { return true };
        match &peer.known {
            Some(known) if self.keyring.get(known.key).kind == KeyKind::Client => true,
            Some(_) => peer.is_abandoned(now),
            None => !peer.is_reserved(now),
        }
    }

    fn send_what_waits(&mut self, now: Timestamp, to: SocketAddr) {
        if self.peers.get_mut(to).is_none_or(|peer| peer.known.is_none()) {
            return;
        }
        for clear in self.peers.take_waiting(now, to, &mut self.counters) {
            self.seal_known(to, &clear);
            self.ready.push(Datagram { to, bytes: self.scratch.clone() });
        }
    }

    /// Seals for a peer that is known.
    fn seal_known(&mut self, to: SocketAddr, clear: &[u8]) {
        let Some(Peer { mark, known: Some(known), .. }) = self.peers.get_mut(to) else {
            unreachable!("the caller has looked")
        };
        let from = self.current.id;
        self.counter += 1;
        self.counters.sealed += 1;
        let key = self.keyring.get(known.key);
        let header = Header {
            form: Form::Data,
            role: self.role,
            key: key.id,
            from,
            to: known.id,
            counter: self.counter,
        };
        let receiver = known.role;
        let (_, sealing) = match known.sealing.take_if(|(id, _)| *id == from) {
            Some(sealing) => known.sealing.insert(sealing),
            None => known.sealing.insert((from, header.derive(&key.root, receiver))),
        };
        header.seal(sealing, &[&known.seen.0, &mark.0, clear], &mut self.scratch);
    }

    /// Asks with every key that may be the right one. The answer to the last one is the one that is
    /// kept, which is the preferred key if the peer has it.
    fn ask(&mut self, now: Timestamp, to: SocketAddr) {
        let Some(peer) = self.peers.get_mut(to) else { return };
        peer.asked_at = Some(now);
        let mark = peer.mark;
        for key in self.keyring.asking().rev() {
            self.counter += 1;
            self.counters.sealed += 1;
            self.counters.hellos_sent += 1;
            let header = Header {
                form: Form::Hello,
                role: self.role,
                key: self.keyring.get(key).id,
                from: self.current.id,
                to: NOBODY,
                counter: self.counter,
            };
            let sealing = header.derive(&self.keyring.get(key).root, self.role);
            let mut bytes = Vec::with_capacity(WELCOME);
            header.seal(&sealing, &[&mark.0, &[0; HELLO_BODY - 8]], &mut bytes);
            self.ready.push(Datagram { to, bytes });
        }
    }

    /// Answers what this header came with.
    fn welcome(
        &mut self,
        now: Timestamp,
        to: SocketAddr,
        seen: Mark,
        answered: &Header,
        key: usize,
        there: Mark,
    ) {
        if !self.allow(now) {
            self.counters.welcomes_withheld += 1;
            return;
        }
        self.counter += 1;
        self.counters.sealed += 1;
        self.counters.welcomes_sent += 1;
        let key = self.keyring.get(key);
        let header = Header {
            form: Form::Welcome,
            role: self.role,
            key: key.id,
            from: self.current.id,
            to: answered.from,
            counter: self.counter,
        };
        let sealing = header.derive(&key.root, answered.role);
        let echo = answered.counter.to_be_bytes();
        let mut bytes = Vec::with_capacity(WELCOME);
        header.seal(&sealing, &[&echo, &seen.0, &there.0], &mut bytes);
        self.ready.push(Datagram { to, bytes });
    }

    fn allow(&mut self, now: Timestamp) -> bool {
        const ONE: u64 = 1_000_000_000;
        let (left, since) = &mut self.allowance;
        let nanos = u64::try_from(now.since(*since).as_nanos()).unwrap_or(u64::MAX);
        *left = left
            .saturating_add(nanos.saturating_mul(WELCOMES_PER_SECOND))
            .min(WELCOMES_PER_SECOND * ONE);
        *since = now;
        let is_allowed = *left >= ONE;
        if is_allowed {
            *left -= ONE;
        }
        is_allowed
    }

    /// The register is full: those who are in it are served until the next one is full too.
    fn renew(&mut self) {
        self.counters.renewals += 1;
        let next = Register::new(self.draw(self.counters.renewals));
        self.previous = Some(std::mem::replace(&mut self.current, next));
    }

    fn draw(&self, number: u64) -> SealId {
        let mut id = [0; 16];
        keys::expand(&self.seed, &[b"seal id", &number.to_be_bytes()], &mut id);
        SealId(id)
    }

    fn is_own(&self, id: SealId) -> bool {
        self.register(id).is_some()
    }

    fn register(&self, id: SealId) -> Option<&Register> {
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|register| register.id == id)
    }
}
