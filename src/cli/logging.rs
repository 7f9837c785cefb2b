//! Logs: to stderr, filtered by `RUST_LOG`, as text or JSON.
//!
//! stdout carries answers only. Colour appears on a terminal only, and never with `NO_COLOR`.
//!
//! # Events
//!
//! Every line of level info and above has a field `event` with one of these names, which stay what
//! they are; the text of a line is for people and may change. With `--log-format json` the fields
//! stand beside `timestamp`, `level`, `message` and `target`. A view is written EPOCH.NUMBER, and
//! `0.0` before the first one.
//!
//! | event | level | of | fields | when |
//! | --- | --- | --- | --- | --- |
//! | `listening` | info | servers | address | it can be reached |
//! | `keys` | info | all | file | with which keys datagrams are sealed and opened |
//! | `datagram_refused` | warn | all | reason, from | a datagram came that no key of ours has sealed; once in a while, with a count |
//! | `metrics_listening` | info | servers | address | metrics can be had there |
//! | `keys` | info | servers, client | file | datagrams are sealed with the keys of this file |
//! | `datagram_refused` | warn | all | reason, from | a datagram was not sealed as it has to be; not every one is logged |
//! | `leaving` | info | servers | | a signal arrived, or `quit` was typed |
//! | `view_change` | info | view server | old_view, new_view, reason, phase, primary, backup, joining | a new view was drawn: once a view |
//! | `view_active` | info | view server | as above | a view that was only proposed is in force |
//! | `record_outdated` | warn | view server | view | a server knows more than the record: it is recovered |
//! | `superseded` | error | view server | | another view server has taken over; this one ends |
//! | `server_refused` | warn | view server | address, holder | a second process with an id in use |
//! | `role_change` | info | kv server | old_view, new_view, phase, old_role, role | a record was adopted that gives it another role |
//! | `view_adopted` | info | kv server | as above | a record was adopted that leaves it its role |
//! | `incarnation_renewed` | warn | kv server | former, incarnation | it began again, because what it had promised could not be kept otherwise |
//! | `foreign_history` | error | kv server | ours, theirs | it holds a copy of another history and takes no part |
//! | `copies_differ` | error | kv server | operation, theirs, ours | the digests differ at the same operation |
//! | `copy_missing` | error | kv server | view | it was named primary without a copy: a bug |
//! | `joiner_too_small` | warn | kv server | joiner, bytes, limit | a joiner may take less memory than the data does, and is turned away |
//! | `transfer` | info | kv server | joiner, percent, keys, of, keys_per_second | a state transfer that takes long has come so far |
//! | `server_found` | info | view server | server, address | a server is heard for the first time, or again |
//! | `server_restarted` | info | view server | server, address | another process answers under its id |
//! | `server_lost` | warn | view server | server, address, silent | a server has not answered for dead-after |
//! | `no_primary` | warn | view server | | nobody serves, and why |
//! | `waiting` | info | view server | | what is missing until two copies are synced |
//! | `complete` | info | view server | | two copies, both synced |
//! | `observer_ended` | error | client | error | the task that asks for `client watch` has ended |
//! | `record_waits` | error | view server | | no room for the record: nothing is decided until there is |
//! | `record_written` | info | view server | | there is room again, and the record is durable |
//! | `timer_stuck` | error | all | | a timer did not advance: a bug |
//! | `client_ended` | error | client library | error | the task that drives the client has ended |
//!
//! The reasons of view changes are the words of [`Cause`](crate::protocol::counts::Cause), as in the
//! metric `pbkv_view_changes_total`.

use std::ffi::OsString;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::CliError;
use crate::cli::above::LogWriter;
use crate::cli::flags::LogFormat;
use crate::cli::log_line::ForPeople;
use crate::cli::style::Style;

/// Starts logging in this process. `default` is the filter when `RUST_LOG` is unset or empty.
///
/// # Errors
/// When `RUST_LOG` cannot be understood.
pub fn start(format: LogFormat, default: &str) -> Result<(), CliError> {
    let filter = filter(std::env::var_os("RUST_LOG"), default)?;
    // A log line that cannot be written is lost. Told about internal errors, the subscriber would
    // complain by `eprintln!`, which panics when stderr is closed.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LogWriter)
        .with_ansi(false)
        .log_internal_errors(false);
    let style = Style::of(&std::io::stderr());
    match format {
        LogFormat::Text if std::io::stderr().is_terminal() => {
            subscriber.event_format(ForPeople(style)).init();
        }
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(())
}

fn filter(variable: Option<OsString>, default: &str) -> Result<EnvFilter, CliError> {
    let variable = variable.filter(|value| !value.is_empty());
    let directives = match &variable {
        None => default,
        Some(value) => value.to_str().ok_or_else(|| bad_filter(value, "it is not UTF-8"))?,
    };
    EnvFilter::try_new(directives).map_err(|error| bad_filter(directives.as_ref(), error))
}

fn bad_filter(value: &std::ffi::OsStr, cause: impl std::fmt::Display) -> CliError {
    let value = value.to_string_lossy();
    CliError::Misused(format!(
        "RUST_LOG=\"{value}\" is not a filter: {cause}; write a level such as info or debug, or \
         unset it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All files of the sources, with their names.
    fn sources(folder: &std::path::Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.display().to_string(), text));
            }
        }
    }

    #[test]
    fn every_event_that_is_logged_is_in_the_table_and_the_other_way_round() {
        let rows = include_str!("logging.rs").lines().filter_map(|line| {
            let cells = line.strip_prefix("//! | `")?;
            cells.split('`').next()
        });
        let listed: std::collections::BTreeSet<&str> = rows.collect();
        let mut files = Vec::new();
        sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        let mut logged = std::collections::BTreeSet::new();
        for (name, text) in &files {
            for start in ["info!(", "warn!(", "error!("] {
                // What stands in a text, as here, is no call.
                let calls = text.match_indices(start).filter(|(at, _)| {
                    !text[..*at].rsplit('\n').next().unwrap_or_default().contains('"')
                });
                for (at, _) in calls {
                    let call = text[at + start.len()..].trim_start();
                    let call = call.strip_prefix("event = ").unwrap_or_else(|| {
                        panic!("a line of {name} is logged without an event: {}", &call[..60])
                    });
                    let value = call.split(&[',', '\n'][..]).next().unwrap_or_default();
                    logged.extend(value.split('"').skip(1).step_by(2));
                }
            }
        }
        assert_eq!(logged, listed);
    }

    #[test]
    fn an_unset_or_empty_filter_is_the_default() {
        assert_eq!(filter(None, "warn").unwrap().to_string(), "warn");
        assert_eq!(filter(Some("".into()), "info").unwrap().to_string(), "info");
        assert_eq!(filter(Some("debug".into()), "info").unwrap().to_string(), "debug");
    }

    #[test]
    fn nonsense_in_the_filter_is_named() {
        let error = filter(Some("pbkv=loud=very".into()), "info").unwrap_err();
        assert!(error.to_string().contains("RUST_LOG=\"pbkv=loud=very\""), "{error}");
    }
}
