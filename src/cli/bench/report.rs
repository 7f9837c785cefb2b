//! What is printed at the end, and while it runs.

use serde::Serialize;

use super::keys::Distribution;
use super::lanes::Plan;
use super::load::Kind;
use super::schedule::Length;
use super::tally::{Counted, Tally};

/// Percentiles of a report, by their names.
const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Operations a second.
fn rate(operations: u64, elapsed_ns: u64) -> f64 {
    if elapsed_ns == 0 { 0.0 } else { operations as f64 * 1e9 / elapsed_ns as f64 }
}

/// A line of progress.
pub(super) fn progress(at_ns: u64, interval_ns: u64, is_warm: bool, recent: &Counted) -> String {
    let at = |percentile: f64| ms(recent.latency.value_at_percentile(percentile));
    format!(
        "{:>7.1} s {:>10.0} ops/s   p50 {:>8.3} ms   p99 {:>8.3} ms   {} failed{}",
        at_ns as f64 / 1e9,
        rate(recent.done(), interval_ns),
        at(50.0),
        at(99.0),
        recent.failed(),
        if is_warm { "" } else { "   (warming up)" },
    )
}

/// The report for people.
pub(super) fn text(plan: &Plan, tally: &Tally) -> String {
    let mut lines = vec![headline(plan), String::new()];
    let names: String = PERCENTILES.iter().map(|(name, _)| format!("{name:>10}")).collect();
    lines.push(format!("{:<8}{:>10}{:>10}{names}{:>10}", "", "done", "ops/s", "max ms"));
    for (kind, counted) in Kind::ALL.into_iter().zip(&tally.kinds) {
        if counted.done() + counted.failed() > 0 {
            lines.push(row(kind.word(), counted, tally.elapsed_ns()));
        }
    }
    lines.push(row("all", &tally.all, tally.elapsed_ns()));
    lines.push(String::new());
    lines.push(format!(
        "{} failed: {} not executed, {} of unknown outcome. Longest time without a success: \
         {:.1} ms.",
        tally.all.failed(),
        tally.all.not_executed,
        tally.all.unknown,
        ms(tally.longest_gap_ns()),
    ));
    lines.join("\n")
}

/// What was run.
pub(super) fn headline(plan: &Plan) -> String {
    let length = match plan.length {
        Length::Time(time) => format!("{} s", time.as_secs_f64()),
        Length::Operations(count) => format!("{count} operations"),
    };
    let rate = plan.rate.map_or("closed loop".to_owned(), |rate| format!("{rate} ops/s asked for"));
    format!(
        "{} clients with {} in flight each, {rate}, {length}; {}; {} keys{}, {}values of {} bytes",
        plan.clients,
        plan.pipeline,
        plan.mix,
        plan.keys,
        match plan.distribution {
            Distribution::Uniform => String::new(),
            other @ (Distribution::Zipfian(_) | Distribution::Sequential) => format!(" ({other})"),
        },
        if plan.is_recorded { "unique " } else { "" },
        plan.value_size,
    )
}

fn row(name: &str, counted: &Counted, elapsed_ns: u64) -> String {
    let latency = &counted.latency;
    let at = PERCENTILES
        .map(|(_, percentile)| format!("{:>10.3}", ms(latency.value_at_percentile(percentile))));
    let per_second = rate(counted.done(), elapsed_ns);
    let (done, most, at) = (counted.done(), ms(latency.max()), at.concat());
    format!("{name:<8}{done:>10}{per_second:>10.0}{at}{most:>10.3}")
}

/// The report as a program reads it. Fields stand in this order.
#[derive(Serialize)]
struct Json<'a> {
    command: &'a str,
    clients: u64,
    pipeline: u64,
    rate: Option<f64>,
    mix: String,
    keys: u64,
    distribution: String,
    value_size: usize,
    seed: u64,
    seconds: f64,
    /// Operations that ended, those of the warm-up too.
    asked: u64,
    all: JsonCounted,
    kinds: std::collections::BTreeMap<&'a str, JsonCounted>,
    longest_gap_ms: f64,
    ok: bool,
}

#[derive(Serialize)]
struct JsonCounted {
    done: u64,
    not_executed: u64,
    unknown: u64,
    per_second: f64,
    mean_ms: f64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
}

