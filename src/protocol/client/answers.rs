//! What the client does with an answer.
//!
//! Kept here: an answer counts only once, for the request that it names, and only if its epoch is
//! not lower than one that is known. `not_primary` and `busy` are never final.

use std::net::SocketAddr;

use super::read::{Gathering, Progress, Stage, Wanted};
use super::requests::{Purpose, Refusal};
use super::{Answer, ClientProcess, Completed, Failure, FailureReason, Ticket};
use crate::protocol::Outbox;
use crate::protocol::message::{Outcome, Page, Reply, ViewReply};
use crate::time::Timestamp;
use crate::types::{Epoch, RequestId, SessionId};

impl ClientProcess {
    /// An answer to a question about the view.
    pub(super) fn on_view_reply(
        &mut self,
        now: Timestamp,
        reply: ViewReply,
        outbox: &mut Outbox<Answer>,
    ) {
        let waiting = self.fresh.waiting(reply.id);
        let sent = waiting.and_then(|ticket| self.calls.called(ticket));
        // That there is no primary is true whatever the epoch.
        let outdated = self.finder.is_outdated(reply.shown.view) && reply.shown.primary.is_some();
        let switch = self.finder.on_view_reply(now, &reply, sent);
        self.redirect(now, switch, outbox);
        if let Some(ticket) = waiting
            && !outdated
        {
            self.fresh.forget(reply.id);
            self.calls.answer(ticket, Ok(Completed::View(reply.shown.into())), outbox);
        }
    }

    /// An answer to a request that is in flight.
    pub(super) fn on_reply(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        reply: Reply,
        outbox: &mut Outbox<Answer>,
    ) {
        let Some(in_flight) = self.requests.get(reply.id) else { return };
        if self.finder.is_outdated(reply.view) {
            return;
        }
        let (purpose, answerer) = (in_flight.purpose, in_flight.answerer(from));
        let (id, epoch) = (reply.id, reply.view.epoch);
        let is_useful = match reply.outcome {
            Outcome::NotPrimary(shown) => {
                let refused_by_target = self.finder.target() == Some(answerer);
                match self.finder.on_refusal(now, answerer, &shown) {
                    Some(switch) => self.redirect(now, Some(switch), outbox),
                    None if refused_by_target => {
                        self.requests.put_off(now, id, Refusal::NotPrimary);
                    }
                    None => {}
                }
                return;
            }
            Outcome::Busy => {
                self.requests.put_off(now, id, Refusal::Busy);
                return;
            }
            Outcome::Opened(session) => self.on_opened(now, id, purpose, session),
            Outcome::Done => self.on_written(now, id, purpose, Ok(Completed::Written), outbox),
            Outcome::Number(number) => {
                self.on_written(now, id, purpose, Ok(Completed::Number(number)), outbox)
            }
            Outcome::Mismatch(length) => {
                self.on_written(now, id, purpose, Ok(Completed::Mismatch(length)), outbox)
            }
            // Nothing was changed, and this is what the session remembers of the request.
            Outcome::NotANumber => {
                let failure = Failure::not_executed(FailureReason::NotANumber);
                self.on_written(now, id, purpose, Err(failure), outbox)
            }
            Outcome::Overflow => {
                let failure = Failure::not_executed(FailureReason::Overflow);
                self.on_written(now, id, purpose, Err(failure), outbox)
            }
            Outcome::OutOfMemory => {
                let failure = Failure::not_executed(FailureReason::OutOfMemory);
                self.on_written(now, id, purpose, Err(failure), outbox)
            }
            Outcome::Length(length) => match self.wanted(purpose) {
                Some((ticket, Wanted::Length(_))) => {
                    self.complete_read(now, id, ticket, Completed::Length(length), outbox)
                }
                Some((ticket, Wanted::Existence(_))) => {
                    self.complete_read(now, id, ticket, Completed::Exists(length > 0), outbox)
                }
                Some((
                    _,
                    Wanted::List(_) | Wanted::Lists(_) | Wanted::Keys(..) | Wanted::Snapshot(_),
                ))
                | None => false,
            },
            Outcome::Keys(page) => match self.wanted(purpose) {
                // A page without keys before the last one would be asked for for ever.
                Some((ticket, Wanted::Keys(..))) if !page.keys.is_empty() || !page.more => {
                    self.complete_read(now, id, ticket, Completed::Keys(page), outbox)
                }
                Some(_) | None => false,
            },
            Outcome::Snapshot(page) => match self.wanted(purpose) {
                Some((ticket, Wanted::Snapshot(_))) => {
                    let completed = Completed::Snapshot(Box::new(page));
                    self.complete_read(now, id, ticket, completed, outbox)
                }
                Some(_) | None => false,
            },
            Outcome::SnapshotRefused(refusal) => match self.wanted(purpose) {
                Some((ticket, Wanted::Snapshot(_))) => {
                    let failure = Failure::not_executed(FailureReason::NoSnapshot(refusal));
                    self.requests.answered(now, id);
                    self.calls.answer(ticket, Err(failure), outbox);
                    true
                }
                Some(_) | None => false,
            },
            Outcome::Pages(pages) => match purpose {
                Purpose::FirstPage(ticket) => {
                    self.on_first_pages(now, id, ticket, (epoch, pages), outbox)
                }
                Purpose::Open | Purpose::Write(_) | Purpose::Page(_) => false,
            },
            Outcome::Missing => match purpose {
                Purpose::FirstPage(ticket) => {
                    self.on_first_pages(now, id, ticket, (epoch, vec![None]), outbox)
                }
                // It was removed after the first page was read.
                Purpose::Page(ticket) => self.on_list_changed(ticket),
                Purpose::Open | Purpose::Write(_) => false,
            },
            Outcome::Page(page) => match purpose {
                Purpose::FirstPage(ticket) => {
                    self.on_first_pages(now, id, ticket, (epoch, vec![Some(page)]), outbox)
                }
                Purpose::Page(ticket) => self.on_page(now, id, ticket, (epoch, page), outbox),
                Purpose::Open | Purpose::Write(_) => false,
            },
            Outcome::GenerationChanged => match purpose {
                Purpose::Page(ticket) => self.on_list_changed(ticket),
                Purpose::Open | Purpose::Write(_) | Purpose::FirstPage(_) => false,
            },
            Outcome::SessionExpired => self.on_session_expired(now, id, purpose, outbox),
        };
        if is_useful {
            let switch = self.finder.on_proof(now, answerer, reply.view);
            self.redirect(now, switch, outbox);
        } else {
            // Nothing that the server should have said. Asked again, but not in a hurry.
            self.requests.put_off(now, id, Refusal::Busy);
        }
    }

