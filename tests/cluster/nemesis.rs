//! The nemesis: breaks things, at random times and at the worst ones, and repairs them later.
//!
//! A careful nemesis never takes what the system is not promised to survive: the last copy that is
//! eligible in the durable record, or the record together with a server that recovery needs. Then
//! the loss of all copies is a violation. A careless one may, and then only safety is demanded.

use pbkv::protocol::view::{Phase, Record};
use pbkv::protocol::view_server::{Command, DurableRecord};
use pbkv::types::{CallId, Incarnation};

use crate::clock::{Instant, MS};
use crate::counts::Count;
use crate::driver::brief;
use crate::harness::{Event, VIEW, World};
use crate::invariants::Violation;
use crate::plan::{Fault, Moment};

/// What the operator asks while things break; nobody waits for the answers.
const OPERATOR: CallId = CallId(u64::MAX - 1);

/// How a fault ends.
pub enum Repair {
    Unblock(Vec<(usize, usize)>),
    Resume(usize),
    ClockRuns(usize),
    DiskIsQuick,
    /// A displaced process ends.
    End(usize),
    /// A drained server may join again.
    Undrain(usize),
}

/// What the nemesis remembers.
#[derive(Default)]
pub struct Nemesis {
    /// It has stopped for good.
    pub retired: bool,
    /// The record was lost, and no new one is durable yet.
    pub record_lost: bool,
    /// The record was lost at some time.
    pub ever_lost: bool,
    /// No eligible process is left, and none can come back.
    pub total_loss: bool,
    /// A new history has begun without a reset, after a careless loss.
    pub forked: bool,
    /// The last stall or divergence was reported at this time.
    pub reported_at: Instant,
    /// The operator asked last at this time to drain a server.
    drained_at: Instant,
    /// The server that keeps the memory of a lost record, until it is recovered.
    guarded: Option<usize>,
    /// Two view servers have run at once.
    pub two_decided: bool,
    /// The last active record.
    pub active: Option<Record>,
}

impl World {
    pub fn strike(&mut self) {
        if self.nemesis.retired {
            return;
        }
        let total: u64 = self.plan.faults.iter().map(|(_, weight)| weight).sum();
        if total > 0 {
            let mut lot = self.random.below(total);
            let fault = self.plan.faults.iter().find(|(_, weight)| {
                let hit = lot < *weight;
                lot = lot.saturating_sub(*weight);
                hit
            });
            if let Some((fault, _)) = fault.copied() {
                self.inflict(fault);
            }
        }
        let pause = self.random.around(self.plan.strike_every);
        self.schedule(self.now + pause, Event::Strike);
    }

    fn lasting(&mut self) -> Instant {
        self.random.around(self.plan.lasts)
    }

    /// The server that bears a role in the newest record, if its process lives.
    fn holder(&self, role: impl Fn(&Record) -> Option<Incarnation>) -> Option<usize> {
        self.node_of(role(&self.truth.as_ref()?.record)?)
    }

    fn primary(&self) -> Option<usize> {
        self.holder(|record| Some(record.view.primary.incarnation))
    }

    fn backup(&self) -> Option<usize> {
        self.holder(|record| {
            record.view.backup.as_ref().or(record.view.joining.as_ref()).map(|it| it.incarnation)
        })
    }

