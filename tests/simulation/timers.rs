//! When the loop lets a timer ring. Only virtual time can tell: on a busy machine a real clock
//! forgives everything.

use std::net::SocketAddr;
use std::time::Duration;

use pbkv::config::Limits;
use pbkv::protocol::message::Message;
use pbkv::protocol::transport::Transport;
use pbkv::protocol::{Effect, Outbox, Process};
use pbkv::runtime::{RecordFile, channel, run_over};
use pbkv::time::Timestamp;
use pbkv::types::{CallId, Incarnation};
use turmoil::Builder;

use crate::socket::{Faults, SharedNetwork, SimulatedSocket};

/// One timer. Setting it anew forgets what it was set for before.
#[derive(Default)]
struct Alarm {
    due: Option<Timestamp>,
    call: Option<CallId>,
}

enum Command {
    /// Answered at once.
    Set(Duration),
    /// Answered when it has rung.
    Ring(Duration),
}

impl Process for Alarm {
    type Command = Command;
    /// How late it rang.
    type Answer = Duration;

    fn handle_message(
        &mut self,
        _: Timestamp,
        _: SocketAddr,
        _: Message,
        _: &mut Outbox<Duration>,
    ) {
    }

    fn handle_command(
        &mut self,
        now: Timestamp,
        call: CallId,
        command: Command,
        outbox: &mut Outbox<Duration>,
    ) {
        match command {
            Command::Set(wait) => {
                self.due = Some(now + wait);
                outbox.push(Effect::Answer(call, Duration::ZERO));
            }
            Command::Ring(wait) => {
                self.due = Some(now + wait);
                self.call = Some(call);
            }
        }
    }

    fn handle_timeout(&mut self, now: Timestamp, outbox: &mut Outbox<Duration>) {
        if let Some(due) = self.due.take_if(|due| *due <= now)
            && let Some(call) = self.call.take()
        {
            outbox.push(Effect::Answer(call, now.since(due)));
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.due
    }
}

#[test]
fn a_timer_rings_on_time_however_often_it_was_brought_forward_or_put_off() {
    let mut sim = Builder::new()
        .rng_seed(81)
        // Longer than the loop ever sleeps at once.
        .simulation_duration(Duration::from_secs(200))
        .build();
    sim.client("alarm", async {
        let network = SharedNetwork::new(81, Faults::default());
        let socket = SimulatedSocket::bind("alarm", 5000, &network).await?;
        let transport = Transport::new(Incarnation(1), Limits::default());
        let (handle, calls) = channel();
        let now = || {
            let elapsed = turmoil::sim_elapsed().expect("read inside the simulation");
            Timestamp(0) + Duration::from_secs(1) + elapsed
        };
        let run = run_over(Alarm::default(), transport, socket, now, calls, RecordFile::None);
        let running = tokio::task::spawn_local(run);
        let secs = Duration::from_secs;
        let ms = Duration::from_millis;
        for (before, after) in
            [(secs(30), ms(2)), (ms(2), secs(1)), (secs(1), ms(999)), (ms(1), secs(130))]
        {
            handle.call(Command::Set(before)).await.expect("a loop that runs");
            let late = handle.call(Command::Ring(after)).await.expect("a loop that runs");
            // tokio's timers are as fine as a millisecond.
            assert!(late <= ms(2), "{late:?} late, set to {after:?} after {before:?}");
        }
        drop(handle);
        Ok(running.await??)
    });
    sim.run().expect("an alarm on time");
}
