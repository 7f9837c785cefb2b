//! The kv server: one copy of the store, in one of four roles.
//!
//! ```text
//!            +--------------------- any view that does not name it ---------------------+
//!            v                                                                           |
//!          Idle --- view names it joining ---> Joining --- view names it backup ---> Backup
//!            |                                                                           |
//!            +--- active view names it primary ---> Primary <--- active view names it ---+
//! ```
//!
//! Kept here: a role is entered and left only by adopting a record; a copy moves with the role, so
//! that a server without one cannot be promoted by mistake (I15); once a newer view is adopted,
//! nothing of an older one is acknowledged (I7); messages whose link does not match are dropped
//! before they touch state (I10).
//!
//! Reading order: `membership`, `replication` and `backup`, `state_transfer`, `intake`, `reads`,
//! `plain`, `primary`, then this file, then `queries`.

mod backup;
mod intake;
mod membership;
mod plain;
mod primary;
mod progress;
mod queries;
mod reads;
mod replication;
mod snapshots;
mod state_transfer;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use tracing::{error, info, warn};

use crate::config::Limits;
use crate::kv::replica::Replica;
use crate::protocol::counts::{Arrival, Fate};
use crate::protocol::message::{
    Ack, ClientRequest, Link, Message, NewerView, Offer, Outcome, Ping, ProbeAnswer, Replicate,
    Report, ReportKind, Speaker, ViewReply,
};
use crate::protocol::server::backup::Backup;
use crate::protocol::server::intake::{Asker, plain_failure};
use crate::protocol::server::membership::{Membership, Why};
use crate::protocol::server::plain::{PlainRequest, plain_kind, plain_request};
use crate::protocol::server::primary::{Primary, Scope};
use crate::protocol::server::state_transfer::Joining;
use crate::protocol::sources::{self, Sources};
use crate::protocol::view::{Member, Phase, Record, Shown, Stamp};
use crate::protocol::{Effect, Outbox, Process};
use crate::time::Timestamp;
use crate::types::{CallId, Incarnation, ServerId, ViewId};

pub use crate::protocol::server::queries::{Answer, Command, Measures, Position, Status};

/// How a kv server is set up.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ServerConfig {
    /// Its name.
    pub id: ServerId,
    /// Random bits drawn at process start. A server may go on to the next one by itself, see
    /// `membership`.
    pub incarnation: Incarnation,
    /// Where it announces itself.
    pub view_server: SocketAddr,
    /// Where others reach it, if it knows better than the source address of its datagrams shows.
    pub advertise: Option<SocketAddr>,
    /// Bounds.
    pub limits: Limits,
    /// From where the messages of servers count.
    pub sources: Sources,
}

/// A look inside, for checkers of invariants.
#[derive(Clone, Debug)]
pub struct Inspection<'a> {
    /// The newest record adopted.
    pub record: Option<&'a Record>,
    /// The complete copy, if this server holds one.
    pub replica: Option<&'a Replica>,
    /// Lineage of that copy, where it has one.
    pub since: Option<ViewId>,
    /// It answers clients.
    pub is_serving: bool,
}

/// A complete copy that no role needs at present.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Copy {
    replica: Replica,
    /// None for a copy whose log may have gone its own way: it cannot simply follow again.
    since: Option<ViewId>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Role {
    /// A spare; or a former or proposed primary or backup, with its copy.
    Idle(Option<Copy>),
    /// See [`Joining`].
    Joining(Joining),
    /// See [`Backup`].
    Backup(Backup),
    /// See [`Primary`].
    Primary(Box<Primary>),
}

/// The process.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Server {
    config: ServerConfig,
    membership: Membership,
    role: Role,
    /// When anything happened last: a gap shows that this process was stopped.
    last_event: Timestamp,
}

type Out = Outbox<Answer>;

impl Server {
    /// A server that starts at `now` and holds nothing.
    #[must_use]
    pub fn new(now: Timestamp, config: ServerConfig) -> Self {
        Server { config, membership: Membership::new(now), role: Role::Idle(None), last_event: now }
    }

