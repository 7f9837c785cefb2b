//! What a person sees at a terminal: the line editor of all three programs, what a waiting command
//! says, and the live picture. The programs run in pseudo-terminals.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::cluster::{Cluster, Options};
use crate::support::logs::Logs;
use crate::support::person::{CTRL_C, CTRL_D, Person, UP};
use crate::support::process::{Process, Signal, command};

const SIZE: (u16, u16) = (100, 30);

/// The client, with colours if the test asks for them later.
fn client(cluster: &Cluster, words: &[&str]) -> Command {
    let mut client = command("client", cluster.folder());
    client.args(["--view-server", &cluster.view_address().to_string()]).args(words);
    client.env_remove("NO_COLOR");
    client
}

fn at_client(cluster: &Cluster) -> Person {
    let person = Person::start(&cluster.logs, "client", &client(cluster, &[]), SIZE);
    person.wait_for_line("> ");
    person
}

/// Whether a control sequence for colours is in it.
fn is_coloured(raw: &str) -> bool {
    raw.split("\x1b[").skip(1).any(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';');
        end.is_some_and(|end| rest[end..].starts_with('m'))
    })
}

#[test]
fn commands_and_keys_are_completed_and_missing_arguments_are_hinted_at() {
    let cluster = Cluster::of(1);
    let mut person = at_client(&cluster);
    person.enter("put apple 1");
    person.wait_for("put completed");
    person.enter("put 'a pear' 2");
    person.wait_until("the second answer", |screen| {
        screen.text().matches("put completed").count() == 2 && screen.cursor().0 == ">"
    });
    person.type_keys("rem");
    person.wait_for_line("> rem");
    person.wait_for("> remove KEY");
    person.type_keys("\t");
    person.wait_for_line("> remove ");
    person.type_keys("app\t");
    person.wait_for_line("> remove apple ");
    person.enter("");
    person.wait_for("remove completed");
    person.type_keys("get a\\ \t");
    person.wait_for_line("> get 'a pear' ");
    person.enter("");
    person.wait_for("get a pear returned 2");
    person.enter("help append");
    person.wait_for("usage: append KEY VALUE");
    person.type_keys(CTRL_D);
    assert_eq!(person.end(), Some(0));
}

#[test]
fn history_is_kept_for_the_owner_from_one_run_to_the_next() {
    let cluster = Cluster::of(1);
    let path = cluster.folder().join("state/history");
    let start = |history: &std::path::Path| {
        let mut client = client(&cluster, &[]);
        client.env("PBKV_HISTORY", history);
        let person = Person::start(&cluster.logs, "client", &client, SIZE);
        person.wait_for_line("> ");
        person
    };
    let mut person = start(&path);
    person.enter("put first 1");
    person.wait_for("put completed");
    person.enter("quit");
    assert_eq!(person.end(), Some(0));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let mut person = start(&path);
    person.type_keys(UP);
    person.wait_for_line("> quit");
    person.type_keys(UP);
    person.wait_for_line("> put first 1");
    person.type_keys(CTRL_C);
    person.wait_for_line("> ");
    // Keys of the history can be completed, too.
    person.type_keys("get fi\t");
    person.wait_for_line("> get first ");
    drop(person);

    // A folder is no file: said once, and everything else works.
    let mut person = start(cluster.folder());
    person.wait_for("history is not kept: ");
    person.enter("get first");
    person.wait_for("get first returned 1");
    assert_eq!(person.text().matches("history is not kept").count(), 1);
}

#[test]
fn a_mark_stands_under_the_wrong_word() {
    let cluster = Cluster::of(1);
    let mut person = at_client(&cluster);
    let rows_after = |person: &Person, line: &str| {
        let text = person.text();
        text.split_once(&format!("{line}\n")).map(|(_, rest)| rest.to_owned()).unwrap_or_default()
    };
    person.enter("gte a");
    person.wait_for("unknown command");
    let below = rows_after(&person, "> gte a");
    assert!(below.starts_with("  ^^^ did you mean get?\nunknown command"), "{below}");
    person.enter("put a b 'c d'");
    person.wait_for("Invalid put command");
    let below = rows_after(&person, "> put a b 'c d'");
    assert!(below.starts_with("          ^^^^^ put takes no more words"), "{below}");
    person.enter("get a b");
    person.wait_for("Invalid get command");
    person.enter("get");
    person.wait_for("KEY is missing");
    assert!(is_coloured(&person.raw()));
}

