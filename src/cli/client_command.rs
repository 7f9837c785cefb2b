//! What is typed at the client, understood: the same words on a line and on the command line.

use crate::cli::typed::{Mistake, Usage, find};
use crate::kv::command::{Cas, Command, Key, Value};
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
    Usage {
        word: "keys",
        arguments: "[PREFIX]",
        purpose: "all keys in order, or those with a prefix",
    },
    Usage { word: "exists", arguments: "KEY", purpose: "whether the key is there: true or false" },
    Usage { word: "len", arguments: "KEY", purpose: "number of elements; 0 for a missing key" },
    Usage {
        word: "cas",
        arguments: "KEY OLD NEW",
        purpose: "if the whole list is OLD (null: missing), it becomes NEW",
    },
    Usage { word: "incr", arguments: "KEY [BY]", purpose: "adds BY (or 1) to a decimal number" },
    Usage { word: "mput", arguments: "KEY VALUE ...", purpose: "several puts, all at one instant" },
    Usage {
        word: "mget",
        arguments: "KEY ...",
        purpose: "several lists, all as they are at one instant",
    },
    Usage { word: "view", arguments: "", purpose: "who is primary and backup now" },
    Usage { word: "help", arguments: "[COMMAND]", purpose: "this list, or more on a command" },
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
        word: "dump",
        arguments: "> FILE",
        purpose: "everything at one instant, as JSON lines (command line only)",
    },
    Usage {
        word: "load",
        arguments: "[FLAGS] < FILE",
        purpose: "put what dump has written; load --help says how (command line only)",
    },
    Usage {
        word: "keygen",
        arguments: "> FILE",
        purpose: "draw a key for --key-file; keygen --help says more (command line only)",
    },
    Usage {
        word: "completions",
        arguments: "SHELL",
        purpose: "print a completion script for bash, zsh, fish, ... (command line only)",
    },
    Usage { word: "man", arguments: "", purpose: "print the man page (command line only)" },
    Usage {
        word: "watch",
        arguments: "[FLAGS]",
        purpose: "a live picture of the cluster; also top (command line only)",
    },
];

/// A command, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Typed {
    /// To be carried out by the cluster.
    Act(Action),
    /// Show the commands.
    Help,
    /// Say more of this command.
    HelpOn(&'static Usage),
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
        ("exists", [key]) => Ok(Typed::Act(Action::Exists(Key::from(*key)))),
        ("len", [key]) => Ok(Typed::Act(Action::Len(Key::from(*key)))),
        ("keys", []) => Ok(keys("")),
        ("keys", [prefix]) => Ok(keys(prefix)),
        ("cas", [key, old, new]) => {
            let list = |at: usize, word: &str| {
                typed_list(word).map_err(|why| Mistake::unfit(usage, at, why))
            };
            let (old, new) = (list(2, old)?, list(3, new)?);
            write(Command::Cas(Cas { key: Key::from(*key), old, new }.into()))
        }
        ("incr", [key]) => write(Command::Incr { key: Key::from(*key), by: 1 }),
        ("incr", [key, by]) => {
            let by = by.parse().map_err(|_| Mistake::unfit(usage, 2, no_number(by)))?;
            write(Command::Incr { key: Key::from(*key), by })
        }
        ("mput", words) if !words.is_empty() && words.len().is_multiple_of(2) => {
            let entry = |pair: &[&str]| (Key::from(pair[0]), vec![Value::from(pair[1])]);
            write(Command::Mput { entries: words.chunks_exact(2).map(entry).collect() })
        }
        ("mget", words) if !words.is_empty() => {
            let keys = words.iter().map(|key| Key::from(*key)).collect();
            Ok(Typed::Act(Action::Mget(keys)))
        }
        ("view", []) => Ok(Typed::Act(Action::View)),
        ("help", []) => Ok(Typed::Help),
        ("help", [word]) => {
            let usages = || USAGES.iter().chain(ONE_SHOT_USAGES);
            let found = usages().find(|usage| usage.word == *word);
            found.map(Typed::HelpOn).ok_or_else(|| Mistake::unknown(word, 1, usages()))
        }
        ("quit", []) => Ok(Typed::Quit),
        _ => Err(Mistake::invalid(usage)),
    }
}

fn keys(prefix: &str) -> Typed {
    Typed::Act(Action::Keys { prefix: Key::from(prefix), start_after: None })
}

fn no_number(word: &str) -> String {
    format!("{word:?} is not a whole number between {} and {}", i64::MIN, i64::MAX)
}

/// A list as it is typed in one word: `null` is a missing key, what begins with a bracket is JSON,
/// anything else is the one element itself.
fn typed_list(word: &str) -> Result<Option<Vec<Value>>, String> {
    if word == "null" {
        return Ok(None);
    }
    if !word.starts_with('[') {
        return Ok(Some(vec![Value::from(word)]));
    }
    match serde_json::from_str::<Vec<Value>>(word) {
        Ok(list) if list.is_empty() => {
            Err("a list has at least one element; a missing key is null".to_owned())
        }
        Ok(list) => Ok(Some(list)),
        Err(_) => Err(format!(
            "{word:?} is not a JSON list of strings; in single quotes it keeps its double ones: \
             '[\"a\",\"b\"]'"
        )),
    }
}

