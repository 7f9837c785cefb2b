//! What the protocol processes count, for whoever watches them.
//!
//! Counting is something that a process wants done, like sending: [`Outbox`](super::Outbox) carries
//! it out, and since adding up is all that is ever done, it does so itself. So no counter is part
//! of a process's state: the model checker merges states however they were reached, and no
//! decision can be taken from a count. A count costs an addition; nobody locks anything.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::kv::command::Command;
use crate::protocol::message::{Ask, Outcome};
use crate::time::Timestamp;

/// Something that a state carries only to have it counted later. All of them are equal and none has
/// a hash: states that differ in nothing else are the same state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aside<T>(pub T);

impl<T> PartialEq for Aside<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Aside<T> {}

impl<T> Hash for Aside<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// When a request arrived, and what it asks for.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: Kind,
}

/// Gives an enum without data its list of variants and the words for them.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them, in the order of their discriminants.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// How logs and metrics name it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// What a client asks for.
    Kind {
        /// To open a session.
        Open = "open",
        /// To put a value.
        Put = "put",
        /// To append a value.
        Append = "append",
        /// To remove a key.
        Remove = "remove",
        /// To compare and set a list.
        Cas = "cas",
        /// To add to a number.
        Incr = "incr",
        /// To put several keys at one instant.
        Mput = "mput",
        /// To read a list, or its first page.
        Get = "get",
        /// To ask for a list's length, or whether it is there.
        Len = "len",
        /// To list keys.
        Keys = "keys",
        /// To read several lists at one instant.
        Mget = "mget",
        /// To read all lists as they are at one instant, a page of them.
        Snapshot = "snapshot",
        /// To read a later page of a list.
        Page = "page",
        /// Nothing that is known here (plain form only).
        Unknown = "unknown",
    }
}

impl From<&Command> for Kind {
    fn from(command: &Command) -> Kind {
        match command {
            Command::Put { .. } => Kind::Put,
            Command::Append { .. } => Kind::Append,
            Command::Remove { .. } => Kind::Remove,
            Command::Cas(_) => Kind::Cas,
            Command::Incr { .. } => Kind::Incr,
            Command::Mput { .. } => Kind::Mput,
            // Nobody asks for it.
            Command::Refused => Kind::Unknown,
        }
    }
}

impl From<&Ask> for Kind {
    fn from(ask: &Ask) -> Kind {
        match ask {
            Ask::Open { .. } => Kind::Open,
            Ask::Write { command, .. } => command.into(),
            Ask::Get { page: None, .. } => Kind::Get,
            Ask::Get { page: Some(_), .. } => Kind::Page,
            Ask::Len { .. } => Kind::Len,
            Ask::Keys { .. } => Kind::Keys,
            Ask::Mget { .. } => Kind::Mget,
            Ask::Snapshot { .. } => Kind::Snapshot,
        }
    }
}

words! {
    /// What became of a request.
    Fate {
        /// It was executed.
        Done = "done",
        /// It was executed: the key is missing.
        Missing = "missing",
        /// It was executed and changed nothing, because the list is not what it had to be.
        Unfit = "unfit",
        /// The list began anew between two of its pages.
        Changed = "changed",
        /// Its session is not known any more.
        Expired = "expired",
        /// Too much was waiting.
        Busy = "busy",
        /// A server has reached its limit of memory.
        OutOfMemory = "out_of_memory",
        /// This server is not the serving primary.
        NotPrimary = "not_primary",
        /// It lacks something or exceeds a limit (plain form only), or there is no such snapshot.
        Refused = "refused",
    }
}

impl From<&Outcome> for Fate {
    fn from(outcome: &Outcome) -> Fate {
        match outcome {
            Outcome::Opened(_)
            | Outcome::Done
            | Outcome::Page(_)
            | Outcome::Pages(_)
            | Outcome::Snapshot(_)
            | Outcome::Keys(_)
            | Outcome::Length(_)
            | Outcome::Number(_) => Fate::Done,
            Outcome::Mismatch(_) | Outcome::NotANumber | Outcome::Overflow => Fate::Unfit,
            Outcome::SnapshotRefused(_) => Fate::Refused,
            Outcome::Missing => Fate::Missing,
            Outcome::GenerationChanged => Fate::Changed,
            Outcome::SessionExpired => Fate::Expired,
            Outcome::NotPrimary(_) => Fate::NotPrimary,
            Outcome::Busy => Fate::Busy,
            Outcome::OutOfMemory => Fate::OutOfMemory,
        }
    }
}

words! {
    /// Why the view server draws a new view, or puts a proposed one in force.
    Cause {
        /// A history begins, with an empty store.
        Began = "history_began",
        /// What a lost record said is known again.
        Recovered = "record_recovered",
        /// The operator gave up all data.
        Reset = "reset",
        /// The primary does not answer: the other copy takes over.
        PrimaryLost = "primary_lost",
        /// The operator asked for it: the backup takes over.
        Switchover = "switchover",
        /// The operator asked for it: the backup or the joiner is left out.
        Drained = "drained",
        /// The backup, or the one that was to take over, does not answer.
        BackupLost = "backup_lost",
        /// The backup or the joiner makes no progress, or its copy differs.
        Stalled = "stalled",
        /// The joiner does not answer.
        JoinerLost = "joiner_lost",
        /// A spare begins to join.
        Joining = "spare_joins",
        /// The joiner has caught up, and is to be the backup.
        CaughtUp = "caught_up",
        /// The new backup holds everything: its view is in force.
        Synced = "backup_synced",
        /// The new primary takes over: its view is in force.
        TakenOver = "taken_over",
    }
}

