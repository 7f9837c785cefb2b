//! What the client is told, and what it answers.

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::logs::Logs;
use crate::support::process::{Process, command};

fn object(line: &str) -> Value {
    serde_json::from_str(line).expect("one JSON object a line")
}

#[test]
fn every_command_of_the_client_answers_as_the_contract_says() {
    let cluster = Cluster::of(2);
    let roles = cluster.roles();
    cluster.client(&["put", "a", "1"]).expect(0, &["put completed"]);
    cluster.client(&["get", "a"]).expect(0, &["get a returned 1"]);
    cluster.client(&["append", "a", "2"]).expect(0, &["append completed"]);
    cluster.client(&["get", "a"]).expect(0, &["get a returned 1, 2"]);
    cluster.client(&["append", "new", "x"]).expect(0, &["append completed"]);
    cluster.client(&["get", "new"]).expect(0, &["get new returned x"]);
    cluster.client(&["put", "a", "3"]).expect(0, &["put completed"]);
    cluster.client(&["get", "a"]).expect(0, &["get a returned 3"]);
    cluster.client(&["remove", "a"]).expect(0, &["remove completed"]);
    cluster.client(&["get", "a"]).expect(0, &["get a returned null"]);
    cluster.client(&["remove", "a"]).expect(0, &["remove completed"]);
    let view = format!("primary: {} backup: {}", roles.primary, roles.backup);
    cluster.client(&["view"]).expect(0, &[&view]);
    // Words of a one-shot command are taken as the shell has split them.
    cluster.client(&["put", "two words", "it's \"quoted\""]).expect(0, &["put completed"]);
    let told = "get two words returned it's \"quoted\"";
    cluster.client(&["get", "two words"]).expect(0, &[told]);
}

#[test]
fn a_script_quotes_as_in_a_shell_and_takes_any_text() {
    let cluster = Cluster::of(1);
    let script = r#"put greeting "hello world"
get greeting
put 'a key' 'single "inside"'
get 'a key'
put a\ b c\ d
get "a b"
put "" ""
get ""
append "" x
get ""
append "" ''
get ""
  put   spaced	out  
get spaced
put mixed a"b c"'d'
get mixed
put schlüssel 'Grüße, 世界 🦀'
get schlüssel
put escaped "say \"hi\" \\ there"
get escaped
"#;
    let done = "put completed";
    cluster.script(&[], script).expect(
        0,
        &[
            done,
            "get greeting returned hello world",
            done,
            "get a key returned single \"inside\"",
            done,
            "get a b returned c d",
            done,
            "get  returned ",
            "append completed",
            "get  returned , x",
            "append completed",
            "get  returned , x, ",
            done,
            "get spaced returned out",
            done,
            "get mixed returned ab cd",
            done,
            "get schlüssel returned Grüße, 世界 🦀",
            done,
            "get escaped returned say \"hi\" \\ there",
        ],
    );
}

#[test]
fn a_script_runs_in_order_goes_on_after_a_mistake_and_exits_1() {
    let cluster = Cluster::of(1);
    let lines: String = (0..200).map(|n| format!("append order {n}\n")).collect();
    let script = format!("{lines}\n   \nget order\nquit\nput after quit\n");
    let finished = cluster.script(&[], &script);
    let list: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let told = format!("get order returned {}", list.join(", "));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stdout.len(), 201, "one line a command, none after quit");
    assert_eq!(finished.stdout[200], told);

    let finished = cluster.script(&[], "put a 1\nput a\nfrobnicate\nget\nget a\n");
    assert_eq!(finished.stdout, ["put completed", "get a returned 1"], "{finished:?}");
    finished.expect_complaint(
        1,
        &["Invalid put command", "Invalid get command", "unknown command", "put KEY VALUE"],
    );
}

