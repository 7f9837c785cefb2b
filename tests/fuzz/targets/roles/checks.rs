//! What one process can be held to, whatever the others say.
//!
//! The names are those of the invariants of `tests/cluster`.

use std::collections::BTreeMap;

use pbkv::protocol::client::{self, Action, ClientProcess, Completed};
use pbkv::protocol::message::{Link, Message, Outcome};
use pbkv::protocol::server::{self, Server};
use pbkv::protocol::view::{Phase, Record, Shown, Stamp, View};
use pbkv::protocol::view_server::{self, DurableRecord, ViewServer};
use pbkv::protocol::{Effect, codec};
use pbkv::time::Timestamp;
use pbkv::types::{CallId, HistoryId, Incarnation, OperationNumber, ViewId};

use super::world::limits;

/// Every message can be sent, and is understood as what it is.
fn sendable(message: &Message) {
    let mut line = Vec::new();
    codec::encode(message, &mut line);
    assert!(line.len() <= limits().message_bytes, "too large to be sent: {} bytes", line.len());
    assert_eq!(codec::decode(&line).as_ref(), Ok(message), "understood as another message");
}

/// A view server and its file.
#[derive(Clone)]
pub struct ViewChecks {
    durable: Option<DurableRecord>,
    contents: BTreeMap<ViewId, View>,
}

impl ViewChecks {
    pub fn new(durable: Option<DurableRecord>) -> Self {
        ViewChecks { durable, contents: BTreeMap::new() }
    }

    pub fn effect(&mut self, effect: &Effect<view_server::Answer>) {
        match effect {
            Effect::Persist(durable) => self.persist(durable),
            Effect::Send { message, .. } => self.says(message),
            Effect::Answer(_, view_server::Answer::View(shown)) => self.shows(shown),
            Effect::Answer(..) | Effect::SendBefore { .. } | Effect::Stop(_) => {}
        }
    }

    /// What it would say next is no newer than its file.
    pub fn state(&self, process: &ViewServer) {
        if let Some(record) = process.record() {
            let durable = self.durable.as_ref().map(|durable| durable.record.stamp());
            assert!(Some(record.stamp()) <= durable, "recorded-before-shown (I13)");
        }
    }

    fn persist(&mut self, durable: &DurableRecord) {
        let record = &durable.record;
        let view = &record.view;
        let content = self.contents.entry(view.id).or_insert_with(|| view.clone());
        assert_eq!(content, view, "one-content-per-view");
        assert!(view.backup.is_none() || view.joining.is_none(), "one peer at most");
        if let Some(last) = self.durable.as_ref().map(|durable| &durable.record) {
            if record.stamp() == last.stamp() {
                let lease = last.lease;
                assert_eq!(&Record { lease, ..record.clone() }, last, "only the lease changes");
            } else {
                assert!(record.stamp() > last.stamp(), "view-ids-increase (I5)");
                // In a new epoch it goes on from what others have reported.
                if view.id.epoch == last.view.id.epoch {
                    succeeds(last, record);
                }
            }
        }
        self.durable = Some(durable.clone());
    }

    fn says(&self, message: &Message) {
        sendable(message);
        let durable = self.durable.as_ref().map(|durable| &durable.record);
        if let Message::Ping(ping) = message {
            assert!(ping.record.is_none() || ping.record.as_ref() == durable, "I13: {ping:?}");
        } else if let Message::ViewReply(reply) = message {
            self.shows(&reply.shown);
        }
    }

    fn shows(&self, shown: &Shown) {
        let Some(DurableRecord { record, .. }) = &self.durable else {
            assert_eq!((&shown.primary, &shown.backup), (&None, &None), "I13");
            return;
        };
        if let Some(primary) = &shown.primary {
            assert_eq!((shown.view, primary), (record.view.id, &record.view.primary), "I13");
            assert!(record.phase == Phase::Active || record.keeps_primary(), "serves");
        }
        if let Some(backup) = &shown.backup {
            assert!(record.is_eligible(backup.incarnation), "an eligible backup");
            assert_eq!(Some(backup), record.view.backup.as_ref());
        }
    }
}

fn succeeds(last: &Record, record: &Record) {
    let view = &record.view;
    if view.genesis {
        return;
    }
    assert!(last.is_eligible(view.primary.incarnation), "primary-comes-from-eligible (I6)");
    if record.phase == Phase::Proposed {
        assert_eq!(record.eligible, last.eligible, "a proposal changes nobody's standing");
        for member in view.backup.iter().chain(&view.joining) {
            assert!(!last.is_eligible(member.incarnation), "never wipe while eligible (D47)");
        }
    }
    for member in &record.eligible {
        let is_backup = view.backup.as_ref().is_some_and(|it| it.incarnation == member.incarnation);
        assert!(last.is_eligible(member.incarnation) || is_backup, "grows only by a backup (I4)");
    }
}

/// What was seen of a kv server before something happened.
#[derive(Clone)]
struct Seen {
    incarnation: Incarnation,
    adopted: Option<(HistoryId, Stamp)>,
    copy: Option<(OperationNumber, u64)>,
    served: bool,
}

impl Seen {
    fn of(process: &Server) -> Seen {
        let inspection = process.inspect();
        Seen {
            incarnation: process.incarnation(),
            adopted: inspection.record.map(|record| (record.history, record.stamp())),
            copy: inspection.replica.map(|replica| (replica.applied(), replica.digest())),
            served: inspection.is_serving,
        }
    }
}

#[derive(Clone, Default)]
pub struct ServerChecks {
    before: Option<Seen>,
}

impl ServerChecks {
    pub fn before(&mut self, process: &Server) {
        self.before = Some(Seen::of(process));
    }

