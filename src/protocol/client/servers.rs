//! The servers a client has ever heard of, to be asked in turn when the view server is silent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;

use crate::protocol::view::Shown;
use crate::types::ServerId;

/// Bound on what is remembered.
const REMEMBERED: usize = 256;

/// Addresses, with names where they are known.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Servers {
    names: BTreeMap<SocketAddr, Option<ServerId>>,
    /// The one that was asked last.
    turn: Option<SocketAddr>,
}

impl Servers {
    pub(super) fn learn(&mut self, address: SocketAddr, name: Option<&ServerId>) {
        if self.names.len() >= REMEMBERED && !self.names.contains_key(&address) {
            // Most of them are gone, then; the others will be heard of again.
            self.names.clear();
        }
        let known = self.names.entry(address).or_default();
        if name.is_some() {
            *known = name.cloned();
        }
    }

    pub(super) fn learn_members(&mut self, shown: &Shown) {
        for member in shown.primary.iter().chain(&shown.backup) {
            self.learn(member.address, Some(&member.id));
        }
    }

    /// Whose turn it is to be asked.
    pub(super) fn next(&mut self) -> Option<SocketAddr> {
        let after = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.names.range((after, Bound::Unbounded)).next();
        self.turn = next.or(self.names.first_key_value()).map(|(&address, _)| address);
        self.turn
    }

    /// For people who know where their servers are: `s1`, or the address of one without a name.
    pub(super) fn short_name_of(&self, address: SocketAddr) -> String {
        match self.names.get(&address) {
            Some(Some(name)) => name.to_string(),
            Some(None) | None => format!("the server at {address}"),
        }
    }

    /// For people: `s1 at 127.0.0.1:5010`.
    pub(super) fn name_of(&self, address: SocketAddr) -> String {
        match self.names.get(&address) {
            Some(Some(name)) => format!("{name} at {address}"),
            Some(None) | None => format!("at {address}"),
        }
    }
}
