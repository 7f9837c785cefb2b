//! The line editor of a person at a terminal: history, completion, hints, pasted lines.
//!
//! It exists only where stdin and stdout are a terminal that can do more than print; everybody else
//! reads plain lines. It blocks, on the console's own thread. While it reads, the terminal is in
//! raw mode, and what others print must go through [`above`].
//!
//! Kept here: a text is handed on only when its quotes are closed; what is typed while nobody reads
//! is read in its turn; a terminal is left as it was found, however the program ends (`mode`).

mod assistant;
mod history;
mod keys;
mod mode;

use std::io::IsTerminal;
use std::path::PathBuf;

use rustix::termios::tcgetwinsize;
use rustyline::config::{BellStyle, ColorMode, CompletionType, Configurer};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;

use self::assistant::Assistant;
pub use self::history::HistoryFile;
pub use self::keys::KeySource;
pub use self::mode::KeptMode;
pub(crate) use self::mode::stop_after;
use crate::cli::above;
use crate::cli::style::{Style, is_dumb};
use crate::cli::typed::Usage;
use crate::cli::words::scan;

/// Entries of the history.
const ENTRIES: usize = 1000;

/// What was typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Typing {
    /// A text with its quotes closed: a line, or several that were pasted.
    Text(String),
    /// Ctrl-C with something typed, which is forgotten.
    Cleared,
    /// Ctrl-C with nothing typed.
    Interrupted,
    /// Ctrl-D, or the terminal is gone.
    Ended,
}

/// See the module.
pub struct Editor {
    inner: rustyline::Editor<Assistant, FileHistory>,
    prompt: &'static str,
    history: HistoryFile,
    /// The history file cannot be used, said once.
    has_told: bool,
}

/// Whether this process may edit lines: a person at both ends of a terminal that can do it.
#[must_use]
pub fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !is_dumb()
}

impl Editor {
    /// None where lines cannot be edited. `keys` is asked for keys that begin with a prefix.
    #[must_use]
    pub fn new(
        prompt: &'static str,
        usages: &'static [Usage],
        history: HistoryFile,
        keys: Option<KeySource>,
    ) -> Option<Editor> {
        if !is_possible() {
            return None;
        }
        let style = Style::of(&std::io::stdout());
        let mut inner = inner(style)?;
        let mut assistant = Assistant::new(usages, style, keys);
        let trouble = history.load(inner.history_mut());
        for entry in inner.history() {
            assistant.learn(entry);
        }
        inner.set_helper(Some(assistant));
        mode::begin();
        let mut editor = Editor { inner, prompt, history, has_told: false };
        editor.tell(trouble);
        Some(editor)
    }

    /// Columns before the text.
    #[must_use]
    pub fn indent(&self) -> usize {
        self.prompt.chars().count()
    }

    /// Waits for a text.
    pub fn read(&mut self) -> Typing {
        let mut text = String::new();
        loop {
            let prompt = match scan(&text).open {
                None => self.prompt.to_owned(),
                Some(quote) => format!("{quote:>width$} ", width = self.indent() - 1),
            };
            match self.read_line(&prompt) {
                Ok(line) => text.push_str(&line),
                Err(ReadlineError::Interrupted) => {
                    let typed = self.inner.helper().is_some_and(Assistant::has_text);
                    let nothing = text.is_empty() && !typed;
                    return if nothing { Typing::Interrupted } else { Typing::Cleared };
                }
                // The open quote will be complained about.
                Err(_) if !text.is_empty() => break,
                Err(_) => return Typing::Ended,
            }
            if scan(&text).open.is_none() {
                break;
            }
            text.push('\n');
        }
        self.remember(&text);
        Typing::Text(text)
    }

    /// Waits for an answer to a question: no help, no history.
    pub fn read_answer(&mut self) -> Option<String> {
        let helper = self.inner.helper().map(Assistant::for_answers);
        let assistant = self.inner.helper_mut().zip(helper);
        let kept = assistant.map(|(present, other)| std::mem::replace(present, other));
        let read = self.read_line("").ok();
        self.inner.set_helper(kept);
        read
    }

    fn read_line(&mut self, prompt: &str) -> Result<String, ReadlineError> {
        if !mode::begin_reading() {
            return Err(ReadlineError::Eof);
        }
        let styled = (prompt.to_owned(), Style::COLOURED.strong(prompt));
        let read = self.inner.readline(&styled);
        mode::end_reading();
        read
    }

    /// Drops what was typed behind the last text. What has not been read yet, the system has
    /// dropped by itself when Ctrl-C was typed.
    pub fn forget_typed(&mut self) {
        let style = Style::of(&std::io::stdout());
        // The one there is holds what it has read, and lets nobody take it.
        let Some(mut fresh) = inner(style) else { return };
        std::mem::swap(fresh.history_mut(), self.inner.history_mut());
        let helper = self.inner.helper().map(Assistant::for_answers);
        let present = self.inner.helper_mut().zip(helper);
        fresh.set_helper(present.map(|(present, other)| std::mem::replace(present, other)));
        self.inner = fresh;
    }

    fn remember(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        if let Some(assistant) = self.inner.helper_mut() {
            assistant.learn(text);
        }
        if let Ok(true) = self.inner.add_history_entry(text) {
            let trouble = self.history.append(self.inner.history_mut());
            self.tell(trouble);
        }
    }

    fn tell(&mut self, trouble: Option<String>) {
        if let Some(trouble) = trouble
            && !std::mem::replace(&mut self.has_told, true)
        {
            let line = Style::of(&std::io::stderr()).dim(&trouble);
            above::print_line(&line);
        }
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        above::stop();
        mode::end();
    }
}

/// One without a history and without help.
fn inner(style: Style) -> Option<rustyline::Editor<Assistant, FileHistory>> {
    let mut inner = rustyline::Editor::with_history(
        rustyline::Config::builder()
            .completion_type(CompletionType::List)
            .bell_style(BellStyle::None)
            .history_ignore_space(true)
            .build(),
        FileHistory::new(),
    )
    .ok()?;
    let colours = if style.is_coloured() { ColorMode::Enabled } else { ColorMode::Disabled };
    inner.set_color_mode(colours);
    inner.set_max_history_size(ENTRIES).ok()?;
    // Logs that go to a file disturb nobody.
    if std::io::stderr().is_terminal()
        && let Ok(printer) = inner.create_external_printer()
    {
        above::start(printer);
    }
    Some(inner)
}

/// Columns of the terminal on stdout; 80 where that is not known.
#[must_use]
pub fn columns() -> usize {
    let size = tcgetwinsize(std::io::stdout()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0).unwrap_or(80)
}

/// A history file in its usual place, or where the variable says.
#[must_use]
pub fn client_history() -> HistoryFile {
    let variable = |name: &str| std::env::var_os(name);
    let path: Option<PathBuf> =
        history::path(variable("PBKV_HISTORY"), variable("XDG_STATE_HOME"), variable("HOME"));
    HistoryFile::new(path)
}
