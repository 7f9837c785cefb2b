//! A server's side of the views: what it announces, which pings it answers, which records it
//! adopts, and what it has promised. The counterpart is `protocol::view_server`.
//!
//! Kept here: an adopted record is never replaced by an older one (I5), nor by one of an epoch below
//! what was promised (D49), nor by one of another history while a copy is held (rule 9).
//!
//! A promise is never taken back: the view server that it was given to may have counted it. If that
//! one is gone before it wrote its first record, a server on which nothing rests *begins again*, as
//! if it had been started anew: its next incarnation has promised nothing, and no report of the
//! former one stands for it. So does a server whose id another process bore for a while: a
//! superseded incarnation never counts again.

use std::collections::VecDeque;

use tracing::error;

use crate::config::Timing;
use crate::protocol::message::{Announce, Message, Ping, Pong, Report};
use crate::protocol::server::ServerConfig;
use crate::protocol::view::{Record, Stamp};
use crate::time::Timestamp;
use crate::types::{Epoch, HistoryId, Incarnation};

/// Pongs whose sending times are remembered, so that an echo can name any of them.
const REMEMBERED_PONGS: usize = 64;
/// Announces are never further apart than this part of dead-after, so that a view server without a
/// record hears every server while it listens.
const ANNOUNCE_PARTS: u32 = 2;

/// For so many dead-afters somebody who has a record must be there, and nobody whom the promise
/// could be for, before a server begins again. Whoever recovers listens for less.
const PATIENCE: u32 = 3;

/// See the module's text.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Membership {
    /// The newest record adopted.
    record: Option<Record>,
    /// The highest epoch promised or adopted.
    promised: Epoch,
    /// Since when all that a view server that is there offers is below the promise.
    refusing: Option<Timestamp>,
    /// Timing, as the view server says; the default before it is heard.
    timing: Timing,
    /// When a ping last arrived that names a recent pong of this process.
    heard: Option<Timestamp>,
    announce_at: Timestamp,
    announces: u32,
    /// The pongs sent last, by token, and when. A ping that names none of them may be a ghost.
    pongs: VecDeque<(u64, Timestamp)>,
    last_token: u64,
    /// The foreign history that was already complained about.
    complained: bool,
}

/// What a ping asks for, besides its answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pinged {
    /// A newer record to adopt.
    pub adopt: Option<Record>,
    /// A read lease until this time, if the adopted view is still the ping's.
    pub lease: Option<Timestamp>,
    /// Nothing rests on this server, and as what it is it will never count: begin again.
    pub begin_again: Option<Why>,
}

/// Why a server begins again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// What it has promised keeps it out for good.
    Promised,
    /// Another process has borne its id.
    Superseded,
}

impl Membership {
    /// Knows nothing.
    #[must_use]
    pub fn new(now: Timestamp) -> Membership {
        Membership {
            record: None,
            promised: Epoch::default(),
            refusing: None,
            timing: Timing::default(),
            heard: None,
            announce_at: now,
            announces: 0,
            pongs: VecDeque::new(),
            last_token: 0,
            complained: false,
        }
    }

    /// The newest record adopted.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Timing of the cluster.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Whether a ping of a view server that hears this process came within dead-after.
    #[must_use]
    pub fn is_heard(&self, now: Timestamp) -> bool {
        self.heard.is_some_and(|heard| now.since(heard) < self.timing.dead_after())
    }

    /// The highest epoch promised or adopted.
    #[must_use]
    pub fn promised(&self) -> Epoch {
        self.promised
    }

