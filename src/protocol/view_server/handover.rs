//! What the operator asks for: the primary hands its role to the backup (`switchover`), or a server
//! is taken out of service (`drain`).
//!
//! ```text
//!   (P,B) --both have answered since--> [B,-] --B adopted, and P too (or its lease is over)--> (B,-)
//!   (B,-) --P joins first, and keeps its copy--> (B,-,P) --> [B,P] --> (B,P): answered
//! ```
//!
//! It is the failover of rule 3 with a primary that is alive, and as safe: the proposed view serves
//! nobody; both stay eligible until B is in charge; P, which adopts [B,-], has stopped serving before
//! its pong can end the wait for its lease; what P had replicated and not yet committed is committed
//! by B's activation, and whatever else was in flight the clients send again to B, exactly once by
//! their sessions. If B falls silent before it is in charge, P goes on. Nothing is durable but the
//! record: a view server that is restarted on the way goes on from it, and forgets who asked. From
//! B's adoption until P has joined again B's copy is the only one that counts (as after any failover);
//! that is why P joins before any other spare, and why everybody is asked often meanwhile.
//!
//! A drained process never joins, until `undrain` or until another process takes its id; that is
//! durable beside the record, and lost with it. A drained primary hands over first; a drained backup
//! is left out like one that is silent: only after an answer of the primary. A view has one place for
//! a second copy, so whoever takes that place receives the state while there is one copy: draining a
//! member of a pair therefore needs `--force`, and the only copy is never drained.
//!
//! Kept here: nothing is proposed unless both have answered a ping that was sent after the operator
//! asked, so that the role is not handed to a server that is dead already; every request is answered
//! once and in bounded time. Whether a change is allowed is decided in `judge`.

use std::time::Duration;

use crate::protocol::view::{Member, Phase, Record};
use crate::protocol::view_server::roster::Nonce;
use crate::protocol::view_server::{Answer, Mode, ViewServer};
use crate::protocol::{Effect, Outbox};
use crate::time::Timestamp;
use crate::types::{CallId, Incarnation, ServerId, ViewId};

/// Longer than three judgements of death and this the operator does not wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// So often a drained process may begin again by itself and still be known as drained.
const BEGUN_AGAIN: usize = 16;

/// What a hand-over is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// Answered when there is a pair again.
    Switchover,
    /// Answered when the server has no role any more.
    Drain,
}

/// Something that was asked for and is not over: `from` gives its role up, to `to` if it is primary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handover {
    call: CallId,
    purpose: Purpose,
    from: Member,
    to: Member,
    /// The view in which it was asked for.
    view: ViewId,
    /// Only answers to later pings show that both are there.
    after: Nonce,
    /// Answered then at the latest.
    until: Timestamp,
}

impl Handover {
    /// When the operator is answered at the latest.
    pub fn until(&self) -> Timestamp {
        self.until
    }
}

impl ViewServer {
    /// Takes the request, and answers at once if it is refused.
    pub(super) fn switch_over(
        &mut self,
        now: Timestamp,
        call: CallId,
        to: Option<&ServerId>,
    ) -> Option<Answer> {
        let (from, to) = match self.check_switchover(now, to) {
            Ok(Some(pair)) => pair,
            Ok(None) => return Some(Answer::SwitchedOver(self.shown(now))),
            Err(why) => return Some(Answer::SwitchoverRefused(why)),
        };
        self.begin_handover(now, call, Purpose::Switchover, from, to)
    }

    fn begin_handover(
        &mut self,
        now: Timestamp,
        call: CallId,
        purpose: Purpose,
        from: Member,
        to: Member,
    ) -> Option<Answer> {
        let view = self.record()?.view.id;
        let (after, until) = (self.roster.last_nonce(), self.handover_end(now));
        self.handover = Some(Handover { call, purpose, from, to, view, after, until });
        None
    }

