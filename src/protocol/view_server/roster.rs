//! Who is out there, and who is alive: identities, pings and pongs.
//!
//! Kept here: an incarnation counts once it has answered a fresh ping addressed to it; one that was
//! superseded never counts again, unless the service has to wait for it; while the known one still
//! answers, a second process with its id is refused. Silence is counted from the last pong
//! received. An announce proves nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Timing;
use crate::protocol::message::{Announce, Pong, Report};
use crate::protocol::sources::is_at;
use crate::protocol::view::{Member, Record, Stamp};
use crate::time::Timestamp;
use crate::types::{Epoch, HistoryId, Incarnation, ServerId};

/// No more pings than this go to a process within dead-after.
const RECENT_PINGS: u32 = 64;
/// Pings that may be answered: older ones no longer count. Two processes may be asked that claim one
/// id, and a superseded one.
const REMEMBERED_PINGS: usize = 4 * RECENT_PINGS as usize;
/// Former processes of one id that are remembered, so that they never count again.
const SUPERSEDED: usize = 64;
/// Ids that are remembered. More are a mistake, or an attack.
const SERVERS: usize = 1024;
/// Ids under which nobody has answered yet, and which nobody has told us to expect. Whoever
/// announces many makes room for the next one with them: a server that is there answers at once.
const NEWCOMERS: usize = 64;
/// A process that announced itself and does not answer for so long was a ghost.
const CHALLENGE_MAX: Duration = Duration::from_secs(2);
/// A process that was never there is not asked before this, unless it announces itself again.
const GHOST_REST: Duration = Duration::from_secs(3600);
/// Longest wait before a server whose joins failed is tried again.
const DAMPING_MAX: Duration = Duration::from_secs(2);

/// Drawn fresh for every ping, rising: "answered a ping sent after X" compares two of them.
pub type Nonce = u64;

/// The process that bears an id.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Known {
    /// Which process.
    pub incarnation: Incarnation,
    /// When its last pong arrived (or when the view server began to listen for it).
    pub heard: Timestamp,
    /// The newest ping it has answered; 0 for none.
    pub answered: Nonce,
    /// Token of that answer.
    pub token: u64,
    /// The newest record it has adopted.
    pub adopted: Option<Stamp>,
    /// The highest epoch it has promised.
    pub promised: Epoch,
    /// The history it knows.
    pub history: Option<HistoryId>,
    /// It holds a copy of that history.
    pub holds_copy: bool,
    /// What it reports.
    pub reports: Vec<Report>,
}

/// Another process that claims an id.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Challenger {
    incarnation: Incarnation,
    address: SocketAddr,
    /// When its announce arrived.
    since: Timestamp,
    /// The newest ping sent when its announce arrived: an answer of the known process to a later
    /// one shows that the id is in use.
    after: Nonce,
    /// Its own answer to a fresh ping, and when it came.
    pong: Option<(Timestamp, Pong)>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct SentPing {
    nonce: Nonce,
    to: Option<Incarnation>,
    at: Timestamp,
    address: SocketAddr,
}

/// One server: an id, the process that bears it, and maybe another that claims it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tracked {
    /// Where the known process is reached, or where one is expected.
    pub address: SocketAddr,
    /// None until a first process has answered.
    pub known: Option<Known>,
    /// The hosts file or the record names it, or it has answered.
    is_expected: bool,
    challenger: Option<Challenger>,
    superseded: VecDeque<Incarnation>,
    pings: VecDeque<SentPing>,
    /// When a ping was sent last, and when the next one is due.
    pinged: Timestamp,
    next_ping: Timestamp,
    /// Somebody asks whether it is there: what it answers to earlier pings is no reason to wait.
    hastened: bool,
    /// Joins of the known process that failed since it was last synced.
    pub failed_joins: u32,
    /// Not named joining before this.
    pub joins_again: Timestamp,
}

impl Tracked {
    fn new(address: SocketAddr, now: Timestamp) -> Tracked {
        Tracked {
            address,
            known: None,
            is_expected: false,
            challenger: None,
            superseded: VecDeque::new(),
            pings: VecDeque::new(),
            pinged: Timestamp::ZERO,
            next_ping: now,
            hastened: false,
            failed_joins: 0,
            joins_again: Timestamp::ZERO,
        }
    }

