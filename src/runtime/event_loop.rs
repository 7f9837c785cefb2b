//! The loop that drives a [`Process`]: wait, take what has arrived, run timers, carry out effects.
//!
//! One turn of it:
//! 1. datagrams that have arrived, oldest first (before the timers: a process that was stopped must
//!    hear the others before it can judge any of them);
//! 2. calls of the local program;
//! 3. `handle_timeout` of the transport and of the process, where it is due;
//! 4. the effects, in order; then everything that was queued for sending leaves together.
//!
//! Kept here: each step is bounded, so that no flood starves another; nothing that follows a
//! `Persist` is sent before it is durable (I13); no network error ends the loop. Not done here: any
//! decision. Counterpart: [`Handle`](crate::runtime::Handle) asks, [`Process`] answers.

use std::io;
use std::pin::pin;
use std::time::Duration;

use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep};
use tracing::{debug, error};

use crate::protocol::message::Message;
use crate::protocol::seal::{Role, Seal};
use crate::protocol::transport::Transport;
use crate::protocol::{Effect, Outbox, Process};
use crate::runtime::calls::{Call, Calls, HandlesGone, Totals};
use crate::runtime::clock::now;
use crate::runtime::guard::Guard;
use crate::runtime::outgoing::Outgoing;
use crate::runtime::record_file::{RecordError, RecordFile};
use crate::runtime::socket::{DatagramSocket, canonical};
use crate::runtime::spin::{Spin, Spinner};
use crate::time::{Timestamp, earlier};

/// Datagrams taken in one turn, at most.
const DATAGRAMS_PER_TURN: usize = 256;
/// And their bytes: what the first large datagrams of a state transfer bring is acknowledged while
/// the next ones are on their way, so that both ends work at the same time.
const BYTES_PER_TURN: usize = 64 << 10;
/// Calls taken in one turn, at most. When an answer wakes many callers, what the first ones ask is
/// on its way while the others are taken; all at once, client and servers would take turns to rest.
const CALLS_PER_TURN: usize = 32;
/// Longest sleep. Sleeping does not count the time in which the machine is suspended, and the
/// process's clock does.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// No UDP payload is larger, so that none is ever cut off.
const BUFFER_BYTES: usize = 64 << 10;

