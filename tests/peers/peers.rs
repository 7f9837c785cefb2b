//! What `scripts/bench_peers.sh` needs beside pbkv's own programs: load generators for Redis and
//! etcd, and a relay of bare datagrams, each on one thread like the programs themselves, with the
//! same histogram as `client bench`. Ships in none of the three programs.
//!
//! Prints one JSON object. Whatever goes wrong ends it with exit code 1 and the reason: a figure
//! from a run in which something failed would be no figure.

mod etcd;
mod measure;
mod redis;
mod relay;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::task::LocalSet;

use self::measure::{Plan, Result};

#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// SET, SET with WAIT 1 0, or GET, each connection with one in flight
    Redis {
        server: SocketAddr,
        #[arg(value_enum)]
        operation: redis::Operation,
        #[command(flatten)]
        plan: Plan,
    },
    /// SET of every key once, a hundred in flight
    RedisFill { server: SocketAddr, keys: u64, value_size: usize },
    /// Puts or gets through the JSON gateway, each connection with one in flight
    Etcd {
        server: SocketAddr,
        #[arg(value_enum)]
        operation: etcd::Operation,
        #[command(flatten)]
        plan: Plan,
    },
    /// The near end of the relay; prints its address and runs until it is killed
    RelayPrimary {
        backup: SocketAddr,
        /// What has arrived shares a datagram to the far end
        #[arg(long)]
        packed: bool,
    },
    /// The far end of the relay; prints its address and runs until it is killed
    RelayBackup,
    /// Datagrams through the relay and back, each socket with one in flight
    Relay {
        server: SocketAddr,
        #[command(flatten)]
        plan: Plan,
    },
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(LocalSet::new().run_until(run(flags.what))));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(what: What) -> Result<()> {
    match what {
        What::Redis { server, operation, plan } => {
            measure::run(&plan, || redis::connect(server, operation, plan.value_size)).await
        }
        What::RedisFill { server, keys, value_size } => redis::fill(server, keys, value_size).await,
        What::Etcd { server, operation, plan } => {
            measure::run(&plan, || etcd::connect(server, operation, plan.value_size)).await
        }
        What::RelayPrimary { backup, packed } => relay::primary(backup, packed).await,
        What::RelayBackup => relay::backup().await,
        What::Relay { server, plan } => measure::run(&plan, || relay::connect(server)).await,
    }
}
