//! The file form of a history: JSON, one operation a line, in any order.
//!
//! ```json
//! {"client":3,"op":"append","key":"a","value":"3.17","call":1200,"return":3400,"outcome":"ok"}
//! {"client":1,"op":"get","key":"a","call":3500,"return":3600,"outcome":"ok","list":["3.17"]}
//! {"client":2,"op":"remove","key":"a","call":3700,"outcome":"unknown"}
//! ```
//!
//! | field | meaning |
//! | --- | --- |
//! | `client` | who asked: a number, only shown |
//! | `op` | `put`, `append`, `remove` or `get` |
//! | `key` | text |
//! | `value` | of `put` and `append`: text |
//! | `call`, `return` | nanoseconds on one clock, compared only within the file; `return` may be missing or `null` unless the outcome is `ok` |
//! | `outcome` | `ok`, `not_executed` or `unknown` |
//! | `list` | of a `get` that is `ok`: the texts in order, `null` for a missing key |
//!
//! Unknown fields are ignored. A line that is none of these is an error that names it; so is a
//! last line that was torn off when the recorder was stopped, because whatever else was under way
//! then is missing too, and that is for a person to judge.

use std::io::BufRead;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use super::{Action, Event, Outcome};
use crate::kv::command::{Key, Value};

/// Why a history cannot be read. Lines count from 1.
#[derive(Debug, Error)]
pub enum LineError {
    /// The file could not be read.
    #[error("line {line} cannot be read: {cause}")]
    Unreadable {
        /// The line.
        line: usize,
        /// Why.
        cause: std::io::Error,
    },
    /// The last line ends in the middle.
    #[error(
        "line {line}, the last one, ends in the middle: the recorder was stopped while it wrote. \
         Delete this line; operations that were under way then are missing, so that a value which \
         one of them wrote would count as never written"
    )]
    Torn {
        /// The line.
        line: usize,
    },
    /// A line is not an operation.
    #[error(
        "line {line} is not an operation: {problem}. A line looks like \
         {{\"client\":1,\"op\":\"append\",\"key\":\"a\",\"value\":\"x\",\"call\":10,\"return\":20,\
         \"outcome\":\"ok\"}}; correct or delete it"
    )]
    Garbled {
        /// The line.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Put,
    Append,
    Remove,
    Get,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Ok,
    NotExecuted,
    Unknown,
}

#[derive(Serialize, Deserialize)]
struct Line {
    client: u64,
    op: Op,
    key: Key,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    value: Option<Value>,
    call: u64,
    #[serde(rename = "return", skip_serializing_if = "Option::is_none", default)]
    returned: Option<u64>,
    outcome: Told,
    /// Outside: whether the field is there. Inside: whether the key was.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    list: Option<Option<Vec<Value>>>,
}

/// A field that is there, although it is `null`.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Vec<Value>>>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// The line of an operation, without its end.
#[must_use]
pub fn line(event: &Event) -> String {
    let (op, value, list) = match &event.action {
        Action::Put(value) => (Op::Put, Some(value.clone()), None),
        Action::Append(value) => (Op::Append, Some(value.clone()), None),
        Action::Remove => (Op::Remove, None, None),
        Action::Get(list) => (Op::Get, None, (event.outcome == Outcome::Ok).then(|| list.clone())),
    };
    let outcome = match event.outcome {
        Outcome::Ok => Told::Ok,
        Outcome::NotExecuted => Told::NotExecuted,
        Outcome::Unknown => Told::Unknown,
    };
    let line = Line {
        client: event.client,
        op,
        key: event.key.clone(),
        value,
        call: event.call_ns,
        returned: event.return_ns,
        outcome,
        list,
    };
    serde_json::to_string(&line).expect("texts and numbers under text keys are always JSON")
}

