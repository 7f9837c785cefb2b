//! What the two servers answer on stdin, and when they leave.

use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::process::Signal;

#[test]
fn kv_shows_the_store_in_key_order_on_primary_and_backup() {
    let mut cluster = Cluster::of(2);
    let roles = cluster.roles();
    assert_eq!(cluster.kv(&roles.primary), ["no entries"]);
    let script = "put b 1\nappend b 2\nput a 'x y'\nput gone 1\nremove gone\nput '' ''\n";
    assert_eq!(cluster.script(&[], script).code, Some(0));
    let store = [" : []", "a : [x y]", "b : [1, 2]"];
    assert_eq!(cluster.wait_for_equal_stores(&roles.primary, &roles.backup), store);
}

#[test]
fn status_names_role_view_and_size_on_every_server() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    assert_eq!(cluster.script(&[], "put a 1\nput b 2\nput c 3\n").code, Some(0));
    let spare = roles.spares[0].clone();
    for (id, role) in [(&roles.primary, "primary"), (&roles.backup, "backup"), (&spare, "spare")] {
        let server = cluster.server(id);
        server.type_line("status");
        let mut text = server.next_answer();
        while let Some(line) = server.answer_within(Duration::from_millis(100)) {
            text = format!("{text}\n{line}");
        }
        assert!(text.contains(role), "{id}: no {role} in {text}");
        if role != "spare" {
            assert!(text.contains(&roles.number.to_string()), "no view number in {text}");
            assert!(text.contains('3'), "no number of keys in {text}");
        }
    }
    let view_server = cluster.view_server();
    view_server.type_line("status");
    let mut lines = vec![view_server.next_answer()];
    while let Some(line) = view_server.answer_within(Duration::from_millis(200)) {
        lines.push(line);
    }
    assert!(lines[0].contains(&roles.number.to_string()), "{lines:?}");
    for (id, words) in [
        (&roles.primary, &["primary", "alive"][..]),
        (&roles.backup, &["backup", "alive", "synced"]),
        (&spare, &["spare", "alive"]),
    ] {
        let line = lines.iter().find(|line| line.starts_with(id.as_str()));
        let line = line.unwrap_or_else(|| panic!("no line of {id}: {lines:?}"));
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
}

#[test]
fn view_reflects_who_is_alive_at_the_moment_it_is_typed() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    let shown = format!("primary: {} backup: {}", roles.primary, roles.backup);
    assert_eq!(cluster.view_server().ask("view"), shown);
    cluster.kill(&roles.primary);
    // At once: nobody has noticed yet, but the answer must not name the dead.
    let answer = cluster.view_server().ask("view");
    assert!(answer.starts_with(&format!("primary: {} backup: ", roles.backup)), "{answer}");
    assert!(!answer.ends_with(&roles.primary), "{answer}");
}

#[test]
fn view_says_none_without_servers_and_the_backup_is_none_with_one() {
    let mut cluster = Cluster::of(0);
    assert_eq!(cluster.view_server().ask("view"), "primary: none backup: none");
    cluster.start_server("s1");
    cluster.wait_for_view("s1", None);
    assert_eq!(cluster.view_server().ask("view"), "primary: s1 backup: none");
}

#[test]
fn help_and_unknown_words_are_answered_by_both_servers() {
    let mut cluster = Cluster::of(1);
    for name in ["view", "s1"] {
        let server = if name == "view" { cluster.view_server() } else { cluster.server(name) };
        server.type_line("help");
        let mut text = server.next_answer();
        while let Some(line) = server.answer_within(Duration::from_millis(100)) {
            text = format!("{text}\n{line}");
        }
        let words: &[&str] =
            if name == "view" { &["view", "status", "reset"] } else { &["kv", "status"] };
        for word in words.iter().chain(&["help", "quit"]) {
            assert!(text.contains(word), "{name}: no {word} in {text}");
        }
        server.type_line("frobnicate");
        server.wait_for_log("unknown command");
        // An empty line and blanks are no command at all.
        server.type_line("");
        server.type_line("   ");
        assert_eq!(server.answer_within(Duration::from_millis(100)), None);
    }
}

#[test]
fn servers_leave_with_0_on_quit_sigterm_and_sigint_and_stay_when_stdin_ends() {
    let nowhere = "127.0.0.1:0".parse().unwrap();
    for signal in [None, Some(Signal::TERM), Some(Signal::INT)] {
        let mut cluster = Cluster::of(0);
        let server = cluster.spawn_server("s1", nowhere);
        server.wait_for_log("listening on ");
        for mut process in [server, cluster.take_view_server()] {
            match signal {
                None => process.type_line("quit"),
                Some(signal) => {
                    process.close_stdin();
                    // Only later can it be seen that the end of stdin did not end the process.
                    std::thread::sleep(Duration::from_millis(100));
                    assert!(process.is_running(), "the end of stdin ended a server");
                    process.signal(signal);
                }
            }
            process.finish().expect(0, &[]);
        }
    }
}
