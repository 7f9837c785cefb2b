//! Reads from here, to see what a client meets: how long they take, and whether they fail.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep};

use crate::runtime::Client;

/// Between two reads: enough for percentiles, and no load.
const REST: Duration = Duration::from_millis(20);

/// A key that nobody is likely to have; it does not matter if somebody has.
const KEY: &str = "\u{1}pbkv-watch";

/// Microseconds, from 1 to a minute, to two digits.
type Latencies = Histogram<u32>;

/// Reads since the last tick.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Reads {
    /// Reads that were answered.
    pub(super) done: u64,
    /// Reads that were not, within two seconds.
    pub(super) failed: u64,
    /// In microseconds; none without reads.
    pub(super) p50: Option<u64>,
    pub(super) p90: Option<u64>,
    pub(super) p99: Option<u64>,
    pub(super) max: Option<u64>,
    /// How long the read that is under way has taken, if that is long.
    pub(super) waiting: Option<Duration>,
}

struct Measured {
    latencies: Latencies,
    failed: u64,
    since: Option<Instant>,
}

/// Reads all the time, if it was started.
#[derive(Default)]
pub(super) struct Probe(Option<Arc<Mutex<Measured>>>);

impl Probe {
    /// Must be called in a tokio runtime.
    pub(super) fn start(client: Client) -> Probe {
        let latencies = Latencies::new_with_bounds(1, 60_000_000, 2)
            .expect("the bounds are in order and the digits few");
        let measured = Arc::new(Mutex::new(Measured { latencies, failed: 0, since: None }));
        let shared = Arc::clone(&measured);
        let note = move |change: &dyn Fn(&mut Measured)| {
            if let Ok(mut measured) = shared.lock() {
                change(&mut measured);
            }
        };
        tokio::spawn(async move {
            loop {
                let start = Instant::now();
                note(&|measured| measured.since = Some(start));
                let read = client.get(KEY).await;
                let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                note(&|measured| {
                    measured.since = None;
                    match read {
                        Ok(_) => measured.latencies.saturating_record(took),
                        Err(_) => measured.failed += 1,
                    }
                });
                sleep(REST).await;
            }
        });
        Probe(Some(measured))
    }

    /// What came of the reads since this was asked last.
    pub(super) fn take(&self) -> Reads {
        let Some(mut measured) = self.0.as_ref().and_then(|measured| measured.lock().ok()) else {
            return Reads::default();
        };
        let latencies = &measured.latencies;
        let quantile = |at: f64| (!latencies.is_empty()).then(|| latencies.value_at_quantile(at));
        let waiting = measured.since.map(|since| since.elapsed());
        let reads = Reads {
            done: latencies.len(),
            failed: measured.failed,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            max: quantile(1.0),
            waiting: waiting.filter(|waiting| *waiting >= Duration::from_millis(100)),
        };
        measured.latencies.reset();
        measured.failed = 0;
        reads
    }
}
