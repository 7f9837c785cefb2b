//! Walks in which all clocks run: the view server keeps its memory, leases are granted, stalls are
//! noticed.
//!
//! One true time; the clock of every process runs at its own rate, within the drift that
//! `config::lease_wait` allows. A message takes no time or any time; a process handles a timer when
//! it is due or later (a pause). An answer under a lease waits for its sending, so that a pause can
//! come between. What servers send is kept for ever and may arrive again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pbkv::config::Timing;
use pbkv::protocol::message::{Message, ReportKind, Request};
use pbkv::protocol::server::{Answer, Server};
use pbkv::protocol::sources::Sources;
use pbkv::protocol::view::{Phase, Record};
use pbkv::protocol::view_server::{self, DurableRecord, Status, ViewServer, ViewServerConfig};
use pbkv::protocol::{Effect, Outbox, Process};
use pbkv::time::Timestamp;
use pbkv::types::{CallId, Incarnation, ViewId};

use crate::bounded::Progress;
use crate::clients::Client;
use crate::properties::{
    BACKUP_HOLDS_EVERY_ACKED_OP, Broken, Check, ELIGIBLE_SET_KEEPS_A_LIVING_COPY, NEVER_WEDGED,
    broken, count,
};
use crate::ruling::{hasty, timing};
use crate::walk::Random;
use crate::world::{Plan, START, State, VIEW_SERVER, World, address, client_address, name};

const MS: u64 = 1_000_000;

/// What may strike in a timed walk.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub lease_reads: bool,
    /// Restarts of the view server with its record.
    pub restarts: usize,
    /// Whether it may be started again with other flags: no leases, and a sooner judgement than the
    /// leases of before are long.
    pub other_flags: bool,
    /// Whether its record may be lost, once.
    pub record_loss: bool,
    /// Whether a second view server, without a record, may start beside the first.
    pub second_view_server: bool,
    pub crashes: usize,
    /// Whether the operator asks for switchovers.
    pub switchovers: bool,
    /// One in so many events is a cut, a pause or an end of either.
    pub every: usize,
}

struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    message: Message,
}

/// An answer that has left the core and not yet the process.
struct UnderLease {
    server: usize,
    incarnation: Incarnation,
    before: Timestamp,
    message: Message,
    request: Box<Request>,
}

struct View {
    core: ViewServer,
    durable: Option<DurableRecord>,
    dead_after: Duration,
    rate: u64,
    paused_until: u64,
}

/// One walk.
pub struct Timed<'a> {
    world: &'a World,
    faults: Faults,
    random: Random,
    /// True time in nanoseconds.
    now: u64,
    pub state: State,
    rates: Vec<u64>,
    paused_until: Vec<u64>,
    /// What a server's clock said before a pause, if the next message is handled with that (D48).
    looked: Vec<Option<Timestamp>>,
    /// When the processes died that are no more.
    died: BTreeMap<Incarnation, u64>,
    /// Who was reported stalled or different, and in which view: silence is not all there is.
    reported: BTreeSet<(ViewId, Incarnation)>,
    views: Vec<View>,
    view_incarnation: u64,
    packets: Vec<Arc<Packet>>,
    /// Sent and neither delivered nor lost yet.
    fresh: VecDeque<Arc<Packet>>,
    leased: Vec<UnderLease>,
    /// Pairs of addresses between which nothing passes, one way.
    cuts: Vec<(SocketAddr, SocketAddr)>,
    crashes: usize,
    /// A server that dies soon.
    dies: Option<usize>,
    restarts: usize,
    /// The record was lost: waiting for ever may be right.
    pub lost_record: bool,
    /// All data was lost and another history has begun.
    pub begun_anew: bool,
}

