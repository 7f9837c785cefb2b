//! Swarm testing: every seed draws its own cluster, its own mix of faults and its own rates, so
//! that rare faults meet each other instead of drowning in an average.

use std::time::Duration;

use pbkv::config::{Limits, Timing};
use pbkv::protocol::sources::Sources;

use crate::clock::{Instant, MS, US};
use crate::network::{DELAYS, Weather};
use crate::random::Random;

/// What the nemesis may do. Each is drawn with its weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Crash any server; it restarts after a while.
    Crash,
    CrashPrimary,
    CrashBackup,
    /// Back within 20 ms, at the same address, with nothing.
    QuickRestart,
    CrashClient,
    Pause,
    /// Longer than dead-after.
    LongPause,
    /// Primary and backup at once, paused or cut off from the view server.
    BothSilent,
    /// Hears nothing, but is heard.
    Deaf,
    /// Is not heard, but hears.
    Mute,
    /// Two sides, both directions or one.
    Partition,
    /// Primary and backup cannot talk; the view server hears both.
    CutPair,
    Clog,
    CrashViewServer,
    /// The view server restarts without its record.
    LoseRecord,
    PauseViewServer,
    SlowDisk,
    ClockRate,
    ClockStop,
    /// A second process with a server's id starts; the first runs on, or is paused meanwhile.
    Twin,
    /// A second view server starts without a record; the first runs on, or is paused meanwhile.
    SecondViewServer,
    /// The operator lets the backup take over.
    Switchover,
    /// The operator drains a server, and lets it join again later.
    Drain,
}

/// What a new record is, for a trap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    Proposed,
    PrimaryChanged,
    BackupDropped,
    JoinBegun,
    JoinDone,
    Any,
}

/// The nemesis strikes shortly after the view server has recorded something of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    pub moment: Moment,
    pub fault: Fault,
    /// In parts per million.
    pub chance: u32,
    pub delay_most: Instant,
}

/// Everything that distinguishes one run from another, drawn from the seed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub servers: usize,
    pub clients: usize,
    /// Operations that a client may have in flight.
    pub lanes: usize,
    pub timing: Timing,
    pub limits: Limits,
    pub weather: Weather,
    pub faults: Vec<(Fault, u64)>,
    /// Mean time between two strikes of the nemesis.
    pub strike_every: Instant,
    /// Mean time that a fault lasts.
    pub lasts: Instant,
    pub traps: Vec<Trap>,
    /// Mean time between two ghosts; 0 for none.
    pub ghost_every: Instant,
    pub stop_before_sending: u32,
    pub crash_after_persist: u32,
    pub disk: Instant,
    /// Most time between the arrival of a datagram and the turn that handles it.
    pub lag: Instant,
    pub socket_bytes: usize,
    /// A restarted server has another port.
    pub moves: u32,
    /// The nemesis never takes what the system may not lose: the last eligible copy, or both the
    /// record and a server that its recovery needs. Then a total loss is a violation.
    pub careful: bool,
    pub keys: usize,
    /// This many of the keys are only appended to and read.
    pub append_only: usize,
    /// Mean think time of a client's lane.
    pub think: Instant,
    pub write_share: u32,
    pub value_bytes_most: u64,
    pub phase_one: Instant,
    /// Mean time between two datagrams of the plain client; 0 without one.
    pub plain_every: Instant,
    /// Share of the operations that are `cas`, `incr` and the like.
    pub special: u32,
    /// Whether it matters where from a server speaks: not where datagrams are authenticated.
    pub sources: Sources,
}

impl Plan {
    pub fn draw(random: &mut Random) -> Plan {
        let leases = random.chance(400_000);
        let (interval, dead) = random.pick(&[(50, 250), (50, 250), (20, 100), (10, 50)]);
        let timing =
            Timing::new(Duration::from_millis(interval), Duration::from_millis(dead), leases)
                .expect("these timings are valid");
        let unit = dead * MS;
        let (delay_least, delay_spread) = random.pick(&DELAYS[..if dead > 100 { 4 } else { 3 }]);
        let datagram_bytes = random.pick(&[1200, 1200, 500, 60 << 10]);
        let weather = Weather {
            delay_least,
            delay_spread,
            loss: random.pick(&[0, 0, 5_000, 50_000, 200_000]),
            duplication: random.pick(&[0, 10_000, 200_000]),
            corruption: random.pick(&[0, 0, 10_000]),
            late: random.pick(&[0, 1_000, 20_000]),
            late_most: random.pick(&[20 * MS, 2 * unit, 6 * unit]),
            size_limit: 60 << 10,
        };
        let servers = random.pick(&[2, 3, 3, 3, 4, 5]);
        let mut plan = Plan {
            servers,
            clients: random.pick(&[1, 2, 2, 3, 4]),
            lanes: random.pick(&[1, 1, 2, 4]),
            timing,
            limits: limits(random, datagram_bytes),
            weather,
            faults: Vec::new(),
            strike_every: random.pick(&[unit / 2, unit, 3 * unit]),
            lasts: random.pick(&[unit / 2, unit, 2 * unit, 4 * unit]),
            traps: Vec::new(),
            ghost_every: random.pick(&[0, 0, 20 * MS, 3 * MS]),
            stop_before_sending: if leases { random.pick(&[0, 10_000, 100_000]) } else { 0 },
            crash_after_persist: random.pick(&[0, 0, 50_000, 300_000]),
            disk: random.pick(&[0, 0, 2 * MS, unit / 2]),
            lag: random.pick(&[0, 50 * US, 200 * US, 2 * MS]),
            // A buffer that cannot hold a single datagram loses them all.
            socket_bytes: random.pick(&[16 << 10, 208 << 10]).max(3 * datagram_bytes),
            moves: random.pick(&[0, 0, 300_000]),
            careful: !random.chance(100_000),
            keys: random.pick(&[1, 2, 3]),
            append_only: random.pick(&[0, 1, 2, 3]),
            think: 0,
            write_share: random.pick(&[300_000, 500_000, 800_000]),
            value_bytes_most: random.pick(&[0, 0, 0, 40, 40, 2_000]),
            phase_one: 16 * unit,
            plain_every: random.pick(&[0, 0, 0, unit / 2]),
            special: 0,
            sources: Sources::Any,
        };
        // So many operations that faults meet them, so few that many seeds fit into a second; long
        // lists of long values cost most.
        let operations =
            if plan.value_bytes_most > 1000 { 50 } else { random.pick(&[60, 120, 250]) };
        plan.think = plan.phase_one * (plan.clients * plan.lanes) as u64 / operations;
        plan.faults = faults(random, leases);
        // Two processes where there should be one: what a person does, so it is rarer than what
        // machines do, and can cost all data by design. Then only safety is demanded, and that a
        // reset works.
        for fault in [Fault::Twin, Fault::SecondViewServer] {
            if random.chance(60_000) {
                plan.faults.push((fault, random.between(1, 4)));
                plan.careful = false;
            }
        }
        for _ in 0..random.pick(&[0, 1, 1, 2, 3]) {
            plan.traps.push(trap(random, unit));
        }
        // What the operator does is drawn aside, so that runs without him stay what they were.
        let mut aside = random.clone();
        operate(&mut plan, &mut aside, unit);
        // As are the rarer commands.
        plan.special = aside.pick(&[0, 0, 200_000, 500_000]);
        plan.sources = aside.pick(&[Sources::Any, Sources::Known]);
        plan
    }
}

