//! What the editor knows of the commands: completion, hints, colours.
//!
//! Everything is derived from the usages, so that a new command needs nothing here.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hint, Hinter};
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::keys::{Argument, KeySource, Keys, argument};
use crate::cli::blame::arguments;
use crate::cli::lines::last_line;
use crate::cli::style::Style;
use crate::cli::terminal::printable;
use crate::cli::typed::Usage;
use crate::cli::words::{Scanned, Word, quote, scan};

/// Longer texts are neither coloured nor hinted at: both look at the whole text at each key.
const LONG: usize = 4096;

pub(super) struct Assistant {
    usages: &'static [Usage],
    style: Style,
    keys: Keys,
    source: RefCell<Option<KeySource>>,
    /// Whether there is anything in the line at present.
    has_text: Cell<bool>,
}

impl Assistant {
    pub(super) fn new(usages: &'static [Usage], style: Style, source: Option<KeySource>) -> Self {
        let (source, has_text) = (RefCell::new(source), Cell::new(false));
        Assistant { usages, style, keys: Keys::default(), source, has_text }
    }

    /// One that knows nothing, for a line that is no command.
    pub(super) fn for_answers(&self) -> Self {
        Assistant::new(&[], Style::PLAIN, None)
    }

    pub(super) fn learn(&mut self, text: &str) {
        for line in crate::cli::lines::split(text) {
            self.keys.learn(line, self.usages);
        }
    }

    pub(super) fn has_text(&self) -> bool {
        self.has_text.get()
    }

    fn usage(&self, word: &Word) -> Option<&'static Usage> {
        self.usages.iter().find(|usage| usage.word == word.text)
    }

    /// Where the word at the end of the line begins, and what it may become.
    fn candidates(&self, line: &str) -> (usize, Vec<Pair>) {
        let Scanned { mut words, open, .. } = scan(line);
        let is_new = open.is_none() && words.last().is_none_or(|word| word.place.end < line.len());
        let word = if is_new { None } else { words.pop() };
        let (start, prefix) =
            word.map_or((line.len(), String::new()), |word| (word.place.start, word.text));
        let commands = |usages: &'static [Usage], takes_more: bool| {
            let found = usages.iter().filter(|usage| usage.word.starts_with(&*prefix));
            found.map(move |usage| {
                let space = if takes_more && !usage.arguments.is_empty() { " " } else { "" };
                Pair {
                    display: usage.word.to_owned(),
                    replacement: format!("{}{space}", usage.word),
                }
            })
        };
        let Some(first) = words.first() else {
            return (start, commands(self.usages, true).collect());
        };
        let Some(usage) = self.usage(first) else { return (start, Vec::new()) };
        let found = match argument(usage, words.len() - 1) {
            Argument::Command => commands(self.usages, false).collect(),
            Argument::Key => {
                let keys = self.keys.beginning_with(&prefix, self.source.borrow_mut().as_mut());
                // Whoever may write chooses keys: what a terminal would obey is neither shown nor
                // put into the line, where nothing could make it ordinary.
                let keys =
                    keys.into_iter().filter(|key| matches!(printable(key), Cow::Borrowed(_)));
                keys.map(|key| Pair { replacement: quote(&key) + " ", display: key }).collect()
            }
            Argument::Other => Vec::new(),
        };
        (start, found)
    }

    /// What may follow at the end of the line: to be shown, and to be taken over if wanted.
    fn follows(&self, line: &str) -> Option<Hinted> {
        let Scanned { words, open, error } = scan(line);
        let (first, rest) = words.split_first()?;
        let ends_in_word = words.last().is_some_and(|word| word.place.end == line.len());
        if open.is_some() || error.is_some() {
            return None;
        }
        let join = |names: Vec<&str>| names.join(" ");
        let Some(usage) = self.usage(first) else {
            let mut alike = self.usages.iter().filter(|usage| usage.word.starts_with(&*first.text));
            let (Some(only), None, true, []) = (alike.next(), alike.next(), ends_in_word, rest)
            else {
                return None;
            };
            let missing = only.word[first.text.len()..].to_owned();
            let display = format!("{missing} {}", join(arguments(only).collect()));
            return Some(self.hinted(display.trim_end(), Some(missing)));
        };
        let names: Vec<&str> = arguments(usage).skip(rest.len()).collect();
        if names.is_empty() {
            return None;
        }
        let space = if ends_in_word { " " } else { "" };
        Some(self.hinted(&format!("{space}{}", join(names)), None))
    }

    fn hinted(&self, text: &str, completion: Option<String>) -> Hinted {
        // Without colours nothing but brackets tells it from what was typed.
        let plain = !self.style.is_coloured();
        let display = if plain { format!("  ({})", text.trim_start()) } else { text.to_owned() };
        Hinted { display, completion }
    }
}

pub(super) struct Hinted {
    display: String,
    completion: Option<String>,
}

impl Hint for Hinted {
    fn display(&self) -> &str {
        &self.display
    }

    fn completion(&self) -> Option<&str> {
        self.completion.as_deref()
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let text = &line[..position];
        let last = last_line(text);
        let (start, found) = self.candidates(last);
        Ok((text.len() - last.len() + start, found))
    }
}

impl Hinter for Assistant {
    type Hint = Hinted;

