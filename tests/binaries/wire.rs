//! Plain JSON over UDP, without any library.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::logs::Logs;
use crate::support::plain::Plain;
use crate::support::process::Process;

fn ask(to: SocketAddr, message: &Value) -> Value {
    Plain::new().ask(to, &message.to_string())
}

fn request(command: &str, key: &str) -> Value {
    json!({"type": "client_request", "command": command, "key": key})
}

fn write(command: &str, key: &str, value: &str) -> Value {
    json!({"type": "client_request", "command": command, "key": key, "value": value})
}

#[test]
fn the_simple_json_form_reads_the_view_and_executes_every_command() {
    let cluster = Cluster::of(2);
    let roles = cluster.roles();
    let view = ask(cluster.view_address(), &json!({"type": "get_view"}));
    assert_eq!(view["type"], "view");
    assert_eq!(view["primary"], json!(roles.primary));
    assert_eq!(view["backup"], json!(roles.backup));
    assert_eq!(view["number"], json!(roles.number));

    let primary = cluster.address(&roles.primary);
    for (message, value) in [
        (write("put", "a", "1"), None),
        (request("get", "a"), Some(json!(["1"]))),
        (write("append", "a", "2"), None),
        (request("get", "a"), Some(json!(["1", "2"]))),
        (write("put", "", ""), None),
        (request("get", ""), Some(json!([""]))),
        (write("append", "schlüssel", "🦀\n\u{1}\""), None),
        (request("get", "schlüssel"), Some(json!(["🦀\n\u{1}\""]))),
        (request("remove", "a"), None),
        (request("get", "a"), Some(Value::Null)),
        (request("remove", "a"), None),
    ] {
        let answer = ask(primary, &message);
        assert_eq!(answer["type"], "success", "{message} -> {answer}");
        assert_eq!(answer.get("value"), value.as_ref(), "{message} -> {answer}");
    }
    let pong = ask(primary, &json!({"type": "ping"}));
    assert_eq!((&pong["type"], &pong["server_id"]), (&json!("pong"), &json!(roles.primary)));
}

#[test]
fn a_missing_member_is_null_in_the_answer_to_get_view() {
    let mut cluster = Cluster::of(0);
    let view = ask(cluster.view_address(), &json!({"type": "get_view"}));
    let none = (Some(&Value::Null), Some(&Value::Null));
    assert_eq!((view.get("primary"), view.get("backup")), none, "{view}");
    cluster.start_server("s1");
    cluster.wait_for_view("s1", None);
    let view = ask(cluster.view_address(), &json!({"type": "get_view"}));
    assert_eq!((view["primary"].as_str(), view.get("backup")), (Some("s1"), Some(&Value::Null)));
}

#[test]
fn backup_and_spare_answer_not_primary_with_what_they_know_and_execute_nothing() {
    let cluster = Cluster::of(3);
    let roles = cluster.roles();
    cluster.client(&["put", "a", "1"]).expect(0, &["put completed"]);
    for id in [&roles.backup, &roles.spares[0]] {
        for message in [
            write("put", "a", "2"),
            write("append", "a", "2"),
            request("get", "a"),
            request("remove", "a"),
        ] {
            let answer = ask(cluster.address(id), &message);
            assert_eq!(answer["type"], "fail", "{answer}");
            assert_eq!(answer["reason"], "not_primary", "{answer}");
        }
        let answer = ask(cluster.address(id), &request("get", "a"));
        assert_eq!(answer["primary"], json!(roles.primary), "{answer}");
        let pong = ask(cluster.address(id), &json!({"type": "ping"}));
        assert_eq!(pong["server_id"], json!(id));
    }
    cluster.client(&["get", "a"]).expect(0, &["get a returned 1"]);
}

#[test]
fn several_objects_in_one_datagram_are_executed_in_order_and_answered_one_by_one() {
    let cluster = Cluster::of(2);
    let primary = cluster.address(&cluster.roles().primary);
    let mut plain = Plain::new();
    let mut text: String =
        (0..20).map(|n| format!("{}\n", write("append", "list", &n.to_string()))).collect();
    text.push_str(&request("get", "list").to_string());
    plain.send(primary, &text);
    let answers: Vec<Value> =
        (0..21).filter_map(|_| plain.receive(Duration::from_secs(10))).collect();
    assert_eq!(answers.len(), 21, "{answers:?}");
    assert!(answers.iter().all(|answer| answer["type"] == "success"), "{answers:?}");
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(ask(primary, &request("get", "list"))["value"], json!(expected));
    // Once for every datagram that arrives, however alike they are.
    for _ in 0..3 {
        plain.ask(primary, &write("append", "twice", "x").to_string());
    }
    assert_eq!(ask(primary, &request("get", "twice"))["value"], json!(["x", "x", "x"]));
}

