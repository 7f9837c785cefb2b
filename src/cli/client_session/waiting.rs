//! A person waits for an operation: what they are told meanwhile, and how they stop waiting.
//!
//! Only at a terminal. Nothing here changes what happens to the operation.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use super::act;
use crate::cli::editor::KeySource;
use crate::cli::style::Style;
use crate::cli::terminal::printable;
use crate::protocol::client::{Action, Completed, Failure, FailureReason};
use crate::runtime::Client;

/// How long Tab may wait for keys of the store.
const KEYS_WITHIN: Duration = Duration::from_millis(150);

/// Carries out an operation. Says in dim lines on stderr what it waits for, if that is a terminal;
/// on Ctrl-C it waits no more.
pub(super) async fn with_patience(client: &Client, action: &Action) -> Result<Completed, Failure> {
    let mut events = client.events();
    let style = Style::of(&std::io::stderr());
    let is_seen = std::io::stderr().is_terminal();
    // Made anew each time: a signal of the time before belongs to nobody.
    let mut interrupt = signal(SignalKind::interrupt()).ok();
    let interrupted = async {
        match &mut interrupt {
            Some(interrupt) => interrupt.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(interrupted);
    let acting = act(client, action);
    tokio::pin!(acting);
    loop {
        tokio::select! {
            // What has happened is told before what came of it.
            biased;
            Some(event) = events.next() => if is_seen {
                // Where it cannot be said, nobody is there to miss it.
                let _ = writeln!(std::io::stderr(), "{}", style.dim(&printable(&event.to_string())));
            },
            result = &mut acting => return result,
            _ = &mut interrupted => return Err(given_up(action)),
        }
    }
}

/// What is sent stays sent: a write may still happen.
fn given_up(action: &Action) -> Failure {
    Failure { outcome: action.if_abandoned(), reason: FailureReason::GivenUp }
}

/// Keys of the store for completion, asked from the console's thread.
pub(super) fn key_source(client: Client, runtime: Handle) -> KeySource {
    Box::new(move |prefix| {
        let asked = async { tokio::time::timeout(KEYS_WITHIN, keys_of(&client, prefix)).await };
        runtime.block_on(asked).unwrap_or_default()
    })
}

/// Keys that begin with this prefix, as many as one answer holds.
async fn keys_of(client: &Client, prefix: &str) -> Vec<String> {
    client.keys_page(prefix, None).await.map(|(keys, _)| keys).unwrap_or_default()
}
