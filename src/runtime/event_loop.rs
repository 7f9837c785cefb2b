//! The loop that drives a [`Process`]: wait, take what has arrived, run timers, carry out effects.
//!
//! One turn of it:
//! 1. datagrams that have arrived: of servers first, of others as far as a turn allows (before the
//!    timers: a process that was stopped must hear the others before it can judge any of them);
//! 2. calls of the local program;
//! 3. `handle_timeout` of the transport and of the process, where it is due;
//! 4. the effects, in order; then everything that was queued for sending leaves together.
//!
//! Kept here: each step is bounded, so that no flood starves another; nothing that follows a
//! `Persist` is sent before it is durable (I13); no network error ends the loop. Not done here: any
//! decision. Counterpart: [`Handle`](crate::runtime::Handle) asks, [`Process`] answers.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info};

use crate::protocol::message::Message;
use crate::protocol::seal::{Role, Seal};
use crate::protocol::transport::Transport;
use crate::protocol::view_server::DurableRecord;
use crate::protocol::{Effect, Outbox, Process};
use crate::runtime::arrivals::Arrivals;
use crate::runtime::calls::{Call, Calls, HandlesGone, Totals};
use crate::runtime::clock::now;
use crate::runtime::guard::Guard;
use crate::runtime::outgoing::Outgoing;
use crate::runtime::record_file::{RecordError, RecordFile};
use crate::runtime::socket::{DatagramSocket, canonical};
use crate::runtime::spin::{Spin, Spinner};
use crate::time::{Timestamp, earlier};