    /// Who it is now.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.config.incarnation
    }

    /// A look inside, for checkers of invariants.
    #[must_use]
    pub fn inspect(&self) -> Inspection<'_> {
        let (replica, since) = match &self.role {
            Role::Idle(None) => (None, None),
            Role::Idle(Some(copy)) => (Some(&copy.replica), copy.since),
            Role::Joining(joining) => (joining.replica(), joining.following().map(Backup::since)),
            Role::Backup(backup) => (Some(backup.replica()), Some(backup.since())),
            Role::Primary(primary) => (Some(primary.replica()), None),
        };
        let is_serving = matches!(self.role, Role::Primary(_));
        Inspection { record: self.membership.record(), replica, since, is_serving }
    }

    /// The history and view this server is in; the defaults before the first one.
    fn view(&self) -> ViewId {
        self.membership.record().map_or(ViewId::default(), |record| record.view.id)
    }

    fn holds_copy(&self) -> bool {
        match &self.role {
            Role::Idle(copy) => copy.is_some(),
            Role::Joining(joining) => joining.replica().is_some(),
            Role::Backup(_) | Role::Primary(_) => true,
        }
    }

    fn begin_turn(&mut self, now: Timestamp) {
        if now.since(self.last_event) > self.membership.timing().pause_gap()
            && let Role::Primary(primary) = &mut self.role
        {
            primary.forgive(now);
        }
        self.last_event = now;
    }

    /// The primary and what it needs to know, if this server is in that role.
    fn primary(&mut self, now: Timestamp) -> Option<(&mut Primary, Scope<'_>)> {
        let Role::Primary(primary) = &mut self.role else { return None };
        let record = self.membership.record()?;
        let scope = Scope {
            now,
            me: self.config.incarnation,
            limits: &self.config.limits,
            timing: self.membership.timing(),
            record,
        };
        Some((primary, scope))
    }

    /// Adopts a record that membership has accepted: the one way in and out of a role.
    fn adopt(&mut self, now: Timestamp, record: Record, outbox: &mut Out) {
        let former = std::mem::replace(&mut self.role, Role::Idle(None));
        let was = role_name(self.config.incarnation, &former, self.membership.record());
        let old_view = self.view();
        self.membership.adopt(record.clone());
        outbox.counts.adopted_records += 1;
        self.role = self.role_in(now, former, &record);
        if let Some((primary, scope)) = self.primary(now) {
            primary.enter_view(&scope, outbox);
        }
        let is = role_name(self.config.incarnation, &self.role, Some(&record));
        info!(
            event = if was == is { "view_adopted" } else { "role_change" },
            old_view = %old_view,
            new_view = %record.view.id,
            phase = ?record.phase,
            old_role = was,
            role = is,
            "{was} -> {is}"
        );
    }

    fn role_in(&self, now: Timestamp, former: Role, record: &Record) -> Role {
        let me = |member: &Member| member.incarnation == self.config.incarnation;
        let view = &record.view;
        let is_active = record.phase == Phase::Active;
        if me(&view.primary) {
            if is_active && view.genesis {
                // The one place where a primary wipes: an empty history begins.
                return Role::Primary(Box::new(Primary::activate(Replica::default())));
            }
            if !is_active && !record.keeps_primary() {
                return Role::Idle(into_copy(former));
            }
            if let Role::Primary(primary) = former {
                return Role::Primary(primary);
            }
            return match into_copy(former) {
                Some(copy) => Role::Primary(Box::new(Primary::activate(copy.replica))),
                None => {
                    error!(
                        event = "copy_missing",
                        view = %view.id,
                        "named primary without a copy; this is a bug"
                    );
                    Role::Idle(None)
                }
            };
        }
        if view.backup.as_ref().is_some_and(me) {
            return self.backup_in(former, record);
        }
        // To join can mean to wipe, and that only a view in force may ask for (D47).
        if is_active && view.joining.as_ref().is_some_and(me) {
            return match former {
                Role::Joining(joining) if joining.since() == view.since => Role::Joining(joining),
                former
                @ (Role::Idle(_) | Role::Joining(_) | Role::Backup(_) | Role::Primary(_)) => {
                    let copy = into_copy(former);
                    Role::Joining(Joining::new(now, view.since, copy.map(|copy| copy.replica)))
                }
            };
        }
        Role::Idle(into_copy(former))
    }

    /// A backup's copy must have grown in this view's lineage. One that was deaf while it was left
    /// out and joined again has a log of its own, into which the next operation may fit by
    /// accident (D46): such a copy does not follow; the primary sees no progress and replaces it.
    fn backup_in(&self, former: Role, record: &Record) -> Role {
        let since = record.view.since;
        match former {
            Role::Backup(mut backup) if backup.since() == since => {
                backup.enter_view();
                Role::Backup(backup)
            }
            former @ (Role::Idle(_) | Role::Joining(_) | Role::Backup(_) | Role::Primary(_)) => {
                match into_copy(former) {
                    Some(Copy { replica, since: Some(copied) }) if copied == since => {
                        Role::Backup(Backup::new(replica, since))
                    }
                    other => Role::Idle(other),
                }
            }
        }
    }

    fn on_ping(&mut self, now: Timestamp, from: SocketAddr, ping: &Ping, outbox: &mut Out) {
        if ping.to != Some(self.config.incarnation) {
            // Meant for a former process at this address, or for whoever is here.
            let announce = self.membership.announce_early(now, &self.config);
            outbox_send_all(outbox, self.config.view_server, announce);
            return;
        }
        let me = self.config.incarnation;
        let pinged = self.membership.on_ping(now, me, ping, self.holds_copy());
        if let Some(why) = pinged.begin_again {
            return self.begin_again(now, why);
        }
        if let Some(record) = pinged.adopt {
            self.adopt(now, record, outbox);
        }
        let view = self.view();
        let promised = self.membership.promised();
        if let Some(until) = pinged.lease
            && ping.record.as_ref().is_some_and(|record| record.view.id == view)
            && promised == view.epoch
            && let Role::Primary(primary) = &mut self.role
        {
            primary.grant_lease(until);
        }
        if promised != view.epoch
            && let Role::Primary(primary) = &mut self.role
        {
            primary.drop_lease();
        }
        let reports = self.reports(now);
        let holds_copy = self.holds_copy();
        let pong = self.membership.pong(now, &self.config, ping, holds_copy, reports);
        outbox.send(from, pong);
    }

    /// What a restart does: another incarnation, which knows nothing and has promised nothing.
    fn begin_again(&mut self, now: Timestamp, why: Why) {
        let former = self.config.incarnation;
        let incarnation = former.next();
        *self = Server::new(now, ServerConfig { incarnation, ..self.config.clone() });
        let reason = match why {
            Why::Promised => "promised to follow a view server that is gone, and holds no data",
            Why::Superseded => "another process has borne this id, and the cluster went on with it",
        };
        warn!(
            event = "incarnation_renewed",
            %former,
            %incarnation,
            "{reason}: begins again as another incarnation, without data"
        );
    }

    fn reports(&mut self, now: Timestamp) -> Vec<Report> {
        if let Some((primary, scope)) = self.primary(now) {
            return primary.reports(&scope);
        }
        // Synced is known to the backup as well, and the primary may not live to say it.
        let about = self.config.incarnation;
        let report = Report { view: self.view(), about, kind: ReportKind::Synced };
        match &self.role {
            Role::Backup(backup) if backup.is_synced() => vec![report],
            Role::Backup(_) | Role::Idle(_) | Role::Joining(_) | Role::Primary(_) => Vec::new(),
        }
    }

    /// Whether a message from a server belongs to what this server is in now. A sender that is
    /// behind is told so.
    fn check_link(&self, from: SocketAddr, link: &Link, outbox: &mut Out) -> bool {
        let is_ours = self.is_ours(from, link, outbox);
        outbox.counts.stale_messages += u64::from(!is_ours);
        is_ours
    }

    fn is_ours(&self, from: SocketAddr, link: &Link, outbox: &mut Out) -> bool {
        let Some(record) = self.membership.record() else { return false };
        if link.to != self.config.incarnation || link.history != record.history {
            return false;
        }
        if link.view < record.view.id {
            let newer = NewerView { to: link.from, record: record.clone() };
            outbox.send(from, Message::NewerView(newer.into()));
            return false;
        }
        link.view == record.view.id && link.since == record.view.since
    }

    /// Whether a message comes from the primary of the adopted view.
    fn is_from_primary(&self, link: &Link) -> bool {
        self.membership.record().is_some_and(|record| record.view.primary.incarnation == link.from)
    }

    fn on_replicate(&mut self, from: SocketAddr, replicate: Replicate, outbox: &mut Out) {
        if !self.check_link(from, &replicate.link, outbox) || !self.is_from_primary(&replicate.link)
        {
            return;
        }
        let backup = match &mut self.role {
            Role::Backup(backup) => Some(backup),
            Role::Joining(joining) => joining.following_mut(),
            Role::Idle(_) | Role::Primary(_) => None,
        };
        if let Some(backup) = backup.filter(|backup| backup.since() == replicate.link.since) {
            outbox.counts.repeated_operations +=
                backup.on_replicate(replicate, &self.config.limits);
        }
    }

    fn on_newer_view(&mut self, now: Timestamp, newer: NewerView, outbox: &mut Out) {
        let holds_copy = self.holds_copy();
        let same_history = |record: &Record| record.history == newer.record.history;
        if newer.to == self.config.incarnation
            && self.membership.record().is_some_and(same_history)
            && self.membership.accepts(&newer.record, holds_copy)
        {
            self.adopt(now, newer.record, outbox);
        }
    }

    fn on_client_request(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        request: ClientRequest,
        outbox: &mut Out,
    ) {
        let view = self.view();
        let arrival = Arrival { at: now, kind: plain_kind(&request.command) };
        let request = match plain_request(from, arrival, request, &self.config.limits) {
            Ok(request) => request,
            Err((reason, detail)) => {
                outbox.counts.answer(now, arrival, Fate::Refused);
                outbox.send(from, plain_failure(reason, view, Some(detail)));
                return;
            }
        };
        match self.primary(now) {
            Some((primary, scope)) => primary.on_plain(&scope, request, outbox),
            None => {
                let (PlainRequest::Write(_, asker) | PlainRequest::Read(_, asker)) = request;
                asker.tell(now, view, Outcome::NotPrimary(self.shown().into()), outbox);
            }
        }
    }

    /// What this server knows of the view; only the view server knows who is alive.
    fn shown(&self) -> Shown {
        let Some(record) = self.membership.record() else { return Shown::default() };
        let serves = record.phase == Phase::Active || record.keeps_primary();
        let backup = record.view.backup.clone().filter(|_| record.phase == Phase::Active);
        Shown {
            view: record.view.id,
            primary: serves.then(|| record.view.primary.clone()),
            backup,
            waiting: None,
        }
    }

    fn flush_to_primary(&mut self, now: Timestamp, outbox: &mut Out) {
        let Some(record) = self.membership.record() else { return };
        let primary = &record.view.primary;
        let link = Link {
            from: self.config.incarnation,
            to: primary.incarnation,
            history: record.history,
            view: record.view.id,
            since: record.view.since,
        };
        let mut messages = match &mut self.role {
            Role::Backup(backup) => backup.take_ack(link).map(Message::Ack).into_iter().collect(),
            Role::Joining(joining) => joining.flush(now, link, self.membership.timing()),
            Role::Idle(_) | Role::Primary(_) => Vec::new(),
        };
        let most = self.config.limits.memory_bytes.map(|most| most as u64);
        for message in &mut messages {
            if let Message::Ack(Ack { memory_max, .. }) | Message::Offer(Offer { memory_max, .. }) =
                message
            {
                *memory_max = most;
            }
        }
        outbox_send_all(outbox, primary.address, messages);
    }

    /// Whether a message of this kind counts that comes from there; see [`sources`].
    fn may_say(&self, from: SocketAddr, message: &Message) -> bool {
        let is_at = |known: SocketAddr| sources::is_at(known, self.config.advertise, from);
        match (self.config.sources, message.speaker()) {
            (Sources::Any, _) | (_, Speaker::Anybody | Speaker::WhoeverWasAsked) => true,
            (Sources::Known, Speaker::ViewServer) => is_at(self.config.view_server),
            (Sources::Known, Speaker::Server) => {
                self.membership.record().is_some_and(|record| record.names(is_at))
            }
        }
    }
}

