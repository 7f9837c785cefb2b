//! Typed lines: words and quotes, the commands of the three programs, and the answers as JSON.
//!
//! Must hold: no panic; a text that was quoted is one word again; what an editor marks lies within
//! the line; a cluster that is asked what was typed gives answers, each one line of JSON, that say
//! what a plain map would say; no console ends before its input does.

use std::collections::BTreeMap;

use pbkv::cli::client_answer::{Form, of_action, of_mistake};
use pbkv::cli::client_command::{self, Typed};
use pbkv::cli::terminal::Terminal;
use pbkv::cli::typed::{Mistake, Usage};
use pbkv::cli::{blame, kv_console, view_console, words};
use pbkv::kv::command::{Command, Key, Value};
use pbkv::protocol::client::{Action, Completed};
use serde_json::{Value as Json, json};

use super::roles::{Situation, World};

/// Lines that one input may type at a cluster: each costs some virtual milliseconds.
const LINES_MAX: usize = 12;

pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    for line in text.split('\n').take(LINES_MAX) {
        words_and_quotes(line);
        for usages in [client_command::USAGES, view_console::USAGES, kv_console::USAGES] {
            marks(line, usages);
        }
    }
    match kind % 4 {
        0 => {}
        1 => view(rest),
        2 => kv(rest),
        _ => client(&text),
    }
}

fn words_and_quotes(line: &str) {
    let scanned = words::scan(line);
    let split = words::split(line);
    assert_eq!(scanned.error.is_none(), split.is_ok());
    let mut end = 0;
    for word in &scanned.words {
        assert!(end <= word.place.start && word.place.start < word.place.end, "in order");
        assert!(line.get(word.place.clone()).is_some(), "whole characters");
        end = word.place.end;
    }
    if let Ok(split) = split {
        let quoted: Vec<String> = split.iter().map(|word| words::quote(word)).collect();
        assert_eq!(words::split(&quoted.join(" ")).as_ref(), Ok(&split), "{quoted:?}");
    }
    assert_eq!(words::split(&words::quote(line)), Ok(vec![line.to_owned()]));
}

fn understood(line: &str) -> Option<Result<Typed, Mistake>> {
    let words = match words::split(line) {
        Ok(words) if words.is_empty() => return None,
        Ok(words) => words,
        Err(error) => return Some(Err(error.into())),
    };
    Some(client_command::parse(&words))
}

fn marks(line: &str, usages: &[Usage]) {
    let Some(Err(mistake)) = understood(line) else { return };
    if let Some(blame) = blame::blame(line, &mistake, usages) {
        assert!(blame.place.end <= line.len() + 1, "{blame:?} in {line:?}");
        for columns in [20, 80] {
            assert!(!blame::marks(line, &blame, 2, columns).is_empty());
        }
    }
    let printed = of_mistake(Form::Json, words::split(line).ok().and(Some("word")), &mistake);
    let answer: Json =
        serde_json::from_str(&printed.output.expect("a line")).expect("an answer is JSON");
    assert_eq!(answer["ok"], json!(false));
}

/// Feeds a console; returns what it wrote.
fn fed(input: &[u8], console: impl FnOnce(&mut Terminal<'_>)) -> (String, String) {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        input: Box::new(input),
        output: Box::new(&mut output),
        errors: Box::new(&mut errors),
        prompt: None,
        is_typed: false,
        wait_for_turn: || (),
        ..Terminal::standard("")
    };
    console(&mut terminal);
    drop(terminal);
    let text = |bytes| String::from_utf8(bytes).expect("consoles write UTF-8");
    (text(output), text(errors))
}

fn view(input: &[u8]) {
    let mut world = World::of(Situation::Synced);
    let mut asked = 0;
    fed(input, |terminal| {
        view_console::console(terminal, |command| {
            asked += 1;
            if asked > LINES_MAX { None } else { world.ask_view_server(command) }
        });
    });
}

fn kv(input: &[u8]) {
    let mut world = World::of(Situation::Synced);
    let mut asked = 0;
    fed(input, |terminal| {
        kv_console::console(terminal, |command| {
            asked += 1;
            if asked > LINES_MAX { None } else { world.ask_server(1, command) }
        });
    });
}

