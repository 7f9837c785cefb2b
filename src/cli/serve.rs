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
use crate::cli::notify::{State, notify};
use crate::protocol::Process;
use crate::runtime::Handle;

/// How a console ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// `quit` was typed: the server leaves.
    Quit,
    /// There are no more lines: the server stays.
    InputEnded,
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
            _ = interrupt.recv() => {
                info!(event = "leaving", "{name} leaves on SIGINT");
                break Ok(());
            }
            _ = terminate.recv() => {
                info!(event = "leaving", "{name} leaves on SIGTERM");
                break Ok(());
            }
            left = &mut console, if console_runs => {
                if left == Ok(Left::Quit) {
                    info!(event = "leaving", "{name} leaves on quit");
                    break Ok(());
                }
                console_runs = false;
            }
            ended = &mut run => break ended.map_err(CliError::failed),
        }
    };
    notify(State::Stopping);
    result
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