fn outbox_send_all(outbox: &mut Out, to: SocketAddr, messages: impl IntoIterator<Item = Message>) {
    for message in messages {
        outbox.send(to, message);
    }
}

/// The complete copy that a role leaves behind.
fn into_copy(role: Role) -> Option<Copy> {
    match role {
        Role::Idle(copy) => copy,
        Role::Joining(joining) => {
            joining.into_copy().map(|(replica, since)| Copy { replica, since })
        }
        Role::Backup(backup) => {
            let since = Some(backup.since());
            Some(Copy { replica: backup.into_replica(), since })
        }
        Role::Primary(primary) => Some(Copy { replica: primary.into_replica(), since: None }),
    }
}

fn role_name(me: Incarnation, role: &Role, record: Option<&Record>) -> &'static str {
    match role {
        Role::Idle(_) if record.is_some_and(|record| record.view.primary.incarnation == me) => {
            "proposed primary"
        }
        Role::Idle(_) => "spare",
        Role::Joining(_) => "joining",
        Role::Backup(_) => "backup",
        Role::Primary(_) => "primary",
    }
}

impl Process for Server {
    type Command = Command;
    type Answer = Answer;

    fn handle_message(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        message: Message,
        outbox: &mut Out,
    ) {
        self.begin_turn(now);
        if !self.may_say(from, &message) {
            outbox.counts.strange_messages += 1;
            // A former member is told what it has missed, as it is where its address is known.
            if let Some(link) = message.link() {
                self.check_link(from, link, outbox);
            }
            return;
        }
        match message {
            Message::Ping(ping) => self.on_ping(now, from, &ping, outbox),
            Message::Replicate(replicate) => self.on_replicate(from, replicate, outbox),
            Message::Ack(ack) => {
                if self.check_link(from, &ack.link, outbox)
                    && let Some((primary, scope)) = self.primary(now)
                {
                    primary.on_ack(&scope, &ack, outbox);
                }
            }
            Message::Request(request) => match self.primary(now) {
                Some((primary, scope)) => primary.on_request(&scope, from, request, outbox),
                None => {
                    let outcome = Outcome::NotPrimary(self.shown().into());
                    Asker::of(now, from, &request).tell(now, self.view(), outcome, outbox);
                }
            },
            Message::ClientRequest(request) => self.on_client_request(now, from, request, outbox),
            Message::Transfer(transfer) => {
                if self.check_link(from, &transfer.link, outbox)
                    && self.is_from_primary(&transfer.link)
                    && let Role::Joining(joining) = &mut self.role
                {
                    let repeated = joining.on_transfer(transfer, &self.config.limits);
                    outbox.counts.repeated_transfers += u64::from(repeated);
                }
            }
            Message::TransferAck(ack) => {
                if self.check_link(from, &ack.link, outbox)
                    && let Some((primary, scope)) = self.primary(now)
                {
                    primary.on_transfer_ack(&scope, &ack, outbox);
                }
            }
            Message::Offer(offer) => {
                if self.check_link(from, &offer.link, outbox)
                    && let Some((primary, scope)) = self.primary(now)
                {
                    primary.on_offer(&scope, &offer, outbox);
                }
            }
            Message::Verdict(verdict) => {
                if self.check_link(from, &verdict.link, outbox)
                    && self.is_from_primary(&verdict.link)
                    && let Role::Joining(joining) = &mut self.role
                {
                    joining.on_verdict(verdict.keep);
                }
            }
            Message::NewerView(newer) => self.on_newer_view(now, *newer, outbox),
            Message::Refused(refused) => {
                if refused.to == self.config.incarnation {
                    let (id, holder) = (&self.config.id, refused.holder);
                    outbox.push(Effect::Stop(format!(
                        "id in use: another process at {holder} is {id} and answers; stop it, or \
                         choose another id"
                    )));
                }
            }
            Message::GetView(_) => {
                outbox.send(from, Message::ViewAnswer(Box::new((&self.shown()).into())));
            }
            Message::ViewRequest(request) => {
                let members = self.membership.record().map(Record::members).unwrap_or_default();
                let reply = ViewReply {
                    client: request.client,
                    id: request.id,
                    shown: self.shown(),
                    servers: members.into_iter().map(|member| member.address).collect(),
                };
                outbox.send(from, Message::ViewReply(reply.into()));
            }
            Message::Probe(_) => {
                let me = self.config.incarnation;
                let answer = ProbeAnswer {
                    server_id: self.config.id.clone(),
                    incarnation: me.to_string(),
                    role: role_name(me, &self.role, self.membership.record()).to_owned(),
                    number: self.view().number,
                };
                outbox.send(from, Message::ProbeAnswer(answer));
            }
            Message::StatusRequest(request) => {
                if let Some(reply) = self.status_reply(&request, &outbox.counts) {
                    outbox.send(from, Message::StatusReply(reply.into()));
                }
            }
            Message::ViewAnswer(_)
            | Message::Success(_)
            | Message::Fail(_)
            | Message::ProbeAnswer(_)
            | Message::Announce(_)
            | Message::Pong(_)
            | Message::ViewReply(_)
            | Message::Reply(_)
            | Message::StatusReply(_) => {}
        }
    }

