//! What is typed at the client, understood: the same words on a line and on the command line.

use crate::cli::typed::{Mistake, Usage, find};
use crate::kv::command::{Command, Key, Value};
use crate::protocol::client::Action;

/// Every command, in the order of the help.
pub const USAGES: &[Usage] = &[
    Usage {
        word: "put",
        arguments: "KEY VALUE",
        purpose: "the value becomes the one-element list [VALUE]",
    },
    Usage {
        word: "append",
        arguments: "KEY VALUE",
        purpose: "VALUE joins the end of the list, or starts one",
    },
    Usage { word: "get", arguments: "KEY", purpose: "the list, or null for a missing key" },
    Usage { word: "remove", arguments: "KEY", purpose: "the key is missing afterwards" },
    Usage { word: "view", arguments: "", purpose: "who is primary and backup now" },
    Usage { word: "help", arguments: "", purpose: "this list" },
    Usage { word: "quit", arguments: "", purpose: "leave" },
];

/// Commands that are no operations: they stand on the command line only, and are parsed by
/// themselves.
pub const ONE_SHOT_USAGES: &[Usage] = &[
    Usage {
        word: "bench",
        arguments: "[FLAGS]",
        purpose: "measure the cluster; bench --help says how (command line only)",
    },
    Usage {
        word: "check",
        arguments: "HISTORY",
        purpose: "is what bench --history recorded linearizable? (command line only)",
    },
    Usage {
        word: "completions",
        arguments: "SHELL",
        purpose: "print a completion script for bash, zsh, fish, ... (command line only)",
    },
    Usage { word: "man", arguments: "", purpose: "print the man page (command line only)" },
];

/// A command, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Typed {
    /// To be carried out by the cluster.
    Act(Action),
    /// Show the commands.
    Help,
    /// Leave.
    Quit,
}

/// Understands the words of a command.
///
/// # Errors
/// When no command begins with the first word, or the command takes other words.
pub fn parse(words: &[String]) -> Result<Typed, Mistake> {
    let usage = find(words, USAGES)?;
    let arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    let write = |command: Command| Ok(Typed::Act(Action::Write(command)));
    match (usage.word, arguments.as_slice()) {
        ("put", [key, value]) => {
            write(Command::Put { key: Key::from(*key), value: Value::from(*value) })
        }
        ("append", [key, value]) => {
            write(Command::Append { key: Key::from(*key), value: Value::from(*value) })
        }
        ("remove", [key]) => write(Command::Remove { key: Key::from(*key) }),
        ("get", [key]) => Ok(Typed::Act(Action::Get(Key::from(*key)))),
        ("view", []) => Ok(Typed::Act(Action::View)),
        ("help", []) => Ok(Typed::Help),
        ("quit", []) => Ok(Typed::Quit),
        _ => Err(Mistake::invalid(usage)),
    }
}

/// The word that a person types for this, and the key it is about.
#[must_use]
pub fn word_and_key(action: &Action) -> (&'static str, Option<&Key>) {
    match action {
        Action::Write(Command::Put { key, .. }) => ("put", Some(key)),
        Action::Write(Command::Append { key, .. }) => ("append", Some(key)),
        Action::Write(Command::Remove { key }) => ("remove", Some(key)),
        Action::Get(key) => ("get", Some(key)),
        Action::View => ("view", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(words: &[&str]) -> Result<Typed, Mistake> {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn every_command_is_understood() {
        for (words, word, key) in [
            (&["put", "a", "1"][..], "put", Some("a")),
            (&["append", "", "--x"], "append", Some("")),
            (&["get", "a"], "get", Some("a")),
            (&["remove", "-5"], "remove", Some("-5")),
            (&["view"], "view", None),
        ] {
            let Ok(Typed::Act(action)) = typed(words) else { panic!("{words:?}") };
            assert_eq!(word_and_key(&action), (word, key.map(Key::from).as_ref()));
        }
        assert_eq!(typed(&["help"]), Ok(Typed::Help));
        assert_eq!(typed(&["quit"]), Ok(Typed::Quit));
    }

    #[test]
    fn wrong_arity_is_answered_with_the_usage() {
        for (words, message) in [
            (&["put", "a"][..], "Invalid put command\nusage: put KEY VALUE"),
            (&["put", "a", "b", "c"], "Invalid put command\nusage: put KEY VALUE"),
            (&["append"], "Invalid append command\nusage: append KEY VALUE"),
            (&["get"], "Invalid get command\nusage: get KEY"),
            (&["get", "a", "b"], "Invalid get command\nusage: get KEY"),
            (&["remove"], "Invalid remove command\nusage: remove KEY"),
            (&["view", "x"], "Invalid view command\nusage: view"),
            (&["quit", "now"], "Invalid quit command\nusage: quit"),
        ] {
            assert_eq!(typed(words).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn an_unknown_word_is_no_command() {
        assert!(matches!(typed(&["delete", "a"]), Err(Mistake::Unknown { .. })));
        assert!(matches!(typed(&[""]), Err(Mistake::Unknown { .. })));
    }
}
