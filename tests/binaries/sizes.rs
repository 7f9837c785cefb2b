//! Values around every boundary of a datagram, keys and values at their limits, long lists, many
//! keys: in requests, answers, replication and state transfer.

use std::fmt::Write as _;
use std::net::{IpAddr, UdpSocket};

use serde_json::Value;

use crate::support::amount;
use crate::support::cluster::{Cluster, Options, json_list};
use crate::support::workload::Appenders;

/// Text of exactly this many bytes in which no two places look alike for long, so that pieces put
/// together wrongly show.
fn pattern(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 8);
    let mut place = 0_usize;
    while text.len() < bytes {
        let _ = write!(text, "{place:x}.");
        place += 1;
    }
    text.truncate(bytes);
    text
}

/// Writes all of these, and reads every one back exactly as it was.
#[track_caller]
fn round_trip(cluster: &Cluster, values: &[(String, String)]) {
    let mut script = String::new();
    for (key, value) in values {
        let _ = writeln!(script, "put {key} '{value}'");
    }
    let finished = cluster.script(&["--json", "--deadline", "20s"], &script);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    read_back(cluster, values);
}

#[track_caller]
fn read_back(cluster: &Cluster, values: &[(String, String)]) {
    let script: String = values.iter().map(|(key, _)| format!("get {key}\n")).collect();
    let finished = cluster.script(&["--json", "--deadline", "20s"], &script);
    assert_eq!(finished.stdout.len(), values.len(), "{}", finished.stderr);
    for (answer, (key, value)) in finished.stdout.iter().zip(values) {
        // Compared by hand: a message with megabytes of both would help nobody.
        let list = json_list(answer).unwrap_or_default();
        assert!(list.len() == 1 && list[0] == *value, "{key} came back otherwise");
    }
}

/// After a failover to the present backup, or to a joiner once the backup is gone too, every value
/// is what it was.
#[track_caller]
fn survive_on_the_last_server(cluster: &mut Cluster, values: &[(String, String)]) {
    let roles = cluster.roles();
    cluster.kill(&roles.primary);
    let after = cluster.wait_for_failover(&roles.primary);
    read_back(cluster, values);
    cluster.kill(&after.primary);
    cluster.wait_for_view(&after.backup, None);
    read_back(cluster, values);
}

fn sized(sizes: impl IntoIterator<Item = usize>) -> Vec<(String, String)> {
    sizes.into_iter().map(|size| (format!("k{size}"), pattern(size))).collect()
}

#[test]
fn values_around_the_datagram_boundaries_are_written_replicated_and_transferred() {
    let mut cluster = Cluster::of(3);
    let mut sizes: Vec<usize> = (1100..1300).step_by(7).collect();
    for boundary in [60 << 10, 64 << 10] {
        sizes.extend((boundary - 600..boundary + 200).step_by(41));
        sizes.extend([boundary - 1, boundary, boundary + 1]);
    }
    sizes.extend([65_506, 65_507, 65_508, 100_000]);
    sizes.sort_unstable();
    sizes.dedup();
    let values = sized(sizes);
    round_trip(&cluster, &values);
    survive_on_the_last_server(&mut cluster, &values);
}

#[test]
fn values_around_the_boundary_of_a_small_datagram_work_off_loopback() {
    let Some(host) = outward_address() else {
        println!("this machine has no address but loopback");
        return;
    };
    let mut cluster = Cluster::start(Options { host, ..Options::default() });
    let values = sized((700..1300).step_by(3).chain([2_400, 3_600, 60 << 10, 300_000]));
    round_trip(&cluster, &values);
    survive_on_the_last_server(&mut cluster, &values);
}