#[test]
fn wrong_arity_and_unknown_words_are_refused_without_sending_anything() {
    let logs = Logs::default();
    let folder = tempfile::tempdir().unwrap();
    // Somebody who would notice: no datagram may arrive here.
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    nobody.set_nonblocking(true).unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    let run = |words: &[&str]| {
        let mut client = command("client", folder.path());
        client.args(["--view-server", &address]).args(words);
        Process::run(&logs, "client", client, "")
    };
    for (words, complaint) in [
        (&["put"][..], "Invalid put command"),
        (&["put", "a"], "Invalid put command"),
        (&["put", "a", "b", "c"], "Invalid put command"),
        (&["append", "a"], "Invalid append command"),
        (&["get"], "Invalid get command"),
        (&["get", "a", "b"], "Invalid get command"),
        (&["remove"], "Invalid remove command"),
        (&["remove", "a", "b"], "Invalid remove command"),
        (&["view", "a"], "Invalid view command"),
        (&["frobnicate"], "unknown command"),
    ] {
        let finished = run(words);
        finished.expect_complaint(2, &[complaint]);
        assert!(finished.stdout.is_empty(), "{finished:?}");
    }
    let sent = nobody.recv_from(&mut [0; 2048]);
    assert_eq!(sent.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn json_mode_prints_one_object_a_command() {
    let cluster = Cluster::of(2);
    let roles = cluster.roles();
    let script = "put a 1\nappend a 2\nget a\nget missing\nremove a\nput '' ''\nget ''\nview\n";
    let finished = cluster.script(&["--json"], script);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let answers: Vec<Value> = finished.stdout.iter().map(|line| object(line)).collect();
    assert_eq!(answers.len(), 8, "{finished:?}");
    for (answer, command) in
        answers.iter().zip(["put", "append", "get", "get", "remove", "put", "get", "view"])
    {
        assert_eq!((&answer["command"], &answer["ok"]), (&json!(command), &json!(true)));
    }
    let list = json!({"command":"get","key":"a","value":["1","2"],"ok":true});
    assert_eq!(answers[2], list);
    assert_eq!(answers[3], json!({"command":"get","key":"missing","value":null,"ok":true}));
    assert_eq!(answers[6]["value"], json!([""]));
    assert_eq!(answers[7]["primary"], json!(roles.primary));
    assert_eq!(answers[7]["backup"], json!(roles.backup));

    // Text that no line of plain output could show unambiguously.
    let value = "line\nbreak, tab\t, quote\" and \u{1}";
    let finished = cluster.client(&["--json", "put", "raw", value]);
    assert_eq!(object(&finished.stdout[0])["ok"], true);
    let finished = cluster.client(&["--json", "get", "raw"]);
    assert_eq!(object(&finished.stdout[0])["value"], json!([value]));
}

#[test]
fn without_a_cluster_the_client_says_what_could_not_be_executed_and_why() {
    let cluster = Cluster::of(0);
    let mut cluster = cluster;
    cluster.kill_view_server();
    for (words, command) in [
        (&["get", "a"][..], "get"),
        (&["put", "a", "1"], "put"),
        (&["append", "a", "1"], "append"),
        (&["remove", "a"], "remove"),
        (&["view"], "view"),
    ] {
        let mut line = vec!["--deadline", "300ms"];
        line.extend(words);
        let finished = cluster.client(&line);
        finished.expect(1, &[&format!("unable to execute {command}")]);
        let address = cluster.view_address().to_string();
        finished.expect_complaint(1, &["view server", &address]);
    }
    let flags = ["--deadline", "300ms", "--json"];
    let finished = cluster.script(&flags, "get a\nput a 1\nview\n");
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.stdout.len(), 3, "a script goes on: {finished:?}");
    for line in &finished.stdout {
        let answer = object(line);
        assert_eq!(answer["ok"], false, "{answer}");
        // Nothing was ever sent to a primary.
        assert_eq!(answer["outcome"], "not_executed", "{answer}");
        assert!(answer["error"].as_str().is_some_and(|error| !error.is_empty()), "{answer}");
    }
}

#[test]
fn a_view_server_without_kv_servers_makes_the_client_say_that_there_is_no_primary() {
    let cluster = Cluster::of(0);
    let finished = cluster.client(&["--deadline", "500ms", "put", "a", "1"]);
    finished.expect(1, &["unable to execute put"]);
    finished.expect_complaint(1, &["primary"]);
    cluster.client(&["view"]).expect(0, &["primary: none backup: none"]);
}

#[test]
fn help_names_every_command_and_quit_and_the_end_of_input_exit_0() {
    let cluster = Cluster::of(0);
    let finished = cluster.client(&["help"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let text = finished.stdout.join("\n");
    for word in ["put", "append", "get", "remove", "view", "help", "quit"] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    cluster.script(&[], "quit\n").expect(0, &[]);
    cluster.script(&[], "").expect(0, &[]);
}
