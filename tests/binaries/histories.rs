//! `client bench --history` records what happened, and `client check` judges it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::cluster::{Cluster, Options};
use crate::support::logs::Logs;
use crate::support::process::{Finished, Process, command};

/// A folder, and a file of this name in it.
fn history_file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    (folder, path)
}

/// Runs a command of the client that needs no cluster.
fn check(words: &[&str], path: &Path) -> Finished {
    let folder = path.parent().unwrap();
    let mut client = command("client", folder);
    client.args(words).arg(path);
    Process::run(&Logs::default(), "client", client, "")
}

fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Judges a changed history, which must be refused; returns what was said.
fn refused(path: &Path, lines: &[Value]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(path, text).unwrap();
    let finished = check(&["check"], path);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.stdout[0], "NOT linearizable", "{finished:?}");
    finished.stdout.join("\n")
}

/// An append that was called after the first element of its list was acknowledged, and that was
/// acknowledged before somebody read that list: if the reads do not show it, nothing explains it.
fn append_without_another_place(history: &[Value]) -> Value {
    let writes: HashMap<&str, &Value> = history
        .iter()
        .filter(|line| line["outcome"] == "ok")
        .filter_map(|line| Some((line["value"].as_str()?, line)))
        .collect();
    let ns = |line: &Value, field: &str| line[field].as_u64().unwrap();
    let mut reads = history.iter().filter_map(|line| Some((line, line["list"].as_array()?)));
    let found = reads.find_map(|(read, list)| {
        let first = writes.get(list.first()?.as_str()?)?;
        list.iter().skip(1).find(|value| {
            let write = value.as_str().and_then(|value| writes.get(value));
            write.is_some_and(|write| {
                ns(write, "call") > ns(first, "return") && ns(write, "return") < ns(read, "call")
            })
        })
    });
    found.expect("clients wait for one another now and then").clone()
}

#[test]
fn a_history_with_a_killed_primary_is_linearizable_and_a_forged_one_is_refused() {
    // Short timing and a short deadline: some operations shall fail.
    let view_flags = vec!["--ping-interval", "50ms", "--dead-after", "400ms"];
    let mut cluster = Cluster::start(Options { view_flags, ..Options::default() });
    let (_folder, path) = history_file();
    let name = path.to_str().unwrap();
    let words = [
        "--deadline",
        "300ms",
        "bench",
        "--clients",
        "6",
        "--pipeline",
        "2",
        "--seconds",
        "3",
        "--warm-up",
        "0.5",
        "--keys",
        "20",
        "--allow-failures",
        "--history",
        name,
    ];
    let bench = cluster.session("bench", &words);
    bench.wait_for_log("ops/s");
    let roles = cluster.roles();
    cluster.kill(&roles.primary);
    let finished = bench.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(
        finished.stderr.contains("are recorded; check them with: client check"),
        "{finished:?}"
    );
    let after = cluster.roles();
    assert_ne!(after.primary, roles.primary);

    let finished = check(&["check"], &path);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stdout[0], "linearizable", "{finished:?}");
    let finished = check(&["--json", "check"], &path);
    let told: Value = serde_json::from_str(&finished.stdout[0]).unwrap();
    assert_eq!((&told["ok"], &told["verdict"]), (&true.into(), &"linearizable".into()));

    let good = read(&path);
    assert_eq!(told["counts"]["operations"], good.len());
    // Two elements of a read change places.
    let long = |line: &Value| line["list"].as_array().is_some_and(|list| list.len() >= 3);
    let victim = good.iter().position(long).expect("some list had three elements");
    let mut swapped = good.clone();
    swapped[victim]["list"].as_array_mut().unwrap().swap(0, 1);
    let said = refused(&path, &swapped);
    assert!(said.contains(&format!("line {}: ", victim + 1)), "{said}");
    // An acknowledged append vanishes from every read.
    let lost_value = append_without_another_place(&good);
    let mut lost = good.clone();
    for line in &mut lost {
        if let Some(list) = line["list"].as_array_mut() {
            list.retain(|value| *value != lost_value);
        }
    }
    refused(&path, &lost);
    // Its line vanishes from the file.
    let forgotten: Vec<Value> =
        good.iter().filter(|line| line["value"] != lost_value).cloned().collect();
    let said = refused(&path, &forgotten);
    assert!(said.contains("but never written"), "{said}");
}

#[test]
fn bench_prints_percentiles_for_people_and_programs() {
    let cluster = Cluster::of(2);
    let flags = ["--json", "bench", "--requests", "500", "--warm-up", "0", "--quiet"];
    let finished =
        cluster.client(&[&flags[..], &["--mix", "put=1,append=1,get=1,remove=1"]].concat());
    assert_eq!((finished.code, finished.stdout.len()), (Some(0), 1), "{finished:?}");
    let told: Value = serde_json::from_str(&finished.stdout[0]).unwrap();
    assert_eq!((&told["all"]["done"], &told["ok"]), (&500.into(), &true.into()));
    let at = |name: &str| told["all"][name].as_f64().unwrap();
    assert!(0.0 < at("p50_ms") && at("p50_ms") <= at("p99_ms") && at("p99_ms") <= at("max_ms"));
    assert_eq!(told["kinds"].as_object().unwrap().len(), 4);
    let words = ["bench", "--seconds", "0.3", "--warm-up", "0", "--rate", "200", "--gets", "100%"];
    let finished = cluster.client(&words);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let text = finished.stdout.join("\n");
    assert!(
        text.contains("p99.9") && text.contains("200 ops/s asked for, 0.3 s; 100 get"),
        "{text}"
    );
}

#[test]
fn bench_and_check_answer_bad_input_with_words() {
    let (_folder, path) = history_file();
    check(&["check"], &path).expect_complaint(2, &["history.jsonl cannot be opened"]);
    std::fs::write(&path, "{\"client\":1,\"op\":\"put\",\"ke").unwrap();
    check(&["check"], &path).expect_complaint(2, &["line 1", "ends in the middle", "Delete"]);
    let cluster = Cluster::of(1);
    cluster.client(&["check"]).expect_complaint(2, &["HISTORY"]);
    cluster.client(&["bench", "--clients", "none"]).expect_complaint(2, &["--clients"]);
    let nowhere = ["bench", "--seconds", "0.1", "--history", "/nowhere/h.jsonl"];
    cluster.client(&nowhere).expect_complaint(2, &["--history /nowhere/h.jsonl: "]);
    // The words are ordinary keys and values.
    cluster.client(&["put", "bench", "check"]).expect(0, &["put completed"]);
    cluster.client(&["get", "bench"]).expect(0, &["get bench returned check"]);
    cluster.script(&[], "bench\n").expect_complaint(1, &["unknown command"]);
}

#[test]
fn bench_without_a_cluster_ends_at_its_deadline_with_the_reason() {
    let (_folder, path) = history_file();
    let words = ["--deadline", "200ms", "--view-server", "127.0.0.1:9", "bench", "--history"];
    let finished = check(&words, &path);
    finished.expect_complaint(1, &["the view server at 127.0.0.1:9 did not answer"]);
}