impl JsonCounted {
    fn of(counted: &Counted, elapsed_ns: u64) -> Self {
        let [p50_ms, p90_ms, p99_ms, p999_ms] =
            PERCENTILES.map(|(_, percentile)| ms(counted.latency.value_at_percentile(percentile)));
        JsonCounted {
            done: counted.done(),
            not_executed: counted.not_executed,
            unknown: counted.unknown,
            per_second: rate(counted.done(), elapsed_ns),
            mean_ms: counted.latency.mean() / 1e6,
            p50_ms,
            p90_ms,
            p99_ms,
            p999_ms,
            max_ms: ms(counted.latency.max()),
        }
    }
}

/// The report for programs: one JSON object.
pub(super) fn json(plan: &Plan, tally: &Tally) -> String {
    let elapsed_ns = tally.elapsed_ns();
    let kinds = Kind::ALL.into_iter().zip(&tally.kinds);
    let json = Json {
        command: "bench",
        clients: plan.clients,
        pipeline: plan.pipeline,
        rate: plan.rate,
        mix: plan.mix.to_string(),
        keys: plan.keys,
        distribution: plan.distribution.to_string(),
        value_size: plan.value_size,
        seed: plan.seed,
        seconds: elapsed_ns as f64 / 1e9,
        asked: tally.asked,
        all: JsonCounted::of(&tally.all, elapsed_ns),
        kinds: kinds
            .filter(|(_, counted)| counted.done() + counted.failed() > 0)
            .map(|(kind, counted)| (kind.word(), JsonCounted::of(counted, elapsed_ns)))
            .collect(),
        longest_gap_ms: ms(tally.longest_gap_ns()),
        ok: tally.all.done() > 0,
    };
    serde_json::to_string(&json).expect("finite numbers and texts under text keys are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::load::Mix;
    use crate::history::Outcome;
    use std::time::Duration;

    fn plan() -> Plan {
        Plan {
            clients: 2,
            pipeline: 3,
            length: Length::Time(Duration::from_millis(1_500)),
            warm_up: Duration::ZERO,
            rate: None,
            mix: Mix::gets_and_puts(40),
            keys: 9,
            distribution: Distribution::Uniform,
            key_prefix: String::new(),
            value_size: 100,
            seed: 1,
            is_recorded: false,
        }
    }

    fn tally() -> Tally {
        let mut tally = Tally::new(0);
        for at in 1..=1_000 {
            tally.add(Kind::Put, Outcome::Ok, at * 1_000_000 - 250_000, at * 1_000_000);
        }
        tally.add(Kind::Get, Outcome::NotExecuted, 0, 1_000_000_000);
        tally
    }

    #[test]
    fn people_see_a_table_with_a_row_a_kind() {
        let text = text(&plan(), &tally());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "2 clients with 3 in flight each, closed loop, 1.5 s; 60 put, 40 get; 9 keys, values \
             of 100 bytes"
        );
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(3), ["put", "1000", "1000", "0.250", "0.250", "0.250", "0.250", "0.250"]);
        assert_eq!(words(4)[..2], ["get", "0"]);
        assert_eq!(words(5)[..3], ["all", "1000", "1000"]);
        assert!(lines[7].starts_with("1 failed: 1 not executed, 0 of unknown outcome. Longest"));
        assert!(lines[7].ends_with(": 1.0 ms."), "{text}");
    }

    #[test]
    fn programs_get_one_object_even_if_nothing_was_done() {
        let read = |tally: &Tally| -> serde_json::Value {
            serde_json::from_str(&json(&plan(), tally)).unwrap()
        };
        let full = read(&tally());
        assert_eq!(full["all"]["done"], 1_000);
        assert_eq!(full["kinds"]["get"]["not_executed"], 1);
        assert_eq!(full["kinds"]["append"], serde_json::Value::Null);
        let empty = read(&Tally::new(5));
        assert_eq!((&empty["ok"], &empty["all"]["p99_ms"]), (&false.into(), &0.0.into()));
    }

    #[test]
    fn progress_says_how_it_goes() {
        let line = progress(2_000_000_000, 1_000_000_000, true, &tally().take_recent());
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..6], ["2.0", "s", "1000", "ops/s", "p50", "0.250"]);
        assert_eq!(words[9..], ["ms", "1", "failed"]);
    }
}
