//! What an operator builds on: events in the logs, completions, man pages, readiness.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::cluster::{Cluster, Options, PATIENT, bound_address};
use crate::support::logs::Logs;
use crate::support::plain::ask_again;
use crate::support::process::{Finished, Process, Signal, command};

const BINARIES: [&str; 3] = ["viewserver", "kvserver", "client"];

fn run(binary: &str, arguments: &[&str]) -> Finished {
    let mut command = command(binary, Path::new("/"));
    command.args(arguments);
    Process::run(&Logs::default(), binary, command, "")
}

/// The events in the lines of stderr so far, each line checked.
fn events(process: &Process) -> Vec<Value> {
    let lines = process.stderr.all();
    let parsed = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect(line));
    parsed.inspect(|line| assert!(line["event"].is_string(), "{line}")).collect()
}

#[test]
fn each_view_change_is_one_event_with_the_old_view_the_new_view_and_the_reason() {
    let json = ["--log-format", "json"];
    let mut cluster = Cluster::start(Options {
        view_flags: [PATIENT, &json].concat(),
        server_flags: json.to_vec(),
        ..Options::default()
    });
    let roles = cluster.roles();
    cluster.kill(&roles.primary);
    let last = cluster.wait_for_view(&roles.backup, Some(&roles.spares[0]));

    let of_view_server = events(cluster.view_server());
    let changes: Vec<&Value> =
        of_view_server.iter().filter(|line| line["event"] == "view_change").collect();
    let name =
        |view: u64| changes[0]["new_view"].as_str().unwrap().replace(".1", &format!(".{view}"));
    assert_eq!(changes.len() as u64, last.number, "one event a view: {changes:#?}");
    for (number, change) in (1..).zip(&changes) {
        let old = if number == 1 { "0.0".to_owned() } else { name(number - 1) };
        assert_eq!(change["old_view"], old, "{change}");
        assert_eq!(change["new_view"], name(number), "{change}");
    }
    let reasons: Vec<&str> =
        changes.iter().map(|change| change["reason"].as_str().unwrap()).collect();
    let (before, after) = reasons.split_at(roles.number as usize);
    assert_eq!(before[0], "history_began", "{reasons:?}");
    assert_eq!(after, ["primary_lost", "spare_joins", "caught_up"]);
    assert_eq!(changes[roles.number as usize]["primary"], roles.backup);

    let promoted = events(cluster.server(&roles.backup));
    let change = promoted.iter().find(|line| {
        line["event"] == "role_change" && line["role"] == "primary" && line["old_role"] != "primary"
    });
    let change = change.unwrap_or_else(|| panic!("{promoted:#?}"));
    assert_eq!(change["new_view"], name(roles.number + 1), "{change}");
}

#[test]
fn every_program_prints_completions_for_shells_and_a_man_page_of_its_own_flags() {
    for binary in BINARIES {
        for shell in ["bash", "zsh", "fish"] {
            let finished = run(binary, &["--completions", shell]);
            let script = finished.stdout.join("\n");
            assert_eq!((finished.code, &*finished.stderr), (Some(0), ""), "{binary} {shell}");
            assert!(script.contains("log-format") && script.contains(binary), "{script}");
        }
        let script = run(binary, &["--completions", "bash"]).stdout.join("\n");
        let mut bash = Command::new("bash");
        bash.arg("--norc").arg("-n");
        let checked = Process::run(&Logs::default(), "bash", bash, &script);
        assert_eq!((checked.code, &*checked.stderr), (Some(0), ""), "{binary}");

        let page = run(binary, &["--man"]);
        let text = page.stdout.join("\n");
        assert_eq!(page.code, Some(0), "{page:?}");
        assert!(text.contains(&format!(".TH {binary} 1")), "{text}");
        assert!(text.contains("log\\-format") && text.contains("RUST_LOG"), "{text}");
        run(binary, &["--completions", "csh"]).expect_complaint(2, &["bash", "zsh", "fish"]);
    }
    assert_eq!(run("client", &["man"]).stdout, run("client", &["--man"]).stdout);
    let completions = run("client", &["completions", "bash"]).stdout.join("\n");
    assert!(completions.contains("put append get remove keys"), "{completions}");
}

/// What the script of the shell itself proposes.
#[test]
fn bash_completes_commands_of_the_client_and_flags() {
    let script = run("client", &["completions", "bash"]).stdout.join("\n");
    for (typed, proposed) in [("ap", "append"), ("--dead", "--deadline")] {
        let mut bash = Command::new("bash");
        bash.arg("--norc");
        let ask = format!(
            "{script}\nCOMP_WORDS=(client {typed}); COMP_CWORD=1\n_client client {typed} client\n\
             echo \"proposed: ${{COMPREPLY[*]}}\"\n"
        );
        let finished = Process::run(&Logs::default(), "bash", bash, &ask);
        assert_eq!(finished.stdout, [format!("proposed: {proposed}")], "{finished:?}");
    }
}

#[test]
fn the_version_is_that_of_the_package_with_the_commit_if_it_is_known() {
    for binary in BINARIES {
        let finished = run(binary, &["--version"]);
        let [line] = &finished.stdout[..] else { panic!("{finished:?}") };
        let rest = line.strip_prefix(&format!("{binary} {}", env!("CARGO_PKG_VERSION")));
        let commit = rest.unwrap_or_else(|| panic!("{line}"));
        let known = commit.strip_prefix(" (").and_then(|commit| commit.strip_suffix(')'));
        assert!(commit.is_empty() || known.is_some_and(|commit| commit.len() >= 7), "{line}");
    }
}

#[test]
fn a_service_manager_is_told_when_a_server_can_be_reached_and_when_it_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut bytes = [0; 64];
        let size = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..size].to_vec()).unwrap()
    };
    let nobody = ["--view-server", "127.0.0.1:9"];
    for (binary, arguments, question) in [
        ("viewserver", &["--state", "none"][..], r#"{"type":"get_view"}"#),
        ("kvserver", &[&["s1"][..], &nobody].concat(), r#"{"type":"ping"}"#),
    ] {
        let mut command = command(binary, folder.path());
        command.args(arguments).args(["--listen", "127.0.0.1:0"]).env("NOTIFY_SOCKET", &path);
        let process = Process::spawn(&Logs::default(), binary, command);
        assert_eq!(told(), "READY=1\n", "{binary}");
        assert!(ask_again(bound_address(&process), question, PATIENCE).is_some());
        process.signal(Signal::TERM);
        assert_eq!(told(), "STOPPING=1\n", "{binary}");
        assert_eq!(process.finish().code, Some(0));
    }
}
