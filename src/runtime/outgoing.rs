//! Everything that leaves: messages are queued, packed into datagrams and handed to the kernel.
//!
//! Kept here: an answer under a lease leaves only if the clock, read after the answer was complete,
//! shows that the lease is in force (no-stale-read, I9). A failed send is never an error: whoever
//! needs a message sends it again.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::protocol::message::{Message, Request};
use crate::protocol::transport::{Datagram, Transport};
use crate::runtime::guard::Guard;
use crate::runtime::socket::DatagramSocket;
use crate::time::Timestamp;

/// How long one flush may wait for room in the send buffer. Long enough for a network card to take
/// a full buffer of default size, so that a burst is not cut off at the same place every time it is
/// repeated; far shorter than any ping interval, because nothing is received meanwhile. What finds
/// no room even then is dropped.
const PATIENCE: Duration = Duration::from_millis(5);

/// An answer that may only leave while a lease is in force.
struct Leased {
    before: Timestamp,
    to: SocketAddr,
    message: Message,
    request: Request,
}

/// See the module.
pub(crate) struct Outgoing<S, N> {
    pub(crate) transport: Transport,
    pub(crate) guard: Guard,
    pub(crate) socket: S,
    /// The process's clock.
    now: N,
    /// Reused: what one flush sends.
    ready: Vec<Datagram>,
    /// Reused: what the guard sends by itself.
    exchanges: Vec<Datagram>,
    leased: Vec<Leased>,
    /// Requests whose answers were held back, with their senders: the process must answer them in
    /// another way.
    pub(crate) late: Vec<(SocketAddr, Request)>,
    /// Datagrams that the kernel did not take.
    pub(crate) dropped: u64,
    /// Datagrams that it took, and their bytes. What was packed and withheld is in neither.
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
}

impl<S: DatagramSocket, N: Fn() -> Timestamp> Outgoing<S, N> {
    pub(crate) fn new(transport: Transport, guard: Guard, socket: S, now: N) -> Self {
        Outgoing {
            transport,
            guard,
            socket,
            now,
            ready: Vec::new(),
            exchanges: Vec::new(),
            leased: Vec::new(),
            late: Vec::new(),
            dropped: 0,
            sent: 0,
            sent_bytes: 0,
        }
    }

    /// Queues a message for the next flush.
    pub(crate) fn send(&mut self, now: Timestamp, to: SocketAddr, message: &Message) {
        self.guard.before_sending(now, to, message);
        self.transport.send(now, to, message);
    }

    /// Queues an answer for the next flush, if that comes before the given time.
    pub(crate) fn send_before(
        &mut self,
        before: Timestamp,
        to: SocketAddr,
        message: Message,
        request: Request,
    ) {
        self.leased.push(Leased { before, to, message, request });
    }

    /// Sends everything that is queued; fills `late` with what came too late.
    pub(crate) async fn flush(&mut self) {
        self.transport.flush(&mut self.ready);
        self.send_ready().await;
        let Some(before) = self.leased.iter().map(|leased| leased.before).min() else {
            return;
        };
        // The queue is empty now, so that the next flush yields datagrams with nothing in them but
        // leased answers, and all of them can be withheld.
        let time = (self.now)();
        for leased in &self.leased {
            self.transport.send(time, leased.to, &leased.message);
        }
        self.transport.flush(&mut self.ready);
        // The look at the clock proves that nobody else was primary when the values were read,
        // because it comes later than the reading:
        // 1. the process takes the time, is stopped, and another primary is activated and writes;
        // 2. the process goes on and reads what is now an old value;
        // 3. this look finds the lease over, and the value is never sent.
        // A pause *after* the look is harmless: the read took effect when the value was read, which
        // lies between the call and the answer however long the answer then takes. For the same
        // reason the later pieces of an answer that is larger than a datagram need no look: they
        // are bytes of the message whose first piece leaves here, fixed when the value was read,
        // and nobody can fetch them without that first piece.
        if (self.now)() < before {
            self.leased.clear();
            self.send_ready().await;
        } else {
            debug!(answers = self.leased.len(), "the lease ended before the answers could leave");
            self.transport.recycle(&mut self.ready);
            self.late.extend(self.leased.drain(..).map(|leased| (leased.to, leased.request)));
        }
    }

    async fn send_ready(&mut self) {
        let mut kernel = Kernel {
            socket: &self.socket,
            give_up: None,
            dropped: &mut self.dropped,
            sent: &mut self.sent,
            sent_bytes: &mut self.sent_bytes,
        };
        let time = (self.now)();
        for datagram in &self.ready {
            if let Some(bytes) = self.guard.seal(time, datagram) {
                kernel.send(bytes, datagram.to).await;
            }
        }
        self.guard.drain_into(&mut self.exchanges);
        for datagram in self.exchanges.drain(..) {
            kernel.send(&datagram.bytes, datagram.to).await;
        }
        self.transport.recycle(&mut self.ready);
    }
}

/// Takes datagrams as long as it has patience.
struct Kernel<'a, S> {
    socket: &'a S,
    give_up: Option<Instant>,
    dropped: &'a mut u64,
    sent: &'a mut u64,
    sent_bytes: &'a mut u64,
}

impl<S: DatagramSocket> Kernel<'_, S> {
    async fn send(&mut self, bytes: &[u8], to: SocketAddr) {
        while let Err(error) = self.socket.try_send_to(bytes, to) {
            // Also what tokio says of a new socket until it has first asked the kernel.
            if error.kind() == io::ErrorKind::WouldBlock {
                let until = *self.give_up.get_or_insert_with(|| Instant::now() + PATIENCE);
                if let Ok(Ok(())) = timeout_at(until, self.socket.writable()).await {
                    continue;
                }
            } else if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            *self.dropped += 1;
            let dropped = *self.dropped;
            debug!(%to, bytes = bytes.len(), %error, dropped, "datagram not sent");
            return;
        }
        *self.sent += 1;
        *self.sent_bytes += bytes.len() as u64;
    }
}
