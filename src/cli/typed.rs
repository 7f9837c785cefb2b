//! What is said of a line that is not a command.

use thiserror::Error;

use crate::cli::words::WordsError;

/// One command, as the help shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// The word it begins with.
    pub word: &'static str,
    /// The words that follow.
    pub arguments: &'static str,
    /// What it does.
    pub purpose: &'static str,
}

impl Usage {
    /// The command as it is typed.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.word, self.arguments).trim_end().to_owned()
    }
}

/// What `help` prints: a line a command.
#[must_use]
pub fn help(usages: &[Usage]) -> String {
    let lines = usages.iter().map(|usage| format!("{:<22}{}", usage.line(), usage.purpose));
    lines.collect::<Vec<_>>().join("\n")
}

/// What `help COMMAND` prints.
#[must_use]
pub fn help_on(usage: &Usage, detail: Option<&str>) -> String {
    format!("usage: {}\n{}", usage.line(), detail.unwrap_or(usage.purpose))
}

/// A line that is not a command. Nothing was sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Mistake {
    /// No command begins with this word.
    #[error("unknown command\n\"{}\" is none of: {known}", .word.escape_debug())]
    Unknown {
        /// The word.
        word: String,
        /// Which of the words it is, counted from the first one, which is 0.
        at: usize,
        /// The commands that there are.
        known: String,
    },
    /// Too few or too many words.
    #[error("Invalid {word} command\nusage: {usage}")]
    Invalid {
        /// The command.
        word: &'static str,
        /// How it is typed.
        usage: String,
    },
    /// As many words as there should be, but one of them cannot be what it should be.
    #[error("Invalid {word} command\n{why}\nusage: {usage}")]
    Unfit {
        /// The command.
        word: &'static str,
        /// Which of the words, counted from the command itself, which is 0.
        at: usize,
        /// What it should be.
        why: String,
        /// How it is typed.
        usage: String,
    },
    /// The line is no sequence of words.
    #[error("unreadable line: {0}")]
    Unreadable(String),
}

impl Mistake {
    /// For a word that no command begins with.
    #[must_use]
    pub fn unknown<'a>(word: &str, at: usize, usages: impl IntoIterator<Item = &'a Usage>) -> Self {
        let known: Vec<&str> = usages.into_iter().map(|usage| usage.word).collect();
        Mistake::Unknown { word: word.to_owned(), at, known: known.join(", ") }
    }

    /// For a command that does not take these words.
    #[must_use]
    pub fn invalid(usage: &Usage) -> Self {
        Mistake::Invalid { word: usage.word, usage: usage.line() }
    }

    /// For a command of which one word cannot be what it should be.
    #[must_use]
    pub fn unfit(usage: &Usage, at: usize, why: String) -> Self {
        Mistake::Unfit { word: usage.word, at, why, usage: usage.line() }
    }
}

impl From<WordsError> for Mistake {
    fn from(error: WordsError) -> Self {
        Mistake::Unreadable(error.to_string())
    }
}

/// Finds the command that the first word names. `words` is not empty.
///
/// # Errors
/// When there is none.
pub fn find<'a>(words: &[String], usages: &'a [Usage]) -> Result<&'a Usage, Mistake> {
    let word = words.first().map_or("", String::as_str);
    usages.iter().find(|usage| usage.word == word).ok_or_else(|| Mistake::unknown(word, 0, usages))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGES: &[Usage] = &[
        Usage { word: "put", arguments: "KEY VALUE", purpose: "sets" },
        Usage { word: "quit", arguments: "", purpose: "leaves" },
    ];

    #[test]
    fn a_mistake_begins_with_a_fixed_line_and_then_says_what_there_is() {
        assert_eq!(
            Mistake::unknown("fr\u{1b}ob", 0, USAGES).to_string(),
            "unknown command\n\"fr\\u{1b}ob\" is none of: put, quit"
        );
        assert_eq!(
            Mistake::invalid(&USAGES[0]).to_string(),
            "Invalid put command\nusage: put KEY VALUE"
        );
    }

    #[test]
    fn commands_are_found_by_their_whole_word() {
        assert_eq!(find(&["put".to_owned()], USAGES), Ok(&USAGES[0]));
        assert!(find(&["pu".to_owned()], USAGES).is_err());
        assert!(find(&["Put".to_owned()], USAGES).is_err());
        assert!(find(&["".to_owned()], USAGES).is_err());
    }

    #[test]
    fn help_has_a_line_a_command() {
        assert_eq!(help(USAGES), "put KEY VALUE         sets\nquit                  leaves");
    }
}
