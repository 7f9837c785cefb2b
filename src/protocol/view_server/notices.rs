//! What the log is told of servers and of what is waited for, when it changes.
//!
//! For people; decides nothing, and costs nothing where nobody reads the log. View changes are
//! logged where they are made.

use std::collections::BTreeMap;

use tracing::{Level, enabled, info, warn};

use super::ViewServer;
use crate::time::Timestamp;
use crate::types::{Incarnation, ServerId};

/// What was told last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Notices {
    servers: BTreeMap<ServerId, Told>,
    waiting: Option<String>,
    /// What was waited for at the last look: what passes between two looks is not worth a line.
    seen: Option<String>,
    /// Not looked at again before this.
    rests_until: Timestamp,
}

/// What was told of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Found(Option<Incarnation>),
    Lost,
}

impl ViewServer {
    /// Tells what has changed since it was told last.
    pub(super) fn notice(&mut self, now: Timestamp) {
        // While it listens, it judges nobody: what it would tell then it might take back.
        if now < self.notices.rests_until || now < self.listens_until || !enabled!(Level::INFO) {
            return;
        }
        self.notices.rests_until = now + self.timing().ping_interval();
        let status = self.status(now);
        for server in status.servers {
            let known = self.notices.servers.get(&server.id).copied();
            let is = if server.alive { Told::Found(server.incarnation) } else { Told::Lost };
            let (id, address) = (&server.id, server.address);
            match (known, is) {
                (Some(known), is) if known == is => continue,
                // An entry of the hosts file that has not been started yet is not lost.
                (None, Told::Lost) => continue,
                (Some(Told::Found(_)), Told::Found(_)) => {
                    info!(event = "server_restarted", server = %id, %address, "{id} was restarted");
                }
                (None | Some(Told::Lost), Told::Found(_)) => {
                    info!(event = "server_found", server = %id, %address, "found {id}");
                }
                (Some(_), Told::Lost) => {
                    let silent = server.silent.unwrap_or_default();
                    warn!(event = "server_lost", server = %id, %address, ?silent, "lost {id}");
                }
            }
            self.notices.servers.insert(server.id, is);
        }
        let shown = status.shown;
        let lasts = self.notices.seen == shown.waiting;
        self.notices.seen.clone_from(&shown.waiting);
        if lasts && shown.waiting != self.notices.waiting {
            match &shown.waiting {
                // Before the first view there is nothing to take over.
                Some(waiting) if shown.primary.is_none() && self.record().is_some() => {
                    warn!(event = "no_primary", "nobody serves: {waiting}");
                }
                Some(waiting) => info!(event = "waiting", "{waiting}"),
                None => info!(event = "complete", "complete: {shown}"),
            }
            self.notices.waiting = shown.waiting;
        }
    }
}
