//! `--metrics ADDR`: what a server counts and measures, for Prometheus, and whether it is well.
//!
//! | path | answer |
//! | --- | --- |
//! | `/metrics` | the metrics below, in the text format of Prometheus (version 0.0.4) |
//! | `/healthz` | 200 while the protocol's loop answers, 503 otherwise: restart it |
//! | `/readyz` | 200 when a rolling update may go on to the next server, 503 with the reason otherwise |
//!
//! Ready is, at a kv server: a primary that serves, a synced backup, and a spare that the view
//! server hears while the cluster has a primary and a backup. A joiner is not, and neither is a
//! spare that a cluster with one copy waits for: whoever went on would stop the last copy
//! ([`Server::readiness`](crate::protocol::server::Server::readiness)). Ready is, at a view server:
//! one that has a record and has listened long enough to judge. A load balancer is not needed
//! before this store: clients find the primary by themselves.
//!
//! The loop is asked for a copy of its counts at most once in [`FRESH`]; nothing is published where
//! nobody asks. An atomic counter, or a registry of a metrics library, would cost every operation
//! what only the scrape should pay; and the values are plain numbers already, so that writing the
//! text is all there is to do.
//!
//! # The metrics
//!
//! `role` is one of `primary`, `backup`, `joining`, `spare`, `proposed_primary`, and of what the
//! view server exports also `drained`. "both" are exported by kv server and view server alike. A
//! retried read is answered, and counted, again.
//!
//! | name | type | labels | of | meaning |
//! | --- | --- | --- | --- | --- |
//! | `pbkv_build_info` | gauge | version | both | Always 1; the version and commit that was built. |
//! | `pbkv_ready` | gauge | | both | 1 if /readyz says so. |
//! | `pbkv_view_number` | gauge | | both | Number of the newest view that is known; 0 before the first. |
//! | `pbkv_view_epoch` | gauge | | both | Epoch of that view. |
//! | `pbkv_datagrams_received_total` | counter | | both | Datagrams received, whatever became of them. |
//! | `pbkv_datagrams_sent_total` | counter | | both | Datagrams handed to the kernel. |
//! | `pbkv_received_bytes_total` | counter | | both | Bytes in the datagrams received. |
//! | `pbkv_sent_bytes_total` | counter | | both | Bytes in the datagrams sent. |
//! | `pbkv_datagrams_dropped_total` | counter | reason | both | Datagrams, or lines of one, that were dropped. |
//! | `pbkv_datagrams_refused_total` | counter | reason | both | Datagrams refused because of their seal, or for want of one. None got an answer. |
//! | `pbkv_sealed_datagrams_total` | counter | event | both | Datagrams sealed and opened, and what became of the others that were authentic. |
//! | `pbkv_pieces_received_total` | counter | | both | Parts of large messages received. |
//! | `pbkv_pieces_sent_total` | counter | | both | Parts of large messages sent. |
//! | `pbkv_assemblies_total` | counter | outcome | both | Large messages that were begun to be put together, by how that ended. |
//! | `pbkv_role` | gauge | role | kv server | 1 for the role that this server is in, 0 for the others. |
//! | `pbkv_synced` | gauge | | kv server | 1 if this server, and its backup if it has one, hold every acknowledged operation. |
//! | `pbkv_view_server_heard` | gauge | | kv server | 1 if the view server was heard within dead-after. |
//! | `pbkv_keys` | gauge | | kv server | Keys in the store; at a joiner, those received so far. |
//! | `pbkv_store_bytes` | gauge | | kv server | Bytes of text in all keys and values. |
//! | `pbkv_log_bytes` | gauge | | kv server | Bytes of the operations that are remembered or wait, roughly. |
//! | `pbkv_memory_bytes` | gauge | | kv server | Bytes that the copy takes, roughly: lists, sessions and log. |
//! | `pbkv_memory_limit_bytes` | gauge | | kv server | Bytes that it may take, here and at the other copy (--max-memory); 0 without a limit. |
//! | `pbkv_sessions` | gauge | | kv server | Sessions of clients. |
//! | `pbkv_applied_operations` | gauge | | kv server | Number of the last operation that is applied. |
//! | `pbkv_operations_total` | counter | kind, outcome | kv server | Requests answered. Done and missing were executed. |
//! | `pbkv_operation_duration_seconds` | histogram | kind | kv server | From the arrival of a request at the primary to its answer, of those executed. |
//! | `pbkv_duplicates_suppressed_total` | counter | message | kv server | Requests, replicated operations and parts of a transfer that were here before. |
//! | `pbkv_retransmissions_total` | counter | message | kv server | Messages to the other copy sent again. |
//! | `pbkv_probes_total` | counter | | kv server | Barriers and empty transfers sent because nothing was heard for a while. |
//! | `pbkv_stale_messages_total` | counter | | kv server | Messages between servers that belong to another view, process, history or attempt. |
//! | `pbkv_strange_messages_total` | counter | | both | Messages that only servers send, from where no server is known to be. |
//! | `pbkv_records_adopted_total` | counter | | kv server | Records of the view server adopted. |
//! | `pbkv_replication_lag_operations` | gauge | | kv server | Operations that are numbered and not acknowledged by the other copy. |
//! | `pbkv_replication_lag_seconds` | gauge | | kv server | How long the oldest of them that was sent waits. |
//! | `pbkv_lease_held` | gauge | | kv server | 1 while a read lease is in force. |
//! | `pbkv_transfer_active` | gauge | | kv server | 1 while this primary has a joiner. |
//! | `pbkv_transfer_progress_ratio` | gauge | | kv server | Part of the keys that is on its way to the joiner, from 0 to 1. |
//! | `pbkv_transfer_bytes_total` | counter | | kv server | Bytes of state sent to joiners, each once. |
//! | `pbkv_view_phase` | gauge | phase | view server | 1 for what the newest record is: recovering (there is none), proposed or active. |
//! | `pbkv_waiting` | gauge | | view server | 1 while the cluster cannot serve or lacks a backup; status says what it waits for. |
//! | `pbkv_servers_known` | gauge | role | view server | Servers that are known, by role. |
//! | `pbkv_servers_alive` | gauge | role | view server | Servers heard from within dead-after, by role. |
//! | `pbkv_server_silence_seconds` | gauge | server | view server | Since the last pong of a server. |
//! | `pbkv_view_changes_total` | counter | reason | view server | Records made: new views, and proposed ones put in force. |
//! | `pbkv_pings_sent_total` | counter | | view server | Pings sent. |
//! | `pbkv_pongs_heard_total` | counter | | view server | Pongs that answered one of them. |
//! | `pbkv_pongs_ignored_total` | counter | | view server | Pongs that answered nothing asked lately, or of a process that does not count. |
//! | `pbkv_servers_refused_total` | counter | | view server | Second processes with an id in use that were turned away. |

