//! The output of processes, line by line, and waits that show it when they fail.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Lines of stderr that a failure shows of each process.
const LINES_SHOWN: usize = 25;

/// The lines that one stream has yielded so far.
#[derive(Default)]
pub struct Lines {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Lines {
    /// Collects a stream on a thread of its own until it ends.
    pub fn collect(stream: impl Read + Send + 'static) -> (Arc<Lines>, JoinHandle<()>) {
        let lines = Arc::new(Lines::default());
        let sink = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|size| size > 0) {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                let text = String::from_utf8_lossy(&line).into_owned();
                sink.lines.lock().unwrap().push(text);
                sink.more.notify_all();
                line.clear();
            }
        });
        (lines, reader)
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The first line from position `from` on that `wanted` accepts, with its position.
    pub fn wait_for(
        &self,
        from: usize,
        within: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<(usize, String)> {
        let until = Instant::now() + within;
        let mut lines = self.lines.lock().unwrap();
        let mut next = from;
        loop {
            while next < lines.len() {
                if wanted(&lines[next]) {
                    return Some((next, lines[next].clone()));
                }
                next += 1;
            }
            let left = until.checked_duration_since(Instant::now())?;
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// A name and what it says.
type Stream = (String, Arc<Lines>);

/// The stderr of every process of one test, for the message of a wait that fails. Cheap to clone.
#[derive(Clone, Default)]
pub struct Logs {
    streams: Arc<Mutex<Vec<Stream>>>,
}

impl Logs {
    /// From now on a failure shows this stream too.
    pub fn add(&self, name: &str, lines: &Arc<Lines>) {
        self.streams.lock().unwrap().push((name.to_owned(), Arc::clone(lines)));
    }

    /// Fails the test, and shows what every process said last.
    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        let mut text = String::new();
        for (name, lines) in self.streams.lock().unwrap().iter() {
            let lines = lines.all();
            let first = lines.len().saturating_sub(LINES_SHOWN);
            for line in &lines[first..] {
                let line: String = line.chars().take(300).collect();
                let _ = writeln!(text, "  {name}: {line}");
            }
        }
        panic!("{what}\nlast lines on stderr:\n{text}");
    }

    /// Asks again and again until there is an answer.
    #[track_caller]
    pub fn wait_for<T>(
        &self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut() -> Option<T>,
    ) -> T {
        let until = Instant::now() + within;
        loop {
            if let Some(found) = condition() {
                return found;
            }
            if Instant::now() >= until {
                self.fail(&format!("waited {within:?} in vain: {what}"));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
