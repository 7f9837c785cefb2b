//! Several lines in one text, as they are pasted: a line ends where a newline stands outside of
//! quotes.

/// The lines, in order, without the blank ones.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    ends(text).filter(|line| !line.trim().is_empty())
}

/// What follows the last end of a line.
#[must_use]
pub fn last_line(text: &str) -> &str {
    ends(text).last().unwrap_or("")
}

fn ends(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (line, behind) = match first_end(text) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        rest = behind;
        Some(line)
    })
}

/// The first newline that is not in quotes and not made ordinary.
fn first_end(text: &str) -> Option<usize> {
    let mut open = None;
    let mut rest = text.char_indices();
    while let Some((at, c)) = rest.next() {
        match (open, c) {
            (None, '\n') => return Some(at),
            (None, '\'' | '"') => open = Some(c),
            (Some(quote), c) if c == quote => open = None,
            (None | Some('"'), '\\') => {
                rest.next();
            }
            (None | Some(_), _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_outside_of_quotes_only() {
        let text = "put a 1\n\nput b 'x\ny'\nput c \"say \\\"\n\\\"\"\nget a";
        let lines: Vec<&str> = split(text).collect();
        assert_eq!(lines, ["put a 1", "put b 'x\ny'", "put c \"say \\\"\n\\\"\"", "get a"]);
        assert_eq!(last_line("put a 1\nge"), "ge");
        assert_eq!(last_line("put a 'x\ny"), "put a 'x\ny");
        assert_eq!(last_line(""), "");
    }
}
