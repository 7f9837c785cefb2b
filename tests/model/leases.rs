//! Read leases in the worlds whose clocks stand still (run 9).
//!
//! Time passes where it must: while the view server waits before it decides. What its clock shows
//! then passes on the clocks of the servers as slowly as two drifting clocks allow, which leaves a
//! lease as much of its life as it can have. A server may have looked at its clock before all that
//! and act afterwards (D20, D48), before it has read the value or after.
//!
//! A ping that grants a lease travels like every other message: it may arrive late, twice, or
//! never. It names the pong that it has heard; servers remember the pongs that a ping in the network
//! names, and no others. Without that, each ping would leave a different server behind, and no
//! search would ever end.

use std::sync::Arc;
use std::time::Duration;

use pbkv::config::Timing;
use pbkv::protocol::Process;
use pbkv::protocol::message::{Message, Ping, Reply, Request};
use pbkv::protocol::server::Server;
use pbkv::time::Timestamp;
use pbkv::types::Incarnation;

use crate::properties::count;
use crate::ruling::{self, Scene, hasty, timing};
use crate::world::{Packet, State, VIEW_SERVER, World, client_address};

/// An answer that may leave its process before this time.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Held {
    pub server: usize,
    pub before: Timestamp,
    pub reply: Reply,
    pub request: Box<Request>,
}

impl World {
    /// The flags of the view server that rules.
    pub fn ruling_timing(&self) -> Timing {
        if self.plan.grants == 0 { timing(false) } else { hasty() }
    }

    /// So much time passes on the clock of the view server.
    pub fn pass(&self, state: &mut State, took: Duration) {
        if self.plan.grants == 0 {
            return;
        }
        // The view server's clock is a tenth too fast, the others are a tenth too slow.
        let slowly = (took * 9).as_nanos().div_ceil(11);
        let slowly = Duration::from_nanos(u64::try_from(slowly).expect("less than a second"));
        for clock in &mut state.clocks {
            *clock = *clock + slowly;
        }
    }

    /// A view server with leases hears a server, and its next ping grants one.
    pub fn grant(&self, state: &mut State, index: usize) -> Option<()> {
        let (me, now) = (state.incarnations[index], state.clocks[index]);
        let timing = timing(true);
        let living = vec![(index, ruling::pong(&state.servers[index], me, now))];
        let newest = state.records.len() - 1;
        let record = self.rulings.grant(
            &state.records[newest],
            &Scene { timing, dies: None, living, switchover: false },
        )?;
        let mut server = Server::clone(&state.servers[index]);
        let heard = Some(ruling::heard_pong(&mut server, me, now).token);
        state.servers[index] = Arc::new(server);
        let ping = Ping {
            from: Incarnation(901),
            to: Some(me),
            nonce: 0,
            timing,
            record: Some(record.clone()),
            promise: None,
            heard,
            grants_lease: true,
            superseded: false,
        };
        let message = Message::Ping(Box::new(ping));
        Arc::make_mut(&mut state.network).send(Packet { from: VIEW_SERVER, to: index, message });
        // It says now how long a lease can be.
        Arc::make_mut(&mut state.records)[newest] = record;
        state.grants_left -= 1;
        Some(())
    }

    /// A process looks at its clock, and sends an answer if it still may.
    pub fn release(&self, state: &mut State, index: usize) {
        let held = state.held.remove(index);
        if state.clocks[held.server] < held.before {
            count(&self.goals.read_by_lease);
            if let Err(broken) = self.reply(state, &held.reply) {
                state.broken.get_or_insert(broken);
            }
            return;
        }
        self.turn(state, held.server, |server, now, outbox| {
            server.handle_message(now, client_address(), Message::Request(*held.request), outbox);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Do::Get;
    use crate::world::{Event, Plan};

    fn world() -> (World, State) {
        let scripts = vec![vec![Get]];
        let world = World::new(Plan { servers: 2, scripts, grants: 1, ..Plan::default() });
        let state = world.initial();
        (world, state)
    }

    /// Delivers the ping, then asks s1: when the answer must have left, if it is under a lease.
    fn lease(world: &World, state: State) -> Option<Timestamp> {
        let ping = state.network.order[0];
        let state = world.force(state, &Event::Deliver(ping));
        let state = world.force(state, &Event::Ask { client: 0, call: 1, server: 0 });
        state.held.first().map(|held| held.before)
    }

    #[test]
    fn pings_that_say_nothing_new_leave_an_equal_state_however_many_they_are() {
        let (world, state) = world();
        let mut pinged = state.clone();
        for _ in 0..3 {
            let me = state.incarnations[0];
            let changed = world.turn(&mut pinged, 0, |server, now, outbox| {
                let ping = ruling::ping(Incarnation(901), me, None);
                server.handle_message(now, client_address(), ping, outbox);
            });
            assert_eq!(changed, None);
        }
        assert_eq!(pinged.servers[0], state.servers[0]);
        assert_eq!(pinged.fingerprint(), state.fingerprint());
    }

    #[test]
    fn a_ghost_of_a_ping_is_not_the_same_as_one_that_names_a_remembered_pong() {
        let (world, state) = world();
        let live = world.happen(&state, &Event::Grant(0)).expect("s1 serves");
        let mut ghost = live.clone();
        Arc::make_mut(&mut ghost.servers[0]).forget_pongs(|_| false);
        assert_ne!(live.fingerprint(), ghost.fingerprint());
        assert!(lease(&world, live).is_some());
        assert_eq!(lease(&world, ghost), None);
    }

    #[test]
    fn pings_that_name_pongs_of_different_times_are_different() {
        let (world, state) = world();
        let wait = Duration::from_millis(50);
        let mut early = world.happen(&state, &Event::Grant(0)).expect("s1 serves");
        world.pass(&mut early, wait);
        let mut late = state;
        world.pass(&mut late, wait);
        let late = world.happen(&late, &Event::Grant(0)).expect("s1 serves");
        assert_eq!(early.clocks, late.clocks);
        assert_ne!(early.fingerprint(), late.fingerprint());
        assert!(lease(&world, early) < lease(&world, late));
    }
}
