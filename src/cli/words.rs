//! A typed line as words: blanks separate, quotes keep together, as in a shell.
//!
//! Everything between single quotes stands for itself. Between double quotes a backslash makes
//! `"` and `\` ordinary and stands for itself before anything else; outside of quotes it makes any
//! character ordinary. There are no comments, variables or patterns: every other character is
//! itself.

use thiserror::Error;

/// Why a line is not a sequence of words. Columns count characters from 1.
#[derive(Debug, Error, PartialEq, Eq)]
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

/// Splits a line. Quotes with nothing between them are an empty word.
///
/// # Errors
/// When the line ends in the middle of a word.
pub fn split(line: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    // None between two words.
    let mut word: Option<String> = None;
    let mut rest = line.chars().enumerate();
    while let Some((at, c)) = rest.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' | '"' => {
                quoted(c, at, &mut rest, word.get_or_insert_default())?;
            }
            '\\' => {
                let (_, ordinary) = rest.next().ok_or(WordsError::TrailingBackslash)?;
                word.get_or_insert_default().push(ordinary);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Adds everything up to the closing quote to the word.
fn quoted(
    quote: char,
    at: usize,
    rest: &mut impl Iterator<Item = (usize, char)>,
    word: &mut String,
) -> Result<(), WordsError> {
    let name = if quote == '"' { "double" } else { "single" };
    let unclosed = WordsError::Unclosed { name, quote, column: at + 1 };
    while let Some((_, c)) = rest.next() {
        if c == quote {
            return Ok(());
        }
        if c == '\\' && quote == '"' {
            match rest.next() {
                Some((_, escaped @ ('"' | '\\'))) => word.push(escaped),
                Some((_, other)) => word.extend([c, other]),
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
}
