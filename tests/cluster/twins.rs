//! Two processes where there should be one: a second view server, and a second process with a
//! server's id.
//!
//! The process that was there first is displaced to a place of its own, where it runs on (maybe
//! paused for a while) until it ends itself or the nemesis ends it; another one starts in its
//! stead. A second view server starts without the record: the lock of the state file keeps a
//! second one with it away.

use crate::clock::Instant;
use crate::counts::Count;
use crate::harness::{Event, VIEW, World};
use crate::nemesis::Repair;

impl World {
    /// Where a displaced view server runs.
    pub fn old_view(&self) -> usize {
        self.clients().end
    }

    /// Where a displaced kv server runs.
    pub fn old_server(&self) -> usize {
        self.clients().end + 1
    }

    /// Where the plain client runs.
    pub fn plain_client(&self) -> usize {
        self.clients().end + 2
    }

    /// Moves a process, with its address and its clock, to a place that is empty.
    fn displace(&mut self, from: usize, to: usize) {
        assert!(self.nodes[to].is_down(), "a process is not pushed out by another");
        self.nodes.swap(from, to);
        let name = self.nodes[to].name.clone();
        self.nodes[to].name = format!("old {name}");
        self.nodes[from].name = name;
        // Turns were planned for places, not for processes.
        let ticket = self.nodes[from].ticket.max(self.nodes[to].ticket) + 1;
        for place in [from, to] {
            self.nodes[place].ticket = ticket;
            self.nodes[place].turn = None;
        }
        self.nodes[from].paused_until = 0;
        self.replan(to);
    }

    /// A second process with this server's id starts, elsewhere.
    pub fn replace_server(&mut self, server: usize, lasting: Instant) {
        let old = self.old_server();
        if self.nodes[server].is_down() || !self.nodes[old].is_down() {
            return;
        }
        self.counts.add(Count::Twins);
        self.displace(server, old);
        self.part_ways(old, lasting);
        self.start(server);
    }

    /// A second view server starts without a record, where everybody looks for one. The first one
    /// goes on from another address.
    pub fn replace_view_server(&mut self, lasting: Instant) {
        let old = self.old_view();
        if self.nodes[VIEW].is_down() || !self.nodes[old].is_down() {
            return;
        }
        self.counts.add(Count::SecondViewServers);
        self.nemesis.two_decided = true;
        self.displace(VIEW, old);
        let known = self.nodes[old].address;
        self.nodes[old].address = self.nodes[VIEW].address;
        self.nodes[VIEW].address = known;
        self.disk = None;
        self.nemesis.record_lost = true;
        self.nemesis.ever_lost = true;
        self.part_ways(old, lasting);
        self.start(VIEW);
    }

    /// The displaced process runs on, or is stopped while the other one settles in; some day it
    /// ends.
    fn part_ways(&mut self, old: usize, lasting: Instant) {
        if self.random.chance(600_000) {
            self.pause(old, 2 * self.dead_after() + lasting);
        }
        let end = 6 * self.dead_after() + 2 * lasting;
        self.schedule(self.now + end, Event::Repair(Repair::End(old)));
    }

    /// A displaced process ends for good.
    pub fn end(&mut self, index: usize) {
        if !self.nodes[index].is_down() {
            self.crash(index);
        }
    }
}