impl<'a> Timed<'a> {
    pub fn new(world: &'a World, faults: Faults, seed: u64) -> Timed<'a> {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9));
        let state = world.blank();
        let servers = state.servers.len();
        let rates = (0..servers).map(|_| [90, 100, 110][random.below(3)]).collect();
        let mut timed = Timed {
            world,
            faults,
            now: 0,
            rates,
            paused_until: vec![0; servers],
            looked: vec![None; servers],
            died: BTreeMap::new(),
            reported: BTreeSet::new(),
            views: Vec::new(),
            view_incarnation: 900,
            packets: Vec::new(),
            fresh: VecDeque::new(),
            leased: Vec::new(),
            cuts: Vec::new(),
            crashes: faults.crashes,
            dies: None,
            restarts: faults.restarts,
            lost_record: false,
            begun_anew: false,
            state,
            random,
        };
        timed.start_view_server(None);
        timed
    }

    fn start_view_server(&mut self, durable: Option<DurableRecord>) {
        let rate = [90, 100, 110][self.random.below(3)];
        let view = self.view_server(durable, rate, timing(self.faults.lease_reads));
        self.views.push(view);
    }

    fn view_server(&mut self, durable: Option<DurableRecord>, rate: u64, timing: Timing) -> View {
        self.view_incarnation += 1;
        let config = ViewServerConfig {
            incarnation: Incarnation(self.view_incarnation),
            timing,
            hosts: (0..self.state.servers.len())
                .map(|index| (name(index), address(index)))
                .collect(),
            sources: Sources::Any,
        };
        let now = self.clock(rate);
        let core = ViewServer::new(now, config, durable.clone());
        View { core, durable, dead_after: timing.dead_after(), rate, paused_until: 0 }
    }

    fn clock(&self, rate: u64) -> Timestamp {
        Timestamp(START.0 + self.now * rate / 100)
    }

    /// When this reading will have come, in true time.
    fn true_time(&self, rate: u64, at: Timestamp) -> u64 {
        (at.0.saturating_sub(START.0) * 100).div_ceil(rate).max(self.now)
    }

    fn post(&mut self, from: SocketAddr, to: SocketAddr, message: Message) {
        let packet = Arc::new(Packet { from, to, message });
        self.packets.push(Arc::clone(&packet));
        self.fresh.push_back(packet);
    }

    fn fail(&mut self, broken: Broken) {
        self.state.broken.get_or_insert(broken);
    }

    fn server_turn(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Server, Timestamp, &mut Outbox<Answer>),
    ) {
        let now = self.clock(self.rates[index]);
        let now = self.looked[index].take().unwrap_or(now);
        self.state.clocks[index] = now;
        let before = Arc::clone(&self.state.servers[index]);
        let mut server = Server::clone(&before);
        let mut outbox = Outbox::default();
        act(&mut server, now, &mut outbox);
        // Mostly nothing else has arrived; sometimes a batch forms.
        for _ in 0..if self.random.below(5) == 0 { 0 } else { 4 } {
            if server.poll_timeout().is_none_or(|at| at > now) {
                break;
            }
            server.handle_timeout(now, &mut outbox);
        }
        let (former, incarnation) = (before.incarnation(), server.incarnation());
        if former != incarnation {
            self.died.insert(former, self.now);
            self.state.incarnations[index] = incarnation;
        }
        self.state.servers[index] = Arc::new(server);
        for effect in outbox.drain() {
            match effect {
                Effect::Send { message: Message::Reply(reply), .. } => {
                    if let Err(broken) = self.world.reply(&mut self.state, &reply) {
                        self.fail(broken);
                    }
                }
                Effect::Send { to, message } => self.post(address(index), to, message),
                Effect::SendBefore { before, message, request, .. } => {
                    let server = index;
                    self.leased.push(UnderLease { server, incarnation, before, message, request });
                }
                Effect::Persist(_) | Effect::Answer(..) => {}
                Effect::Stop(_) => self.crash(index),
            }
        }
        if let Err(broken) = self.state.check_server(index, &before) {
            self.fail(broken);
        }
    }

    fn view_turn(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut ViewServer, Timestamp, &mut Outbox<view_server::Answer>),
    ) {
        let now = self.clock(self.views[number].rate);
        let mut outbox = Outbox::default();
        act(&mut self.views[number].core, now, &mut outbox);
        for effect in outbox.drain() {
            match effect {
                Effect::Send { to, message } => {
                    self.post(address(VIEW_SERVER + number), to, message);
                }
                Effect::Persist(durable) => self.persist(number, *durable),
                Effect::Answer(_, view_server::Answer::SwitchedOver(_)) => {
                    count(&self.world.goals.switchovers);
                }
                Effect::SendBefore { .. } | Effect::Answer(..) => {}
                Effect::Stop(_) => self.views[number].paused_until = u64::MAX,
            }
        }
    }

    fn persist(&mut self, number: usize, durable: DurableRecord) {
        let record = durable.record.clone();
        self.views[number].durable = Some(durable);
        let newest = self.state.records.last();
        if let Some(newest) = newest.filter(|newest| newest.history != record.history) {
            if let Err(broken) = self.check_begun_anew(number, newest, &record) {
                self.fail(broken);
            }
            self.begun_anew = true;
            return;
        }
        // A view server that was replaced may go on writing; nobody follows an older record.
        if newest.is_some_and(|newest| newest.stamp() >= record.stamp()) {
            return;
        }
        self.world.note(&record);
        if let Some(newest) = newest.filter(|_| !self.lost_record)
            && let Err(broken) = self.check_kept(number, newest, &record)
        {
            self.fail(broken);
        }
        // When a record is lost, or there are two view servers, a record can have been durable and
        // never be followed, because everybody has promised a higher epoch: then the next one need
        // not come from its eligible set. What was acknowledged must still be there, and nobody
        // begins an empty history under the old one's name.
        if (!self.lost_record || record.view.genesis)
            && let Err(broken) = self.state.check_record(&record)
        {
            self.fail(broken);
        }
        Arc::make_mut(&mut self.state.records).push(record);
        if let Err(broken) = self.state.check_copies() {
            self.fail(broken);
        }
    }

    /// Checks that nobody who has fallen silent is left out for somebody who had died before that
    /// silence was long enough (D52). Who dies later, having answered once more, is a second failure.
    fn check_kept(&self, number: usize, former: &Record, record: &Record) -> Check {
        if !self.state.throws_away(former, record) {
            return Ok(());
        }
        let View { dead_after, rate, .. } = &self.views[number];
        let status = self.status(number);
        let died = record.eligible.iter().filter_map(|it| self.died.get(&it.incarnation)).max();
        let judged = status.servers.iter().filter_map(|it| {
            let running = self.state.incarnations.iter().any(|one| Some(*one) == it.incarnation);
            let eligible = it.incarnation.is_some_and(|one| {
                former.is_eligible(one) && !self.reported.contains(&(former.view.id, one))
            });
            let over = it.silent?.checked_sub(*dead_after)?;
            let over = u64::try_from(over.as_nanos()).ok()? * 100 / rate;
            (running && eligible).then(|| self.now.saturating_sub(over))
        });
        match (died, judged.max()) {
            // Readings of clocks that drift are rounded when they are compared.
            (Some(died), Some(judged)) if *died + MS / 1000 < judged => {
                let detail = format!("{died} before {judged}: after {former:?} comes {record:?}");
                broken(ELIGIBLE_SET_KEEPS_A_LIVING_COPY, detail)
            }
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// Checks that no server that answers this view server knows of a history with data, when that
    /// one begins another. All who answer have reported and promised: since then they have adopted
    /// nothing of a lower epoch.
    fn check_begun_anew(&self, number: usize, former: &Record, anew: &Record) -> Check {
        let knows = |index: usize| {
            let known = self.state.servers[index].inspect().record;
            known.filter(|known| {
                let began = known.phase == Phase::Active || !known.eligible.is_empty();
                let is_former = known.history == former.history;
                is_former && began && known.view.id.epoch < anew.view.id.epoch
            })
        };
        for server in self.status(number).servers.iter().filter(|it| it.alive) {
            let mut incarnations = self.state.incarnations.iter();
            let index = incarnations.position(|one| Some(*one) == server.incarnation);
            if let Some(known) = index.and_then(knows) {
                let detail = format!("{} knows {known:?}, and {anew:?} begins", server.id);
                return broken(BACKUP_HOLDS_EVERY_ACKED_OP, detail);
            }
        }
        Ok(())
    }

    fn status(&self, number: usize) -> Status {
        let View { core, rate, .. } = &self.views[number];
        let (now, mut outbox) = (self.clock(*rate), Outbox::default());
        core.clone().handle_command(now, CallId(0), view_server::Command::Status, &mut outbox);
        let status = outbox.drain().find_map(|effect| {
            if let Effect::Answer(_, view_server::Answer::Status(status)) = effect {
                return Some(status);
            }
            None
        });
        status.expect("a status is asked for and answered at once")
    }

    fn crash(&mut self, index: usize) {
        self.died.insert(self.state.incarnations[index], self.now);
        self.looked[index] = None;
        let incarnation = Incarnation(self.state.incarnations[index].0 + 1);
        let now = self.clock(self.rates[index]);
        self.state.incarnations[index] = incarnation;
        self.state.servers[index] = self.world.start(index, incarnation, now);
    }

    fn deliver(&mut self, packet: &Packet) {
        let (from, message) = (packet.from, packet.message.clone());
        if let Some(index) = (0..self.state.servers.len()).find(|it| address(*it) == packet.to) {
            self.server_turn(index, |server, now, outbox| {
                server.handle_message(now, from, message, outbox);
            });
            return;
        }
        if let Message::Pong(pong) = &packet.message {
            let failed = pong.reports.iter().filter(|report| match report.kind {
                ReportKind::Stalled | ReportKind::Diverged => true,
                ReportKind::CaughtUp | ReportKind::Synced => false,
            });
            self.reported.extend(failed.map(|report| (report.view, report.about)));
        }
        // Every view server hears the announces; pongs name the one they answer.
        for number in 0..self.views.len() {
            let here = address(VIEW_SERVER + number) == packet.to;
            let announce = matches!(packet.message, Message::Announce(_));
            if (here || announce) && self.views[number].paused_until <= self.now {
                let message = packet.message.clone();
                self.view_turn(number, |core, now, outbox| {
                    core.handle_message(now, from, message, outbox);
                });
            }
        }
    }

    fn is_cut(&self, packet: &Packet) -> bool {
        let is_paused = (0..self.state.servers.len())
            .any(|index| address(index) == packet.to && self.paused_until[index] > self.now);
        is_paused || self.cuts.contains(&(packet.from, packet.to))
    }

    /// Delivers the next message that was sent, or loses it if it cannot pass.
    fn deliver_fresh(&mut self, reorder: usize) {
        let index = self.random.below(self.fresh.len().min(reorder));
        if let Some(packet) = self.fresh.remove(index)
            && !self.is_cut(&packet)
        {
            self.deliver(&packet);
        }
    }

    /// Time goes on to the earliest timer of a process that is not paused, which is handled.
    fn advance(&mut self) {
        let servers = (0..self.state.servers.len()).filter_map(|index| {
            let at = self.state.servers[index].poll_timeout()?;
            Some((self.true_time(self.rates[index], at).max(self.paused_until[index]), index))
        });
        let views = self.views.iter().enumerate().filter_map(|(number, view)| {
            let at = view.core.poll_timeout()?;
            Some((self.true_time(view.rate, at).max(view.paused_until), VIEW_SERVER + number))
        });
        let Some((at, who)) = servers.chain(views).min() else { return };
        self.now = at;
        if who >= VIEW_SERVER {
            self.view_turn(who - VIEW_SERVER, |core, now, outbox| core.handle_timeout(now, outbox));
        } else {
            self.looked[who] = None;
            self.server_turn(who, |server, now, outbox| server.handle_timeout(now, outbox));
        }
    }

    fn release(&mut self) {
        if self.leased.is_empty() {
            return;
        }
        let index = self.random.below(self.leased.len());
        let held = self.leased.swap_remove(index);
        if self.state.incarnations[held.server] != held.incarnation {
            return;
        }
        if self.paused_until[held.server] > self.now {
            self.leased.push(held);
        } else if self.clock(self.rates[held.server]) < held.before {
            if let Message::Reply(reply) = &held.message {
                count(&self.world.goals.read_by_lease);
                if let Err(broken) = self.world.reply(&mut self.state, reply) {
                    self.fail(broken);
                }
            }
        } else {
            let request = Message::Request(*held.request);
            self.server_turn(held.server, |server, now, outbox| {
                server.handle_message(now, client_address(), request, outbox);
            });
        }
    }

    fn ask(&mut self, client: usize, call: usize, index: usize) {
        if !self.state.clients[client].may_ask(call) || self.paused_until[index] > self.now {
            return;
        }
        if !self.state.servers[index].inspect().is_serving {
            return;
        }
        let asker = &mut self.state.clients[client];
        if asker.calls[call].called.is_none() {
            asker.calls[call].called = Some(self.state.moment);
            self.state.moment += 1;
        }
        let request = Message::Request(self.state.clients[client].request(client, call));
        self.server_turn(index, |server, now, outbox| {
            server.handle_message(now, client_address(), request, outbox);
        });
    }

    fn ask_something(&mut self) {
        let client = self.random.below(self.state.clients.len());
        let calls = &self.state.clients[client].calls;
        let waiting = calls.iter().position(|call| call.told.is_none());
        let any = self.random.below(calls.len());
        let call = if self.random.below(4) > 0 { waiting.unwrap_or(any) } else { any };
        // New operations come slowly, so that there are some whenever something happens.
        if calls[call].called.is_none() && self.random.below(4) > 0 {
            return;
        }
        let server = self.random.below(self.state.servers.len());
        self.ask(client, call, server);
    }

    fn strike(&mut self) {
        if self.faults.switchovers && self.random.below(3) == 0 {
            let command = view_server::Command::Switchover(None);
            return self.view_turn(0, |core, now, outbox| {
                core.handle_command(now, CallId(1), command, outbox);
            });
        }
        let servers = self.state.servers.len();
        let pick = self.random.below(servers);
        let others: Vec<_> =
            (0..servers).chain(VIEW_SERVER..VIEW_SERVER + self.views.len()).collect();
        match self.random.below(13) {
            0..=2 => self.cuts.clear(),
            3 => {
                // Deaf: nothing comes in, or nothing goes out, or both.
                let ways = 1 + self.random.below(3);
                for other in others {
                    if ways & 1 != 0 {
                        self.cuts.push((address(other), address(pick)));
                    }
                    if ways & 2 != 0 {
                        self.cuts.push((address(pick), address(other)));
                    }
                }
            }
            4 => {
                let other = others[self.random.below(others.len())];
                self.cuts.push((address(pick), address(other)));
                if self.random.below(2) == 0 {
                    self.cuts.push((address(other), address(pick)));
                }
            }
            5 | 6 => {
                let length = self.random.below(500) as u64;
                self.paused_until[pick] = self.now + length * MS;
                let looked = self.clock(self.rates[pick]);
                self.looked[pick] = (self.random.below(2) == 0).then_some(looked);
            }
            7 => {
                let length = self.random.below(400) as u64;
                let number = self.random.below(self.views.len());
                let view = &mut self.views[number];
                view.paused_until = view.paused_until.max(self.now + length * MS);
            }
            8 if self.crashes > 0 && !self.state.records.is_empty() => {
                self.crashes -= 1;
                self.crash(pick);
            }
            9 if self.restarts > 0 => {
                self.restarts -= 1;
                let loses = self.faults.record_loss && self.random.below(2) == 0;
                let durable = self.views[0].durable.clone().filter(|_| !loses);
                self.lost_record |= loses;
                let rate = self.views[0].rate;
                let timing = if self.faults.other_flags && self.random.below(2) == 0 {
                    hasty()
                } else {
                    timing(self.faults.lease_reads)
                };
                self.views[0] = self.view_server(durable, rate, timing);
            }
            10 if self.faults.second_view_server
                && self.views.len() == 1
                && !self.state.records.is_empty() =>
            {
                self.lost_record = true;
                self.start_view_server(None);
            }
            11 if self.crashes > 0 && !self.state.records.is_empty() => {
                // Nobody is heard any more: one is cut off, then another one dies.
                for other in others {
                    self.cuts.push((address(other), address(pick)));
                    self.cuts.push((address(pick), address(other)));
                }
                self.crashes -= 1;
                self.dies = Some((pick + 1 + self.random.below(servers - 1)) % servers);
            }
            _ => {}
        }
    }

    /// One event.
    pub fn step(&mut self) {
        if self.dies.is_some() && self.random.below(20) == 0 {
            let dies = self.dies.take().expect("seen just now");
            self.crash(dies);
        }
        let every = self.faults.every;
        if self.random.below(every) == 0 {
            return self.strike();
        }
        match self.random.below(100) {
            0..=69 if !self.fresh.is_empty() => {
                let reorder = if self.random.below(5) == 0 { 5 } else { 1 };
                self.deliver_fresh(reorder);
            }
            70..=72 if !self.packets.is_empty() => {
                let packet = Arc::clone(&self.packets[self.random.below(self.packets.len())]);
                if !self.is_cut(&packet) {
                    self.deliver(&packet);
                }
            }
            73..=77 => self.ask_something(),
            78..=83 => self.release(),
            84..=88 if !self.fresh.is_empty() => {}
            _ => self.advance(),
        }
    }

    /// All faults end: everybody gets done.
    pub fn heal(&mut self) {
        self.cuts.clear();
        for until in &mut self.paused_until {
            *until = 0;
        }
        for view in &mut self.views {
            view.paused_until = if view.paused_until == u64::MAX { u64::MAX } else { 0 };
        }
        let end = self.now + 5_000 * MS;
        while self.now < end && self.state.broken.is_none() && !self.begun_anew {
            if self.state.clients.iter().all(Client::is_done) {
                count(&self.world.goals.healed);
                return;
            }
            while !self.fresh.is_empty() {
                self.deliver_fresh(1);
            }
            while !self.leased.is_empty() {
                self.release();
            }
            for client in 0..self.state.clients.len() {
                let calls = &self.state.clients[client].calls;
                let Some(call) = calls.iter().position(|call| call.told.is_none()) else {
                    continue;
                };
                for server in 0..self.state.servers.len() {
                    self.ask(client, call, server);
                }
            }
            self.advance();
        }
        let alive =
            self.state.records.last().is_some_and(|record| {
                self.state.incarnations.iter().any(|it| record.is_eligible(*it))
            });
        if alive && !self.lost_record && !self.begun_anew && self.state.broken.is_none() {
            let told: BTreeMap<_, _> = self.state.clients.iter().enumerate().collect();
            let detail = format!("{:?}\n{:?}", self.state.records.last(), told);
            self.fail(Broken { property: NEVER_WEDGED, detail });
        }
    }
}

/// Walks with these seeds, of so many events each, then heals.
pub fn walk(
    title: &str,
    plan: &Plan,
    faults: Faults,
    seeds: std::ops::Range<u64>,
    depth: usize,
) -> World {
    let begun = std::time::Instant::now();
    let world = World::new(plan.clone());
    let count = seeds.end - seeds.start;
    let (mut events, mut views) = (0_usize, 0_usize);
    let mut progress = Progress::new(title);
    for seed in seeds.clone() {
        progress.say(|| format!("{} walks", seed - seeds.start));
        let mut timed = Timed::new(&world, faults, seed);
        for _ in 0..depth {
            timed.step();
            events += 1;
            if timed.state.broken.is_some() || timed.begun_anew {
                break;
            }
        }
        timed.heal();
        views += timed.state.records.len();
        if let Some(broken) = &timed.state.broken {
            panic!(
                "{title}: {} is broken in walk {seed} after {events} events in all\n{}\nviews: {}",
                broken.property,
                broken.detail,
                crate::bounded::briefly(&timed.state.records),
            );
        }
    }
    let seen = crate::properties::seen;
    let goals = &world.goals;
    println!(
        "{title}: {count} walks, {events} events, {views} records, {} failovers, {} swapped, {} \
         spares promoted, {} duplicates suppressed, {} reads by lease, {} healed in {:.1}s",
        seen(&goals.failovers),
        seen(&goals.swapped_roles),
        seen(&goals.spare_promoted),
        seen(&goals.duplicate_suppressed),
        seen(&goals.read_by_lease),
        seen(&goals.healed),
        begun.elapsed().as_secs_f32()
    );
    world
}
