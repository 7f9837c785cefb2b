//! What a person says of a load, and the plan that it makes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, value_parser};

use super::keys::Distribution;
use super::lanes::Plan;
use super::load::{Kind, Mix};
use super::schedule::Length;
use crate::cli::flags::{parse_address, parse_time};
use crate::config::Limits;
use crate::runtime::Spin;

/// Measures a cluster under load.
#[derive(Parser, Debug)]
#[command(name = "client bench", disable_version_flag = true)]
pub(super) struct Flags {
    /// Clients, each with a socket and a session of its own
    #[arg(long, value_name = "N", default_value = "8", value_parser = value_parser!(u64).range(1..=10_000))]
    clients: u64,
    /// Operations that each client has in flight, each asked by a task of its own
    #[arg(long, visible_alias = "tasks", value_name = "N", default_value = "1", value_parser = value_parser!(u64).range(1..=10_000))]
    pipeline: u64,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    seconds: Duration,
    /// How many operations to measure, instead of --seconds
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// How long to run before measuring
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    warm_up: Duration,
    /// Operations a second, due at fixed times from which their latency counts; without it each
    /// one follows the last answer
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Share of gets, as in 80%; the rest are puts [default: 50%]
    #[arg(long, value_name = "SHARE", conflicts_with = "mix", value_parser = parse_share)]
    gets: Option<u32>,
    /// Weights, as in put=20,append=20,get=55,remove=5. Lists that are only appended to grow, and
    /// reading them takes ever longer
    #[arg(long, value_name = "WEIGHTS", value_parser = Mix::parse)]
    mix: Option<Mix>,
    /// How many keys there are
    #[arg(long, value_name = "N", default_value = "1000", value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    keys: u64,
    /// How often each key is chosen: uniform, zipfian, zipfian=EXPONENT, or sequential (one after
    /// the other, so that --requests as many as --keys touches each once)
    #[arg(long, value_name = "HOW", default_value = "uniform", value_parser = Distribution::parse)]
    distribution: Distribution,
    /// Keys are this and ten digits [default: bench:]
    #[arg(long, value_name = "TEXT", conflicts_with = "history")]
    key_prefix: Option<String>,
    /// Bytes of a value [default: 100, and 16 with --history, where a value has more if it takes
    /// more to be unique]
    #[arg(long, value_name = "BYTES", value_parser = parse_value_size)]
    value_size: Option<usize>,
    /// Record every operation, for client check. Keys are new ones, and the default mix is
    /// put=15,append=30,get=50,remove=5
    #[arg(long, value_name = "FILE")]
    pub(super) history: Option<PathBuf>,
    /// Draw a plot: latency by percentile, throughput and latency over time
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,
    /// Exit code 0 although operations failed, as they do when servers are killed meanwhile
    #[arg(long)]
    pub(super) allow_failures: bool,
    /// Whether the clients look out for answers before they sleep: of use with one client
    #[arg(long, value_name = "WHEN", value_enum, default_value = "off")]
    pub(super) spin: Spin,
    /// Draws the same operations again [default: a new seed each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// No progress on stderr
    #[arg(long)]
    pub(super) quiet: bool,
    /// As before the command
    #[arg(long, value_name = "FILE", conflicts_with = "view_server")]
    pub(super) hosts: Option<PathBuf>,
    /// As before the command
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub(super) view_server: Option<SocketAddr>,
    /// As before the command
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
    /// As before the command
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(super) deadline: Option<Duration>,
}

impl Flags {
    /// `random` names the keys of a history, so that they were never written before.
    pub(super) fn plan(&self, random: u64) -> Plan {
        let is_recorded = self.history.is_some();
        let mix = match (self.mix, self.gets) {
            (Some(mix), _) => mix,
            (None, Some(gets)) => Mix::gets_and_puts(gets),
            (None, None) if is_recorded => {
                let weights =
                    [(Kind::Put, 15), (Kind::Append, 30), (Kind::Get, 50), (Kind::Remove, 5)];
                Mix::of(&weights)
            }
            (None, None) => Mix::gets_and_puts(50),
        };
        let key_prefix = match &self.key_prefix {
            Some(prefix) => prefix.clone(),
            None if is_recorded => format!("bench:{random:016x}:"),
            None => "bench:".to_owned(),
        };
        Plan {
            clients: self.clients,
            pipeline: self.pipeline,
            length: self.requests.map_or(Length::Time(self.seconds), Length::Operations),
            warm_up: self.warm_up,
            rate: self.rate,
            mix,
            keys: self.keys,
            distribution: self.distribution,
            key_prefix,
            value_size: self.value_size.unwrap_or(if is_recorded { 16 } else { 100 }),
            seed: self.seed.unwrap_or(random),
            is_recorded,
        }
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write a number of seconds from 0 to 1000000, as in 10 or 0.5";
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds: f64 = number.parse().map_err(|_| FORM)?;
    if !(0.0..=1e6).contains(&seconds) {
        return Err(FORM.to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn parse_rate(text: &str) -> Result<f64, String> {
    const FORM: &str = "write operations a second from 0.001 to 1000000000, as in 5000";
    let rate: f64 = text.parse().map_err(|_| FORM)?;
    if (0.001..=1e9).contains(&rate) { Ok(rate) } else { Err(FORM.to_owned()) }
}

fn parse_share(text: &str) -> Result<u32, String> {
    const FORM: &str = "write a percentage from 0% to 100%, as in 80%";
    let share: u32 = text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| FORM)?;
    if share <= 100 { Ok(share) } else { Err(FORM.to_owned()) }
}

fn parse_value_size(text: &str) -> Result<usize, String> {
    let limit = Limits::default().value_bytes;
    let size: usize = text.parse().map_err(|_| "write a number of bytes".to_owned())?;
    if size <= limit { Ok(size) } else { Err(format!("a value has at most {limit} bytes")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(words: &str) -> Result<Plan, String> {
        let words = std::iter::once("client bench").chain(words.split_whitespace());
        Flags::try_parse_from(words)
            .map(|flags| flags.plan(0xabc))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_there_is_a_load() {
        let plan = plan("").unwrap();
        assert_eq!((plan.clients, plan.pipeline, plan.keys), (8, 1, 1000));
        assert_eq!(plan.length, Length::Time(Duration::from_secs(10)));
        assert_eq!(plan.mix, Mix::gets_and_puts(50));
        assert_eq!((plan.value_size, &*plan.key_prefix), (100, "bench:"));
    }

    #[test]
    fn a_history_has_keys_of_its_own_and_every_kind_of_operation() {
        let plan = plan("--history h.jsonl --requests 7").unwrap();
        assert_eq!(plan.key_prefix, "bench:0000000000000abc:");
        assert_eq!(plan.mix.to_string(), "15 put, 30 append, 50 get, 5 remove");
        assert_eq!((plan.length, plan.value_size), (Length::Operations(7), 16));
    }

    #[test]
    fn what_makes_no_load_is_refused_with_a_remedy() {
        for (words, remedy) in [
            ("--clients 0", "1..=10000"),
            ("--seconds 1 --requests 2", "cannot be used with"),
            ("--gets 101%", "as in 80%"),
            ("--mix put=1 --gets 5", "cannot be used with"),
            ("--mix put", "as in"),
            ("--rate 0", "as in 5000"),
            ("--seconds -1", "unexpected argument"),
            ("--seconds nan", "as in 10"),
            ("--value-size 999999999", "at most"),
        ] {
            let error = plan(words).unwrap_err();
            assert!(error.contains(remedy), "{words}: {error}");
        }
    }
}
