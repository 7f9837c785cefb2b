//! Keys to complete: those that were typed, and those that somebody else knows.

use std::collections::BTreeSet;

use crate::cli::blame::arguments;
use crate::cli::typed::Usage;
use crate::cli::words::{Scanned, scan};

/// Keys remembered.
const KEYS: usize = 10_000;
/// Keys offered at once.
const OFFERED: usize = 500;

/// Keys of the store that begin with a prefix. Asked on the console's thread while a person waits
/// for Tab: it answers soon, or with nothing.
pub type KeySource = Box<dyn FnMut(&str) -> Vec<String> + Send>;

/// What an argument of a command is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Argument {
    Key,
    Command,
    Other,
}

/// What the command takes in this place behind its word. Arguments that may be repeated begin
/// again from the first.
pub(super) fn argument(usage: &Usage, place: usize) -> Argument {
    let names: Vec<&str> = arguments(usage).collect();
    let name = if usage.arguments.contains("...") && !names.is_empty() {
        Some(names[place % names.len()])
    } else {
        names.get(place).copied()
    };
    match name.map(|name| name.trim_matches(['[', ']', '.'])) {
        Some("KEY" | "PREFIX") => Argument::Key,
        Some("COMMAND") => Argument::Command,
        Some(_) | None => Argument::Other,
    }
}

/// Keys that were typed in this session and in those that the history tells of.
#[derive(Default)]
pub(super) struct Keys {
    typed: BTreeSet<String>,
}

impl Keys {
    /// Takes the keys of a line that is a command.
    pub(super) fn learn(&mut self, line: &str, usages: &[Usage]) {
        let Scanned { words, error: None, .. } = scan(line) else { return };
        let Some((word, rest)) = words.split_first() else { return };
        let Some(usage) = usages.iter().find(|usage| usage.word == word.text) else { return };
        for (place, word) in rest.iter().enumerate() {
            if argument(usage, place) == Argument::Key && self.typed.len() < KEYS {
                self.typed.insert(word.text.clone());
            }
        }
    }

    /// Those that begin with this, with those of the source, in order.
    pub(super) fn beginning_with(
        &self,
        prefix: &str,
        source: Option<&mut KeySource>,
    ) -> Vec<String> {
        let from = self
            .typed
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        let mut keys: BTreeSet<String> =
            from.take_while(|key| key.starts_with(prefix)).take(OFFERED).cloned().collect();
        if let Some(source) = source {
            let others = source(prefix);
            keys.extend(others.into_iter().filter(|key| key.starts_with(prefix)).take(OFFERED));
        }
        keys.into_iter().take(OFFERED).collect()
    }
}
