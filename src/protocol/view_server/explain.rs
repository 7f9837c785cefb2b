//! Why the view server does or does not act, in plain sentences, and what would change that.
//!
//! Nothing is judged here: every sentence tells what `judge` decided with ([`Wait`] and [`Unfit`]),
//! so that an explanation cannot disagree with what is done.

use std::time::Duration;

use crate::protocol::view::{Member, Phase, Record};
use crate::protocol::view_server::judge::{Lacking, Step, Unfit, Wait};
use crate::protocol::view_server::{Mode, ViewServer};
use crate::time::Timestamp;
use crate::types::ServerId;

/// A time as a person reads it.
fn brief(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1000 => format!("{millis}ms"),
        _ => format!("{:.1}s", time.as_secs_f64()),
    }
}

fn listed(members: &[Member], between: &str) -> String {
    let names: Vec<_> = members.iter().map(ToString::to_string).collect();
    names.join(between)
}

impl ViewServer {
    /// One sentence or two a line: the view, what is waited for, then whoever else is remarkable.
    pub(super) fn explain(&self, now: Timestamp) -> Vec<String> {
        let mut lines = Vec::new();
        if let Mode::Running(record) = &self.mode {
            lines.push(view_sentence(record));
        }
        lines.push(match self.next_step(now) {
            Ok(step) => step_sentence(&step),
            Err(wait) => self.wait_sentence(now, &wait),
        });
        lines.extend(self.handover_sentence());
        lines.extend(self.spare_sentences(now));
        lines
    }

    fn wait_sentence(&self, now: Timestamp, wait: &Wait) -> String {
        let dead_after = brief(self.timing().dead_after());
        match wait {
            Wait::Listening => format!(
                "Nobody is judged yet: the view server has started, or was stopped, and listens to \
                 all servers for another {}.",
                brief(self.listens_until.since(now))
            ),
            Wait::Recovering => {
                let waiting = match &self.mode {
                    Mode::Recovering(recovery) => recovery.waiting(),
                    Mode::Running(_) => String::new(),
                };
                format!("Nobody is promoted before it is certain who holds the data: {waiting}.")
            }
            Wait::Nothing => match self.record().map(|record| &record.view) {
                Some(view) => {
                    let (primary, backup) = (&view.primary, listed(view.backup.as_slice(), ""));
                    format!(
                        "There is nothing to do: both answer. If {primary} is silent for \
                         {dead_after}, {backup} takes over; if {backup} is, {primary} goes on alone \
                         and a spare joins."
                    )
                }
                None => String::new(),
            },
            Wait::Copies => {
                let eligible = self.record().map_or(&[][..], |record| &record.eligible);
                format!(
                    "Nobody is promoted: only {} may serve, and no such process answers. A spare \
                     holds nothing, and neither does a process that was restarted. If one of them \
                     answers again it serves; if the data is lost for good, `reset` begins an empty \
                     history.",
                    self.with_incarnations(eligible)
                )
            }
            Wait::Answer { suspect, why, primary } => {
                let is = match why {
                    Lacking::Life => "does not answer",
                    Lacking::Progress => "makes no progress",
                    Lacking::Leave => "is drained",
                };
                format!(
                    "{suspect} {is} and is left out as soon as {primary} answers a ping sent since \
                     then: if {primary} is gone as well, {suspect} may be the last copy. If \
                     {suspect} answers first, it stays."
                )
            }
            Wait::Adoption(primary) => format!(
                "No spare joins before {primary} has confirmed that it serves alone in this view; \
                 its next answer does."
            ),
            Wait::Spare(unfit) => self.no_spare_sentence(now, unfit),
            Wait::Transfer(joining) => format!(
                "{joining} is not backup before the primary reports that it has received the state; \
                 if it makes no progress for {dead_after}, it is dropped and another spare is \
                 preferred."
            ),
            Wait::Sync(backup) => format!(
                "{backup} has caught up and becomes backup as soon as it is reported to hold \
                 everything; the primary serves all the while."
            ),
            Wait::Takeover(primary) => format!(
                "{primary} does not serve before it has confirmed this view, which its next answer \
                 does. If it is silent for {dead_after}, the view is given up: it never served."
            ),
            Wait::Lease(last, until) => format!(
                "The new primary does not serve yet: {last} may answer reads under a lease for \
                 another {}, or until it confirms this view.",
                brief(until.since(now))
            ),
            Wait::Either(primary, last) => {
                let last = last.as_ref().filter(|last| last.incarnation != primary.incarnation);
                let others = last.map_or(String::new(), |last| format!(" or {last}"));
                format!(
                    "Nobody serves: {primary} was to take over and does not answer, and nobody else \
                     who may serve does. {primary}{others} must answer, as the process that it was."
                )
            }
            Wait::First(primary) => format!(
                "The history begins with {primary}, which does not answer; nothing was stored yet, \
                 so any server that answers can take its place."
            ),
        }
    }