    fn hint(&self, line: &str, position: usize, _: &Context<'_>) -> Option<Hinted> {
        self.has_text.set(!line.is_empty());
        (position == line.len() && line.len() <= LONG).then(|| self.follows(last_line(line)))?
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        let Some(first) =
            (line.len() <= LONG).then(|| scan(line).words.into_iter().next()).flatten()
        else {
            return Cow::Borrowed(line);
        };
        let (start, end) = (first.place.start, first.place.end);
        let text = &line[first.place.clone()];
        let painted = if self.usage(&first).is_some() {
            self.style.strong(text)
        } else if end < line.len() && !self.usages.is_empty() {
            self.style.bad(text)
        } else {
            return Cow::Borrowed(line);
        };
        Cow::Owned(format!("{}{painted}{}", &line[..start], &line[end..]))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(self.style.dim(hint))
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

impl Validator for Assistant {}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;
    use rustyline::history::DefaultHistory;

    const USAGES: &[Usage] = &[
        Usage { word: "put", arguments: "KEY VALUE", purpose: "" },
        Usage { word: "get", arguments: "KEY", purpose: "" },
        Usage { word: "mput", arguments: "KEY VALUE ...", purpose: "" },
        Usage { word: "view", arguments: "", purpose: "" },
        Usage { word: "help", arguments: "[COMMAND]", purpose: "" },
    ];

    fn assistant() -> Assistant {
        let source: KeySource = Box::new(|prefix| {
            assert!(prefix.len() < 20);
            vec!["apricot".to_owned(), "other".to_owned()]
        });
        let mut assistant = Assistant::new(USAGES, Style::COLOURED, Some(source));
        assistant.learn("put apple 1\nget 'a pear'\nmput x 1 y 2\nfrob nothing\nput 'open");
        assistant
    }

    /// The line after Tab, for each candidate.
    fn completed(line: &str) -> Vec<String> {
        let history = DefaultHistory::new();
        let context = Context::new(&history);
        let (start, found) = assistant().complete(line, line.len(), &context).unwrap();
        found.iter().map(|pair| format!("{}{}", &line[..start], pair.replacement)).collect()
    }

    fn hint(line: &str) -> Option<(String, Option<String>)> {
        let history = DefaultHistory::new();
        let hinted = assistant().hint(line, line.len(), &Context::new(&history))?;
        Some((hinted.display, hinted.completion))
    }

    #[test]
    fn commands_are_completed_where_a_command_stands() {
        assert_eq!(completed("p"), ["put "]);
        assert_eq!(completed("vi"), ["view"]);
        assert_eq!(completed("").len(), USAGES.len());
        assert_eq!(completed("help m"), ["help mput"]);
        assert_eq!(completed("put a 1\nge"), ["put a 1\nget "]);
    }

    #[test]
    fn keys_are_completed_where_a_key_stands_and_quoted_where_they_need_it() {
        assert_eq!(completed("get ap"), ["get apple ", "get apricot "]);
        assert_eq!(completed("get a"), ["get 'a pear' ", "get apple ", "get apricot "]);
        assert_eq!(completed("get 'a p"), ["get 'a pear' "]);
        assert_eq!(completed("mput x 1 y"), ["mput x 1 y "]);
        assert!(completed("put apple a").is_empty());
        assert!(completed("get noth").is_empty());
        assert!(completed("frob a").is_empty());
    }

    #[test]
    fn keys_that_would_command_the_terminal_are_not_offered() {
        let keys = ["ev\x1b]0;owned\x07il", "ev\x1b[2Jil", "ev\nil", "ev\u{9b}2Jil", "even"];
        let source: KeySource = Box::new(move |_| keys.map(str::to_owned).to_vec());
        let assistant = Assistant::new(USAGES, Style::COLOURED, Some(source));
        let (_, found) = assistant.candidates("get e");
        let shown: Vec<&str> = found.iter().map(|pair| &*pair.display).collect();
        assert_eq!(shown, ["even"]);
    }

    #[test]
    fn the_arguments_that_are_missing_are_hinted_at() {
        let shown = |line| hint(line).map(|(display, _)| display);
        assert_eq!(shown("put").as_deref(), Some(" KEY VALUE"));
        assert_eq!(shown("put ").as_deref(), Some("KEY VALUE"));
        assert_eq!(shown("put a").as_deref(), Some(" VALUE"));
        assert_eq!(shown("put a 1"), None);
        assert_eq!(shown("put 'a"), None);
        assert_eq!(hint("pu"), Some(("t KEY VALUE".to_owned(), Some("t".to_owned()))));
        assert_eq!(hint("frob"), None);
        assert_eq!(hint(""), None);
    }

    #[test]
    fn without_colours_a_hint_stands_in_brackets_and_nothing_is_painted() {
        let assistant = Assistant::new(USAGES, Style::PLAIN, None);
        assert_eq!(
            assistant.follows("put a").map(|hint| hint.display).as_deref(),
            Some("  (VALUE)")
        );
        assert_eq!(assistant.highlight("put a", 0), "put a");
        assert_eq!(assistant.highlight_hint("x"), "x");
    }

    #[test]
    fn a_known_command_looks_different_from_an_unknown_one() {
        let shown = |line: &str| assistant().highlight(line, 0).into_owned();
        assert_eq!(shown("put a"), "\x1b[1mput\x1b[0m a");
        assert_eq!(shown("frob a"), "\x1b[31mfrob\x1b[0m a");
        assert_eq!(shown("fro"), "fro");
    }
}
