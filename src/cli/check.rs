//! `client check HISTORY.jsonl`: says whether a recorded history is linearizable.
//!
//! The judgement is [`history::check()`]'s; here is only what is read and printed. It needs no
//! cluster and no hosts file.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | linearizable |
//! | 1 | a violation, or undecided |
//! | 2 | the file cannot be read |

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;

use crate::cli::CliError;
use crate::cli::client_answer::Form;
use crate::history::{self, Action, Event, Outcome, Verdict, Violation, lines};

/// Says whether a recorded history is linearizable.
#[derive(Parser, Debug)]
#[command(name = "client check", disable_version_flag = true)]
struct Flags {
    /// What `client bench --history` recorded
    #[arg(value_name = "HISTORY")]
    file: PathBuf,
    /// Steps of search a key after which it stays undecided
    #[arg(long, value_name = "STEPS", default_value = "5000000")]
    budget: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Carries out the command. `words` are those behind `check`.
///
/// # Errors
/// When the file cannot be read, or is no history.
pub fn run(words: &[String], form: Form) -> Result<ExitCode, CliError> {
    let name = ["client check".to_owned()];
    let flags = match Flags::try_parse_from(name.iter().chain(words)) {
        Ok(flags) => flags,
        Err(error) => return Ok(super::tell_usage(&error)),
    };
    let history = read(&flags.file)?;
    let verdict = history::check(&history, flags.budget);
    let form = if flags.json { Form::Json } else { form };
    let text = match form {
        Form::Text | Form::Line => text(&Counts::of(&history), &verdict),
        Form::Json => json(&Counts::of(&history), &verdict),
    };
    let told = writeln!(std::io::stdout(), "{text}");
    let is_good = verdict == Verdict::Linearizable && told.is_ok();
    Ok(ExitCode::from(u8::from(!is_good)))
}

fn read(path: &Path) -> Result<Vec<Event>, CliError> {
    let name = path.display();
    let file = File::open(path).map_err(|error| {
        CliError::Misused(format!(
            "{name} cannot be opened: {error}; give a file that client bench --history wrote"
        ))
    })?;
    let history = lines::read(BufReader::new(file))
        .map_err(|error| CliError::Misused(format!("{name}: {error}")))?;
    if history.is_empty() {
        let problem = "holds no operation, which would prove nothing; record one with client \
                       bench --history";
        return Err(CliError::Misused(format!("{name} {problem}")));
    }
    Ok(history)
}

/// What a history holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
struct Counts {
    operations: usize,
    puts: usize,
    appends: usize,
    removes: usize,
    gets: usize,
    clients: usize,
    keys: usize,
    not_executed: usize,
    unknown: usize,
}

impl Counts {
    fn of(history: &[Event]) -> Counts {
        let mut counts = Counts { operations: history.len(), ..Counts::default() };
        let (mut clients, mut keys) = (HashSet::new(), HashSet::new());
        for event in history {
            match event.action {
                Action::Put(_) => counts.puts += 1,
                Action::Append(_) => counts.appends += 1,
                Action::Remove => counts.removes += 1,
                Action::Get(_) => counts.gets += 1,
            }
            match event.outcome {
                Outcome::Ok => {}
                Outcome::NotExecuted => counts.not_executed += 1,
                Outcome::Unknown => counts.unknown += 1,
            }
            clients.insert(event.client);
            keys.insert(&event.key);
        }
        (counts.clients, counts.keys) = (clients.len(), keys.len());
        counts
    }
}

fn text(counts: &Counts, verdict: &Verdict) -> String {
    let counted = format!(
        "{} operations of {} clients on {} keys: {} puts, {} appends, {} removes, {} gets;\n\
         {} were not executed, and of {} the outcome is unknown.",
        counts.operations,
        counts.clients,
        counts.keys,
        counts.puts,
        counts.appends,
        counts.removes,
        counts.gets,
        counts.not_executed,
        counts.unknown,
    );
    match verdict {
        Verdict::Linearizable => format!("linearizable\n{counted}"),
        Verdict::Violation(violation) => format!("NOT linearizable\n{counted}\n\n{violation}"),
        Verdict::Unknown { keys, budget } => {
            let shown: Vec<String> =
                keys.iter().take(10).map(|key| format!("{:?}", &*key.0)).collect();
            format!(
                "undecided\n{counted}\n\nNothing wrong was found, but the search was not over \
                 after {budget} steps for {} of the keys: {}{}.\nAllow more with --budget, or \
                 record fewer operations a key (more --keys, fewer --clients).",
                keys.len(),
                shown.join(", "),
                if keys.len() > shown.len() { ", .." } else { "" },
            )
        }
    }
}

/// The verdict as a program reads it. Fields stand in this order.
#[derive(Serialize)]
struct Json<'a> {
    command: &'a str,
    verdict: &'a str,
    counts: &'a Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    violation: Option<JsonViolation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undecided_keys: Option<Vec<&'a str>>,
    ok: bool,
}