    fn no_spare_sentence(&self, now: Timestamp, unfit: &[(ServerId, Unfit)]) -> String {
        let mut sentence = "There is no second copy, because no server can join:".to_owned();
        if unfit.is_empty() {
            return sentence + " none is known. Start one.";
        }
        for (index, (id, why)) in unfit.iter().enumerate() {
            let between = if index == 0 { "" } else { ";" };
            sentence += &format!("{between} {id} {}", unfit_clause(now, *why));
        }
        sentence + "."
    }

    /// Spares and everything strange. Why a member is waited for was said before.
    fn spare_sentences(&self, now: Timestamp) -> Vec<String> {
        let Mode::Running(record) = &self.mode else { return Vec::new() };
        let has_pair = record.view.backup.is_some() || record.view.joining.is_some();
        let mut lines = Vec::new();
        for (id, tracked) in self.roster.iter() {
            let known = tracked.known.as_ref();
            let is_member = known.is_some_and(|known| {
                record.members().iter().any(|member| member.incarnation == known.incarnation)
            });
            if !is_member && has_pair {
                lines.push(match self.unfit(now, record, tracked) {
                    Some(why) => format!("{id} is a spare and could not join: it {}.", unfit_clause(now, why)),
                    None => format!(
                        "{id} is a spare: it holds nothing and is never promoted; it joins when the \
                         backup is lost."
                    ),
                });
            }
            if let Some((address, known)) = tracked.challenge() {
                lines.push(format!(
                    "A second process at {address} calls itself {id}: it takes the id over if the \
                     one at {known} is silent for {}, and is refused if that one answers.",
                    brief(self.timing().dead_after())
                ));
            }
        }
        lines
    }

    fn with_incarnations(&self, members: &[Member]) -> String {
        let names: Vec<_> = members
            .iter()
            .map(|member| format!("{} (incarnation {})", member.id, member.incarnation))
            .collect();
        names.join(" or ")
    }
}

fn view_sentence(record: &Record) -> String {
    let view = &record.view;
    let number = view.id.number;
    let primary = &view.primary;
    match (record.phase, &view.backup, &view.joining) {
        (Phase::Active, Some(backup), _) => format!(
            "View {number}: {primary} is primary, {backup} is backup; both hold everything that was \
             acknowledged."
        ),
        (Phase::Active, None, Some(joining)) => {
            format!("View {number}: {primary} serves alone, {joining} joins.")
        }
        (Phase::Active, None, None) => format!("View {number}: {primary} serves alone."),
        (Phase::Proposed, Some(backup), _) => format!(
            "View {number} is proposed: {primary} stays primary and serves, {backup} is to be backup."
        ),
        (Phase::Proposed, None, _) => {
            let eligible = match record.eligible.as_slice() {
                [] => "nothing is stored yet".to_owned(),
                members => format!("until then {} may still serve", listed(members, " or ")),
            };
            format!("View {number} is proposed: {primary} is to be primary; {eligible}.")
        }
    }
}

fn step_sentence(step: &Step) -> String {
    let what = match step {
        Step::Recover(_, reason) => reason.clone(),
        Step::Suspect(_) => "the primary is asked whether it is there".to_owned(),
        Step::Absolve => "whoever was silent answers again".to_owned(),
        Step::Change(change) => change.reason.clone(),
        Step::RecordLease => "the length of read leases is recorded".to_owned(),
    };
    format!("The view is about to change: {what}.")
}

fn unfit_clause(now: Timestamp, why: Unfit) -> String {
    match why {
        Unfit::Silent => "does not answer (start it, or see why it is not heard)".to_owned(),
        Unfit::Rests(until) => {
            format!("rests for another {}, because its joins have failed", brief(until.since(now)))
        }
        Unfit::Foreign => {
            "holds a copy of another history, which nobody but you gives up: restart it".to_owned()
        }
        Unfit::Drained => "is drained (`undrain` lets it join again, so does a restart)".to_owned(),
    }
}