    /// Takes a server out of service, or says why not. A member leaves its role first.
    pub(super) fn drain(
        &mut self,
        now: Timestamp,
        call: CallId,
        id: &ServerId,
        force: bool,
        outbox: &mut Outbox<Answer>,
    ) -> Option<Answer> {
        match self.check_drain(now, id, force) {
            Err(why) => Some(Answer::DrainRefused(why)),
            Ok((member, Some(to))) => self.begin_handover(now, call, Purpose::Drain, member, to),
            Ok((member, None)) => Some(self.end_drain(&member, outbox)),
        }
    }

    fn end_drain(&mut self, member: &Member, outbox: &mut Outbox<Answer>) -> Answer {
        let Member { id, incarnation, .. } = member;
        self.drained.insert(id.clone(), *incarnation);
        self.persist(outbox);
        Answer::Drained(format!("{id} is drained and may be stopped; `undrain {id}` lets it join"))
    }

    /// Lets a drained server join again.
    pub(super) fn undrain(&mut self, id: &ServerId, outbox: &mut Outbox<Answer>) -> Answer {
        let is_meant = |wish: &mut Handover| wish.purpose == Purpose::Drain && wish.from.id == *id;
        if let Some(wish) = self.handover.take_if(is_meant) {
            let why = format!("`undrain {id}` came before the end");
            outbox.push(Effect::Answer(wish.call, Answer::DrainRefused(why)));
        } else if self.drained.remove(id).is_none() {
            return Answer::UndrainRefused(format!("{id} is not drained"));
        }
        self.persist(outbox);
        Answer::Drained(format!("{id} may join again"))
    }

    /// Whether this very process shall have no role.
    pub(super) fn is_drained(&self, incarnation: Incarnation) -> bool {
        let drains = |wish: &Handover| {
            wish.purpose == Purpose::Drain && wish.from.incarnation == incarnation
        };
        // One that begins again by itself is the same process to whoever drained it.
        let is_it = |drained: &Incarnation| {
            std::iter::successors(Some(*drained), |former| Some(former.next()))
                .take(BEGUN_AGAIN)
                .any(|renewed| renewed == incarnation)
        };
        self.drained.values().any(is_it) || self.handover.as_ref().is_some_and(drains)
    }

    /// Which process is drained, and who has the role it gives up (for a backup: the primary).
    fn check_drain(
        &self,
        now: Timestamp,
        id: &ServerId,
        force: bool,
    ) -> Result<(Member, Option<Member>), String> {
        let record = self.check_operable(now, Some(id))?;
        let Some(member) = self.roster.member(id) else {
            return Err(format!("{id} has never answered: there is nothing to drain"));
        };
        let view = &record.view;
        let is = |other: &Member| other.incarnation == member.incarnation;
        if is(&view.primary) {
            if record.eligible.len() < 2 {
                return Err(format!(
                    "{id} holds the only copy; start another server, and try again when `view` \
                     shows it as backup"
                ));
            }
            self.check_force(id, &view.backup, force)?;
            let pair = self.check_switchover(now, None)?;
            let to = pair.map(|(_, to)| to);
            return Ok((member, to));
        }
        if view.backup.as_ref().is_some_and(is) {
            if record.is_eligible(member.incarnation) {
                self.check_force(id, &Some(view.primary.clone()), force)?;
            }
            return Ok((member, Some(view.primary.clone())));
        }
        let joins = view.joining.as_ref().is_some_and(is);
        Ok((member, joins.then(|| view.primary.clone())))
    }

    fn check_force(
        &self,
        id: &ServerId,
        other: &Option<Member>,
        force: bool,
    ) -> Result<(), String> {
        if force {
            return Ok(());
        }
        let other = other.as_ref().map_or("the other", |other| &other.id.0);
        Err(format!(
            "{id} holds one of two copies, and a view has no place for a third: without it \
             {other} holds the only one until a spare has received the state; `drain {id} --force` \
             accepts that"
        ))
    }

    fn handover_end(&self, now: Timestamp) -> Timestamp {
        now + self.timing().dead_after() * 3 + PATIENCE
    }

