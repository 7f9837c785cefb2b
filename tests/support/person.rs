//! A person at a terminal: types keys, looks at the screen.
//!
//! The program gets a pseudo-terminal of its own as its controlling terminal, so that Ctrl-C is a
//! signal where the program leaves that to the system.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::PATIENCE;
use super::logs::Logs;
use super::process::Signal;
use super::screen::Screen;

pub const CTRL_C: &str = "\x03";
pub const CTRL_D: &str = "\x04";
pub const CTRL_Z: &str = "\x1a";
pub const UP: &str = "\x1b[A";

struct Seen {
    screen: Screen,
    /// Everything that was written, as it was.
    raw: String,
}

/// See the top of this file. The program is killed when it is dropped.
pub struct Person {
    name: String,
    terminal: File,
    child: Child,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    logs: Logs,
}

impl Person {
    /// Starts the program in a window of this size.
    pub fn start(logs: &Logs, name: &str, command: &Command, size: (u16, u16)) -> Person {
        // Nobody else may hold this end: a program whose terminal is gone must see that.
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let (ws_col, ws_row) = size;
        tcsetwinsize(&master, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        // Makes the terminal on its stdin the controlling one, and becomes the program.
        let mut leader = Command::new("setsid");
        leader.arg("--ctty").arg(command.get_program()).args(command.get_args());
        leader.stdin(end()).stdout(end()).stderr(end());
        leader.env("TERM", "xterm-256color").env_remove("NO_COLOR").env("PBKV_HISTORY", "");
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => leader.env(variable, value),
                None => leader.env_remove(variable),
            };
        }
        leader.current_dir(command.get_current_dir().unwrap());
        let child = leader.spawn().unwrap();
        drop(leader);
        let screen = Screen::new(usize::from(ws_col), usize::from(ws_row));
        let seen = Arc::new((Mutex::new(Seen { screen, raw: String::new() }), Condvar::new()));
        let terminal = File::from(master);
        let reader = OwnedFd::from(terminal.try_clone().unwrap());
        let shared = Arc::clone(&seen);
        thread::spawn(move || watch(File::from(reader), &shared));
        Person { name: name.to_owned(), terminal, child, seen, logs: logs.clone() }
    }

    /// Presses keys.
    pub fn type_keys(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line and the return key.
    pub fn enter(&mut self, line: &str) {
        self.type_keys(&format!("{line}\r"));
    }

    /// Looks at the screen until something is seen.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is_seen: impl Fn(&Screen) -> bool) {
        let until = Instant::now() + PATIENCE;
        let (seen, changed) = &*self.seen;
        let mut seen = seen.lock().unwrap();
        while !is_seen(&seen.screen) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let text = seen.screen.rows().join("\n");
                self.logs.fail(&format!("{} never saw {what}:\n{text}\n", self.name));
            }
            seen = changed.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Waits until this text stands somewhere on the screen, or has scrolled away.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.wait_until(&format!("{text:?}"), |screen| screen.text().contains(text));
    }

    /// Waits until the row of the cursor is this, up to the cursor.
    #[track_caller]
    pub fn wait_for_line(&self, line: &str) {
        self.wait_until(&format!("the line {line:?}"), |screen| {
            let (row, column) = screen.cursor();
            let before: String = row.chars().chain(std::iter::repeat(' ')).take(column).collect();
            before == line
        });
    }

    /// The text on the screen and above it.
    pub fn text(&self) -> String {
        self.seen.0.lock().unwrap().screen.text()
    }

    /// Everything that was written, with its control sequences.
    pub fn raw(&self) -> String {
        self.seen.0.lock().unwrap().raw.clone()
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until the program ends by itself; its exit code.
    #[track_caller]
    pub fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            if Instant::now() > until {
                self.logs.fail(&format!("{} does not end:\n{}\n", self.name, self.text()));
            }
            thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// Waits until what is typed is shown and handed on line by line.
    #[track_caller]
    pub fn wait_until_cooked(&self) {
        self.wait_for_mode(true);
    }

    /// Waits until what is typed is for the program alone.
    #[track_caller]
    pub fn wait_until_raw(&self) {
        self.wait_for_mode(false);
    }

    #[track_caller]
    fn wait_for_mode(&self, cooked: bool) {
        let until = Instant::now() + PATIENCE;
        while self.is_cooked() != cooked {
            if Instant::now() > until {
                self.logs.fail(&format!("{}: cooked: {}\n{}", self.name, !cooked, self.text()));
            }
            thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// Whether what is typed is shown and handed on line by line, as a shell needs it.
    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }
}

fn watch(mut terminal: File, shared: &(Mutex<Seen>, Condvar)) {
    let mut buffer = [0; 4096];
    let mut pending = Vec::new();
    // The end of the program is an error here.
    while let Ok(size) = terminal.read(&mut buffer)
        && size > 0
    {
        pending.extend_from_slice(&buffer[..size]);
        // A character may come in two reads.
        let valid = match std::str::from_utf8(&pending) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let text = String::from_utf8_lossy(&pending[..valid]).into_owned();
        pending.drain(..valid);
        let mut seen = shared.0.lock().unwrap();
        seen.screen.write(&text);
        seen.raw.push_str(&text);
        shared.1.notify_all();
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
