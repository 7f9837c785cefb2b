//! `client watch`: a live picture of the cluster.
//!
//! On a terminal it is a screen that is drawn anew each tick; elsewhere a line a tick, or with
//! `--json` an object a tick. It asks the view server and every server it has ever heard of, so that
//! it goes on when any of them dies, and it measures reads as a client meets them. What it shows is
//! as old as the tick; nothing it does changes anything.
//!
//! Reading order: `picture` (what is known), `probe` (reads from here), `screen`, `report` (lines
//! and objects), then this file.

mod picture;
mod probe;
mod report;
mod screen;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use self::picture::Picture;
use self::probe::Probe;
use self::screen::Screen;
use crate::cli::client_answer::Form;
use crate::cli::editor::stop_after;
use crate::cli::flags::{parse_address, parse_time};
use crate::cli::serve::on_own_thread;
use crate::cli::setup::Connection;
use crate::cli::style::{Style, is_dumb};
use crate::cli::{CliError, runtime};
use crate::protocol::seal::Keyring;
use crate::runtime::{Client, ClientOptions, Observer};

/// How long a server may take for its answer, at most.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);

/// Shows the cluster as it is, until q is typed.
#[derive(Parser, Debug)]
#[command(name = "client watch", disable_version_flag = true)]
struct Flags {
    /// Time between two pictures
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,
    /// Pictures after which to end [default: no end]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print one JSON object a picture
    #[arg(long)]
    json: bool,
    /// Leave out the reads that measure latency
    #[arg(long)]
    no_reads: bool,
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

/// Faster than a screen can be read, or a server should be asked.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let time = parse_time(text)?;
    if time < Duration::from_millis(50) { Err("is less than 50ms".to_owned()) } else { Ok(time) }
}

/// Carries out the command. `words` are those behind `watch`.
///
/// # Errors
/// When the hosts file cannot be used, or no socket can be opened.
pub fn run(words: &[String], form: Form, connection: Connection) -> Result<ExitCode, CliError> {
    let name = ["client watch".to_owned()];
    let flags = match Flags::try_parse_from(name.iter().chain(words)) {
        Ok(flags) => flags,
        Err(error) => return Ok(super::tell_usage(&error)),
    };
    let view_server = connection.whom(flags.hosts.clone(), flags.view_server)?;
    let keys = connection.keys(flags.key_file.clone())?;
    let form = if flags.json { Form::Json } else { form };
    runtime()?.block_on(watch(&flags, form, view_server, keys))
}

/// Where pictures go.
enum Output {
    Screen(Box<Screen>),
    Lines,
    Objects,
}

impl Output {
    fn choose(form: Form) -> Output {
        let is_screen = std::io::stdout().is_terminal() && !is_dumb();
        match form {
            Form::Json => Output::Objects,
            Form::Text if is_screen => {
                Output::Screen(Box::new(Screen::open(Style::of(&std::io::stdout()))))
            }
            Form::Text | Form::Line => Output::Lines,
        }
    }

    /// Draws the picture, or returns it as a text to be written.
    fn show(&mut self, picture: &Picture, every: Duration) -> std::io::Result<Option<String>> {
        match self {
            Output::Screen(screen) => screen.draw(picture, every).map(|()| None),
            Output::Lines => Ok(Some(report::lines(picture))),
            Output::Objects => Ok(Some(report::object(picture))),
        }
    }
}

/// Writes texts to stdout on a thread of its own: a reader that does not read must not keep this
/// program from ending.
struct Written {
    texts: mpsc::Sender<String>,
    written: oneshot::Receiver<std::io::Result<()>>,
}

impl Written {
    fn start() -> Result<Written, CliError> {
        let (texts, mut taken) = mpsc::channel::<String>(1);
        let written = on_own_thread(move || {
            let mut output = std::io::stdout();
            while let Some(text) = taken.blocking_recv() {
                writeln!(output, "{text}").and_then(|()| output.flush())?;
            }
            Ok(())
        })?;
        Ok(Written { texts, written })
    }