    pub fn inflict(&mut self, fault: Fault) {
        if self.nemesis.retired {
            return;
        }
        let any = self.random.index(self.plan.servers) + 1;
        let lasting = self.lasting();
        let at = self.now;
        self.trace.say(at, || format!("--- {fault:?} ---"));
        match fault {
            Fault::Crash => self.kill(any, lasting),
            Fault::CrashPrimary => {
                if let Some(primary) = self.primary() {
                    self.kill(primary, lasting);
                }
            }
            Fault::CrashBackup => {
                if let Some(backup) = self.backup() {
                    self.kill(backup, lasting);
                }
            }
            Fault::QuickRestart => {
                let back = self.random.below(20 * MS);
                let victim = [self.primary(), self.backup(), Some(any)][self.random.index(3)];
                self.kill(victim.unwrap_or(any), back);
                self.counts.add(Count::QuickRestarts);
            }
            Fault::CrashClient => {
                let client = self.plan.servers + 1 + self.random.index(self.plan.clients);
                if !self.nodes[client].is_down() {
                    self.counts.add(Count::ClientCrashes);
                    self.crash(client);
                    self.schedule(at + lasting, Event::Restart(client));
                }
            }
            Fault::Pause => self.pause(any, lasting / 2),
            Fault::LongPause => {
                let victim = self.primary().filter(|_| self.random.chance(600_000)).unwrap_or(any);
                let length = self.dead_after() + lasting;
                self.pause(victim, length);
            }
            Fault::BothSilent => self.silence_both(lasting),
            Fault::Deaf => {
                self.counts.add(Count::Deaf);
                let victim = self.backup().filter(|_| self.random.chance(500_000)).unwrap_or(any);
                let from = self.somebody_else(victim);
                self.cut(from.into_iter().map(|from| (from, victim)).collect(), lasting);
            }
            Fault::Mute => {
                let to = self.somebody_else(any);
                self.cut(to.into_iter().map(|to| (any, to)).collect(), lasting);
            }
            Fault::Partition => self.part(lasting),
            Fault::CutPair => {
                if let (Some(primary), Some(backup)) = (self.primary(), self.backup()) {
                    let mut links = vec![(primary, backup), (backup, primary)];
                    if self.random.chance(500_000) {
                        links.swap_remove(self.random.index(2));
                    }
                    self.cut(links, lasting);
                }
            }
            Fault::Clog => {
                self.counts.add(Count::Clogs);
                let nodes = self.nodes.len();
                let (from, to) = (self.random.index(nodes), self.random.index(nodes));
                self.network.clog(from, to, at + lasting);
            }
            Fault::CrashViewServer => {
                let back = self.random.pick(&[MS, 20 * MS, lasting]);
                self.crash_view_server(back);
            }
            Fault::LoseRecord => self.lose_record(lasting),
            Fault::Twin => {
                let victim = self.primary().filter(|_| self.random.chance(500_000)).unwrap_or(any);
                self.replace_server(victim, lasting);
            }
            Fault::SecondViewServer => self.replace_view_server(lasting),
            Fault::Switchover => {
                self.counts.add(Count::SwitchoversAsked);
                self.type_at_view_server(OPERATOR, Command::Switchover(None));
            }
            Fault::Drain => {
                let force = self.random.chance(800_000);
                self.counts.add(Count::DrainsAsked);
                self.nemesis.drained_at = at;
                let id = self.id(any);
                self.type_at_view_server(OPERATOR, Command::Drain { id, force });
                self.schedule(at + 2 * lasting, Event::Repair(Repair::Undrain(any)));
            }
            Fault::PauseViewServer => self.pause(VIEW, lasting),
            Fault::SlowDisk => {
                self.slow_disk = lasting;
                let until = self.lasting();
                self.schedule(at + until, Event::Repair(Repair::DiskIsQuick));
            }
            Fault::ClockRate => {
                self.counts.add(Count::ClockChanges);
                let node = self.random.index(self.clients().end);
                self.set_clock(node, 0);
            }
            Fault::ClockStop => {
                self.counts.add(Count::ClockStops);
                let node = self.random.index(self.plan.servers + 1);
                if self.nemesis.guarded == Some(node) {
                    return;
                }
                self.nodes[node].clock.set_rate(at, 0);
                self.schedule(at + lasting, Event::Repair(Repair::ClockRuns(node)));
            }
        }
    }

    pub fn set_clock(&mut self, node: usize, rate: u64) {
        let rate = if rate == 0 { self.random.between(950_000, 1_050_000) } else { rate };
        let at = self.now;
        self.nodes[node].clock.set_rate(at, rate);
        self.replan(node);
    }

    pub fn repair(&mut self, repair: Repair) {
        match repair {
            Repair::Unblock(links) => {
                for (from, to) in links {
                    self.network.unblock(from, to);
                }
            }
            Repair::Resume(node) => self.wake(node, self.now),
            Repair::ClockRuns(node) => self.set_clock(node, 0),
            Repair::DiskIsQuick => self.slow_disk = self.plan.disk,
            Repair::End(node) => self.end(node),
            Repair::Undrain(server) => self.undrain(server),
        }
    }

    fn undrain(&mut self, server: usize) {
        let id = self.id(server);
        self.type_at_view_server(OPERATOR, Command::Undrain(id));
    }

