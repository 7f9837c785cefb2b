//! Clients that append to one list while anything may happen, a reader beside them, and the check
//! that the history of it all is linearizable.
//!
//! For a list that only grows this means: each acknowledged append stands exactly once, in the
//! order of its client; one with an unknown outcome at most once; one that was not executed never
//! (I2). Every read holds all that was acknowledged before it began, and begins with all that an
//! earlier read had shown (I1). The judge is the crate's own, as in `client check`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pbkv::history::{self, Action, Event, Verdict};
use pbkv::kv::command::{Key, Value};

use super::PATIENCE;
use super::cluster::{Cluster, json_list};
use super::process::Process;

/// The pause of a client between two appends. It keeps lists short, not tests slow.
const PAUSE: Duration = Duration::from_millis(4);

pub use pbkv::history::Outcome;

/// One append of one client.
#[derive(Clone, Debug)]
pub struct Append {
    /// What was appended; unique.
    pub value: String,
    /// What became of it.
    pub outcome: Outcome,
    /// When it was typed.
    pub started: Instant,
    /// When it was answered.
    pub ended: Instant,
}

/// One read of the reader.
#[derive(Clone, Debug)]
struct Read {
    list: Option<Vec<String>>,
    started: Instant,
    ended: Instant,
}

type Histories = Arc<Mutex<Vec<Vec<Append>>>>;

/// See the top of this file.
pub struct Appenders {
    key: String,
    stop: Arc<AtomicBool>,
    histories: Histories,
    threads: Vec<JoinHandle<Result<(), String>>>,
    reads: Arc<Mutex<Vec<Read>>>,
}

impl Appenders {
    /// Starts the clients and the reader, and waits until each client has an append acknowledged.
    pub fn start(cluster: &Cluster, clients: usize, key: &str) -> Appenders {
        let stop = Arc::new(AtomicBool::new(false));
        let histories: Histories = Arc::new(Mutex::new(vec![Vec::new(); clients]));
        let mut threads = Vec::new();
        let flags = ["--json", "--deadline", "25s"];
        for client in 0..clients {
            let process = cluster.session(&format!("appender {client}"), &flags);
            let (stop, histories) = (Arc::clone(&stop), Arc::clone(&histories));
            let key = key.to_owned();
            threads.push(thread::spawn(move || append(client, &key, process, &stop, &histories)));
        }
        let process = cluster.session("watcher", &flags);
        let reads = Arc::default();
        let (watched, seen) = (Arc::clone(&stop), Arc::clone(&reads));
        let name = key.to_owned();
        threads.push(thread::spawn(move || watch(&name, process, &watched, &seen)));
        let appenders = Appenders { key: key.to_owned(), stop, histories, threads, reads };
        appenders.wait_for_progress(cluster, 1);
        appenders
    }

    /// Waits until every client has so many more appends acknowledged that it began after now.
    #[track_caller]
    pub fn wait_for_progress(&self, cluster: &Cluster, appends: usize) {
        let from = Instant::now();
        let what = format!("{appends} more appends of every client");
        cluster.logs.wait_for(&what, PATIENCE, || {
            if self.threads.iter().any(JoinHandle::is_finished) {
                // A client that gave up, or a stale read: told when they are joined.
                return Some(());
            }
            let done = |append: &&Append| append.started >= from && append.outcome == Outcome::Ok;
            let histories = self.histories.lock().unwrap();
            histories
                .iter()
                .all(|history| {
                    history.iter().rev().take_while(|a| a.started >= from).filter(done).count()
                        >= appends
                })
                .then_some(())
        });
    }

    /// Ends the clients, reads the list, checks it, and returns what every client did.
    #[track_caller]
    pub fn finish(self, cluster: &Cluster) -> Vec<Vec<Append>> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if let Err(complaint) = thread.join().expect("a client thread returns its complaint") {
                cluster.logs.fail(&complaint);
            }
        }
        let histories = self.histories.lock().unwrap().clone();
        let mut reads = self.reads.lock().unwrap().clone();
        let started = Instant::now();
        let list = cluster.get(&self.key);
        reads.push(Read { list, started, ended: Instant::now() });
        if let Err(complaint) = check(&reads, &histories) {
            cluster.logs.fail(&complaint);
        }
        histories
    }
}

