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
            [format!("{word} completed"), format!(r#"{{"command":"{word}","key":"a","ok":true}}"#),]
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
        ["exists a returned false", r#"{"command":"exists","key":"a","value":false,"ok":true}"#]
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
        let json =
            format!(r#"{{"command":"cas","key":"a","swapped":false,"len":{length},"ok":true}}"#);
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
    for (command, word) in [("put a 1", "put"), ("append a 1", "append"), ("remove a", "remove")] {
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