/// The operator's work, in one run of three: now and then, or right after somebody has joined, so
/// that one hand-over follows the other.
fn operate(plan: &mut Plan, random: &mut Random, unit: Instant) {
    if random.chance(333_333) {
        plan.faults.push((Fault::Switchover, random.between(1, 8)));
    }
    if random.chance(166_666) {
        plan.faults.push((Fault::Drain, random.between(1, 4)));
    }
    if random.chance(166_666) {
        let (moment, fault) = (Moment::JoinDone, Fault::Switchover);
        let delay_most = random.pick(&[0, 10 * MS, unit]);
        let chance = random.pick(&[200_000, 500_000, 1_000_000]);
        plan.traps.push(Trap { moment, fault, chance, delay_most });
    }
}

/// Small limits make the rare paths common: paging, busy, eviction, refused catch-ups.
fn limits(random: &mut Random, datagram_bytes: usize) -> Limits {
    let default = Limits { datagram_bytes, ..Limits::default() };
    match random.below(4) {
        0 | 1 => default,
        2 => Limits {
            history_operations: random.pick(&[1, 8, 64]),
            window_bytes: random.pick(&[2 << 10, 8 << 10]),
            page_bytes: random.pick(&[64, 1 << 10]),
            session_window: random.pick(&[1, 3, 8]),
            ..default
        },
        _ => Limits {
            pending_operations: random.pick(&[4, 32]),
            pending_reads: random.pick(&[4, 32]),
            // What is in flight must fit into what the receiver may keep out of order.
            window_bytes: 8 << 10,
            backlog_bytes: random.pick(&[8 << 10, 16 << 10]),
            history_bytes: random.pick(&[1 << 10, 16 << 10]),
            session_capacity: random.pick(&[2, 3, 10]),
            ..default
        },
    }
}

fn faults(random: &mut Random, leases: bool) -> Vec<(Fault, u64)> {
    const ALL: &[Fault] = &[
        Fault::Crash,
        Fault::CrashPrimary,
        Fault::CrashBackup,
        Fault::QuickRestart,
        Fault::CrashClient,
        Fault::Pause,
        Fault::LongPause,
        Fault::BothSilent,
        Fault::Deaf,
        Fault::Mute,
        Fault::Partition,
        Fault::CutPair,
        Fault::Clog,
        Fault::CrashViewServer,
        Fault::LoseRecord,
        Fault::PauseViewServer,
        Fault::SlowDisk,
        Fault::ClockRate,
        Fault::ClockStop,
    ];
    // Few kinds a run: then each happens often enough to meet itself. Some runs have none.
    if random.chance(60_000) {
        return Vec::new();
    }
    (0..random.between(1, 6))
        .map(|_| (random.pick(ALL), random.between(1, 4)))
        // A lease rests on clocks that run.
        .filter(|(fault, _)| !(leases && *fault == Fault::ClockStop))
        .collect()
}

fn trap(random: &mut Random, unit: Instant) -> Trap {
    use Fault::*;
    let (moment, faults): (Moment, &[Fault]) = random.pick(&[
        (Moment::Proposed, &[CrashViewServer, CrashPrimary, CrashBackup, Deaf, LoseRecord][..]),
        (Moment::PrimaryChanged, &[CrashPrimary, CrashViewServer, LoseRecord, LongPause, Deaf][..]),
        (Moment::BackupDropped, &[CrashPrimary, CrashViewServer, LoseRecord, QuickRestart][..]),
        (Moment::JoinBegun, &[CrashPrimary, CrashBackup, CrashViewServer, Deaf, CutPair][..]),
        (Moment::JoinDone, &[CrashPrimary, CrashBackup, LoseRecord, LoseRecord, BothSilent][..]),
        (Moment::Any, &[CrashViewServer, PauseViewServer, LongPause, Deaf, Mute][..]),
    ]);
    Trap {
        moment,
        fault: random.pick(faults),
        chance: random.pick(&[200_000, 500_000, 1_000_000]),
        delay_most: random.pick(&[0, MS, 10 * MS, unit]),
    }
}
