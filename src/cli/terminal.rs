//! Lines in, lines out: a terminal, a pipe, or a test's buffers.
//!
//! A line is bounded in length, may end with LF or CRLF, and must be UTF-8. Nothing that is
//! written can panic: a reader may close its end of a pipe at any time.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::blame::{blame, marks};
use crate::cli::editor::{Editor, HistoryFile, KeySource, Typing, columns};
use crate::cli::style::Style;
use crate::cli::typed::{Mistake, Usage};
use crate::cli::{lines, words};

/// The longest line, in bytes: several times what the largest key and value need, with every
/// character escaped.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Bytes of an answer after which a person may have had enough of it.
const WRITTEN_AT_ONCE: usize = 64 << 10;

/// Where lines come from and answers go.
pub struct Terminal<'a> {
    /// Lines typed.
    pub input: Box<dyn BufRead + 'a>,
    /// Answers.
    pub output: Box<dyn Write + 'a>,
    /// Reasons and complaints.
    pub errors: Box<dyn Write + 'a>,
    /// Shown before each line; only to people.
    pub prompt: Option<&'static str>,
    /// A person types the lines.
    pub is_typed: bool,
    /// Returns when it is this process's turn to read.
    pub wait_for_turn: fn(),
    /// Edits the lines of a person at a terminal that can do it.
    pub editor: Option<Editor>,
    /// How to write reasons and complaints.
    pub style: Style,
    /// Lines that were pasted behind the one that was taken last.
    pub pasted: VecDeque<String>,
    /// The line that was taken last, for pointing at its words.
    pub last: String,
    /// What Ctrl-C does when nothing is typed.
    pub on_interrupt: OnInterrupt,
    /// Ctrl-C has ended the lines.
    pub is_interrupted: bool,
    /// The input could not be read, which has been said: it has ended.
    pub is_unreadable: bool,
    /// Set when a person wants no more of the answer that is being written.
    pub stop_writing: Option<Arc<AtomicBool>>,
}

/// See [`Terminal::on_interrupt`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnInterrupt {
    /// Another prompt, as in a shell.
    AskAgain,
    /// The end, as for a program in the foreground.
    Leave,
}

impl Terminal<'static> {
    /// The standard streams. The prompt shows if a person is at both ends.
    #[must_use]
    pub fn standard(prompt: &'static str) -> Self {
        let (input, output) = (std::io::stdin(), std::io::stdout());
        let typed = input.is_terminal();
        Terminal {
            is_typed: typed,
            prompt: (typed && output.is_terminal()).then_some(prompt),
            wait_for_turn: if typed { wait_for_foreground } else { || () },
            input: Box::new(input.lock()),
            output: Box::new(output),
            errors: Box::new(std::io::stderr()),
            editor: None,
            style: Style::PLAIN,
            pasted: VecDeque::new(),
            last: String::new(),
            on_interrupt: OnInterrupt::AskAgain,
            is_interrupted: false,
            is_unreadable: false,
            stop_writing: None,
        }
    }

    /// The standard streams, with a line editor for these commands if a person is at both ends.
    #[must_use]
    pub fn interactive(
        prompt: &'static str,
        usages: &'static [Usage],
        history: HistoryFile,
        keys: Option<KeySource>,
    ) -> Self {
        let mut terminal = Terminal::standard(prompt);
        // A background process must not touch the terminal, not even to set up the editor.
        (terminal.wait_for_turn)();
        terminal.editor = Editor::new(prompt, usages, history, keys);
        if terminal.editor.is_some() {
            terminal.style = Style::of(&std::io::stderr());
        }
        terminal
    }

    /// The same for a server: Ctrl-C ends it, and nothing is remembered for the next run.
    #[must_use]
    pub fn of_server(prompt: &'static str, usages: &'static [Usage]) -> Self {
        let on_interrupt = OnInterrupt::Leave;
        Terminal {
            on_interrupt,
            ..Terminal::interactive(prompt, usages, HistoryFile::default(), None)
        }
    }
}

