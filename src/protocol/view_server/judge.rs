//! What the view server does next, or why nothing: the rules of view changes, as a function of
//! the record, of who is alive and of what the operator wishes. Nothing is changed here, and no
//! rule is written down a second time: `explain` tells what [`Wait`] says.
//!
//! ```text
//!            spare joins          caught up            synced
//!   (P,-) ----------------> (P,-,S) ------> [P,S] ----------------> (P,S)
//!     ^  ^                    | S lost        | S lost                |
//!     |  +--------------------+---------------+-----------------------+ B lost, P has answered since
//!     |                                                               |
//!     |    B adopted it, P's lease is over                            | P lost or asked to hand
//!     |                                                               | over, B is alive
//!     +------------------------------------------- [B,-] <------------+
//!
//!   (..) active   [..] proposed
//! ```

use crate::kv::digest;
use crate::protocol::counts::Cause;
use crate::protocol::message::ReportKind;
use crate::protocol::view::{Member, Phase, Record, View};
use crate::protocol::view_server::recovery::{Outcome, Recovery};
use crate::protocol::view_server::roster::Tracked;
use crate::protocol::view_server::{Mode, ViewServer};
use crate::time::Timestamp;
use crate::types::{Epoch, HistoryId, Incarnation, ServerId, ViewId};

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Continue with this record: what was lost is known again.
    Recover(Box<Record>, String),
    /// Ask the primary for a sign of life before this member is left out.
    Suspect(Incarnation),
    /// Whoever was suspected answers again.
    Absolve,
    /// Draw the next record.
    Change(Change),
    /// Make the lease durable, before the first one is granted.
    RecordLease,
}

/// Why there is nothing to do but wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wait {
    /// This process has just started or was stopped: nobody is judged yet.
    Listening,
    /// There is no record: `recovery` knows for whom it waits.
    Recovering,
    /// Both copies answer.
    Nothing,
    /// No eligible server answers, and no other may be promoted.
    Copies,
    /// The suspect is to be left out as soon as the primary has answered a ping sent since.
    Answer {
        /// It is silent, or was reported.
        suspect: Member,
        /// What is wrong with it.
        why: Lacking,
        /// Who serves alone then.
        primary: Member,
    },
    /// The primary has not heard yet that it serves alone; before that nobody joins.
    Adoption(Member),
    /// Nobody can join, each for a reason of its own.
    Spare(Vec<(ServerId, Unfit)>),
    /// The joiner receives the state.
    Transfer(Member),
    /// The joiner that caught up is to be synced in the proposed view.
    Sync(Member),
    /// The proposed primary has not adopted its view yet.
    Takeover(Member),
    /// The former primary may hold a read lease until then.
    Lease(Member, Timestamp),
    /// The proposed primary is silent, and the former one cannot go on either.
    Either(Member, Option<Member>),
    /// A first view is proposed to a server that is silent, and nobody else is there.
    First(Member),
}

/// Why a server cannot join now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// It does not answer, or never has.
    Silent,
    /// Its joins have failed; it rests until then.
    Rests(Timestamp),
    /// It holds a copy of another history.
    Foreign,
    /// The operator has drained it.
    Drained,
}

/// Why a member is to be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lacking {
    /// It does not answer.
    Life,
    /// The primary has reported it stalled or diverged.
    Progress,
    /// The operator drains it.
    Leave,
}

/// The next record, as a change of the present one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    kind: Kind,
    /// The joiner that is dropped because its join failed.
    pub failed_join: Option<Member>,
    /// For people.
    pub reason: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    /// The proposed view is in force.
    Activate,
    /// This one serves alone, at once: it served in the last active view.
    Alone(Member),
    /// An empty history begins with another server.
    BeginWith(Member),
    /// The other copy takes over.
    Promote(Member),
    /// A spare receives the state.
    Join(Member),
    /// The joiner becomes backup.
    Pair(Member),
}

impl Change {
    fn new(kind: Kind, reason: impl Into<String>) -> Change {
        Change { kind, failed_join: None, reason: reason.into() }
    }

    /// The reason as one word, in view of the record that it changes.
    #[must_use]
    pub fn cause(&self, record: &Record) -> Cause {
        match &self.kind {
            Kind::Activate if record.keeps_primary() => Cause::Synced,
            Kind::Activate => Cause::TakenOver,
            Kind::Alone(_) if self.failed_join.is_some() => Cause::Stalled,
            Kind::Alone(_) if record.view.joining.is_some() => Cause::JoinerLost,
            Kind::Alone(_) => Cause::BackupLost,
            Kind::BeginWith(_) => Cause::Began,
            Kind::Promote(_) => Cause::PrimaryLost,
            Kind::Join(_) => Cause::Joining,
            Kind::Pair(_) => Cause::CaughtUp,
        }
    }

