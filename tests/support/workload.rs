//! Clients that append to one list while anything may happen, a reader beside them, and the check
//! of what the list must hold.
//!
//! Checked: each acknowledged append stands exactly once, in the order of its client; one with an
//! unknown outcome at most once; one that was not executed never (I2). Every read holds all that
//! was acknowledged before it began, and begins with all that an earlier read had shown (I1 for a
//! list that only grows).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::cluster::{Cluster, json_list};
use super::process::Process;

/// The pause of a client between two appends. It keeps lists short, not tests slow.
const PAUSE: Duration = Duration::from_millis(4);

/// What became of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Acknowledged.
    Done,
    /// Failed, and may have happened.
    Unknown,
    /// Failed, and certainly never happens.
    NotExecuted,
}

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

type Histories = Arc<Mutex<Vec<Vec<Append>>>>;

/// See the top of this file.
pub struct Appenders {
    key: String,
    stop: Arc<AtomicBool>,
    histories: Histories,
    threads: Vec<JoinHandle<Result<(), String>>>,
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
        let (watched, seen) = (Arc::clone(&stop), Arc::clone(&histories));
        let name = key.to_owned();
        threads.push(thread::spawn(move || watch(&name, process, &watched, &seen)));
        let appenders = Appenders { key: key.to_owned(), stop, histories, threads };
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
            let done = |append: &&Append| append.started >= from && append.outcome == Outcome::Done;
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
        let list = cluster.get(&self.key).unwrap_or_default();
        if let Err(complaint) = check(&list, &histories) {
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
            (Some(true), _) => Outcome::Done,
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

/// The reader: sees nothing vanish, and nothing missing that was acknowledged before it asked.
fn watch(
    key: &str,
    mut process: Process,
    stop: &AtomicBool,
    histories: &Histories,
) -> Result<(), String> {
    let mut before: Vec<String> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let acknowledged: Vec<String> = {
            let histories = histories.lock().unwrap();
            let done = histories.iter().flatten().filter(|a| a.outcome == Outcome::Done);
            done.map(|append| append.value.clone()).collect()
        };
        process.type_line(&format!("get {key}"));
        let Some(answer) = process.answer_within(PATIENCE) else {
            return Err("a get was never answered".to_owned());
        };
        if !answer.contains(r#""ok":true"#) {
            return Err(format!("a get failed: {answer}"));
        }
        let list = json_list(&answer).unwrap_or_default();
        if !list.starts_with(&before) {
            return Err(format!("a read went back: {} -> {} elements", before.len(), list.len()));
        }
        let shown: HashSet<&String> = list.iter().collect();
        if let Some(missing) = acknowledged.iter().find(|value| !shown.contains(value)) {
            return Err(format!("stale read: {missing} was acknowledged and is not shown"));
        }
        before = list;
        thread::sleep(PAUSE * 8);
    }
    Ok(())
}

/// Whether a list is one that these histories can have left behind.
fn check(list: &[String], histories: &[Vec<Append>]) -> Result<(), String> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, value) in list.iter().enumerate() {
        places.entry(value).or_default().push(place);
    }
    for history in histories {
        let mut last = None;
        for append in history {
            let places = places.remove(append.value.as_str()).unwrap_or_default();
            let allowed = match append.outcome {
                Outcome::Done => 1..=1,
                Outcome::Unknown => 0..=1,
                Outcome::NotExecuted => 0..=0,
            };
            if !allowed.contains(&places.len()) {
                return Err(format!("{append:?} stands in the list at {places:?}"));
            }
            if append.outcome == Outcome::Done {
                if last > places.first().copied() {
                    return Err(format!("{append:?} stands before an earlier append"));
                }
                last = places.first().copied();
            }
        }
    }
    match places.keys().next() {
        Some(foreign) => Err(format!("{foreign} was never appended")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(client: usize, outcomes: &[Outcome]) -> Vec<Append> {
        let now = Instant::now();
        let append = |(number, outcome): (usize, &Outcome)| Append {
            value: format!("c{client}-{number}"),
            outcome: *outcome,
            started: now,
            ended: now,
        };
        outcomes.iter().enumerate().map(append).collect()
    }

    fn complaint(list: &[&str]) -> Option<String> {
        use Outcome::{Done, NotExecuted, Unknown};
        let histories = [history(0, &[Done, Unknown, Done]), history(1, &[Done, NotExecuted])];
        let list: Vec<String> = list.iter().map(|value| (*value).to_owned()).collect();
        check(&list, &histories).err()
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
