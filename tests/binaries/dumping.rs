//! `client dump` and `client load`.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::amount;
use crate::support::cluster::Cluster;
use crate::support::process::command;

fn client(cluster: &Cluster, words: &[&str]) -> Command {
    let mut client = command("client", cluster.folder());
    let view = cluster.view_address().to_string();
    client.args(["--deadline", "60s", "--view-server", &view]).args(words);
    client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    client
}

/// Returns exit code and stderr.
fn dump(cluster: &Cluster, file: &Path) -> (Option<i32>, String) {
    let output = client(cluster, &["dump"]).stdout(File::create(file).unwrap()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Returns exit code, stdout and stderr.
fn load(cluster: &Cluster, words: &[&str], file: &Path) -> (Option<i32>, String, String) {
    let mut load = client(cluster, &[&["load"], words].concat());
    let output = load.stdin(File::open(file).unwrap()).stdout(Stdio::piped()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The lists of a dump, and nothing of what names it.
fn entries(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("key").is_some()).collect()
}

#[test]
fn what_was_dumped_is_loaded_into_another_cluster() {
    let cluster = Cluster::of(2);
    let mut script = String::from("put '' ''\nmput 'two words' 'it is \"quoted\"' é 世界\n");
    for index in 0..3000 {
        script.push_str(&format!("put key{index:05} '{}'\n", "v".repeat(index % 300)));
    }
    for index in 0..4000 {
        script.push_str(&format!("append long {index}-{}\n", "x".repeat(100)));
    }
    assert_eq!(cluster.script(&[], &script).code, Some(0));
    let file = cluster.folder().join("dump.jsonl");
    let (code, told) = dump(&cluster, &file);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("dump completed: 3004 keys, 7003 elements"), "{told}");
    let lines = entries(&file);
    assert_eq!(lines[0], json!({"key": "", "value": [""]}));
    assert!(lines.iter().any(|line| line["key"] == "long" && line.get("more").is_some()));

    let other = Cluster::of(2);
    other.client(&["mput", "key00000", "former", "stays", "here"]);
    let (code, stdout, stderr) = load(&other, &[], &file);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout, "load completed: 3004 keys, 7003 elements\n");
    other
        .client(&["mget", "stays", "two words", "é"])
        .expect(0, &["stays : [here]", "two words : [it is \"quoted\"]", "é : [世界]"]);
    other.client(&["remove", "stays"]).expect(0, &["remove completed"]);
    let again = other.folder().join("again.jsonl");
    assert_eq!(dump(&other, &again).0, Some(0));
    assert_eq!(entries(&again), lines);
}

#[test]
fn a_dump_is_one_instant_although_everything_changes_while_it_is_written() {
    let cluster = Cluster::of(2);
    let keys = amount(10_000, 40_000);
    let mput = |round: usize, from: usize| {
        let pairs: String =
            (from..from + 1000).map(|index| format!(" k{index:05} {round}")).collect();
        format!("mput{pairs}\n")
    };
    let lines: String = (0..keys / 1000).map(|part| mput(0, part * 1000)).collect();
    assert_eq!(cluster.script(&[], &lines).code, Some(0));
    // The first and the last keys change together, always: a copy of several instants tells them
    // apart.
    let mut writer = cluster.session("writer", &[]);
    let is_dumped = Arc::new(AtomicBool::new(false));
    let enough = Arc::clone(&is_dumped);
    writer.ask("put k00000 0");
    let typing = std::thread::spawn(move || {
        let (middle, last) = (keys / 2, keys - 1);
        for round in 1.. {
            if enough.load(Ordering::SeqCst) {
                break;
            }
            writer
                .type_line(&format!("mput k00000 {round} k{middle:05} {round} k{last:05} {round}"));
        }
        writer.close_stdin();
        writer.finish()
    });
    let file = cluster.folder().join("dump.jsonl");
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let (code, told) = dump(&cluster, &file);
        assert_eq!(code, Some(0), "{told}");
        let lists = entries(&file);
        assert_eq!(lists.len(), keys);
        let round = |index: usize| lists[index]["value"][0].as_str().unwrap().to_owned();
        assert_eq!((round(0), round(0)), (round(keys / 2), round(keys - 1)));
        rounds.push(round(0).parse::<usize>().unwrap());
    }
    assert!(rounds.is_sorted() && rounds[2] > rounds[0], "{rounds:?}");
    is_dumped.store(true, Ordering::SeqCst);
    assert_eq!(typing.join().unwrap().code, Some(0), "nobody was held up");
}