#[derive(Serialize)]
struct JsonViolation<'a> {
    key: &'a str,
    why: &'a str,
    /// Lines of the file, in the order in which `why` counts.
    lines: Vec<usize>,
}

impl<'a> JsonViolation<'a> {
    fn of(violation: &'a Violation) -> Self {
        let lines = violation.operations.iter().map(|involved| involved.place + 1).collect();
        JsonViolation { key: &violation.key.0, why: &violation.why, lines }
    }
}

fn json(counts: &Counts, verdict: &Verdict) -> String {
    let (word, violation, undecided_keys) = match verdict {
        Verdict::Linearizable => ("linearizable", None, None),
        Verdict::Violation(violation) => ("violation", Some(JsonViolation::of(violation)), None),
        Verdict::Unknown { keys, .. } => {
            ("undecided", None, Some(keys.iter().map(|key| &*key.0).collect()))
        }
    };
    let ok = *verdict == Verdict::Linearizable;
    let json = Json { command: "check", verdict: word, counts, violation, undecided_keys, ok };
    serde_json::to_string(&json).expect("texts and numbers under text keys are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"client":1,"op":"put","key":"a","value":"x","call":1,"return":2,"outcome":"ok"}
{"client":2,"op":"append","key":"b","value":"y","call":1,"outcome":"unknown"}
{"client":1,"op":"get","key":"a","call":3,"return":4,"outcome":"ok","list":["x"]}
"#;
    const STALE: &str = r#"{"client":1,"op":"get","key":"a","call":5,"return":6,"outcome":"ok","list":null}
"#;

    fn both(history: &str, budget: u64) -> [String; 2] {
        let history = lines::read(history.as_bytes()).unwrap();
        let verdict = history::check(&history, budget);
        let counts = Counts::of(&history);
        [text(&counts, &verdict), json(&counts, &verdict)]
    }

    #[test]
    fn a_good_history_is_counted() {
        let [text, json] = both(GOOD, 1_000);
        assert_eq!(
            text,
            "linearizable\n3 operations of 2 clients on 2 keys: 1 puts, 1 appends, 0 removes, \
             1 gets;\n0 were not executed, and of 1 the outcome is unknown."
        );
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["ok"], &json["counts"]["unknown"]), (&true.into(), &1.into()));
    }

    #[test]
    fn a_violation_names_the_key_and_the_lines() {
        let [text, json] = both(&format!("{GOOD}{STALE}"), 1_000);
        assert!(text.starts_with("NOT linearizable\n"), "{text}");
        assert!(text.contains("\nkey \"a\": "), "{text}");
        assert!(text.contains("line 4: client 1: get returned null"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["ok"], &json["violation"]["key"]), (&false.into(), &"a".into()));
        assert!(json["violation"]["lines"].as_array().unwrap().contains(&4.into()), "{json}");
    }

    #[test]
    fn an_undecided_history_says_what_to_do() {
        let [text, json] = both(GOOD, 0);
        assert!(text.starts_with("undecided\n"), "{text}");
        assert!(text.contains("after 0 steps for 1 of the keys: \"a\".\nAllow more"), "{text}");
        assert!(json.contains(r#""undecided_keys":["a"],"ok":false"#), "{json}");
    }

    #[test]
    fn an_unreadable_file_is_named_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.jsonl");
        let complaint = || read(&path).unwrap_err().to_string();
        assert!(complaint().contains("h.jsonl cannot be opened: "));
        std::fs::write(&path, "").unwrap();
        assert!(complaint().contains("h.jsonl holds no operation"));
        std::fs::write(&path, &GOOD[..GOOD.len() - 20]).unwrap();
        assert!(complaint().contains("h.jsonl: line 3, the last one, ends in the middle"));
    }
}
