//! The run: lanes that ask, one operation each at a time, on one thread.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::keys::{Distribution, Random};
use super::load::{Kind, Load, Mix};
use super::tally::Tally;
use super::{Recorder, report};
use crate::history::{self, Action, Event};
use crate::kv::command::{Key, Value};
use crate::protocol::client::{Failure, FailureOutcome};
use crate::runtime::{Client, now};

/// A lane whose operation failed rests for so long: what fails at once must not fail a million
/// times a second.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// When a measurement ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Length {
    /// After this time.
    Time(Duration),
    /// After so many operations.
    Operations(u64),
}

/// What to do.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Plan {
    pub(super) clients: u64,
    /// Lanes of each client.
    pub(super) pipeline: u64,
    pub(super) length: Length,
    /// Before the measurement begins.
    pub(super) warm_up: Duration,
    /// Operations a second; none for a closed loop.
    pub(super) rate: Option<f64>,
    pub(super) mix: Mix,
    pub(super) keys: u64,
    pub(super) distribution: Distribution,
    pub(super) key_prefix: String,
    pub(super) value_size: usize,
    pub(super) seed: u64,
    /// Values are unique, and what gets return is kept.
    pub(super) is_recorded: bool,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) tally: Tally,
    pub(super) recorder: Option<Recorder>,
    /// Why the run ended early.
    pub(super) failure: Option<String>,
    /// Lanes were abandoned in the middle of their operations.
    pub(super) is_cut_short: bool,
}

/// What all lanes share. Never borrowed across an `await`.
struct Shared {
    tally: Tally,
    recorder: Option<Recorder>,
    schedule: Schedule,
    failure: Option<String>,
}

/// Hands out the turns.
struct Schedule {
    start_ns: u64,
    /// The measurement's beginning.
    from_ns: u64,
    /// No turn begins at or after this time.
    end_ns: u64,
    /// Turns left within the measurement.
    turns_left: u64,
    /// Between two turns of an open loop.
    gap_ns: Option<f64>,
    /// Turns given in an open loop.
    given: u64,
}

/// A turn: when it may begin, and whether it is late already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// At once.
    Now,
    /// An open loop, at this time, which lies ahead.
    At(u64),
    /// An open loop, at this time, at which no lane was free.
    Overdue(u64),
    /// There is none: the run is over.
    None,
}

impl Schedule {
    fn new(plan: &Plan, start_ns: u64) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let from_ns = start_ns.saturating_add(nanos(plan.warm_up));
        let (end_ns, turns_left) = match plan.length {
            Length::Time(time) => (from_ns.saturating_add(nanos(time)), u64::MAX),
            Length::Operations(count) => (u64::MAX, count),
        };
        let gap_ns = plan.rate.map(|rate| 1e9 / rate);
        Schedule { start_ns, from_ns, end_ns, turns_left, gap_ns, given: 0 }
    }

    fn stop(&mut self) {
        self.end_ns = 0;
    }

    fn next(&mut self, now_ns: u64) -> Turn {
        let turn = match self.gap_ns {
            None => Turn::Now,
            Some(gap_ns) => {
                // Computed afresh each time, so that no rounding adds up.
                let due = self.start_ns + (self.given as f64 * gap_ns) as u64;
                if due > now_ns { Turn::At(due) } else { Turn::Overdue(due) }
            }
        };
        let begins_ns = match turn {
            Turn::At(due) | Turn::Overdue(due) => due,
            Turn::Now | Turn::None => now_ns,
        };
        if begins_ns.max(now_ns) >= self.end_ns || self.turns_left == 0 {
            return Turn::None;
        }
        self.given += 1;
        self.turns_left -= u64::from(begins_ns >= self.from_ns);
        turn
    }
}

type Lanes = Rc<(RefCell<Shared>, Notify)>;

/// Runs the plan to its end. Must be called in a [`LocalSet`](tokio::task::LocalSet).
pub(super) async fn run(
    plan: Plan,
    clients: Vec<Client>,
    recorder: Option<Recorder>,
    quiet: bool,
) -> Outcome {
    let schedule = Schedule::new(&plan, now().0);
    let (start_ns, from_ns) = (schedule.start_ns, schedule.from_ns);
    let tally = Tally::new(from_ns);
    let shared = Shared { tally, recorder, schedule, failure: None };
    let lanes: Lanes = Rc::new((RefCell::new(shared), Notify::new()));
    let mut running = JoinSet::new();
    let mut seeds = Random(plan.seed);
    let keys = plan.distribution.over(plan.keys);
    // Lane by lane and not client by client, so that few operations are spread over all clients.
    for lane in 0..plan.clients * plan.pipeline {
        let number = lane % plan.clients;
        let client = clients[usize::try_from(number).unwrap_or(0)].clone();
        let load = Load {
            random: Random(seeds.next()),
            mix: plan.mix,
            keys: keys.clone(),
            key_prefix: plan.key_prefix.clone(),
            value_size: plan.value_size,
            is_unique: plan.is_recorded,
            lane,
            written: 0,
            key: String::new(),
            value: String::new(),
        };
        running.spawn_local(work(Rc::clone(&lanes), client, number, load));
    }
    let mut last_ns = start_ns;
    let mut is_interrupted = false;
    let mut is_cut_short = false;
    loop {
        tokio::select! {
            biased;
            joined = timeout(PROGRESS, join_all(&mut running)) => {
                if joined.is_ok() {
                    break;
                }
                let now_ns = now().0;
                let recent = lanes.0.borrow_mut().tally.take_recent();
                if !quiet {
                    let is_warm = last_ns >= from_ns;
                    let line =
                        report::progress(now_ns - start_ns, now_ns - last_ns, is_warm, &recent);
                    let _ = writeln!(std::io::stderr(), "{line}");
                }
                last_ns = now_ns;
            }
            Ok(()) = tokio::signal::ctrl_c() => {
                if is_interrupted {
                    is_cut_short = true;
                    break;
                }
                is_interrupted = true;
                let note = "waiting for the operations under way; interrupt again to leave at once";
                let _ = writeln!(std::io::stderr(), "{note}");
                lanes.0.borrow_mut().schedule.stop();
                lanes.1.notify_waiters();
            }
        }
    }
    let mut shared = lanes.0.borrow_mut();
    Outcome {
        tally: shared.tally.clone(),
        recorder: shared.recorder.take(),
        failure: shared.failure.take(),
        is_cut_short,
    }
}