    /// Whether the known process was heard from within dead-after.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp, timing: &Timing) -> bool {
        self.known.as_ref().is_some_and(|known| now.since(known.heard) < timing.dead_after())
    }

    /// Where another process is that claims this id, and where the known one is.
    pub fn challenge(&self) -> Option<(SocketAddr, SocketAddr)> {
        let challenger = self.challenger.as_ref().filter(|_| self.known.is_some())?;
        Some((challenger.address, self.address))
    }

    fn note_ping(
        &mut self,
        now: Timestamp,
        nonce: Nonce,
        to: Option<Incarnation>,
        address: SocketAddr,
    ) {
        if self.pings.len() == REMEMBERED_PINGS {
            self.pings.pop_front();
        }
        self.pings.push_back(SentPing { nonce, to, at: now, address });
    }

    /// Takes the ping that a pong answers; none if it was not asked, or too long ago.
    fn take_ping(&mut self, now: Timestamp, timing: &Timing, pong: &Pong) -> Option<SentPing> {
        let index = self.pings.iter().position(|ping| ping.nonce == pong.nonce)?;
        let ping = &self.pings[index];
        if ping.to != Some(pong.from) || now.since(ping.at) >= timing.dead_after() {
            return None;
        }
        self.pings.remove(index)
    }

    /// Unanswered pings are no closer than this, or they would be forgotten before they are too
    /// old to be answered, and a live server that is far away would look dead.
    fn closest(timing: &Timing) -> Duration {
        timing.dead_after() / RECENT_PINGS
    }

    /// Makes a ping due, a little later if one has just been sent: a flood of questions must not
    /// become one of pings.
    fn hasten(&mut self, now: Timestamp, timing: &Timing) {
        self.next_ping = self.next_ping.min(now.max(self.pinged + Tracked::closest(timing)));
        self.hastened = true;
    }

    /// After a pong at ease; after silence faster, so that loss alone does not look like death.
    fn ping_gap(&self, now: Timestamp, timing: &Timing) -> Duration {
        if self.challenger.as_ref().is_some_and(|challenger| challenger.pong.is_none()) {
            return (timing.ping_interval() / 4).max(Tracked::closest(timing));
        }
        let Some(known) = &self.known else { return timing.dead_after() / 2 };
        let silence = now.since(known.heard);
        if silence >= timing.dead_after() {
            timing.dead_after() / 2
        } else if silence >= timing.dead_after() / 2 {
            (timing.ping_interval() / 8).max(Tracked::closest(timing))
        } else {
            (timing.ping_interval() / 4).max(Tracked::closest(timing))
        }
    }

    fn become_known(&mut self, heard: Timestamp, address: SocketAddr, pong: Pong) {
        if let Some(former) = self.known.take() {
            if self.superseded.len() == SUPERSEDED {
                self.superseded.pop_front();
            }
            self.superseded.push_back(former.incarnation);
        }
        self.address = address;
        self.is_expected = true;
        self.failed_joins = 0;
        self.joins_again = Timestamp::ZERO;
        let mut known = Known {
            incarnation: pong.from,
            heard,
            answered: 0,
            token: 0,
            adopted: None,
            promised: Epoch::default(),
            history: None,
            holds_copy: false,
            reports: Vec::new(),
        };
        known.take_pong(heard, pong);
        self.known = Some(known);
    }
}

impl Known {
    fn take_pong(&mut self, now: Timestamp, pong: Pong) {
        self.heard = now;
        if pong.nonce <= self.answered {
            // An older ping answered late: a sign of life, but its content is superseded.
            return;
        }
        self.answered = pong.nonce;
        self.token = pong.token;
        self.adopted = pong.adopted;
        self.promised = pong.promised;
        self.history = pong.history;
        self.holds_copy = pong.holds_copy;
        self.reports = pong.reports;
    }
}

/// What a pong has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// It answered nothing that was asked recently, or comes from a process that does not count.
    Nothing,
    /// The known process lives (it may have become the known one just now).
    Known,
    /// A process whose id another one bears; that one may still answer.
    Challenger,
    /// A process that was superseded. It counts no more than a silent one, but can be told.
    Superseded,
}

/// All servers, and the pings to them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Roster {
    servers: BTreeMap<ServerId, Tracked>,
    last_nonce: Nonce,
    /// A server or an address is new.
    moved: bool,
}

impl Roster {
    /// Expects a server at an address. Nothing is known of a process there.
    pub fn expect(&mut self, now: Timestamp, id: ServerId, address: SocketAddr) {
        self.servers.entry(id).or_insert_with(|| Tracked::new(address, now)).is_expected = true;
    }

