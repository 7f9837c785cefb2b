//! What stands between socket and transport: with keys, datagrams are opened and sealed here.
//!
//! Kept here: with keys, nothing that did not come out of a seal reaches the transport, nothing
//! leaves unsealed, and no process is handed a message that its sender may not send. What is
//! refused gets no answer; the operator is told of it, a line now and then and a counter. What the
//! seal proves, and how, is in [`protocol::seal`](crate::protocol::seal).

use std::net::SocketAddr;
use std::time::Duration;

use tracing::warn;

use crate::config::Limits;
use crate::protocol::message::{Message, Speaker};
use crate::protocol::seal::{Counters, OVERHEAD, Opened, Refusal, Role, Seal, is_sealed};
use crate::protocol::transport::Datagram;
use crate::time::Timestamp;

/// Between two warnings of the same kind.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The limits with which to make the transport of a process that has keys: what is sealed shall be
/// no larger than what is sent in the clear.
#[must_use]
pub fn limits_under_seal(limits: Limits) -> Limits {
    let room = |limit: usize| limit.saturating_sub(OVERHEAD);
    Limits {
        datagram_bytes: room(limits.datagram_bytes),
        loopback_datagram_bytes: room(limits.loopback_datagram_bytes),
        ..limits
    }
}

/// See the module. Without keys it lets everything through.
pub(crate) struct Guard {
    seal: Option<Seal>,
    /// Sealed datagrams that came to a process without keys.
    sealed_in_vain: u64,
    /// What was warned of last, and how often it happened since then.
    warned: [(Option<Timestamp>, u64); Refusal::ALL.len() + 1],
}

impl Guard {
    pub(crate) fn new(seal: Option<Seal>) -> Guard {
        Guard { seal, sealed_in_vain: 0, warned: Default::default() }
    }

    /// What has happened since the start; a process without keys counts what it cannot open.
    pub(crate) fn counters(&self) -> Counters {
        let Some(seal) = &self.seal else {
            let mut counters = Counters::default();
            counters.refused[Refusal::UnknownKey as usize] = self.sealed_in_vain;
            return counters;
        };
        *seal.counters()
    }