#[test]
fn a_load_that_was_killed_and_is_repeated_gives_the_same() {
    let cluster = Cluster::of(2);
    let mut script = String::new();
    for part in 0..60 {
        let pairs: String =
            (0..500).map(|index| format!(" k{part:02}-{index:03} {}", "v".repeat(60))).collect();
        script.push_str(&format!("mput{pairs}\nappend k{part:02}-100 more\n"));
    }
    assert_eq!(cluster.script(&[], &script).code, Some(0));
    let file = cluster.folder().join("dump.jsonl");
    assert_eq!(dump(&cluster, &file).0, Some(0));
    for words in [&[][..], &["--resume", "note"]] {
        let other = Cluster::of(2);
        let mut killed =
            client(&other, &[&["load"], words].concat()).stdin(Stdio::piped()).spawn().unwrap();
        // It waits for the rest of the dump when it is killed.
        let bytes = fs::read(&file).unwrap();
        let mut pipe = killed.stdin.take().unwrap();
        pipe.write_all(&bytes[..bytes.len() * 19 / 20]).unwrap();
        let note = other.folder().join("note");
        other.logs.wait_for("some keys are loaded", crate::support::PATIENCE, || {
            let is_loaded = other.client(&["exists", "k05-100"]).code == Some(0);
            (is_loaded && (words.is_empty() || note.exists())).then_some(())
        });
        killed.kill().unwrap();
        assert_eq!(killed.wait().unwrap().signal(), Some(9), "it was not over before");
        drop(pipe);
        let (code, stdout, stderr) = load(&other, words, &file);
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(stdout, "load completed: 30000 keys, 30060 elements\n");
        assert_eq!(stderr.contains("had been loaded before"), !words.is_empty(), "{stderr}");
        assert!(!note.exists());
        let again = other.folder().join("again.jsonl");
        assert_eq!(dump(&other, &again).0, Some(0));
        assert_eq!(entries(&again), entries(&file));
    }
}

#[test]
fn what_is_no_whole_dump_is_refused_before_anything_is_changed() {
    let cluster = Cluster::of(1);
    cluster.client(&["mput", "a", "1", "b", "2", "c", "3"]);
    let file = cluster.folder().join("dump.jsonl");
    assert_eq!(dump(&cluster, &file).0, Some(0));
    let whole = fs::read_to_string(&file).unwrap();
    cluster.client(&["mput", "a", "new", "b", "new"]);
    for (text, complaint) in [
        (&whole[..whole.len() - 20], "cut off after line 4"),
        (&whole.replace("\"2\"", "\"3\""), "changed or damaged"),
        (&whole.replacen("\"b\"", "\"A\"", 1), "line 3: its key is not after the one before"),
        ("put a 1\n", "it is no dump"),
        ("", "it is no dump"),
    ] {
        fs::write(&file, text).unwrap();
        let (code, stdout, stderr) = load(&cluster, &[], &file);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains("nothing was loaded") && stderr.contains(complaint), "{stderr}");
    }
    cluster.client(&["mget", "a", "b"]).expect(0, &["a : [new]", "b : [new]"]);
    // Of a pipe nobody can know before.
    let mut load = client(&cluster, &["load"]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(
        &mut load.stdin.take().unwrap(),
        &whole.as_bytes()[..whole.len() - 5],
    )
    .unwrap();
    let output = load.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("load stopped after 0 keys: it is cut off"), "{told}");
}
