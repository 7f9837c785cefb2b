//! What a waiting caller may want to be told: that the primary is silent, who is asked, who is
//! found.
//!
//! Nothing is decided by it and nothing waits for it. It is bounded: what nobody takes is
//! forgotten, oldest first. Within one time of trouble each thing is said once; the trouble is over
//! when a primary answers.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;

/// Events that nobody has taken yet, at most.
const KEPT: usize = 32;
/// Different things said in one time of trouble, at most.
const SAID: usize = 16;

/// See the module. Servers are named as far as their names are known, else by address.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// The primary has not answered for a while; the view server is asked.
    Silent {
        /// The primary.
        server: String,
    },
    /// The server that was taken for the primary is not; the view server is asked.
    Refused {
        /// That server.
        server: String,
    },
    /// The view server does not answer either; the servers known are asked in turn.
    ViewServerSilent {
        /// Where the view server is expected.
        address: SocketAddr,
    },
    /// There is no primary at present.
    NoPrimary {
        /// What the cluster waits for.
        waiting: String,
    },
    /// Another server is primary; what is in flight goes there.
    NewPrimary {
        /// The new primary.
        server: String,
    },
    /// The primary answers again.
    Back {
        /// The primary.
        server: String,
    },
}

impl fmt::Display for Event {
    /// A line for a person who waits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Silent { server } => {
                write!(f, "{server} does not answer; asking the view server...")
            }
            Event::Refused { server } => {
                write!(f, "{server} is not primary; asking the view server...")
            }
            Event::ViewServerSilent { address } => {
                write!(f, "the view server at {address} does not answer; still asking...")
            }
            Event::NoPrimary { waiting } => write!(f, "no primary: {waiting}..."),
            Event::NewPrimary { server } => write!(f, "new primary {server}"),
            Event::Back { server } => write!(f, "{server} answers again"),
        }
    }
}

/// Collects events.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<Event>,
    /// In this time of trouble.
    said: Vec<Event>,
}

impl Events {
    /// Something that belongs to a time of trouble: said once in it.
    pub(super) fn say(&mut self, event: Event) {
        if self.said.contains(&event) || self.said.len() >= SAID {
            return;
        }
        self.said.push(event.clone());
        if self.queue.len() >= KEPT {
            self.queue.pop_front();
        }
        self.queue.push_back(event);
    }

    /// A primary answers: the trouble is over.
    pub(super) fn is_well(&mut self, server: impl FnOnce() -> String) {
        let Some(last) = self.said.last() else { return };
        if !matches!(last, Event::NewPrimary { .. }) {
            self.say(Event::Back { server: server() });
        }
        self.said.clear();
    }

    pub(super) fn take(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(server: &str) -> Event {
        Event::Silent { server: server.to_owned() }
    }

    fn drain(events: &mut Events) -> Vec<String> {
        std::iter::from_fn(|| events.take()).map(|event| event.to_string()).collect()
    }

    #[test]
    fn each_thing_is_said_once_in_a_time_of_trouble() {
        let mut events = Events::default();
        for _ in 0..3 {
            events.say(silent("s1"));
            events.say(Event::NoPrimary { waiting: "waiting for s2".to_owned() });
        }
        events.say(Event::NewPrimary { server: "s2".to_owned() });
        events.is_well(|| "s2".to_owned());
        let first = "s1 does not answer; asking the view server...";
        assert_eq!(drain(&mut events), [first, "no primary: waiting for s2...", "new primary s2"]);
        events.say(silent("s1"));
        events.is_well(|| "s1".to_owned());
        events.is_well(|| "s1".to_owned());
        assert_eq!(drain(&mut events), [first, "s1 answers again"]);
    }

    #[test]
    fn what_nobody_takes_is_bounded() {
        let mut events = Events::default();
        for number in 0..1000 {
            events.say(silent(&number.to_string()));
            events.is_well(|| "x".to_owned());
        }
        assert!(drain(&mut events).len() <= KEPT);
    }
}
