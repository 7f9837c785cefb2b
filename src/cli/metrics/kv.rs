//! The metrics of a kv server.

use super::Page;
use super::text::{Writer, seconds};
use super::view::ROLES;
use crate::cli::VERSION;
use crate::protocol::counts::{Fate, Kind};
use crate::protocol::server::{Answer, Measures};
use crate::runtime::Totals;

/// The page, of the answer to [`Command::Measure`](crate::protocol::server::Command::Measure).
#[must_use]
pub fn page(answer: Answer, totals: &Totals) -> Option<Page> {
    let Answer::Measures(measures) = answer else { return None };
    let Measures { status, epoch, ready, heard, .. } = &*measures;
    let counts = &totals.process;
    let mut writer = Writer::default();
    writer.by_word("pbkv_build_info", [(VERSION, 1)]);
    writer.value("pbkv_ready", u64::from(ready.is_ok()));
    writer.value("pbkv_view_number", status.view);
    writer.value("pbkv_view_epoch", epoch);
    writer.transport(totals);

    let role = status.role.replace(' ', "_");
    writer.by_word("pbkv_role", ROLES.map(|word| (word, u64::from(word == role))));
    writer.value("pbkv_synced", u64::from(status.synced));
    writer.value("pbkv_view_server_heard", u64::from(*heard));
    writer.value("pbkv_keys", status.keys);
    writer.value("pbkv_store_bytes", measures.bytes);
    writer.value("pbkv_log_bytes", measures.log_bytes);
    writer.value("pbkv_memory_bytes", status.memory);
    writer.value("pbkv_memory_limit_bytes", status.memory_max.unwrap_or(0));
    writer.value("pbkv_sessions", measures.sessions);
    writer.value("pbkv_applied_operations", status.operations);

    let mut samples = writer.begin("pbkv_operations_total");
    for kind in Kind::ALL {
        for fate in Fate::ALL {
            samples.sample(&[kind.word(), fate.word()], counts.answered(*kind, *fate));
        }
    }
    let mut samples = writer.begin("pbkv_operation_duration_seconds");
    // What is not known is never executed.
    for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Unknown) {
        samples.histogram(&[kind.word()], counts.durations(*kind));
    }
    let suppressed = [
        ("request", counts.repeated_requests),
        ("replicate", counts.repeated_operations),
        ("transfer", counts.repeated_transfers),
    ];
    writer.by_word("pbkv_duplicates_suppressed_total", suppressed);
    let resent = [("replicate", counts.resent_replicates), ("transfer", counts.resent_transfers)];
    writer.by_word("pbkv_retransmissions_total", resent);
    writer.value("pbkv_probes_total", counts.probes);
    writer.value("pbkv_stale_messages_total", counts.stale_messages);
    writer.value("pbkv_strange_messages_total", counts.strange_messages);
    writer.value("pbkv_records_adopted_total", counts.adopted_records);
    writer.value("pbkv_replication_lag_operations", measures.lag);
    let nanos = u64::try_from(measures.delay.as_nanos()).unwrap_or(u64::MAX);
    writer.value("pbkv_replication_lag_seconds", seconds(nanos));
    writer.value("pbkv_lease_held", u64::from(measures.has_lease));
    writer.value("pbkv_transfer_active", u64::from(measures.transfer.is_some()));
    let (visited, all) = measures.transfer.unwrap_or((0, 1));
    writer.value("pbkv_transfer_progress_ratio", visited as f64 / all.max(1) as f64);
    writer.value("pbkv_transfer_bytes_total", counts.transfer_bytes);
    Some(Page { text: writer.finish(), ready: ready.clone() })
}
