//! A terminal's screen: enough of one to see what a person would see.
//!
//! It understands what our programs and their line editor write, ignores what changes no text, and
//! keeps the lines that have scrolled away.

/// See the top of this file. Rows and columns count from 0.
pub struct Screen {
    rows: Vec<Vec<char>>,
    columns: usize,
    /// Where the next character goes; the column after the last one while a wrap is pending.
    at: (usize, usize),
    /// The main screen, while the alternate one is shown.
    main: Option<Main>,
    scrolled: Vec<String>,
    state: State,
}

/// Rows, and where the next character goes.
type Main = (Vec<Vec<char>>, (usize, usize));

enum State {
    Text,
    Escape,
    Sequence(String),
    /// Up to a bell or the end of string.
    Title,
}

fn text_of(row: &[char]) -> String {
    row.iter().collect::<String>().trim_end().to_owned()
}

impl Screen {
    /// An empty one.
    pub fn new(columns: usize, rows: usize) -> Screen {
        Screen {
            rows: vec![vec![' '; columns]; rows],
            columns,
            at: (0, 0),
            main: None,
            scrolled: Vec::new(),
            state: State::Text,
        }
    }

    /// What stands on it, without blanks at the ends of rows.
    pub fn rows(&self) -> Vec<String> {
        self.rows.iter().map(|row| text_of(row)).collect()
    }

    /// Everything that was ever on it and was not overwritten.
    pub fn text(&self) -> String {
        let rows = self.rows();
        let used = rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
        [&self.scrolled[..], &rows[..used]].concat().join("\n")
    }

    /// The row in which the cursor stands, and its column.
    pub fn cursor(&self) -> (String, usize) {
        (text_of(&self.rows[self.at.0]), self.at.1)
    }

    /// Whether the alternate screen is shown.
    pub fn is_alternate(&self) -> bool {
        self.main.is_some()
    }

    /// Takes what a program has written.
    pub fn write(&mut self, text: &str) {
        for c in text.chars() {
            self.state = match (std::mem::replace(&mut self.state, State::Text), c) {
                (State::Text, '\x1b') => State::Escape,
                (State::Text, c) => {
                    self.put(c);
                    State::Text
                }
                (State::Escape, '[') => State::Sequence(String::new()),
                (State::Escape, ']') => State::Title,
                (State::Escape, _) => State::Text,
                (State::Title, '\x07' | '\\') => State::Text,
                (State::Title, _) => State::Title,
                (State::Sequence(arguments), last @ '@'..='~') => {
                    self.carry_out(&arguments, last);
                    State::Text
                }
                (State::Sequence(mut arguments), c) => {
                    arguments.push(c);
                    State::Sequence(arguments)
                }
            };
        }
    }

    fn put(&mut self, c: char) {
        match c {
            '\r' => self.at.1 = 0,
            '\n' => self.line_feed(),
            '\x08' => self.at.1 = self.at.1.saturating_sub(1),
            c if c.is_control() => {}
            c => {
                if self.at.1 >= self.columns {
                    self.at.1 = 0;
                    self.line_feed();
                }
                self.rows[self.at.0][self.at.1] = c;
                self.at.1 += 1;
            }
        }
    }

    fn line_feed(&mut self) {
        if self.at.0 + 1 < self.rows.len() {
            self.at.0 += 1;
            return;
        }
        let gone = self.rows.remove(0);
        if self.main.is_none() {
            self.scrolled.push(text_of(&gone));
        }
        self.rows.push(vec![' '; self.columns]);
    }

    fn carry_out(&mut self, arguments: &str, last: char) {
        let number = |at: usize, default: usize| {
            let text = arguments.split(';').nth(at).unwrap_or("");
            text.parse::<usize>().unwrap_or(default)
        };
        let (row, column) = (self.at.0, self.at.1.min(self.columns - 1));
        match (arguments, last) {
            ("?1049", 'h') => {
                let blank = vec![vec![' '; self.columns]; self.rows.len()];
                self.main = Some((std::mem::replace(&mut self.rows, blank), self.at));
                self.at = (0, 0);
            }
            ("?1049", 'l') => {
                if let Some((rows, at)) = self.main.take() {
                    (self.rows, self.at) = (rows, at);
                }
            }
            (_, 'A') => self.at = (row.saturating_sub(number(0, 1)), column),
            (_, 'B') => self.at = ((row + number(0, 1)).min(self.rows.len() - 1), column),
            (_, 'C') => self.at.1 = (column + number(0, 1)).min(self.columns - 1),
            (_, 'D') => self.at.1 = column.saturating_sub(number(0, 1)),
            (_, 'H' | 'f') => {
                let row = number(0, 1).clamp(1, self.rows.len());
                self.at = (row - 1, number(1, 1).clamp(1, self.columns) - 1);
            }
            (_, 'K') => self.rows[row][self.at.1.min(self.columns)..].fill(' '),
            (_, 'J') => {
                if number(0, 0) == 2 {
                    self.rows.iter_mut().for_each(|row| row.fill(' '));
                } else {
                    self.rows[row][self.at.1.min(self.columns)..].fill(' ');
                    self.rows[row + 1..].iter_mut().for_each(|row| row.fill(' '));
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_screen_wraps_scrolls_moves_and_erases() {
    let mut screen = Screen::new(4, 2);
    screen.write("abcdef\r\nxy\x1b[1Dz\x1b[K");
    assert_eq!((screen.text().as_str(), screen.cursor()), ("abcd\nef\nxz", ("xz".to_owned(), 2)));
    screen.write("\x1b[?1049h\x1b[Hw\x1b[2;3H!\x1b[1m");
    assert_eq!(
        (screen.rows(), screen.is_alternate()),
        (vec!["w".to_owned(), "  !".to_owned()], true)
    );
    screen.write("\x1b[?1049l\x1b[A\x1b[J");
    assert_eq!(screen.rows(), ["ef", ""]);
}
