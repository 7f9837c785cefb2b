//! `scripts/pbkv_client.py`: that a client needs no library, and still does everything right, or
//! says that it does not do it.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::sizes::outward_address;
use crate::support::cluster::{Cluster, Options};
use crate::support::logs::Logs;
use crate::support::process::Process;
use crate::support::proxy::Faults;
use crate::support::{PATIENCE, amount};

fn python(cluster: &Cluster) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/pbkv_client.py");
    let view = match &cluster.proxy {
        Some(proxy) => proxy.add_node("view"),
        None => cluster.view_address(),
    };
    let mut command = Command::new("python3");
    command.arg(script).args([&view.to_string(), "60"]);
    Process::spawn(&cluster.logs, "python", command)
}

#[test]
fn a_client_of_python_writes_and_reads_text_of_any_kind_and_refuses_what_is_too_large_for_it() {
    let cluster = Cluster::of(2);
    let mut python = python(&cluster);
    for (line, answer) in [
        ("get a", "null"),
        ("put a 1", "done"),
        ("append a 'two words'", "done"),
        ("get a", r#"["1", "two words"]"#),
        ("put '' ''", "done"),
        ("get ''", r#"[""]"#),
        ("remove a", "done"),
        ("get a", "null"),
        ("append 'schlüssel \"' '🦀'", "done"),
    ] {
        assert_eq!(python.ask(line), answer, "{line}");
    }
    assert_eq!(cluster.get("schlüssel \"").unwrap(), ["🦀"]);
    // An answer that does not fit a datagram, and a request that does not.
    let value = "x".repeat(50_000);
    assert_eq!(python.ask(&format!("put long {value}")), "done");
    let answer: Vec<String> = serde_json::from_str(&python.ask("get long")).unwrap();
    assert_eq!(answer, [value.as_str()]);
    assert_eq!(python.ask(&format!("append long {value}")), "done");
    assert_eq!(python.ask("get long"), "NotExecuted: the answer is larger than a datagram");
    assert_eq!(cluster.get("long").unwrap(), [value.as_str(), &value]);
    let huge = "x".repeat(100_000);
    assert_eq!(python.ask(&format!("put huge {huge}")), "NotExecuted: too large for a datagram");
    assert_eq!(cluster.get("huge"), None);
    for line in ["frob a x", "put a", "get", "get a b", ""] {
        assert!(python.ask(line).starts_with("NotExecuted: "), "{line}");
    }
    assert_eq!(python.ask("put 'a 1"), "ValueError: No closing quotation");
    // What was refused stands in the way of nothing.
    assert_eq!(python.ask("put a 3"), "done");
    assert_eq!(python.ask("get a"), r#"["3"]"#);
    python.close_stdin();
    assert_eq!(python.finish().stderr, "");
}

#[test]
fn a_client_of_python_repeats_the_token_that_servers_off_loopback_want_through_a_failover() {
    let Some(host) = outward_address() else {
        println!("this machine has no address but loopback");
        return;
    };
    let mut cluster = Cluster::start(Options { host, ..Options::default() });
    let roles = cluster.roles();
    let mut python = python(&cluster);
    assert_eq!(python.ask("put list 0"), "done");
    cluster.kill(&roles.primary);
    assert_eq!(python.ask("append list 1"), "done");
    assert_eq!(python.ask("get list"), r#"["0", "1"]"#);
    // Here a datagram is small.
    assert_eq!(python.ask(&format!("append list {}", "x".repeat(2_000))), "done");
    assert_eq!(python.ask("get list"), "NotExecuted: the answer is larger than a datagram");
}

#[test]
fn a_client_of_python_appends_each_value_once_through_loss_duplication_and_a_failover() {
    let mut cluster = Cluster::start(Options { proxy: Some(0x9e37), ..Options::default() });
    let roles = cluster.roles();
    let mut python = python(&cluster);
    assert_eq!(python.ask("put list 0"), "done");
    let faults =
        Faults { loss: 20, duplication: 20, delay: Duration::ZERO..Duration::from_millis(5) };
    cluster.proxy.as_ref().unwrap().everywhere(faults);
    let times = amount(30, 100);
    for number in 1..=times {
        if number == times / 2 {
            cluster.kill(&roles.primary);
        }
        assert_eq!(python.ask(&format!("append list {number}")), "done");
    }
    let counters = cluster.proxy.as_ref().unwrap().counters();
    assert!(counters.lost.min(counters.duplicated) > times as u64 / 5, "{counters:?}");
    let expected: Vec<String> = (0..=times).map(|number| number.to_string()).collect();
    let read: Vec<String> = serde_json::from_str(&python.ask("get list")).unwrap();
    assert_eq!(read, expected);
    cluster.proxy.as_ref().unwrap().heal();
    assert_eq!(cluster.get("list").unwrap(), expected);
}

#[test]
fn a_client_of_python_says_what_certainly_did_not_happen_and_what_may_have() {
    let mut cluster = Cluster::of(1);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/pbkv_client.py");
    let mut command = Command::new("python3");
    command.arg(script).args([&cluster.view_address().to_string(), "0.5"]);
    let mut python = Process::spawn(&Logs::default(), "python", command);
    // Half a second is little on a loaded machine.
    cluster
        .logs
        .wait_for("a put in time", PATIENCE, || (python.ask("put a 1") == "done").then_some(()));
    cluster.kill("s1");
    assert!(python.ask("put a 2").starts_with("Unknown"), "it was sent, and not answered");
    assert!(python.ask("put a 3").starts_with("NotExecuted"), "no session could be opened");
    assert!(python.ask("get a").starts_with("NotExecuted"));
}

#[test]
fn a_client_of_python_does_not_mind_what_strangers_send() {
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((_, from)) = stranger.recv_from(&mut bytes) {
            let garbage: [&[u8]; 11] = [
                b"[]",
                b"{}\n[]",
                b"{}\n7",
                b"{\"type\":[]}",
                b"{\"type\":\"view\"}",
                b"\xff",
                b"",
                b"{\"type\":\"pbkv\",\"crc32\":0}\n",
                b"{\"type\":\"view\",\"primary_address\":7}",
                b"{\"type\":\"retry\"}",
                b"{\"type\":\"retry\",\"token\":{}}",
            ];
            for bytes in garbage {
                let _ = stranger.send_to(bytes, from);
            }
        }
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/pbkv_client.py");
    let mut command = Command::new("python3");
    command.arg(script).args([&address.to_string(), "0.5"]);
    let mut python = Process::spawn(&Logs::default(), "python", command);
    for line in ["get a", "put a 1"] {
        assert_eq!(python.ask(line), "NotExecuted: no answer within 0.5s");
    }
    python.close_stdin();
    assert_eq!(python.finish().stderr, "");
}
