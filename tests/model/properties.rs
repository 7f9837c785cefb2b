//! The safety properties, by the names that the simulator uses too, and the goals that show that a
//! run did not pass by doing nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use pbkv::protocol::server::Server;
use pbkv::protocol::view::{Phase, Record};

use crate::clients;
use crate::world::State;

pub const ONE_PRIMARY_PER_VIEW: &str = "one-primary-per-view";
pub const BACKUP_HOLDS_EVERY_ACKED_OP: &str = "backup-holds-every-acked-op";
pub const APPLIED_ONCE: &str = "applied-once";
pub const NO_STALE_READ: &str = "no-stale-read";
pub const PRIMARY_COMES_FROM_ELIGIBLE: &str = "primary-comes-from-eligible";
pub const ELIGIBLE_SET_KEEPS_A_LIVING_COPY: &str = "eligible-set-keeps-a-living-copy";
pub const ADOPTED_VIEW_NEVER_DECREASES: &str = "adopted-view-never-decreases";
pub const SAME_NUMBER_SAME_DIGEST: &str = "same-number-same-digest";
pub const NEVER_WEDGED: &str = "never-wedged";

/// A property that does not hold, and why.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Broken {
    pub property: &'static str,
    pub detail: String,
}

pub type Check = Result<(), Broken>;

pub fn broken(property: &'static str, detail: impl Into<String>) -> Check {
    Err(Broken { property, detail: detail.into() })
}

/// How often something happened that a run must have seen.
#[derive(Default)]
pub struct Goals {
    pub swapped_roles: AtomicUsize,
    pub spare_promoted: AtomicUsize,
    pub read_by_lease: AtomicUsize,
    pub duplicate_suppressed: AtomicUsize,
    pub evicted_refused: AtomicUsize,
    pub all_done: AtomicUsize,
    pub failovers: AtomicUsize,
    pub healed: AtomicUsize,
}

pub fn count(goal: &AtomicUsize) {
    goal.fetch_add(1, Ordering::Relaxed);
}

pub fn seen(goal: &AtomicUsize) -> usize {
    goal.load(Ordering::Relaxed)
}

/// The list under the key of the scripts.
pub fn values(server: &Server) -> Vec<u64> {
    let list =
        server.inspect().replica.and_then(|replica| replica.store().get(&clients::KEY.into()));
    let number = |value: &pbkv::kv::command::Value| value.0.parse().expect("values are numbers");
    list.map_or(Vec::new(), |list| list.values().iter().map(number).collect())
}

impl State {
    /// Checks what an event at this server may have broken.
    pub fn check_server(&mut self, index: usize, before: &Server) -> Check {
        let (server, incarnation) = (&self.servers[index], self.incarnations[index]);
        if server.adopted() < before.adopted() && server.incarnation() == before.incarnation() {
            let detail =
                format!("s{}: {:?} to {:?}", index + 1, before.adopted(), server.adopted());
            return broken(ADOPTED_VIEW_NEVER_DECREASES, detail);
        }
        if let Some(stamp) = server.adopted()
            && server.inspect().is_serving
        {
            let first = *self.served.entry(stamp.view).or_insert(incarnation);
            if first != incarnation {
                let detail = format!("{first} and {incarnation} both serve in {}", stamp.view);
                return broken(ONE_PRIMARY_PER_VIEW, detail);
            }
        }
        let mut list = values(server);
        list.sort_unstable();
        if let Some(twice) = list.windows(2).find(|pair| pair[0] == pair[1]) {
            let detail = format!("s{} holds {} twice", index + 1, twice[0]);
            return broken(APPLIED_ONCE, detail);
        }
        self.check_copies()
    }

    fn eligible(&self) -> impl Iterator<Item = (usize, &Server)> {
        let record = self.records.last();
        self.servers.iter().enumerate().filter_map(move |(index, server)| {
            let eligible = record?.is_eligible(self.incarnations[index]);
            eligible.then_some((index, &**server))
        })
    }

    /// Compares all living members of the eligible set, with what was acknowledged and with each
    /// other.
    pub fn check_copies(&self) -> Check {
        let acknowledged = clients::acknowledged(&self.clients).unwrap_or_default();
        let mut digests = Vec::new();
        for (index, server) in self.eligible() {
            let list = values(server);
            if let Some(lost) = acknowledged.iter().find(|value| !list.contains(value)) {
                let detail = format!("s{} is eligible and lacks {lost}", index + 1);
                return broken(BACKUP_HOLDS_EVERY_ACKED_OP, detail);
            }
            if let Some(replica) = server.inspect().replica {
                digests.push((index, replica.applied(), replica.digest()));
            }
        }
        for (index, applied, digest) in &digests {
            let differs = digests.iter().find(|other| other.1 == *applied && other.2 != *digest);
            if let Some((other, ..)) = differs {
                let detail = format!("s{} and s{} differ at {applied}", index + 1, other + 1);
                return broken(SAME_NUMBER_SAME_DIGEST, detail);
            }
        }
        Ok(())
    }

    /// Whether an eligible process is still running.
    pub fn has_living_copy(&self, record: &Record) -> bool {
        self.incarnations.iter().any(|incarnation| record.is_eligible(*incarnation))
    }

    /// Whether the last active primary goes on alone, is dead, and leaves somebody out who lives.
    pub fn throws_away(&self, former: &Record, record: &Record) -> bool {
        let goes_on = record.keeps_primary()
            && former.last_primary.as_ref().map(|it| it.incarnation)
                == Some(record.view.primary.incarnation);
        goes_on && self.has_living_copy(former) && !self.has_living_copy(record)
    }

    /// Checks that nobody alive was left out for a primary that had died before.
    pub fn check_kept(&self, record: &Record) -> Check {
        let Some(former) = self.records.last() else { return Ok(()) };
        if self.throws_away(former, record) {
            let detail = format!("after {former:?} comes {record:?}");
            return broken(ELIGIBLE_SET_KEEPS_A_LIVING_COPY, detail);
        }
        Ok(())
    }

    /// Checks a new record against the one before.
    pub fn check_record(&self, record: &Record) -> Check {
        let Some(former) = self.records.last() else { return Ok(()) };
        if former.eligible.is_empty() {
            return Ok(());
        }
        let who = |detail: &str| format!("{detail}: after {former:?} comes {record:?}");
        if !former.is_eligible(record.view.primary.incarnation) {
            let detail = who("the primary was not eligible");
            return broken(PRIMARY_COMES_FROM_ELIGIBLE, detail);
        }
        let backup = record.view.backup.as_ref().map(|member| member.incarnation);
        let is_active = record.phase == Phase::Active;
        let appears = record.eligible.iter().find(|member| {
            let grown = is_active && backup == Some(member.incarnation);
            !former.is_eligible(member.incarnation) && !grown
        });
        match appears {
            Some(_) => broken(PRIMARY_COMES_FROM_ELIGIBLE, who("an eligible one appears")),
            None => Ok(()),
        }
    }
}