/// Reads a history. The event with index `i` stands in line `i + 1`.
///
/// # Errors
/// When a line cannot be read, or is not an operation.
pub fn read(mut input: impl BufRead) -> Result<Vec<Event>, LineError> {
    let mut events = Vec::new();
    let mut bytes = Vec::new();
    loop {
        let line = events.len() + 1;
        bytes.clear();
        let read = input.read_until(b'\n', &mut bytes);
        if read.map_err(|cause| LineError::Unreadable { line, cause })? == 0 {
            return Ok(events);
        }
        match parse(&bytes) {
            Ok(event) => events.push(event),
            Err(_) if !bytes.ends_with(b"\n") => return Err(LineError::Torn { line }),
            Err(problem) => return Err(LineError::Garbled { line, problem }),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Event, String> {
    let line: Line = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let outcome = match line.outcome {
        Told::Ok => Outcome::Ok,
        Told::NotExecuted => Outcome::NotExecuted,
        Told::Unknown => Outcome::Unknown,
    };
    let is_ok = outcome == Outcome::Ok;
    let value = || line.value.clone().ok_or("the field value is missing");
    let action = match line.op {
        Op::Put => Action::Put(value()?),
        Op::Append => Action::Append(value()?),
        Op::Remove => Action::Remove,
        Op::Get => match line.list {
            None if is_ok => return Err("the field list is missing".to_owned()),
            list => Action::Get(list.flatten()),
        },
    };
    if is_ok && line.returned.is_none() {
        return Err("the outcome is ok, and the field return is missing".to_owned());
    }
    if line.returned.is_some_and(|returned| returned < line.call) {
        return Err("the return is earlier than the call".to_owned());
    }
    Ok(Event {
        client: line.client,
        key: line.key,
        action,
        call_ns: line.call,
        return_ns: line.returned,
        outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Event>, String> {
        read(text.as_bytes()).map_err(|error| error.to_string())
    }

    fn event(action: Action, outcome: Outcome) -> Event {
        let return_ns = (outcome == Outcome::Ok).then_some(9);
        Event { client: 1, key: Key::from("a \"b\"\n"), action, call_ns: 5, return_ns, outcome }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let values = || Some(vec![Value::from("x\ny"), Value::from("")]);
        let events = [
            event(Action::Put(Value::from("")), Outcome::Ok),
            event(Action::Append(Value::from("\u{e9}")), Outcome::Unknown),
            event(Action::Remove, Outcome::NotExecuted),
            event(Action::Get(values()), Outcome::Ok),
            event(Action::Get(None), Outcome::Ok),
            event(Action::Get(None), Outcome::NotExecuted),
        ];
        let text: String = events.iter().map(|event| line(event) + "\n").collect();
        assert_eq!(text.lines().count(), events.len());
        assert_eq!(read_text(&text).unwrap(), events);
        assert!(text.contains(r#""outcome":"ok","list":null}"#), "{text}");
    }

    #[test]
    fn unknown_fields_are_ignored_and_optional_ones_may_be_null() {
        let text = r#"{"x":[1],"outcome":"unknown","call":1,"return":null,"key":"k","op":"put","value":"v","client":2}"#;
        let read = read_text(text).unwrap();
        assert_eq!((read[0].client, read[0].return_ns), (2, None));
        assert_eq!(read[0].action, Action::Put(Value::from("v")));
    }

    #[test]
    fn a_torn_last_line_is_told_from_a_garbled_one() {
        let whole = line(&event(Action::Remove, Outcome::Ok));
        let torn = format!("{whole}\n{}", &whole[..whole.len() / 2]);
        let error = read_text(&torn).unwrap_err();
        assert!(error.starts_with("line 2, the last one, ends in the middle"), "{error}");
        let error = read_text(&format!("{torn}\n{whole}\n")).unwrap_err();
        assert!(error.starts_with("line 2 is not an operation: "), "{error}");
        // Only the end of the line is missing: nothing is lost.
        assert_eq!(read_text(&whole).unwrap().len(), 1);
    }

    #[test]
    fn what_is_missing_or_impossible_is_named() {
        for (text, problem) in [
            (r#"{"client":1,"op":"put","key":"k","call":1,"outcome":"unknown"}"#, "field value"),
            (r#"{"client":1,"op":"get","key":"k","call":1,"return":2,"outcome":"ok"}"#, "list"),
            (r#"{"client":1,"op":"remove","key":"k","call":1,"outcome":"ok"}"#, "return"),
            (r#"{"client":1,"op":"remove","key":"k","call":3,"return":2,"outcome":"ok"}"#, "earl"),
            (r#"{"client":1,"op":"frob","key":"k","call":3,"outcome":"ok"}"#, "frob"),
            (r#"{"client":1,"op":"remove","call":3,"outcome":"ok"}"#, "key"),
            ("", "EOF"),
            ("[1]", "line 1"),
        ] {
            let error = read_text(&format!("{text}\n")).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