#[test]
fn several_lines_can_be_pasted_and_quotes_may_hold_line_ends() {
    let cluster = Cluster::of(1);
    let mut person = at_client(&cluster);
    person.type_keys("\x1b[200~append l 1\nappend l 'two\nlines'\nget l\x1b[201~");
    person.wait_for_line("get l");
    assert!(!person.text().contains("completed"), "nothing runs before the return key");
    person.enter("");
    person.wait_for("get l returned 1, two\\nlines");
    assert_eq!(person.text().matches("append completed").count(), 2);
    // Typed by hand, an open quote asks for more.
    person.enter("put q 'a");
    person.wait_for_line("' ");
    person.enter("b'");
    person.wait_for("put completed");
    person.enter("get q");
    person.wait_for("get q returned a\\nb");
}

#[test]
fn a_command_that_waits_through_a_failover_says_what_it_waits_for() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    let client = client(&cluster, &["--deadline", "30s"]);
    let mut person = Person::start(&cluster.logs, "client", &client, SIZE);
    person.wait_for_line("> ");
    person.enter("put a 1");
    person.wait_for("put completed");
    cluster.kill(&roles.primary);
    person.enter("put b 2");
    let silent = format!("{} does not answer; asking the view server...", roles.primary);
    person.wait_for(&silent);
    person.wait_for(&format!("new primary {}", roles.backup));
    person.wait_until("the second answer", |screen| {
        screen.text().matches("put completed").count() == 2
    });
    assert!(person.raw().contains(&format!("\x1b[2m{silent}")), "the line is dim");
    // Without a terminal, stderr stays silent.
    let roles = cluster.roles();
    cluster.kill(&roles.primary);
    let finished = cluster.client(&["--deadline", "20s", "get", "b"]);
    finished.expect(0, &["get b returned 2"]);
    assert_eq!(finished.stderr, "");
}

#[test]
fn ctrl_c_stops_waiting_clears_a_line_and_ctrl_d_leaves() {
    let cluster = Cluster::of(0);
    let mut person = at_client(&cluster);
    person.type_keys("put half");
    person.wait_for_line("> put half");
    person.type_keys(CTRL_C);
    person.wait_for_line("> ");
    person.type_keys("\x1b[200~put a 1\nput b 2\nput c 3\x1b[201~\r");
    person.wait_for("no primary: ");
    person.type_keys(CTRL_C);
    person.wait_for("unable to execute put");
    person.wait_for("interrupted while waiting for the answer; the outcome is unknown");
    person.wait_for("2 more pasted lines were dropped");
    person.wait_for_line("> ");
    person.type_keys(CTRL_D);
    assert_eq!(person.end(), Some(0));
    assert!(person.is_cooked());
}

#[test]
fn nothing_is_coloured_with_no_color_or_on_a_dumb_terminal() {
    let cluster = Cluster::of(1);
    for (variable, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut client = client(&cluster, &[]);
        client.env(variable, value);
        let mut person = Person::start(&cluster.logs, "client", &client, SIZE);
        person.wait_for_line("> ");
        person.enter("frob");
        person.wait_for("unknown command");
        person.enter("put a 1");
        person.wait_for("put completed");
        person.enter("quit");
        assert_eq!(person.end(), Some(0));
        let raw = person.raw();
        assert!(!is_coloured(&raw), "{variable}: {raw:?}");
        // On a dumb terminal there is nothing but text.
        assert_eq!(raw.contains('\x1b'), variable == "NO_COLOR", "{raw:?}");
    }
}

#[test]
fn log_lines_of_a_server_do_not_tear_the_line_being_typed() {
    let logs = Logs::default();
    let folder = tempfile::tempdir().unwrap();
    let mut view_server = command("viewserver", folder.path());
    view_server.args(["--listen", "127.0.0.1:0", "--state", "none"]);
    let mut person = Person::start(&logs, "view", &view_server, SIZE);
    person.wait_for_line("viewserver> ");
    person.wait_for("view listening on ");
    let text = person.text();
    let (_, rest) = text.split_once("listening on ").unwrap();
    let address = rest.split_whitespace().next().unwrap().to_owned();
    person.type_keys("sta");
    person.wait_for_line("viewserver> sta");
    let mut server = command("kvserver", folder.path());
    server.args(["s1", "--listen", "127.0.0.1:0", "--view-server", &address]);
    let mut server = Process::spawn(&logs, "s1", server);
    person.wait_for("found s1");
    person.wait_for("s1 takes over");
    // The lines came above; what was typed still stands alone at the bottom.
    person.wait_for_line("viewserver> sta");
    person.wait_until("one prompt, at the bottom", |screen| {
        let text = screen.text();
        text.matches("viewserver>").count() == 1 && text.ends_with("\nviewserver> sta  (tus)")
    });
    person.enter("tus");
    person.wait_for("view number: 1");
    server.kill();
    person.wait_for("lost s1");
    person.wait_for("no copy of the data answers");
    // Ctrl-C first clears what was typed, then ends the server, and the terminal is as before.
    person.type_keys("res");
    person.wait_for_line("viewserver> res");
    person.type_keys(CTRL_C);
    person.wait_for_line("viewserver> ");
    person.type_keys(CTRL_C);
    assert_eq!(person.end(), Some(0));
    assert!(person.is_cooked());
}

