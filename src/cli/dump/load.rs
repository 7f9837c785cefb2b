//! `client load`: a dump into the store.
//!
//! Kept here: the commands are executed in the order of the lines, each exactly once; each key's
//! first command replaces its list. So whatever was loaded before, by this process or by one that
//! was stopped, the outcome is that of the whole dump. What `--resume` notes is done before it is
//! noted, and ends before a key of which more may follow; and it counts only for the store in which
//! it was done, as long as that was not reset.

use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::task::Poll;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::Progress;
use super::format::{Broken, Reader, Record, Totals};
use crate::cli::CliError;
use crate::cli::client_answer::Form;
use crate::config::Limits;
use crate::kv::command::{Command, Key, Value};
use crate::protocol::client::{Action, Failure, FailureOutcome};
use crate::runtime::Client;
use crate::types::Epoch;

/// Keys and bytes that one command puts at once.
const BATCH_KEYS: usize = 1000;
const BATCH_BYTES: usize = 128 << 10;

/// Commands that are in flight together, and their bytes.
const LOT: usize = 64;
const LOT_BYTES: usize = 2 << 20;

/// Time between two notes of how far it has got.
const NOTED_EVERY: Duration = Duration::from_secs(1);

/// Carries out the command on stdin.
pub(super) fn run(
    client: &Client,
    runtime: &Handle,
    resume: Option<&Path>,
    form: Form,
) -> Result<ExitCode, CliError> {
    let result = from_stdin(client, runtime, resume);
    let told = match (form, &result) {
        (Form::Text | Form::Line, Ok(Loaded { totals, .. })) => {
            let Totals { keys, elements, .. } = totals;
            writeln!(std::io::stdout(), "load completed: {keys} keys, {elements} elements")
        }
        (Form::Text | Form::Line, Err(_)) => Ok(()),
        (Form::Json, _) => writeln!(std::io::stdout(), "{}", object(&result)),
    };
    let Loaded { skipped, .. } = result.map_err(|failed| failed.error)?;
    if let Some(file) = resume.filter(|_| skipped > 0) {
        let name = file.display();
        // Where it cannot be said, nobody is there to miss it.
        let _ = writeln!(
            std::io::stderr(),
            "{skipped} of these keys had been loaded before, as {name} says"
        );
    }
    Ok(ExitCode::from(u8::from(told.is_err())))
}

/// What came of a load that came to its end.
struct Loaded {
    totals: Totals,
    /// Keys of them that had been loaded before.
    skipped: u64,
}

/// A load that did not.
struct NotLoaded {
    error: CliError,
    /// Keys that are certainly loaded; none if nothing was sent.
    keys: Option<u64>,
}

impl From<CliError> for NotLoaded {
    /// Nothing was sent.
    fn from(error: CliError) -> NotLoaded {
        NotLoaded { error, keys: None }
    }
}

/// The answer as a program reads it.
fn object(result: &Result<Loaded, NotLoaded>) -> String {
    let object = match result {
        Ok(Loaded { totals: Totals { keys, elements, .. }, skipped }) => serde_json::json!({
            "command": "load", "keys": keys, "elements": elements, "skipped": skipped, "ok": true,
        }),
        Err(NotLoaded { error, keys: None }) => serde_json::json!({
            "command": "load", "ok": false, "error": error.to_string(), "outcome": "not_executed",
        }),
        Err(NotLoaded { error, keys: Some(keys) }) => serde_json::json!({
            "command": "load", "keys": keys, "ok": false, "error": error.to_string(),
            "outcome": "unknown",
        }),
    };
    object.to_string()
}