    /// The clear datagram in one that has arrived, and its sender's role if that is proven; none
    /// if it goes no further.
    pub(crate) fn open<'a>(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Option<(&'a [u8], Option<Role>)> {
        let Some(seal) = &mut self.seal else {
            if is_sealed(datagram) {
                self.sealed_in_vain += 1;
                self.warn(now, from, None);
                return None;
            }
            return Some((datagram, None));
        };
        match seal.open(now, from, datagram) {
            Opened::Clear(clear, role) => Some((clear, Some(role))),
            Opened::Nothing => None,
            Opened::Refused(refusal) => {
                self.warn(now, from, Some(refusal));
                None
            }
        }
    }

    /// Whether the process may be handed a message that came from a sender in this role.
    pub(crate) fn admits(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        sender: Option<Role>,
        message: &Message,
    ) -> bool {
        let (Some(seal), Some(sender)) = (&mut self.seal, sender) else { return true };
        let is_admitted = seal.role().takes(sender, message);
        if !is_admitted {
            seal.refuse(Refusal::Message);
            self.warn(now, from, Some(Refusal::Message));
        }
        is_admitted
    }

    /// A message is about to be packed for this address.
    pub(crate) fn before_sending(&mut self, now: Timestamp, to: SocketAddr, message: &Message) {
        let Some(seal) = &mut self.seal else { return };
        match message.speaker() {
            Speaker::Server | Speaker::ViewServer => seal.reserve_for_servers(now, to),
            Speaker::Anybody | Speaker::WhoeverWasAsked => {}
        }
    }

    /// What to hand to the kernel for this datagram; none if it waits.
    pub(crate) fn seal<'a>(
        &'a mut self,
        now: Timestamp,
        datagram: &'a Datagram,
    ) -> Option<&'a [u8]> {
        match &mut self.seal {
            None => Some(&datagram.bytes),
            Some(seal) => seal.seal(now, datagram.to, &datagram.bytes),
        }
    }

    /// Moves what else is to be sent to `out`.
    pub(crate) fn drain_into(&mut self, out: &mut Vec<Datagram>) {
        if let Some(seal) = &mut self.seal {
            out.extend(seal.drain());
        }
    }

    /// None is a sealed datagram where there are no keys.
    fn warn(&mut self, now: Timestamp, from: SocketAddr, refusal: Option<Refusal>) {
        let kind = refusal.map_or(Refusal::ALL.len(), |refusal| refusal as usize);
        let (last, suppressed) = &mut self.warned[kind];
        if last.is_some_and(|last| now.since(last) < WARN_EVERY) {
            *suppressed += 1;
            return;
        }
        *last = Some(now);
        let more = std::mem::take(suppressed);
        let (reason, text) = match refusal {
            None => (
                "no_key",
                "is sealed, and this process has no key: start it with --key-file and the file of \
                 the others",
            ),
            Some(Refusal::Unsealed) => (
                "unsealed",
                "is not sealed: start its sender with --key-file and the file of the others",
            ),
            Some(Refusal::UnknownKey) => (
                "unknown_key",
                "is sealed with a key that is not in the key file here: give its sender the same \
                 file, or add its key to this one",
            ),
            Some(Refusal::Forged) => ("forged", "is forged or damaged: nothing is to be done"),
            Some(Refusal::Role) => (
                "role",
                "is from a process that has only a key for clients, and is none: give it a key of \
                 the cluster",
            ),
            Some(Refusal::Message) => (
                "message",
                "holds a message that its sender may not send: find out who has that key",
            ),
        };
        let more = if more == 0 { String::new() } else { format!(" (and {more} more since then)") };
        warn!(event = "datagram_refused", reason, %from, "a datagram from {from} {text}{more}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::GetView;
    use crate::protocol::seal::{Keyring, SECRET_BYTES};

    const KEY: &str = "a 00000000000000000000000000000000000000000000000000000000000000aa";

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn keyed(role: Role) -> Guard {
        let keyring = Keyring::parse(KEY).unwrap();
        Guard::new(Some(Seal::new(keyring, role, &[role as u8; SECRET_BYTES])))
    }

    #[test]
    fn without_keys_everything_passes_but_what_is_sealed() {
        let mut guard = Guard::new(None);
        let mut clear = *b"{\"type\":\"ping\"}";
        let expected = clear;
        assert_eq!(guard.open(Timestamp(1), at(1), &mut clear), Some((&expected[..], None)));
        assert_eq!(guard.open(Timestamp(1), at(1), &mut [0xB1; 100]), None);
        assert_eq!(guard.counters().refused[Refusal::UnknownKey as usize], 1);
        let message = Message::GetView(GetView {});
        assert!(guard.admits(Timestamp(1), at(1), None, &message));
    }

    #[test]
    fn with_keys_nothing_passes_and_nothing_leaves_in_the_clear() {
        let mut guard = keyed(Role::Server);
        let mut clear = *b"{\"type\":\"ping\"}";
        assert_eq!(guard.open(Timestamp(1), at(1), &mut clear), None);
        let datagram = Datagram { to: at(1), bytes: clear.to_vec() };
        assert_eq!(guard.seal(Timestamp(1), &datagram), None);
        let mut out = Vec::new();
        guard.drain_into(&mut out);
        assert!(out.len() == 1 && is_sealed(&out[0].bytes));
        assert_eq!(guard.counters().refused[Refusal::Unsealed as usize], 1);
    }

    #[test]
    fn what_its_sender_may_not_send_is_refused_and_counted() {
        let mut guard = keyed(Role::Server);
        let message = Message::GetView(GetView {});
        assert!(guard.admits(Timestamp(1), at(1), Some(Role::Client), &message));
        assert!(!guard.admits(Timestamp(1), at(1), Some(Role::Server), &message));
        assert_eq!(guard.counters().refused[Refusal::Message as usize], 1);
    }

    #[test]
    fn sealed_datagrams_are_no_larger_than_the_limit() {
        let limits = limits_under_seal(Limits::default());
        assert_eq!(limits.datagram_bytes + OVERHEAD, 1200);
        assert!(limits.loopback_datagram_bytes + OVERHEAD <= 60 << 10);
    }
}
