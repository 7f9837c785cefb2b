//! A typed line as words: blanks separate, quotes keep together, as in a shell.
//!
//! Everything between single quotes stands for itself. Between double quotes a backslash makes
//! `"` and `\` ordinary and stands for itself before anything else; outside of quotes it makes any
//! character ordinary. There are no comments, variables or patterns: every other character is
//! itself.

use std::iter::Enumerate;
use std::ops::Range;
use std::str::CharIndices;

use thiserror::Error;

/// A text that is read back as this one word.
#[must_use]
pub fn quote(text: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"'\"\\".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else if text.contains('\'') {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        format!("'{text}'")
    }
}

/// Why a line is not a sequence of words. Columns count characters from 1.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WordsError {
    /// The line ends inside quotes.
    #[error("the {name} quote ({quote}) at column {column} is not closed; nothing was sent")]
    Unclosed {
        /// `single` or `double`.
        name: &'static str,
        /// The quote itself.
        quote: char,
        /// Where it stands.
        column: usize,
    },
    /// The line ends with a backslash that makes nothing ordinary.
    #[error("the backslash at the end of the line stands before nothing; nothing was sent")]
    TrailingBackslash,
}

/// A word, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What it means, without its quotes and backslashes.
    pub text: String,
    /// Its bytes in the line, with them.
    pub place: Range<usize>,
}

/// Splits a line. Quotes with nothing between them are an empty word.
///
/// # Errors
/// When the line ends in the middle of a word.
pub fn split(line: &str) -> Result<Vec<String>, WordsError> {
    let mut scan = Scan::new(line);
    scan.run()?;
    Ok(scan.into_words().into_iter().map(|word| word.text).collect())
}

/// As [`split`], with the words' places. Of a line that ends in the middle of a word, that word is
/// the last one, as far as it goes, and its open quote is told.
#[must_use]
pub fn scan(line: &str) -> Scanned {
    let mut scan = Scan::new(line);
    let error = scan.run().err();
    let open = match &error {
        Some(WordsError::Unclosed { quote, .. }) => Some(*quote),
        Some(WordsError::TrailingBackslash) | None => None,
    };
    Scanned { words: scan.into_words(), open, error }
}

/// See [`scan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// The words, in order.
    pub words: Vec<Word>,
    /// The quote that is not closed.
    pub open: Option<char>,
    /// Why the line is not a sequence of words.
    pub error: Option<WordsError>,
}

struct Scan<'a> {
    line: &'a str,
    rest: Enumerate<CharIndices<'a>>,
    words: Vec<Word>,
    /// The word that is being read, and its first byte; none between two words.
    word: Option<(String, usize)>,
}

impl<'a> Scan<'a> {
    fn new(line: &'a str) -> Self {
        Scan { line, rest: line.char_indices().enumerate(), words: Vec::new(), word: None }
    }

    fn run(&mut self) -> Result<(), WordsError> {
        while let Some((column, (at, c))) = self.rest.next() {
            match c {
                ' ' | '\t' => self.end_word(at),
                '\'' | '"' => {
                    let (word, _) = self.word.get_or_insert_with(|| (String::new(), at));
                    quoted(c, column, &mut self.rest, word)?;
                }
                '\\' => {
                    let (word, _) = self.word.get_or_insert_with(|| (String::new(), at));
                    let (_, (_, ordinary)) =
                        self.rest.next().ok_or(WordsError::TrailingBackslash)?;
                    word.push(ordinary);
                }
                other => self.word.get_or_insert_with(|| (String::new(), at)).0.push(other),
            }
        }
        Ok(())
    }

    fn end_word(&mut self, at: usize) {
        if let Some((text, start)) = self.word.take() {
            self.words.push(Word { text, place: start..at });
        }
    }

    fn into_words(mut self) -> Vec<Word> {
        self.end_word(self.line.len());
        self.words
    }
}

/// Adds everything up to the closing quote to the word.
fn quoted(
    quote: char,
    column: usize,
    rest: &mut impl Iterator<Item = (usize, (usize, char))>,
    word: &mut String,
) -> Result<(), WordsError> {
    let name = if quote == '"' { "double" } else { "single" };
    let unclosed = WordsError::Unclosed { name, quote, column: column + 1 };
    while let Some((_, (_, c))) = rest.next() {
        if c == quote {
            return Ok(());
        }
        if c == '\\' && quote == '"' {
            match rest.next() {
                Some((_, (_, escaped @ ('"' | '\\')))) => word.push(escaped),
                Some((_, (_, other))) => word.extend([c, other]),
                None => break,
            }
        } else {
            word.push(c);
        }
    }
    Err(unclosed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line).unwrap()
    }

    #[test]
    fn blanks_separate_words() {
        assert_eq!(words("put a 1"), ["put", "a", "1"]);
        assert_eq!(words("  put\t a   1 "), ["put", "a", "1"]);
        assert!(words(" \t ").is_empty());
    }

    #[test]
    fn quotes_keep_a_word_together() {
        assert_eq!(words(r#"put greeting "hello world""#), ["put", "greeting", "hello world"]);
        assert_eq!(words("put g 'a \"b\" c'"), ["put", "g", "a \"b\" c"]);
        assert_eq!(words(r#"a"b c"'d e'f"#), ["ab cd ef"]);
        assert_eq!(words(r#"put "" ''"#), ["put", "", ""]);
    }

    #[test]
    fn a_backslash_makes_the_next_character_ordinary() {
        assert_eq!(words(r"a\ b \\ \' \n"), ["a b", "\\", "'", "n"]);
        assert_eq!(words(r#""say \"hi\" \\ \n""#), [r#"say "hi" \ \n"#]);
        assert_eq!(words(r"'a\b'"), [r"a\b"]);
    }

    #[test]
    fn every_other_character_is_itself() {
        assert_eq!(
            words("put #k $x *?; -5 été\u{a0}x"),
            ["put", "#k", "$x", "*?;", "-5", "été\u{a0}x"]
        );
    }

    #[test]
    fn a_line_that_ends_inside_a_word_is_refused() {
        let error = split("put 'a b").unwrap_err().to_string();
        assert!(error.contains("single quote (') at column 5"), "{error}");
        let error = split(r#"é "a\""#).unwrap_err().to_string();
        assert!(error.contains("double quote (\") at column 3"), "{error}");
        assert_eq!(split(r#""a\"#).unwrap_err(), split(r#""a"#).unwrap_err());
        assert_eq!(split("a\\"), Err(WordsError::TrailingBackslash));
    }

    #[test]
    fn words_know_their_places_and_an_open_quote_ends_the_last_one() {
        let scanned = scan("put  'a b' c\\ d");
        let places: Vec<_> = scanned.words.iter().map(|word| word.place.clone()).collect();
        assert_eq!(places, [0..3, 5..10, 11..15]);
        assert_eq!((scanned.open, scanned.error), (None, None));
        let scanned = scan("get \u{e9} \"x y");
        let word = Word { text: "x y".to_owned(), place: 7..11 };
        assert_eq!((scanned.words.last(), scanned.open), (Some(&word), Some('"')));
        assert!(scanned.error.is_some());
        assert_eq!(scan("a\\").error, Some(WordsError::TrailingBackslash));
    }

    #[test]
    fn what_is_quoted_is_read_back_as_one_word() {
        for text in ["a", "", "a b", "it's", "\"", "back\\slash", "a\nb", "'\"\\ ", "\u{a0}"] {
            assert_eq!(words(&format!("put {}", quote(text))), ["put", text]);
        }
        assert_eq!(quote("plain-key"), "plain-key");
    }
}