    /// The record that follows this one.
    #[must_use]
    pub fn apply(&self, record: &Record) -> Record {
        let id = ViewId { number: record.view.id.number + 1, ..record.view.id };
        let alone = |primary: &Member| View {
            id,
            primary: primary.clone(),
            backup: None,
            joining: None,
            since: record.view.since,
            genesis: false,
        };
        let proposed = |view: View| Record { view, phase: Phase::Proposed, ..record.clone() };
        let active = |view: View| {
            let members = std::iter::once(&view.primary).chain(&view.backup);
            Record {
                eligible: members.cloned().collect(),
                last_primary: Some(view.primary.clone()),
                phase: Phase::Active,
                view,
                ..record.clone()
            }
        };
        match &self.kind {
            Kind::Activate => active(record.view.clone()),
            Kind::Alone(primary) => active(alone(primary)),
            Kind::BeginWith(primary) => {
                proposed(View { since: id, genesis: true, ..alone(primary) })
            }
            Kind::Promote(primary) => proposed(alone(primary)),
            Kind::Join(joining) => active(View {
                joining: Some(joining.clone()),
                since: id,
                ..alone(&record.view.primary)
            }),
            Kind::Pair(backup) => {
                proposed(View { backup: Some(backup.clone()), ..alone(&record.view.primary) })
            }
        }
    }
}

impl ViewServer {
    /// What to do next, or why nothing.
    pub(super) fn next_step(&self, now: Timestamp) -> Result<Step, Wait> {
        if now < self.listens_until {
            return Err(Wait::Listening);
        }
        let record = match &self.mode {
            Mode::Recovering(_) => return self.next_recovery_step(now).ok_or(Wait::Recovering),
            Mode::Running(record) => record,
        };
        if record.lease < self.timing().lease().into() {
            return Ok(Step::RecordLease);
        }
        let suspect = self.suspect(now, record);
        if suspect.is_none() && self.suspicion.is_some() {
            return Ok(Step::Absolve);
        }
        match record.phase {
            Phase::Active => self.next_step_active(now, record, suspect),
            Phase::Proposed => self.next_step_proposed(now, record, suspect),
        }
    }

    fn alive(&self, now: Timestamp, member: &Member) -> bool {
        self.roster.is_alive(now, self.timing(), member)
    }

