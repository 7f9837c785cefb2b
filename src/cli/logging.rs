//! Logs: to stderr, filtered by `RUST_LOG`, as text or JSON.
//!
//! stdout carries answers only. Colour appears on a terminal only, and never with `NO_COLOR`.

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
