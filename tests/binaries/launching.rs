//! Flags, hosts files, exit codes, logs.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, PATIENT, bound_address};
use crate::support::logs::Logs;
use crate::support::process::{Finished, Process, command};

/// Ports that were free a moment ago, for a hosts file, which must name them beforehand.
fn free_ports<const N: usize>() -> [u16; N] {
    let sockets = [(); N].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

fn hosts(view: u16, s1: u16, s2: u16) -> Value {
    let host = |port: u16| json!({"ip_address": "127.0.0.1", "udp_start_port": port});
    let mut hosts = json!({"hosts": {"view": host(view), "s1": host(s1), "s2": host(s2)}});
    hosts["hosts"]["s1"]["udp_end_port"] = json!(s1);
    hosts
}

fn run(folder: &Path, binary: &str, arguments: &[&str]) -> Finished {
    let mut command = command(binary, folder);
    command.args(arguments);
    Process::run(&Logs::default(), binary, command, "")
}

#[test]
fn a_hosts_file_in_the_working_directory_is_all_that_anybody_needs() {
    let folder = tempfile::tempdir().unwrap();
    let [view, s1, s2] = free_ports();
    fs::write(folder.path().join("knownhosts.json"), hosts(view, s1, s2).to_string()).unwrap();
    let logs = Logs::default();
    let start = |name: &str, binary: &str, arguments: &[&str], port: u16| {
        let mut command = command(binary, folder.path());
        command.args(arguments);
        let process = Process::spawn(&logs, name, command);
        assert_eq!(bound_address(&process), SocketAddr::from(([127, 0, 0, 1], port)));
        process
    };
    let mut view_server = start("view", "viewserver", &[], view);
    let servers = [start("s1", "kvserver", &["s1"], s1), start("s2", "kvserver", &["s2"], s2)];
    let both = ["primary: s1 backup: s2", "primary: s2 backup: s1"];
    logs.wait_for("a primary and a backup", crate::support::PATIENCE, || {
        both.contains(&view_server.ask("view").as_str()).then_some(())
    });
    run(folder.path(), "client", &["put", "a", "1"]).expect(0, &["put completed"]);
    run(folder.path(), "client", &["get", "a"]).expect(0, &["get a returned 1"]);
    let record = fs::read_to_string(folder.path().join("view.state.json")).unwrap();
    assert!(!record.is_empty());
    for server in servers {
        assert!(server.stdout.all().is_empty(), "logs go to stderr");
    }
}

#[test]
fn the_hosts_flag_overrides_pbkv_hosts_which_overrides_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let [default, variable, flag, s1, s2] = free_ports();
    for (name, port) in
        [("knownhosts.json", default), ("variable.json", variable), ("flag.json", flag)]
    {
        fs::write(path(name), hosts(port, s1, s2).to_string()).unwrap();
    }
    for (environment, arguments, port) in [
        (None, &[][..], default),
        (Some("variable.json"), &[], variable),
        (Some("variable.json"), &["--hosts", "flag.json"], flag),
    ] {
        let mut command = command("viewserver", folder.path());
        command.args(["--state", "none"]).args(arguments);
        if let Some(name) = environment {
            command.env("PBKV_HOSTS", path(name));
        }
        let process = Process::spawn(&Logs::default(), "view", command);
        assert_eq!(bound_address(&process).port(), port);
    }
    // --id names the entry that is the view server.
    let mut other = command("viewserver", folder.path());
    other.args(["--id", "s1", "--state", "none"]);
    let process = Process::spawn(&Logs::default(), "view", other);
    assert_eq!(bound_address(&process).port(), s1);
}

#[test]
fn a_wrong_hosts_file_is_refused_with_file_field_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let host = json!({"ip_address": "127.0.0.1", "udp_start_port": 5000, "udp_end_port": 5009});
    let with = |field: &str, value: Value| {
        let mut changed = host.clone();
        changed[field] = value;
        json!({"hosts": {"view": host, "s1": changed}})
    };
    let without_port = json!({"hosts": {"view": host, "s1": {"ip_address": "127.0.0.1"}}});
    let cases = [
        (without_port, "udp_start_port"),
        (with("ip_address", json!("no address")), "ip_address"),
        (with("udp_start_port", json!(70_000)), "udp_start_port"),
        (with("udp_start_port", json!("5000")), "udp_start_port"),
        (with("udp_end_port", json!(4000)), "udp_end_port"),
        (json!({"hosts": {"s1": host}}), "view"),
        (json!({"hosts": {"view": host}}), "s1"),
        (json!({"servers": {}}), "hosts"),
    ];
    for (number, (content, field)) in cases.into_iter().enumerate() {
        let name = format!("hosts{number}.json");
        fs::write(folder.path().join(&name), content.to_string()).unwrap();
        let finished = run(folder.path(), "kvserver", &["s1", "--hosts", &name]);
        finished.expect_complaint(2, &[&name, field]);
        assert!(finished.stdout.is_empty());
    }
    fs::write(folder.path().join("torn.json"), r#"{"hosts": {"#).unwrap();
    for (binary, arguments) in
        [("kvserver", &["s1"][..]), ("viewserver", &["--state", "none"]), ("client", &["view"])]
    {
        let with = |name: &'static str| [&["--hosts", name], arguments].concat();
        run(folder.path(), binary, &with("torn.json")).expect_complaint(2, &["torn.json"]);
        run(folder.path(), binary, &with("absent.json")).expect_complaint(2, &["absent.json"]);
        run(folder.path(), binary, arguments).expect_complaint(2, &["knownhosts.json"]);
    }
}

