//! The callers that wait, in the order in which they came, and how far each has got.
//!
//! Kept here: a call is answered by being taken out of the table, hence exactly once. The queues
//! hold what was never sent.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use super::read::{Read, Stage, Wanted};
use super::{Answer, Ticket};
use crate::kv::command::Command;
use crate::protocol::{Effect, Outbox};
use crate::sequence::Sequence;
use crate::time::{Timestamp, earlier};
use crate::types::{CallId, RequestId, RequestNumber, SessionId};

/// A caller that waits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Call {
    pub(super) call: CallId,
    pub(super) called: Timestamp,
    deadline: Timestamp,
    pub(super) task: Task,
}

/// How far a call has got.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Task {
    /// A write that was never sent to anybody. It has no number yet. Left when it is sent.
    QueuedWrite(Command),
    /// A write of the present session that was sent at least once.
    SentWrite(RequestNumber),
    /// A read that is to be sent, once more perhaps.
    QueuedRead {
        /// What to read.
        wanted: Wanted,
        /// The session whose writes it was to see is gone.
        alone: bool,
    },
    /// A read that was sent. Left when it must begin again.
    Reading(Read),
    /// The view is asked for, with this request.
    View(RequestId),
}

/// Tickets in rising order. Nearly always one is added at the end and taken from the beginning.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Queue(VecDeque<Ticket>);

impl Queue {
    fn first(&self) -> Option<Ticket> {
        self.0.front().copied()
    }

    fn insert(&mut self, ticket: Ticket) {
        if let Err(place) = self.0.binary_search(&ticket) {
            self.0.insert(place, ticket);
        }
    }

    /// Whether it was there.
    fn remove(&mut self, ticket: Ticket) -> bool {
        self.0.binary_search(&ticket).is_ok_and(|place| self.0.remove(place).is_some())
    }
}

/// All callers that wait.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Calls {
    last: u64,
    calls: Sequence<Ticket, Call>,
    /// No deadline is earlier. Known exactly only after a look at all calls, which is rarely needed:
    /// nearly every call ends long before its deadline.
    no_deadline_before: Option<Timestamp>,
    queued_writes: Queue,
    queued_reads: Queue,
    /// How many calls are reads that were sent.
    reading: usize,
    /// How many calls ask for the view.
    views: usize,
}