#[test]
fn a_server_that_is_ended_while_a_line_is_typed_leaves_the_terminal_as_it_was() {
    let logs = Logs::default();
    let folder = tempfile::tempdir().unwrap();
    let mut server = command("kvserver", folder.path());
    server.args(["s1", "--listen", "127.0.0.1:0", "--view-server", "127.0.0.1:9"]);
    for signal in [Signal::TERM, Signal::INT] {
        let mut person = Person::start(&logs, "s1", &server, SIZE);
        person.type_keys("kv");
        person.wait_for_line("kvserver> kv");
        assert!(!person.is_cooked());
        person.signal(signal);
        assert_eq!(person.end(), Some(0));
        assert!(person.is_cooked());
    }
}

#[test]
fn watch_draws_through_the_death_of_a_primary_and_of_the_view_server() {
    let mut cluster = Cluster::start(Options { view_flags: vec![], ..Options::default() });
    let roles = cluster.roles();
    cluster.client(&["put", "a", "1"]).expect(0, &["put completed"]);
    let watch = client(&cluster, &["watch", "--interval", "100ms"]);
    let mut person = Person::start(&cluster.logs, "watch", &watch, (110, 30));
    person.wait_until("the alternate screen", |screen| screen.is_alternate());
    person.wait_for(&format!("primary {}   backup {}", roles.primary, roles.backup));
    person.wait_for("complete: two copies");
    person.wait_for("reads from here: p50 ");
    // The reads of watch itself are operations, too.
    person.wait_until("a rate", |screen| {
        let row = screen.rows().into_iter().find(|row| row.starts_with("operations/s"));
        row.is_some_and(|row| !row.contains("(- reads") && !row.contains("(0 reads"))
    });
    person.wait_for("at the primary:  reads p50 <=");
    cluster.kill(&roles.primary);
    person.wait_for(&format!("primary {}   backup {}", roles.backup, roles.spares[0]));
    person.wait_for(&format!("{} does not answer", roles.primary));
    person.wait_until("a lost server", |screen| {
        let row = screen.rows().into_iter().find(|row| row.starts_with(&roles.primary));
        row.is_some_and(|row| row.contains(" lost "))
    });
    cluster.kill_view_server();
    person.wait_for("has not answered for");
    person.wait_for(&format!("primary {} (says it itself)", roles.backup));
    cluster.start_view_server();
    person.wait_for("complete: two copies");
    person.type_keys("q");
    assert_eq!(person.end(), Some(0));
    assert!(person.is_cooked());
    person.wait_until("the main screen", |screen| !screen.is_alternate());
}

#[test]
fn watch_prints_lines_and_objects_where_there_is_no_terminal() {
    let cluster = Cluster::of(2);
    let roles = cluster.roles();
    let watch = ["watch", "--interval", "400ms", "--count", "2"];
    let finished = cluster.client(&watch);
    assert_eq!((finished.code, finished.stdout.len()), (Some(0), 2), "{finished:?}");
    let told = format!("primary {} backup {}", roles.primary, roles.backup);
    assert!(finished.stdout[0].contains(&told), "{finished:?}");
    assert!(!finished.stdout[0].contains('\x1b'), "{finished:?}");
    let finished = cluster.client(&[&watch[..], &["--json"]].concat());
    for line in &finished.stdout {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["primary"], roles.primary, "{object}");
        assert!(object["servers"][&roles.backup]["lag"].is_u64(), "{object}");
        assert!(
            object["at_primary"]["reads"]["done"].is_u64() || object["reads_per_second"].is_null()
        );
    }
    assert_eq!(finished.stdout.len(), 2, "{finished:?}");
    assert!(finished.stdout[1].contains(r#""reads_per_second":"#), "{finished:?}");
    cluster.client(&["watch", "--interval", "1ms"]).expect_complaint(2, &["50ms"]);
}