mod kv;
mod text;
mod view;

pub use kv::page as kv_page;
pub use text::{METRICS, Metric, Owner, Type};
pub use view::page as view_page;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tracing::info;

use crate::cli::CliError;
use crate::protocol::Process;
use crate::runtime::http::{self, Response};
use crate::runtime::{Handle, Totals};

/// What was gathered is given to everybody who asks within this time.
pub const FRESH: Duration = Duration::from_millis(10);

/// A loop that does not answer for so long is not well.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a scrape is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The metrics.
    pub text: String,
    /// Whether the server is ready; otherwise why not.
    pub ready: Result<(), String>,
}

/// Serves the metrics of a running process, if an address is given. `command` asks the process for
/// its measures; `page` makes the text of them and of the counts.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve<P>(
    address: Option<SocketAddr>,
    handle: &Handle<P>,
    command: P::Command,
    page: fn(P::Answer, &Totals) -> Option<Page>,
) -> Result<(), CliError>
where
    P: Process + 'static,
    P::Command: Clone + Send + Sync + 'static,
    P::Answer: Send + 'static,
    Handle<P>: Send + Sync,
{
    let Some(address) = address else { return Ok(()) };
    let gathered: Arc<Mutex<Option<(Instant, Page)>>> = Arc::default();
    let handle = handle.clone();
    let answer = move |path: String| {
        let (gathered, handle, command) = (Arc::clone(&gathered), handle.clone(), command.clone());
        async move {
            if !["/metrics", "/healthz", "/readyz"].contains(&&*path) {
                return Response::not_found();
            }
            let gather = async {
                // Whoever waits here shares what the first one is told.
                let mut gathered = gathered.lock().await;
                if let Some((at, page)) = &*gathered
                    && at.elapsed() < FRESH
                {
                    return Some(page.clone());
                }
                let measures = handle.call(command).await?;
                let page = page(measures, &handle.totals().await?)?;
                *gathered = Some((Instant::now(), page.clone()));
                Some(page)
            };
            respond(&path, timeout(PATIENCE, gather).await.ok().flatten())
        }
    };
    let bound = http::serve(address, answer).map_err(CliError::failed)?;
    info!(event = "metrics_listening", address = %bound, "metrics at http://{bound}/metrics");
    Ok(())
}

fn respond(path: &str, page: Option<Page>) -> Response {
    const UNAVAILABLE: &str = "503 Service Unavailable";
    let Some(page) = page else {
        return Response::text(UNAVAILABLE, "the protocol's loop does not answer");
    };
    match (path, page.ready) {
        ("/metrics", _) => Response {
            status: "200 OK",
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: page.text,
        },
        ("/readyz", Err(reason)) => Response::text(UNAVAILABLE, reason),
        ("/readyz", Ok(())) => Response::text("200 OK", "ready"),
        _ => Response::text("200 OK", "ok"),
    }
}

#[cfg(test)]
mod tests;