/// Datagrams handled in one turn, at most, beside those of servers.
const DATAGRAMS_PER_TURN: usize = 256;
/// Datagrams taken off the socket in one turn, at most.
const TAKEN_PER_TURN: usize = 8192;
/// And before anything of them is handled, but what comes from servers.
const TAKEN_AT_ONCE: usize = 1024;
/// Datagrams of others than servers that are handled before the socket is looked at again: what
/// arrives meanwhile must fit the kernel's buffer.
const BURST: usize = 32;
/// And their bytes: what the first large datagrams of a state transfer bring is acknowledged while
/// the next ones are on their way, so that both ends work at the same time.
const BYTES_PER_TURN: usize = 64 << 10;
/// Calls taken in one turn, at most. When an answer wakes many callers, what the first ones ask is
/// on its way while the others are taken; all at once, client and servers would take turns to rest.
const CALLS_PER_TURN: usize = 32;
/// Longest sleep. Sleeping does not count the time in which the machine is suspended, and the
/// process's clock does.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Time between two looks for room on a disk that had none.
const ROOM_POLL: Duration = Duration::from_millis(100);
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
/// While there is no room for one, others run.
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
        arrivals: Arrivals::default(),
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
        if !driver.outbox.is_empty()
            || !driver.arrivals.is_empty()
            || due.is_some_and(|due| due <= time)
        {
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

        // Before anything is done about it: how long it was waited for, not what it cost.
        let looked = spinner.is_looking().then(now);
        let received = driver.receive();
        if received > 0
            && let Some(looked) = looked
        {
            spinner.received(looked);
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

/// Makes the record durable; as long as there is no room for it, waits and does nothing else. The
/// servers and their clients go on meanwhile, only failover waits; and a view server that ended
/// instead could not begin again before there is room either.
async fn persist(file: &RecordFile, record: &DurableRecord) -> Result<(), RecordError> {
    let mut waits = false;
    loop {
        match file.persist(record) {
            Ok(()) => {
                if waits {
                    info!(event = "record_written", "there is room for the record again");
                }
                return Ok(());
            }
            Err(error @ RecordError::NoRoom { .. }) => {
                if !std::mem::replace(&mut waits, true) {
                    error!(event = "record_waits", "{error}; until then nothing is decided");
                }
                sleep(ROOM_POLL).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What one turn has taken in.
#[derive(Default)]
struct Turn {
    /// Datagrams taken off the socket.
    taken: usize,
    /// Datagrams of others than servers that were handled, and their bytes.
    handled: usize,
    of_others: usize,
    /// Bytes of what servers sent.
    of_peers: usize,
}

impl Turn {
    /// Whether another datagram of somebody else than a server may be handled.
    fn has_room(&self) -> bool {
        self.handled < DATAGRAMS_PER_TURN
            && self.of_others < BYTES_PER_TURN
            && self.of_peers < BYTES_PER_TURN
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
    /// What was taken and waits.
    arrivals: Arrivals,
    /// Reused: the messages that it completes.
    messages: Vec<Message>,
    /// A timer did not advance; said once.
    stuck: bool,
}

impl<P: Process, S: DatagramSocket, N: Fn() -> Timestamp + Copy> Driver<P, S, N> {
    fn poll_timeout(&self) -> Option<Timestamp> {
        earlier(self.process.poll_timeout(), self.outgoing.transport.poll_timeout())
    }

    /// Takes what has arrived, and handles it within bounds; how many datagrams came.
    fn receive(&mut self) -> usize {
        let mut turn = Turn::default();
        loop {
            let more = self.take(&mut turn);
            let mut burst = 0;
            while burst < BURST
                && turn.has_room()
                && let Some((from, sender, datagram)) = self.arrivals.pop()
            {
                burst += 1;
                turn.handled += 1;
                turn.of_others += datagram.len();
                self.handle(from, sender, &datagram);
                self.arrivals.give_back(datagram);
            }
            let rests = !more && self.arrivals.is_empty();
            if rests || !turn.has_room() || turn.taken >= TAKEN_PER_TURN {
                return turn.taken.max(turn.handled);
            }
        }
    }

    /// Takes datagrams off the socket; those of servers, and the first of others, are handled at
    /// once. Returns whether there may be more.
    ///
    /// Pings and acknowledgements do not wait behind the requests of clients. Else 1. clients ask
    /// for more than can be done .. 2. the kernel's queue is full, or longer than dead-after .. 3. a
    /// server that does its best is declared dead.
    fn take(&mut self, turn: &mut Turn) -> bool {
        let mut at_once = 0;
        for _ in 0..TAKEN_AT_ONCE {
            if turn.of_peers >= BYTES_PER_TURN {
                return true;
            }
            let (size, from) = match self.outgoing.socket.try_recv_from(&mut self.buffer) {
                Ok((size, from)) => (size, canonical(from)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // Such an error tells of something that was sent earlier. It has been taken off the
                // socket by now, and there may be datagrams behind it.
                Err(error) => {
                    debug!(%error, "receiving failed");
                    turn.taken += 1;
                    continue;
                }
            };
            turn.taken += 1;
            let mut buffer = std::mem::take(&mut self.buffer);
            self.admit(turn, &mut at_once, from, &mut buffer[..size]);
            self.buffer = buffer;
        }
        true
    }

    /// Handles a datagram that was taken off the socket at once, or lets it wait, or drops it if its
    /// seal is none: what nobody with a key has sent takes no room from others.
    fn admit(
        &mut self,
        turn: &mut Turn,
        at_once: &mut usize,
        from: SocketAddr,
        datagram: &mut [u8],
    ) {
        let size = datagram.len();
        let time = (self.now)();
        let opened = self.outgoing.guard.open(time, from, datagram);
        let Some((datagram, sender)) = opened else { return };
        let is_peer = match sender {
            None => self.process.is_peer(from),
            Some(Role::Client) => false,
            Some(Role::ViewServer | Role::Server) => true,
        };
        if is_peer {
            turn.of_peers += size;
        } else if self.arrivals.is_empty() && *at_once < BURST && turn.has_room() {
            *at_once += 1;
            turn.handled += 1;
            turn.of_others += size;
        } else {
            self.arrivals.push(from, sender, datagram);
            return;
        }
        self.handle(from, sender, datagram);
    }

    fn handle(&mut self, from: SocketAddr, sender: Option<Role>, datagram: &[u8]) {
        let time = (self.now)();
        let Outgoing { guard, transport, .. } = &mut self.outgoing;
        transport.set_client(sender == Some(Role::Client));
        transport.receive(time, from, datagram, &mut self.messages);
        for message in self.messages.drain(..) {
            if guard.admits(time, from, sender, &message) {
                self.process.handle_message(time, from, message, &mut self.outbox);
            }
        }
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
                sent: self.outgoing.sent,
                sent_bytes: self.outgoing.sent_bytes,
                seal: self.outgoing.guard.counters(),
                shed: self.arrivals.shed,
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
                    persist(&self.record, &record).await?;
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
