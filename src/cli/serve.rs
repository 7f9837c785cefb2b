//! The frame of both servers: the protocol loop, the console, and the signals that end it.
//!
//! The console runs on a thread of its own and ends with the input or with `quit`. The end of the
//! input does not end the server.

use std::fmt::Display;
use std::net::SocketAddr;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::info;

use crate::cli::CliError;
use crate::cli::editor::KeptMode;
use crate::cli::notify::{State, notify};
use crate::cli::terminal::Terminal;
use crate::protocol::Process;
use crate::runtime::Handle;

/// How a console ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// `quit` was typed: the server leaves.
    Quit,
    /// There are no more lines: the server stays.
    InputEnded,
    /// Ctrl-C was typed: the server leaves.
    Interrupted,
}

impl Left {
    /// How a console ended that has no more lines.
    #[must_use]
    pub fn without_lines(terminal: &Terminal<'_>) -> Left {
        if terminal.is_interrupted { Left::Interrupted } else { Left::InputEnded }
    }
}

/// Runs a server until it stops, a signal arrives, or `quit` is typed. Logs where it is reached.
///
/// # Errors
/// When the server could not go on by itself.
pub async fn serve<E: Display>(
    name: &str,
    address: SocketAddr,
    run: impl Future<Output = Result<(), E>>,
    console: impl FnOnce() -> Left + Send + 'static,
) -> Result<(), CliError> {
    let mode = KeptMode::now();
    // Before the line that says we are here: whoever reads it may send a signal at once.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::failed)?;
    info!(event = "listening", %address, "{name} listening on {address}");
    notify(State::Ready);
    let mut console = on_own_thread(console)?;
    let mut console_runs = true;
    tokio::pin!(run);
    let result = loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => break Ok(Some("SIGINT")),
            _ = terminate.recv() => break Ok(Some("SIGTERM")),
            left = &mut console, if console_runs => {
                match left {
                    Ok(Left::Quit) => break Ok(Some("quit")),
                    // Raw mode has kept the system from sending the signal.
                    Ok(Left::Interrupted) => break Ok(Some("SIGINT")),
                    Ok(Left::InputEnded) | Err(_) => console_runs = false,
                }
            }
            ended = &mut run => break ended.map(|()| None).map_err(CliError::failed),
        }
    };
    // Before the last line: printed above a line that is being typed, it could be lost.
    drop(mode);
    if let Ok(Some(reason)) = result {
        info!(event = "leaving", "{name} leaves on {reason}");
    }
    notify(State::Stopping);
    result.map(|_| ())
}

/// Does blocking work, such as reading lines, on a thread that nobody waits for at exit.
///
/// # Errors
/// When the system has no thread left.
pub fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, CliError> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("console".to_owned())
        .spawn(move || done.send(work()))
        .map_err(|error| CliError::Failed(format!("cannot start the console: {error}")))?;
    Ok(result)
}

/// A question to the running server, to be asked from the console's thread. The answer is none
/// once the server has ended. Must be called on the runtime's thread.
pub fn asking<P>(handle: Handle<P>) -> impl FnMut(P::Command) -> Option<P::Answer> + Send + 'static
where
    P: Process + 'static,
    P::Command: Send + 'static,
    P::Answer: Send + 'static,
    Handle<P>: Send,
{
    let runtime = tokio::runtime::Handle::current();
    move |command| runtime.block_on(handle.call(command))
}
