//! What clients ask, what they are told, and the histories that come of it.
//!
//! Every write writes another value, so that a history tells which write a read saw. Some keys are
//! only appended to; there every acknowledged value can be demanded of every copy at any time.

use std::time::Duration;

use pbkv::history::key::{self as linearizability, Operation, Verdict};
use pbkv::kv::command::{self, Key, Value};
use pbkv::protocol::client::{Action, Answer, Command, Completed, FailureOutcome, FailureReason};
use pbkv::types::{CallId, Incarnation};

use crate::clock::Instant;
use crate::counts::Count;
use crate::harness::{Event, World};
use crate::invariants::Violation;
use crate::plan::Plan;
use crate::special::{self, Special, Told};

/// One operation of a client.
struct Call {
    client: usize,
    lane: usize,
    incarnation: Incarnation,
    key: usize,
    generation: u64,
    operation: Operation,
    /// Of other commands than get, append, put and remove; with what their answers said.
    special: Option<(Special, Told)>,
    fate: Fate,
    expired: bool,
}

/// What is known of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// No answer yet.
    Open,
    Done,
    Unknown,
    /// It certainly has no effect.
    NotExecuted,
}

#[derive(Default)]
pub struct Workload {
    calls: Vec<Call>,
    append_only: usize,
    keys: usize,
    /// Counts the histories that began; keys of different ones have nothing to do with each other.
    generation: u64,
    /// What somebody has last seen in the list that `cas` changes.
    swapped: Option<u64>,
    /// Lanes ask for nothing by themselves any more.
    pub resting: bool,
    /// The operator has asked for an empty history.
    pub reset_asked: bool,
}

impl Workload {
    pub fn new(plan: &Plan) -> Self {
        let append_only = plan.append_only.min(plan.keys);
        Workload { append_only, keys: plan.keys, ..Workload::default() }
    }

    pub fn keys(&self) -> usize {
        self.keys
    }

    pub fn is_append_only(&self, key: usize) -> bool {
        key < self.append_only
    }

    fn key(&self, key: usize) -> Key {
        Key::from(&*format!("k{key}.{}", self.generation))
    }

    /// All data was given up: what is still open may or may not have happened before.
    pub fn new_generation(&mut self) {
        self.generation += 1;
        self.swapped = None;
    }

    /// The names of a key; those after the ordinary ones are of the special kinds.
    fn names(&self, key: usize) -> Vec<Key> {
        match key.checked_sub(self.keys) {
            None => vec![self.key(key)],
            Some(special) => special::names(special, self.generation),
        }
    }

    /// A client's process is gone, and what it waited for will never be known.
    pub fn client_gone(&mut self, incarnation: Incarnation) {
        for call in self.calls.iter_mut().rev().take(256) {
            if call.incarnation == incarnation && call.fate == Fate::Open {
                call.fate = Fate::Unknown;
            }
        }
    }

    pub fn is_done(&self, call: CallId) -> bool {
        self.calls[index(call)].fate == Fate::Done
    }

    /// The operation failed because its session was evicted, or lost with all data: asking again
    /// is the caller's business.
    pub fn has_expired(&self, call: CallId) -> bool {
        self.calls[index(call)].expired
    }

    /// Checks the history of every key.
    pub fn check(&self) -> Result<bool, Violation> {
        let mut decided = true;
        for generation in 0..=self.generation {
            for key in 0..self.keys {
                decided &= self.check_key(generation, key)?;
            }
            decided &= self.check_key(generation, self.keys + special::PAIR)?;
            special::check_counter(&self.events(generation, self.keys + special::COUNTER)?)?;
            special::check_swapped(&self.events(generation, self.keys + special::SWAPPED)?)?;
        }
        Ok(decided)
    }

    /// What may have happened to a key of a special kind.
    fn events(&self, generation: u64, key: usize) -> Result<Vec<special::Event>, Violation> {
        let mut events = Vec::new();
        let mut refused = Vec::new();
        for call in &self.calls {
            let Some((special, told)) = &call.special else { continue };
            if call.key != key || call.generation != generation {
                continue;
            }
            let (special, told, operation) = (*special, told.clone(), call.operation.clone());
            match call.fate {
                Fate::Done => events.push(special::Event { special, told, operation }),
                Fate::Open | Fate::Unknown if special.is_write() => {
                    events.push(special::Event { special, told, operation });
                }
                Fate::NotExecuted => refused.extend(written(&operation)),
                Fate::Open | Fate::Unknown => {}
            }
        }
        // A number that is counted to is nobody's in particular.
        if key == self.keys + special::SWAPPED {
            let mut seen = events.iter().filter_map(special::Event::list).flatten();
            if let Some(value) = seen.find(|value| refused.contains(value)) {
                let detail = format!("{value} was said not to be executed, and was read");
                return Err(Violation::new("not-executed-means-never", detail));
            }
        }
        Ok(events)
    }

