//! The hand that plays the view server and the clients: records, pings, requests.

use super::{Bench, address, client, plain_client};
use crate::protocol::message::{
    Ask, ClientRequest, Message, Outcome, Ping, Pong, ReportKind, Request,
};
use crate::protocol::view::{Member, Phase, Record};
use crate::types::{Incarnation, RequestId, SessionId};

impl Bench {
    // The view server's records, as its rules make them.

    fn next(&mut self, phase: Phase, primary: Member) -> &mut Record {
        let id = &mut self.record.view.id;
        id.number += 1;
        self.record.phase = phase;
        self.record.view.primary = primary;
        self.record.view.backup = None;
        self.record.view.joining = None;
        self.record.view.genesis = false;
        &mut self.record
    }

    pub fn activate(&mut self) {
        let record = &mut self.record;
        record.phase = Phase::Active;
        let view = &record.view;
        record.eligible = std::iter::once(&view.primary).chain(&view.backup).cloned().collect();
        record.last_primary = Some(view.primary.clone());
    }

    pub fn begin(&mut self, primary: usize) {
        let member = self.member(primary);
        let record = self.next(Phase::Proposed, member);
        record.view.genesis = true;
        record.view.since = record.view.id;
        record.eligible.clear();
        record.last_primary = None;
        self.tell(primary);
        self.activate();
        self.tell(primary);
        self.settle();
    }

    pub fn alone(&mut self, primary: usize) {
        let member = self.member(primary);
        self.next(Phase::Active, member);
        self.activate();
    }

    pub fn promote(&mut self, backup: usize) {
        let member = self.member(backup);
        self.next(Phase::Proposed, member);
    }

    pub fn join(&mut self, joiner: usize) {
        let (primary, joiner) = (self.record.view.primary.clone(), self.member(joiner));
        let record = self.next(Phase::Active, primary);
        record.view.joining = Some(joiner);
        record.view.since = record.view.id;
        self.activate();
    }

    pub fn propose_pair(&mut self, backup: usize) {
        let (primary, backup) = (self.record.view.primary.clone(), self.member(backup));
        let record = self.next(Phase::Proposed, primary);
        record.view.backup = Some(backup);
    }

    pub fn primary_index(&self) -> usize {
        let primary = &self.record.view.primary;
        (1..=self.servers.len()).find(|index| self.member(*index) == *primary).unwrap()
    }

    /// A whole join: transfer, caught up, proposed, synced, active.
    pub fn join_fully(&mut self, joiner: usize) {
        let primary = self.primary_index();
        self.join(joiner);
        self.tell_all();
        self.run_until(|bench| bench.reports(primary).contains(&ReportKind::CaughtUp));
        self.propose_pair(joiner);
        self.tell_all();
        self.run_until(|bench| bench.reports(primary).contains(&ReportKind::Synced));
        self.activate();
        self.tell_all();
        self.settle();
    }

    /// The backup takes over from a primary that is gone.
    pub fn fail_over(&mut self, dead: usize, backup: usize) {
        self.down.insert(dead);
        self.promote(backup);
        self.tell(backup);
        self.activate();
        self.tell(backup);
        self.settle();
    }

    // Pings.

    pub fn ping_of(&mut self, index: usize, record: Option<Record>) -> Ping {
        self.nonce += 1;
        Ping {
            from: Incarnation(9),
            to: Some(self.member(index).incarnation),
            nonce: self.nonce,
            timing: self.timing,
            record,
            promise: None,
            heard: None,
            grants_lease: false,
            superseded: false,
        }
    }

    /// Delivers a ping; the pong, unless the server is not reached by it.
    pub fn ping(&mut self, index: usize, ping: Ping) -> Option<Pong> {
        if self.down.contains(&index) {
            return None;
        }
        let from = address(0);
        self.handle(index, from, Message::Ping(Box::new(ping)));
        self.pongs.pop()
    }

    /// A ping with the newest record.
    pub fn tell(&mut self, index: usize) -> Option<Pong> {
        let record = self.record.clone();
        let ping = self.ping_of(index, Some(record));
        self.ping(index, ping)
    }

    pub fn tell_all(&mut self) {
        for index in 1..=self.servers.len() {
            self.tell(index);
        }
    }

    pub fn reports(&mut self, index: usize) -> Vec<ReportKind> {
        let ping = self.ping_of(index, None);
        let pong = self.ping(index, ping).unwrap();
        pong.reports.iter().map(|report| report.kind).collect()
    }

    // Clients.

    pub fn ask(&mut self, index: usize, ask: Ask) -> RequestId {
        let id = RequestId(self.requests.len() as u64 + 1);
        let request = Request { client: Incarnation(77), id, ask };
        self.requests.insert(id, request.clone());
        if !self.down.contains(&index) {
            self.handle(index, client(), Message::Request(request));
        }
        id
    }

    /// Another client asks.
    pub fn ask_as(&mut self, index: usize, who: u64, id: RequestId, ask: Ask) {
        let request = Request { client: Incarnation(who), id, ask };
        self.handle(index, client(), Message::Request(request));
    }

    /// The same bytes once more.
    pub fn resend(&mut self, index: usize, id: RequestId) {
        let request = self.requests[&id].clone();
        self.handle(index, client(), Message::Request(request));
    }

    pub fn outcomes(&self, id: RequestId) -> Vec<&Outcome> {
        self.replies.iter().filter(|(of, _)| *of == id).map(|(_, outcome)| outcome).collect()
    }

    pub fn outcome(&self, id: RequestId) -> Option<&Outcome> {
        self.outcomes(id).last().copied()
    }

    pub fn open(&mut self, index: usize) -> SessionId {
        self.nonce += 1;
        let nonce = self.nonce;
        let id = self.ask(index, Ask::Open { nonce });
        self.settle();
        match self.outcome(id) {
            Some(Outcome::Opened(session)) => *session,
            other => panic!("not opened: {other:?}"),
        }
    }

    /// Asks and lets everything that follows happen at once.
    pub fn ask_now(&mut self, index: usize, ask: Ask) -> Option<Outcome> {
        let id = self.ask(index, ask);
        self.settle();
        self.outcome(id).cloned()
    }

    pub fn plain(&mut self, index: usize, command: &str, key: &str, value: Option<&str>) {
        let (command, key) = (command.to_owned(), Some(key.into()));
        let value = value.map(Into::into);
        self.plain_request(index, ClientRequest { command, key, value, ..Default::default() });
    }

    /// Sends a request in the plain form.
    pub fn plain_request(&mut self, index: usize, request: ClientRequest) {
        self.handle(index, plain_client(), Message::ClientRequest(request));
    }
}
