//! The closed loop that every peer is measured with: so many connections, one operation in flight
//! on each, for so long.

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::task::JoinSet;

/// Nothing here recovers from anything.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How much to ask for.
#[derive(Args, Clone)]
pub struct Plan {
    /// Connections, or sockets
    #[arg(long, default_value = "1")]
    clients: u64,
    #[arg(long, default_value = "3")]
    seconds: f64,
    /// Seconds before the measurement begins
    #[arg(long, default_value = "0.3")]
    warm_up: f64,
    /// Keys, chosen evenly
    #[arg(long, default_value = "1000")]
    keys: u64,
    #[arg(long, default_value = "100")]
    pub value_size: usize,
}

/// One connection of a peer.
pub trait Connection {
    /// Asks, and waits for the answer, which must be a good one.
    async fn ask(&mut self, key: &str) -> Result<()>;
}

/// The keys that `client bench` uses, of sixteen bytes.
pub fn key(number: u64) -> String {
    format!("bench:{number:010}")
}

/// Connects, asks, and prints what came of it.
pub async fn run<C, F>(plan: &Plan, connect: impl Fn() -> F) -> Result<()>
where
    C: Connection + 'static,
    F: Future<Output = Result<C>>,
{
    let mut connections = Vec::new();
    for _ in 0..plan.clients {
        connections.push(connect().await?);
    }
    let latencies =
        Rc::new(RefCell::new(Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3)?));
    let from = Instant::now() + Duration::from_secs_f64(plan.warm_up);
    let until = from + Duration::from_secs_f64(plan.seconds);
    let mut lanes = JoinSet::new();
    for (number, mut connection) in connections.into_iter().enumerate() {
        let (latencies, keys) = (Rc::clone(&latencies), plan.keys);
        lanes.spawn_local(async move {
            let mut random = 0x9e37_79b9_u64.wrapping_mul(number as u64 + 1);
            let mut asked = 0_u64;
            loop {
                let begun = Instant::now();
                if begun >= until {
                    return Ok(asked);
                }
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let asking = connection.ask(&key((random >> 33) % keys)).await;
                // Texts, because errors in general cannot leave a task.
                asking.map_err(|error| error.to_string())?;
                asked += 1;
                if begun >= from {
                    let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    latencies.borrow_mut().saturating_record(took.max(1));
                }
            }
        });
    }
    let mut asked = 0;
    while let Some(joined) = lanes.join_next().await {
        let lane: std::result::Result<u64, String> = joined?;
        asked += lane?;
    }
    let seconds = from.elapsed().as_secs_f64();
    let latencies = latencies.borrow();
    let at = |percentile: f64| latencies.value_at_percentile(percentile) as f64 / 1e6;
    println!(
        "{}",
        json!({
            "all": {
                "done": latencies.len(),
                "per_second": latencies.len() as f64 / seconds,
                "p50_ms": at(50.0), "p99_ms": at(99.0), "max_ms": latencies.max() as f64 / 1e6,
            },
            "asked": asked,
            "seconds": seconds,
        })
    );
    Ok(())
}
