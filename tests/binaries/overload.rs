//! More than can be done: the servers go on, nobody is declared dead, and the clients that wait
//! their turn are served, during the flood and as before after it.
//!
//! `PBKV_OVERLOAD=60 cargo test --release --test binaries overload -- --nocapture` lasts a minute and
//! prints what the clients noticed (`scripts/overload.sh`).

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::support::cluster::{Cluster, Options};
use super::support::workload::{Append, Appenders, Outcome};

/// Sockets that send requests without waiting for answers, and how many each sends in a
/// millisecond: in the everyday test, which shares its processors with others, and in the
/// demonstration.
const SENDERS: usize = 16;
const FEW: usize = 2;
const MANY: usize = 32;

/// Appends that were acknowledged between these times, in a second.
fn rate(appends: &[Append], from: Instant, until: Instant) -> f64 {
    let done = |append: &&Append| {
        append.outcome == Outcome::Ok && append.ended >= from && append.ended < until
    };
    appends.iter().filter(done).count() as f64 / until.duration_since(from).as_secs_f64()
}

#[test]
fn a_flood_of_requests_ends_no_view_and_leaves_nothing_behind() {
    let seconds = std::env::var("PBKV_OVERLOAD").ok().map(|text| text.parse().expect("seconds"));
    let length = Duration::from_secs(seconds.unwrap_or(2));
    // A demonstration is judged by the timing that people use.
    let options = Options::default();
    let view_flags = if seconds.is_some() { vec![] } else { options.view_flags.clone() };
    let mut cluster = Cluster::start(Options { view_flags, ..options });
    let before = cluster.roles();
    let primary = cluster.address(&before.primary);
    let pid = cluster.server(&before.primary).pid();
    let appenders = Appenders::start(&cluster, 2, "log");
    let quiet_from = Instant::now();
    if seconds.is_some() {
        thread::sleep(Duration::from_secs(5));
    }
    appenders.wait_for_progress(&cluster, 20);

    let flood_from = Instant::now();
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let answered = Arc::new(AtomicU64::new(0));
    let burst = if seconds.is_some() { MANY } else { FEW };
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| {
            let (stop, sent, answered) = (stop.clone(), sent.clone(), answered.clone());
            thread::spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
                socket.set_nonblocking(true).expect("a socket may be asked not to wait");
                let request = format!(
                    r#"{{"type":"client_request","command":"put","key":"flood{number}","value":"x"}}"#
                );
                let mut buffer = [0; 2048];
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..burst {
                        if socket.send_to(request.as_bytes(), primary).is_ok() {
                            sent.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    while socket.recv_from(&mut buffer).is_ok() {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    // The attackers share the processors with those whom they attack.
                    thread::sleep(Duration::from_millis(1));
                }
            })
        })
        .collect();
    let mut peak = 0;
    while flood_from.elapsed() < length {
        thread::sleep(Duration::from_millis(100));
        peak = peak.max(super::hostile::resident(pid));
    }
    appenders.wait_for_progress(&cluster, 5);
    stop.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().expect("it sends to the end"));
    let flood_until = Instant::now();

    appenders.wait_for_progress(&cluster, 20);
    if seconds.is_some() {
        thread::sleep(Duration::from_secs(10));
    }
    cluster.assert_no_view_change(&before);
    let histories = appenders.finish(&cluster).concat();
    let end = Instant::now();
    let (sent, answered) = (sent.load(Ordering::Relaxed), answered.load(Ordering::Relaxed));
    let in_a_second = |count: u64| count as f64 / (flood_until - flood_from).as_secs_f64();
    println!(
        "{:.0} requests/s for {:?}, {:.0}/s of them answered; the primary took {} MB at most; \
         appends/s of two clients: {:.0} before, {:.0} during, {:.0} in the 5 s after, {:.0} later",
        in_a_second(sent),
        flood_until - flood_from,
        in_a_second(answered),
        peak >> 20,
        rate(&histories, quiet_from, flood_from),
        rate(&histories, flood_from, flood_until),
        rate(&histories, flood_until, flood_until + Duration::from_secs(5)),
        rate(&histories, flood_until + Duration::from_secs(5), end),
    );
    assert!(peak < 400 << 20, "memory stays within its bounds: {peak}");
}
