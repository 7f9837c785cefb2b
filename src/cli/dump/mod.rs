//! `client dump > FILE` and `client load < FILE`: everything in the store, as JSON lines.
//!
//! A dump is the store at one instant, after one operation between the start of the program and its
//! first line, however long the writing takes. The primary keeps what is changed meanwhile, within
//! bounds; where it cannot, the dump ends with an error and without its last line, and [`mod@format`]
//! notices that whenever it is read.

pub mod format;
mod load;

use std::io::{BufWriter, ErrorKind, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::runtime::Handle;

use self::format::{Totals, Writer};
use crate::cli::client_answer::Form;
use crate::cli::flags::parse_address;
use crate::cli::serve::on_own_thread;
use crate::cli::setup::Connection;
use crate::cli::{CliError, runtime};
use crate::protocol::client::{Failure, FailureReason};
use crate::protocol::message::SnapshotRefusal;
use crate::runtime::client::{ClientOptions, Snapshot};
use crate::runtime::{Client, random_u64};

/// Time between two looks whether another reader has finished.
const AGAIN: Duration = Duration::from_millis(100);

/// Time between two lines that tell how far it has got.
const TOLD_EVERY: Duration = Duration::from_millis(200);

/// Writes everything in the store to stdout, as it is at one instant: a JSON object a line.
///
/// The copy is that of one operation, which the first line names, however long it takes to write
/// and whatever is changed meanwhile; nobody is held up. It fails, and then lacks its last line,
/// if another server becomes primary before it is complete, if more than 256 MiB are changed that it
/// had still to read, or if nobody takes its output for half a minute.
#[derive(Parser, Debug)]
#[command(name = "client dump", disable_version_flag = true)]
struct DumpFlags {
    /// Hosts file [default: knownhosts.json, or what PBKV_HOSTS names]
    #[arg(long, value_name = "FILE", conflicts_with = "view_server")]
    hosts: Option<PathBuf>,
    /// Address of the view server instead of the one in the hosts file
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    view_server: Option<SocketAddr>,
    /// Key file, which seals all datagrams [default: what PBKV_KEY_FILE names, or none]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Puts what client dump has written, and stdin gives, into the store.
///
/// Each key of the dump gets its list, whatever there was before; other keys stay as they are. To
/// get exactly what was dumped, load it into an empty store. Loading it again, wherever it was
/// stopped, comes to the same. A file that is cut off or damaged is refused before anything is
/// changed; of a pipe that is known only at its end.
#[derive(Parser, Debug)]
#[command(name = "client load", disable_version_flag = true)]
struct LoadFlags {
    /// Notes in FILE how far it has got; if it was stopped, the same command goes on from there
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Hosts file [default: knownhosts.json, or what PBKV_HOSTS names]
    #[arg(long, value_name = "FILE", conflicts_with = "view_server")]
    hosts: Option<PathBuf>,
    /// Address of the view server instead of the one in the hosts file
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    view_server: Option<SocketAddr>,
    /// Key file, which seals all datagrams [default: what PBKV_KEY_FILE names, or none]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Carries out `dump`. `words` are those behind it.
///
/// # Errors
/// When the hosts file cannot be used, or the store could not be read to its end.
pub fn dump(words: &[String], connection: Connection) -> Result<ExitCode, CliError> {
    let name = ["client dump".to_owned()];
    let flags = match DumpFlags::try_parse_from(name.iter().chain(words)) {
        Ok(flags) => flags,
        Err(error) => return Ok(super::tell_usage(&error)),
    };
    let deadline = connection.deadline;
    connected(
        connection,
        (flags.hosts, flags.view_server, flags.key_file),
        move |client, runtime| write(&client, &runtime, deadline),
    )
}

/// Carries out `load`. `words` are those behind it.
///
/// # Errors
/// When the hosts file cannot be used, stdin is no dump, or the store could not be written.
pub fn load(words: &[String], form: Form, connection: Connection) -> Result<ExitCode, CliError> {
    let name = ["client load".to_owned()];
    let flags = match LoadFlags::try_parse_from(name.iter().chain(words)) {
        Ok(flags) => flags,
        Err(error) => return Ok(super::tell_usage(&error)),
    };
    let LoadFlags { resume, hosts, view_server, key_file } = flags;
    connected(connection, (hosts, view_server, key_file), move |client, runtime| {
        load::run(&client, &runtime, resume.as_deref(), form)
    })
}

/// Runs something that reads or writes files on a thread of its own, beside the client.
fn connected(
    connection: Connection,
    (hosts, view_server, key_file): (Option<PathBuf>, Option<SocketAddr>, Option<PathBuf>),
    work: impl FnOnce(Client, Handle) -> Result<ExitCode, CliError> + Send + 'static,
) -> Result<ExitCode, CliError> {
    let options = ClientOptions {
        deadline: connection.deadline,
        keys: connection.keys(key_file)?,
        ..ClientOptions::new(connection.whom(hosts, view_server)?)
    };
    runtime()?.block_on(async {
        let client = Client::connect_with(options).await.map_err(CliError::failed)?;
        let handle = Handle::current();
        let stopped = |_| CliError::Failed("it was stopped".to_owned());
        on_own_thread(move || work(client, handle))?.await.map_err(stopped)?
    })
}

/// Begins to read; waits as long as the deadline for another reader to finish.
async fn begin(client: &Client, deadline: Duration) -> Result<Snapshot, Failure> {
    let started = Instant::now();
    loop {
        match client.snapshot().await {
            Err(Failure { reason: FailureReason::NoSnapshot(SnapshotRefusal::Taken), .. })
                if started.elapsed() < deadline => {}
            result => return result,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn write(client: &Client, runtime: &Handle, deadline: Duration) -> Result<ExitCode, CliError> {
    let incomplete = |error: &dyn std::fmt::Display| {
        CliError::Failed(format!("the dump is not complete, and of no use: {error}"))
    };
    let mut snapshot = runtime
        .block_on(begin(client, deadline))
        .map_err(|failure| CliError::Failed(format!("nothing was dumped: {}", failure.reason)))?;
    let written = (|| -> std::io::Result<Result<Totals, Failure>> {
        let out = BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
        let mut writer = Writer::begin(out, random_u64(), snapshot.operation().0)?;
        let mut progress = Progress::begin("dumped", None);
        loop {
            match runtime.block_on(snapshot.next()) {
                Ok(None) => break,
                Ok(Some(parts)) => parts.into_iter().try_for_each(|part| writer.part(part))?,
                Err(failure) => return Ok(Err(failure)),
            }
            progress.tell(writer.totals());
        }
        progress.end();
        writer.end().map(Ok)
    })();
    match written {
        Ok(Ok(totals)) => {
            let Totals { keys, elements, .. } = totals;
            let at = snapshot.operation();
            // Where it cannot be said, nobody is there to miss it.
            let _ = writeln!(
                std::io::stderr(),
                "dump completed: {keys} keys, {elements} elements, as after operation {at}"
            );
            Ok(ExitCode::SUCCESS)
        }
        Ok(Err(failure)) => Err(incomplete(&failure.reason)),
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::from(1)),
        Err(error) => Err(incomplete(&error)),
    }
}

/// Tells a person on stderr how far it has got.
struct Progress {
    /// `dumped` or `loaded`; none where nobody sees it.
    verb: Option<&'static str>,
    /// Bytes in all, if that is known.
    whole: Option<u64>,
    started: Instant,
    told: Option<Instant>,
}

impl Progress {
    fn begin(verb: &'static str, whole: Option<u64>) -> Progress {
        let verb = std::io::stderr().is_terminal().then_some(verb);
        Progress { verb, whole, started: Instant::now(), told: None }
    }

    fn tell(&mut self, totals: Totals) {
        let Some(verb) = self.verb else { return };
        if self.told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let line = line(verb, totals, self.whole, self.started.elapsed());
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "\r{line}\x1b[K").and_then(|()| stderr.flush());
    }

    /// Takes the line away again.
    fn end(&mut self) {
        if self.told.take().is_some() {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[K").and_then(|()| stderr.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

fn line(verb: &str, totals: Totals, whole: Option<u64>, elapsed: Duration) -> String {
    let Totals { keys, bytes, .. } = totals;
    let mib = bytes as f64 / f64::from(1 << 20);
    let rate = keys as f64 / elapsed.as_secs_f64().max(0.001);
    let share = whole.filter(|whole| *whole > 0).map_or(String::new(), |whole| {
        let share = (bytes as f64 / whole as f64).min(1.0);
        let left = elapsed.as_secs_f64() * (1.0 - share) / share.max(0.001);
        format!(", {:.0} %, {left:.0} s left", share * 100.0)
    });
    format!("{verb} {keys} keys, {mib:.1} MiB, {rate:.0} keys/s{share}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_with_a_rate_and_with_what_is_left_where_that_is_known() {
        let totals = Totals { keys: 3000, elements: 0, bytes: 3 << 20 };
        let told = |whole| line("loaded", totals, whole, Duration::from_secs(2));
        assert_eq!(told(None), "loaded 3000 keys, 3.0 MiB, 1500 keys/s");
        let expected = "loaded 3000 keys, 3.0 MiB, 1500 keys/s, 75 %, 1 s left";
        assert_eq!(told(Some(4 << 20)), expected);
    }
}