    /// Whether the system must survive the loss of this server's memory now.
    fn may_kill(&self, server: usize) -> bool {
        if !self.plan.careful {
            return true;
        }
        if self.nemesis.record_lost {
            return false;
        }
        // A history begins with one server, whose loss ends it: before anything is stored that is
        // no loss of data, but a person has to say so.
        let truth = self.truth.as_ref().map(|truth| &truth.record);
        let Some(truth) = truth.filter(|truth| !truth.eligible.is_empty()) else { return false };
        let victim = self.nodes[server].incarnation;
        if !truth.is_eligible(victim) {
            return true;
        }
        // A proposed primary that has adopted may be the only eligible one by the time it is gone.
        let changes_primary = truth.phase == Phase::Proposed && !truth.keeps_primary();
        if changes_primary && truth.view.primary.incarnation == victim {
            return false;
        }
        // The view server may be about to drop the other one, if it has not heard of it just now.
        let dead_after = self.dead_after();
        let quiet_since = |at: Instant| self.now.saturating_sub(at);
        let undecided = self.nodes[VIEW].is_down();
        // Or the operator wants the other one to leave; a stopped view server takes that up later.
        let is_draining = self.nemesis.drained_at > 0
            && quiet_since(self.nemesis.drained_at) < 4 * dead_after + 4_000 * MS;
        truth.eligible.iter().any(|member| {
            member.incarnation != victim
                && self.node_of(member.incarnation).is_some_and(|other| {
                    let node = &self.nodes[other];
                    undecided
                        || (quiet_since(node.pong_at) < dead_after * 4 / 10
                            && !is_draining
                            && quiet_since(self.nemesis.reported_at) > 4 * dead_after)
                })
        })
    }

    fn kill(&mut self, server: usize, back: Instant) {
        if self.nodes[server].is_down() || !self.may_kill(server) {
            return;
        }
        self.counts.add(Count::Crashes);
        if self.primary() == Some(server) {
            self.counts.add(Count::PrimaryCrashes);
        } else if self.backup() == Some(server) {
            self.counts.add(Count::BackupCrashes);
        }
        self.crash(server);
        self.schedule(self.now + back, Event::Restart(server));
    }

    /// A process has ended itself.
    pub fn ended(&mut self, index: usize, why: &str) {
        self.counts.add(Count::Refusals);
        let at = self.now;
        self.trace.say(at, || format!("{index} ends itself: {why}"));
        if index == self.old_view() {
            self.counts.add(Count::ViewServersOvertaken);
        }
        self.crash(index);
        let back = self.lasting();
        self.schedule(at + back, Event::Restart(index));
    }

    fn crash_view_server(&mut self, back: Instant) {
        if self.nodes[VIEW].is_down() {
            return;
        }
        self.counts.add(Count::ViewServerRestarts);
        let phase = self.truth.as_ref().map(|truth| truth.record.phase);
        if phase == Some(Phase::Proposed) {
            self.counts.add(Count::RestartsInProposal);
        }
        self.crash(VIEW);
        self.schedule(self.now + back, Event::Restart(VIEW));
    }

    /// The view server restarts without its record.
    fn lose_record(&mut self, lasting: Instant) {
        let Some(truth) = self.truth.as_ref().map(|truth| truth.record.clone()) else { return };
        if self.plan.careful {
            // Recovery needs everybody who is named in the highest record that will be reported;
            // the newest one of all may not have reached anybody yet.
            let reported = self.servers().filter_map(|server| self.known_record(server));
            let Some(highest) = reported.max_by_key(|record| record.stamp()) else { return };
            let needed: Vec<Incarnation> =
                highest.members().into_iter().map(|member| member.incarnation).collect();
            let guarded = (1..=self.plan.servers).find(|server| {
                // One whose clock stands does not notice that the view server is silent.
                needed.contains(&self.nodes[*server].incarnation)
                    && self.nodes[*server].paused_until <= self.now
                    && self.nodes[*server].clock.runs()
                    && self.known_record(*server).is_some()
            });
            let all_live = needed.iter().all(|incarnation| self.node_of(*incarnation).is_some());
            if !all_live || guarded.is_none() || self.nemesis.record_lost {
                return;
            }
            let guarded = guarded.expect("it was just found");
            self.nemesis.guarded = Some(guarded);
            self.network.protect(guarded, VIEW, true);
            self.network.protect(VIEW, guarded, true);
        }
        let back = self.random.pick(&[MS, 20 * MS, lasting]);
        self.crash_view_server(back);
        // Crashing may have made a last record durable; it is lost with the others.
        self.disk = None;
        self.nemesis.record_lost = true;
        self.nemesis.ever_lost = true;
        self.counts.add(Count::RecordsLost);
        if truth.phase == Phase::Active && truth.view.backup.is_some() {
            self.counts.add(Count::RecordsLostAfterJoin);
        }
    }

