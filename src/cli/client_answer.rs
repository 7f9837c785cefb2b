//! What the client prints: a line for people, or a JSON object for programs.
//!
//! Both forms are made of the same result. People also find the reason of a failure on stderr, in
//! either form.

use serde::Serialize;

use crate::cli::client_command::{detail, word_and_key};
use crate::cli::terminal::printable;
use crate::cli::typed::{Mistake, Usage, help, help_on};
use crate::kv::command::{Command, Key, Value};
use crate::protocol::client::{Action, Completed, Failure, FailureOutcome};

/// The form of answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// For people: a line; a line a key where there are several.
    Text,
    /// For a script that reads a line an answer, always.
    Line,
    /// One JSON object a command.
    Json,
}

/// What goes where.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Printed {
    /// The answer, without the end of its line; none if stdout stays silent.
    pub output: Option<String>,
    /// What stderr is told.
    pub errors: Option<String>,
}

/// An answer as a program reads it. Fields stand in this order.
#[derive(Serialize)]
struct Json<'a> {
    /// The word typed; `null` for a line that could not be read.
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    /// Of `get`, the list or `null` for a missing key; of `exists`, `len` and `incr` what they
    /// returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<JsonValue<'a>>,
    /// Of `keys`.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<&'a str>,
    /// Of `keys`, what was found; of `mput`, what was put.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<&'a str>>,
    /// Of `mget`, in the order of its keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<JsonEntry<'a>>>,
    /// Of `cas`: whether the list was the expected one.
    #[serde(skip_serializing_if = "Option::is_none")]
    swapped: Option<bool>,
    /// Of a `cas` that has found another list: its length, 0 for a missing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    len: Option<u64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    view: Option<JsonView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Vec<String>>,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum JsonValue<'a> {
    List(Option<Vec<&'a str>>),
    Truth(bool),
    Length(u64),
    Number(i64),
}

#[derive(Serialize)]
struct JsonEntry<'a> {
    key: &'a str,
    value: Option<Vec<&'a str>>,
}

#[derive(Serialize)]
struct JsonView<'a> {
    primary: Option<&'a str>,
    backup: Option<&'a str>,
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<&'a str>,
}

impl<'a> Json<'a> {
    /// A success without content.
    fn new(command: Option<&'a str>) -> Self {
        Json {
            command,
            key: None,
            value: None,
            prefix: None,
            keys: None,
            entries: None,
            swapped: None,
            len: None,
            view: None,
            usage: None,
            ok: true,
            error: None,
            outcome: None,
        }
    }

    fn line(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers under text keys are always JSON")
    }
}

/// The answer to an operation.
#[must_use]
pub fn of_action(form: Form, action: &Action, result: &Result<Completed, Failure>) -> Printed {
    let (word, _) = word_and_key(action);
    let output = match form {
        Form::Json => json(action, result),
        Form::Text | Form::Line => match result {
            Ok(completed) => text(form, action, completed),
            Err(_) => format!("unable to execute {word}"),
        },
    };
    let errors = match result {
        Err(failure) => Some(printable(&failure.to_string()).into_owned()),
        // A missing primary is an answer, but one that raises the next question.
        Ok(Completed::View(shown)) if shown.primary.is_none() => {
            let waiting = shown.waiting.as_ref();
            waiting.map(|waiting| format!("waiting: {}", printable(waiting)))
        }
        Ok(
            Completed::View(_)
            | Completed::List(_)
            | Completed::Lists(_)
            | Completed::Exists(_)
            | Completed::Length(_)
            | Completed::Keys(_)
            | Completed::Snapshot(_)
            | Completed::Number(_)
            | Completed::Mismatch(_)
            | Completed::Written,
        ) => None,
    };
    // A listing without a line is not even an empty one; one of the empty key is an empty line.
    let is_nothing =
        matches!(result, Ok(Completed::Keys(page)) if page.keys.is_empty()) && form == Form::Text;
    Printed { output: (!is_nothing).then_some(output), errors }
}

/// The exit code of one operation on the command line: 0 done, 1 not executed, 3 executed, and the
/// answer is no.
#[must_use]
pub fn exit_code(result: &Result<Completed, Failure>) -> u8 {
    match result {
        Err(_) => 1,
        Ok(Completed::Mismatch(_) | Completed::Exists(false)) => 3,
        Ok(
            Completed::View(_)
            | Completed::List(_)
            | Completed::Lists(_)
            | Completed::Exists(true)
            | Completed::Length(_)
            | Completed::Keys(_)
            | Completed::Snapshot(_)
            | Completed::Number(_)
            | Completed::Written,
        ) => 0,
    }
}

/// The answer to a line that is not a command.
#[must_use]
pub fn of_mistake(form: Form, word: Option<&str>, mistake: &Mistake) -> Printed {
    let errors = mistake.to_string();
    let output = match form {
        Form::Text | Form::Line => None,
        Form::Json => {
            let mut json = Json::new(word);
            json.ok = false;
            json.error = Some(errors.replace('\n', "; "));
            json.outcome = Some("not_executed");
            Some(json.line())
        }
    };
    Printed { output, errors: Some(errors) }
}

/// The answer to `help`, with these commands.
#[must_use]
pub fn of_help(form: Form, usages: &[Usage]) -> Printed {
    let output = match form {
        Form::Text | Form::Line => help(usages),
        Form::Json => {
            let mut json = Json::new(Some("help"));
            json.usage = Some(usages.iter().map(Usage::line).collect());
            json.line()
        }
    };
    Printed { output: Some(output), errors: None }
}