/// More about a command than its usage says, with an example; none for a command that is no
/// operation.
#[must_use]
pub fn detail(word: &str) -> Option<&'static str> {
    Some(match word {
        "put" => {
            "The value becomes the one-element list [VALUE], whatever there was before.\n\
             \n  > put greeting \"hello world\"\n  put completed"
        }
        "append" => {
            "VALUE joins the end of the list; a missing key starts a new one.\n\
             \n  > append fruit pear\n  append completed"
        }
        "get" => {
            "Shows the list, its elements separated by commas, or null for a missing key. --json \
             shows elements exactly.\n\
             \n  > get fruit\n  get fruit returned apple, pear"
        }
        "remove" => {
            "The key is missing afterwards, whether or not it was there.\n\
             \n  > remove fruit\n  remove completed"
        }
        "keys" => {
            "Lists all keys, or those that begin with PREFIX, in the order of their bytes: a line a \
             key; one line in all when commands come from a pipe. Long listings are read page by \
             page: each page shows one instant, but not all pages the same one. A key that is there \
             all the while is listed exactly once.\n\
             \n  > keys user:\n  user:1\n  user:2"
        }
        "exists" => {
            "Says true or false. On the command line the exit code is 0 or 3.\n\
             \n  > exists fruit\n  exists fruit returned true"
        }
        "len" => {
            "Shows the number of elements; 0 for a missing key.\n\
             \n  > len fruit\n  len fruit returned 2"
        }
        "cas" => {
            "Compare and set: if the whole list is OLD, it becomes NEW, at one instant. OLD and NEW \
             are typed alike: null is a missing key; a word that begins with [ is a JSON list of \
             strings, in single quotes, which keep its double ones; any other word is a list of \
             this one element. The text null is '[\"null\"]'. If the list is another one, nothing \
             changes and the answer is `cas failed`; on the command line the exit code is then 3.\n\
             \n  > cas lock null me\n  cas completed\n  > cas lock null you\n  \
             cas failed: lock has another list, of 1 element\n  \
             > cas lock me '[\"me\",\"you\"]'\n  cas completed"
        }
        "incr" => {
            "Adds BY, or 1, to the decimal number that is the list's only element, and shows the \
             sum. A missing key counts as 0. BY may be negative. What is not one number, and a sum \
             beyond 64 bits, is an error and changes nothing.\n\
             \n  > incr visits\n  incr visits returned 1\n  > incr visits -5\n  \
             incr visits returned -4"
        }
        "mput" => {
            "Puts several keys at one instant: nobody sees one without the others. Of equal keys \
             the last one counts. At most 10000 keys, and about 1 MiB in all.\n\
             \n  > mput a 1 b 2\n  mput completed"
        }
        "mget" => {
            "Shows several lists as they are at one instant: a line a key; one line in all when \
             commands come from a pipe. At most 10000 keys; their lists may be of any length.\n\
             \n  > mget a b c\n  a : [1]\n  b : [2]\n  c : null"
        }
        "view" => {
            "Shows who is primary and backup now, as the view server knows it.\n\
             \n  > view\n  primary: s1 backup: s2"
        }
        "dump" => {
            "Writes every key and list to stdout, a JSON object a line, as they are at one instant: \
             after the operation that the first line names, whatever is written meanwhile. The last \
             line counts and sums up the others, so that a copy that is cut off is noticed.\n\
             \n  $ client dump > store.jsonl\n  \
             dump completed: 4 keys, 5 elements, as after operation 14"
        }
        "load" => {
            "Gives each key of a dump its list, whatever there was before; other keys stay. Loading \
             it again, wherever it was stopped, comes to the same; with --resume FILE it goes on from \
             there. A file that is cut off or damaged is refused before anything is changed.\n\
             \n  $ client load < store.jsonl\n  load completed: 4 keys, 5 elements"
        }
        _ => return None,
    })
}

