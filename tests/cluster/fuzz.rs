//! Runs seeds on all cores, and says what happened in them.
//!
//! `PBKV_SEEDS=n` runs n seeds from `PBKV_FIRST_SEED` on (0 unless told), `PBKV_SEED=n` runs the one
//! with its trace. A seed is the whole truth about a run.

use std::io::Write;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::clock::MS;
use crate::counts::Counts;
use crate::run::{self, Outcome};

/// Seeds of an ordinary test run: a few seconds without optimisation.
const SEEDS: u64 = 1000;

/// Failures that are told in full; more rarely teach more.
const TOLD: usize = 5;

fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(_) => panic!("{name}={text} is not a number"),
    }
}

/// Says it even if the test passes, which the test harness would otherwise hide.
fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).expect("stderr takes text");
}

/// Runs a failed seed again, with words.
fn explain(seed: u64) -> String {
    let outcome = run::seed(seed, true);
    let failure = outcome
        .failure
        .map_or("it passes when repeated".to_owned(), |violation| violation.to_string());
    let build = if cfg!(debug_assertions) { "" } else { "--release " };
    format!(
        "\nseed {seed} breaks {failure}\n{}\n{:#?}\nrepeat it: PBKV_SEED={seed} cargo test \
         {build}--test cluster -- seeds\n",
        outcome.tail, outcome.plan
    )
}

/// A panic in the code under test is a failure of the seed like any other.
fn run(seed: u64) -> Result<Outcome, String> {
    std::panic::catch_unwind(|| run::seed(seed, false)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    })
}

#[test]
fn seeds_of_every_mix_of_faults_keep_every_promise() {
    if let Some(seed) = from_environment("PBKV_SEED") {
        let outcome = run::seed(seed, true);
        say(&format!("{}\n{:#?}\n{}", outcome.tail, outcome.plan, outcome.counts));
        if let Some(violation) = outcome.failure {
            panic!("seed {seed} breaks {violation}");
        }
        return;
    }
    let first = from_environment("PBKV_FIRST_SEED").unwrap_or(0);
    let seeds: u64 = from_environment("PBKV_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let keep_going = from_environment::<u64>("PBKV_KEEP_GOING").is_some();
    let totals = Mutex::new((Counts::default(), 0_u64));
    let failures = Mutex::new(Vec::new());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let failure = match run(seed) {
                        Ok(outcome) => {
                            let mut totals = totals.lock().expect("nobody panics with it");
                            totals.0.merge(&outcome.counts);
                            totals.1 += outcome.elapsed;
                            outcome.failure.map(|violation| violation.to_string())
                        }
                        Err(panic) => Some(format!("no-panic: {panic}")),
                    };
                    if let Some(failure) = failure {
                        let mut failures = failures.lock().expect("nobody panics with it");
                        failures.push((seed, failure));
                        stop.store(!keep_going && failures.len() >= TOLD, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (counts, elapsed) = totals.into_inner().expect("nobody panicked with it");
    let took = started.elapsed().as_secs_f64();
    let ran = next.load(Ordering::Relaxed).min(first + seeds) - first;
    say(&format!(
        "\n{ran} seeds from {first} in {took:.1} s: {:.0} seeds/s, {:.2} virtual hours\n{counts}",
        ran as f64 / took,
        elapsed as f64 / (3_600_000 * MS) as f64,
    ));
    let mut failures = failures.into_inner().expect("nobody panicked with it");
    failures.sort();
    for (seed, failure) in &failures {
        say(&format!("seed {seed}: {}\n", failure.lines().next().unwrap_or_default()));
    }
    if let Some((seed, failure)) = failures.first() {
        let told = std::panic::catch_unwind(|| explain(*seed));
        panic!("{} seeds failed; {failure}\n{}", failures.len(), told.unwrap_or_default());
    }
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in [1, 7, 42, 1_000_003] {
        let (one, two) = (run::seed(seed, false), run::seed(seed, true));
        assert_eq!(one.hash, two.hash, "seed {seed} ran differently the second time");
        assert!(one.counts == two.counts, "seed {seed} counted differently the second time");
    }
}