/// Why the loop has ended, other than by request.
#[derive(Debug, Error)]
pub enum RunError {
    /// The process cannot go on ([`Effect::Stop`]).
    #[error("{0}")]
    Stopped(String),
    /// The view server's record could not be made durable. Nothing that depends on it was sent.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Drives `process`, behind a seal if one is given, until every [`Handle`](crate::runtime::Handle) is gone. Calls that are still
/// open then, or when an error ends the loop, are answered with none.
///
/// Blocks its thread while a record is made durable: the process could not go on meanwhile anyway.
///
/// # Errors
/// When the process stops itself, or its record cannot be written. Never because of the network.
pub async fn run<P: Process>(
    process: P,
    transport: Transport,
    socket: UdpSocket,
    calls: Calls<P>,
    record: RecordFile,
    spin: Spin,
    seal: Option<Seal>,
) -> Result<(), RunError> {
    drive(process, transport, socket, now, calls, record, spin, seal).await
}

/// [`run`] over another network and another clock. `now` reads the process's own clock, the one
/// that showed the time at which `process` was made; it never goes back. Waiting is tokio's, whose
/// time should pass at about the same rate. It never spins, for such a clock may stand still until
/// everybody sleeps.
///
/// # Errors
/// As [`run`].
pub async fn run_over<P: Process, S: DatagramSocket, N: Fn() -> Timestamp + Copy>(
    process: P,
    transport: Transport,
    socket: S,
    now: N,
    calls: Calls<P>,
    record: RecordFile,
) -> Result<(), RunError> {
    drive(process, transport, socket, now, calls, record, Spin::Off, None).await
}

#[expect(clippy::too_many_arguments, reason = "what a process consists of, each of another type")]
pub(super) async fn drive<P: Process, S: DatagramSocket, N: Fn() -> Timestamp + Copy>(
    process: P,
    transport: Transport,
    socket: S,
    now: N,
    calls: Calls<P>,
    record: RecordFile,
    spin: Spin,
    seal: Option<Seal>,
) -> Result<(), RunError> {
    let mut driver = Driver {
        process,
        now,
        outgoing: Outgoing::new(transport, Guard::new(seal), socket, now),
        calls,
        record,
        outbox: Outbox::default(),
        buffer: vec![0; BUFFER_BYTES],
        messages: Vec::new(),
        stuck: false,
    };
    let mut timer = pin!(sleep(Duration::ZERO));
    let mut spinner = Spinner::new(spin);
    // What the timer was set for; none once it has rung. It may ring too early, because what it was
    // set for is over: setting it anew with every message would cost more than that.
    let mut armed: Option<Timestamp> = None;
    // Work since the task last let others run.
    let mut worked = 0;
    loop {
        let mut call = None;
        let due = driver.poll_timeout();
        let time = now();
        if !driver.outbox.is_empty() || due.is_some_and(|due| due <= time) {
            // Something is to be done at once. Letting others run first also lets tokio look at the
            // socket, so that what has arrived meanwhile is taken first.
            tokio::task::yield_now().await;
        } else if spinner.is_awake(time) {
            // On a machine that is busy, whoever could do something goes first.
            std::thread::yield_now();
            tokio::task::yield_now().await;
        } else {
            if let Some(due) = due
                && armed.is_none_or(|armed| due < armed)
            {
                armed = Some(due);
                let wait = due.since(time).min(LONGEST_SLEEP);
                timer.as_mut().reset(Instant::now() + wait);
            }
            tokio::select! {
                biased;
                // An error is met again, and judged, where the datagrams are taken.
                _ = driver.outgoing.socket.readable() => {}
                () = &mut timer, if armed.is_some() => armed = None,
                next = driver.calls.next() => match next {
                    Some(next) => call = Some(next),
                    None => return Ok(()),
                },
            }
        }

        let (received, bytes) = driver.receive();
        if received > 0 {
            spinner.received(received, bytes);
        }
        worked += 1 + received;
        let handles = driver.take_calls(call);
        driver.run_timers();
        driver.carry_out().await?;
        match handles {
            Ok(taken) => worked += taken,
            Err(HandlesGone) => return Ok(()),
        }
        if worked >= DATAGRAMS_PER_TURN {
            // While there is always something to do nothing above ever waits, and on a runtime with
            // one thread the callers, and the signal that ends the program, would wait for ever.
            tokio::task::yield_now().await;
            worked = 0;
        }
    }
}

struct Driver<P: Process, S, N> {
    process: P,
    /// The process's clock.
    now: N,
    outgoing: Outgoing<S, N>,
    calls: Calls<P>,
    record: RecordFile,
    /// What the process wants done, in order.
    outbox: Outbox<P::Answer>,
    /// Reused: the datagram that is being taken.
    buffer: Vec<u8>,
    /// Reused: the messages that it completes.
    messages: Vec<Message>,
    /// A timer did not advance; said once.
    stuck: bool,
}

impl<P: Process, S: DatagramSocket, N: Fn() -> Timestamp + Copy> Driver<P, S, N> {
    fn poll_timeout(&self) -> Option<Timestamp> {
        earlier(self.process.poll_timeout(), self.outgoing.transport.poll_timeout())
    }

