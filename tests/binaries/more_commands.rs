//! `keys`, `exists`, `len`, `cas`, `incr`, `mput` and `mget`, through real processes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::cluster::Cluster;

#[test]
fn every_further_command_answers_with_a_line_and_an_exit_code() {
    let cluster = Cluster::of(2);
    let ask = |words: &[&str], code: i32, line: &[&str]| cluster.client(words).expect(code, line);
    ask(&["exists", "a"], 3, &["exists a returned false"]);
    ask(&["len", "a"], 0, &["len a returned 0"]);
    ask(&["keys"], 0, &[]);
    ask(&["mput", "a", "1", "b/1", "x", "b/2", "two words"], 0, &["mput completed"]);
    ask(&["exists", "a"], 0, &["exists a returned true"]);
    ask(&["append", "a", "2"], 0, &["append completed"]);
    ask(&["len", "a"], 0, &["len a returned 2"]);
    ask(&["keys"], 0, &["a", "b/1", "b/2"]);
    ask(&["keys", "b/"], 0, &["b/1", "b/2"]);
    ask(&["mget", "b/2", "none", "a"], 0, &["b/2 : [two words]", "none : null", "a : [1, 2]"]);
    ask(&["cas", "a", "1", "x"], 3, &["cas failed: a has another list, of 2 elements"]);
    ask(&["cas", "a", r#"["1","2"]"#, r#"["null"]"#], 0, &["cas completed"]);
    ask(&["cas", "a", "null", "x"], 3, &["cas failed: a has another list, of 1 element"]);
    ask(&["cas", "a", r#"["null"]"#, "null"], 0, &["cas completed"]);
    ask(&["cas", "a", "x", "y"], 3, &["cas failed: a is missing"]);
    ask(&["cas", "a", "null", "5"], 0, &["cas completed"]);
    ask(&["incr", "a"], 0, &["incr a returned 6"]);
    ask(&["incr", "a", "-10"], 0, &["incr a returned -4"]);
    ask(&["incr", "new", "9223372036854775807"], 0, &["incr new returned 9223372036854775807"]);
    for (words, reason) in [
        (["incr", "new", "1"], "the sum is not between"),
        (["incr", "b/1", "1"], "not one decimal number"),
    ] {
        let finished = cluster.client(&words);
        assert_eq!(finished.stdout, ["unable to execute incr"]);
        finished.expect_complaint(1, &[reason, "certainly did not happen"]);
    }
    ask(&["get", "new"], 0, &["get new returned 9223372036854775807"]);
    for (words, complaint) in [
        (&["cas", "a", "[1,2]", "x"][..], "JSON list of strings"),
        (&["cas", "a", "[]", "x"], "a missing key is null"),
        (&["incr", "a", "much"], "whole number"),
        (&["mput", "a"], "usage: mput KEY VALUE ..."),
    ] {
        let finished = cluster.client(words);
        assert!(finished.stdout.is_empty(), "{finished:?}");
        finished.expect_complaint(2, &["Invalid", complaint]);
    }
}

#[test]
fn a_script_has_one_line_for_each_of_them_and_no_answer_of_no_fails_it() {
    let cluster = Cluster::of(1);
    let script = r#"keys
mput a 1 b 2
keys
mget a c b
cas a null x
cas a '["1"]' '["x","y z"]'
get a
exists c
incr b 40
"#;
    let told = [
        "keys returned nothing",
        "mput completed",
        "keys returned a, b",
        "mget returned a : [1], c : null, b : [2]",
        "cas failed: a has another list, of 1 element",
        "cas completed",
        "get a returned x, y z",
        "exists c returned false",
        "incr b returned 42",
    ];
    cluster.script(&[], script).expect(0, &told);
    let finished = cluster.script(&["--json"], "keys\nmget b c\ncas b null 1\nincr b\nlen a\n");
    let objects: Vec<Value> =
        finished.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        objects,
        [
            json!({"command": "keys", "prefix": "", "keys": ["a", "b"], "ok": true}),
            json!({"command": "mget", "entries": [{"key": "b", "value": ["42"]},
                                                   {"key": "c", "value": null}], "ok": true}),
            json!({"command": "cas", "key": "b", "swapped": false, "len": 1, "ok": true}),
            json!({"command": "incr", "key": "b", "value": 43, "ok": true}),
            json!({"command": "len", "key": "a", "value": 2, "ok": true}),
        ]
    );
}

#[test]
fn any_number_of_keys_is_listed_in_order_each_once() {
    let cluster = Cluster::of(1);
    let key = |index: usize| format!("{:05}-{}", index, "x".repeat(100));
    let lines: String = (0..20)
        .map(|line| {
            let pairs: String =
                (0..500).map(|index| format!(" {} v", key(index * 20 + line))).collect();
            format!("mput{pairs}\n")
        })
        .collect();
    assert_eq!(cluster.script(&[], &lines).code, Some(0));
    let finished = cluster.client(&["keys"]);
    let expected: Vec<String> = (0..10_000).map(key).collect();
    assert_eq!(finished.stdout, expected, "{} bytes take several pages", 10_000 * 106);
    assert_eq!(cluster.client(&["keys", "0123"]).stdout.len(), 10);
}

#[test]
fn every_increment_counts_once_although_the_primary_dies_in_the_middle() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    let mut counting: Vec<_> = (0..3)
        .map(|number| {
            let mut session = cluster.session(&format!("c{number}"), &["--deadline", "30s"]);
            for _ in 0..300 {
                session.type_line("incr n");
                session.type_line("mput p 1 q 1");
            }
            session.close_stdin();
            session
        })
        .collect();
    counting[0].next_answer();
    cluster.kill(&roles.primary);
    let mut sums = BTreeSet::new();
    for session in counting {
        let finished = session.finish();
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let told = finished.stdout.iter().filter_map(|line| line.strip_prefix("incr n returned "));
        sums.extend(told.map(|sum| sum.parse::<i64>().unwrap()));
    }
    let missing: Vec<i64> = (1..=900).filter(|sum| !sums.contains(sum)).collect();
    assert!(missing.is_empty() && sums.last() == Some(&900), "{missing:?} {:?}", sums.last());
    cluster.client(&["get", "n"]).expect(0, &["get n returned 900"]);
}

#[test]
fn a_server_joins_while_every_command_is_executed_and_holds_the_same_afterwards() {
    let mut cluster = Cluster::of(1);
    let mut lines = String::new();
    for index in 0..200 {
        for _ in 0..20 {
            lines.push_str(&format!("append k{index} {}\n", "v".repeat(500)));
        }
    }
    assert_eq!(cluster.script(&[], &lines).code, Some(0));
    let mut session = cluster.session("busy", &[]);
    let has_joined = Arc::new(AtomicBool::new(false));
    let enough = Arc::clone(&has_joined);
    // Typed until the server has joined, and each key at least once.
    let typing = std::thread::spawn(move || {
        let mut rounds = 0;
        while rounds < 200 || !enough.load(Ordering::SeqCst) {
            let [a, b, c] = [rounds % 200, rounds * 7 % 200, rounds * 13 % 200];
            session.type_line(&format!(
                "cas k{a} null x\nremove k{a}\ncas k{a} null 1\nincr k{a} {rounds}\nincr k{b}\n\
                 mput k{c} 1 m{a} 2\nappend k{c} z\ncas m{a} 2 '[\"3\",\"4\"]'\nmget k{a} m{a}"
            ));
            rounds += 1;
        }
        session.close_stdin();
        (session.finish(), rounds)
    });
    cluster.start_server("s2");
    cluster.wait_for_view("s1", Some("s2"));
    has_joined.store(true, Ordering::SeqCst);
    let (finished, rounds) = typing.join().unwrap();
    assert_eq!(finished.stdout.len(), rounds * 9, "a line a command");
    let stores = cluster.wait_for_equal_stores("s1", "s2");
    assert!(stores.len() >= 400, "{}", stores.len());
    cluster.kill("s1");
    cluster.wait_for_view("s2", None);
    assert_eq!(cluster.client(&["len", "k0"]).code, Some(0));
    let before: Vec<String> = stores.iter().filter(|line| line.starts_with('m')).cloned().collect();
    let keys: Vec<String> = (0..200).map(|index| format!("m{index}")).collect();
    let words: Vec<&str> = ["mget"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    let mut after = cluster.client(&words).stdout;
    after.sort();
    let mut before = before;
    before.sort();
    assert_eq!(after, before);
}
