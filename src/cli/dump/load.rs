//! `client load`: a dump into the store.
//!
//! Kept here: the commands are executed in the order of the lines, each exactly once; each key's
//! first command replaces its list. So whatever was loaded before, by this process or by one that
//! was stopped, the outcome is that of the whole dump. What `--resume` notes is done before it is
//! noted, and ends before a key of which more may follow.

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
    let notes = Notes::open(resume, &reader.header.id)?;
    let mut execute = |commands: Vec<Command>| {
        let calls = commands.into_iter().map(|command| client.execute(Action::Write(command)));
        runtime.block_on(in_order(calls.map(Box::pin).collect()))
    };
    let mut progress = Progress::begin("loaded", whole);
    let loaded = load(reader, notes, &mut execute, |totals| progress.tell(totals));
    progress.end();
    match loaded {
        Ok(Totals { keys, elements, .. }) => {
            let text = match form {
                Form::Text | Form::Line => {
                    format!("load completed: {keys} keys, {elements} elements")
                }
                Form::Json => serde_json::json!({
                    "command": "load", "keys": keys, "elements": elements, "ok": true,
                })
                .to_string(),
            };
            let told = writeln!(std::io::stdout(), "{text}");
            Ok(ExitCode::from(u8::from(told.is_err())))
        }
        Err(Stopped { keys, why, is_broken }) => {
            let again = match resume {
                _ if is_broken => "the rest of the dump is not to be had",
                Some(_) => "the same command goes on from there",
                None => "loading the same dump again comes to the same as if it had not stopped",
            };
            Err(CliError::Failed(format!("load stopped after {keys} keys: {why}; {again}")))
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
    /// It is the dump that does not go on.
    is_broken: bool,
}

/// Executes what a dump says. `execute` takes commands and carries them out in their order.
fn load(
    mut reader: Reader<impl BufRead>,
    mut notes: Notes,
    execute: &mut dyn FnMut(Vec<Command>) -> Result<(), Failure>,
    mut tell: impl FnMut(Totals),
) -> Result<Totals, Stopped> {
    let mut lot = Lot::default();
    let skipped = notes.keys;
    let mut done = skipped;
    let stopped = |keys, why: String| Stopped { keys, why, is_broken: false };
    loop {
        let record = match reader.record() {
            Ok(record) => record,
            Err(broken) => {
                return Err(Stopped { keys: done, why: broken.to_string(), is_broken: true });
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
                execute(together).map_err(|failure| stopped(done, explain(&failure)))?;
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
    /// Keys that are loaded.
    keys: u64,
}

/// How far it has got, in a file or nowhere.
struct Notes {
    file: Option<PathBuf>,
    id: String,
    keys: u64,
    written: Option<Instant>,
}

impl Notes {
    fn open(file: Option<&Path>, id: &str) -> Result<Notes, CliError> {
        let mut notes =
            Notes { file: file.map(Path::to_owned), id: id.to_owned(), keys: 0, written: None };
        let Some(file) = file else { return Ok(notes) };
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
                notes.keys = note.keys;
            }
        }
        Ok(notes)
    }

    fn write(&mut self, keys: u64) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        if self.written.is_some_and(|written| written.elapsed() < NOTED_EVERY) {
            return Ok(());
        }
        let note = Note { id: self.id.clone(), keys };
        let mut temporary = file.clone().into_os_string();
        temporary.push(".new");
        let text = serde_json::to_string(&note).map_err(|error| error.to_string())?;
        std::fs::write(&temporary, text)
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
