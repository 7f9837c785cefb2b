//! The terminal's modes: the user's own, which come back however the program ends or stops, and the
//! ones in which lines are edited and commands run.
//!
//! Kept here: what is typed while a command runs waits for the next prompt as it was typed. In the
//! user's mode the system would bend it at once: Ctrl-D would be an end that nobody reads, Return
//! another character, and the next switch would turn both into something else. So lines stay raw
//! between two prompts, too, with Ctrl-C and its like left to the system; and no switch ever throws
//! typed keys away.

use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Signal, getpgid, getpid, getppid, getsid, kill_process};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;

use crate::cli::above;
use crate::cli::terminal::is_background;

/// What the terminal is used for at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    /// A line is edited.
    Reading,
    /// A command runs, or nothing is asked for.
    Between,
}

struct Modes {
    users: Termios,
    present: Use,
}

/// None before the editor begins, and after the terminal was given back.
static MODES: Mutex<Option<Modes>> = Mutex::new(None);

impl Modes {
    fn wanted(&self) -> Termios {
        match self.present {
            Use::Reading => raw(&self.users),
            Use::Between => between(&self.users),
        }
    }

    /// Sees to it that the terminal is in the mode that its use needs.
    fn enforce(&mut self) {
        // In the background, to touch the terminal would stop this process.
        let Ok(present) = tcgetattr(std::io::stdin()) else { return };
        if is_background() {
            return;
        }
        let wanted = self.wanted();
        if is_same(&present, &wanted) {
            return;
        }
        if !is_same(&present, &raw(&self.users)) && !is_same(&present, &between(&self.users)) {
            // Somebody changed it while this process was stopped: that is how it is to be left.
            self.users = present;
        }
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.wanted());
    }

    /// Back to the user's mode, below the line that was being typed.
    fn give_back(&self) {
        let is_ours =
            tcgetattr(std::io::stdin()).is_ok_and(|present| !is_same(&present, &self.users));
        if is_ours && !is_background() {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.users);
            if self.present == Use::Reading {
                // Pasted text is no longer marked.
                let _ = rustix::io::write(std::io::stdout(), b"\x1b[?2004l\r\n");
            }
        }
    }
}

fn is_same(one: &Termios, other: &Termios) -> bool {
    one.local_modes == other.local_modes && one.input_modes == other.input_modes
}

/// Keeps what is typed as it is, and shows none of it.
fn between(users: &Termios) -> Termios {
    let mut modes = users.clone();
    modes.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN;
    modes.input_modes -=
        InputModes::ICRNL | InputModes::INLCR | InputModes::IGNCR | InputModes::ISTRIP;
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    modes
}

/// The same without signals: what the editor makes of it by itself.
fn raw(users: &Termios) -> Termios {
    let mut modes = between(users);
    modes.local_modes -= LocalModes::ISIG;
    modes.input_modes -= InputModes::BRKINT | InputModes::INPCK | InputModes::IXON;
    modes
}

fn with<T>(act: impl FnOnce(&mut Option<Modes>) -> T) -> Option<T> {
    MODES.lock().ok().map(|mut modes| act(&mut modes))
}

/// From now on the terminal is ours. To be called in the foreground.
pub(super) fn begin() {
    if let Ok(users) = tcgetattr(std::io::stdin()) {
        with(|modes| modes.insert(Modes { users, present: Use::Between }).enforce());
    }
}

/// A line will be edited. False if the program is about to end: there is no prompt any more.
pub(super) fn begin_reading() -> bool {
    let began = with(|modes| {
        modes.as_mut().is_some_and(|modes| {
            // The editor takes over from this mode, and comes back to it.
            modes.present = Use::Between;
            modes.enforce();
            modes.present = Use::Reading;
            true
        })
    });
    began.unwrap_or(false)
}

/// The line was edited.
pub(super) fn end_reading() {
    with(|modes| {
        if let Some(modes) = modes {
            modes.present = Use::Between;
            modes.enforce();
        }
    });
}

/// The terminal is the user's again.
pub(super) fn end() {
    with(|modes| {
        if let Some(modes) = modes.take() {
            modes.give_back();
        }
    });
}

/// Gives the terminal back when it is dropped, and while the process is stopped: a program may end
/// while its console thread waits for a key in raw mode, and would leave a shell in which nothing
/// typed is seen.
pub struct KeptMode(Option<AbortHandle>);

impl KeptMode {
    /// To be made before the console thread starts, on the runtime; does something only if lines
    /// will be edited.
    #[must_use]
    pub fn now() -> KeptMode {
        KeptMode(super::is_possible().then(|| tokio::spawn(follow_signals()).abort_handle()))
    }
}

impl Drop for KeptMode {
    fn drop(&mut self) {
        if let Some(follower) = &self.0 {
            follower.abort();
            // First the terminal, then what could not be drawn in time: the editor's thread may be
            // drawing a line, and nobody knows whether it gets so far.
            end();
            above::stop();
        }
    }
}

/// Gives the terminal back when a person stops or ends the process, takes it again when it goes on.
async fn follow_signals() {
    let kind = |signal: Signal| SignalKind::from_raw(signal.as_raw());
    let streams =
        (signal(kind(Signal::TSTP)), signal(kind(Signal::CONT)), signal(kind(Signal::QUIT)));
    let (Ok(mut stop), Ok(mut go_on), Ok(mut quit)) = streams else { return };
    loop {
        tokio::select! {
            _ = stop.recv() => {
                stop_after(|| {
                    with(|modes| {
                        if let Some(modes) = modes {
                            modes.give_back();
                        }
                    });
                });
            }
            _ = go_on.recv() => go_on_reading().await,
            _ = quit.recv() => {
                end();
                std::process::exit(128 + Signal::QUIT.as_raw());
            }
        }
    }
}

/// Stops this process, after something is done, as Ctrl-Z would if nobody had caught it. Does nothing
/// where it would not: without a shell. Returns when the process goes on: true if it had stopped.
pub(crate) fn stop_after(prepare: impl FnOnce()) -> bool {
    can_be_continued() && {
        prepare();
        kill_process(getpid(), Signal::STOP).is_ok()
    }
}

/// Somebody is there to continue this process: who stops without a shell stops for ever.
fn can_be_continued() -> bool {
    let Some(parent) = getppid() else { return false };
    getsid(None).is_ok_and(|session| getsid(Some(parent)) == Ok(session))
        && getpgid(None).is_ok_and(|group| getpgid(Some(parent)).is_ok_and(|other| other != group))
}

async fn go_on_reading() {
    // A job that goes on in the background has no terminal until it is fetched.
    while is_background() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let reads = with(|modes| {
        modes.as_mut().is_some_and(|modes| {
            modes.enforce();
            modes.present == Use::Reading
        })
    });
    if reads == Some(true) {
        // Pasted text is marked again, and the line is drawn anew.
        let _ = rustix::io::write(std::io::stdout(), b"\x1b[?2004h");
        above::print("");
    }
}