impl Terminal<'_> {
    /// The next line without its end. None at the end of the input.
    ///
    /// # Errors
    /// When the line is too long or not UTF-8; the next call goes on behind it. And when the input
    /// cannot be read, before it ends with that.
    pub fn line(&mut self) -> Option<Result<String, Mistake>> {
        (self.wait_for_turn)();
        if self.editor.is_some() {
            return self.edited_line();
        }
        if self.is_unreadable {
            return None;
        }
        if let Some(prompt) = self.prompt {
            let _ = write!(self.output, "{prompt}").and_then(|()| self.output.flush());
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = match self.input.by_ref().take(limit).read_until(b'\n', &mut bytes) {
            Ok(0) => return None,
            Ok(read) => read,
            Err(error) => {
                // Not the end: a script of which nobody can tell whether there was more is not
                // done. Half a line is not executed, for it may say another thing than the whole.
                self.is_unreadable = true;
                return Some(Err(Mistake::Unreadable(format!("stdin: {error}"))));
            }
        };
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        } else if read == LINE_BYTES_MAX {
            let _ = self.input.skip_until(b'\n');
            return Some(Err(too_long()));
        }
        Some(String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to() + 1;
            Mistake::Unreadable(format!("byte {at} is not UTF-8; nothing was sent"))
        }))
    }

    fn edited_line(&mut self) -> Option<Result<String, Mistake>> {
        loop {
            if let Some(line) = self.pasted.pop_front() {
                if line.len() > LINE_BYTES_MAX {
                    return Some(Err(too_long()));
                }
                self.last.clone_from(&line);
                return Some(Ok(line));
            }
            match self.editor.as_mut()?.read() {
                Typing::Text(text) => self.pasted.extend(lines::split(&text).map(str::to_owned)),
                Typing::Cleared => {}
                Typing::Interrupted if self.on_interrupt == OnInterrupt::AskAgain => {}
                Typing::Interrupted => {
                    self.is_interrupted = true;
                    return None;
                }
                Typing::Ended => return None,
            }
        }
    }

    /// Drops the lines that were typed or pasted behind the last one, and says so of the latter.
    pub fn forget_typed(&mut self) {
        if let Some(editor) = &mut self.editor {
            editor.forget_typed();
        }
        let count = std::mem::take(&mut self.pasted).len();
        if count > 0 {
            self.complain(&self.style.dim(&format!("{count} more pasted lines were dropped")));
        }
    }

    /// The answer to a question: a line that is no command. None at the end of the input.
    pub fn answer_to_question(&mut self) -> Option<String> {
        match &mut self.editor {
            Some(editor) => editor.read_answer(),
            None => self.line()?.ok(),
        }
    }

    /// The words of the next line that is not blank. None at the end of the input.
    ///
    /// # Errors
    /// When the line is not a sequence of words.
    pub fn words(&mut self) -> Option<Result<Vec<String>, Mistake>> {
        loop {
            let words = match self.line()? {
                Ok(line) => words::split(&line).map_err(Mistake::from),
                Err(mistake) => Err(mistake),
            };
            if words.as_ref().is_ok_and(Vec::is_empty) {
                continue;
            }
            return Some(words);
        }
    }

    /// Writes an answer and the end of its line, all at once.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn answer(&mut self, text: &str) -> std::io::Result<()> {
        self.write(&format!("{text}\n"))
    }

    /// Writes a part of an answer.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn write(&mut self, text: &str) -> std::io::Result<()> {
        if let Some(stop) = &self.stop_writing {
            // What was meant for the operation has stopped that.
            stop.store(false, Ordering::Relaxed);
        }
        let mut rest = text.as_bytes();
        while let Some((part, behind)) = rest.split_at_checked(WRITTEN_AT_ONCE) {
            self.output.write_all(part)?;
            rest = behind;
            let stop = self.stop_writing.as_ref();
            if stop.is_some_and(|stop| stop.swap(false, Ordering::Relaxed)) {
                self.output.write_all(b"\n")?;
                self.output.flush()?;
                self.complain(&format!("the other {} bytes are not shown", rest.len()));
                return Ok(());
            }
        }
        self.output.write_all(rest)?;
        self.output.flush()
    }

    /// Tells stderr why the last line is not a command; a person is also shown where.
    pub fn complain_of(&mut self, mistake: &Mistake, usages: &[Usage]) {
        self.point(mistake, usages);
        self.complain(&mistake.to_string());
    }

    /// Points at the wrong word of the last line, if a person has typed it.
    pub fn point(&mut self, mistake: &Mistake, usages: &[Usage]) {
        if let Some(editor) = &self.editor
            && let Some(found) = blame(&self.last, mistake, usages)
        {
            for line in marks(&self.last, &found, editor.indent(), columns()) {
                let line = match line.trim_start().starts_with('^') {
                    true => self.style.bad(&line),
                    false => self.style.dim(&printable(&line)),
                };
                self.complain(&line);
            }
        }
    }

    /// Tells stderr why something could not be done.
    pub fn complain(&mut self, text: &str) {
        let _ = self.errors.write_all(format!("{text}\n").as_bytes());
        let _ = self.errors.flush();
    }
}

