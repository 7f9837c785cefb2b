//! How the rest of a program speaks to the process that [`run`](crate::runtime::run) drives.
//!
//! [`Handle`] asks, [`Calls`] is the other end, inside the loop. The queue between them has no bound
//! of its own: it grows only with what callers have asked for at the same time. A caller that no
//! longer waits takes nothing back.

use std::fmt;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use crate::protocol::Process;
use crate::protocol::counts::Counts;
use crate::protocol::seal;
use crate::protocol::transport::Counters;
use crate::sequence::Sequence;
use crate::types::CallId;

/// What travels from a [`Handle`] to the loop.
pub(crate) enum Call<P: Process> {
    /// A command for the process.
    Command(P::Command, oneshot::Sender<P::Answer>),
    /// A question to the loop itself.
    Totals(oneshot::Sender<Totals>),
}

/// What has happened in one process, and in the loop that drives it, since the start.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Counted by the process.
    pub process: Counts,
    /// Counted by its transport.
    pub transport: Counters,
    /// Datagrams that the kernel did not take.
    pub unsent: u64,
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Bytes in them.
    pub sent_bytes: u64,
    /// Counted where datagrams are sealed and opened.
    pub seal: seal::Counters,
    /// Datagrams that found no room to wait for their turn.
    pub shed: u64,
}

/// Asks the running process. When the last clone is dropped, the loop ends.
pub struct Handle<P: Process> {
    sender: mpsc::UnboundedSender<Call<P>>,
}

impl<P: Process> Clone for Handle<P> {
    fn clone(&self) -> Self {
        Handle { sender: self.sender.clone() }
    }
}

impl<P: Process> fmt::Debug for Handle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl<P: Process> Handle<P> {
    /// Gives a command to the process and waits for the answer; none when the loop has ended, or
    /// ends before it answers. Dropping the future does not take the command back.
    pub async fn call(&self, command: P::Command) -> Option<P::Answer> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Call::Command(command, reply)).ok()?;
        answer.await.ok()
    }

    /// What has happened so far; none when the loop has ended.
    pub async fn totals(&self) -> Option<Totals> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Call::Totals(reply)).ok()?;
        answer.await.ok()
    }
}

/// The receiving end of every [`Handle`] of one process.
pub struct Calls<P: Process> {
    receiver: mpsc::UnboundedReceiver<Call<P>>,
    /// Callers that wait for the process.
    waiting: Sequence<CallId, oneshot::Sender<P::Answer>>,
    /// The id that was given last.
    last: CallId,
}

impl<P: Process> fmt::Debug for Calls<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

/// Both ends, to be made before the loop starts.
#[must_use]
pub fn channel<P: Process>() -> (Handle<P>, Calls<P>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Handle { sender }, Calls { receiver, waiting: Sequence::default(), last: CallId(0) })
}

impl<P: Process> Calls<P> {
    /// Waits for the next call; none when every handle is gone.
    pub(crate) async fn next(&mut self) -> Option<Call<P>> {
        self.receiver.recv().await
    }

    /// The next call, if there is one now; `Err` when every handle is gone.
    pub(crate) fn try_next(&mut self) -> Result<Option<Call<P>>, HandlesGone> {
        match self.receiver.try_recv() {
            Ok(call) => Ok(Some(call)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(HandlesGone),
        }
    }

    /// Notes who waits, and tells the name under which the process is to answer. What is asked of
    /// the loop is answered at once.
    pub(crate) fn register(
        &mut self,
        call: Call<P>,
        totals: impl FnOnce() -> Totals,
    ) -> Option<(CallId, P::Command)> {
        match call {
            Call::Command(command, reply) => {
                self.last = CallId(self.last.0 + 1);
                self.waiting.push(self.last, reply);
                Some((self.last, command))
            }
            Call::Totals(reply) => {
                // Whoever dropped its end no longer wants to know.
                let _ = reply.send(totals());
                None
            }
        }
    }

    /// Tells a caller, unless it has stopped waiting.
    pub(crate) fn answer(&mut self, call: CallId, answer: P::Answer) {
        match self.waiting.remove(call) {
            // Whoever dropped its end no longer wants to know.
            Some(reply) => drop(reply.send(answer)),
            None => debug!(?call, "answered twice, or never asked"),
        }
    }
}

/// Nobody is left who could ask anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HandlesGone;