    fn known_record(&self, server: usize) -> Option<&Record> {
        self.nodes[server].server().and_then(|server| server.inspect().record)
    }

    pub fn pause(&mut self, node: usize, length: Instant) {
        if self.nemesis.guarded == Some(node) || self.nodes[node].is_down() {
            return;
        }
        self.counts.add(Count::Pauses);
        if length > self.dead_after() {
            self.counts.add(Count::LongPauses);
        }
        let until = self.now + length;
        self.nodes[node].paused_until = until.max(self.nodes[node].paused_until);
        self.schedule(until, Event::Repair(Repair::Resume(node)));
    }

    fn silence_both(&mut self, lasting: Instant) {
        let (Some(primary), Some(backup)) = (self.primary(), self.backup()) else { return };
        self.counts.add(Count::BothSilent);
        let length = self.dead_after() + lasting;
        if self.random.chance(500_000) {
            self.pause(primary, length);
            let other = self.dead_after() + self.lasting();
            self.pause(backup, other);
        } else {
            self.cut(vec![(primary, VIEW), (backup, VIEW)], length);
        }
    }

    /// Everybody else, or a part of them.
    fn somebody_else(&mut self, node: usize) -> Vec<usize> {
        let all = self.random.chance(500_000);
        (0..=self.plan.servers)
            .filter(|other| *other != node)
            .filter(|_| all || self.random.chance(600_000))
            .collect()
    }

    fn part(&mut self, lasting: Instant) {
        self.counts.add(Count::Partitions);
        let sides: Vec<bool> = (0..self.nodes.len()).map(|_| self.random.chance(500_000)).collect();
        let both = self.random.chance(600_000);
        let mut links = Vec::new();
        for from in 0..sides.len() {
            for to in 0..sides.len() {
                if sides[from] != sides[to] && (both || sides[from]) {
                    links.push((from, to));
                }
            }
        }
        self.cut(links, lasting);
    }

    fn cut(&mut self, links: Vec<(usize, usize)>, lasting: Instant) {
        for (from, to) in &links {
            self.network.block(*from, *to);
        }
        self.schedule(self.now + lasting, Event::Repair(Repair::Unblock(links)));
    }

    /// A record is durable from now on, with the view server that runs at this node.
    pub fn made_durable(&mut self, index: usize, durable: DurableRecord) {
        let record = &durable.record;
        let previous = self.truth.as_ref().map(|truth| &truth.record);
        let is_reset = record.view.genesis && self.workload.reset_asked;
        if self.nemesis.two_decided
            && !is_reset
            && previous.is_some_and(|truth| {
                truth.history == record.history && truth.stamp() > record.stamp()
            })
        {
            // Whoever decides this has been overtaken, and does not know it yet.
            self.counts.add(Count::OvertakenRecords);
            if let Err(violation) = self.checks.on_overtaken_record(record) {
                self.fail(violation);
            }
            if index == VIEW {
                self.disk = Some(durable);
            }
            return;
        }
        let other_history = previous.is_some_and(|previous| previous.history != record.history);
        if other_history
            && self.nemesis.ever_lost
            && !self.nemesis.two_decided
            && !self.checks.anybody_has_served()
        {
            // Nothing was ever stored in the history that is given up, and nothing will be.
            self.checks.new_history();
        } else if other_history && !self.plan.careful && self.nemesis.ever_lost {
            // Legal: nobody who knew the old history answered in time.
            self.nemesis.forked = true;
            self.counts.add(Count::Forks);
            self.workload.new_generation();
            self.checks.new_history();
        } else if record.view.genesis && self.workload.reset_asked {
            self.workload.reset_asked = false;
            self.counts.add(Count::Resets);
            self.workload.new_generation();
            self.checks.new_history();
            self.nemesis.total_loss = false;
        }
        if self.nemesis.record_lost && index == VIEW {
            self.nemesis.record_lost = false;
            self.counts.add(Count::Recoveries);
            if let Some(guarded) = self.nemesis.guarded.take() {
                self.network.protect(guarded, VIEW, false);
                self.network.protect(VIEW, guarded, false);
            }
        }
        let before = self.truth.take();
        let previous = before.as_ref().map(|truth| &truth.record);
        let moment = self.classify(previous, record);
        let checked = self.checks.on_record(&self.nodes, previous, record);
        if record.phase == Phase::Active {
            self.nemesis.active = Some(record.clone());
        }
        self.truth = Some(durable.clone());
        if index == VIEW {
            self.disk = Some(durable);
        }
        if let Err(violation) = checked {
            self.fail(violation);
        }
        self.look_for_survivors();
        self.snap(moment);
    }