/// The answer to `help COMMAND`.
#[must_use]
pub fn of_help_on(form: Form, usage: &Usage) -> Printed {
    match form {
        Form::Text | Form::Line => {
            Printed { output: Some(help_on(usage, detail(usage.word))), errors: None }
        }
        Form::Json => of_help(form, std::slice::from_ref(usage)),
    }
}

fn text(form: Form, action: &Action, completed: &Completed) -> String {
    let (word, key) = word_and_key(action);
    let key = printable(key.map_or("", |key| &key.0));
    match completed {
        Completed::Written => format!("{word} completed"),
        Completed::View(shown) => printable(&shown.to_string()).into_owned(),
        Completed::List(None) => format!("{word} {key} returned null"),
        Completed::List(Some(values)) => format!("{word} {key} returned {}", joined(values)),
        Completed::Exists(exists) => format!("{word} {key} returned {exists}"),
        Completed::Length(length) => format!("{word} {key} returned {length}"),
        Completed::Number(number) => format!("{word} {key} returned {number}"),
        Completed::Mismatch(0) => format!("{word} failed: {key} is missing"),
        Completed::Mismatch(1) => format!("{word} failed: {key} has another list, of 1 element"),
        Completed::Mismatch(length) => {
            format!("{word} failed: {key} has another list, of {length} elements")
        }
        // Read by `dump` alone, which has a form of its own.
        Completed::Snapshot(page) => format!("{word} read operation {}", page.at),
        Completed::Keys(page) => {
            listing(form, word, page.keys.iter().map(|key| printable(&key.0).into()))
        }
        Completed::Lists(lists) => {
            let line = |(key, list): (&Key, &Option<Vec<Value>>)| {
                let key = printable(&key.0);
                match list {
                    None => format!("{key} : null"),
                    Some(values) => format!("{key} : [{}]", joined(values)),
                }
            };
            listing(form, word, asked_keys(action).iter().zip(lists).map(line))
        }
    }
}

fn joined(values: &[Value]) -> String {
    values.iter().map(|value| printable(&value.0)).collect::<Vec<_>>().join(", ")
}

/// What there are several of: a line each, or all in one line.
fn listing(form: Form, word: &str, items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match form {
        Form::Text => items.join("\n"),
        Form::Line | Form::Json if items.is_empty() => format!("{word} returned nothing"),
        Form::Line | Form::Json => format!("{word} returned {}", items.join(", ")),
    }
}

/// The keys of an `mget`.
fn asked_keys(action: &Action) -> &[Key] {
    if let Action::Mget(keys) = action { keys } else { &[] }
}

fn texts(values: &[Value]) -> Vec<&str> {
    values.iter().map(|value| &*value.0).collect()
}

fn json(action: &Action, result: &Result<Completed, Failure>) -> String {
    let (word, key) = word_and_key(action);
    let mut json = Json::new(Some(word));
    json.key = key.map(|key| &*key.0);
    match action {
        Action::Keys { prefix, .. } => json.prefix = Some(&prefix.0),
        Action::Write(Command::Mput { entries }) => {
            json.keys = Some(entries.iter().map(|(key, _)| &*key.0).collect());
        }
        Action::Write(Command::Cas(_)) if result.is_ok() => {
            json.swapped = Some(matches!(result, Ok(Completed::Written)));
        }
        Action::Write(_)
        | Action::Get(_)
        | Action::Mget(_)
        | Action::Exists(_)
        | Action::Len(_)
        | Action::Snapshot(_)
        | Action::View => {}
    }
    match result {
        Ok(Completed::Written | Completed::Snapshot(_)) => (),
        Ok(Completed::List(list)) => {
            json.value = Some(JsonValue::List(list.as_deref().map(texts)));
        }
        Ok(Completed::Exists(exists)) => json.value = Some(JsonValue::Truth(*exists)),
        Ok(Completed::Length(length)) => json.value = Some(JsonValue::Length(*length)),
        Ok(Completed::Number(number)) => json.value = Some(JsonValue::Number(*number)),
        Ok(Completed::Mismatch(length)) => json.len = Some(*length),
        Ok(Completed::Keys(page)) => {
            json.keys = Some(page.keys.iter().map(|key| &*key.0).collect());
        }
        Ok(Completed::Lists(lists)) => {
            let mut entries = Vec::new();
            for (key, list) in asked_keys(action).iter().zip(lists) {
                entries.push(JsonEntry { key: &key.0, value: list.as_deref().map(texts) });
            }
            json.entries = Some(entries);
        }
        Ok(Completed::View(shown)) => {
            json.view = Some(JsonView {
                primary: shown.primary.as_ref().map(|member| &*member.id.0),
                backup: shown.backup.as_ref().map(|member| &*member.id.0),
                number: shown.view.number,
                waiting: shown.waiting.as_deref(),
            });
        }
        Err(failure) => {
            json.ok = false;
            json.error = Some(failure.to_string());
            json.outcome = Some(match failure.outcome {
                FailureOutcome::NotExecuted => "not_executed",
                FailureOutcome::Unknown => "unknown",
            });
        }
    }
    json.line()
}

#[cfg(test)]
mod tests;