    /// Takes a process from a durable record as known, and listens for it from now on.
    pub fn recall(&mut self, now: Timestamp, member: &Member) {
        let tracked = self
            .servers
            .entry(member.id.clone())
            .or_insert_with(|| Tracked::new(member.address, now));
        tracked.address = member.address;
        tracked.is_expected = true;
        tracked.known = Some(Known {
            incarnation: member.incarnation,
            heard: now,
            answered: 0,
            token: 0,
            adopted: None,
            promised: Epoch::default(),
            history: None,
            holds_copy: false,
            reports: Vec::new(),
        });
    }

    /// Whether a server is there that has answered, or that the hosts file or the record names.
    #[must_use]
    pub fn is_expected_at(&self, address: SocketAddr) -> bool {
        self.servers.values().any(|tracked| tracked.is_expected && tracked.address == address)
    }

    /// Addresses of the servers that have answered, or that the hosts file or the record names.
    pub fn expected_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let expected = self.servers.values().filter(|tracked| tracked.is_expected);
        expected.map(|tracked| tracked.address)
    }

    /// All servers in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&ServerId, &Tracked)> {
        self.servers.iter()
    }

    /// Addresses of all servers.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<ServerId, SocketAddr> {
        self.servers.iter().map(|(id, tracked)| (id.clone(), tracked.address)).collect()
    }

    /// The newest nonce drawn: an answer to a greater one answers a ping sent later.
    #[must_use]
    pub fn last_nonce(&self) -> Nonce {
        self.last_nonce
    }

    /// The process, if it is the known one of its id.
    #[must_use]
    pub fn known(&self, member: &Member) -> Option<&Known> {
        let known = self.servers.get(&member.id)?.known.as_ref()?;
        (known.incarnation == member.incarnation).then_some(known)
    }

    /// Token of the newest pong of this process, if it is known and has answered.
    #[must_use]
    pub fn newest_token(&self, incarnation: Incarnation) -> Option<u64> {
        let mut known = self.servers.values().filter_map(|tracked| tracked.known.as_ref());
        let known = known.find(|known| known.incarnation == incarnation)?;
        (known.answered > 0).then_some(known.token)
    }

    /// Whether exactly this process was heard from within dead-after. A superseded one is dead.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp, timing: &Timing, member: &Member) -> bool {
        self.known(member).is_some_and(|known| now.since(known.heard) < timing.dead_after())
    }

    /// The process as a member of views, if it is known.
    #[must_use]
    pub fn member(&self, id: &ServerId) -> Option<Member> {
        let tracked = self.servers.get(id)?;
        let incarnation = tracked.known.as_ref()?.incarnation;
        Some(Member { id: id.clone(), incarnation, address: tracked.address })
    }

    /// Lets a superseded process be asked again, if the one that took its id is silent. For one
    /// that holds what nobody else does: 1. the last copy is cut off .. 2. another process with its
    /// id takes its place and ends .. 3. the copy is there again, and the service waits for it.
    pub fn readmit(&mut self, now: Timestamp, timing: &Timing, announce: &Announce) {
        if let Some(tracked) = self.servers.get_mut(&announce.id)
            && !tracked.is_alive(now, timing)
        {
            tracked.superseded.retain(|former| *former != announce.incarnation);
        }
    }

    /// A nonce for a ping whose answer does not matter.
    pub fn spare_nonce(&mut self) -> Nonce {
        self.last_nonce += 1;
        self.last_nonce
    }

    /// Asks a superseded process that announced itself whether it is there: an announce alone may
    /// be a ghost. None for any other process, and for one that was asked a moment ago.
    pub fn ask_superseded(
        &mut self,
        now: Timestamp,
        timing: &Timing,
        from: SocketAddr,
        announce: &Announce,
    ) -> Option<Nonce> {
        let tracked = self.servers.get_mut(&announce.id)?;
        let to = Some(announce.incarnation);
        let is_asked =
            |ping: &SentPing| ping.to == to && now.since(ping.at) < timing.ping_interval();
        if !tracked.superseded.contains(&announce.incarnation) || tracked.pings.iter().any(is_asked)
        {
            return None;
        }
        self.last_nonce += 1;
        tracked.note_ping(now, self.last_nonce, to, announce.address.unwrap_or(from));
        Some(self.last_nonce)
    }

    /// Whether another id can be remembered. The newcomer that has waited longest gives way.
    fn make_room(&mut self) -> bool {
        let newcomers = self.servers.iter().filter(|(_, tracked)| !tracked.is_expected);
        let since = |tracked: &Tracked| tracked.challenger.as_ref().map(|found| found.since);
        let oldest = newcomers.clone().min_by_key(|(_, tracked)| since(tracked));
        if newcomers.clone().count() >= NEWCOMERS
            && let Some(oldest) = oldest.map(|(id, _)| id.clone())
        {
            self.servers.remove(&oldest);
        }
        self.servers.len() < SERVERS
    }

    /// Takes an announce: the process is asked whether it is there.
    pub fn on_announce(
        &mut self,
        now: Timestamp,
        timing: &Timing,
        from: SocketAddr,
        announce: &Announce,
    ) {
        let address = announce.address.unwrap_or(from);
        let last_nonce = self.last_nonce;
        if !self.servers.contains_key(&announce.id) && !self.make_room() {
            return;
        }
        // One process bears one id. Whoever announces another's incarnation under an id that is in
        // use would have that other one refused.
        if self.servers.iter().any(|(id, tracked)| {
            let known = tracked.known.as_ref().map(|known| known.incarnation);
            *id != announce.id && known == Some(announce.incarnation)
        }) {
            return;
        }
        let tracked =
            self.servers.entry(announce.id.clone()).or_insert_with(|| Tracked::new(address, now));
        let incarnation = announce.incarnation;
        if tracked.superseded.contains(&incarnation) {
            return;
        }
        let is_known = tracked.known.as_ref().is_some_and(|known| known.incarnation == incarnation);
        if is_known && !tracked.is_alive(now, timing) && tracked.address != address {
            // It may have moved. As long as it answers where it was, an announce is not believed.
            tracked.address = address;
            self.moved = true;
        }
        if !is_known {
            let holder = tracked.challenger.as_ref();
            if holder.is_some_and(|holder| {
                holder.incarnation == incarnation
                    // A ghost must not push out one that has answered.
                    || (holder.pong.is_some() && now.since(holder.since) < CHALLENGE_MAX)
            }) {
                return;
            }
            tracked.challenger = Some(Challenger {
                incarnation,
                address,
                since: now,
                after: last_nonce,
                pong: None,
            });
        }
        tracked.hasten(now, timing);
    }

    /// Whether the ping that this one answers was sent to where it comes from.
    #[must_use]
    pub fn was_pinged(&self, pong: &Pong, from: SocketAddr) -> bool {
        self.servers.get(&pong.id).is_some_and(|tracked| {
            let mut pings = tracked.pings.iter();
            pings.any(|ping| ping.nonce == pong.nonce && is_at(ping.address, None, from))
        })
    }

    /// Takes a pong.
    pub fn on_pong(&mut self, now: Timestamp, timing: &Timing, pong: Pong) -> Heard {
        let Some(tracked) = self.servers.get_mut(&pong.id) else { return Heard::Nothing };
        let Some(ping) = tracked.take_ping(now, timing, &pong) else { return Heard::Nothing };
        if let Some(known) = &mut tracked.known
            && known.incarnation == pong.from
        {
            known.take_pong(now, pong);
            let at_ease = ping.at + timing.ping_interval();
            if !tracked.hastened {
                tracked.next_ping = at_ease.max(now + timing.ping_interval() / 4);
            }
            return Heard::Known;
        }
        match &mut tracked.challenger {
            Some(challenger) if challenger.incarnation == pong.from => {
                challenger.pong = Some((now, pong));
                self.settle(now, timing);
                Heard::Challenger
            }
            Some(_) | None if tracked.superseded.contains(&pong.from) => Heard::Superseded,
            Some(_) | None => Heard::Nothing,
        }
    }

    /// Lets every challenger that has answered take over an id whose known process is silent.
    pub fn settle(&mut self, now: Timestamp, timing: &Timing) {
        for tracked in self.servers.values_mut() {
            if tracked.is_alive(now, timing) {
                continue;
            }
            if let Some(challenger) = tracked.challenger.take_if(|found| found.pong.is_some())
                && let Some((heard, pong)) = challenger.pong
            {
                tracked.become_known(heard, challenger.address, pong);
                self.moved = true;
            }
        }
    }

    /// Whether a server or an address is new since this was asked last.
    pub fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Challengers whose id is in use: the known process has answered a ping that was sent after
    /// the challenger came. Each with its address and the holder's; they are dropped.
    pub fn take_refused(&mut self) -> Vec<(Incarnation, SocketAddr, SocketAddr)> {
        let mut refused = Vec::new();
        for tracked in self.servers.values_mut() {
            let answered = tracked.known.as_ref().map_or(0, |known| known.answered);
            let in_use = |challenger: &mut Challenger| answered > challenger.after;
            if let Some(challenger) = tracked.challenger.take_if(in_use) {
                refused.push((challenger.incarnation, challenger.address, tracked.address));
            }
        }
        refused
    }

    /// Whether some process has announced itself within dead-after and not yet answered.
    #[must_use]
    pub fn awaits_challenger(&self, now: Timestamp, timing: &Timing) -> bool {
        self.servers.values().any(|tracked| {
            tracked.challenger.as_ref().is_some_and(|challenger| {
                challenger.pong.is_none() && now.since(challenger.since) < timing.dead_after()
            })
        })
    }

    /// Makes pings due now: to the members of the record, or to everybody without one.
    pub fn ping_soon(&mut self, now: Timestamp, record: Option<&Record>) {
        for (id, tracked) in &mut self.servers {
            if record.is_none_or(|record| record.members().iter().any(|named| named.id == *id)) {
                tracked.next_ping = now;
            }
        }
    }

    /// Makes pings to these servers due, because somebody waits for what they say.
    pub fn hasten<'a>(
        &mut self,
        now: Timestamp,
        timing: &Timing,
        ids: impl IntoIterator<Item = &'a ServerId>,
    ) {
        for id in ids {
            if let Some(tracked) = self.servers.get_mut(id) {
                tracked.hasten(now, timing);
            }
        }
    }

    /// The pings that are due: where to, whom, and the nonce.
    pub fn due_pings(
        &mut self,
        now: Timestamp,
        timing: &Timing,
    ) -> Vec<(SocketAddr, Option<Incarnation>, Nonce)> {
        let mut due = Vec::new();
        for tracked in self.servers.values_mut() {
            if tracked.next_ping > now {
                continue;
            }
            tracked.challenger.take_if(|challenger| {
                challenger.pong.is_none() && now.since(challenger.since) >= CHALLENGE_MAX
            });
            if !tracked.is_expected && tracked.challenger.is_none() {
                // A ghost. It is asked again when it announces itself again.
                tracked.next_ping = now + GHOST_REST;
                continue;
            }
            let known = tracked.known.as_ref().map(|known| known.incarnation);
            let mut targets = vec![(tracked.address, known)];
            if let Some(challenger) = &tracked.challenger {
                if known.is_none() {
                    targets.clear();
                }
                targets.push((challenger.address, Some(challenger.incarnation)));
            }
            for (address, to) in targets {
                self.last_nonce += 1;
                tracked.note_ping(now, self.last_nonce, to, address);
                due.push((address, to, self.last_nonce));
            }
            (tracked.pinged, tracked.hastened) = (now, false);
            tracked.next_ping = now + tracked.ping_gap(now, timing);
        }
        due
    }

    /// When something here is due next: a ping, or the judgement of a silence.
    #[must_use]
    pub fn poll_timeout(&self, now: Timestamp, timing: &Timing) -> Option<Timestamp> {
        let pings = self.servers.values().map(|tracked| tracked.next_ping);
        let deaths = self
            .servers
            .values()
            .filter_map(|tracked| tracked.known.as_ref())
            .map(|known| known.heard + timing.dead_after())
            .filter(|death| *death > now);
        pings.chain(deaths).min()
    }

    /// The view server was stopped or starved: everybody that was alive before is given the full
    /// time again, because what they sent meanwhile may still lie in the socket.
    pub fn forgive(&mut self, before: Timestamp, now: Timestamp, timing: &Timing) {
        for tracked in self.servers.values_mut() {
            if tracked.is_alive(before, timing)
                && let Some(known) = &mut tracked.known
            {
                known.heard = now;
            }
        }
    }

    /// Forgets the failed joins of a server that is synced now.
    pub fn undamp(&mut self, member: &Member) {
        if let Some(tracked) = self.servers.get_mut(&member.id) {
            tracked.failed_joins = 0;
        }
    }

    /// Notes that a join of this server failed: another is preferred for a while.
    pub fn damp(&mut self, now: Timestamp, member: &Member, timing: &Timing) {
        if let Some(tracked) = self.servers.get_mut(&member.id) {
            tracked.failed_joins = tracked.failed_joins.saturating_add(1);
            let wait = timing.dead_after() / 4 * (1 << tracked.failed_joins.min(8));
            tracked.joins_again = now + wait.min(DAMPING_MAX);
        }
    }
}