    /// What kind of step a record is, counted.
    fn classify(&mut self, previous: Option<&Record>, record: &Record) -> Moment {
        let counts = &mut self.counts;
        let id = |member: &pbkv::protocol::view::Member| member.incarnation;
        if let Some(previous) = previous
            && previous.phase == Phase::Proposed
            && previous.view.id != record.view.id
        {
            counts.add(Count::Overtaken);
        }
        let joining = |record: &Record| record.view.joining.as_ref().map(id);
        let was_joining = previous.and_then(joining);
        if was_joining.is_some()
            && joining(record) != was_joining
            && record.view.backup.as_ref().map(id) != was_joining
        {
            counts.add(Count::JoinsAborted);
        }
        if record.phase == Phase::Proposed {
            counts.add(Count::Proposals);
            return Moment::Proposed;
        }
        let Some(before) = &self.nemesis.active else { return Moment::Any };
        if before.view.primary.incarnation != record.view.primary.incarnation {
            counts.add(Count::Failovers);
            return Moment::PrimaryChanged;
        }
        if record.view.backup.is_some() && before.view.backup.is_none() {
            counts.add(Count::JoinsDone);
            return Moment::JoinDone;
        }
        if joining(record).is_some() && joining(record) != was_joining {
            counts.add(Count::JoinsBegun);
            return Moment::JoinBegun;
        }
        if record.eligible.len() < before.eligible.len() {
            counts.add(Count::BackupsDropped);
            return Moment::BackupDropped;
        }
        Moment::Any
    }

    /// Sets off the traps that wait for this moment.
    fn snap(&mut self, moment: Moment) {
        if self.nemesis.retired {
            return;
        }
        for index in 0..self.plan.traps.len() {
            let trap = self.plan.traps[index];
            if (trap.moment == moment || trap.moment == Moment::Any)
                && self.random.chance(trap.chance)
            {
                let delay = self.random.below(trap.delay_most + 1);
                self.schedule(self.now + delay, Event::Snap(trap.fault));
            }
        }
    }

    /// Judges whether every eligible copy is gone.
    pub fn look_for_survivors(&mut self) {
        let Some(truth) = &self.truth else { return };
        let record = &truth.record;
        let lives = record.eligible.iter().any(|it| self.node_of(it.incarnation).is_some());
        if lives || record.eligible.is_empty() {
            // A joiner that holds everything may say so after the primary's death.
            self.nemesis.total_loss = false;
            return;
        }
        if self.nemesis.total_loss {
            return;
        }
        self.nemesis.total_loss = true;
        self.counts.add(Count::TotalLosses);
        if self.plan.careful {
            let detail = format!("no process is left of {}", brief(record));
            self.fail(Violation::new("an-eligible-copy-survives", detail));
        }
    }

    /// Ends all faults for good: the network is fair, everything runs.
    pub fn make_peace(&mut self) {
        let at = self.now;
        self.trace.say(at, || "=== phase two: everything heals ===".to_owned());
        self.nemesis.retired = true;
        self.nemesis.guarded = None;
        self.network.heal();
        for index in [self.old_view(), self.old_server()] {
            // Two processes under one name are for a person to sort out.
            self.end(index);
        }
        self.slow_disk = 0;
        self.plan.socket_bytes = self.plan.socket_bytes.max(208 << 10);
        self.plan.crash_after_persist = 0;
        self.plan.stop_before_sending = 0;
        for index in 0..self.clients().end {
            let rate = self.random.between(950_000, 1_050_000);
            self.nodes[index].clock.set_rate(at, rate);
            self.nodes[index].paused_until = at;
            // A disk that takes seconds heals as well.
            self.nodes[index].busy_until = self.nodes[index].busy_until.min(at);
            if self.nodes[index].is_down() {
                self.start(index);
            } else {
                self.replan(index);
            }
        }
        for server in 1..=self.plan.servers {
            self.undrain(server);
        }
    }
}
