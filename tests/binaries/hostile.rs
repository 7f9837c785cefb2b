//! Somebody who wants to do harm, on real processes: nothing crashes, nothing changes, memory stays
//! within its bounds, and nobody is declared dead.
//!
//! `PBKV_HOSTILE=1000000 cargo test --release --test binaries hostile -- --nocapture` sends so many
//! datagrams to each role, and says what the clients noticed (`scripts/hostile.sh`).

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::support::cluster::Cluster;
use super::support::hostile::Hostile;
use super::support::plain::ask_again;
use super::support::workload::{Append, Appenders};

/// Datagrams to each role in the everyday test.
const FEW: u64 = 10_000;

/// Different datagrams to each role; beyond that, they are replays.
const PREPARED: u64 = 10_000;

/// What a server may take besides its data: what is put together from pieces, what waits to be
/// fetched, what lies in the socket.
const BOUND: u64 = 200 << 20;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Bytes of memory that the process has.
pub fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line VmRSS");
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
    kilobytes << 10
}

/// The time within which 99 of 100 were answered.
fn p99<'a>(appends: impl Iterator<Item = &'a Append>) -> Duration {
    let mut times: Vec<_> = appends.map(|append| append.ended - append.started).collect();
    times.sort_unstable();
    times.get(times.len() * 99 / 100).copied().unwrap_or_default()
}

#[test]
fn hostile_datagrams_change_nothing_and_stop_nobody() {
    let count = number("PBKV_HOSTILE", FEW);
    let rate = number("PBKV_HOSTILE_RATE", 5000);
    let seed = number("PBKV_HOSTILE_SEED", 1);
    let mut cluster = Cluster::of(3);
    let before = cluster.roles();
    let names = ["s1", "s2", "s3"];
    let servers: Vec<SocketAddr> = names.iter().map(|id| cluster.address(id)).collect();
    let view_server = cluster.view_address();
    let appenders = Appenders::start(&cluster, 2, "log");
    if count > FEW {
        std::thread::sleep(Duration::from_secs(10));
    }
    appenders.wait_for_progress(&cluster, 100);
    let attack_begins = Instant::now();
    let pids: Vec<u32> = {
        let mut pids = vec![cluster.view_server().pid()];
        pids.extend(names.iter().map(|id| cluster.server(id).pid()));
        pids
    };
    let memory: Vec<u64> = pids.iter().map(|pid| resident(*pid)).collect();

    let targets: Vec<SocketAddr> = std::iter::once(view_server).chain(servers.clone()).collect();
    let threads: Vec<_> = (0..targets.len())
        .map(|index| {
            let target = targets[index];
            let mut hostile = Hostile::new(seed + index as u64, view_server, &servers);
            // Made before, so that the making takes no time from those who are attacked.
            let prepared: Vec<_> = (0..count.min(PREPARED)).map(|_| hostile.datagram()).collect();
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
            std::thread::spawn(move || {
                let begun = Instant::now();
                for sent in 0..count {
                    // A full buffer loses it, which is what a network does.
                    let index = usize::try_from(sent % PREPARED).unwrap();
                    let _ = socket.send_to(&prepared[index], target);
                    let due = begun
                        + Duration::from_secs(1) * u32::try_from(sent / 64).unwrap()
                            / u32::try_from((rate / 64).max(1)).unwrap();
                    if let Some(wait) = due.checked_duration_since(Instant::now()) {
                        std::thread::sleep(wait);
                    }
                }
            })
        })
        .collect();
    let mut peak = memory.clone();
    while threads.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(Duration::from_millis(100));
        for (peak, pid) in peak.iter_mut().zip(&pids) {
            *peak = (*peak).max(resident(*pid));
        }
    }
    threads.into_iter().for_each(|thread| thread.join().expect("it sends to the end"));
    let attack_ended = Instant::now();

    appenders.wait_for_progress(&cluster, 10);
    cluster.assert_no_view_change(&before);
    for (index, pid) in pids.iter().enumerate() {
        let (before, peak, after) = (memory[index], peak[index], resident(*pid));
        println!(
            "{}: {} MB before, {} MB at most, {} MB after",
            ["view", "s1", "s2", "s3"][index],
            before >> 20,
            peak >> 20,
            after >> 20
        );
        assert!(peak < before + BOUND, "memory stays within its bounds: {before} {peak}");
    }
    let histories = appenders.finish(&cluster);
    let all = || histories.iter().flatten();
    let quiet = p99(all().filter(|append| append.ended < attack_begins));
    let attacked =
        p99(all().filter(|append| append.started >= attack_begins && append.ended < attack_ended));
    println!(
        "{count} datagrams at each of {} roles in {:?}: p99 {quiet:?} before, {attacked:?} under \
         attack",
        targets.len(),
        attack_ended - attack_begins
    );
    // What was there before is there, and nothing else.
    let primary = before.primary.clone();
    let entries = cluster.kv(&primary);
    assert_eq!(entries.len(), 1, "only what the clients wrote: {} entries", entries.len());
    cluster.wait_for_equal_stores(&before.primary, &before.backup);
    for server in &servers {
        let pong = ask_again(*server, r#"{"type":"ping"}"#, Duration::from_secs(5));
        assert!(pong.is_some(), "it answers still");
    }
}
