//! The client: one command, a script on stdin, or a person at a prompt.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use pbkv::cli::client_answer::Form;
use pbkv::cli::flags::{LogFormat, parse_address, parse_time};
use pbkv::cli::setup::Connection;
use pbkv::cli::terminal::Terminal;
use pbkv::cli::{
    CliError, VERSION, bench, check, client_command, client_session, dump, exit, generate, keygen,
    logging, runtime, watch,
};
use pbkv::runtime::Client;
use pbkv::runtime::client::ClientOptions;

/// Reads and writes the store. Without COMMAND it takes commands from stdin, a line each.
#[derive(Parser)]
#[command(
    name = "client",
    version = VERSION,
    after_help = commands()
)]
struct Flags {
    /// Hosts file [default: knownhosts.json, or what PBKV_HOSTS names]
    #[arg(long, value_name = "FILE", conflicts_with = "view_server")]
    hosts: Option<PathBuf>,
    /// Address of the view server instead of the one in the hosts file
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    view_server: Option<SocketAddr>,
    /// Key file, which seals all datagrams [default: what PBKV_KEY_FILE names, or none]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How long to try an operation
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    deadline: Duration,
    /// Print one JSON object a command
    #[arg(long)]
    json: bool,
    /// Form of the logs on stderr (RUST_LOG chooses what is logged)
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// One command to execute
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    command: Vec<String>,
}

/// Every command, for the command line.
fn words() -> Vec<&'static str> {
    let usages = client_command::USAGES.iter().chain(client_command::ONE_SHOT_USAGES);
    usages.map(|usage| usage.word).collect()
}

fn commands() -> String {
    let words = words().join(", ");
    format!(
        "Commands: {words}. Flags stand before the command; help COMMAND says more of one of them."
    )
}

fn main() -> ExitCode {
    if let Some(code) = generate::asked(Flags::command(), words()) {
        return code;
    }
    exit("client", run(Flags::parse()))
}

fn run(flags: Flags) -> Result<ExitCode, CliError> {
    logging::start(flags.log_format, "warn")?;
    let form = if flags.json { Form::Json } else { Form::Text };
    let Flags { hosts, view_server, key_file, deadline, command, .. } = flags;
    let connection = Connection { hosts, view_server, key_file, deadline };
    match command.split_first() {
        Some((word, words)) if word == "keygen" => return keygen::run(words),
        Some((word, words)) if word == "check" => return check::run(words, form),
        Some((word, words)) if word == "bench" => return bench::run(words, form, connection),
        Some((word, words)) if word == "watch" || word == "top" => {
            return watch::run(words, form, connection);
        }
        Some((word, words)) if word == "dump" => return dump::dump(words, connection),
        Some((word, words)) if word == "load" => return dump::load(words, form, connection),
        Some(_) | None => {}
    }
    let task = match client_session::task(form, &command, &mut Terminal::standard("> ")) {
        Ok(task) => task,
        Err(code) => return Ok(code),
    };
    let view_server = connection.whom(None, None)?;
    let keys = connection.keys(None)?;
    let options = ClientOptions { deadline, keys, ..ClientOptions::new(view_server) };
    runtime()?.block_on(async {
        let client = Client::connect_with(options).await.map_err(CliError::failed)?;
        client_session::run(client, form, task).await
    })
}