/// What the store would be if it were a map.
#[derive(Default)]
struct Plain(BTreeMap<Key, Vec<Value>>);

impl Plain {
    fn list(&self, key: &Key) -> Json {
        self.0.get(key).map_or(Json::Null, |list| list.iter().map(|it| json!(*it.0)).collect())
    }

    fn set(&mut self, key: &Key, list: Vec<Value>) {
        if list.is_empty() {
            self.0.remove(key)
        } else {
            self.0.insert(key.clone(), list)
        };
    }

    /// Executes the command; whether it changes something, where that is not certain.
    fn execute(&mut self, command: &Command) -> bool {
        match command {
            Command::Put { key, value } => self.set(key, vec![value.clone()]),
            Command::Refused => {}
            Command::Append { key, value } => {
                self.0.entry(key.clone()).or_default().push(value.clone());
            }
            Command::Remove { key } => self.set(key, vec![]),
            Command::Cas(cas) => {
                let is = self.0.get(&cas.key).cloned().unwrap_or_default();
                if is != cas.old.clone().unwrap_or_default() {
                    return false;
                }
                self.set(&cas.key, cas.new.clone().unwrap_or_default());
            }
            Command::Incr { key, by } => {
                let number = match self.0.get(key).map(Vec::as_slice) {
                    None => Some(0_i64),
                    Some([one]) => one.0.parse().ok(),
                    Some(_) => None,
                };
                let Some(sum) = number.and_then(|number| number.checked_add(*by)) else {
                    return false;
                };
                self.set(key, vec![Value::from(sum.to_string().as_str())]);
            }
            Command::Mput { entries } => {
                for (key, list) in entries {
                    self.set(key, list.clone());
                }
            }
        }
        true
    }
}

fn client(text: &str) {
    let mut world = World::of(Situation::Empty);
    let mut plain = Plain::default();
    for line in text.split('\n').take(LINES_MAX) {
        let Some(Ok(Typed::Act(action))) = understood(line) else { continue };
        let result = world.ask_client(action.clone());
        for form in [Form::Text, Form::Line] {
            let printed = of_action(form, &action, &result);
            let control = |c: char| c.is_control() && c != '\n' && c != '\t';
            assert!(!printed.output.unwrap_or_default().contains(control), "escaped");
        }
        let printed = of_action(Form::Json, &action, &result).output.expect("a line");
        assert!(!printed.contains('\n'), "one line");
        let answer: Json = serde_json::from_str(&printed).expect("an answer is JSON");
        assert_eq!(answer["ok"], json!(result.is_ok()), "{printed}");
        let Ok(completed) = result else { continue };
        agrees(&mut plain, &action, &completed, &answer);
    }
}

fn agrees(plain: &mut Plain, action: &Action, completed: &Completed, answer: &Json) {
    match action {
        Action::Write(command) => {
            let changed = plain.execute(command);
            assert_eq!(changed, !matches!(completed, Completed::Mismatch(_)), "{answer}");
            if let Command::Incr { key, .. } = command {
                let list = plain.list(key);
                assert_eq!(list, json!([answer["value"].to_string()]));
            }
        }
        Action::Get(key) => assert_eq!(answer["value"], plain.list(key)),
        Action::Mget(keys) => {
            for (entry, key) in answer["entries"].as_array().expect("a list").iter().zip(keys) {
                assert_eq!((&entry["key"], &entry["value"]), (&json!(key.0), &plain.list(key)));
            }
        }
        Action::Exists(key) => assert_eq!(answer["value"], json!(plain.0.contains_key(key))),
        Action::Len(key) => {
            assert_eq!(answer["value"], json!(plain.0.get(key).map_or(0, Vec::len)));
        }
        Action::Keys { prefix, .. } => {
            let keys = plain.0.keys().filter(|key| key.0.starts_with(prefix.0.as_str()));
            assert_eq!(answer["keys"], keys.map(|key| json!(key.0)).collect::<Json>());
        }
        Action::View | Action::Snapshot(_) => {}
    }
}
