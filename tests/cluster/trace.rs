//! The trace of a run: always a hash, so that two runs of a seed can be compared, and on demand
//! the last events in words. Words cost time, so a failed seed is run again to get them.

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hasher;

use twox_hash::XxHash3_64;

use crate::clock::{Instant, MS};

/// Events that are shown of a failed run.
const TAIL: usize = 80;

pub struct Trace {
    hash: u64,
    words: Option<VecDeque<String>>,
    tail: usize,
}

impl Trace {
    pub fn new(with_words: bool) -> Self {
        let tail = std::env::var("PBKV_TAIL").ok().and_then(|text| text.parse().ok());
        Trace { hash: 0, words: with_words.then(VecDeque::new), tail: tail.unwrap_or(TAIL) }
    }

    /// Mixes what happened into the hash.
    pub fn note(&mut self, at: Instant, what: u64, bytes: &[u8]) {
        let mut hasher = XxHash3_64::with_seed(self.hash);
        hasher.write_u64(at);
        hasher.write_u64(what);
        hasher.write(bytes);
        self.hash = hasher.finish();
    }

    /// Adds an event in words, which are only made if somebody reads them.
    pub fn say(&mut self, at: Instant, words: impl FnOnce() -> String) {
        if let Some(tail) = &mut self.words {
            if tail.len() == self.tail {
                tail.pop_front();
            }
            tail.push_back(format!("{:>10.3} ms  {}", at as f64 / MS as f64, words()));
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.words.iter().flatten() {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