    /// What `len`, `exists` and `keys` have said of a key, as reads of its list.
    fn add_lengths(
        &self,
        generation: u64,
        key: usize,
        history: &mut Vec<Operation>,
    ) -> Result<(), Violation> {
        let lists = history.iter().filter_map(|operation| match &operation.action {
            linearizability::Action::Get(list) => list.clone(),
            linearizability::Action::Put(_)
            | linearizability::Action::Append(_)
            | linearizability::Action::Remove => None,
        });
        let longest = lists.max_by_key(Vec::len).filter(|_| self.is_append_only(key));
        let longest = longest.unwrap_or_default();
        let events = self.events(generation, key)?;
        history.extend(events.iter().filter_map(|event| special::as_read(event, &longest)));
        Ok(())
    }

    fn check_key(&self, generation: u64, key: usize) -> Result<bool, Violation> {
        let of_key = || {
            self.calls.iter().filter(move |call| {
                let is_list =
                    call.special.as_ref().is_none_or(|(special, _)| special.is_of_lists());
                call.key == key && call.generation == generation && is_list
            })
        };
        let mut history: Vec<Operation> = Vec::new();
        let mut refused = Vec::new();
        for call in of_key() {
            let is_read = matches!(call.operation.action, linearizability::Action::Get(_));
            match call.fate {
                Fate::Done => history.push(call.operation.clone()),
                Fate::Open | Fate::Unknown if !is_read => history.push(call.operation.clone()),
                Fate::NotExecuted if !is_read => refused.push(written(&call.operation)),
                Fate::Open | Fate::Unknown | Fate::NotExecuted => {}
            }
        }
        for operation in &history {
            if let linearizability::Action::Get(Some(list)) = &operation.action
                && let Some(value) = list.iter().find(|value| refused.contains(&Some(**value)))
            {
                let detail = format!("k{key}: {value} was said not to be executed, and was read");
                return Err(Violation::new("not-executed-means-never", detail));
            }
        }
        self.add_lengths(generation, key, &mut history)?;
        let verdict = if self.is_append_only(key) {
            linearizability::check_appends(&history)
        } else {
            linearizability::check(&history, 2_000_000)
        };
        match verdict {
            Verdict::Linearizable => Ok(true),
            Verdict::Unknown => Ok(false),
            Verdict::Violation(why) => {
                let mut detail = format!("k{key}.{generation}: {why}\n");
                for operation in history.iter().rev().take(40).rev() {
                    detail.push_str(&format!("    {operation:?}\n"));
                }
                Err(Violation::new("no-stale-read", detail))
            }
        }
    }
}

fn index(call: CallId) -> usize {
    usize::try_from(call.0).expect("calls are numbered from 0")
}

fn written(operation: &Operation) -> Option<u64> {
    match operation.action {
        linearizability::Action::Put(value) | linearizability::Action::Append(value) => Some(value),
        linearizability::Action::Remove | linearizability::Action::Get(_) => None,
    }
}