    fn on_opened(
        &mut self,
        now: Timestamp,
        id: RequestId,
        purpose: Purpose,
        session: SessionId,
    ) -> bool {
        if purpose != Purpose::Open {
            return false;
        }
        self.requests.answered(now, id);
        self.session.opened(session);
        true
    }

    fn on_written(
        &mut self,
        now: Timestamp,
        id: RequestId,
        purpose: Purpose,
        answer: Answer,
        outbox: &mut Outbox<Answer>,
    ) -> bool {
        let Purpose::Write(number) = purpose else { return false };
        self.requests.answered(now, id);
        if let Some(ticket) = self.session.answered(number) {
            self.calls.answer(ticket, answer, outbox);
        }
        true
    }

    /// Whom a first question is for, and what it is to find out.
    fn wanted(&mut self, purpose: Purpose) -> Option<(Ticket, &Wanted)> {
        let Purpose::FirstPage(ticket) = purpose else { return None };
        Some((ticket, &self.calls.read_mut(ticket)?.wanted))
    }

    fn complete_read(
        &mut self,
        now: Timestamp,
        id: RequestId,
        ticket: Ticket,
        completed: Completed,
        outbox: &mut Outbox<Answer>,
    ) -> bool {
        self.requests.answered(now, id);
        self.calls.answer(ticket, Ok(completed), outbox);
        true
    }

    fn on_first_pages(
        &mut self,
        now: Timestamp,
        id: RequestId,
        ticket: Ticket,
        (epoch, pages): (Epoch, Vec<Option<Page>>),
        outbox: &mut Outbox<Answer>,
    ) -> bool {
        let Some(read) = self.calls.read_mut(ticket) else { return false };
        let Some(mut gathering) = Gathering::begin(epoch, &read.wanted, pages) else {
            return false;
        };
        if gathering.is_complete() {
            let completed = gathering.take_answer(&read.wanted);
            return self.complete_read(now, id, ticket, completed, outbox);
        }
        read.stage = Stage::Rest(gathering);
        self.requests.answered(now, id);
        self.ask_for_pages(now, ticket, outbox);
        true
    }

    fn on_page(
        &mut self,
        now: Timestamp,
        id: RequestId,
        ticket: Ticket,
        (epoch, page): (Epoch, Page),
        outbox: &mut Outbox<Answer>,
    ) -> bool {
        let Some(read) = self.calls.read_mut(ticket) else { return false };
        let Stage::Rest(gathering) = &mut read.stage else { return false };
        match gathering.take(epoch, id, page) {
            Progress::Complete => {
                let completed = gathering.take_answer(&read.wanted);
                self.complete_read(now, id, ticket, completed, outbox)
            }
            Progress::Incomplete => {
                self.requests.answered(now, id);
                self.ask_for_pages(now, ticket, outbox);
                true
            }
            Progress::Changed => self.on_list_changed(ticket),
            Progress::Useless => false,
        }
    }

    fn ask_for_pages(&mut self, now: Timestamp, ticket: Ticket, outbox: &mut Outbox<Answer>) {
        let Some(to) = self.finder.target() else { return };
        let Some(read) = self.calls.read_mut(ticket) else { return };
        let Stage::Rest(gathering) = &mut read.stage else { return };
        while let Some((place, page)) = gathering.wanted()
            && let Some(ask) = Gathering::ask(&read.wanted, place, page)
        {
            let wanted = (Purpose::Page(ticket), ask);
            let request = self.requests.send(now, &mut self.ids, to, wanted, outbox);
            gathering.asked(request, place, page);
        }
    }

    fn on_list_changed(&mut self, ticket: Ticket) -> bool {
        self.read_again(ticket, false);
        true
    }

    fn on_session_expired(
        &mut self,
        now: Timestamp,
        id: RequestId,
        purpose: Purpose,
        outbox: &mut Outbox<Answer>,
    ) -> bool {
        match purpose {
            Purpose::Write(_) => {
                self.requests.answered(now, id);
                self.give_up_session(outbox);
                true
            }
            Purpose::FirstPage(ticket) => {
                let Some(read) = self.calls.read_mut(ticket) else { return false };
                let Some((session, _)) = read.after else { return false };
                self.requests.answered(now, id);
                if self.session.id() == Some(session) {
                    self.give_up_session(outbox);
                }
                self.read_again(ticket, true);
                true
            }
            Purpose::Open | Purpose::Page(_) => false,
        }
    }
}