    pub fn effect(&self, process: &Server, effect: &Effect<server::Answer>) {
        let message = match effect {
            Effect::Send { message, .. } | Effect::SendBefore { message, .. } => message,
            Effect::Persist(_) | Effect::Answer(..) | Effect::Stop(_) => return,
        };
        sendable(message);
        let served = self.before.as_ref().is_some_and(|before| before.served);
        let serves = served || process.inspect().is_serving;
        match message {
            Message::Reply(reply) => {
                let is_refusal = matches!(reply.outcome, Outcome::NotPrimary(_) | Outcome::Busy);
                assert!(serves || is_refusal, "only a primary answers (I15): {reply:?}");
            }
            Message::Success(success) => assert!(serves, "only a primary answers: {success:?}"),
            Message::Replicate(replicate) => {
                self.linked(process, &replicate.link);
                assert!(serves, "only a primary replicates");
            }
            Message::Transfer(transfer) => {
                self.linked(process, &transfer.link);
                assert!(serves, "only a primary transfers");
            }
            Message::Ack(ack) => {
                self.linked(process, &ack.link);
                let applied = process.inspect().replica.map(|it| (it.applied(), it.digest()));
                let former = self.before.as_ref().and_then(|before| before.copy);
                let said = Some((ack.applied, ack.digest));
                assert!(said == applied || said == former, "acknowledges what it holds: {ack:?}");
            }
            Message::Offer(offer) => self.linked(process, &offer.link),
            Message::Verdict(verdict) => self.linked(process, &verdict.link),
            Message::TransferAck(ack) => self.linked(process, &ack.link),
            Message::GetView(_)
            | Message::ViewAnswer(_)
            | Message::ClientRequest(_)
            | Message::Fail(_)
            | Message::Probe(_)
            | Message::ProbeAnswer(_)
            | Message::Announce(_)
            | Message::Refused(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::NewerView(_)
            | Message::ViewRequest(_)
            | Message::ViewReply(_)
            | Message::Request(_)
            | Message::StatusRequest(_)
            | Message::StatusReply(_) => {}
        }
    }

    /// It speaks for itself, and in a view that it has adopted (I7, I10).
    fn linked(&self, process: &Server, link: &Link) {
        assert_eq!(link.from, process.incarnation(), "speaks for itself");
        let now = process.inspect().record.map(|record| (record.history, record.view.id));
        let former = self.before.as_ref().and_then(|before| before.adopted);
        let former = former.map(|(history, stamp)| (history, stamp.view));
        let said = Some((link.history, link.view));
        assert!(said == now || said == former, "in its own view: {link:?}");
    }

    pub fn after(&mut self, process: &Server) {
        let Some(before) = self.before.take() else { return };
        let after = Seen::of(process);
        let inspection = process.inspect();
        if inspection.is_serving {
            let record = inspection.record.expect("who serves has adopted a view");
            assert_eq!(record.view.primary.incarnation, after.incarnation, "one-primary-per-view");
            assert!(record.phase == Phase::Active || record.keeps_primary(), "serves too early");
            assert!(inspection.replica.is_some(), "serves without a copy");
        }
        if after.incarnation != before.incarnation {
            // It began again, as a restart would: with nothing.
            assert_eq!(after.copy, None, "another incarnation knows nothing");
            return;
        }
        let (Some((history, was)), Some((now_in, is))) = (before.adopted, after.adopted) else {
            assert!(before.adopted.is_none(), "forgets what it has adopted");
            return;
        };
        if history == now_in {
            assert!(is >= was, "adopted-view-never-decreases (I5): {was:?}, {is:?}");
        } else {
            assert!(before.copy.is_none(), "leaves the history of which it holds a copy");
        }
        if is == was
            && history == now_in
            && let (Some((number, digest)), Some((now_number, now_digest))) =
                (before.copy, after.copy)
        {
            assert!(now_number >= number, "forgets operations");
            assert!(now_number > number || now_digest == digest, "same-number-same-digest (I11)");
        }
    }
}

/// What the client's callers are promised.
#[derive(Clone, Default)]
pub struct ClientChecks {
    open: BTreeMap<CallId, (Timestamp, Action)>,
}

impl ClientChecks {
    pub fn asked(&mut self, call: CallId, until: Timestamp, action: &Action) {
        self.open.insert(call, (until, action.clone()));
    }

    pub fn answered(&mut self, call: CallId, answer: &client::Answer) {
        let (_, action) = self.open.remove(&call).expect("each call is answered once");
        let Ok(completed) = answer else { return };
        let fits = match action {
            Action::Write(_) => matches!(
                completed,
                Completed::Written | Completed::Number(_) | Completed::Mismatch(_)
            ),
            Action::Get(_) => matches!(completed, Completed::List(_)),
            Action::Mget(keys) => {
                matches!(completed, Completed::Lists(lists) if lists.len() == keys.len())
            }
            Action::Exists(_) => matches!(completed, Completed::Exists(_)),
            Action::Len(_) => matches!(completed, Completed::Length(_)),
            Action::Keys { .. } => matches!(completed, Completed::Keys(_)),
            Action::Snapshot(_) => matches!(completed, Completed::Snapshot(_)),
            Action::View => matches!(completed, Completed::View(_)),
        };
        assert!(fits, "an answer to something else: {completed:?}");
    }

    /// Asked after every timer that was due has rung.
    pub fn answers_in_time(&self, process: &ClientProcess, now: Timestamp) {
        use pbkv::protocol::Process;
        if process.poll_timeout().is_some_and(|due| due <= now) {
            return;
        }
        let late = self.open.iter().find(|(_, (until, _))| *until <= now);
        assert!(late.is_none(), "nobody waits longer than asked: {late:?}");
    }
}
