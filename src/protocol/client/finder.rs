//! Finds the primary: asks, follows, doubts.
//!
//! What others say of a view is a hint; that a server answers as primary is the proof. So a higher
//! view heard from an isolated server cannot lock the client out, and a late word of a lower one
//! cannot lure it away from a primary that serves. An epoch, once known, is never left for a
//! lower one: after a `reset` the former servers may still be answering.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::events::{Event, Events};
use super::requests::Ids;
use super::servers::Servers;
use super::{Answer, FailureReason};
use crate::protocol::Outbox;
use crate::protocol::message::{Message, ViewReply, ViewRequest};
use crate::protocol::view::{Member, Shown};
use crate::time::Timestamp;
use crate::types::{Epoch, RequestId, ViewId};

/// A request that is unanswered for so long is a reason to ask.
const OVERDUE: Duration = Duration::from_millis(50);
/// One that is unanswered for so long is worth a word to whoever waits for it.
const TOLD: Duration = Duration::from_millis(100);
/// Questions that the view server leaves unanswered before that is told, too.
const TRIES_TOLD: u32 = 6;
/// Between two questions then: a failover is noticed within one interval after the new primary is
/// shown.
const INTERVAL: Duration = Duration::from_millis(20);
/// The same while the view server is silent.
const INTERVAL_SILENT: Duration = Duration::from_millis(100);
/// The same when nobody waits for what is unanswered.
const INTERVAL_CALM: Duration = Duration::from_millis(250);
/// Questions without an answer after which others than the view server are asked, too.
const TRIES: u32 = 2;
/// What a server that was hinted at gets to prove itself, before a lower view is believed.
const PROOF_WITHIN: Duration = Duration::from_millis(200);
/// Least time between two sendings of everything to the same server.
const BOUNCE: Duration = Duration::from_millis(10);
/// Questions whose answer still counts.
const ASKS_REMEMBERED: usize = 128;

/// Where requests go.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Target {
    address: SocketAddr,
    /// In which it is primary, as far as we know.
    view: ViewId,
    standing: Standing,
    /// Of the standing. For a proven one: the newest answer.
    since: Timestamp,
}

/// What we think of the [`Target`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Standing {
    /// Somebody named it primary. Left when it answers, or refuses.
    Hinted,
    /// It has answered as primary. Left when it refuses, or the view server shows none.
    Proven,
    /// It refused, or the view server shows no primary. What is in flight is still repeated, but
    /// nothing new is sent: a write that was never sent certainly did not happen.
    Doubted,
}

/// A question that may still be answered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Asked {
    whom: SocketAddr,
    sent: Timestamp,
}

/// A word that somebody is primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Hint {
    by: Source,
    /// When the question was sent that it answers.
    asked: Timestamp,
}

/// Who names a primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    ViewServer,
    /// A kv server names itself.
    Itself,
    /// A kv server names another.
    Server,
}

/// Everything in flight must be sent to another server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Switch {
    pub(super) to: SocketAddr,
    /// Set where it has had the same a moment ago.
    pub(super) not_before: Option<Timestamp>,
}

/// What is waiting for a primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Need {
    /// A caller waits for something that goes to the primary.
    pub(super) awaited: bool,
    /// When the oldest request in flight was first sent.
    pub(super) oldest: Option<Timestamp>,
}

/// Finds and follows the primary.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Finder {
    view_server: SocketAddr,
    /// The highest epoch in which there was a primary, of the history that is followed.
    epoch: Epoch,
    /// Since when that is known.
    epoch_since: Timestamp,
    target: Option<Target>,
    /// Followed before the target, and until when.
    previous: Option<(SocketAddr, Timestamp)>,
    servers: Servers,
    asked: BTreeMap<RequestId, Asked>,
    last_ask: Option<Timestamp>,
    /// Questions to the view server since its last answer.
    unanswered: u32,
    /// A server has refused since the last question.
    refused: bool,
    /// When it was last said that there is no primary, and what is waited for.
    none_said: Option<(Timestamp, String)>,
    /// What whoever waits may want to be told.
    pub(super) events: Events,
}

impl Finder {
    pub(super) fn new(view_server: SocketAddr) -> Self {
        Finder {
            view_server,
            epoch: Epoch::default(),
            epoch_since: Timestamp::ZERO,
            target: None,
            previous: None,
            servers: Servers::default(),
            asked: BTreeMap::new(),
            last_ask: None,
            unanswered: 0,
            refused: false,
            none_said: None,
            events: Events::default(),
        }
    }

    /// Where to repeat what is in flight.
    pub(super) fn target(&self) -> Option<SocketAddr> {
        self.target.as_ref().map(|target| target.address)
    }