/// How long things took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Durations {
    /// How many ended in each bucket, and after the last bound. Not cumulative.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// The sum of all, in nanoseconds.
    pub sum: u64,
}

/// Upper bounds of the buckets, in nanoseconds: from a batch on loopback to a whole failover.
pub const BOUNDS: [u64; 19] = {
    const US: u64 = 1_000;
    const MS: u64 = 1_000_000;
    const S: u64 = 1_000_000_000;
    [
        10 * US,
        25 * US,
        50 * US,
        100 * US,
        250 * US,
        500 * US,
        MS,
        2_500 * US,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        500 * MS,
        S,
        2_500 * MS,
        5 * S,
        10 * S,
    ]
};

impl Durations {
    /// One more.
    pub fn add(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS.partition_point(|bound| *bound < nanos)] += 1;
        self.sum = self.sum.saturating_add(nanos);
    }
}

/// What has happened in one process since it started.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Requests answered, by [`Kind`] and [`Fate`]. A duplicate that gets an old answer again is no
    /// request of its own.
    answered: [[u64; Fate::ALL.len()]; Kind::ALL.len()],
    /// From the arrival of a request to its answer, of those that were executed.
    durations: [Durations; Kind::ALL.len()],
    /// Requests that had arrived before and were not executed again.
    pub repeated_requests: u64,
    /// Replicated operations that the backup had already.
    pub repeated_operations: u64,
    /// Messages of a state transfer that the joiner had already.
    pub repeated_transfers: u64,
    /// Messages with operations sent again to the backup or a joiner that follows.
    pub resent_replicates: u64,
    /// Messages of a state transfer sent again.
    pub resent_transfers: u64,
    /// Probes: barriers and empty transfers, because nothing was heard for a while.
    pub probes: u64,
    /// Bytes of effects that were sent to joiners, each once.
    pub transfer_bytes: u64,
    /// Messages between servers that belong to another view, process, history or attempt.
    pub stale_messages: u64,
    /// Messages that only servers send, from where no server is known to be.
    pub strange_messages: u64,
    /// Records adopted.
    pub adopted_records: u64,
    /// Pings sent by the view server.
    pub pings: u64,
    /// Pongs that answered one of them.
    pub pongs: u64,
    /// Pongs that answered nothing asked lately, or came from a process that does not count.
    pub stray_pongs: u64,
    /// Second processes with an id in use that were turned away.
    pub refused_servers: u64,
    changes: [u64; Cause::ALL.len()],
}

impl Counts {
    /// A request is answered now.
    pub fn answer(&mut self, now: Timestamp, arrival: Arrival, fate: Fate) {
        self.answered[arrival.kind as usize][fate as usize] += 1;
        if matches!(fate, Fate::Done | Fate::Missing) {
            self.durations[arrival.kind as usize].add(now.since(arrival.at));
        }
    }

    /// Requests of this kind that ended so.
    #[must_use]
    pub fn answered(&self, kind: Kind, fate: Fate) -> u64 {
        self.answered[kind as usize][fate as usize]
    }

    /// How long the requests of this kind took that were executed.
    #[must_use]
    pub fn durations(&self, kind: Kind) -> &Durations {
        &self.durations[kind as usize]
    }

    /// A record was made the newest one.
    pub fn change(&mut self, cause: Cause) {
        self.changes[cause as usize] += 1;
    }

    /// Records made for this cause.
    #[must_use]
    pub fn changes(&self, cause: Cause) -> u64 {
        self.changes[cause as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_is_not_below_it() {
        let mut durations = Durations::default();
        for nanos in [0, 10_000, 10_001, 25_000, u64::MAX] {
            durations.add(Duration::from_nanos(nanos));
        }
        assert_eq!(durations.buckets[..3], [2, 2, 0]);
        assert_eq!(durations.buckets[BOUNDS.len()], 1);
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn only_what_was_executed_has_a_duration() {
        let mut counts = Counts::default();
        let arrival = Arrival { at: Timestamp(5), kind: Kind::Get };
        for fate in Fate::ALL {
            counts.answer(Timestamp(7), arrival, *fate);
        }
        let timed: u64 = counts.durations(Kind::Get).buckets.iter().sum();
        assert_eq!((timed, counts.durations(Kind::Get).sum), (2, 4));
        assert!(Fate::ALL.iter().all(|fate| counts.answered(Kind::Get, *fate) == 1));
        assert_eq!(counts.answered(Kind::Put, Fate::Done), 0);
    }

    #[test]
    fn what_is_kept_aside_makes_no_two_states_of_one() {
        let hash = |aside: Aside<u64>| {
            use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
            BuildHasherDefault::<DefaultHasher>::default().hash_one(aside)
        };
        assert_eq!(Aside(1), Aside(2));
        assert_eq!(hash(Aside(1)), hash(Aside(2)));
    }
}