fn too_long() -> Mistake {
    Mistake::Unreadable(format!("it is longer than {LINE_BYTES_MAX} bytes; nothing was sent"))
}

/// A text for people: what would break the line, or tell the terminal what to do, is escaped.
/// `--json` shows every text exactly.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let disturbs = |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}');
    if !text.contains(disturbs) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if disturbs(c) {
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Waits while a shell runs another program in the foreground of this terminal: who reads from a
/// terminal in the background (`kvserver s1 &`) is stopped by the system, the protocol with it.
fn wait_for_foreground() {
    while is_background() {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// Whether a shell runs another program in the foreground of this terminal.
#[must_use]
pub fn is_background() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    is_in_background(&stat).unwrap_or(false)
}

/// Reads a line of `/proc/PID/stat`: the terminal's foreground group is another one than ours.
fn is_in_background(stat: &str) -> Option<bool> {
    // The name in parentheses may hold anything, blanks and parentheses included.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(2);
    let group: i64 = fields.next()?.parse().ok()?;
    let foreground: i64 = fields.nth(2)?.parse().ok()?;
    Some(foreground > 0 && foreground != group)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Feeds lines to a console; returns what it returned, its answers and its complaints.
    pub(crate) fn feed<T>(
        input: &[u8],
        console: impl FnOnce(&mut Terminal<'_>) -> T,
    ) -> (T, String, String) {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let mut terminal = Terminal {
            input: Box::new(input),
            output: Box::new(&mut output),
            errors: Box::new(&mut errors),
            prompt: None,
            is_typed: false,
            wait_for_turn: || (),
            editor: None,
            style: Style::PLAIN,
            pasted: VecDeque::new(),
            last: String::new(),
            on_interrupt: OnInterrupt::AskAgain,
            is_interrupted: false,
            is_unreadable: false,
            stop_writing: None,
        };
        let result = console(&mut terminal);
        drop(terminal);
        (result, String::from_utf8(output).unwrap(), String::from_utf8(errors).unwrap())
    }

    #[test]
    fn lines_end_with_lf_or_crlf_or_the_input() {
        let (lines, _, _) = feed(b"a\r\n\nb \xc3\xa9\nlast", |terminal| {
            std::iter::from_fn(|| terminal.line()).collect::<Result<Vec<_>, _>>()
        });
        assert_eq!(lines.unwrap(), ["a", "", "b \u{e9}", "last"]);
    }

    #[test]
    fn blank_lines_are_skipped_and_bad_ones_do_not_stop_the_next() {
        let (lines, _, _) = feed(b"\n  \nput a\n'open\n\xff\nview\n", |terminal| {
            std::iter::from_fn(|| terminal.words()).collect::<Vec<_>>()
        });
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0], Ok(vec!["put".to_owned(), "a".to_owned()]));
        assert!(lines[1].as_ref().unwrap_err().to_string().contains("single quote"));
        assert!(lines[2].as_ref().unwrap_err().to_string().contains("not UTF-8"));
        assert_eq!(lines[3], Ok(vec!["view".to_owned()]));
    }

    #[test]
    fn an_input_that_cannot_be_read_is_a_mistake_and_then_the_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::WouldBlock.into())
            }
        }
        let (lines, _, _) = feed(b"", |terminal| {
            let input = b"put a 1\nremove a".as_slice().chain(Broken);
            terminal.input = Box::new(std::io::BufReader::new(input));
            std::iter::from_fn(|| terminal.line()).take(5).collect::<Vec<_>>()
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0], Ok("put a 1".to_owned()));
        let told = lines[1].as_ref().unwrap_err().to_string();
        assert!(told.starts_with("unreadable line: stdin: "), "{told}");
    }

    #[test]
    fn a_long_answer_ends_when_a_person_wants_no_more_of_it() {
        struct Enough(Arc<AtomicBool>, usize);
        impl Write for Enough {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.1 += bytes.len();
                self.0.store(self.1 >= 2 * WRITTEN_AT_ONCE, Ordering::Relaxed);
                assert!(self.1 <= 2 * WRITTEN_AT_ONCE + 1, "and the end of the line");
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let long = "x".repeat(10 * WRITTEN_AT_ONCE);
        let (_, output, errors) = feed(b"", |terminal| {
            // Ctrl-C while the operation was waited for stops no answer.
            terminal.stop_writing = Some(Arc::new(AtomicBool::new(true)));
            terminal.answer(&long).unwrap();
            let stop = Arc::new(AtomicBool::new(false));
            terminal.stop_writing = Some(Arc::clone(&stop));
            let output = std::mem::replace(&mut terminal.output, Box::new(Enough(stop, 0)));
            terminal.answer(&long).unwrap();
            terminal.output = output;
        });
        assert_eq!(output.len(), long.len() + 1);
        assert_eq!(errors, format!("the other {} bytes are not shown\n", 8 * WRITTEN_AT_ONCE + 1));
    }

    #[test]
    fn a_line_that_never_ends_is_refused_and_skipped() {
        let mut input = vec![b'x'; LINE_BYTES_MAX + 10];
        input.extend(b"\nview\n");
        let (lines, _, _) =
            feed(&input, |terminal| std::iter::from_fn(|| terminal.line()).collect::<Vec<_>>());
        assert!(lines[0].as_ref().unwrap_err().to_string().contains("longer than"));
        assert_eq!(lines[1..], [Ok("view".to_owned())]);
    }

    #[test]
    fn the_prompt_stands_before_each_line() {
        let (_, output, _) = feed(b"a\n", |terminal| {
            terminal.prompt = Some("> ");
            assert!(terminal.line().is_some());
            assert!(terminal.line().is_none());
        });
        assert_eq!(output, "> > ");
    }

    #[test]
    fn a_text_for_people_stays_on_its_line() {
        assert_eq!(printable("tab\there, \u{e9}"), "tab\there, \u{e9}");
        assert_eq!(printable("a\nb\r\u{1b}[2J\u{2028}"), "a\\nb\\r\\u{1b}[2J\\u{2028}");
    }

    #[test]
    fn the_background_is_told_from_the_foreground() {
        let stat = |group: i64, foreground: i64| {
            format!("12 (a) b) S 1 {group} 9 34816 {foreground} 4194304 0")
        };
        assert_eq!(is_in_background(&stat(12, 12)), Some(false));
        assert_eq!(is_in_background(&stat(12, 40)), Some(true));
        assert_eq!(is_in_background(&stat(12, -1)), Some(false));
        assert_eq!(is_in_background(""), None);
    }
}
