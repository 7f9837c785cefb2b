//! Views and the record: who is primary, who is backup, who joins, and whose copy is eligible.
//!
//! A [`View`] is content that never changes once its number was drawn. A [`Record`] is what the
//! view server makes durable before anybody sees it, and what rides in its pings: a view, its
//! phase, and the eligible set. Records are ordered by (epoch, number, phase); everybody keeps the
//! newest one it has heard of and refuses everything older.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{HistoryId, Incarnation, ServerId, ViewId};

/// One process that a view names. Two members are the same only if the incarnations are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The name that the operator knows.
    pub id: ServerId,
    /// The process that bears it.
    pub incarnation: Incarnation,
    /// Where it is reached. Never used to tell who sent something.
    pub address: SocketAddr,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)
    }
}

/// The content of a view: fixed for ever by its id.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct View {
    /// Epoch and number.
    pub id: ViewId,
    /// Serves clients once the view is active (and before that, if it served in the last active one).
    pub primary: Member,
    /// Must acknowledge every operation before the primary commits it.
    pub backup: Option<Member>,
    /// Receives the state while the primary serves alone. Never together with a backup.
    pub joining: Option<Member>,
    /// Lineage: the number of the view in which the present backup or joiner began to join. Without
    /// either it keeps its last value, which names the lineage that the former pair shared.
    pub since: ViewId,
    /// The history is empty here: the primary starts with an empty store when the view is active.
    pub genesis: bool,
}

/// How far a view has come. Rises once, from proposed to active.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Drawn and visible. Entered for a change of primary and for a join that caught up; left for
    /// `Active`, or for a view with a higher number.
    Proposed,
    /// In force: the eligible set is this view's own.
    Active,
}

/// Orders records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// The view.
    pub view: ViewId,
    /// Its phase.
    pub phase: Phase,
}

/// What the view server knows for certain, durable before it is visible.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The history that all of this is about.
    pub history: HistoryId,
    /// The newest view.
    pub view: View,
    /// Its phase.
    pub phase: Phase,
    /// Members that hold every acknowledged operation: this view's own once it is active, those of
    /// the last active view while it is proposed. Empty only while a first view is proposed.
    pub eligible: Vec<Member>,
    /// Primary of the last active view; none before the first one.
    pub last_primary: Option<Member>,
    /// The longest read lease ever granted that may still be in force.
    #[serde(rename = "lease_us")]
    pub lease: Micros,
}

/// A duration of whole microseconds, as it stands in a record.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl From<Duration> for Micros {
    fn from(duration: Duration) -> Self {
        Micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Micros> for Duration {
    fn from(micros: Micros) -> Self {
        Duration::from_micros(micros.0)
    }
}

impl Record {
    /// The record's place in the order.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp { view: self.view.id, phase: self.phase }
    }

    /// Whether this process held every acknowledged operation when the record was made.
    #[must_use]
    pub fn is_eligible(&self, incarnation: Incarnation) -> bool {
        self.eligible.iter().any(|member| member.incarnation == incarnation)
    }

    /// Whether the view keeps the primary of the last active view: then it serves throughout, even
    /// while the view is only proposed.
    #[must_use]
    pub fn keeps_primary(&self) -> bool {
        self.last_primary.as_ref().map(|last| last.incarnation)
            == Some(self.view.primary.incarnation)
    }

    /// Whether what this process knows and has promised decides how the record goes on. Everybody
    /// else may be lost at any time, and loses nothing.
    #[must_use]
    pub fn rests_on(&self, incarnation: Incarnation) -> bool {
        let is_it = |member: &Member| member.incarnation == incarnation;
        is_it(&self.view.primary)
            || self.view.backup.as_ref().is_some_and(is_it)
            || self.is_eligible(incarnation)
    }

    /// Whether a process that the record names is reached where `is_there` says.
    #[must_use]
    pub fn names(&self, is_there: impl Fn(SocketAddr) -> bool) -> bool {
        let view = &self.view;
        std::iter::once(&view.primary)
            .chain(&view.backup)
            .chain(&view.joining)
            .chain(&self.eligible)
            .chain(&self.last_primary)
            .any(|member| is_there(member.address))
    }

    /// Every process that the record names, once each.
    #[must_use]
    pub fn members(&self) -> Vec<&Member> {
        let view = &self.view;
        let named = std::iter::once(&view.primary)
            .chain(&view.backup)
            .chain(&view.joining)
            .chain(&self.eligible)
            .chain(&self.last_primary);
        let mut members: Vec<&Member> = Vec::new();
        for member in named {
            if !members.iter().any(|known| known.incarnation == member.incarnation) {
                members.push(member);
            }
        }
        members
    }
}

/// What people and clients are shown of a view: only who is alive and may do its work.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Shown {
    /// The newest view; the default before the first one.
    pub view: ViewId,
    /// An activated primary that is alive.
    pub primary: Option<Member>,
    /// An eligible backup that is alive.
    pub backup: Option<Member>,
    /// What the cluster waits for when it cannot serve, or cannot do more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting: Option<String>,
}

impl fmt::Display for Shown {
    /// The line that `view` prints: `primary: s1 backup: s2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |member: &Option<Member>| match member {
            Some(member) => member.id.to_string(),
            None => "none".to_owned(),
        };
        write!(f, "primary: {} backup: {}", name(&self.primary), name(&self.backup))
    }
}
