//! What really happened: a fault that never occurs proves nothing, so everything that can happen
//! is counted, and the counts are part of the result.

use std::fmt;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What is counted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Count { $($(#[$doc])* $name,)* }

        const NAMES: &[&str] = &[$($text,)*];
    };
}

counts! {
    Datagrams = "datagrams",
    Lost = "datagrams lost",
    Blocked = "datagrams into a partition",
    Duplicated = "datagrams duplicated",
    Late = "datagrams very late",
    Corrupted = "datagrams corrupted",
    Ghosts = "ghosts delivered",
    GhostAnnounces = "ghosts of announces",
    Overflowed = "datagrams beyond a socket buffer",
    Crashes = "server crashes",
    PrimaryCrashes = "crashes of the primary",
    BackupCrashes = "crashes of the backup",
    QuickRestarts = "restarts within 20 ms",
    ClientCrashes = "client crashes",
    Pauses = "pauses",
    LongPauses = "pauses longer than dead-after",
    BothSilent = "pair silent at once",
    Deaf = "deaf servers",
    Partitions = "partitions",
    Clogs = "clogged links",
    ClockChanges = "clock rate changes",
    ClockStops = "clocks stopped",
    ViewServerRestarts = "view server restarts",
    RestartsInProposal = "view server restarts in the proposed phase",
    CrashesAfterPersist = "view server crashes between persisting and sending",
    SlowPersists = "slow persists",
    RecordsLost = "records lost",
    SecondViewServers = "second view servers started",
    ViewServersOvertaken = "first view servers that ended themselves",
    OvertakenRecords = "records of a view server that was overtaken",
    Forks = "histories begun anew behind the back of another",
    Twins = "second processes with an id",
    RecordsLostAfterJoin = "records lost right after a join",
    Recoveries = "recoveries without record",
    TotalLosses = "total losses",
    Resets = "resets",
    SwitchoversAsked = "switchovers asked for",
    SwitchoversDone = "switchovers done, with a backup again",
    SwitchoversHalfDone = "switchovers done without a backup in time",
    SwitchoversRefused = "switchovers refused or overtaken by events",
    DrainsAsked = "drains asked for",
    DrainsDone = "servers drained",
    DrainsRefused = "drains refused or overtaken by events",
    Undrained = "drained servers that may join again",
    Refusals = "processes that ended themselves",
    BegunAgain = "spares that began again",
    Proposals = "views proposed",
    Failovers = "failovers",
    Overtaken = "proposals that were never activated",
    BackupsDropped = "backups dropped",
    JoinsBegun = "joins begun",
    JoinsDone = "joins done",
    JoinsAborted = "joins aborted",
    Keeps = "copies kept by a joiner",
    Wipes = "copies wiped by a joiner",
    TransferParts = "transfer messages",
    TransferRestarts = "transfers begun",
    Stalls = "stall reports",
    Divergences = "divergence reports",
    NewerViews = "newer-view messages",
    NotPrimary = "not_primary answers",
    Busy = "busy answers",
    SessionsOpened = "sessions opened",
    SessionsExpired = "session_expired answers",
    LeaseAnswers = "answers under a lease",
    LeaseLate = "answers whose lease ran out before sending",
    StoppedBeforeSending = "processes stopped before sending",
    Writes = "writes acknowledged",
    Reads = "reads answered",
    Unknown = "operations of unknown outcome",
    Mismatches = "cas answers that found another list",
    Counted = "incr acknowledged",
    Swapped = "cas acknowledged",
    Several = "mput acknowledged",
    NotExecuted = "operations not executed",
    PlainWrites = "plain writes acknowledged",
    PlainReads = "plain reads answered",
    PlainRepeats = "plain writes executed more than once",
    PlainAnswers = "plain views and probes answered",
    Turns = "turns",
    CheckerUnknown = "histories the checker could not decide",
}

/// How often each thing happened.
#[derive(Clone, PartialEq, Eq)]
pub struct Counts(Vec<u64>);

impl Default for Counts {
    fn default() -> Self {
        Counts(vec![0; NAMES.len()])
    }
}

impl Counts {
    pub fn add(&mut self, count: Count) {
        self.0[count as usize] += 1;
    }

    pub fn of(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    pub fn merge(&mut self, other: &Counts) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in NAMES.iter().zip(&self.0) {
            writeln!(f, "  {count:>12}  {name}")?;
        }
        Ok(())
    }
}
