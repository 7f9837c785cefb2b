//! What people and scripts see: flags, lines typed, answers, exit codes.
//!
//! Reading order: [`flags`] and [`setup`] (what a program is told, and what it makes of the hosts
//! file), [`logging`] and [`log_line`], [`metrics`], [`notify`], [`generate`], [`words`], [`lines`],
//! [`typed`] and [`terminal`] (lines in, lines out), [`mod@editor`], [`blame`], [`above`] and
//! [`style`] (what only a person sees), [`serve`] (the frame of both servers), [`view_console`],
//! [`kv_console`], [`client_command`], [`client_answer`], [`client_session`]; then the commands of the
//! client that are no operations: [`mod@bench`], [`check`], [`dump`], [`keygen`] and [`watch`].
//!
//! Parsing and formatting are pure functions. Lines are read, and answers written, by a thread of
//! their own: a reader that does not read its pipe stops that thread and never the protocol.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | an operation could not be executed, or the program could not go on |
//! | 2 | wrong usage or configuration; stderr names what, where, and the remedy |
//! | 3 | of the client's `cas` and `exists` on the command line: executed, and the answer is no |
//! | 143 | the client at a terminal was ended by SIGTERM |

pub mod above;
pub mod bench;
pub mod blame;
pub mod check;
pub mod client_answer;
pub mod client_command;
pub mod client_session;
pub mod dump;
pub mod editor;
pub mod flags;
pub mod generate;
pub mod keygen;
pub mod kv_console;
pub mod lines;
pub mod log_line;
pub mod logging;
pub mod metrics;
pub mod notify;
pub mod serve;
pub mod setup;
pub mod style;
pub mod terminal;
pub mod typed;
pub mod view_console;
pub mod watch;
pub mod words;

use std::fmt::Display;
use std::process::ExitCode;

use thiserror::Error;

/// Version and commit (the latter of released programs that were built from a git checkout).
pub const VERSION: &str = env!("PBKV_VERSION");

/// Why a program ends early.
#[derive(Debug, Error)]
pub enum CliError {
    /// Wrong usage or configuration. Exit code 2.
    #[error("{0}")]
    Misused(String),
    /// It could not start, or could not go on. Exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// Wrong usage or configuration, in the words of this error.
    pub fn misused(error: impl Display) -> Self {
        CliError::Misused(error.to_string())
    }

    /// Something that could not be done, in the words of this error.
    pub fn failed(error: impl Display) -> Self {
        CliError::Failed(error.to_string())
    }
}

/// Turns the end of a program into its exit code, and tells stderr why.
pub fn exit(program: &str, result: Result<ExitCode, CliError>) -> ExitCode {
    let (code, error) = match result {
        Ok(code) => {
            above::flush();
            return code;
        }
        Err(error @ CliError::Misused(_)) => (2, error),
        Err(error @ CliError::Failed(_)) => (1, error),
    };
    above::print_line(&format!("{program}: {error}"));
    above::flush();
    ExitCode::from(code)
}

/// Prints what clap says of the words behind a command, help or a mistake, and says the exit code.
fn tell_usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to be told when the stream is closed.
    let _ = error.print();
    ExitCode::from(u8::from(error.use_stderr()) * 2)
}

/// The runtime of every program: one thread drives the protocol, because waking a second one costs
/// more than it could do.
///
/// # Errors
/// When the system refuses what it needs.
pub fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))
}