    /// The newest record's place in the order.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        self.record.as_ref().map(Record::stamp)
    }

    /// Whether this record is to be adopted. A server without a copy follows whatever history the
    /// view server names.
    #[must_use]
    pub fn accepts(&mut self, record: &Record, holds_copy: bool) -> bool {
        if !self.is_in(record.history) {
            if holds_copy {
                if !std::mem::replace(&mut self.complained, true) {
                    error!(
                        event = "foreign_history",
                        ours = ?self.record.as_ref().map(|known| known.history),
                        theirs = ?record.history,
                        "this server holds a copy of another history and takes no part; restart \
                         it to give that copy up"
                    );
                }
                return false;
            }
            return true;
        }
        record.view.id.epoch >= self.promised && Some(record.stamp()) > self.stamp()
    }

    /// Whether this server knows of no other history.
    fn is_in(&self, history: HistoryId) -> bool {
        self.record.as_ref().is_none_or(|known| known.history == history)
    }

    /// Adopts a record that was accepted.
    pub fn adopt(&mut self, record: Record) {
        self.promised = if self.is_in(record.history) {
            self.promised.max(record.view.id.epoch)
        } else {
            record.view.id.epoch
        };
        self.record = Some(record);
    }

    /// Takes a ping addressed to this process, which is `me`.
    pub fn on_ping(
        &mut self,
        now: Timestamp,
        me: Incarnation,
        ping: &Ping,
        holds_copy: bool,
    ) -> Pinged {
        self.timing = ping.timing;
        let sent = ping.heard.and_then(|heard| {
            self.pongs.iter().find(|(token, _)| *token == heard).map(|(_, sent)| *sent)
        });
        // Only a ping that knows a pong of a moment ago shows that the view server is there and
        // hears us. Ghosts of others would silence the announces while it looks for us.
        let is_live = sent.is_some_and(|sent| now.since(sent) < self.timing.dead_after());
        if is_live {
            self.heard = Some(now);
            self.announces = 0;
            self.refusing = self.is_below_promise(ping).then(|| self.refusing.unwrap_or(now));
        }
        // Records of two histories have no order, so a ghost of a former one must not bring a
        // server without a copy back to it.
        let adopt = ping.record.clone().filter(|record| {
            (is_live || self.is_in(record.history)) && self.accepts(record, holds_copy)
        });
        if let Some(epoch) = ping.promise {
            self.promised = self.promised.max(epoch);
        }
        let granted = sent.filter(|_| ping.grants_lease);
        let lease = granted.map(|sent| sent + ping.timing.lease());
        let is_kept_out = self
            .refusing
            .is_some_and(|since| now.since(since) >= self.timing.dead_after() * PATIENCE);
        let is_free = ping.record.as_ref().is_some_and(|record| !record.rests_on(me));
        // A copy is given up only for a record of its own history that is as new as its own, and
        // that no promise keeps it from adopting: whoever the promise was for may have counted it.
        let is_behind = |record: &Record| {
            self.record.as_ref().is_some_and(|known| known.history == record.history)
                && Some(record.stamp()) >= self.stamp()
                && record.view.id.epoch >= self.promised
        };
        let may_forget = !holds_copy || ping.record.as_ref().is_some_and(is_behind);
        let begin_again = if !is_free {
            None
        } else if is_kept_out && !holds_copy {
            Some(Why::Promised)
        } else if ping.superseded && is_live && may_forget {
            Some(Why::Superseded)
        } else {
            None
        };
        Pinged { adopt, lease, begin_again }
    }

    /// Whether somebody speaks whom the promise keeps this server from following. Whoever recovers
    /// has no record yet, and whom the promise is for must not be taken for gone.
    fn is_below_promise(&self, ping: &Ping) -> bool {
        let record = ping.record.as_ref().filter(|record| self.is_in(record.history));
        record.is_some_and(|record| record.view.id.epoch < self.promised)
    }

    /// The answer to a ping. Its sending time counts from here: the lease that an echo of it grants
    /// begins no later than the pong really leaves.
    pub fn pong(
        &mut self,
        now: Timestamp,
        config: &ServerConfig,
        ping: &Ping,
        holds_copy: bool,
        reports: Vec<Report>,
    ) -> Message {
        if self.pongs.len() == REMEMBERED_PONGS {
            self.pongs.pop_front();
        }
        self.last_token += 1;
        self.pongs.push_back((self.last_token, now));
        Message::Pong(Box::new(Pong {
            id: config.id.clone(),
            from: config.incarnation,
            to: ping.from,
            nonce: ping.nonce,
            token: self.last_token,
            address: config.advertise,
            history: self.record.as_ref().map(|record| record.history),
            holds_copy,
            promised: self.promised,
            adopted: self.stamp(),
            record: ping.promise.and_then(|_| self.record.clone()),
            reports,
        }))
    }

    /// Forgets the pongs that no ping can name, as if they had not been sent.
    pub fn forget_pongs(&mut self, can_be_named: impl Fn(u64) -> bool) {
        self.pongs.retain(|(token, _)| can_be_named(*token));
        self.last_token = self.pongs.back().map_or(0, |(token, _)| *token);
    }

    /// When an announce is due: at the start, and whenever the view server is silent.
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        match self.heard {
            Some(heard) => self.announce_at.max(heard + self.timing.dead_after()),
            None => self.announce_at,
        }
    }

    /// The announce that is due, if one is.
    pub fn take_announce(&mut self, now: Timestamp, config: &ServerConfig) -> Option<Message> {
        (now >= self.poll_timeout()).then(|| self.announce(now, config))
    }

    /// An announce, because a ping for another process came here.
    pub fn announce_early(&mut self, now: Timestamp, config: &ServerConfig) -> Option<Message> {
        (now >= self.announce_at).then(|| self.announce(now, config))
    }

    fn announce(&mut self, now: Timestamp, config: &ServerConfig) -> Message {
        let first = self.timing.ping_interval() / 4;
        let longest = self.timing.dead_after() / ANNOUNCE_PARTS;
        self.announce_at = now + (first * (1 << self.announces.min(10))).min(longest);
        self.announces = self.announces.saturating_add(1);
        Message::Announce(Announce {
            id: config.id.clone(),
            incarnation: config.incarnation,
            address: config.advertise,
        })
    }
}
