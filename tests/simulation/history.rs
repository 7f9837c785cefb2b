//! What the clients did, and whether one list that grows at its end can explain it.
//!
//! Every element of the list under [`LOG`] is written once, so that a read shows which appends it
//! has seen: linearizability needs no search here. Checked with every read: it holds every append
//! that was acknowledged before it began (no-stale-read), it is not shorter than any read that had
//! ended before it began, and of any two reads one begins with the other. Checked at the end:
//! everything acknowledged is there exactly once (applied-once), and the appends of each writer
//! are in the order in which it made them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};

use pbkv::Client;

/// The key of the list that everybody appends to.
pub const LOG: &str = "log";

#[derive(Default)]
pub struct History {
    acked: RefCell<Vec<String>>,
    /// The longest list that was read.
    longest: RefCell<Vec<String>>,
    reads: Cell<usize>,
}

impl History {
    pub fn acked(&self) -> usize {
        self.acked.borrow().len()
    }

    pub fn reads(&self) -> usize {
        self.reads.get()
    }

    pub async fn append(&self, client: &Client, writer: &str, number: u64) {
        let element = format!("{writer} {number}");
        let appended = client.append(LOG, &element).await;
        appended.unwrap_or_else(|failure| panic!("append of {element}: {failure:?}"));
        self.acked.borrow_mut().push(element);
    }

    pub async fn read(&self, client: &Client) {
        let (acked, seen) = (self.acked(), self.longest.borrow().len());
        let read = client.get(LOG).await;
        let list = read.unwrap_or_else(|failure| panic!("get: {failure:?}")).unwrap_or_default();
        self.reads.set(self.reads() + 1);

        let mut longest = self.longest.borrow_mut();
        let common = list.len().min(longest.len());
        assert_eq!(list[..common], longest[..common], "two reads contradict each other");
        assert!(list.len() >= seen, "no-stale-read: {seen} were read before, now {}", list.len());
        let held: HashSet<&String> = list.iter().collect();
        for element in &self.acked.borrow()[..acked] {
            assert!(held.contains(element), "no-stale-read: {element} was acknowledged before");
        }
        if list.len() > longest.len() {
            *longest = list;
        }
    }

    /// `list` is what is there when nobody writes any more.
    pub fn check_last(&self, list: &[String]) {
        let mut expected = self.acked.borrow().clone();
        let mut found = list.to_vec();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "applied-once: what is there is what was acknowledged");
        let mut next: BTreeMap<&str, u64> = BTreeMap::new();
        for element in list {
            let (writer, number) = element.rsplit_once(' ').expect("made by append");
            let due = next.entry(writer).or_default();
            assert_eq!(number, due.to_string(), "the appends of {writer} are in their order");
            *due += 1;
        }
    }
}
