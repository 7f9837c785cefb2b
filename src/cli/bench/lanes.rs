//! The run: lanes that ask, one operation each at a time, on one thread.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::keys::{Distribution, Random};
use super::load::{Kind, Load, Mix};
use super::pace::Pacer;
use super::plot::Moment;
use super::schedule::{Length, Schedule, Turn};
use super::tally::{Counted, Tally};
use super::{Recorder, report};
use crate::history::{self, Action, Event};
use crate::kv::command::{Key, Value};
use crate::protocol::client::{Failure, FailureOutcome};
use crate::runtime::{Client, now};

/// A lane whose operation failed rests for so long: what fails at once must not fail a million
/// times a second.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// Between two points of a plot over time.
const MOMENT: Duration = Duration::from_millis(100);

/// At least between two lines of progress.
const PROGRESS_NS: u64 = 1_000_000_000;

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
    /// From the first to the last, those of the warm-up too.
    pub(super) moments: Vec<Moment>,
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

/// What the tasks of a run have in common.
struct Lanes {
    shared: RefCell<Shared>,
    /// Notified when no further turn is wanted.
    stop: Notify,
    pacer: Pacer,
}

/// Runs the plan to its end. Must be called in a [`LocalSet`](tokio::task::LocalSet).
///
/// # Errors
/// When the system refuses what the run needs.
pub(super) async fn run(
    plan: Plan,
    clients: Vec<Client>,
    recorder: Option<Recorder>,
    quiet: bool,
) -> io::Result<Outcome> {
    let schedule = Schedule::new(&plan, now().0);
    let (start_ns, from_ns) = (schedule.start_ns, schedule.from_ns);
    let tally = Tally::new(from_ns);
    let shared = Shared { tally, recorder, schedule, failure: None };
    let shared = RefCell::new(shared);
    let lanes = Rc::new(Lanes { shared, stop: Notify::new(), pacer: Pacer::new()? });
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
    let mut moments = Moments::new(start_ns, from_ns);
    let mut is_interrupted = false;
    let mut is_cut_short = false;
    // One listener for the whole run: one made anew each time would know nothing of what came while
    // something else was looked at.
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            biased;
            error = lanes.pacer.drive() => return Err(error),
            joined = timeout(MOMENT, join_all(&mut running)) => {
                let recent = lanes.shared.borrow_mut().tally.take_recent();
                if let Some(line) = moments.add(now().0, &recent).filter(|_| !quiet) {
                    let _ = writeln!(std::io::stderr(), "{line}");
                }
                if joined.is_ok() {
                    break;
                }
            }
            Some(()) = interrupt.recv() => {
                if is_interrupted {
                    is_cut_short = true;
                    break;
                }
                is_interrupted = true;
                let note = "waiting for the operations under way; interrupt again to leave at once";
                let _ = writeln!(std::io::stderr(), "{note}");
                lanes.shared.borrow_mut().schedule.stop();
                lanes.stop.notify_waiters();
            }
        }
    }
    let mut shared = lanes.shared.borrow_mut();
    Ok(Outcome {
        tally: shared.tally.clone(),
        moments: moments.past,
        recorder: shared.recorder.take(),
        failure: shared.failure.take(),
        is_cut_short,
    })
}

/// How the run went over time.
struct Moments {
    start_ns: u64,
    from_ns: u64,
    /// The end of the last moment.
    last_ns: u64,
    past: Vec<Moment>,
    /// Since the last line of progress, and when that was.
    since_line: Counted,
    line_ns: u64,
}

impl Moments {
    fn new(start_ns: u64, from_ns: u64) -> Self {
        let (past, since_line) = (Vec::new(), Counted::default());
        Moments { start_ns, from_ns, last_ns: start_ns, past, since_line, line_ns: start_ns }
    }

    /// Keeps a moment; with the line of progress, if one is due.
    fn add(&mut self, now_ns: u64, recent: &Counted) -> Option<String> {
        let span_ns = now_ns - self.last_ns;
        let end_ns = now_ns - self.start_ns;
        self.past.push(Moment::of(end_ns, span_ns, recent));
        self.last_ns = now_ns;
        self.since_line.merge(recent);
        if now_ns - self.line_ns < PROGRESS_NS {
            return None;
        }
        let is_warm = self.line_ns >= self.from_ns;
        let line = report::progress(end_ns, now_ns - self.line_ns, is_warm, &self.since_line);
        self.since_line = Counted::default();
        self.line_ns = now_ns;
        Some(line)
    }
}

async fn join_all(running: &mut JoinSet<()>) {
    while let Some(joined) = running.join_next().await {
        joined.expect("lanes do not panic, and nobody aborts them");
    }
}

/// One lane: asks until there is no turn left.
async fn work(lanes: Rc<Lanes>, client: Client, number: u64, mut load: Load) {
    let Lanes { shared, stop, pacer } = &*lanes;
    let wake = Rc::new(Notify::new());
    let mut time_ns = now().0;
    loop {
        let turn = shared.borrow_mut().schedule.next(time_ns);
        let due_ns = match turn {
            Turn::None => return,
            Turn::Now => None,
            Turn::Overdue(due_ns) => Some(due_ns),
            Turn::At(due_ns) => {
                pacer.wake_at(due_ns, &wake);
                tokio::select! {
                    biased;
                    () = stop.notified() => return,
                    () = wake.notified() => Some(due_ns),
                }
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
        time_ns = return_ns;
        if outcome != history::Outcome::Ok {
            sleep(REST_AFTER_FAILURE).await;
            time_ns = now().0;
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
