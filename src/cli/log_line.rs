//! A log line for a person at a terminal: the time of day, what happened, and the details dim.
//!
//! What is for programs stays as it is: without a terminal, and with `--log-format json`, lines
//! have all their fields in the library's own form.

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::style::Style;
use crate::cli::terminal::printable;

/// Fields that a program looks for, and whose content the message says in words.
const FOR_PROGRAMS: [&str; 3] = ["event", "old_role", "role"];

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct ForPeople(pub Style);

impl<S, N> FormatEvent<S, N> for ForPeople
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut seen = Seen::default();
        event.record(&mut seen);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = time_of_day(now.as_millis());
        writeln!(writer, "{}", line(self.0, &time, *event.metadata().level(), &seen))
    }
}

fn line(style: Style, time: &str, level: Level, seen: &Seen) -> String {
    let message = printable(&seen.message);
    let message = match level {
        Level::ERROR => style.bad(&message),
        Level::WARN => style.doubtful(&message),
        _ => message.into_owned(),
    };
    let word = match level {
        Level::ERROR => style.bad("ERROR "),
        Level::WARN => style.doubtful("WARN "),
        Level::INFO => String::new(),
        _ => style.dim(&format!("{level} ")),
    };
    let mut line = format!("{} {word}{message}", style.dim(time));
    if let Some(percent) = seen.percent {
        line.push(' ');
        line.push_str(&bar(percent));
    }
    if !seen.details.is_empty() {
        line.push_str("  ");
        line.push_str(&style.dim(&printable(&seen.details)));
    }
    line
}

/// `[#####---------------] 25%`
#[must_use]
pub fn bar(percent: u64) -> String {
    let percent = percent.min(100);
    let full = usize::try_from(percent / 5).unwrap_or(20);
    format!("[{}{}] {percent}%", "#".repeat(full), "-".repeat(20 - full))
}

/// Of the day in universal time, as the other form of logs has it.
fn time_of_day(millis: u128) -> String {
    let of_day = millis % 86_400_000;
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    format!("{:02}:{:02}:{:02}.{millis:03}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// What an event holds.
#[derive(Default)]
struct Seen {
    message: String,
    percent: Option<u64>,
    details: String,
}

impl Visit for Seen {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "percent" {
            self.percent = Some(value);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a text cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name if FOR_PROGRAMS.contains(&name) => Ok(()),
            name => {
                let space = if self.details.is_empty() { "" } else { " " };
                write!(self.details, "{space}{name}={value:?}")
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_message_first_and_the_details_behind_it() {
        let seen = Seen {
            message: "s3 receives the state".to_owned(),
            percent: Some(40),
            details: "view=1.4".to_owned(),
        };
        assert_eq!(
            line(Style::PLAIN, "12:00:00.000Z", Level::INFO, &seen),
            "12:00:00.000Z s3 receives the state [########------------] 40%  view=1.4"
        );
        let seen = Seen { message: "a\nb".to_owned(), ..Seen::default() };
        assert_eq!(line(Style::PLAIN, "T", Level::WARN, &seen), "T WARN a\\nb");
        let coloured = line(Style::COLOURED, "T", Level::ERROR, &seen);
        assert!(coloured.contains("\x1b[31ma\\nb\x1b[0m"), "{coloured}");
    }

    #[test]
    fn the_time_is_that_of_the_day() {
        assert_eq!(time_of_day(86_400_000 * 3 + 3_723_004), "01:02:03.004Z");
    }
}