fn from_stdin(
    client: &Client,
    runtime: &Handle,
    resume: Option<&Path>,
) -> Result<Loaded, NotLoaded> {
    let stdin = std::io::stdin();
    let cannot = |error| CliError::Misused(format!("stdin: {}", Broken::Unreadable(error)));
    let mut file = File::from(stdin.as_fd().try_clone_to_owned().map_err(cannot)?);
    let mut whole = None;
    if let Ok(start) = file.stream_position()
        && file.metadata().is_ok_and(|metadata| metadata.is_file())
    {
        // Before anything is changed: afterwards it could only be regretted.
        let totals = check(BufReader::new(&file))
            .map_err(|broken| CliError::Misused(format!("nothing was loaded: {broken}")))?;
        whole = Some(totals.bytes);
        file.seek(SeekFrom::Start(start)).map_err(cannot)?;
    }
    let reader = Reader::begin(BufReader::with_capacity(1 << 18, file))
        .map_err(|broken| CliError::Misused(format!("nothing was loaded: {broken}")))?;
    // What the view server says now is no newer than the session in which the keys will be put.
    let epoch = || runtime.block_on(client.view()).map(|shown| shown.view.epoch);
    let notes = match resume {
        None => Notes::none(),
        Some(file) => {
            let epoch = epoch().map_err(|failure| {
                CliError::Failed(format!("nothing was loaded: {}", failure.reason))
            })?;
            Notes::open(file, &reader.header.id, epoch)?
        }
    };
    let skipped = notes.keys;
    let mut store = Store {
        execute: |commands: Vec<Command>| {
            let calls = commands.into_iter().map(|command| client.execute(Action::Write(command)));
            runtime.block_on(in_order(calls.map(Box::pin).collect()))
        },
        epoch,
    };
    let mut progress = Progress::begin("loaded", whole);
    let loaded = load(reader, notes, &mut store, |totals| progress.tell(totals));
    progress.end();
    match loaded {
        Ok(totals) => Ok(Loaded { totals, skipped }),
        Err(Stopped { keys, why, then }) => {
            let again = match (then, resume) {
                (Then::NoMore, _) => "the rest of the dump is not to be had",
                (Then::Anew, _) => "remove it to load the dump from its beginning",
                (Then::Again, Some(_)) => "the same command goes on from there",
                (Then::Again, None) => {
                    "loading the same dump again comes to the same as if it had not stopped"
                }
            };
            let text = format!("load stopped after {keys} keys: {why}; {again}");
            Err(NotLoaded { error: CliError::Failed(text), keys: Some(keys) })
        }
    }
}

/// Reads a dump to its end.
fn check(input: impl BufRead) -> Result<Totals, Broken> {
    let mut reader = Reader::begin(input)?;
    while reader.record()?.is_some() {}
    Ok(reader.totals())
}

/// Why it did not come to its end.
#[derive(Debug)]
struct Stopped {
    /// Keys that are certainly loaded.
    keys: u64,
    why: String,
    then: Then,
}

/// What can be done about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// The same again.
    Again,
    /// The same without the note.
    Anew,
    /// Nothing: it is the dump that does not go on.
    NoMore,
}

/// Where the keys go.
trait Target {
    /// Carries these out in their order.
    fn execute(&mut self, commands: Vec<Command>) -> Result<(), Failure>;

    /// The epoch of the store.
    fn epoch(&mut self) -> Result<Epoch, Failure>;
}

/// A cluster.
struct Store<X, E> {
    execute: X,
    epoch: E,
}

impl<X, E> Target for Store<X, E>
where
    X: FnMut(Vec<Command>) -> Result<(), Failure>,
    E: FnMut() -> Result<Epoch, Failure>,
{
    fn execute(&mut self, commands: Vec<Command>) -> Result<(), Failure> {
        (self.execute)(commands)
    }

    fn epoch(&mut self) -> Result<Epoch, Failure> {
        (self.epoch)()
    }
}

