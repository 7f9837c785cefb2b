//! A kv server: holds a copy of the store, as primary, backup or spare.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use pbkv::cli::flags::{LogFormat, parse_address, parse_kv_id, parse_listen, parse_size};
use pbkv::cli::serve::{asking, serve};
use pbkv::cli::setup::{HostsFile, kv_server, server_seal};
use pbkv::cli::terminal::Terminal;
use pbkv::cli::{
    CliError, VERSION, exit, generate, kv_console, logging, metrics, runtime as start_runtime,
};
use pbkv::config::Limits;
use pbkv::protocol::seal::Role;
use pbkv::protocol::server::{Command, Server, ServerConfig};
use pbkv::protocol::sources::Sources;
use pbkv::protocol::transport::Transport;
use pbkv::runtime::{self, RecordFile, Spin};
use pbkv::types::{Incarnation, ServerId};

/// Holds a copy of the store. Answers kv, status, help and quit on stdin.
#[derive(Parser)]
#[command(
    name = "kvserver",
    version = VERSION,
    after_help = "--completions SHELL prints a completion script, --man the man page."
)]
struct Flags {
    /// Name of this server, as in the hosts file
    #[arg(value_parser = parse_kv_id)]
    id: ServerId,
    /// Hosts file [default: knownhosts.json, or what PBKV_HOSTS names]
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// Address to bind instead of the one in the hosts file; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    /// Address of the view server instead of the one in the hosts file
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    view_server: Option<SocketAddr>,
    /// Address that others are told, where it differs (NAT, containers, a proxy)
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    advertise: Option<SocketAddr>,
    /// Key file, which seals all datagrams [default: what PBKV_KEY_FILE names, or none]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Without keys, bind also an address that others can reach
    #[arg(long)]
    insecure: bool,
    /// Memory that the data may take, as in 512mb or 2gb, before what would make it larger is
    /// refused; the other copy's limit counts as well [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_memory: Option<usize>,
    /// Whether to look out for work before sleeping: shortens the way of single operations
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto")]
    spin: Spin,
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
    exit("kvserver", start_runtime().and_then(|runtime| runtime.block_on(run(flags))))
}

async fn run(flags: Flags) -> Result<ExitCode, CliError> {
    logging::start(flags.log_format, "info")?;
    let hosts = HostsFile::from_environment(flags.hosts);
    let place = kv_server(&hosts, &flags.id, flags.listen, flags.view_server)?;
    let seal = server_seal(flags.key_file, Role::Server, place.listen, flags.insecure)?;
    let socket = runtime::bind(place.listen).await.map_err(CliError::failed)?;
    let address = socket.local_addr().map_err(CliError::failed)?;
    let incarnation = Incarnation(runtime::random_u64());
    let limits = Limits { memory_bytes: flags.max_memory, ..Limits::default() };
    // Who is behind an address is proven by a seal, or else by the address alone.
    let sources = if seal.is_some() { Sources::Any } else { Sources::Known };
    let config = ServerConfig {
        id: flags.id.clone(),
        incarnation,
        view_server: place.view_server,
        advertise: flags.advertise,
        limits,
        sources,
    };
    let process = Server::new(runtime::now(), config);
    let transport = match &seal {
        Some(_) => Transport::new(incarnation, runtime::limits_under_seal(limits)),
        None => {
            let secret = runtime::secret().map_err(CliError::failed)?;
            Transport::new(incarnation, limits).demanding_proof(secret)
        }
    };
    // The loop ends when nobody can call it any more; the console may end long before.
    let (handle, calls) = runtime::channel();
    metrics::serve(flags.metrics, &handle, Command::Measure, metrics::kv_page)?;
    let ask = asking(handle.clone());
    let console =
        || kv_console::console(&mut Terminal::of_server("kvserver> ", kv_console::USAGES), ask);
    let run = runtime::run(process, transport, socket, calls, RecordFile::None, flags.spin, seal);
    serve(&flags.id.0, address, run, console).await?;
    drop(handle);
    Ok(ExitCode::SUCCESS)
}