#[test]
fn wrong_usage_exits_2_and_names_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = "127.0.0.1:0";
    let view = ["--listen", nowhere, "--state", "none"];
    for (binary, arguments, word) in [
        ("viewserver", [&view[..], &["--frobnicate"]].concat(), "--frobnicate"),
        ("viewserver", [&view[..], &["--dead-after", "100ms"]].concat(), "--dead-after"),
        ("viewserver", [&view[..], &["--dead-after", "soon"]].concat(), "--dead-after"),
        ("viewserver", [&view[..], &["--ping-interval", "0ms"]].concat(), "--ping-interval"),
        ("viewserver", vec!["--listen", "nonsense"], "--listen"),
        ("kvserver", vec![], "ID"),
        ("kvserver", vec!["s1", "--listen", "nonsense", "--view-server", nowhere], "--listen"),
        ("kvserver", vec!["s1", "--listen", nowhere, "--view-server", "x"], "--view-server"),
        ("kvserver", vec!["s1", "--listen", nowhere, "--dead-after", "1s"], "--dead-after"),
        ("client", vec!["--view-server", "nonsense", "view"], "--view-server"),
        ("client", vec!["--view-server", "127.0.0.1:9", "--deadline", "x", "view"], "--deadline"),
    ] {
        let finished = run(folder.path(), binary, &arguments);
        finished.expect_complaint(2, &[word]);
        assert!(finished.stdout.is_empty(), "{finished:?}");
    }
    for binary in ["viewserver", "kvserver", "client"] {
        let finished = run(folder.path(), binary, &["--help"]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stdout.join("\n").contains("--hosts"), "{finished:?}");
    }
}

#[test]
fn every_command_of_the_client_asks_whom_the_flags_behind_it_name() {
    let folder = tempfile::tempdir().unwrap();
    let [nobody] = free_ports();
    let before = ["--view-server", &format!("127.0.0.1:{nobody}")];
    for word in ["bench", "watch", "dump", "load"] {
        let words = [&before[..], &[word, "--hosts", "mine.json"]].concat();
        let finished = run(folder.path(), "client", &words);
        assert_eq!(finished.code, Some(2), "{word}");
        assert!(finished.stderr.contains("mine.json"), "{word}");
    }
}

#[test]
fn a_client_that_cannot_read_its_stdin_says_so_and_exits_1() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = command("client", folder.path());
    client.args(["--view-server", "127.0.0.1:9"]);
    let output = client.stdin(fs::File::open(folder.path()).unwrap()).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("stdin: Is a directory"), "{told}");
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    run(folder.path(), "viewserver", &["--listen", &taken, "--state", "none"])
        .expect_complaint(1, &[&taken]);
    run(folder.path(), "kvserver", &["s1", "--listen", &taken, "--view-server", "127.0.0.1:9"])
        .expect_complaint(1, &[&taken]);
}

#[test]
fn a_garbled_record_is_an_error_that_names_the_file_and_never_a_fresh_start() {
    let folder = tempfile::tempdir().unwrap();
    for content in ["", "{", "not JSON at all", "{}", "\u{0}\u{0}\u{0}\u{0}"] {
        fs::write(folder.path().join("my.state"), content).unwrap();
        let arguments = ["--listen", "127.0.0.1:0", "--state", "my.state"];
        let finished = run(folder.path(), "viewserver", &arguments);
        assert_ne!(finished.code, Some(0), "{finished:?}");
        finished.expect_complaint(finished.code.unwrap(), &["my.state"]);
        let kept = fs::read_to_string(folder.path().join("my.state")).unwrap();
        assert_eq!(kept, content, "evidence is not overwritten");
    }
}

#[test]
fn two_view_servers_cannot_share_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--state", "shared.state"];
    let mut first = command("viewserver", folder.path());
    first.args(arguments).args(PATIENT);
    let mut first = Process::spawn(&Logs::default(), "first", first);
    first.wait_for_log("listening on ");
    let second = run(folder.path(), "viewserver", &arguments);
    assert_ne!(second.code, Some(0), "{second:?}");
    second.expect_complaint(second.code.unwrap(), &["shared.state"]);
    assert!(first.is_running());
}

#[test]
fn logs_go_to_stderr_as_text_or_as_json_and_rust_log_rules_them() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--state", "none", "--log-format", "json"];
    let mut json_logs = command("viewserver", folder.path());
    json_logs.args(arguments);
    let mut process = Process::spawn(&Logs::default(), "view", json_logs);
    let line = process.wait_for_log("listening on ");
    assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    process.type_line("quit");
    let finished = process.finish();
    finished.expect(0, &[]);
    for line in finished.stderr.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    let mut silent = command("viewserver", folder.path());
    silent.args(["--listen", "127.0.0.1:0", "--state", "none"]).env("RUST_LOG", "off");
    let mut process = Process::spawn(&Logs::default(), "view", silent);
    assert_eq!(process.ask("view"), "primary: none backup: none");
    process.type_line("quit");
    let finished = process.finish();
    assert_eq!(finished.stderr, "", "{finished:?}");
}

#[test]
fn the_record_is_where_the_state_flag_says_and_none_keeps_none() {
    let mut cluster = Cluster::of(1);
    assert!(cluster.folder().join("view.state.json").exists());
    cluster.kill_view_server();
    fs::remove_file(cluster.folder().join("view.state.json")).unwrap();
    cluster.lose_record();
    cluster.start_view_server();
    cluster.wait_for_view("s1", None);
    assert!(!cluster.folder().join("view.state.json").exists());
}
