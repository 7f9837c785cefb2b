//! What the client does with an answer.
//!
//! Kept here: an answer counts only once, for the request that it names, and only if its epoch is
//! not lower than one that is known. `not_primary` and `busy` are never final.

use std::net::SocketAddr;

use super::read::{Assembly, Opening, Progress, Stage};
use super::requests::{Purpose, Refusal};
use super::{Answer, ClientProcess, Completed, Ticket};
use crate::kv::command::Value;
use crate::protocol::Outbox;
use crate::protocol::message::{Ask, Outcome, Page, Reply, ViewReply};
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
            Outcome::Done => self.on_done(now, id, purpose, outbox),
            Outcome::Missing => match purpose {
                Purpose::FirstPage(ticket) => self.complete_read(now, id, ticket, None, outbox),
                // It was removed after the first page was read.
                Purpose::Page(ticket) => self.on_list_changed(ticket),
                Purpose::Open | Purpose::Write(_) => false,
            },
            Outcome::Page(page) => match purpose {
                Purpose::FirstPage(ticket) => {
                    self.on_first_page(now, id, ticket, (epoch, page), outbox)
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

    fn on_done(
        &mut self,
        now: Timestamp,
        id: RequestId,
        purpose: Purpose,
        outbox: &mut Outbox<Answer>,
    ) -> bool {
        let Purpose::Write(number) = purpose else { return false };
        self.requests.answered(now, id);
        if let Some(ticket) = self.session.answered(number) {
            self.calls.answer(ticket, Ok(Completed::Written), outbox);
        }
        true
    }

    fn complete_read(
        &mut self,
        now: Timestamp,
        id: RequestId,
        ticket: Ticket,
        list: Option<Vec<Value>>,
        outbox: &mut Outbox<Answer>,
    ) -> bool {
        self.requests.answered(now, id);
        self.calls.answer(ticket, Ok(Completed::List(list)), outbox);
        true
    }

    fn on_first_page(
        &mut self,
        now: Timestamp,
        id: RequestId,
        ticket: Ticket,
        (epoch, page): (Epoch, Page),
        outbox: &mut Outbox<Answer>,
    ) -> bool {
        match Assembly::begin(epoch, page) {
            Opening::Complete(list) => self.complete_read(now, id, ticket, Some(list), outbox),
            Opening::Long(assembly) => {
                self.requests.answered(now, id);
                if let Some(read) = self.calls.read_mut(ticket) {
                    read.stage = Stage::Rest(assembly);
                }
                self.ask_for_pages(now, ticket, outbox);
                true
            }
            Opening::Useless => false,
        }
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
        let Stage::Rest(assembly) = &mut read.stage else { return false };
        match assembly.take(epoch, id, page) {
            Progress::Complete(list) => self.complete_read(now, id, ticket, Some(list), outbox),
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
        let Stage::Rest(assembly) = &mut read.stage else { return };
        while let Some(page) = assembly.wanted() {
            // Whatever the first page had to see, this generation contains.
            let ask = Ask::Get { key: read.key.clone(), after: None, page: Some(page) };
            let wanted = (Purpose::Page(ticket), ask);
            let request = self.requests.send(now, &mut self.ids, to, wanted, outbox);
            assembly.asked(request, page);
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
