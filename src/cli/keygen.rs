//! `client keygen`: draws a key and prints it as the line of a key file.

use std::fs::File;
use std::io::{Write, stderr, stdout};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::CliError;
use crate::protocol::seal::{KeyKind, key_line};
use crate::runtime::key_file::draw_secret;

/// Draws a key and prints it as the line of a key file.
///
/// Servers and clients with the same file understand one another, and nobody else does. To
/// exchange a key, append a second one to all files, and start each process again with them; then
/// remove the first one likewise.
#[derive(Parser, Debug)]
#[command(name = "client keygen", disable_version_flag = true)]
struct Flags {
    /// A key that lets its holder be a client and nothing else; servers need it besides their own
    #[arg(long)]
    client: bool,
}

/// Carries out the command. `words` are those behind `keygen`.
///
/// # Errors
/// When the system has no random numbers, or the key cannot be written.
pub fn run(words: &[String]) -> Result<ExitCode, CliError> {
    let name = ["client keygen".to_owned()];
    let flags = match Flags::try_parse_from(name.iter().chain(words)) {
        Ok(flags) => flags,
        Err(error) => return Ok(super::tell_usage(&error)),
    };
    let kind = if flags.client { KeyKind::Client } else { KeyKind::Cluster };
    let line = key_line(kind, &draw_secret().map_err(CliError::failed)?);
    writeln!(stdout(), "{line}").map_err(CliError::failed)?;
    if is_exposed() {
        // Nobody is left to be told when stderr is closed.
        let _ = writeln!(
            stderr(),
            "client: others can read this file: chmod 600 it, or no program takes it"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether stdout is a file that others than its owner can use.
fn is_exposed() -> bool {
    let Ok(output) = stdout().as_fd().try_clone_to_owned() else { return false };
    let metadata = File::from(output).metadata();
    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o077 != 0)
}