/// Executes what a dump says.
fn load(
    mut reader: Reader<impl BufRead>,
    mut notes: Notes,
    target: &mut impl Target,
    mut tell: impl FnMut(Totals),
) -> Result<Totals, Stopped> {
    let mut lot = Lot::default();
    let skipped = notes.keys;
    let mut done = skipped;
    let mut is_confirmed = skipped == 0;
    let stopped = |keys, why: String| Stopped { keys, why, then: Then::Again };
    loop {
        let record = match reader.record() {
            Ok(record) => record,
            Err(broken) => {
                return Err(Stopped { keys: done, why: broken.to_string(), then: Then::NoMore });
            }
        };
        let is_over = record.is_none();
        let keys = reader.totals().keys;
        match record {
            Some(_) if keys <= skipped => {}
            Some(Record::List(key, values)) => lot.list(key, values),
            Some(Record::More(key, values)) => lot.more(&key, values),
            None => lot.end_batch(),
        }
        if is_over || lot.is_full() {
            lot.end_batch();
            let mut commands = lot.take().into_iter().peekable();
            while commands.peek().is_some() {
                let together = commands.by_ref().take(LOT).collect();
                target.execute(together).map_err(|failure| stopped(done, explain(&failure)))?;
            }
            if !is_confirmed {
                // 1. the note is found to be of this store, which has no primary .. 2. it is reset
                // .. 3. the keys behind those of the note go into an empty one. From here on they
                // cannot: their session ends with its history.
                let epoch = target.epoch().map_err(|failure| stopped(done, explain(&failure)))?;
                notes.confirm(epoch).map_err(|why| Stopped { keys: 0, why, then: Then::Anew })?;
                is_confirmed = true;
            }
            // More of the last key may follow.
            done = if is_over { keys } else { done.max(keys.saturating_sub(1)) };
            notes.write(done).map_err(|why| stopped(done, why))?;
            tell(reader.totals());
        }
        if is_over {
            notes.remove();
            return Ok(reader.totals());
        }
    }
}

fn explain(failure: &Failure) -> String {
    match failure.outcome {
        FailureOutcome::NotExecuted => failure.reason.to_string(),
        FailureOutcome::Unknown => {
            format!("{} (a few more keys may have been loaded)", failure.reason)
        }
    }
}

/// Commands that are to be executed together, in order.
#[derive(Default)]
struct Lot {
    commands: Vec<Command>,
    bytes: usize,
    batch: Vec<(Key, Vec<Value>)>,
    batch_bytes: usize,
}

fn size(values: &[Value]) -> usize {
    values.iter().map(|value| 16 + value.0.len()).sum()
}

impl Lot {
    fn list(&mut self, key: Key, mut values: Vec<Value>) {
        let bytes = key.0.len() + size(&values);
        if bytes <= BATCH_BYTES {
            if self.batch.len() >= BATCH_KEYS || self.batch_bytes + bytes > BATCH_BYTES {
                self.end_batch();
            }
            self.batch.push((key, values));
            self.batch_bytes += bytes;
            return;
        }
        self.end_batch();
        // As much as one command holds, at least the first element; the others join it.
        let room = Limits::default().command_bytes().saturating_sub(key.0.len());
        let mut taken = 0;
        let fitting = values.iter().take_while(|value| {
            taken += 16 + value.0.len();
            taken <= room
        });
        let rest = values.split_off(fitting.count().max(1));
        match <[Value; 1]>::try_from(values) {
            Ok([value]) => self.push(Command::Put { key: key.clone(), value }),
            Err(values) => self.push(Command::Mput { entries: vec![(key.clone(), values)] }),
        }
        self.more(&key, rest);
    }

    fn more(&mut self, key: &Key, values: Vec<Value>) {
        self.end_batch();
        for value in values {
            self.push(Command::Append { key: key.clone(), value });
        }
    }

    fn end_batch(&mut self) {
        if !self.batch.is_empty() {
            self.batch_bytes = 0;
            let entries = std::mem::take(&mut self.batch);
            self.push(Command::Mput { entries });
        }
    }

    fn push(&mut self, command: Command) {
        self.bytes += command.size();
        self.commands.push(command);
    }