/// An address of this machine that is not loopback. Nothing is sent to find it.
pub fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn values_of_a_whole_mebibyte_of_any_characters_are_written_replicated_and_transferred() {
    let mut cluster = Cluster::of(3);
    let mebibyte = 1 << 20;
    let values: Vec<(String, String)> = [
        ("plain", pattern(mebibyte)),
        ("quotes", "\"".repeat(mebibyte)),
        ("backslashes", "\\".repeat(mebibyte)),
        ("controls", "\u{1}".repeat(mebibyte)),
        ("wide", "🦀".repeat(mebibyte / 4)),
        ("less", pattern(mebibyte - 1)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec();
    round_trip(&cluster, &values);
    survive_on_the_last_server(&mut cluster, &values);
}

#[test]
fn keys_up_to_64_kib_work_and_more_than_the_limits_is_refused_before_anything_is_sent() {
    let cluster = Cluster::of(2);
    for size in [1, 1_200, 60 << 10, (64 << 10) - 1, 64 << 10] {
        let values = [(pattern(size), "value".to_owned())];
        round_trip(&cluster, &values);
    }
    let (key, value) = (pattern((64 << 10) + 1), pattern((1 << 20) + 1));
    let script = format!(
        "put '{key}' x\nget '{key}'\nremove '{key}'\nput a '{value}'\nappend a '{value}'\nget a\n"
    );
    let finished = cluster.script(&["--json"], &script);
    assert_eq!(finished.code, Some(1));
    let answers: Vec<Value> =
        finished.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 6);
    for (answer, limit) in answers.iter().zip(["65536", "65536", "65536", "1048576", "1048576"]) {
        assert_eq!(answer["ok"], false);
        assert_eq!(answer["outcome"], "not_executed");
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(error.contains(limit), "the limit is named: {error}");
    }
    assert_eq!(answers[5]["value"], Value::Null);
    let finished = cluster.script(&[], &format!("put a '{value}'\n"));
    finished.expect(1, &["unable to execute put"]);
}

#[test]
fn a_list_of_thousands_of_elements_and_several_megabytes_is_read_back_whole_also_from_a_joiner() {
    let each = amount(1_250, 5_000);
    let mut cluster = Cluster::of(2);
    let roles = cluster.roles();
    let scripts: Vec<String> = (0..4)
        .map(|client| {
            let line =
                |n: usize| format!("append long '{client}-{n}-{}'\n", "x".repeat(n * 7 % 1_000));
            (0..each).map(line).collect()
        })
        .collect();
    std::thread::scope(|scope| {
        for script in &scripts {
            scope.spawn(|| assert_eq!(cluster.script(&[], script).code, Some(0)));
        }
    });
    let list = cluster.get("long").expect("it was appended to");
    assert_eq!(list.len(), 4 * each);
    for client in 0..4 {
        let own = list.iter().filter(|value| value.starts_with(&format!("{client}-")));
        let numbers: Vec<usize> =
            own.map(|value| value.split('-').nth(1).unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..each).collect::<Vec<_>>(), "in order, once each");
    }
    cluster.kill(&roles.backup);
    cluster.wait_for_view(&roles.primary, None);
    cluster.start_server("s3");
    cluster.wait_for_view(&roles.primary, Some("s3"));
    cluster.kill(&roles.primary);
    cluster.wait_for_view("s3", None);
    assert!(cluster.get("long").as_ref() == Some(&list), "the joiner has another list");
}

#[test]
fn a_spare_joins_thousands_of_keys_under_load_and_has_them_all_when_the_old_primary_dies() {
    let each = amount(1_250, 5_000);
    let mut cluster = Cluster::of(2);
    let roles = cluster.roles();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let cluster = &cluster;
            scope.spawn(move || {
                let script: String = (0..each)
                    .map(|n| format!("put key-{part}-{n:05} value-{part}-{n}\n"))
                    .collect();
                assert_eq!(cluster.script(&[], &script).code, Some(0));
            });
        }
    });
    let clients = Appenders::start(&cluster, 4, "log");
    cluster.kill(&roles.backup);
    cluster.start_server("s3");
    cluster.wait_for_view(&roles.primary, Some("s3"));
    clients.wait_for_progress(&cluster, 3);
    cluster.kill(&roles.primary);
    cluster.wait_for_view("s3", None);
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    let store = cluster.kv("s3");
    let keys = store.iter().filter(|line| line.starts_with("key-"));
    let expected = (0..4)
        .flat_map(|part| (0..each).map(move |n| format!("key-{part}-{n:05} : [value-{part}-{n}]")));
    assert!(keys.cloned().eq(expected), "every key with its value, in key order");
    assert_eq!(store.len(), 4 * each + 1);
}
