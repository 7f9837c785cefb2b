//! What becomes of a process whose id another one has borne since: it never counts again as what it
//! is (rule 1), and would announce itself for ever while the cluster lacks a server. Once it has
//! answered a fresh ping it is told, and begins again as another incarnation.
//!
//! Kept here: nobody is told for whom the service may have to wait. Who recovers does not know yet
//! whom that is, and tells nobody.

use std::net::SocketAddr;

use crate::protocol::Outbox;
use crate::protocol::message::{Announce, Message, Ping};
use crate::protocol::view::Stamp;
use crate::protocol::view_server::{Answer, Mode, ViewServer};
use crate::time::Timestamp;
use crate::types::Incarnation;

impl ViewServer {
    /// Asks one that announced itself whether it is there.
    pub(super) fn ask_superseded(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        announce: &Announce,
        outbox: &mut Outbox<Answer>,
    ) {
        if let Mode::Running(_) = self.mode
            && let Some(nonce) =
                self.roster.ask_superseded(now, &self.config.timing, from, announce)
        {
            let ping = self.ping(Some(announce.incarnation), nonce);
            outbox.send(announce.address.unwrap_or(from), Message::Ping(ping.into()));
        }
    }

    /// Tells one that has answered; the echo of its pong shows it that this is no ghost.
    pub(super) fn tell_superseded(
        &mut self,
        address: SocketAddr,
        to: Incarnation,
        token: u64,
        adopted: Option<Stamp>,
        outbox: &mut Outbox<Answer>,
    ) {
        let Mode::Running(own) = &self.mode else { return };
        if adopted.is_some_and(|adopted| adopted > own.stamp()) || self.is_needed(to) {
            return;
        }
        let nonce = self.roster.spare_nonce();
        let ping = Ping { heard: Some(token), superseded: true, ..self.ping(Some(to), nonce) };
        outbox.send(address, Message::Ping(ping.into()));
    }
}
