//! Prints above the line that a person is typing, without tearing it.
//!
//! Whoever prints never waits: lines go through a bounded queue to a thread of their own, because
//! the editor takes them only while it reads, and a protocol must not stop for a terminal. What
//! does not fit is counted, and the count is printed.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use rustyline::ExternalPrinter;

/// Texts that may wait.
const QUEUE: usize = 1024;
/// How long the end of a program waits for them.
const FLUSH: Duration = Duration::from_millis(250);

enum Job {
    Print(String),
    /// Everything before it was printed.
    Flushed(SyncSender<()>),
}

struct Above {
    jobs: SyncSender<Job>,
    lost: usize,
}

static ABOVE: Mutex<Option<Above>> = Mutex::new(None);

/// From now on texts are printed by this printer.
pub fn start(mut printer: impl ExternalPrinter + Send + 'static) {
    let (jobs, queue) = sync_channel(QUEUE);
    let spawned = std::thread::Builder::new()
        .name("above".to_owned())
        .spawn(move || print_all(&queue, |text| drop(printer.print(text))));
    // Without a thread lines may be torn, which is no reason to lose them.
    if spawned.is_ok() {
        set(Some(Above { jobs, lost: 0 }));
    }
}

/// From now on texts go to stderr again.
pub fn stop() {
    set(None);
}

fn set(above: Option<Above>) {
    if let Ok(mut present) = ABOVE.lock() {
        *present = above;
    }
}

fn print_all(queue: &Receiver<Job>, mut print: impl FnMut(String)) {
    for job in queue {
        match job {
            Job::Print(text) => print(text),
            Job::Flushed(done) => drop(done.try_send(())),
        }
    }
}

/// Prints a text that ends with its line: above the line being typed if there is one, else to
/// stderr.
pub fn print(text: &str) {
    let Ok(mut present) = ABOVE.lock() else { return };
    match &mut *present {
        Some(above) => above.print(text),
        None => {
            drop(present);
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

/// As [`print()`], for a text without its end of line.
pub fn print_line(text: &str) {
    print(&format!("{text}\n"));
}

impl Above {
    fn print(&mut self, text: &str) {
        let text = match self.lost {
            0 => text.to_owned(),
            lost => format!("({lost} lines could not be shown in time)\n{text}"),
        };
        match self.jobs.try_send(Job::Print(text)) {
            Ok(()) => self.lost = 0,
            Err(TrySendError::Full(_)) => self.lost += 1,
            Err(TrySendError::Disconnected(_)) => {}
        }
    }
}

/// Waits a moment until what was printed can be seen.
pub fn flush() {
    let (done, printed) = sync_channel(1);
    let sent = ABOVE.lock().ok().and_then(|present| {
        present.as_ref().map(|above| above.jobs.try_send(Job::Flushed(done)).is_ok())
    });
    if sent == Some(true) {
        let _ = printed.recv_timeout(FLUSH);
        // The printer has handed over the last text; the editor's thread still draws it.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Log lines go this way.
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        print(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_prints_never_waits_and_what_is_lost_is_counted() {
        let (jobs, queue) = sync_channel(2);
        let mut above = Above { jobs, lost: 0 };
        for number in 0..5 {
            above.print(&format!("{number}\n"));
        }
        let mut printed = Vec::new();
        while let Ok(Job::Print(text)) = queue.try_recv() {
            printed.push(text);
        }
        assert_eq!(printed, ["0\n", "1\n"]);
        above.print("5\n");
        let Ok(Job::Print(text)) = queue.try_recv() else { panic!("nothing was printed") };
        assert_eq!(text, "(3 lines could not be shown in time)\n5\n");
        assert_eq!(above.lost, 0);
    }
}
