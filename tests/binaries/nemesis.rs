//! Everything at once, on real processes with keys: a network that loses a fifth of all datagrams,
//! while servers are killed, restarted, stopped and cut off from each other, one after the other.
//! Histories are linearizable, nothing is lost, and memory stays what it was.
//!
//! `PBKV_NEMESIS=1800 cargo test --release --test binaries nemesis -- --nocapture` lasts half an hour
//! (`scripts/nemesis.sh`). Only what a pair is promised to survive is done: one fault at a time, and
//! the next when there is a backup again.

use std::time::{Duration, Instant};

use pbkv::protocol::seal::{KeyKind, key_line};

use super::hostile::resident;
use crate::support::cluster::{Cluster, Options, Roles};
use crate::support::process::Signal;
use crate::support::proxy::{CLIENT, Faults, Proxy};
use crate::support::workload::{Appenders, Outcome};

/// What may happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fault {
    PrimaryRestarts,
    PrimaryDies,
    BackupRestarts,
    BackupDies,
    PrimaryStops,
    BackupStops,
    PrimaryCutFromViewServer,
    BackupCutFromViewServer,
    PairCut,
    HalfOfPairCut,
    PrimaryAlone,
    ViewServerRestarts,
    ViewServerStops,
}

const FAULTS: [Fault; 13] = [
    Fault::PrimaryRestarts,
    Fault::PrimaryDies,
    Fault::BackupRestarts,
    Fault::BackupDies,
    Fault::PrimaryStops,
    Fault::BackupStops,
    Fault::PrimaryCutFromViewServer,
    Fault::BackupCutFromViewServer,
    Fault::PairCut,
    Fault::HalfOfPairCut,
    Fault::PrimaryAlone,
    Fault::ViewServerRestarts,
    Fault::ViewServerStops,
];

fn weather(proxy: &Proxy) {
    proxy.heal();
    proxy.everywhere(Faults {
        loss: 20,
        duplication: 5,
        delay: Duration::ZERO..Duration::from_millis(5),
    });
}

/// A pair that does not have both of them is a later view.
fn wait_for_change(cluster: &Cluster, since: &Roles) {
    cluster.wait_for("another view", |view| view.number > since.number);
}

fn inflict(cluster: &mut Cluster, clients: &Appenders, fault: Fault) {
    let roles = cluster.roles();
    let (primary, backup) = (roles.primary.as_str(), roles.backup.as_str());
    match fault {
        Fault::PrimaryRestarts => cluster.restart(primary),
        Fault::BackupRestarts => cluster.restart(backup),
        Fault::PrimaryDies | Fault::BackupDies => {
            let victim = if fault == Fault::PrimaryDies { primary } else { backup };
            cluster.kill(victim);
            wait_for_change(cluster, &roles);
            cluster.start_server(victim);
        }
        Fault::PrimaryStops | Fault::BackupStops => {
            let victim = if fault == Fault::PrimaryStops { primary } else { backup };
            cluster.server(victim).signal(Signal::STOP);
            wait_for_change(cluster, &roles);
            cluster.server(victim).signal(Signal::CONT);
        }
        Fault::PrimaryCutFromViewServer => cut(cluster, &roles, &[(primary, "view")], true),
        Fault::BackupCutFromViewServer => cut(cluster, &roles, &[(backup, "view")], true),
        Fault::PairCut => cut(cluster, &roles, &[(primary, backup)], true),
        Fault::HalfOfPairCut => cut(cluster, &roles, &[(primary, backup)], false),
        Fault::PrimaryAlone => {
            let mut others: Vec<_> = roles.spares.iter().map(|id| (primary, &**id)).collect();
            others.extend([(primary, backup), (primary, "view"), (primary, CLIENT)]);
            cut(cluster, &roles, &others, true);
        }
        Fault::ViewServerRestarts => {
            cluster.kill_view_server();
            clients.wait_for_progress(cluster, 2);
            cluster.start_view_server();
        }
        Fault::ViewServerStops => {
            cluster.view_server().signal(Signal::STOP);
            clients.wait_for_progress(cluster, 2);
            cluster.view_server().signal(Signal::CONT);
        }
    }
}

fn cut(cluster: &Cluster, roles: &Roles, paths: &[(&str, &str)], both: bool) {
    let proxy = cluster.proxy.as_ref().expect("there is a proxy");
    for (from, to) in paths {
        proxy.cut(from, to);
        if both {
            proxy.cut(to, from);
        }
    }
    wait_for_change(cluster, roles);
    weather(proxy);
}

#[test]
fn with_keys_and_a_fifth_of_all_datagrams_lost_every_fault_in_turn_loses_and_repeats_nothing() {
    let seconds = std::env::var("PBKV_NEMESIS").ok().map(|text| text.parse().expect("seconds"));
    let seed = std::env::var("PBKV_NEMESIS_SEED")
        .map_or_else(|_| u64::from(std::process::id()), |text| text.parse().expect("a number"));
    println!("seed {seed}");
    let mut random = seed;
    let mut draw = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(random >> 33).expect("31 bits")
    };
    let faults_a_round = if seconds.is_some() { 8 } else { 2 };
    let begun = Instant::now();
    let length = Duration::from_secs(seconds.unwrap_or(0));
    let keys = Some(key_line(KeyKind::Cluster, &std::array::from_fn(|index| index as u8)));
    let mut cluster = Cluster::start(Options { keys, proxy: Some(seed), ..Options::default() });
    weather(cluster.proxy.as_ref().expect("there is a proxy"));

    let mut inflicted = std::collections::BTreeMap::<Fault, u32>::new();
    let (mut acknowledged, mut unknown, mut most, mut first_most) = (0, 0, 0, 0);
    let mut rounds = 0;
    while rounds == 0 || begun.elapsed() < length {
        let key = format!("log{rounds}");
        let clients = Appenders::start(&cluster, 4, &key);
        for _ in 0..faults_a_round {
            let fault = FAULTS[draw() % FAULTS.len()];
            *inflicted.entry(fault).or_default() += 1;
            inflict(&mut cluster, &clients, fault);
            clients.wait_for_progress(&cluster, 2);
        }
        let appends = clients.finish(&cluster).concat();
        let count = |wanted| appends.iter().filter(|append| append.outcome == wanted).count();
        acknowledged += count(Outcome::Ok);
        unknown += count(Outcome::Unknown);
        let roles = cluster.roles();
        let ids = [&roles.primary, &roles.backup];
        let largest = ids.into_iter().map(|id| resident(cluster.server(id).pid())).max();
        most = largest.expect("two servers").max(resident(cluster.view_server().pid())).max(most);
        rounds += 1;
        if rounds <= 5 {
            first_most = most;
        }
        cluster.client(&["--deadline", "20s", "remove", &key]).expect(0, &["remove completed"]);
        println!(
            "{:.0?}: {rounds} rounds, {acknowledged} appends acknowledged, {unknown} unknown, view {}, \
             {} MB at most; {inflicted:?}; {:?}",
            begun.elapsed(),
            roles.number,
            most >> 20,
            cluster.proxy.as_ref().expect("there is a proxy").counters(),
        );
    }
    assert!(most < first_most + (32 << 20), "memory stays what it was: {first_most} {most}");
}