async fn join_all(running: &mut JoinSet<()>) {
    while let Some(joined) = running.join_next().await {
        joined.expect("lanes do not panic, and nobody aborts them");
    }
}

/// One lane: asks until there is no turn left.
async fn work(lanes: Lanes, client: Client, number: u64, mut load: Load) {
    let (shared, stop) = &*lanes;
    loop {
        let turn = shared.borrow_mut().schedule.next(now().0);
        let due_ns = match turn {
            Turn::None => return,
            Turn::Now => None,
            Turn::Overdue(due_ns) => Some(due_ns),
            Turn::At(due_ns) => {
                let wait = Duration::from_nanos(due_ns.saturating_sub(now().0));
                tokio::select! {
                    biased;
                    () = stop.notified() => return,
                    () = sleep(wait) => {}
                }
                // The timer may be a millisecond late, and that is no fault of the cluster.
                None
            }
        };
        let kind = load.next();
        // Nothing may come between the clock and the call.
        let call_ns = now().0;
        let (outcome, list) = ask(&client, kind, &load.key, &load.value).await;
        let return_ns = now().0;
        {
            let mut shared = shared.borrow_mut();
            shared.tally.add(kind, outcome, due_ns.unwrap_or(call_ns), return_ns);
            if let Some(recorder) = &mut shared.recorder {
                let action = match (load.action(kind), list) {
                    (Action::Get(_), Some(list)) => {
                        Action::Get(Some(list.iter().map(|value| Value::from(&**value)).collect()))
                    }
                    (action, _) => action,
                };
                let key = Key::from(&*load.key);
                let return_ns = Some(return_ns);
                let event = Event { client: number, key, action, call_ns, return_ns, outcome };
                if let Err(problem) = recorder.record(&event) {
                    shared.failure.get_or_insert(problem);
                    shared.schedule.stop();
                    stop.notify_waiters();
                }
            }
        }
        if outcome != history::Outcome::Ok {
            sleep(REST_AFTER_FAILURE).await;
        }
    }
}

/// Carries out one operation; with what a get returned.
async fn ask(
    client: &Client,
    kind: Kind,
    key: &str,
    value: &str,
) -> (history::Outcome, Option<Vec<String>>) {
    let done = match kind {
        Kind::Put => client.put(key, value).await.map(|()| None),
        Kind::Append => client.append(key, value).await.map(|()| None),
        Kind::Remove => client.remove(key).await.map(|()| None),
        Kind::Get => client.get(key).await,
    };
    match done {
        Ok(list) => (history::Outcome::Ok, list),
        Err(failure) => (outcome_of(&failure), None),
    }
}

fn outcome_of(failure: &Failure) -> history::Outcome {
    match failure.outcome {
        FailureOutcome::NotExecuted => history::Outcome::NotExecuted,
        FailureOutcome::Unknown => history::Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(length: Length, rate: Option<f64>) -> Schedule {
        let plan = Plan {
            clients: 1,
            pipeline: 1,
            length,
            warm_up: Duration::from_nanos(100),
            rate,
            mix: Mix::gets_and_puts(50),
            distribution: Distribution::Uniform,
            keys: 1,
            key_prefix: String::new(),
            value_size: 0,
            seed: 0,
            is_recorded: false,
        };
        Schedule::new(&plan, 1_000)
    }

    #[test]
    fn a_closed_loop_has_turns_until_its_time_is_over() {
        let mut schedule = schedule(Length::Time(Duration::from_nanos(50)), None);
        assert_eq!((schedule.next(1_000), schedule.next(1_149)), (Turn::Now, Turn::Now));
        assert_eq!(schedule.next(1_150), Turn::None);
    }

    #[test]
    fn turns_of_the_warm_up_do_not_count() {
        let mut schedule = schedule(Length::Operations(2), None);
        let turns = [1_000, 1_099, 1_100, 2_000, 2_001].map(|at| schedule.next(at));
        assert_eq!(turns, [Turn::Now, Turn::Now, Turn::Now, Turn::Now, Turn::None]);
    }

    #[test]
    fn an_open_loop_keeps_to_its_times_however_late_the_lanes_are() {
        let mut schedule = schedule(Length::Time(Duration::from_nanos(300)), Some(1e7));
        assert_eq!(schedule.next(999), Turn::At(1_000));
        assert_eq!(schedule.next(1_000), Turn::At(1_100));
        assert_eq!(schedule.next(1_350), Turn::Overdue(1_200));
        assert_eq!(schedule.next(1_350), Turn::Overdue(1_300));
        assert_eq!(schedule.next(1_350), Turn::None);
    }

    #[test]
    fn a_stopped_run_has_no_turns() {
        let mut schedule = schedule(Length::Operations(2), Some(1e7));
        schedule.stop();
        assert_eq!(schedule.next(1_000), Turn::None);
    }
}