    /// The member that would be left out if the last active primary turns out to be alive, and why.
    fn suspect<'a>(&self, now: Timestamp, record: &'a Record) -> Option<(&'a Member, Lacking)> {
        let view = &record.view;
        match &view.backup {
            Some(backup) => {
                let failed = [ReportKind::Stalled, ReportKind::Diverged];
                let why = if self.reports(&view.primary, backup, &failed) {
                    Lacking::Progress
                } else if !self.alive(now, backup) {
                    Lacking::Life
                } else if self.is_drained(backup.incarnation) {
                    Lacking::Leave
                } else {
                    return None;
                };
                Some((backup, why))
            }
            None => {
                let promotes = record.phase == Phase::Proposed && !record.eligible.is_empty();
                (promotes && !self.alive(now, &view.primary))
                    .then_some((&view.primary, Lacking::Life))
            }
        }
    }

    /// Leaves the suspect out and lets the last active primary serve alone, if that one has
    /// answered a ping that was sent after the suspicion. Else (1. P dies .. 2. B is cut off for
    /// longer than P is missed .. 3. B is left out for a primary that is already dead) the last
    /// copy would be thrown away (D52).
    fn leave_out(&self, suspect: &Member, why: Lacking, primary: &Member) -> Result<Step, Wait> {
        match self.suspicion {
            Some(suspicion) if suspicion.of == suspect.incarnation => {
                let known = self.roster.known(primary);
                if known.is_none_or(|known| known.answered <= suspicion.after) {
                    let (suspect, primary) = (suspect.clone(), primary.clone());
                    return Err(Wait::Answer { suspect, why, primary });
                }
                let (is, has_failed) = match why {
                    Lacking::Life => ("does not answer", false),
                    Lacking::Progress => ("is stalled or diverged", true),
                    Lacking::Leave => ("is drained", false),
                };
                let kind = Kind::Alone(primary.clone());
                Ok(Step::Change(Change {
                    failed_join: has_failed.then(|| suspect.clone()),
                    ..Change::new(kind, format!("{suspect} {is}"))
                }))
            }
            Some(_) | None => Ok(Step::Suspect(suspect.incarnation)),
        }
    }

    fn next_step_active(
        &self,
        now: Timestamp,
        record: &Record,
        suspect: Option<(&Member, Lacking)>,
    ) -> Result<Step, Wait> {
        let view = &record.view;
        let primary = &view.primary;
        if !self.alive(now, primary) {
            // A joiner or a spare is never promoted: without a living backup there is only waiting.
            let backup = view.backup.as_ref().filter(|backup| self.alive(now, backup));
            let backup = backup.ok_or(Wait::Copies)?;
            let reason = format!("{primary} does not answer");
            return Ok(Step::Change(Change::new(Kind::Promote(backup.clone()), reason)));
        }
        if let Some((suspect, why)) = suspect {
            return self.leave_out(suspect, why, primary);
        }
        if let Some(backup) = &view.backup {
            // As after the loss of the primary: it stays eligible until its successor is in charge,
            // and goes on if that one falls silent before.
            if self.hands_over(record, backup) {
                let reason = format!("switchover from {primary} to {backup}");
                return Ok(Step::Change(Change::new(Kind::Promote(backup.clone()), reason)));
            }
            return Err(Wait::Nothing);
        }
        let Some(joining) = &view.joining else {
            // The primary must have heard that it is in charge of this view first.
            let adopted = self.roster.known(primary).and_then(|known| known.adopted);
            if adopted < Some(record.stamp()) {
                return Err(Wait::Adoption(primary.clone()));
            }
            let spare = self.pick_spare(now, record).map_err(Wait::Spare)?;
            let reason = format!("{spare} joins");
            return Ok(Step::Change(Change::new(Kind::Join(spare), reason)));
        };
        let failed = [ReportKind::Stalled, ReportKind::Diverged];
        if self.reports(primary, joining, &failed) {
            let reason = format!("the join of {joining} made no progress");
            let change = Change::new(Kind::Alone(primary.clone()), reason);
            return Ok(Step::Change(Change { failed_join: Some(joining.clone()), ..change }));
        }
        if !self.alive(now, joining) {
            let reason = format!("{joining} does not answer");
            return Ok(Step::Change(Change::new(Kind::Alone(primary.clone()), reason)));
        }
        if self.is_drained(joining.incarnation) {
            let reason = format!("{joining} is drained");
            return Ok(Step::Change(Change::new(Kind::Alone(primary.clone()), reason)));
        }
        if !self.reports(primary, joining, &[ReportKind::CaughtUp]) {
            return Err(Wait::Transfer(joining.clone()));
        }
        let reason = format!("{joining} has caught up");
        Ok(Step::Change(Change::new(Kind::Pair(joining.clone()), reason)))
    }

    fn next_step_proposed(
        &self,
        now: Timestamp,
        record: &Record,
        suspect: Option<(&Member, Lacking)>,
    ) -> Result<Step, Wait> {
        let view = &record.view;
        let primary = &view.primary;
        if record.keeps_primary() {
            let Some(backup) = &view.backup else { return Err(Wait::Takeover(primary.clone())) };
            let synced = [ReportKind::Synced];
            if self.reports(primary, backup, &synced) || self.reports(backup, backup, &synced) {
                let reason = format!("{backup} is synced");
                return Ok(Step::Change(Change::new(Kind::Activate, reason)));
            }
            let Some((suspect, why)) = suspect else {
                return Err(Wait::Sync(backup.clone()));
            };
            if !self.alive(now, primary) {
                return Err(Wait::Copies);
            }
            return self.leave_out(suspect, why, primary);
        }
        if self.alive(now, primary) {
            // 1. the proposed primary adopts its view and dies .. 2. this process was stopped all
            // the while, and forgives its silence .. 3. an answer from before the pause would
            // activate a dead server and end the eligibility of a living one.
            let adopted = self.roster.known(primary).is_some_and(|known| {
                known.adopted >= Some(record.stamp()) && known.answered > self.paused_after
            });
            if !adopted {
                return Err(Wait::Takeover(primary.clone()));
            }
            if let Some(last) = &record.last_primary
                && !self.lease_is_over(now, record)
            {
                return Err(Wait::Lease(last.clone(), self.lease_end(record)));
            }
            let reason = format!("{primary} takes over");
            return Ok(Step::Change(Change::new(Kind::Activate, reason)));
        }
        if record.eligible.is_empty() {
            let first = self.pick_first(now, Some(record.history));
            let first = first.ok_or_else(|| Wait::First(primary.clone()))?;
            let reason = format!("{primary} does not answer, and nothing was stored yet");
            return Ok(Step::Change(Change::new(Kind::BeginWith(first), reason)));
        }
        // The view never served, so the last active primary still holds everything.
        let last = record.last_primary.as_ref();
        let goes_on =
            |last: &&Member| self.alive(now, last) && record.is_eligible(last.incarnation);
        match (suspect, last.filter(goes_on)) {
            (Some((suspect, why)), Some(last)) => self.leave_out(suspect, why, last),
            (Some(_) | None, Some(_) | None) => Err(Wait::Either(primary.clone(), last.cloned())),
        }
    }

    /// The server that joins next: any that is alive and holds no copy of another history; those
    /// whose joins failed come last, and not before they have rested. Who has just handed over comes
    /// first: its copy lacks next to nothing. Without any, why each of them cannot.
    fn pick_spare(
        &self,
        now: Timestamp,
        record: &Record,
    ) -> Result<Member, Vec<(ServerId, Unfit)>> {
        let mut unfit = Vec::new();
        let mut fit = Vec::new();
        for (id, tracked) in self.roster.iter() {
            let known = tracked.known.as_ref();
            if known.is_some_and(|known| record.is_eligible(known.incarnation)) {
                continue;
            }
            let former = known.is_some_and(|known| self.has_handed_over(known.incarnation));
            match (self.unfit(now, record, tracked), self.roster.member(id)) {
                (None, Some(member)) => fit.push(((tracked.failed_joins, !former), member)),
                (why, _) => unfit.push((id.clone(), why.unwrap_or(Unfit::Silent))),
            }
        }
        // They stand in the order of their ids, and the first of equals is taken.
        fit.into_iter().min_by_key(|(key, _)| *key).map(|(_, member)| member).ok_or(unfit)
    }

    /// Why a server that holds nothing of value cannot join now; none if it can.
    pub(super) fn unfit(&self, now: Timestamp, record: &Record, spare: &Tracked) -> Option<Unfit> {
        let known = spare.known.as_ref().filter(|_| spare.is_alive(now, self.timing()));
        match known {
            None => Some(Unfit::Silent),
            Some(known) if known.is_foreign(Some(record.history)) => Some(Unfit::Foreign),
            Some(known) if self.is_drained(known.incarnation) => Some(Unfit::Drained),
            Some(_) if spare.joins_again > now => Some(Unfit::Rests(spare.joins_again)),
            Some(_) => None,
        }
    }

    /// The server that an empty history begins with: never one that holds a copy of another
    /// history, which would not follow.
    pub(super) fn pick_first(&self, now: Timestamp, history: Option<HistoryId>) -> Option<Member> {
        let (id, _) = self.roster.iter().find(|(_, tracked)| {
            tracked.is_alive(now, self.timing())
                && tracked
                    .known
                    .as_ref()
                    .is_some_and(|known| known.answered > 0 && !known.is_foreign(history))
        })?;
        self.roster.member(id)
    }

    /// Whether everybody who is there has promised the present epoch and reported.
    pub(super) fn all_have_reported(&self, now: Timestamp, recovery: &Recovery) -> bool {
        !self.roster.awaits_challenger(now, self.timing())
            && self.roster.iter().all(|(_, tracked)| {
                !tracked.is_alive(now, self.timing())
                    || tracked
                        .known
                        .as_ref()
                        .is_some_and(|known| recovery.has_answered(known.incarnation))
            })
    }

    fn next_recovery_step(&self, now: Timestamp) -> Option<Step> {
        let Mode::Recovering(recovery) = &self.mode else { return None };
        match recovery.outcome()? {
            Outcome::Recovered(record, reason) => Some(Step::Recover(record, reason)),
            Outcome::Empty { number } if self.all_have_reported(now, recovery) => {
                let first = self.pick_first(now, None)?;
                let Epoch(counter, author) = recovery.epoch();
                let history = HistoryId(digest::numbers([counter, author]));
                let id = ViewId { epoch: recovery.epoch(), number: number + 1 };
                let reason = "no server knows of any data: an empty history begins";
                let record = Box::new(Record::first(history, id, first));
                Some(Step::Recover(record, reason.to_owned()))
            }
            Outcome::Empty { .. } => None,
        }
    }
}

impl crate::protocol::view_server::roster::Known {
    /// It holds a copy of another history than this: not ours to promote, join or wipe.
    fn is_foreign(&self, history: Option<HistoryId>) -> bool {
        self.holds_copy && self.history != history
    }
}