    /// Waits until everything is written. Says whether it is.
    async fn end(self) -> bool {
        drop(self.texts);
        matches!(self.written.await, Ok(Ok(())))
    }
}

/// What a person asks of a program by a key, and the terminal must be given back for.
enum Job {
    Stop,
    Quit,
}

/// None where there is no screen.
struct JobSignals(Option<(unix::Signal, unix::Signal)>);

impl JobSignals {
    fn for_screen(output: &Output) -> Result<JobSignals, CliError> {
        let of =
            |kind: Signal| signal(SignalKind::from_raw(kind.as_raw())).map_err(CliError::failed);
        Ok(JobSignals(match output {
            Output::Screen(_) => Some((of(Signal::TSTP)?, of(Signal::QUIT)?)),
            Output::Lines | Output::Objects => None,
        }))
    }

    async fn next(&mut self) -> Job {
        let Some((stop, quit)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = stop.recv() => Job::Stop,
            _ = quit.recv() => Job::Quit,
        }
    }
}

async fn watch(
    flags: &Flags,
    form: Form,
    view_server: SocketAddr,
    keys: Option<Keyring>,
) -> Result<ExitCode, CliError> {
    let observer = Observer::towards(view_server, keys.clone()).await.map_err(CliError::failed)?;
    let probe = match flags.no_reads {
        true => Probe::default(),
        false => {
            let options = ClientOptions {
                deadline: Duration::from_secs(2),
                keys,
                ..ClientOptions::new(view_server)
            };
            let client = Client::connect_with(options).await.map_err(CliError::failed)?;
            Probe::start(client)
        }
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::failed)?;
    let mut ticks = interval(flags.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut picture = Picture::new(view_server);
    let mut output = Output::choose(form);
    let mut keys = screen::keys(&output)?;
    let mut job = JobSignals::for_screen(&output)?;
    let written = Written::start()?;
    let mut shown = 0;
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            Some(()) = keys.recv() => return Ok(ExitCode::SUCCESS),
            asked = job.next() => match asked {
                Job::Quit => return Ok(ExitCode::from(128 + 3)),
                Job::Stop => {
                    // Not drawn on any more; the screen is opened anew when the process goes on.
                    if stop_after(|| output = Output::Lines) {
                        output = Output::choose(form);
                    }
                    ticks.reset_immediately();
                    continue;
                }
            },
            _ = ticks.tick() => {}
        }
        look(&observer, &mut picture, flags.interval.min(ANSWER_WITHIN)).await;
        picture.end_tick(crate::runtime::now(), probe.take());
        shown += 1;
        let is_last = flags.count.is_some_and(|count| shown >= count);
        let Ok(text) = output.show(&picture, flags.interval) else { return Ok(ExitCode::FAILURE) };
        if let Some(text) = text {
            tokio::select! {
                biased;
                _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
                _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
                sent = written.texts.send(text) => if sent.is_err() {
                    // Whoever read the lines has gone.
                    return Ok(ExitCode::FAILURE);
                },
            }
        }
        if is_last {
            let is_written = tokio::select! {
                biased;
                _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
                _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
                is_written = written.end() => is_written,
            };
            return Ok(ExitCode::from(u8::from(!is_written)));
        }
    }
}

/// Asks everybody at once, those included of whom the view server tells meanwhile, and takes in what
/// they say in time.
async fn look(observer: &Observer, picture: &mut Picture, within: Duration) {
    let mut known = picture.begin_tick(crate::runtime::now());
    let mut asked = JoinSet::new();
    let ask = |asked: &mut JoinSet<_>, whom: SocketAddr| {
        let observer = observer.clone();
        asked.spawn(async move { (whom, observer.ask(whom, within).await) });
    };
    for &whom in &known {
        ask(&mut asked, whom);
    }
    while let Some(answered) = asked.join_next().await {
        if let Ok((whom, Some((status, round_trip)))) = answered {
            picture.take(crate::runtime::now(), whom, status, round_trip);
            for whom in picture.addresses() {
                if !known.contains(&whom) {
                    known.push(whom);
                    ask(&mut asked, whom);
                }
            }
        }
    }
}
