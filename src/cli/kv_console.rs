//! What is typed at a kv server: `kv` and `status`.
//!
//! The store can be larger than memory allows to print at once: `kv` asks for bounded parts and
//! joins them. Between two parts the store may change; each part is true when it is taken.

use crate::cli::serve::Left;
use crate::cli::terminal::{Terminal, printable};
use crate::cli::typed::{Mistake, Usage, find, help};
use crate::kv::command::{Key, Value};
use crate::protocol::server::{Answer, Command, Position, Status};

/// Every command, in the order of the help.
pub const USAGES: &[Usage] = &[
    Usage { word: "kv", arguments: "", purpose: "the store, a line a key" },
    Usage { word: "status", arguments: "", purpose: "role, view, peer, keys and operations" },
    Usage { word: "help", arguments: "", purpose: "this list" },
    Usage { word: "quit", arguments: "", purpose: "end the server" },
];

/// A command, understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Typed {
    Kv,
    Status,
    Help,
    Quit,
}

fn parse(words: &[String]) -> Result<Typed, Mistake> {
    let usage = find(words, USAGES)?;
    match (usage.word, words.len()) {
        ("kv", 1) => Ok(Typed::Kv),
        ("status", 1) => Ok(Typed::Status),
        ("help", 1) => Ok(Typed::Help),
        ("quit", 1) => Ok(Typed::Quit),
        _ => Err(Mistake::invalid(usage)),
    }
}

/// Answers the lines of the terminal, in order, until they end or `quit` is typed.
pub fn console(
    terminal: &mut Terminal<'_>,
    mut ask: impl FnMut(Command) -> Option<Answer>,
) -> Left {
    while let Some(words) = terminal.words() {
        let typed = match words.and_then(|words| parse(&words)) {
            Ok(typed) => typed,
            Err(mistake) => {
                terminal.complain_of(&mistake, USAGES);
                continue;
            }
        };
        // A reader that has gone away is no reason to end a server.
        match typed {
            Typed::Kv => {
                let _ = print_store(terminal, &mut ask);
            }
            Typed::Status => {
                if let Some(Answer::Status(status)) = ask(Command::Status) {
                    let _ = terminal.answer(&status_text(&status));
                }
            }
            Typed::Help => {
                let _ = terminal.answer(&help(USAGES));
            }
            Typed::Quit => return Left::Quit,
        }
    }
    Left::without_lines(terminal)
}

fn print_store(
    terminal: &mut Terminal<'_>,
    ask: &mut impl FnMut(Command) -> Option<Answer>,
) -> std::io::Result<()> {
    let mut printer = Printer::default();
    let mut position = Position::default();
    while let Some(Answer::Entries { entries, next }) = ask(Command::Entries(position)) {
        let mut text = String::new();
        for (key, index, values, ends) in entries {
            printer.part(&key, index, &values, ends, &mut text);
        }
        match next {
            Some(next) => position = next,
            None => {
                printer.finish(&mut text);
                return terminal.write(&text);
            }
        }
        terminal.write(&text)?;
    }
    // The server ended while it was asked.
    Ok(())
}

/// Joins parts of lists into lines.
#[derive(Default)]
struct Printer {
    /// The list whose line is not finished, and the index of its next element.
    open: Option<(Key, usize)>,
    /// Some line was begun.
    any: bool,
}

impl Printer {
    fn part(&mut self, key: &Key, index: usize, values: &[Value], ends: bool, text: &mut String) {
        let continues =
            matches!(&self.open, Some((open, next)) if open == key && *next == index && index > 0);
        if !continues {
            self.close(text);
            text.push_str(&printable(&key.0));
            text.push_str(" : [");
            self.any = true;
        }
        for (offset, value) in values.iter().enumerate() {
            if offset > 0 || continues {
                text.push_str(", ");
            }
            text.push_str(&printable(&value.0));
        }
        self.open = Some((key.clone(), index + values.len()));
        if ends {
            self.close(text);
        }
    }

    /// Ends the line of a list that ended, or that vanished before its next part was asked for.
    fn close(&mut self, text: &mut String) {
        if self.open.take().is_some() {
            text.push_str("]\n");
        }
    }

    fn finish(&mut self, text: &mut String) {
        self.close(text);
        if !self.any {
            text.push_str("no entries\n");
        }
    }
}