/// One client: appends until it is told to stop.
fn append(
    client: usize,
    key: &str,
    mut process: Process,
    stop: &AtomicBool,
    histories: &Histories,
) -> Result<(), String> {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let value = format!("c{client}-{number}");
        let started = Instant::now();
        process.type_line(&format!("append {key} {value}"));
        let Some(answer) = process.answer_within(PATIENCE) else {
            return Err(format!("client {client} was never told what became of {value}"));
        };
        let answer: serde_json::Value =
            serde_json::from_str(&answer).map_err(|error| format!("{answer}: {error}"))?;
        let outcome = match (answer["ok"].as_bool(), answer["outcome"].as_str()) {
            (Some(true), _) => Outcome::Ok,
            (Some(false), Some("unknown")) => Outcome::Unknown,
            (Some(false), Some("not_executed")) => Outcome::NotExecuted,
            _ => return Err(format!("no answer of the contract: {answer}")),
        };
        let append = Append { value, outcome, started, ended: Instant::now() };
        histories.lock().unwrap()[client].push(append);
        number += 1;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// The reader.
fn watch(
    key: &str,
    mut process: Process,
    stop: &AtomicBool,
    reads: &Mutex<Vec<Read>>,
) -> Result<(), String> {
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        process.type_line(&format!("get {key}"));
        let Some(answer) = process.answer_within(PATIENCE) else {
            return Err("a get was never answered".to_owned());
        };
        let ended = Instant::now();
        if !answer.contains(r#""ok":true"#) {
            return Err(format!("a get failed: {answer}"));
        }
        reads.lock().unwrap().push(Read { list: json_list(&answer), started, ended });
        thread::sleep(PAUSE * 8);
    }
    Ok(())
}

/// Whether the reads are what these appends explain.
fn check(reads: &[Read], histories: &[Vec<Append>]) -> Result<(), String> {
    let starts = histories.iter().flatten().map(|append| append.started);
    let Some(origin) = starts.chain(reads.iter().map(|read| read.started)).min() else {
        return Ok(());
    };
    let nanos = |at: Instant| u64::try_from((at - origin).as_nanos()).unwrap();
    let event = |client, action, times: (Instant, Instant), outcome| {
        let (call_ns, return_ns) = (nanos(times.0), Some(nanos(times.1)));
        Event { client, key: Key::from("list"), action, call_ns, return_ns, outcome }
    };
    let mut events = Vec::new();
    for (client, appends) in (0..).zip(histories) {
        events.extend(appends.iter().map(|append| {
            let action = Action::Append(Value::from(&*append.value));
            event(client, action, (append.started, append.ended), append.outcome)
        }));
    }
    let values = |list: &Vec<String>| list.iter().map(|value| Value::from(&**value)).collect();
    events.extend(reads.iter().map(|read| {
        let action = Action::Get(read.list.as_ref().map(values));
        event(u64::MAX, action, (read.started, read.ended), Outcome::Ok)
    }));
    match history::check(&events, 1_000_000) {
        Verdict::Linearizable => Ok(()),
        other @ Verdict::Unknown { .. } => Err(format!("{other:?}")),
        Verdict::Violation(violation) => Err(violation.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(client: u32, outcomes: &[Outcome]) -> Vec<Append> {
        let origin = Instant::now();
        let at = |number: u32| origin + number * Duration::from_secs(60);
        let append = |(number, outcome): (u32, &Outcome)| Append {
            value: format!("c{client}-{number}"),
            outcome: *outcome,
            started: at(number),
            ended: at(number + 1),
        };
        (0..).zip(outcomes).map(append).collect()
    }

    fn complaint(list: &[&str]) -> Option<String> {
        use Outcome::{NotExecuted, Ok, Unknown};
        let histories = [history(0, &[Ok, Unknown, Ok]), history(1, &[Ok, NotExecuted])];
        let list = Some(list.iter().map(|value| (*value).to_owned()).collect());
        let at = Instant::now() + Duration::from_secs(600);
        check(&[Read { list, started: at, ended: at }], &histories).err()
    }

    #[test]
    fn lists_that_the_histories_allow_pass() {
        assert_eq!(complaint(&["c0-0", "c1-0", "c0-2"]), None);
        assert_eq!(complaint(&["c1-0", "c0-0", "c0-2", "c0-1"]), None);
    }

    #[test]
    fn lost_repeated_misordered_and_invented_elements_are_noticed() {
        for list in [
            &["c0-0", "c0-2"][..],
            &["c0-0", "c1-0", "c0-2", "c0-0"],
            &["c0-0", "c0-1", "c0-1", "c0-2", "c1-0"],
            &["c0-2", "c0-0", "c1-0"],
            &["c0-0", "c0-2", "c1-0", "c1-1"],
            &["c0-0", "c0-2", "c1-0", "c9-9"],
        ] {
            assert!(complaint(list).is_some(), "{list:?}");
        }
    }
}
