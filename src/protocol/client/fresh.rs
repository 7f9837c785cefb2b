//! Callers that want to see the view: asked of the view server until it answers.
//!
//! The view server answers only when every member it shows has been heard from, so the question is
//! repeated with patience. Finding the primary is another matter (`finder`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::requests::Ids;
use super::{Answer, Ticket};
use crate::protocol::Outbox;
use crate::protocol::message::{Message, ViewRequest};
use crate::time::Timestamp;
use crate::types::{Incarnation, RequestId};

/// The view server may need dead-after for its answer.
const PATIENCE: Duration = Duration::from_millis(100);

/// Views that are asked for, with their timers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct FreshViews {
    client: Incarnation,
    view_server: SocketAddr,
    asked: BTreeMap<RequestId, (Ticket, Timestamp)>,
    timers: BTreeSet<(Timestamp, RequestId)>,
}

impl FreshViews {
    pub(super) fn new(client: Incarnation, view_server: SocketAddr) -> Self {
        FreshViews { client, view_server, asked: BTreeMap::new(), timers: BTreeSet::new() }
    }

    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        ids: &mut Ids,
        ticket: Ticket,
        outbox: &mut Outbox<Answer>,
    ) -> RequestId {
        let id = ids.next();
        self.transmit(now, id, ticket, outbox);
        id
    }

    fn transmit(
        &mut self,
        now: Timestamp,
        id: RequestId,
        ticket: Ticket,
        outbox: &mut Outbox<Answer>,
    ) {
        let due = now + PATIENCE;
        self.asked.insert(id, (ticket, due));
        self.timers.insert((due, id));
        let request = ViewRequest { client: self.client, id, fresh: true };
        outbox.send(self.view_server, Message::ViewRequest(request));
    }

    pub(super) fn retransmit_due(&mut self, now: Timestamp, outbox: &mut Outbox<Answer>) {
        while let Some(&(due, id)) = self.timers.first()
            && due <= now
        {
            if let Some(ticket) = self.forget(id) {
                self.transmit(now, id, ticket, outbox);
            }
        }
    }

    pub(super) fn waiting(&self, id: RequestId) -> Option<Ticket> {
        self.asked.get(&id).map(|&(ticket, _)| ticket)
    }

    pub(super) fn forget(&mut self, id: RequestId) -> Option<Ticket> {
        let (ticket, due) = self.asked.remove(&id)?;
        self.timers.remove(&(due, id));
        Some(ticket)
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.first().map(|&(due, _)| due)
    }
}
