//! What the client prints: a line for people, or a JSON object for programs.
//!
//! Both forms are made of the same result. People also find the reason of a failure on stderr, in
//! either form.

use serde::Serialize;

use crate::cli::client_command::{more_on, word_and_key};
use crate::cli::terminal::printable;
use crate::cli::typed::{Mistake, Usage, help, help_on};
use crate::protocol::client::{Action, Completed, Failure, FailureOutcome};

/// The form of answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A line for people.
    Text,
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
    /// Of `get`: the list, `null` for a missing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Option<Vec<&'a str>>>,
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
        Form::Text => match result {
            Ok(completed) => text(action, completed),
            Err(_) => format!("unable to execute {word}"),
        },
    };
    let errors = match result {
        Err(failure) => Some(failure.to_string()),
        // A missing primary is an answer, but one that raises the next question.
        Ok(Completed::View(shown)) if shown.primary.is_none() => {
            shown.waiting.as_ref().map(|waiting| format!("waiting: {waiting}"))
        }
        Ok(Completed::View(_) | Completed::List(_) | Completed::Written) => None,
    };
    Printed { output: Some(output), errors }
}

/// The answer to a line that is not a command.
#[must_use]
pub fn of_mistake(form: Form, word: Option<&str>, mistake: &Mistake) -> Printed {
    let errors = mistake.to_string();
    let output = match form {
        Form::Text => None,
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
        Form::Text => help(usages),
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
        Form::Text => Printed { output: Some(help_on(usage, more_on(usage.word))), errors: None },
        Form::Json => of_help(form, std::slice::from_ref(usage)),
    }
}

fn text(action: &Action, completed: &Completed) -> String {
    let (word, key) = word_and_key(action);
    match completed {
        Completed::Written => format!("{word} completed"),
        Completed::View(shown) => shown.to_string(),
        Completed::List(list) => {
            let key = printable(key.map_or("", |key| &key.0));
            let list = match list {
                None => "null".to_owned(),
                Some(values) => {
                    let values: Vec<_> = values.iter().map(|value| printable(&value.0)).collect();
                    values.join(", ")
                }
            };
            format!("get {key} returned {list}")
        }
    }
}

fn json(action: &Action, result: &Result<Completed, Failure>) -> String {
    let (word, key) = word_and_key(action);
    let mut json = Json::new(Some(word));
    json.key = key.map(|key| &*key.0);
    match result {
        Ok(Completed::Written) => (),
        Ok(Completed::List(list)) => {
            json.value =
                Some(list.as_ref().map(|values| values.iter().map(|value| &*value.0).collect()));
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
    use crate::kv::command::Value;
    use crate::protocol::client::FailureReason;
    use crate::protocol::view::{Member, Shown};
    use crate::types::{Epoch, Incarnation, ServerId, ViewId};

    /// stdout of a command in both forms.
    fn both(words: &str, result: &Result<Completed, Failure>) -> [String; 2] {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let Ok(Typed::Act(action)) = parse(&words) else { panic!("{words:?}") };
        [Form::Text, Form::Json].map(|form| of_action(form, &action, result).output.unwrap())
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