    /// The record, if anything can be asked for now, of this server if one is named.
    fn check_operable(&self, now: Timestamp, id: Option<&ServerId>) -> Result<&Record, String> {
        if let Some(Handover { purpose, from, to, .. }) = &self.handover {
            return Err(match purpose {
                Purpose::Switchover => {
                    format!("a switchover to {to} is under way; wait for its end")
                }
                Purpose::Drain => format!("{from} is being drained; wait for the end of that"),
            });
        }
        if now < self.listens_until {
            return Err("the view server has just started (or was stopped) and listens for the \
                        servers; try again in a moment"
                .to_owned());
        }
        let record = match &self.mode {
            Mode::Recovering(recovery) => return Err(recovery.waiting()),
            Mode::Running(record) => record,
        };
        if let Some(id) = id
            && self.roster.iter().all(|(known, _)| known != id)
        {
            let known: Vec<_> = self.roster.iter().map(|(known, _)| known.to_string()).collect();
            return Err(format!("no server is called {id}; known are {}", known.join(", ")));
        }
        if record.phase == Phase::Proposed && !record.keeps_primary() {
            let primary = &record.view.primary;
            return Err(format!("{primary} is about to take over; try again in a moment"));
        }
        Ok(record)
    }

    /// Who hands over to whom; none if the wish is fulfilled already.
    fn check_switchover(
        &self,
        now: Timestamp,
        to: Option<&ServerId>,
    ) -> Result<Option<(Member, Member)>, String> {
        let record = self.check_operable(now, to)?;
        let view = &record.view;
        let primary = &view.primary;
        if to == Some(&primary.id) {
            return Ok(None);
        }
        if !self.is_alive(now, primary) {
            return Err(format!(
                "{primary}, the primary, does not answer: once it is silent for dead-after a \
                 backup that answers takes over by itself"
            ));
        }
        let backup = match (&view.backup, &view.joining, record.phase) {
            (Some(backup), _, Phase::Active) => backup,
            (Some(joiner), _, Phase::Proposed) | (None, Some(joiner), _) => {
                return Err(format!(
                    "{joiner} still receives the state and cannot take over before it is backup; \
                     try again when `view` shows it"
                ));
            }
            (None, None, _) => {
                return Err(format!(
                    "there is no backup, {primary} holds the only copy; start another server, and \
                     try again when `view` shows it as backup"
                ));
            }
        };
        if let Some(id) = to
            && *id != backup.id
        {
            return Err(format!(
                "{id} is a spare and holds no copy that could serve; only the backup, {backup}, \
                 can take over"
            ));
        }
        if !self.is_alive(now, backup) {
            return Err(format!(
                "{backup}, the backup, does not answer and is about to be left out; try again when \
                 `view` shows a backup"
            ));
        }
        Ok(Some((primary.clone(), backup.clone())))
    }

    fn is_alive(&self, now: Timestamp, member: &Member) -> bool {
        self.roster.is_alive(now, self.timing(), member)
    }

    fn has_answered_since(&self, member: &Member, after: Nonce) -> bool {
        self.roster.known(member).is_some_and(|known| known.answered > after)
    }

    /// Whether the operator wishes this backup to follow now.
    pub(super) fn hands_over(&self, record: &Record, backup: &Member) -> bool {
        self.handover.as_ref().is_some_and(|wish| {
            wish.view == record.view.id
                && wish.to.incarnation == backup.incarnation
                && [&wish.from, &wish.to]
                    .iter()
                    .all(|member| self.has_answered_since(member, wish.after))
        })
    }

    /// What the operator waits for.
    pub(super) fn handover_sentence(&self) -> Option<String> {
        let wish = self.handover.as_ref()?;
        let Handover { from, to, .. } = wish;
        let record = self.record()?;
        if wish.purpose == Purpose::Drain {
            return Some(format!("{from} is being drained: it leaves its role first."));
        }
        Some(if record.view.id == wish.view {
            format!(
                "A switchover was asked for: {to} is proposed as soon as {from} and {to} have both \
                 answered once more."
            )
        } else {
            format!("The switchover from {from} to {to} is over when there is a backup again.")
        })
    }

    /// Whether this process has just handed over.
    pub(super) fn has_handed_over(&self, incarnation: Incarnation) -> bool {
        self.handover.as_ref().is_some_and(|wish| wish.from.incarnation == incarnation)
    }

