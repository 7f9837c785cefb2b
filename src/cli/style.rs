//! Colour: on a terminal that can show it, and never with `NO_COLOR`.
//!
//! Colours only help the eye: whatever they say is also said in words or by position.

use std::io::IsTerminal;

/// How to write to one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    is_coloured: bool,
}

impl Style {
    /// Text as it is.
    pub const PLAIN: Style = Style { is_coloured: false };
    /// Text with colours.
    pub const COLOURED: Style = Style { is_coloured: true };

    /// What this stream of this process can show.
    #[must_use]
    pub fn of(stream: &impl IsTerminal) -> Style {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style { is_coloured: stream.is_terminal() && !no_color && !is_dumb() }
    }

    /// Whether there are colours at all.
    #[must_use]
    pub fn is_coloured(self) -> bool {
        self.is_coloured
    }

    /// What matters less than the rest.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What is wrong.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What may become wrong.
    #[must_use]
    pub fn doubtful(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// What is as it should be.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What is looked at first.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.is_coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The terminal knows no control sequences, says the environment.
#[must_use]
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_style_adds_nothing() {
        assert_eq!(Style::PLAIN.bad("x"), "x");
        assert_eq!(Style::COLOURED.bad("x"), "\x1b[31mx\x1b[0m");
    }
}
