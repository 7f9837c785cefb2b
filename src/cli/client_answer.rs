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
mod tests {
    use super::*;
    use crate::cli::client_command::{Typed, parse};
    use crate::protocol::client::FailureReason;
    use crate::protocol::message::KeysPage;
    use crate::protocol::view::{Member, Shown};
    use crate::types::{Epoch, Incarnation, ServerId, ViewId};

    /// stdout of a command in both forms.
    fn both(words: &str, result: &Result<Completed, Failure>) -> [String; 2] {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let Ok(Typed::Act(action)) = parse(&words) else { panic!("{words:?}") };
        [Form::Text, Form::Json].map(|form| of_action(form, &action, result).output.unwrap())
    }

    /// stdout of a command in a script.
    fn line(words: &str, result: &Result<Completed, Failure>) -> String {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let Ok(Typed::Act(action)) = parse(&words) else { panic!("{words:?}") };
        of_action(Form::Line, &action, result).output.unwrap()
    }

    fn list(values: &[&str]) -> Result<Completed, Failure> {
        Ok(Completed::List(Some(values.iter().map(|value| Value::from(*value)).collect())))
    }

    #[test]
    fn completed_writes_say_so() {
        for word in ["put", "append"] {
            assert_eq!(
                both(&format!("{word} a 1"), &Ok(Completed::Written)),
                [
                    format!("{word} completed"),
                    format!(r#"{{"command":"{word}","key":"a","ok":true}}"#),
                ]
            );
        }
        assert_eq!(
            both("remove a", &Ok(Completed::Written)),
            ["remove completed", r#"{"command":"remove","key":"a","ok":true}"#,]
        );
    }

    #[test]
    fn a_list_is_shown_with_its_key() {
        assert_eq!(
            both("get a", &list(&["1", "2"])),
            ["get a returned 1, 2", r#"{"command":"get","key":"a","value":["1","2"],"ok":true}"#,]
        );
        assert_eq!(
            both("get a", &list(&[""])),
            ["get a returned ", r#"{"command":"get","key":"a","value":[""],"ok":true}"#,]
        );
        assert_eq!(
            both("get a", &Ok(Completed::List(None))),
            ["get a returned null", r#"{"command":"get","key":"a","value":null,"ok":true}"#,]
        );
    }

    #[test]
    fn a_number_and_a_truth_are_shown_with_their_key() {
        assert_eq!(
            both("len a", &Ok(Completed::Length(3))),
            ["len a returned 3", r#"{"command":"len","key":"a","value":3,"ok":true}"#]
        );
        assert_eq!(
            both("incr a -4", &Ok(Completed::Number(-2))),
            ["incr a returned -2", r#"{"command":"incr","key":"a","value":-2,"ok":true}"#]
        );
        let missing = Ok(Completed::Exists(false));
        assert_eq!(
            both("exists a", &missing),
            [
                "exists a returned false",
                r#"{"command":"exists","key":"a","value":false,"ok":true}"#
            ]
        );
        assert_eq!([exit_code(&missing), exit_code(&Ok(Completed::Exists(true)))], [3, 0]);
    }

    #[test]
    fn a_failed_cas_is_an_answer_and_no_error() {
        assert_eq!(
            both("cas a 1 2", &Ok(Completed::Written)),
            ["cas completed", r#"{"command":"cas","key":"a","swapped":true,"ok":true}"#]
        );
        for (length, text) in [
            (0, "cas failed: a is missing"),
            (1, "cas failed: a has another list, of 1 element"),
            (2, "cas failed: a has another list, of 2 elements"),
        ] {
            let result = Ok(Completed::Mismatch(length));
            let json = format!(
                r#"{{"command":"cas","key":"a","swapped":false,"len":{length},"ok":true}}"#
            );
            assert_eq!(both("cas a 1 2", &result), [text.to_owned(), json]);
            assert_eq!(exit_code(&result), 3);
        }
    }

    #[test]
    fn what_is_about_several_keys_has_a_line_a_key_and_one_line_in_a_script() {
        let list = |texts: &[&str]| Some(texts.iter().map(|text| Value::from(*text)).collect());
        let lists = Ok(Completed::Lists(vec![list(&["1", "2"]), None]));
        assert_eq!(
            both("mget a b", &lists),
            [
                "a : [1, 2]\nb : null",
                r#"{"command":"mget","entries":[{"key":"a","value":["1","2"]},{"key":"b","value":null}],"ok":true}"#
            ]
        );
        assert_eq!(line("mget a b", &lists), "mget returned a : [1, 2], b : null");
        let keys = |keys: &[&str]| {
            let keys = keys.iter().map(|key| Key::from(*key)).collect();
            Ok(Completed::Keys(KeysPage { keys, more: false }))
        };
        assert_eq!(
            both("keys a", &keys(&["a", "a\n"])),
            ["a\na\\n", r#"{"command":"keys","prefix":"a","keys":["a","a\n"],"ok":true}"#]
        );
        assert_eq!(line("keys", &keys(&["a", "b"])), "keys returned a, b");
        assert_eq!(line("keys", &keys(&[])), "keys returned nothing");
        let Ok(Typed::Act(action)) = parse(&["keys".to_owned()]) else { panic!() };
        assert_eq!(of_action(Form::Text, &action, &keys(&[])).output, None, "no line at all");
        let of_empty = of_action(Form::Text, &action, &keys(&[""])).output;
        assert_eq!(of_empty.as_deref(), Some(""), "a line for the key that is the empty text");
        assert_eq!(
            both("mput a 1 b 2", &Ok(Completed::Written)),
            ["mput completed", r#"{"command":"mput","keys":["a","b"],"ok":true}"#]
        );
    }

    #[test]
    fn a_value_with_a_line_end_stays_on_its_line_and_is_exact_in_json() {
        assert_eq!(
            both("get a", &list(&["x\ny", "\u{e9}"])),
            [
                "get a returned x\\ny, \u{e9}",
                "{\"command\":\"get\",\"key\":\"a\",\"value\":[\"x\\ny\",\"\u{e9}\"],\"ok\":true}",
            ]
        );
    }

    #[test]
    fn a_view_shows_none_for_a_missing_member() {
        let s1 = Member {
            id: ServerId::from("s1"),
            incarnation: Incarnation(1),
            address: "127.0.0.1:1".parse().unwrap(),
        };
        let view = ViewId { epoch: Epoch(1, 1), number: 7 };
        let shown = Shown { view, primary: Some(s1), backup: None, waiting: None };
        assert_eq!(
            both("view", &Ok(Completed::View(shown.clone().into()))),
            [
                "primary: s1 backup: none",
                r#"{"command":"view","primary":"s1","backup":null,"number":7,"ok":true}"#,
            ]
        );
        let waiting = Some("s2".to_owned());
        let lost = Ok(Completed::View(Shown { primary: None, waiting, ..shown }.into()));
        assert_eq!(
            both("view", &lost),
            [
                "primary: none backup: none",
                r#"{"command":"view","primary":null,"backup":null,"number":7,"waiting":"s2","ok":true}"#,
            ]
        );
        let printed = of_action(Form::Text, &Action::View, &lost);
        assert_eq!(printed.errors.as_deref(), Some("waiting: s2"));
    }

    #[test]
    fn what_others_say_stays_on_its_line_and_commands_no_terminal() {
        let evil = "x\nprimary: evil\u{1b}[2J".to_owned();
        let reason = FailureReason::NoPrimary(evil.clone());
        let failure = Err(Failure { outcome: FailureOutcome::NotExecuted, reason });
        let printed = of_action(Form::Text, &Action::View, &failure);
        assert!(printed.errors.as_ref().unwrap().contains("x\\nprimary: evil\\u{1b}[2J"));
        let shown = Shown { waiting: Some(evil), ..Shown::default() };
        let printed = of_action(Form::Text, &Action::View, &Ok(Completed::View(shown.into())));
        assert_eq!(printed.errors.as_deref(), Some("waiting: x\\nprimary: evil\\u{1b}[2J"));
    }

    #[test]
    fn a_failure_names_its_outcome() {
        let failure =
            Failure { outcome: FailureOutcome::Unknown, reason: FailureReason::SessionExpired };
        let reason = serde_json::to_string(&failure.to_string()).unwrap();
        for (command, word) in
            [("put a 1", "put"), ("append a 1", "append"), ("remove a", "remove")]
        {
            assert_eq!(
                both(command, &Err(failure.clone())),
                [
                    format!("unable to execute {word}"),
                    format!(
                        r#"{{"command":"{word}","key":"a","ok":false,"error":{reason},"outcome":"unknown"}}"#
                    ),
                ]
            );
        }
        let failure = Failure { outcome: FailureOutcome::NotExecuted, ..failure };
        let [text, json] = both("get a", &Err(failure.clone()));
        assert_eq!(text, "unable to execute get");
        assert!(json.ends_with(r#""outcome":"not_executed"}"#), "{json}");
        assert_eq!(both("view", &Err(failure.clone()))[0], "unable to execute view");
        let printed = of_action(Form::Text, &Action::View, &Err(failure.clone()));
        assert_eq!(printed.errors, Some(failure.to_string()));
    }

    #[test]
    fn a_mistake_is_silent_on_stdout_but_not_in_json() {
        let mistake = parse(&["put".to_owned()]).unwrap_err();
        let printed = of_mistake(Form::Text, Some("put"), &mistake);
        assert_eq!((printed.output, printed.errors), (None, Some(mistake.to_string())));
        let printed = of_mistake(Form::Json, Some("put"), &mistake);
        assert_eq!(
            printed.output.as_deref(),
            Some(
                r#"{"command":"put","ok":false,"error":"Invalid put command; usage: put KEY VALUE","outcome":"not_executed"}"#
            )
        );
    }
}