/// The number that a value's text begins with.
pub fn number_of(value: &Value) -> u64 {
    value.0.split(':').next().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

impl World {
    /// A lane asks for its next operation.
    pub fn issue(&mut self, client: usize, lane: usize, incarnation: Incarnation) {
        let node = &self.nodes[client];
        if self.workload.resting || node.is_down() || node.incarnation != incarnation {
            return;
        }
        let key = self.random.index(self.workload.keys);
        if self.random.chance(self.plan.special) {
            let dead_after = self.dead_after();
            let deadline = self.random.pick(&[dead_after / 2, 2 * dead_after, 8 * dead_after]);
            let (key, special) = self.draw_special(key);
            self.ask_special(client, lane, key, special, deadline);
            return;
        }
        let write = self.random.chance(self.plan.write_share);
        let kind = match (write, self.workload.is_append_only(key)) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => self.random.pick(&[1, 1, 1, 2, 2, 3]),
        };
        let dead_after = self.dead_after();
        let deadline = self.random.pick(&[dead_after / 2, 2 * dead_after, 8 * dead_after]);
        self.ask(client, lane, key, kind, deadline);
    }

    /// Gives a client an operation: 0 get, 1 append, 2 put, 3 remove.
    pub fn ask(
        &mut self,
        client: usize,
        lane: usize,
        key: usize,
        kind: u32,
        deadline: Instant,
    ) -> CallId {
        let call = CallId(self.workload.calls.len() as u64);
        let name = self.workload.key(key);
        let mut text = call.0.to_string();
        if self.plan.value_bytes_most > 0 {
            let padding = self.random.below(self.plan.value_bytes_most);
            text.push(':');
            text.extend((0..padding).map(|_| 'x'));
        }
        let value = Value::from(&*text);
        let (action, seen) = match kind {
            0 => (Action::Get(name), linearizability::Action::Get(None)),
            1 => (
                Action::Write(command::Command::Append { key: name, value }),
                linearizability::Action::Append(call.0),
            ),
            2 => (
                Action::Write(command::Command::Put { key: name, value }),
                linearizability::Action::Put(call.0),
            ),
            _ => (
                Action::Write(command::Command::Remove { key: name }),
                linearizability::Action::Remove,
            ),
        };
        let command = Command { action, deadline: Duration::from_nanos(deadline) };
        self.enter((client, lane, key), seen, None, command)
    }

    /// Notes an operation of a client and its lane on a key as called, and hands it over.
    fn enter(
        &mut self,
        (client, lane, key): (usize, usize, usize),
        seen: linearizability::Action,
        special: Option<(Special, Told)>,
        command: Command,
    ) -> CallId {
        let call = CallId(self.workload.calls.len() as u64);
        let called = self.moment();
        let incarnation = self.nodes[client].incarnation;
        let (at, action) = (self.now, &command.action);
        self.trace.say(at, || format!("{} asks {call:?} {action:?}", self.nodes[client].name));
        self.workload.calls.push(Call {
            client,
            lane,
            incarnation,
            key,
            generation: self.workload.generation,
            operation: Operation { process: incarnation.0, called, answered: None, action: seen },
            special,
            fate: Fate::Open,
            expired: false,
        });
        self.command(client, call, command);
        call
    }

    fn draw_special(&mut self, ordinary: usize) -> (usize, Special) {
        let first = self.workload.keys;
        let new = self.workload.calls.len() as u64;
        let old = self.workload.swapped.filter(|_| !self.random.chance(100_000));
        let (counter, swapped, pair) =
            (first + special::COUNTER, first + special::SWAPPED, first + special::PAIR);
        self.random.pick(&[
            (counter, Special::Incr),
            (counter, Special::Incr),
            (counter, Special::Get),
            (swapped, Special::Cas { old, new }),
            (swapped, Special::Cas { old, new }),
            (swapped, Special::Get),
            (pair, Special::Mput),
            (pair, Special::Mput),
            (pair, Special::Mget),
            (pair, Special::Mget),
            (pair, Special::Get),
            (ordinary, Special::Len),
            (ordinary, Special::Exists),
            (ordinary, Special::Keys),
        ])
    }

    /// Gives a client one of every special kind.
    pub fn ask_specials(&mut self, client: usize, deadline: Instant) -> Vec<CallId> {
        let first = self.workload.keys;
        let new = self.workload.calls.len() as u64;
        let old = self.workload.swapped;
        [
            (special::COUNTER, Special::Incr),
            (special::COUNTER, Special::Get),
            (special::SWAPPED, Special::Get),
            (special::PAIR, Special::Mput),
            (special::PAIR, Special::Mget),
            (special::SWAPPED, Special::Cas { old, new: new + 5 }),
        ]
        .map(|(key, special)| self.ask_special(client, 0, first + key, special, deadline))
        .to_vec()
    }

    /// Asks the same once more, as a new operation.
    pub fn ask_special_again(&mut self, call: CallId, deadline: Instant) -> CallId {
        let new = self.workload.calls.len() as u64;
        let former = &self.workload.calls[index(call)];
        let (client, lane, key) = (former.client, former.lane, former.key);
        let special = match former.special.as_ref().map(|(special, _)| *special) {
            Some(Special::Cas { .. }) => Special::Cas { old: self.workload.swapped, new },
            Some(special) => special,
            None => unreachable!("it was asked by ask_special"),
        };
        self.ask_special(client, lane, key, special, deadline)
    }

    fn ask_special(
        &mut self,
        client: usize,
        lane: usize,
        key: usize,
        special: Special,
        deadline: Instant,
    ) -> CallId {
        let call = CallId(self.workload.calls.len() as u64);
        let names = self.workload.names(key);
        let padding = self.random.below(self.plan.value_bytes_most);
        let padding: String = (0..padding).map(|_| 'x').collect();
        let value = Value::from(&*format!("{}:{padding}", call.0));
        let (action, seen) = special.action(&names, value, call.0);
        let command = Command { action, deadline: Duration::from_nanos(deadline) };
        self.enter((client, lane, key), seen, Some((special, Told::Nothing)), command)
    }

    /// Notes what a special operation was told.
    fn special_answered(&mut self, id: CallId, now: u64, completed: &Completed) {
        let call = &self.workload.calls[index(id)];
        let Some((special, _)) = call.special else { return };
        let names = self.workload.names(call.key);
        let (seen, told) = match special::told(completed, &names[0]) {
            Ok(told) => told,
            Err(violation) => return self.fail(violation),
        };
        let is_swapped = call.key == self.workload.keys + special::SWAPPED;
        self.counts.add(match special {
            Special::Incr => Count::Counted,
            Special::Mput => Count::Several,
            Special::Cas { new, .. } if told == Told::Swapped(true) => {
                self.workload.swapped = Some(new);
                Count::Swapped
            }
            Special::Cas { .. } => Count::Mismatches,
            Special::Get | Special::Mget | Special::Len | Special::Exists | Special::Keys => {
                if let Some(linearizability::Action::Get(Some(list))) = &seen
                    && is_swapped
                {
                    self.workload.swapped = list.first().copied();
                }
                Count::Reads
            }
        });
        let call = &mut self.workload.calls[index(id)];
        call.fate = Fate::Done;
        call.operation.answered = Some(now);
        call.special = Some((special, told));
        if let Some(seen) = seen {
            call.operation.action = seen;
        }
    }

    /// Notes a read that is asked without a client of this crate; the key it is about comes with it.
    pub fn ask_elsewhere(&mut self, key: usize) -> (CallId, Key) {
        let call = CallId(self.workload.calls.len() as u64);
        let called = self.moment();
        self.workload.calls.push(Call {
            client: 0,
            lane: 0,
            incarnation: Incarnation(0),
            key,
            generation: self.workload.generation,
            operation: Operation {
                process: 0,
                called,
                answered: None,
                action: linearizability::Action::Get(None),
            },
            special: None,
            fate: Fate::Open,
            expired: false,
        });
        (call, self.workload.key(key))
    }

    /// What such a read was told. After a reset it proves nothing: who knows no epochs may still
    /// ask a server that has not heard of it.
    pub fn answered_elsewhere(&mut self, call: CallId, list: Option<Vec<u64>>) {
        let now = self.moment();
        if self.workload.generation > 0 {
            return;
        }
        let call = &mut self.workload.calls[index(call)];
        call.fate = Fate::Done;
        call.operation.answered = Some(now);
        call.operation.action = linearizability::Action::Get(list);
    }

    /// A client was told what became of its operation.
    pub fn answered(&mut self, id: CallId, answer: Answer) {
        let now = self.moment();
        let generation = self.workload.generation;
        let call = &mut self.workload.calls[index(id)];
        if call.fate != Fate::Open {
            let detail = format!("{id:?} is answered again, with {answer:?}");
            return self.fail(Violation::new("one-answer-a-call", detail));
        }
        let (client, lane, incarnation) = (call.client, call.lane, call.incarnation);
        if call.generation != generation {
            // It was asked of a history that has been given up since.
            call.fate = Fate::Unknown;
        } else if call.special.is_some()
            && let Ok(completed) = &answer
        {
            self.special_answered(id, now, completed);
        } else {
            match answer {
                Ok(Completed::Written) => {
                    call.fate = Fate::Done;
                    call.operation.answered = Some(now);
                    self.counts.add(Count::Writes);
                    let (key, written) = (call.key, written(&call.operation));
                    if let Some(value) = written
                        && self.workload.is_append_only(key)
                    {
                        let name = self.workload.key(key);
                        let truth = self.truth.as_ref().map(|truth| &truth.record);
                        let checked = self.checks.on_acknowledged(&self.nodes, truth, &name, value);
                        if let Err(violation) = checked {
                            self.fail(violation);
                        }
                    }
                }
                Ok(Completed::List(list)) => {
                    call.fate = Fate::Done;
                    call.operation.answered = Some(now);
                    let list = list.map(|list| list.iter().map(number_of).collect());
                    call.operation.action = linearizability::Action::Get(list);
                    self.counts.add(Count::Reads);
                }
                Ok(
                    Completed::View(_)
                    | Completed::Lists(_)
                    | Completed::Snapshot(_)
                    | Completed::Exists(_)
                    | Completed::Length(_)
                    | Completed::Keys(_)
                    | Completed::Number(_)
                    | Completed::Mismatch(_),
                ) => call.fate = Fate::Done,
                Err(failure) => {
                    call.expired = failure.reason == FailureReason::SessionExpired;
                    match failure.outcome {
                        FailureOutcome::NotExecuted => {
                            call.fate = Fate::NotExecuted;
                            self.counts.add(Count::NotExecuted);
                        }
                        FailureOutcome::Unknown => {
                            call.fate = Fate::Unknown;
                            self.counts.add(Count::Unknown);
                        }
                    }
                }
            }
        }
        if !self.workload.resting {
            let pause = self.random.around(self.plan.think);
            self.schedule(self.now + pause, Event::Issue { client, lane, incarnation });
        }
    }
}
