//! The view server: decides who is primary and who is backup.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use pbkv::cli::flags::{LogFormat, StateFile, parse_id, parse_listen, parse_state, parse_time};
use pbkv::cli::serve::{asking, serve};
use pbkv::cli::setup::{HostsFile, server_seal, view_server};
use pbkv::cli::terminal::Terminal;
use pbkv::cli::{
    CliError, VERSION, exit, generate, logging, metrics, runtime as start_runtime, view_console,
};
use pbkv::config::{Limits, Timing};
use pbkv::protocol::seal::Role;
use pbkv::protocol::sources::Sources;
use pbkv::protocol::transport::Transport;
use pbkv::protocol::view_server::{Command, ViewServer, ViewServerConfig};
use pbkv::runtime::{self, RecordFile, Spin, record_file};
use pbkv::types::{Incarnation, ServerId};

/// Decides who is primary and who is backup. Answers view, status, history, explain, switchover,
/// drain, undrain, reset, help and quit on stdin.
#[derive(Parser)]
#[command(
    name = "viewserver",
    version = VERSION,
    after_help = "--completions SHELL prints a completion script, --man the man page."
)]
struct Flags {
    /// Hosts file [default: knownhosts.json, or what PBKV_HOSTS names]
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// Name of this view server: its entry in the hosts file
    #[arg(long, value_name = "ID", default_value = "view", value_parser = parse_id)]
    id: ServerId,
    /// Address to bind instead of the one in the hosts file; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    /// File of the durable record, or none [default: ID.state.json]
    #[arg(long, value_name = "FILE", value_parser = parse_state)]
    state: Option<StateFile>,
    /// Time between two pings to a server
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = parse_time)]
    ping_interval: Duration,
    /// Silence after which a server is judged dead; at least three ping intervals
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = parse_time)]
    dead_after: Duration,
    /// Key file, which seals all datagrams [default: what PBKV_KEY_FILE names, or none]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Without keys, bind also an address that others can reach
    #[arg(long)]
    insecure: bool,
    /// Let the primary answer reads alone for most of dead-after
    #[arg(long)]
    lease_reads: bool,
    /// Address to serve /metrics (for Prometheus), /healthz and /readyz on, over HTTP
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    metrics: Option<SocketAddr>,
    /// Form of the logs on stderr (RUST_LOG chooses what is logged)
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    log_format: LogFormat,
}

fn main() -> ExitCode {
    if let Some(code) = generate::asked(Flags::command(), Vec::new()) {
        return code;
    }
    let flags = Flags::parse();
    exit("viewserver", start_runtime().and_then(|runtime| runtime.block_on(run(flags))))
}

async fn run(flags: Flags) -> Result<ExitCode, CliError> {
    logging::start(flags.log_format, "info")?;
    let timing = Timing::new(flags.ping_interval, flags.dead_after, flags.lease_reads)
        .map_err(CliError::misused)?;
    let place = view_server(&HostsFile::from_environment(flags.hosts), &flags.id, flags.listen)?;
    let seal = server_seal(flags.key_file, Role::ViewServer, place.listen, flags.insecure)?;
    let state = flags
        .state
        .unwrap_or_else(|| StateFile::At(PathBuf::from(format!("{}.state.json", flags.id))));
    let (record_file, durable) = match state {
        StateFile::None => (RecordFile::None, None),
        StateFile::At(path) => {
            let (open, durable) = record_file::open(&path).map_err(CliError::misused)?;
            (RecordFile::At(open), durable)
        }
    };
    let socket = runtime::bind(place.listen).await.map_err(CliError::failed)?;
    let address = socket.local_addr().map_err(CliError::failed)?;
    let incarnation = Incarnation(runtime::random_u64());
    // Who is behind an address is proven by a seal, or else by the address alone.
    let sources = if seal.is_some() { Sources::Any } else { Sources::Known };
    let config = ViewServerConfig { incarnation, timing, hosts: place.servers, sources };
    let process = ViewServer::new(runtime::now(), config, durable);
    let limits = Limits::default();
    let transport = match &seal {
        Some(_) => Transport::new(incarnation, runtime::limits_under_seal(limits)),
        None => {
            let secret = runtime::secret().map_err(CliError::failed)?;
            Transport::new(incarnation, limits).demanding_proof(secret)
        }
    };
    // The loop ends when nobody can call it any more; the console may end long before.
    let (handle, calls) = runtime::channel();
    metrics::serve(flags.metrics, &handle, Command::Measure, metrics::view_page)?;
    let ask = asking(handle.clone());
    let console = || {
        view_console::console(&mut Terminal::of_server("viewserver> ", view_console::USAGES), ask)
    };
    let run = runtime::run(process, transport, socket, calls, record_file, Spin::Off, seal);
    serve(&flags.id.0, address, run, console).await?;
    drop(handle);
    Ok(ExitCode::SUCCESS)
}
