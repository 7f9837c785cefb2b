//! A fake server: answers pings, may adopt or not, and says what it is told to say.

use std::net::SocketAddr;

use crate::protocol::message::{Message, Ping, Pong, Report, ReportKind};
use crate::protocol::view::{Phase, Record};
use crate::time::Timestamp;
use crate::types::{Epoch, Incarnation, ServerId};

/// What a kv server would say, without a store behind it.
#[derive(Clone)]
pub struct Fake {
    pub id: ServerId,
    pub incarnation: Incarnation,
    pub address: SocketAddr,
    /// Hears what is sent to it.
    pub hears: bool,
    /// Is heard.
    pub speaks: bool,
    /// Takes over newer records.
    pub adopts: bool,
    /// Reports by itself that a joiner has caught up and that a backup is synced.
    pub helps: bool,
    /// Reported in addition, in its adopted view.
    pub says: Vec<(Incarnation, ReportKind)>,
    pub record: Option<Record>,
    pub promised: Epoch,
    pub holds_copy: bool,
    pub(super) heard: Option<Timestamp>,
    pub(super) announce_at: Timestamp,
}

impl Fake {
    fn reports(&self) -> Vec<Report> {
        let Some(record) = &self.record else { return Vec::new() };
        let view = &record.view;
        let mut reports = Vec::new();
        let mut say = |about, kind| reports.push(Report { view: view.id, about, kind });
        if self.helps && view.primary.incarnation == self.incarnation {
            if let Some(joining) = &view.joining {
                say(joining.incarnation, ReportKind::CaughtUp);
            }
            if let (Phase::Proposed, Some(backup)) = (record.phase, &view.backup) {
                say(backup.incarnation, ReportKind::Synced);
            }
        }
        for (about, kind) in &self.says {
            say(*about, *kind);
        }
        reports
    }

    pub fn on_ping(&mut self, now: Timestamp, ping: &Ping) -> Message {
        self.heard = Some(now);
        if let Some(record) = &ping.record {
            let known = self.record.as_ref();
            let ours = known.is_none_or(|known| known.history == record.history);
            let newer = record.view.id.epoch >= self.promised
                && Some(record.stamp()) > known.map(Record::stamp);
            if self.adopts && (ours && newer || !ours && !self.holds_copy) {
                self.promised = self.promised.max(record.view.id.epoch);
                self.record = Some(record.clone());
                let named = record.view.primary.incarnation == self.incarnation
                    || record.view.backup.as_ref().map(|backup| backup.incarnation)
                        == Some(self.incarnation);
                self.holds_copy |= named && record.phase == Phase::Active;
            }
        }
        if let Some(epoch) = ping.promise {
            self.promised = self.promised.max(epoch);
        }
        Message::Pong(Box::new(Pong {
            id: self.id.clone(),
            from: self.incarnation,
            to: ping.from,
            nonce: ping.nonce,
            token: ping.nonce,
            address: None,
            history: self.record.as_ref().map(|record| record.history),
            holds_copy: self.holds_copy,
            promised: self.promised,
            adopted: self.record.as_ref().map(Record::stamp),
            record: ping.promise.and_then(|_| self.record.clone()),
            reports: self.reports(),
        }))
    }
}