    fn is_peer(&self, from: SocketAddr) -> bool {
        let is_at = |known: SocketAddr| sources::is_at(known, self.config.advertise, from);
        is_at(self.config.view_server)
            || self.membership.record().is_some_and(|record| record.names(is_at))
    }

    fn handle_command(&mut self, now: Timestamp, call: CallId, command: Command, outbox: &mut Out) {
        self.begin_turn(now);
        let answer = match command {
            Command::Status => Answer::Status(self.status()),
            Command::Entries(position) => self.entries(&position),
            Command::Measure => Answer::Measures(Box::new(self.measures(now))),
        };
        outbox.push(Effect::Answer(call, answer));
    }

    fn handle_timeout(&mut self, now: Timestamp, outbox: &mut Out) {
        self.begin_turn(now);
        let announce = self.membership.take_announce(now, &self.config);
        outbox_send_all(outbox, self.config.view_server, announce);
        if let Some((primary, scope)) = self.primary(now) {
            primary.on_timeout(&scope, outbox);
        }
        self.flush_to_primary(now, outbox);
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        // Something happens at least once an interval, so that a pause is noticed as one.
        let heartbeat = self.last_event + self.membership.timing().ping_interval();
        let at_once = Some(self.last_event);
        let role = match &self.role {
            Role::Idle(_) => None,
            Role::Joining(joining) if joining.is_ack_due() => at_once,
            Role::Joining(joining) => joining.poll_timeout(),
            Role::Backup(backup) if backup.is_ack_due() => at_once,
            Role::Backup(_) => None,
            Role::Primary(primary) if primary.is_flush_due() => at_once,
            Role::Primary(primary) => primary.poll_timeout(),
        };
        [Some(heartbeat), Some(self.membership.poll_timeout()), role].into_iter().flatten().min()
    }
}

/// For tests that compare servers.
impl Server {
    /// The newest record's place in the order.
    #[must_use]
    pub fn adopted(&self) -> Option<Stamp> {
        self.membership.stamp()
    }

    /// Forgets the pongs that no ping will ever name, as if they had not been sent: servers that
    /// differ in nothing else are equal then. The caller knows all pings there are.
    pub fn forget_pongs(&mut self, can_be_named: impl Fn(u64) -> bool) {
        self.membership.forget_pongs(can_be_named);
    }
}