fn status_text(status: &Status) -> String {
    let Status { id, incarnation, role, view, peer, synced, keys, operations, .. } = status;
    let view = match view {
        0 => "no view yet".to_owned(),
        number => format!("view number {number}"),
    };
    let peer = match peer {
        Some(peer) => format!("peer {peer}"),
        None => "peer none".to_owned(),
    };
    let synced = if *synced { "synced" } else { "not synced" };
    let memory = status.memory_max.map_or_else(String::new, |most| {
        let mb = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        format!("{:.1} of {:.1} MB, ", mb(status.memory), mb(most))
    });
    format!(
        "{id} {role}, {view}, {peer}, {synced}, {keys} keys, {operations} operations, {memory}\
         incarnation {incarnation}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::tests::feed;
    use crate::types::{Incarnation, OperationNumber, ServerId};

    type Part = (&'static str, usize, &'static [&'static str], bool);

    /// What `kv` prints of a store that is given in these pages.
    fn printed(pages: &[&[Part]]) -> String {
        let mut asked = 0;
        let (left, output, errors) = feed(b"kv\n", |terminal| {
            console(terminal, |command| {
                let at = asked;
                asked += 1;
                let position = |page: usize| Position { key: None, index: page };
                assert_eq!(command, Command::Entries(position(at)));
                let entries = pages[at].iter().map(|(key, index, values, ends)| {
                    let values = values.iter().map(|value| Value::from(*value)).collect();
                    (Key::from(*key), *index, values, *ends)
                });
                let next = (asked < pages.len()).then(|| position(asked));
                Some(Answer::Entries { entries: entries.collect(), next })
            })
        });
        assert_eq!((left, errors.as_str(), asked), (Left::InputEnded, "", pages.len()));
        output
    }

    #[test]
    fn an_empty_store_has_no_entries() {
        assert_eq!(printed(&[&[]]), "no entries\n");
        assert_eq!(printed(&[&[], &[]]), "no entries\n");
    }

    #[test]
    fn each_key_has_a_line() {
        let page: &[Part] = &[("", 0, &[""], true), ("a", 0, &["1", "2"], true)];
        assert_eq!(printed(&[page]), " : []\na : [1, 2]\n");
        assert_eq!(printed(&[&[("k\n", 0, &["v\nw"], true)]]), "k\\n : [v\\nw]\n");
    }

    #[test]
    fn parts_of_a_list_are_joined_into_one_line() {
        let first: &[Part] = &[("a", 0, &["1"], true), ("b", 0, &["1", "2"], false)];
        let second: &[Part] = &[("b", 2, &["3"], false)];
        let third: &[Part] = &[("b", 3, &["4"], true), ("c", 0, &["5"], true)];
        assert_eq!(printed(&[first, second, third]), "a : [1]\nb : [1, 2, 3, 4]\nc : [5]\n");
    }

    #[test]
    fn a_list_that_vanishes_between_two_parts_still_ends_its_line() {
        let first: &[Part] = &[("b", 0, &["1"], false)];
        assert_eq!(printed(&[first, &[("c", 0, &["5"], true)]]), "b : [1]\nc : [5]\n");
        assert_eq!(printed(&[first, &[("b", 1, &[], true)]]), "b : [1]\n");
        assert_eq!(printed(&[first, &[]]), "b : [1]\n");
    }

    #[test]
    fn mistakes_go_to_stderr_and_quit_leaves() {
        let (left, output, errors) =
            feed(b"frob\nkv all\nquit\n", |terminal| console(terminal, |_| panic!("not asked")));
        assert_eq!((left, output.as_str()), (Left::Quit, ""));
        assert!(errors.contains("unknown command\n"), "{errors}");
        assert!(errors.contains("Invalid kv command\nusage: kv\n"), "{errors}");
    }

    #[test]
    fn status_is_one_line() {
        let status = Status {
            id: ServerId::from("s1"),
            incarnation: Incarnation(0xabc),
            role: "primary".to_owned(),
            view: 7,
            peer: Some(ServerId::from("s2")),
            synced: true,
            keys: 3,
            operations: OperationNumber(12),
            memory: 3 << 19,
            memory_max: None,
        };
        assert_eq!(
            status_text(&status),
            "s1 primary, view number 7, peer s2, synced, 3 keys, 12 operations, \
             incarnation 0000000000000abc"
        );
        let limited = Status { memory_max: Some(512 << 20), ..status.clone() };
        assert!(status_text(&limited).contains("12 operations, 1.5 of 512.0 MB, incarnation"));
        let spare = Status { view: 0, peer: None, synced: false, ..status };
        assert!(status_text(&spare).contains("no view yet, peer none, not synced"));
    }
}
