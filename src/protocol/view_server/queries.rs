//! What people and clients are shown: who is alive *now*, and what is waited for. A question for the
//! view is answered only when every member that would be shown has answered a ping sent after it was
//! asked, or is given up.

use std::net::SocketAddr;

use crate::protocol::message::{Message, ViewReply, ViewRequest};
use crate::protocol::view::{Member, Phase, Shown};
use crate::protocol::view_server::roster::Nonce;
use crate::protocol::view_server::{Answer, Mode, ServerStatus, Status, ViewServer};
use crate::protocol::{Effect, Outbox};
use crate::time::Timestamp;
use crate::types::CallId;

/// Who asked for a fresh view, and what it takes to answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Query {
    asker: Asker,
    /// The newest ping when it was asked: an answer to a later one is fresh.
    after: Nonce,
    /// Answered then at the latest.
    pub(super) until: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    Local(CallId),
    Remote(SocketAddr, ViewRequest),
}

/// Open queries that are kept; a client asks again anyway.
const QUERIES: usize = 1024;

impl ViewServer {
    pub(super) fn on_view_request(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        request: ViewRequest,
    ) {
        let asker = Asker::Remote(from, request);
        // A repetition replaces nothing: the earlier question is closer to its answer.
        if self.queries.len() < QUERIES && !self.queries.iter().any(|query| query.asker == asker) {
            self.open_query(now, asker);
        }
    }

    pub(super) fn open_query(&mut self, now: Timestamp, asker: Asker) {
        let until = self.query_end(now);
        self.queries.push(Query { asker, after: self.roster.last_nonce(), until });
        if let Mode::Running(record) = &self.mode {
            let members = record.members().into_iter().map(|member| &member.id);
            self.roster.hasten(now, &self.config.timing, members);
        }
    }

    pub(super) fn query_end(&self, now: Timestamp) -> Timestamp {
        now + self.timing().dead_after() + self.timing().ping_interval()
    }

    pub(super) fn answer_queries(&mut self, now: Timestamp, outbox: &mut Outbox<Answer>) {
        if self.queries.is_empty() {
            return;
        }
        let shown = self.shown(now);
        let queries = std::mem::take(&mut self.queries);
        for query in queries {
            if now < query.until && !self.is_settled(now, query.after) {
                self.queries.push(query);
                continue;
            }
            match query.asker {
                Asker::Local(call) => {
                    outbox.push(Effect::Answer(call, Answer::View(shown.clone())));
                }
                Asker::Remote(from, request) => {
                    outbox.send(from, self.view_reply(&request, shown.clone()));
                }
            }
        }
    }

    /// Whether every member that would be shown was heard from after this ping, or is given up, and
    /// nobody is about to take over.
    fn is_settled(&self, now: Timestamp, after: Nonce) -> bool {
        let Mode::Running(record) = &self.mode else { return false };
        if now < self.listens_until {
            return false;
        }
        let serves = record.phase == Phase::Active || record.keeps_primary();
        let view = &record.view;
        serves
            && std::iter::once(&view.primary).chain(&view.backup).all(|member| {
                self.roster.known(member).is_none_or(|known| known.answered > after)
                    || !self.roster.is_alive(now, self.timing(), member)
            })
    }

    pub(super) fn view_reply(&self, request: &ViewRequest, shown: Shown) -> Message {
        // Whoever merely announced itself could lead clients astray.
        let servers = self.roster.expected_addresses().collect();
        let (client, id) = (request.client, request.id);
        Message::ViewReply(ViewReply { client, id, shown, servers }.into())
    }

    /// What people and clients are shown: only who is alive and may do its work.
    pub(super) fn shown(&self, now: Timestamp) -> Shown {
        let waiting = self.waiting(now);
        let Mode::Running(record) = &self.mode else {
            return Shown { waiting, ..Shown::default() };
        };
        let alive = |member: &Member| self.roster.is_alive(now, self.timing(), member);
        let serves = record.phase == Phase::Active || record.keeps_primary();
        let active = record.phase == Phase::Active;
        let view = &record.view;
        Shown {
            view: view.id,
            primary: Some(view.primary.clone()).filter(|primary| serves && alive(primary)),
            backup: view.backup.clone().filter(|backup| active && alive(backup)),
            waiting,
        }
    }

    /// What the view server waits for when the cluster cannot serve, or has no second copy.
    pub(super) fn waiting(&self, now: Timestamp) -> Option<String> {
        let record = match &self.mode {
            Mode::Recovering(recovery) => return Some(recovery.waiting()),
            Mode::Running(record) => record,
        };
        let view = &record.view;
        let alive = |member: &Member| self.roster.is_alive(now, self.timing(), member);
        let names = |members: &[Member]| {
            let names: Vec<_> = members
                .iter()
                .map(|member| format!("{} (incarnation {})", member.id, member.incarnation))
                .collect();
            names.join(" or ")
        };
        if !record.eligible.is_empty() && !record.eligible.iter().any(alive) {
            return Some(format!(
                "no copy of the data answers: waiting for {}; if it is lost for good, `reset` \
                 begins an empty history",
                names(&record.eligible)
            ));
        }
        match record.phase {
            Phase::Proposed if record.keeps_primary() => {
                view.backup.as_ref().map(|backup| format!("waiting for {backup} to be synced"))
            }
            Phase::Proposed if !alive(&view.primary) => {
                let waited_for = record.last_primary.as_ref().unwrap_or(&view.primary);
                Some(format!("waiting for {} or {waited_for} to answer", view.primary))
            }
            Phase::Proposed => Some(format!("waiting for {} to take over", view.primary)),
            Phase::Active if view.backup.is_some() => None,
            Phase::Active => Some(match &view.joining {
                Some(joining) => format!("waiting for {joining} to receive the state"),
                None => "waiting for a spare to become backup".to_owned(),
            }),
        }
    }

    pub(super) fn status(&self, now: Timestamp) -> Status {
        let record = self.record();
        let servers = self.roster.iter().map(|(id, tracked)| {
            let incarnation = tracked.known.as_ref().map(|known| known.incarnation);
            let is = |member: &Member| member.id == *id && Some(member.incarnation) == incarnation;
            let view = record.map(|record| (&record.view, record.phase, record.keeps_primary()));
            let role = match view {
                Some((view, Phase::Active, _) | (view, _, true)) if is(&view.primary) => "primary",
                Some((view, _, _)) if is(&view.primary) => "proposed primary",
                Some((view, _, _)) if view.backup.as_ref().is_some_and(is) => "backup",
                Some((view, _, _)) if view.joining.as_ref().is_some_and(is) => "joining",
                Some(_) | None if incarnation.is_some_and(|it| self.is_drained(it)) => "drained",
                Some(_) | None => "spare",
            };
            ServerStatus {
                id: id.clone(),
                role: role.to_owned(),
                alive: tracked.is_alive(now, self.timing()),
                silent: tracked.known.as_ref().map(|known| now.since(known.heard)),
                incarnation,
                address: tracked.address,
                synced: record.is_some_and(|record| record.eligible.iter().any(is)),
            }
        });
        Status { shown: self.shown(now), servers: servers.collect() }
    }
}
