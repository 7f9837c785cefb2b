//! Clusters whose datagrams are sealed, and what strangers can do to them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use pbkv::protocol::seal::{KeyKind, key_line};

use crate::support::cluster::{Cluster, Options};
use crate::support::logs::Logs;
use crate::support::plain::Plain;
use crate::support::process::{Process, command};
use crate::support::workload::Appenders;

fn key(number: u8) -> String {
    key_of(KeyKind::Cluster, number)
}

fn key_of(kind: KeyKind, number: u8) -> String {
    key_line(kind, &std::array::from_fn(|index| number.wrapping_add(index as u8)))
}

fn keyed(servers: usize, lines: String) -> Options {
    Options { servers, keys: Some(lines), ..Options::default() }
}

fn key_file(cluster: &Cluster, name: &str, lines: &str) -> PathBuf {
    let path = cluster.folder().join(name);
    std::fs::write(&path, lines).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

#[test]
fn with_keys_everything_works_and_who_has_none_or_another_one_learns_and_changes_nothing() {
    let mut cluster = Cluster::start(keyed(2, key(1)));
    let before = cluster.roles();
    let large = "x".repeat(300_000);
    cluster
        .script(&[], &format!("put a 1\nappend a 2\nget a\nincr n 5\nput large {large}\nkeys\n"))
        .expect(
            0,
            &[
                "put completed",
                "append completed",
                "get a returned 1, 2",
                "incr n returned 5",
                "put completed",
                "keys returned a, large, n",
            ],
        );
    assert_eq!(cluster.get("large").unwrap(), [large]);
    let watched = cluster.client(&["--json", "watch", "--count", "1"]);
    assert!(watched.stdout[0].contains("\"s2\""), "{watched:?}");
    let bench = cluster.client(&["bench", "--seconds", "0.2", "--warm-up", "0", "--quiet"]);
    assert_eq!(bench.code, Some(0), "{bench:?}");

    let other = key_file(&cluster, "other", &key(9));
    let view = cluster.view_address().to_string();
    for flags in [&["--key-file", other.to_str().unwrap()][..], &[]] {
        let mut stranger = command("client", cluster.folder());
        stranger.args(["--view-server", &view, "--deadline", "300ms"]).args(flags);
        stranger.args(["put", "a", "forged"]);
        let finished = Process::run(&cluster.logs, "stranger", stranger, "");
        finished.expect(1, &["unable to execute put"]);
        finished.expect_complaint(1, &["--key-file", "did not answer"]);
    }
    let mut plain = Plain::new();
    for to in [cluster.view_address(), cluster.address("s1"), cluster.address("s2")] {
        plain.send(to, r#"{"type":"get_view"}"#);
        plain.send(to, r#"{"type":"ping"}"#);
        plain.send(to, r#"{"type":"client_request","command":"put","key":"a","value":"forged"}"#);
    }
    assert_eq!(plain.receive(Duration::from_millis(300)), None);
    let warned = cluster.view_server().wait_for_log("is not sealed");
    assert!(warned.contains("--key-file") && warned.contains("datagram_refused"), "{warned}");
    let told = cluster.view_server().stderr.all();
    let lines = told.iter().filter(|line| line.contains("datagram_refused")).count();
    assert!(lines <= 2, "one a kind: {told:?}");
    assert_eq!(cluster.get("a").unwrap(), ["1", "2"]);
    cluster.assert_no_view_change(&before);
    cluster.wait_for_equal_stores("s1", "s2");
}

#[test]
fn clients_with_a_key_of_their_own_are_served_and_a_server_with_it_is_not_taken_in() {
    let clients = key_of(KeyKind::Client, 5);
    let mut cluster = Cluster::start(keyed(2, format!("{}\n{clients}", key(1))));
    let file = key_file(&cluster, "clients", &clients);
    let file = file.to_str().unwrap();
    cluster.client(&["--key-file", file, "put", "a", "1"]).expect(0, &["put completed"]);
    let finished = cluster.client(&["--key-file", file, "get", "a"]);
    finished.expect(0, &["get a returned 1"]);
    let mut server = command("kvserver", cluster.folder());
    server.args(["s3", "--listen", "127.0.0.1:0", "--key-file", file]);
    server.args(["--view-server", &cluster.view_address().to_string()]);
    Process::run(&cluster.logs, "s3", server, "")
        .expect_complaint(2, &["clients", "only keys for clients", "keygen"]);
    cluster.kill("s1");
    cluster.wait_for_view("s2", None);
    cluster.client(&["--key-file", file, "get", "a"]).expect(0, &["get a returned 1"]);
}

#[test]
fn a_recorded_trace_played_again_and_again_during_and_after_and_after_restarts_does_nothing() {
    let mut cluster =
        Cluster::start(Options { proxy: Some(7), keep_record: true, ..keyed(3, key(1)) });
    let proxy = cluster.proxy.as_ref().unwrap();
    proxy.record();
    let script = "put a 1\nappend a 2\nincr n\nappend b x\nremove b\nappend b y\n";
    assert_eq!(cluster.script(&[], script).code, Some(0));
    let clients = Appenders::start(&cluster, 2, "log");
    clients.wait_for_progress(&cluster, 10);
    for _ in 0..3 {
        assert!(proxy.replay() > 50, "during the run");
    }
    clients.finish(&cluster);
    let roles = cluster.roles();
    let store = cluster.wait_for_equal_stores(&roles.primary, &roles.backup);
    let proxy = cluster.proxy.as_ref().unwrap();
    for _ in 0..3 {
        proxy.replay();
    }
    cluster.assert_no_view_change(&roles);
    assert_eq!(cluster.wait_for_equal_stores(&roles.primary, &roles.backup), store);

    // Every process is another one, and the data is the same.
    roll(&mut cluster);
    let roles = cluster.roles();
    let proxy = cluster.proxy.as_ref().unwrap();
    for _ in 0..3 {
        proxy.replay();
    }
    cluster.assert_no_view_change(&roles);
    assert_eq!(cluster.wait_for_equal_stores(&roles.primary, &roles.backup), store);

    // All data is lost, and everybody who ever heard any of it is gone.
    for id in ["s1", "s2", "s3"] {
        cluster.kill(id);
    }
    cluster.kill_view_server();
    std::fs::remove_file(cluster.folder().join("view.state.json")).unwrap();
    cluster.start_view_server();
    for id in ["s1", "s2", "s3"] {
        cluster.start_server(id);
    }
    let roles = cluster.roles();
    cluster.script(&[], "put new 1\nincr n\n").expect(0, &["put completed", "incr n returned 1"]);
    let proxy = cluster.proxy.as_ref().unwrap();
    for _ in 0..3 {
        proxy.replay();
    }
    cluster.assert_no_view_change(&roles);
    let store = cluster.wait_for_equal_stores(&roles.primary, &roles.backup);
    assert_eq!(store, ["n : [1]", "new : [1]"]);
}

#[test]
fn a_key_is_exchanged_process_by_process_while_clients_write() {
    let mut cluster = Cluster::start(keyed(3, key(1)));
    let first = Appenders::start(&cluster, 2, "first");
    cluster.set_keys(&format!("{}\n{}", key(1), key(2)));
    roll(&mut cluster);
    first.finish(&cluster);
    let second = Appenders::start(&cluster, 2, "second");
    cluster.set_keys(&key(2));
    roll(&mut cluster);
    second.wait_for_progress(&cluster, 2);
    second.finish(&cluster);
    let former = key_file(&cluster, "former", &key(1));
    let flags = ["--key-file", former.to_str().unwrap(), "--deadline", "300ms", "get", "first"];
    assert_eq!(cluster.client(&flags).code, Some(1));
    assert!(!cluster.get("first").unwrap().is_empty());
}

/// Starts everybody again, one after the other, and waits for two copies each time.
fn roll(cluster: &mut Cluster) {
    cluster.kill_view_server();
    cluster.start_view_server();
    for id in ["s1", "s2", "s3"] {
        let roles = cluster.roles();
        cluster.kill(id);
        if roles.primary == id {
            cluster.wait_for_failover(id);
        } else if roles.backup == id {
            cluster.wait_for("another backup", |view| {
                view.backup.as_deref().is_some_and(|backup| backup != id)
            });
        }
        cluster.start_server(id);
    }
    cluster.roles();
}

#[test]
fn with_keys_a_dump_a_switchover_a_drain_and_a_load_do_what_they_do_without() {
    let mut cluster = Cluster::start(keyed(3, key(1)));
    let script = "mput a 1 b 2\nappend a 3\ncas b 2 4\n";
    assert_eq!(cluster.script(&[], script).code, Some(0));
    let dumped = cluster.client(&["dump"]);
    assert_eq!((dumped.code, dumped.stdout.len()), (Some(0), 4), "{dumped:?}");

    let roles = cluster.roles();
    let backup = roles.backup.as_str();
    let answer = cluster.view_server().ask("switchover");
    assert!(answer.starts_with(&format!("primary: {backup} ")), "{answer}");
    let roles = cluster.roles();
    let answer = cluster.view_server().ask(&format!("drain {} --force", roles.backup));
    assert!(answer.starts_with(&format!("{} is ", roles.backup)), "{answer}");
    cluster.wait_for_view(backup, Some(&roles.spares[0]));
    assert_eq!(cluster.get("a").unwrap(), ["1", "3"]);

    cluster.client(&["remove", "a"]).expect(0, &["remove completed"]);
    let dump = dumped.stdout.join("\n") + "\n";
    cluster.script(&["load"], &dump).expect(0, &["load completed: 2 keys, 3 elements"]);
    assert_eq!(cluster.get("a").unwrap(), ["1", "3"]);
    assert_eq!(cluster.get("b").unwrap(), ["4"]);
}

#[test]
fn without_keys_servers_bind_loopback_only_and_key_files_must_be_private() {
    let (logs, folder) = (Logs::default(), tempfile::tempdir().unwrap());
    let run = |binary: &str, words: &[&str]| {
        let mut command = command(binary, folder.path());
        command.args(words);
        Process::run(&logs, binary, command, "")
    };
    let anywhere = ["--listen", "0.0.0.0:0"];
    run("viewserver", &anywhere).expect_complaint(2, &["0.0.0.0:0", "--key-file", "--insecure"]);
    let view = ["--view-server", "127.0.0.1:9"];
    run("kvserver", &[&["s1"][..], &anywhere, &view].concat())
        .expect_complaint(2, &["0.0.0.0:0", "--key-file", "--insecure"]);

    let drawn = run("client", &["keygen"]);
    assert_eq!((drawn.code, drawn.stdout.len(), &*drawn.stderr), (Some(0), 1, ""), "{drawn:?}");
    assert!(drawn.stdout[0].ends_with(" cluster"), "{drawn:?}");
    assert!(run("client", &["keygen", "--client"]).stdout[0].ends_with(" client"));
    assert_ne!(drawn.stdout, run("client", &["keygen"]).stdout);
    run("client", &["keygen", "x"]).expect_complaint(2, &["x"]);

    let path = folder.path().join("keys");
    std::fs::write(&path, &drawn.stdout[0]).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    for (binary, words) in [
        ("viewserver", &["--listen", "127.0.0.1:0", "--key-file", "keys"][..]),
        ("kvserver", &["s1", "--listen", "127.0.0.1:0", "--key-file", "keys"]),
        ("client", &["--view-server", "127.0.0.1:9", "--key-file", "keys", "view"]),
    ] {
        let words = if binary == "kvserver" { [words, &view].concat() } else { words.to_vec() };
        run(binary, &words).expect_complaint(2, &["keys", "chmod 600"]);
    }
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&path, "key 12345").unwrap();
    run("client", &["--view-server", "127.0.0.1:9", "--key-file", "keys", "view"])
        .expect_complaint(2, &["keys: line 1", "5 characters", "client keygen"]);
}
