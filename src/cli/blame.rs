//! Points at the word of a line that is wrong, or at the place where one is missing.
//!
//! The judgement whether a line is a command is [`typed`](crate::cli::typed)'s. Here is only where
//! to look, told by the usage of the command.

use std::ops::Range;

use crate::cli::typed::{Mistake, Usage};
use crate::cli::words::{Scanned, WordsError, scan};

/// Where a line is wrong, in bytes, and in a few words why, if the place alone does not say it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blame {
    /// Empty, at the end of the line, where something is missing.
    pub place: Range<usize>,
    /// For the line below.
    pub why: String,
}

/// How many words a command takes behind its own; the least, and the most if there is a limit.
#[must_use]
pub fn arity(usage: &Usage) -> (usize, Option<usize>) {
    let least = arguments(usage).filter(|name| !name.starts_with('[')).count();
    let is_endless = usage.arguments.contains("...");
    (least, (!is_endless).then(|| arguments(usage).count()))
}

/// The names of a command's arguments, optional ones in brackets.
pub fn arguments(usage: &Usage) -> impl Iterator<Item = &'static str> {
    usage
        .arguments
        .split_ascii_whitespace()
        .filter(|name| !name.trim_matches(['[', ']']).starts_with("..."))
}

/// Where to point. None where no single place is to blame.
#[must_use]
pub fn blame(line: &str, mistake: &Mistake, usages: &[Usage]) -> Option<Blame> {
    let Scanned { words, error, .. } = scan(line);
    match (mistake, error) {
        (Mistake::Unreadable(_), Some(WordsError::Unclosed { column, .. })) => {
            let (at, quote) = line.char_indices().nth(column - 1)?;
            Some(Blame { place: at..at + quote.len_utf8(), why: "opened here".to_owned() })
        }
        (Mistake::Unreadable(_), Some(WordsError::TrailingBackslash)) => {
            let end = line.len();
            Some(Blame { place: end - 1..end, why: String::new() })
        }
        (Mistake::Unreadable(_), None) => None,
        (Mistake::Unknown { word, at, known }, _) => {
            let why = nearest(word, known.split(", ")).map(|near| format!("did you mean {near}?"));
            Some(Blame { place: words.get(*at)?.place.clone(), why: why.unwrap_or_default() })
        }
        (Mistake::Unfit { at, .. }, _) => {
            Some(Blame { place: words.get(*at)?.place.clone(), why: String::new() })
        }
        (Mistake::Invalid { .. }, _) => {
            let usage = usages.iter().find(|usage| usage.word == words[0].text)?;
            let (least, most) = arity(usage);
            let given = words.len() - 1;
            if given < least {
                let missing: Vec<_> = arguments(usage).skip(given).take(least - given).collect();
                let end = line.trim_end().len() + 1;
                let verb = if missing.len() == 1 { "is" } else { "are" };
                return Some(Blame {
                    place: end..end,
                    why: format!("{} {verb} missing", missing.join(" and ")),
                });
            }
            if let Some(most) = most
                && given > most
            {
                let (first, last) = (&words[most + 1].place, &words[given].place);
                return Some(Blame {
                    place: first.start..last.end,
                    why: format!("{} takes no more words; quotes keep one together", usage.word),
                });
            }
            // The right number of words, and yet one of them is none that the command takes.
            Some(Blame { place: words.last()?.place.clone(), why: String::new() })
        }
    }
}