    /// This process was stopped: what was answered before says nothing about who is there now.
    pub(super) fn resume_handover(&mut self, now: Timestamp) {
        let (after, until) = (self.roster.last_nonce(), self.handover_end(now));
        if let Some(wish) = &mut self.handover {
            (wish.after, wish.until) = (after, until);
        }
    }

    /// Whoever takes part is asked often: every step waits for what one of them says.
    pub(super) fn hasten_handover(&mut self, now: Timestamp) {
        let (Some(wish), Mode::Running(record)) = (&self.handover, &self.mode) else { return };
        let members = record.members().into_iter().chain([&wish.from]).map(|member| &member.id);
        self.roster.hasten(now, &self.config.timing, members);
    }

    /// Answers the operator when it is over, or has taken too long.
    pub(super) fn end_handover(&mut self, now: Timestamp, outbox: &mut Outbox<Answer>) {
        let Some(wish) = self.handover.clone() else { return };
        let answer = match wish.purpose {
            Purpose::Switchover => self.handover_answer(now, &wish),
            Purpose::Drain => self.drain_end(now, &wish).map(|end| match end {
                Ok(()) => self.end_drain(&wish.from, outbox),
                Err(why) => Answer::DrainRefused(why),
            }),
        };
        if let Some(answer) = answer {
            outbox.push(Effect::Answer(wish.call, answer));
            self.handover = None;
        }
    }

    /// Whether a drained server has given up its role; none while it may still.
    fn drain_end(&self, now: Timestamp, wish: &Handover) -> Option<Result<(), String>> {
        let from = &wish.from;
        let Mode::Running(record) = &self.mode else {
            return Some(Err("the record is being recovered: `status` says for whom".to_owned()));
        };
        let view = &record.view;
        let is = |other: &Member| other.incarnation == from.incarnation;
        let mut named = std::iter::once(&view.primary).chain(&view.backup).chain(&view.joining);
        let is_named = named.any(is);
        if record.phase == Phase::Active && !is_named && !record.is_eligible(from.incarnation) {
            return Some(Ok(()));
        }
        if record.phase == Phase::Active && is(&view.primary) && view.id != wish.view {
            // Whoever was to follow it, or the primary that it followed, is gone.
            return Some(Err(format!("the view has changed, and {from} is needed as primary")));
        }
        (now >= wish.until).then(|| Err(format!("{from} has not left its role in time; it stays")))
    }

    fn handover_answer(&self, now: Timestamp, wish: &Handover) -> Option<Answer> {
        let Mode::Running(record) = &self.mode else {
            let why = "the record is being recovered: `status` says what is waited for";
            return Some(Answer::SwitchoverRefused(why.to_owned()));
        };
        let (Handover { from, to, .. }, view) = (wish, &record.view);
        let is_late = now >= wish.until;
        if view.primary.incarnation == to.incarnation {
            let serves = record.phase == Phase::Active || record.keeps_primary();
            if !serves {
                let why = format!(
                    "{to} is proposed and has not taken over yet: {}; it still may, `view` shows it",
                    self.waiting(now).unwrap_or_default()
                );
                return is_late.then_some(Answer::SwitchoverRefused(why));
            }
            let is_paired = record.phase == Phase::Active && view.backup.is_some();
            return (is_paired || is_late).then(|| Answer::SwitchedOver(self.shown(now)));
        }
        if view.id != wish.view {
            // Left for a reason of its own, or proposed and given up again.
            let newest = self.changes.iter().next_back();
            let reason = newest.map_or("", |change| change.reason.as_str());
            let why = format!("the view has changed: {reason}; {} is primary", view.primary);
            return Some(Answer::SwitchoverRefused(why));
        }
        is_late.then(|| {
            let silent =
                [from, to].into_iter().filter(|it| !self.has_answered_since(it, wish.after));
            let silent: Vec<_> = silent.map(ToString::to_string).collect();
            let why =
                format!("{} did not answer in time; nothing was changed", silent.join(" and "));
            Answer::SwitchoverRefused(why)
        })
    }
}
