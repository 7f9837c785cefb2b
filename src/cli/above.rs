//! Prints what nobody asked for, log lines above all: to stderr, or above the line that a person is
//! typing, without tearing it.
//!
//! Kept here: whoever prints never waits. A terminal may be held by Ctrl-S, a pipe may have a reader
//! that does not read, and a protocol must not stop for either; so texts go through a bounded queue
//! to a thread of their own. What does not fit is counted, and the count is printed.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustyline::ExternalPrinter;

/// Texts that may wait for the line editor.
const QUEUE: usize = 1024;
/// Texts that may wait for stderr: a debug log comes in bursts.
const STDERR_QUEUE: usize = 16 << 10;
/// How long the end of a program waits for them.
const FLUSH: Duration = Duration::from_millis(250);

/// Texts on their way to one printer.
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    most: usize,
}

struct Waiting {
    texts: VecDeque<String>,
    /// Texts that found no room since the last one that did.
    lost: usize,
    /// One was taken and is being printed.
    is_printing: bool,
    /// The printer's thread may end.
    is_closed: bool,
}

/// Above the line that a person is typing; none while nobody is.
static ABOVE: Mutex<Option<Arc<Queue>>> = Mutex::new(None);
static STDERR: Queue = Queue::of(STDERR_QUEUE);
static STDERR_PRINTER: Once = Once::new();

impl Queue {
    const fn of(most: usize) -> Queue {
        let texts = VecDeque::new();
        let waiting = Waiting { texts, lost: 0, is_printing: false, is_closed: false };
        Queue { waiting: Mutex::new(waiting), changed: Condvar::new(), most }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, text: &str) {
        let mut waiting = self.lock();
        if waiting.texts.len() >= self.most {
            waiting.lost += 1;
            return;
        }
        if waiting.lost > 0 {
            let lost = std::mem::take(&mut waiting.lost);
            waiting.texts.push_back(format!("({lost} lines could not be shown in time)\n"));
        }
        waiting.texts.push_back(text.to_owned());
        drop(waiting);
        self.changed.notify_all();
    }

    /// Prints until the queue is closed.
    fn print_all(&self, mut print: impl FnMut(String)) {
        loop {
            let mut waiting = self.lock();
            waiting.is_printing = false;
            self.changed.notify_all();
            let text = loop {
                if let Some(text) = waiting.texts.pop_front() {
                    break text;
                }
                if waiting.is_closed {
                    return;
                }
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            };
            waiting.is_printing = true;
            drop(waiting);
            print(text);
        }
    }

    /// What was not printed yet. Nothing more is.
    fn close(&self) -> VecDeque<String> {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        self.changed.notify_all();
        std::mem::take(&mut waiting.texts)
    }

    /// Waits until everything is printed, but not for long.
    fn flush(&self, within: Duration) {
        let until = Instant::now() + within;
        let mut waiting = self.lock();
        while waiting.is_printing || !waiting.texts.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiting =
                self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// From now on texts are printed by this printer.
pub fn start(mut printer: impl ExternalPrinter + Send + 'static) {
    let queue = Arc::new(Queue::of(QUEUE));
    let printed = Arc::clone(&queue);
    let spawned = std::thread::Builder::new()
        .name("above".to_owned())
        .spawn(move || printed.print_all(|text| drop(printer.print(text))));
    // Without a thread lines may be torn, which is no reason to lose them.
    if spawned.is_ok() {
        set(Some(queue));
    }
}

/// From now on texts go to stderr again, those included that nobody could print until now.
pub fn stop() {
    set(None);
}

fn set(above: Option<Arc<Queue>>) {
    let Ok(mut present) = ABOVE.lock() else { return };
    let former = std::mem::replace(&mut *present, above);
    for text in former.iter().flat_map(|former| former.close()) {
        match &*present {
            Some(queue) => queue.push(&text),
            None => print_to_stderr(&text),
        }
    }
}

/// Prints a text that ends with its line: above the line being typed if there is one, else to
/// stderr.
pub fn print(text: &str) {
    let Ok(present) = ABOVE.lock() else { return };
    match &*present {
        Some(queue) => queue.push(text),
        None => print_to_stderr(text),
    }
}

/// As [`print()`], for a text without its end of line.
pub fn print_line(text: &str) {
    print(&format!("{text}\n"));
}

fn print_to_stderr(text: &str) {
    STDERR_PRINTER.call_once(|| {
        // Without a thread nothing is printed: to wait for a reader would be worse.
        let _ = std::thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(|| STDERR.print_all(|text| write_to_stderr(text.as_bytes())));
    });
    STDERR.push(text);
}

/// Without the lock of `std::io::Stderr`: whoever waited for it would wait for the reader, too.
fn write_to_stderr(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(std::io::stderr(), bytes) {
            Ok(0) => return,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // Nobody reads any more.
            Err(_) => return,
        }
    }
}

/// Waits a moment until what was printed has left.
pub fn flush() {
    let above = ABOVE.lock().ok().and_then(|present| present.clone());
    if let Some(queue) = above {
        queue.flush(FLUSH);
    }
    STDERR.flush(FLUSH);
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
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn whoever_prints_never_waits_and_what_is_lost_is_counted() {
        let queue = Arc::new(Queue::of(2));
        // A reader that does not read: the first text is taken, and never done with.
        let (taken, is_taken) = channel();
        let (go_on, may_go_on) = channel::<()>();
        let printed = Arc::clone(&queue);
        let printer = std::thread::spawn(move || {
            let mut texts = Vec::new();
            printed.print_all(|text| {
                texts.push(text);
                let _ = taken.send(());
                let _ = may_go_on.recv();
            });
            texts
        });
        queue.push("0\n");
        is_taken.recv().unwrap();
        for number in 1..6 {
            queue.push(&format!("{number}\n"));
        }
        queue.flush(Duration::from_millis(1));
        assert_eq!(queue.lock().texts, ["1\n", "2\n"], "the wait for the printer has ended");
        drop(go_on);
        queue.flush(Duration::from_secs(600));
        queue.push("6\n");
        queue.flush(Duration::from_secs(600));
        queue.close();
        let texts = printer.join().unwrap();
        assert_eq!(texts, ["0\n", "1\n", "2\n", "(3 lines could not be shown in time)\n", "6\n"]);
    }

    #[test]
    fn what_was_not_printed_when_the_printer_goes_is_not_lost() {
        let queue = Queue::of(2);
        queue.push("a\n");
        queue.push("b\n");
        assert_eq!(queue.close(), ["a\n", "b\n"]);
        queue.print_all(|text| panic!("{text} would be printed twice"));
    }
}