    fn is_full(&self) -> bool {
        self.commands.len() >= LOT || self.bytes >= LOT_BYTES
    }

    fn take(&mut self) -> Vec<Command> {
        self.bytes = 0;
        std::mem::take(&mut self.commands)
    }
}

/// Waits for all of these; begins them in their order. After a failure, for none of the others.
async fn in_order<T, F>(calls: Vec<Pin<Box<F>>>) -> Result<(), Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut calls: Vec<Option<Pin<Box<F>>>> = calls.into_iter().map(Some).collect();
    let mut first = 0;
    poll_fn(|context| {
        for call in &mut calls[first..] {
            if let Some(future) = call
                && let Poll::Ready(result) = future.as_mut().poll(context)
            {
                *call = None;
                if let Err(failure) = result {
                    return Poll::Ready(Err(failure));
                }
            }
        }
        while calls.get(first).is_some_and(Option::is_none) {
            first += 1;
        }
        if first == calls.len() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// What the file of `--resume` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Note {
    /// The dump's.
    id: String,
    /// The store's, when the load began. Another cluster has another one, and so has this one after
    /// a reset: its address says neither.
    epoch: Epoch,
    /// Keys that are loaded.
    keys: u64,
}

/// How far it has got, in a file or nowhere.
struct Notes {
    file: Option<PathBuf>,
    id: String,
    epoch: Epoch,
    keys: u64,
    written: Option<Instant>,
}

impl Notes {
    fn none() -> Notes {
        Notes { file: None, id: String::new(), epoch: Epoch::default(), keys: 0, written: None }
    }

    fn open(file: &Path, id: &str, epoch: Epoch) -> Result<Notes, CliError> {
        let mut notes =
            Notes { file: Some(file.to_owned()), id: id.to_owned(), epoch, ..Notes::none() };
        let name = file.display();
        let misused = |problem: String| CliError::Misused(format!("--resume {name}: {problem}"));
        match std::fs::read(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(misused(format!("it cannot be read: {error}"))),
            Ok(bytes) => {
                let note: Note = serde_json::from_slice(&bytes).map_err(|_| {
                    misused("it is not what client load has written; name another file".to_owned())
                })?;
                if note.id != id {
                    let problem = "it tells of another dump; remove it to load this one from its \
                                   beginning";
                    return Err(misused(problem.to_owned()));
                }
                notes.epoch = note.epoch;
                notes.confirm(epoch).map_err(|problem| {
                    CliError::Misused(format!(
                        "{problem}; remove it to load the dump from its beginning"
                    ))
                })?;
                notes.keys = note.keys;
            }
        }
        Ok(notes)
    }

    /// Says why the note does not count, if the store has another epoch.
    fn confirm(&self, epoch: Epoch) -> Result<(), String> {
        let Some(file) = self.file.as_ref().filter(|_| epoch != self.epoch) else { return Ok(()) };
        Err(format!(
            "--resume {}: it tells of another store, or of this one before it began anew",
            file.display()
        ))
    }

    fn write(&mut self, keys: u64) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        if self.written.is_some_and(|written| written.elapsed() < NOTED_EVERY) {
            return Ok(());
        }
        let note = Note { id: self.id.clone(), epoch: self.epoch, keys };
        let mut temporary = file.clone().into_os_string();
        temporary.push(".new");
        let text = serde_json::to_string(&note).map_err(|error| error.to_string())?;
        // Renamed before its content is on the disk, it could be empty after a crash.
        File::create(&temporary)
            .and_then(|mut new| new.write_all(text.as_bytes()).and_then(|()| new.sync_all()))
            .and_then(|()| std::fs::rename(&temporary, file))
            .map_err(|error| format!("--resume {} cannot be written: {error}", file.display()))?;
        self.written = Some(Instant::now());
        Ok(())
    }

    /// All is loaded. A file that stays says so.
    fn remove(&self) {
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests;