impl Calls {
    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.last += 1;
        Ticket(self.last)
    }

    pub(super) fn begin(
        &mut self,
        now: Timestamp,
        ticket: Ticket,
        call: CallId,
        patience: Duration,
        task: Task,
    ) {
        match &task {
            Task::QueuedWrite(_) => {
                self.queued_writes.insert(ticket);
            }
            Task::QueuedRead { .. } => {
                self.queued_reads.insert(ticket);
            }
            Task::View(_) => self.views += 1,
            Task::SentWrite(_) | Task::Reading(_) => {}
        }
        let deadline = now + patience;
        self.no_deadline_before = earlier(self.no_deadline_before, Some(deadline));
        self.calls.push(ticket, Call { call, called: now, deadline, task });
    }

    /// Takes a call out: its caller is to be answered now.
    pub(super) fn finish(&mut self, ticket: Ticket) -> Option<Call> {
        let call = self.calls.remove(ticket)?;
        if self.calls.is_empty() {
            self.no_deadline_before = None;
        }
        match &call.task {
            Task::QueuedWrite(_) => {
                self.queued_writes.remove(ticket);
            }
            Task::QueuedRead { .. } => {
                self.queued_reads.remove(ticket);
            }
            Task::Reading(_) => self.reading -= 1,
            Task::View(_) => self.views -= 1,
            Task::SentWrite(_) => {}
        }
        Some(call)
    }

    /// Answers a call whose requests are all answered or forgotten.
    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer, outbox: &mut Outbox<Answer>) {
        if let Some(call) = self.finish(ticket) {
            outbox.push(Effect::Answer(call.call, answer));
        }
    }

    /// The calls whose deadlines are over. They are to be taken out now.
    pub(super) fn overdue(&mut self, now: Timestamp) -> Vec<Ticket> {
        if self.no_deadline_before.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        let deadlines = self.calls.iter().map(|(_, call)| call.deadline);
        self.no_deadline_before = deadlines.filter(|deadline| *deadline > now).min();
        let overdue = self.calls.iter().filter(|(_, call)| call.deadline <= now);
        overdue.map(|(ticket, _)| ticket).collect()
    }

    /// May be earlier than the first deadline.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.no_deadline_before
    }

    /// When the caller came.
    pub(super) fn called(&self, ticket: Ticket) -> Option<Timestamp> {
        self.calls.get(ticket).map(|call| call.called)
    }

    /// Whether any caller waits for something that only the primary can give.
    pub(super) fn need_primary(&self) -> bool {
        self.calls.len() > self.views
    }

    /// The next write to be sent.
    pub(super) fn first_write(&self) -> Option<Ticket> {
        self.queued_writes.first()
    }

    /// The next write is sent now, under this number. Returns what is to be written, for whom.
    pub(super) fn take_write(&mut self, number: RequestNumber) -> Option<(Ticket, Command)> {
        let ticket = self.queued_writes.first()?;
        self.queued_writes.remove(ticket);
        match mem::replace(&mut self.calls.get_mut(ticket)?.task, Task::SentWrite(number)) {
            Task::QueuedWrite(command) => Some((ticket, command)),
            Task::SentWrite(_) | Task::QueuedRead { .. } | Task::Reading(_) | Task::View(_) => {
                unreachable!("the queue holds writes that were not sent")
            }
        }
    }

    /// The next read to be sent: what it is about, and whether it must see no session's writes.
    pub(super) fn first_read(&self) -> Option<(Ticket, Wanted, bool)> {
        let ticket = self.queued_reads.first()?;
        match &self.calls.get(ticket)?.task {
            Task::QueuedRead { wanted, alone } => Some((ticket, wanted.clone(), *alone)),
            Task::QueuedWrite(_) | Task::SentWrite(_) | Task::Reading(_) | Task::View(_) => None,
        }
    }

    pub(super) fn read_sent(&mut self, ticket: Ticket, read: Read) {
        if self.queued_reads.remove(ticket)
            && let Some(call) = self.calls.get_mut(ticket)
        {
            call.task = Task::Reading(read);
            self.reading += 1;
        }
    }

    /// How many reads are sent and not answered.
    pub(super) fn reading(&self) -> usize {
        self.reading
    }

    /// A read that was sent.
    pub(super) fn read_mut(&mut self, ticket: Ticket) -> Option<&mut Read> {
        match &mut self.calls.get_mut(ticket)?.task {
            Task::Reading(read) => Some(read),
            Task::QueuedWrite(_) | Task::SentWrite(_) | Task::QueuedRead { .. } | Task::View(_) => {
                None
            }
        }
    }

    /// Lets a read begin again. Returns its requests, which are of no use any more.
    pub(super) fn requeue_read(&mut self, ticket: Ticket, alone: bool) -> Vec<RequestId> {
        let Some(call) = self.calls.get_mut(ticket) else { return Vec::new() };
        match &call.task {
            Task::Reading(read) => {
                let requests = read.requests();
                call.task = Task::QueuedRead { wanted: read.wanted.clone(), alone };
                self.queued_reads.insert(ticket);
                self.reading -= 1;
                requests
            }
            Task::QueuedWrite(_) | Task::SentWrite(_) | Task::QueuedRead { .. } | Task::View(_) => {
                Vec::new()
            }
        }
    }

    /// Reads whose first page is to see writes of this session.
    pub(super) fn reads_after(&self, session: SessionId) -> Vec<Ticket> {
        let waits_for = |task: &Task| match task {
            Task::Reading(Read { after: Some((id, _)), stage: Stage::First(_), .. }) => {
                *id == session
            }
            Task::Reading(_)
            | Task::QueuedWrite(_)
            | Task::SentWrite(_)
            | Task::QueuedRead { .. }
            | Task::View(_) => false,
        };
        self.calls
            .iter()
            .filter(|(_, call)| waits_for(&call.task))
            .map(|(ticket, _)| ticket)
            .collect()
    }
}