    /// Where to send something new.
    pub(super) fn trusted(&self) -> Option<SocketAddr> {
        self.target.as_ref().and_then(|target| match target.standing {
            Standing::Hinted | Standing::Proven => Some(target.address),
            Standing::Doubted => None,
        })
    }

    /// Whether an answer of this view belongs to a history that was given up.
    pub(super) fn is_outdated(&self, view: ViewId) -> bool {
        view.epoch < self.epoch
    }

    /// When to ask next.
    pub(super) fn ask_due(&self, need: Need) -> Option<Timestamp> {
        if !need.awaited && need.oldest.is_none() {
            return None;
        }
        let interval = if !need.awaited {
            INTERVAL_CALM
        } else if self.unanswered > TRIES && !self.refused {
            INTERVAL_SILENT
        } else {
            INTERVAL
        };
        let rested = self.last_ask.map_or(Timestamp::ZERO, |last| last + interval);
        if self.trusted().is_none() || self.refused {
            Some(rested)
        } else {
            need.oldest.map(|oldest| rested.max(oldest + OVERDUE))
        }
    }

    /// Asks who is primary.
    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        need: Need,
        ids: &mut Ids,
        outbox: &mut Outbox<Answer>,
    ) {
        self.tell_of_silence(now, need);
        let mut whom = vec![self.view_server];
        if self.unanswered >= TRIES {
            whom.extend(self.servers.next());
        }
        // The view server may be cut off from a primary that serves: then that one says so itself.
        if self.trusted().is_none() {
            whom.extend(self.target());
        }
        whom.dedup();
        for address in whom {
            let id = ids.next();
            self.asked.insert(id, Asked { whom: address, sent: now });
            let request = ViewRequest { client: ids.client, id, fresh: false };
            outbox.send(address, Message::ViewRequest(request));
        }
        while self.asked.len() > ASKS_REMEMBERED {
            self.asked.pop_first();
        }
        self.last_ask = Some(now);
        self.refused = false;
        self.unanswered = self.unanswered.saturating_add(1);
    }

    fn tell_of_silence(&mut self, now: Timestamp, need: Need) {
        if !need.awaited {
            return;
        }
        if let Some(address) = self.trusted()
            && need.oldest.is_some_and(|oldest| now.since(oldest) >= TOLD)
        {
            let server = self.servers.short_name_of(address);
            self.events.say(Event::Silent { server });
        }
        if self.unanswered >= TRIES_TOLD {
            self.events.say(Event::ViewServerSilent { address: self.view_server });
        }
    }

    /// An answer to [`Finder::ask`], or to anything else that was asked of the view server
    /// (`sent` says when).
    pub(super) fn on_view_reply(
        &mut self,
        now: Timestamp,
        reply: &ViewReply,
        sent: Option<Timestamp>,
    ) -> Option<Switch> {
        let asked = match (self.asked.remove(&reply.id), sent) {
            (Some(asked), _) => asked,
            (None, Some(sent)) => Asked { whom: self.view_server, sent },
            (None, None) => return None,
        };
        let by_view_server = asked.whom == self.view_server;
        if by_view_server {
            self.unanswered = 0;
        }
        for &address in &reply.servers {
            self.servers.learn(address, None);
        }
        self.servers.learn_members(&reply.shown);
        match &reply.shown.primary {
            Some(primary) => {
                let by = if by_view_server {
                    Source::ViewServer
                } else if primary.address == asked.whom {
                    Source::Itself
                } else {
                    Source::Server
                };
                let hint = Hint { by, asked: asked.sent };
                self.on_hint(now, primary, reply.shown.view, hint)
            }
            None => {
                self.on_none(now, &reply.shown, by_view_server.then_some(asked.sent));
                None
            }
        }
    }

    /// Somebody says that there is no primary; the view server in answer to a question sent then.
    fn on_none(&mut self, now: Timestamp, shown: &Shown, asked: Option<Timestamp>) {
        let waiting = shown.waiting.clone();
        let waiting = waiting.unwrap_or_else(|| "no server is shown as primary".to_owned());
        self.events.say(Event::NoPrimary { waiting: waiting.clone() });
        self.none_said = Some((now, waiting));
        if let (Some(target), Some(asked)) = (&mut self.target, asked)
            && target.standing != Standing::Doubted
            && shown.view >= target.view
            // It has not answered since: else it is the view server that does not hear it.
            && asked >= target.since
        {
            target.standing = Standing::Doubted;
            target.since = now;
        }
    }

    fn know(&mut self, now: Timestamp, epoch: Epoch) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.epoch_since = now;
        }
    }

    fn on_hint(
        &mut self,
        now: Timestamp,
        primary: &Member,
        view: ViewId,
        hint: Hint,
    ) -> Option<Switch> {
        if view.epoch < self.epoch {
            // The epochs of a history never fall at its view server. Asked after a higher one was
            // known, it speaks of another history: the whole cluster was started anew.
            let is_anew = hint.by == Source::ViewServer && hint.asked > self.epoch_since;
            if !is_anew {
                return None;
            }
            self.target = None;
        }
        self.know(now, view.epoch);
        let Some(target) = &mut self.target else {
            return self.follow(now, primary.address, view, Standing::Hinted);
        };
        // An answer as primary that came after the question is worth more than the word.
        let silent = hint.asked >= target.since;
        let unproven = target.standing != Standing::Proven;
        if target.address == primary.address {
            target.view = target.view.max(view);
            let restored = match hint.by {
                Source::ViewServer | Source::Itself => silent,
                Source::Server => false,
            };
            if target.standing == Standing::Doubted && restored {
                target.standing = Standing::Hinted;
                target.since = now;
            }
            return None;
        }
        let higher = view > target.view;
        let believed = match hint.by {
            Source::ViewServer => higher || (unproven && silent),
            Source::Itself | Source::Server => {
                (higher && (unproven || silent))
                    || (unproven && now.since(target.since) >= PROOF_WITHIN)
            }
        };
        if believed { self.follow(now, primary.address, view, Standing::Hinted) } else { None }
    }

    /// A server has answered as primary of this view.
    pub(super) fn on_proof(
        &mut self,
        now: Timestamp,
        answerer: SocketAddr,
        view: ViewId,
    ) -> Option<Switch> {
        self.know(now, self.epoch.max(view.epoch));
        if let Some(target) = &mut self.target {
            // A view has one primary, under however many addresses it answers.
            if target.address == answerer || target.view == view {
                target.view = target.view.max(view);
                target.standing = Standing::Proven;
                target.since = now;
                self.refused = false;
                self.none_said = None;
                let servers = &self.servers;
                self.events.is_well(|| servers.short_name_of(answerer));
                return None;
            }
            // A late answer of the former primary does not call us back from its successor; but if
            // the successor keeps silent, it was none.
            let silent =
                target.standing != Standing::Proven && now.since(target.since) >= PROOF_WITHIN;
            if view < target.view && !silent {
                return None;
            }
        }
        self.none_said = None;
        let switch = self.follow(now, answerer, view, Standing::Proven);
        let servers = &self.servers;
        self.events.is_well(|| servers.short_name_of(answerer));
        switch
    }

    /// A server says that it is not the serving primary.
    pub(super) fn on_refusal(
        &mut self,
        now: Timestamp,
        answerer: SocketAddr,
        shown: &Shown,
    ) -> Option<Switch> {
        self.servers.learn_members(shown);
        self.refused = true;
        if let Some(target) = &mut self.target
            && target.address == answerer
        {
            if target.standing != Standing::Doubted {
                target.standing = Standing::Doubted;
                target.since = now;
            }
            let server = self.servers.short_name_of(answerer);
            self.events.say(Event::Refused { server });
            let name = self.servers.name_of(answerer);
            let waiting = shown.waiting.clone();
            let waiting = waiting.unwrap_or_else(|| format!("{name} does not serve as primary"));
            self.none_said = Some((now, waiting));
        }
        let primary = shown.primary.as_ref()?;
        if primary.address == answerer {
            // It refuses and yet is named: it has not heard of its activation.
            return None;
        }
        self.on_hint(now, primary, shown.view, Hint { by: Source::Server, asked: now })
    }

    fn follow(
        &mut self,
        now: Timestamp,
        address: SocketAddr,
        view: ViewId,
        standing: Standing,
    ) -> Option<Switch> {
        let not_before = self
            .previous
            .and_then(|(previous, until)| (previous == address).then_some(until + BOUNCE))
            .filter(|&time| time > now);
        self.previous = self.target.take().map(|target| (target.address, now));
        if self.previous.is_some_and(|(previous, _)| previous != address) {
            let server = self.servers.short_name_of(address);
            self.events.say(Event::NewPrimary { server });
        }
        self.target = Some(Target { address, view, standing, since: now });
        Some(Switch { to: address, not_before })
    }

    /// Why something that was asked then has failed.
    pub(super) fn reason(&self, called: Timestamp) -> FailureReason {
        match (self.trusted(), &self.none_said) {
            (Some(address), _) => FailureReason::PrimarySilent(self.servers.name_of(address)),
            (None, Some((said, waiting))) if *said >= called => {
                FailureReason::NoPrimary(waiting.clone())
            }
            (None, Some(_) | None) => self.silent(),
        }
    }

    pub(super) fn silent(&self) -> FailureReason {
        FailureReason::ViewServerSilent(self.view_server)
    }
}
