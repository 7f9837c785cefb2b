//! `client bench`: measures a cluster under load, and records what happened for `client check`.
//!
//! Closed loop: each of `--clients` times `--pipeline` lanes asks again as soon as it was answered.
//! With `--rate` the loop is open: operations are due at fixed times, and each counts from the time
//! at which it was due, whether or not a lane was free then, so that a stall shows in the
//! percentiles of everything that it held up.
//!
//! A failed operation is counted and never ends the run: a failover shows as errors and as the
//! longest time without a success. Everything runs on one thread, on which nothing else waits.
//!
//! Reading order: `flags`, `keys` and `load` (what is asked), `tally` (what came of it), `schedule`
//! and `pace` (when), `lanes` (the run), `report`, `plot`. Not here: what a history means
//! ([`history`](crate::history)).

mod flags;
mod keys;
mod lanes;
mod load;
mod pace;
mod plot;
mod report;
mod schedule;
mod tally;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use tokio::task::LocalSet;

use self::flags::Flags;
use self::lanes::{Outcome, Plan};
use crate::cli::client_answer::Form;
use crate::cli::setup::Connection;
use crate::cli::{CliError, runtime};
use crate::history::{Event, lines};
use crate::runtime::{Client, ClientOptions, random_u64};

/// Carries out the command. `words` are those behind `bench`.
///
/// # Errors
/// When a file cannot be used, or the cluster does not answer.
pub fn run(words: &[String], form: Form, connection: Connection) -> Result<ExitCode, CliError> {
    let name = ["client bench".to_owned()];
    let flags = match Flags::try_parse_from(name.iter().chain(words)) {
        Ok(flags) => flags,
        Err(error) => return Ok(super::tell_usage(&error)),
    };
    let form = if flags.json { Form::Json } else { form };
    let view_server = connection.whom(flags.hosts.clone(), flags.view_server)?;
    let options = ClientOptions {
        deadline: flags.deadline.unwrap_or(connection.deadline),
        spin: flags.spin,
        keys: connection.keys(flags.key_file.clone())?,
        ..ClientOptions::new(view_server)
    };
    let plan = flags.plan(random_u64());
    if let Some(path) = &flags.plot {
        // Found out before the run and not after it.
        File::create(path).map_err(|error| unwritable("--plot", path, &error))?;
    }
    let recorder = flags.history.clone().map(Recorder::create).transpose()?;
    runtime()?.block_on(LocalSet::new().run_until(measure(flags, plan, options, recorder, form)))
}

async fn measure(
    flags: Flags,
    plan: Plan,
    options: ClientOptions,
    recorder: Option<Recorder>,
    form: Form,
) -> Result<ExitCode, CliError> {
    let mut clients = Vec::new();
    for _ in 0..plan.clients {
        clients.push(Client::connect_with(options.clone()).await.map_err(CliError::failed)?);
    }
    // A cluster that is not there is told at once, and not as so many errors after so many seconds.
    clients[0].view().await.map_err(CliError::failed)?;
    let outcome = lanes::run(plan.clone(), clients, recorder, flags.quiet).await;
    let outcome = outcome.map_err(|error| CliError::Failed(format!("cannot go on: {error}")))?;
    let Outcome { tally, moments, recorder, failure, is_cut_short } = outcome;
    let text = match form {
        Form::Text | Form::Line => report::text(&plan, &tally),
        Form::Json => report::json(&plan, &tally),
    };
    let told = writeln!(io::stdout(), "{text}");
    if let Some(path) = &flags.plot {
        let svg = plot::svg(&report::headline(&plan), &tally, &moments);
        std::fs::write(path, svg).map_err(|error| unwritable("--plot", path, &error))?;
    }
    let recorded = recorder.map(Recorder::finish).transpose();
    if let Some(problem) = failure.or_else(|| recorded.as_ref().err().cloned()) {
        return Err(CliError::Failed(problem));
    }
    if let Ok(Some((path, operations))) = recorded {
        let path = path.display();
        let _ = match is_cut_short {
            false => writeln!(
                io::stderr(),
                "{operations} operations are recorded; check them with: client check {path}"
            ),
            true => writeln!(
                io::stderr(),
                "{path} lacks the operations that were under way: it proves nothing"
            ),
        };
    }
    let is_done = tally.all.done() > 0
        && (tally.all.failed() == 0 || flags.allow_failures)
        && told.is_ok()
        && !is_cut_short;
    Ok(ExitCode::from(u8::from(!is_done)))
}

fn unwritable(flag: &str, path: &Path, error: &io::Error) -> CliError {
    let name = path.display();
    CliError::Misused(format!("{flag} {name}: {error}; give a file that can be written"))
}

/// Writes a history.
struct Recorder {
    path: PathBuf,
    file: BufWriter<File>,
    operations: u64,
}

impl Recorder {
    fn create(path: PathBuf) -> Result<Self, CliError> {
        let file = File::create(&path).map_err(|error| unwritable("--history", &path, &error))?;
        Ok(Recorder { path, file: BufWriter::with_capacity(1 << 16, file), operations: 0 })
    }

    fn record(&mut self, event: &Event) -> Result<(), String> {
        self.operations += 1;
        writeln!(self.file, "{}", lines::line(event)).map_err(|error| self.complain(&error))
    }

    fn complain(&self, error: &io::Error) -> String {
        format!("{} could not be written to its end: {error}", self.path.display())
    }

    /// The file and the number of operations in it, once all of them are written.
    fn finish(mut self) -> Result<(PathBuf, u64), String> {
        self.file.flush().map_err(|error| self.complain(&error))?;
        Ok((self.path, self.operations))
    }
}
