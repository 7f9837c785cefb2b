//! A spawned binary: what is typed into it, what it answers, signals, and its end.
//!
//! A process that is dropped is killed and reaped, whatever state it is in: no test leaves anything
//! running.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;

use super::PATIENCE;
use super::logs::{Lines, Logs};

/// The binary with this name, to be run in `folder` without anything of the caller's environment
/// that would change what it does.
pub fn command(binary: &str, folder: &Path) -> Command {
    let path = match binary {
        "viewserver" => env!("CARGO_BIN_EXE_viewserver"),
        "kvserver" => env!("CARGO_BIN_EXE_kvserver"),
        "client" => env!("CARGO_BIN_EXE_client"),
        other => other,
    };
    let mut command = Command::new(path);
    command
        .current_dir(folder)
        .env_remove("PBKV_HOSTS")
        .env_remove("PBKV_KEY_FILE")
        .env("NO_COLOR", "1");
    command.env("RUST_LOG", "info").env_remove("RUST_BACKTRACE");
    command
}

/// What a process left behind.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Lines of stdout.
    pub stdout: Vec<String>,
    /// All of stderr.
    pub stderr: String,
}

impl Finished {
    /// Checks code and answers in one go.
    #[track_caller]
    pub fn expect(&self, code: i32, stdout: &[&str]) {
        assert_eq!((self.code, &self.stdout[..]), (Some(code), &owned(stdout)[..]), "{self:?}");
    }

    /// Checks that bad input was answered with words: this code, no panic, and each of these
    /// words on stderr.
    #[track_caller]
    pub fn expect_complaint(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} on stderr: {self:?}");
        }
        for word in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(!self.stderr.contains(word), "{self:?}");
        }
    }
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// See the top of this file.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    /// Lines of stdout.
    pub stdout: Arc<Lines>,
    /// Lines of stderr.
    pub stderr: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
    /// Position in stdout after the last answer that was taken.
    taken: usize,
    logs: Logs,
}

impl Process {
    /// Starts the command, with pipes on all three streams.
    pub fn spawn(logs: &Logs, name: &str, mut command: Command) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built by cargo");
        let (stdout, out) = Lines::collect(child.stdout.take().expect("stdout is piped"));
        let (stderr, err) = Lines::collect(child.stderr.take().expect("stderr is piped"));
        logs.add(name, &stderr);
        Process {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            child,
            stdout,
            stderr,
            readers: vec![out, err],
            taken: 0,
            logs: logs.clone(),
        }
    }

    /// Runs the command to its end, with this text on its stdin.
    pub fn run(logs: &Logs, name: &str, command: Command, stdin: &str) -> Finished {
        let mut process = Process::spawn(logs, name, command);
        let mut pipe = process.stdin.take().expect("stdin is piped");
        let text = stdin.to_owned();
        // From a thread, for a text longer than the pipe; a process may leave before it read all.
        let writer = thread::spawn(move || pipe.write_all(text.as_bytes()).is_ok());
        let finished = process.finish();
        let _ = writer.join();
        finished
    }

    /// Types one line.
    pub fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        let typed = stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdin.flush());
        if let Err(error) = typed {
            self.logs.fail(&format!("{} does not read its stdin: {error}", self.name));
        }
    }

    /// Ends stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The next line of stdout that was not taken yet.
    #[track_caller]
    pub fn next_answer(&mut self) -> String {
        self.answer_within(PATIENCE).unwrap_or_else(|| {
            self.logs.fail(&format!("{} did not answer within {PATIENCE:?}", self.name))
        })
    }

    /// The next line of stdout, if it comes in time.
    pub fn answer_within(&mut self, within: Duration) -> Option<String> {
        let (position, line) = self.stdout.wait_for(self.taken, within, |_| true)?;
        self.taken = position + 1;
        Some(line)
    }

    /// Types one line and takes the one line of its answer.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.type_line(line);
        self.next_answer()
    }

    /// Types one line and takes answers up to the first that `last` accepts, which is included.
    #[track_caller]
    pub fn ask_until(&mut self, line: &str, last: impl Fn(&str) -> bool) -> Vec<String> {
        self.type_line(line);
        let mut answers = vec![self.next_answer()];
        while !last(&answers[answers.len() - 1]) {
            answers.push(self.next_answer());
        }
        answers
    }

    /// Waits for a line on stderr that contains this text.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) -> String {
        let found = self.stderr.wait_for(0, PATIENCE, |line| line.contains(text));
        match found {
            Some((_, line)) => line,
            None => self.logs.fail(&format!("{} never logged {text:?}", self.name)),
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to this process, by its pid.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the child is not reaped yet");
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Waits until the process ends by itself, and collects what it left.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let until = Instant::now() + PATIENCE * 4;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if Instant::now() > until {
                self.logs.fail(&format!("{} does not end", self.name));
            }
            thread::sleep(Duration::from_millis(2));
        };
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Finished {
            code: status.code(),
            stdout: self.stdout.all(),
            stderr: self.stderr.all().join("\n"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