#[test]
fn unknown_fields_are_ignored_and_unknown_types_and_garbage_harm_nobody() {
    let mut cluster = Cluster::of(2);
    let roles = cluster.roles();
    let primary = cluster.address(&roles.primary);
    let strange = json!({"type": "client_request", "command": "put", "key": "a", "value": "1",
        "colour": "blue", "number": 7, "nested": {"deep": [1, 2, {"x": null}]}});
    assert_eq!(ask(primary, &strange)["type"], "success");
    let view = json!({"type": "get_view", "extra": [1, 2, 3]});
    assert_eq!(ask(cluster.view_address(), &view)["type"], "view");

    let deep = "[".repeat(20_000);
    let tagged = format!(r#"{{"type":{deep}"#);
    let long_tag = format!(r#"{{"type":"{}"}}"#, "x".repeat(50_000));
    let garbage: Vec<Vec<u8>> = vec![
        vec![],
        b"\n\n\n".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"{}".to_vec(),
        br#"{"type":7}"#.to_vec(),
        br#"{"type":null}"#.to_vec(),
        br#"{"type":"nonsense","key":1}"#.to_vec(),
        br#"{"type":"client_request"}"#.to_vec(),
        br#"{"type":"client_request","command":"put","key":7,"value":[]}"#.to_vec(),
        br#"{"type":"client_request","command":"frobnicate","key":"a"}"#.to_vec(),
        br#"{"type":"client_request","command":"put","key":"a"}"#.to_vec(),
        br#"{"type":"client_request","command":"get"}"#.to_vec(),
        br#"{"type":"view_ping","nonce":1e999}"#.to_vec(),
        br#"{"type":"view_pong","nonce":-1}"#.to_vec(),
        br#"{"type":"replicate","operations":[{}]}"#.to_vec(),
        br#"{"type":"online","id":"s1","incarnation":1,"address":null}"#.to_vec(),
        br#"{"type":"pbkv","sum":0}"#.to_vec(),
        b"{\"type\":\"pbkv\",\"sum\":0}\n{\"type\":\"replicate\"}".to_vec(),
        br#"{"type":"pbkv","sum":"x"}"#.to_vec(),
        b"\xff\xfe\x00\x01".to_vec(),
        b"{\"type\":\"client_request\",\"command\":\"put\",\"key\":\"\xff\"}".to_vec(),
        deep.into_bytes(),
        tagged.into_bytes(),
        long_tag.into_bytes(),
        vec![b'9'; 60_000],
        (0..=255).cycle().take(5_000).collect(),
    ];
    let mut plain = Plain::new();
    let everybody = [cluster.view_address(), primary, cluster.address(&roles.backup)];
    for to in everybody {
        for bytes in &garbage {
            plain.send(to, bytes);
        }
    }
    for answer in plain.drain() {
        assert_ne!(answer["type"], "success", "{answer}");
    }
    // An object that cannot be executed does not take its neighbours with it.
    plain.send(primary, format!("{}\n{{\"type\":\"what\"}}\n{}", view, request("get", "a")));
    let answer = plain.receive(Duration::from_secs(10)).expect("the known one is answered");
    assert!(["view", "success", "fail"].contains(&answer["type"].as_str().unwrap()), "{answer}");

    assert_eq!(ask(primary, &request("get", "a"))["value"], json!(["1"]));
    let view = cluster.view().expect("the view server answers");
    assert_eq!((view.number, view.primary), (roles.number, Some(roles.primary.clone())));
    for id in [&roles.primary, &roles.backup] {
        assert!(cluster.server(id).is_running());
    }
}

#[test]
fn ten_lines_of_python_without_any_library_use_the_store() {
    let script = include_str!("plain_json.py");
    let code = script.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert!(code.count() <= 10, "the contract promises ten lines");
    let cluster = Cluster::of(2);
    let mut python = Command::new("python3");
    python.args(["-c", script, &cluster.view_address().port().to_string()]);
    let finished = Process::run(&Logs::default(), "python", python, "");
    finished.expect(0, &["success", "success", "success ['1', '2']", "success", "success None"]);
}