/// The command that differs least from this word, if it does not differ much.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|name| (distance(word, name), name));
    near.filter(|&(distance, name)| distance <= 2 && distance < name.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// Characters to insert, remove, replace, or to swap with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) =
        (one.chars().take(32).collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<usize>>()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let changed = usize::from(one[i - 1] != other[j - 1]);
            let mut least =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + changed);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

/// The lines that point: the text above the marks only if the reader cannot see it where the
/// marks will stand, that is below a prompt of `indent` columns on a terminal this wide.
#[must_use]
pub fn marks(line: &str, blame: &Blame, indent: usize, columns: usize) -> Vec<String> {
    let start = line.get(..blame.place.start).unwrap_or(line);
    let first = start.rfind('\n').map_or(0, |at| at + 1);
    let row = line[first..].lines().next().unwrap_or("");
    let before = width(&start[first..]) + usize::from(blame.place.start > line.len());
    let marked = row.get(blame.place.start - first..).unwrap_or("");
    let marked = marked.get(..blame.place.len().min(marked.len())).unwrap_or(marked);
    let mark = "^".repeat(width(marked).max(1));
    let is_visible = !line.contains('\n') && indent + width(line) < columns;
    let (indent, mut lines) =
        if is_visible { (indent, Vec::new()) } else { (2, vec![format!("  {row}")]) };
    lines
        .push(format!("{}{mark} {}", " ".repeat(indent + before), blame.why).trim_end().to_owned());
    lines
}

/// Columns that a text takes on a terminal.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// Wide scripts and pictures take two columns, combining marks none. Good enough to place a mark.
fn columns_of(c: char) -> usize {
    match u32::from(c) {
        0..=0x1f | 0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::words::split;

    const USAGES: &[Usage] = &[
        Usage { word: "put", arguments: "KEY VALUE", purpose: "" },
        Usage { word: "get", arguments: "KEY", purpose: "" },
        Usage { word: "incr", arguments: "KEY [BY]", purpose: "" },
        Usage { word: "mget", arguments: "KEY ...", purpose: "" },
    ];

    /// The marks below `> ` and the line.
    fn pointed(line: &str) -> Vec<String> {
        let words = match split(line) {
            Ok(words) => words,
            Err(error) => return marks(line, &blame(line, &error.into(), USAGES).unwrap(), 2, 80),
        };
        let mistake = match USAGES.iter().find(|usage| usage.word == words[0]) {
            Some(usage) => Mistake::invalid(usage),
            None => Mistake::unknown(&words[0], 0, USAGES),
        };
        marks(line, &blame(line, &mistake, USAGES).unwrap(), 2, 80)
    }

    #[test]
    fn the_mark_stands_under_the_wrong_word() {
        assert_eq!(pointed("frobnicate a"), ["  ^^^^^^^^^^"]);
        assert_eq!(pointed("  pu a"), ["    ^^ did you mean put?"]);
        assert_eq!(pointed("gte a"), ["  ^^^ did you mean get?"]);
        assert_eq!(
            pointed("put a b 'c d' e"),
            ["          ^^^^^^^ put takes no more words; quotes keep one together"]
        );
        assert_eq!(pointed("incr a x"), ["         ^"]);
    }

    #[test]
    fn the_mark_stands_under_a_word_that_cannot_be_what_it_should_be() {
        let (line, usage) = ("incr a ten", &USAGES[2]);
        let mistake = Mistake::unfit(usage, 2, "no number".to_owned());
        let blame = blame(line, &mistake, USAGES).unwrap();
        assert_eq!(marks(line, &blame, 2, 80), ["         ^^^"]);
    }

    #[test]
    fn the_mark_stands_under_the_unknown_word_wherever_it_stands() {
        let found = blame("help gte", &Mistake::unknown("gte", 1, USAGES), USAGES).unwrap();
        assert_eq!(marks("help gte", &found, 2, 80), ["       ^^^ did you mean get?"]);
    }

    #[test]
    fn the_mark_stands_where_a_word_is_missing() {
        assert_eq!(pointed("put"), ["      ^ KEY and VALUE are missing"]);
        assert_eq!(pointed("put a "), ["        ^ VALUE is missing"]);
        assert_eq!(pointed("mget"), ["       ^ KEY is missing"]);
    }

    #[test]
    fn an_open_quote_is_pointed_at() {
        assert_eq!(pointed("put \u{4e16} 'b"), ["         ^ opened here"]);
        assert_eq!(pointed("put a\\"), ["       ^"]);
    }

    #[test]
    fn a_line_that_cannot_be_seen_above_the_mark_is_shown_again() {
        let line = "put 'a\nb' c d";
        let mistake = Mistake::invalid(&USAGES[0]);
        let found = blame(line, &mistake, USAGES).unwrap();
        let lines = marks(line, &found, 2, 80);
        assert_eq!(lines[0], "  b' c d");
        assert!(lines[1].starts_with("       ^ put takes"), "{lines:?}");
    }

    #[test]
    fn the_usage_tells_how_many_words_there_may_be() {
        let arities: Vec<_> = USAGES.iter().map(arity).collect();
        assert_eq!(arities, [(2, Some(2)), (1, Some(1)), (1, Some(2)), (1, None)]);
    }
}