/// The word that a person types for this, and the key it is about, if it is one.
#[must_use]
pub fn word_and_key(action: &Action) -> (&'static str, Option<&Key>) {
    match action {
        Action::Write(Command::Put { key, .. }) => ("put", Some(key)),
        Action::Write(Command::Append { key, .. }) => ("append", Some(key)),
        Action::Write(Command::Remove { key }) => ("remove", Some(key)),
        Action::Write(Command::Cas(cas)) => ("cas", Some(&cas.key)),
        Action::Write(Command::Incr { key, .. }) => ("incr", Some(key)),
        Action::Write(Command::Mput { .. }) => ("mput", None),
        Action::Write(Command::Refused) => ("refused", None),
        Action::Get(key) => ("get", Some(key)),
        Action::Mget(_) => ("mget", None),
        Action::Snapshot(_) => ("dump", None),
        Action::Exists(key) => ("exists", Some(key)),
        Action::Len(key) => ("len", Some(key)),
        Action::Keys { .. } => ("keys", None),
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
            (&["keys"], "keys", None),
            (&["keys", "a"], "keys", None),
            (&["exists", "a"], "exists", Some("a")),
            (&["len", "a"], "len", Some("a")),
            (&["cas", "a", "null", "1"], "cas", Some("a")),
            (&["incr", "a"], "incr", Some("a")),
            (&["incr", "a", "-9223372036854775808"], "incr", Some("a")),
            (&["mput", "a", "1", "b", "2"], "mput", None),
            (&["mget", "a", "a"], "mget", None),
        ] {
            assert!(detail(words[0]).is_some_and(|text| text.contains(&format!("> {}", words[0]))));
            let Ok(Typed::Act(action)) = typed(words) else { panic!("{words:?}") };
            assert_eq!(word_and_key(&action), (word, key.map(Key::from).as_ref()));
        }
        assert_eq!(typed(&["help"]), Ok(Typed::Help));
        assert!(matches!(typed(&["help", "put"]), Ok(Typed::HelpOn(usage)) if usage.word == "put"));
        assert!(matches!(typed(&["help", "bench"]), Ok(Typed::HelpOn(_))));
        let Err(Mistake::Unknown { word, at, known }) = typed(&["help", "frob"]) else { panic!() };
        assert_eq!((&*word, at), ("frob", 1));
        for word in USAGES.iter().chain(ONE_SHOT_USAGES).map(|usage| usage.word) {
            assert!(known.split(", ").any(|other| other == word), "{word}: {known}");
        }
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
            (&["keys", "a", "b"], "Invalid keys command\nusage: keys [PREFIX]"),
            (&["exists"], "Invalid exists command\nusage: exists KEY"),
            (&["len", "a", "b"], "Invalid len command\nusage: len KEY"),
            (&["cas", "a", "1"], "Invalid cas command\nusage: cas KEY OLD NEW"),
            (&["incr", "a", "1", "2"], "Invalid incr command\nusage: incr KEY [BY]"),
            (&["mput"], "Invalid mput command\nusage: mput KEY VALUE ..."),
            (&["mput", "a", "1", "b"], "Invalid mput command\nusage: mput KEY VALUE ..."),
            (&["mget"], "Invalid mget command\nusage: mget KEY ..."),
            (&["quit", "now"], "Invalid quit command\nusage: quit"),
        ] {
            assert_eq!(typed(words).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_lists_of_a_cas_are_null_or_json_or_one_element() {
        let list = |word: &str| {
            let Ok(Typed::Act(Action::Write(Command::Cas(cas)))) = typed(&["cas", "k", word, "x"])
            else {
                panic!("{word}")
            };
            cas.old.map(|list| list.iter().map(Value::to_string).collect::<Vec<_>>())
        };
        let some = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(list("null"), None);
        for (word, texts) in [
            ("1", &["1"][..]),
            ("", &[""]),
            ("NULL", &["NULL"]),
            (r#""a""#, &[r#""a""#]),
            ("a, b]", &["a, b]"]),
            (r#"["null"]"#, &["null"]),
            (r#"["a","b"]"#, &["a", "b"]),
            (r#"[ "\u00e9\n", "" ]"#, &["\u{e9}\n", ""]),
            (r#"["[1]"]"#, &["[1]"]),
        ] {
            assert_eq!(list(word), some(texts), "{word}");
        }
    }

    #[test]
    fn what_looks_like_a_list_or_a_number_and_is_none_is_refused_with_the_remedy() {
        for (words, remedy) in [
            (&["cas", "k", "[a,b]", "x"][..], r#"'["a","b"]'"#),
            (&["cas", "k", "x", "[1]"], r#"'["a","b"]'"#),
            (&["cas", "k", "[", "x"], r#"'["a","b"]'"#),
            (&["cas", "k", "[]", "x"], "a missing key is null"),
            (&["incr", "k", "1.5"], "1.5"),
            (&["incr", "k", "-"], "is not a whole number"),
            (&["incr", "k", "9223372036854775808"], "and 9223372036854775807"),
        ] {
            let text = typed(words).unwrap_err().to_string();
            assert!(text.starts_with(&format!("Invalid {} command\n", words[0])), "{text}");
            assert!(text.contains(remedy), "{text}");
            assert!(text.contains("\nusage: "), "{text}");
        }
    }

    #[test]
    fn an_unknown_word_is_no_command() {
        assert!(matches!(typed(&["delete", "a"]), Err(Mistake::Unknown { .. })));
        assert!(matches!(typed(&[""]), Err(Mistake::Unknown { .. })));
    }
}