    /// Takes what has arrived, within bounds; how many datagrams that were, and their bytes.
    fn receive(&mut self) -> (usize, usize) {
        let mut bytes = 0;
        for taken in 0..DATAGRAMS_PER_TURN {
            if bytes >= BYTES_PER_TURN {
                return (taken, bytes);
            }
            let (size, from) = match self.outgoing.socket.try_recv_from(&mut self.buffer) {
                Ok((size, from)) => (size, canonical(from)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return (taken, bytes);
                }
                // Such an error tells of something that was sent earlier. It has been taken off the
                // socket by now, and there may be datagrams behind it.
                Err(error) => {
                    debug!(%error, "receiving failed");
                    continue;
                }
            };
            bytes += size;
            let time = (self.now)();
            let Outgoing { guard, transport, .. } = &mut self.outgoing;
            let opened = guard.open(time, from, &mut self.buffer[..size]);
            let Some((datagram, sender)) = opened else { continue };
            transport.set_client(sender == Some(Role::Client));
            transport.receive(time, from, datagram, &mut self.messages);
            for message in self.messages.drain(..) {
                if guard.admits(time, from, sender, &message) {
                    self.process.handle_message(time, from, message, &mut self.outbox);
                }
            }
        }
        (DATAGRAMS_PER_TURN, bytes)
    }

    /// Takes calls, within bounds, beginning with the one that ended the waiting; how many.
    fn take_calls(&mut self, first: Option<Call<P>>) -> Result<usize, HandlesGone> {
        let mut next = first;
        let time = (self.now)();
        for taken in 0..CALLS_PER_TURN {
            let call = match next.take() {
                Some(call) => call,
                None => match self.calls.try_next()? {
                    Some(call) => call,
                    None => return Ok(taken),
                },
            };
            let totals = || Totals {
                process: self.outbox.counts.clone(),
                transport: *self.outgoing.transport.counters(),
                unsent: self.outgoing.dropped,
                seal: self.outgoing.guard.counters(),
            };
            if let Some((id, command)) = self.calls.register(call, totals) {
                self.process.handle_command(time, id, command, &mut self.outbox);
            }
        }
        Ok(CALLS_PER_TURN)
    }

    /// Once a turn: what is due again at once (the next part of a state transfer) comes after what
    /// has arrived meanwhile.
    fn run_timers(&mut self) {
        let time = (self.now)();
        let is_due = |timeout: Option<Timestamp>| timeout.is_some_and(|due| due <= time);
        let transport_due = is_due(self.outgoing.transport.poll_timeout());
        let process_due = is_due(self.process.poll_timeout());
        if transport_due {
            self.outgoing.transport.handle_timeout(time);
        }
        if process_due {
            self.process.handle_timeout(time, &mut self.outbox);
        }
        // timer-advances: otherwise the loop would never rest again. It costs a processor but
        // no data, so that a released program goes on.
        let advanced = !(transport_due || process_due) || !is_due(self.poll_timeout());
        debug_assert!(advanced, "timer-advances: handle_timeout left a timer that is due");
        if !advanced && !self.stuck {
            self.stuck = true;
            error!(
                event = "timer_stuck",
                "timer-advances: handle_timeout left a timer that is due"
            );
        }
    }

    /// Does what the process wants done so far, in order. Answers whose lease ended are given back
    /// to the process, which leaves new effects for the next turn.
    async fn carry_out(&mut self) -> Result<(), RunError> {
        let time = (self.now)();
        for effect in self.outbox.drain() {
            match effect {
                Effect::Send { to, message } => self.outgoing.send(time, to, &message),
                Effect::SendBefore { before, to, message, request } => {
                    self.outgoing.send_before(before, to, message, *request);
                }
                Effect::Persist(record) => {
                    // What came before need not wait for the disk, and leases run meanwhile.
                    self.outgoing.flush().await;
                    self.record.persist(&record)?;
                }
                Effect::Answer(call, answer) => self.calls.answer(call, answer),
                Effect::Stop(explanation) => {
                    self.outgoing.flush().await;
                    return Err(RunError::Stopped(explanation));
                }
            }
        }
        self.outgoing.flush().await;
        for (from, request) in self.outgoing.late.drain(..) {
            let message = Message::Request(request);
            self.process.handle_message((self.now)(), from, message, &mut self.outbox);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
