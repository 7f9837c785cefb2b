//! The list of the metrics, and the text format of Prometheus.
//!
//! Kept here: what is not in the list cannot be written, and each metric is written in one piece,
//! after its `HELP` and `TYPE` lines.

use std::fmt::{Display, Write as _};

use crate::protocol::counts::{BOUNDS, Durations};
use crate::protocol::seal::Refusal;
use crate::runtime::Totals;

/// Who exports a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// kv server and view server.
    Both,
    /// kv server.
    Kv,
    /// View server.
    View,
}

/// What a metric is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// It rises from 0 while the process lives.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

/// A name, as it is documented in the module's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub kind: Type,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    /// Who exports it.
    pub owner: Owner,
    /// What it means.
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Type,
    labels: &'static [&'static str],
    owner: Owner,
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, owner, help }
}

/// Every metric, in the order in which they are exported.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    metric("pbkv_build_info", Type::Gauge, &["version"], Owner::Both,
        "Always 1; the version and commit that was built."),
    metric("pbkv_ready", Type::Gauge, &[], Owner::Both,
        "1 if /readyz says so."),
    metric("pbkv_view_number", Type::Gauge, &[], Owner::Both,
        "Number of the newest view that is known; 0 before the first."),
    metric("pbkv_view_epoch", Type::Gauge, &[], Owner::Both,
        "Epoch of that view."),
    metric("pbkv_datagrams_received_total", Type::Counter, &[], Owner::Both,
        "Datagrams received, whatever became of them."),
    metric("pbkv_datagrams_sent_total", Type::Counter, &[], Owner::Both,
        "Datagrams handed to the kernel."),
    metric("pbkv_received_bytes_total", Type::Counter, &[], Owner::Both,
        "Bytes in the datagrams received."),
    metric("pbkv_sent_bytes_total", Type::Counter, &[], Owner::Both,
        "Bytes in the datagrams sent."),
    metric("pbkv_datagrams_dropped_total", Type::Counter, &["reason"], Owner::Both,
        "Datagrams, or lines of one, that were dropped."),
    metric("pbkv_datagrams_refused_total", Type::Counter, &["reason"], Owner::Both,
        "Datagrams refused because of their seal, or for want of one. None got an answer."),
    metric("pbkv_sealed_datagrams_total", Type::Counter, &["event"], Owner::Both,
        "Datagrams sealed and opened, and what became of the others that were authentic."),
    metric("pbkv_pieces_received_total", Type::Counter, &[], Owner::Both,
        "Parts of large messages received."),
    metric("pbkv_pieces_sent_total", Type::Counter, &[], Owner::Both,
        "Parts of large messages sent."),
    metric("pbkv_assemblies_total", Type::Counter, &["outcome"], Owner::Both,
        "Large messages that were begun to be put together, by how that ended."),
    metric("pbkv_role", Type::Gauge, &["role"], Owner::Kv,
        "1 for the role that this server is in, 0 for the others."),
    metric("pbkv_synced", Type::Gauge, &[], Owner::Kv,
        "1 if this server, and its backup if it has one, hold every acknowledged operation."),
    metric("pbkv_view_server_heard", Type::Gauge, &[], Owner::Kv,
        "1 if the view server was heard within dead-after."),
    metric("pbkv_keys", Type::Gauge, &[], Owner::Kv,
        "Keys in the store; at a joiner, those received so far."),
    metric("pbkv_store_bytes", Type::Gauge, &[], Owner::Kv,
        "Bytes of text in all keys and values."),
    metric("pbkv_log_bytes", Type::Gauge, &[], Owner::Kv,
        "Bytes of the operations that are remembered or wait, roughly."),
    metric("pbkv_memory_bytes", Type::Gauge, &[], Owner::Kv,
        "Bytes that the copy takes, roughly: lists, sessions and log."),
    metric("pbkv_memory_limit_bytes", Type::Gauge, &[], Owner::Kv,
        "Bytes that it may take, here and at the other copy (--max-memory); 0 without a limit."),
    metric("pbkv_sessions", Type::Gauge, &[], Owner::Kv,
        "Sessions of clients."),
    metric("pbkv_applied_operations", Type::Gauge, &[], Owner::Kv,
        "Number of the last operation that is applied."),
    metric("pbkv_operations_total", Type::Counter, &["kind", "outcome"], Owner::Kv,
        "Requests answered. Done and missing were executed."),
    metric("pbkv_operation_duration_seconds", Type::Histogram, &["kind"], Owner::Kv,
        "From the arrival of a request at the primary to its answer, of those executed."),
    metric("pbkv_duplicates_suppressed_total", Type::Counter, &["message"], Owner::Kv,
        "Requests, replicated operations and parts of a transfer that were here before."),
    metric("pbkv_retransmissions_total", Type::Counter, &["message"], Owner::Kv,
        "Messages to the other copy sent again."),
    metric("pbkv_probes_total", Type::Counter, &[], Owner::Kv,
        "Barriers and empty transfers sent because nothing was heard for a while."),
    metric("pbkv_stale_messages_total", Type::Counter, &[], Owner::Kv,
        "Messages between servers that belong to another view, process, history or attempt."),
    metric("pbkv_strange_messages_total", Type::Counter, &[], Owner::Both,
        "Messages that only servers send, from where no server is known to be."),
    metric("pbkv_records_adopted_total", Type::Counter, &[], Owner::Kv,
        "Records of the view server adopted."),
    metric("pbkv_replication_lag_operations", Type::Gauge, &[], Owner::Kv,
        "Operations that are numbered and not acknowledged by the other copy."),
    metric("pbkv_replication_lag_seconds", Type::Gauge, &[], Owner::Kv,
        "How long the oldest of them that was sent waits."),
    metric("pbkv_lease_held", Type::Gauge, &[], Owner::Kv,
        "1 while a read lease is in force."),
    metric("pbkv_transfer_active", Type::Gauge, &[], Owner::Kv,
        "1 while this primary has a joiner."),
    metric("pbkv_transfer_progress_ratio", Type::Gauge, &[], Owner::Kv,
        "Part of the keys that is on its way to the joiner, from 0 to 1."),
    metric("pbkv_transfer_bytes_total", Type::Counter, &[], Owner::Kv,
        "Bytes of state sent to joiners, each once."),
    metric("pbkv_view_phase", Type::Gauge, &["phase"], Owner::View,
        "1 for what the newest record is: recovering (there is none), proposed or active."),
    metric("pbkv_waiting", Type::Gauge, &[], Owner::View,
        "1 while the cluster cannot serve or lacks a backup; status says what it waits for."),
    metric("pbkv_servers_known", Type::Gauge, &["role"], Owner::View,
        "Servers that are known, by role."),
    metric("pbkv_servers_alive", Type::Gauge, &["role"], Owner::View,
        "Servers heard from within dead-after, by role."),
    metric("pbkv_server_silence_seconds", Type::Gauge, &["server"], Owner::View,
        "Since the last pong of a server."),
    metric("pbkv_view_changes_total", Type::Counter, &["reason"], Owner::View,
        "Records made: new views, and proposed ones put in force."),
    metric("pbkv_pings_sent_total", Type::Counter, &[], Owner::View,
        "Pings sent."),
    metric("pbkv_pongs_heard_total", Type::Counter, &[], Owner::View,
        "Pongs that answered one of them."),
    metric("pbkv_pongs_ignored_total", Type::Counter, &[], Owner::View,
        "Pongs that answered nothing asked lately, or of a process that does not count."),
    metric("pbkv_servers_refused_total", Type::Counter, &[], Owner::View,
        "Second processes with an id in use that were turned away."),
];

/// Text that grows.
#[derive(Debug, Default)]
pub(super) struct Writer {
    text: String,
}

impl Writer {
    /// Begins a metric.
    ///
    /// # Panics
    /// If the name is not in the list.
    pub(super) fn begin(&mut self, name: &str) -> Samples<'_> {
        let metric = METRICS.iter().find(|metric| metric.name == name);
        let metric = metric.expect("every name that is exported is in the list");
        let kind = match metric.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help);
        Samples { metric, text: &mut self.text }
    }

    /// A metric with one value and no labels.
    pub(super) fn value(&mut self, name: &str, value: impl Display) {
        self.begin(name).sample(&[], value);
    }

    /// A metric with one label, and a value for each word of it.
    pub(super) fn by_word<'a, V: Display>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = (&'a str, V)>,
    ) {
        let mut samples = self.begin(name);
        for (word, value) in values {
            samples.sample(&[word], value);
        }
    }

    /// What every process exports, about its datagrams.
    pub(super) fn transport(&mut self, totals: &Totals) {
        let counters = &totals.transport;
        self.value("pbkv_datagrams_received_total", counters.datagrams_received);
        self.value("pbkv_datagrams_sent_total", totals.sent);
        self.value("pbkv_received_bytes_total", counters.bytes_received);
        self.value("pbkv_sent_bytes_total", totals.sent_bytes);
        let dropped = [
            ("checksum", counters.dropped_checksum),
            ("undecodable", counters.dropped_undecodable),
            ("unknown_type", counters.dropped_unknown_type),
            ("unchecked", counters.dropped_unchecked),
            ("too_large", counters.dropped_too_large),
            ("unproven", counters.dropped_unproven),
            ("send_failed", totals.unsent),
            ("shed", totals.shed),
        ];
        self.by_word("pbkv_datagrams_dropped_total", dropped);
        let seal = &totals.seal;
        let refused = Refusal::ALL.map(|refusal| (refusal.word(), seal.refused[refusal as usize]));
        self.by_word("pbkv_datagrams_refused_total", refused);
        let sealed = [
            ("sealed", seal.sealed),
            ("opened", seal.opened),
            ("hello_sent", seal.hellos_sent),
            ("hello_received", seal.hellos_received),
            ("welcome_sent", seal.welcomes_sent),
            ("welcome_taken", seal.welcomes_taken),
            ("welcome_withheld", seal.welcomes_withheld),
            ("stale", seal.stale),
            ("repeated", seal.repeated),
            ("gave_up", seal.gave_up),
            ("renewed", seal.renewals),
        ];
        self.by_word("pbkv_sealed_datagrams_total", sealed);
        self.value("pbkv_pieces_received_total", counters.pieces_received);
        self.value("pbkv_pieces_sent_total", counters.pieces_sent);
        let assemblies = [
            ("completed", counters.assemblies_completed),
            ("expired", counters.assemblies_expired),
            ("refused", counters.assemblies_refused),
            ("damaged", counters.assemblies_damaged),
        ];
        self.by_word("pbkv_assemblies_total", assemblies);
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// The samples of one metric.
pub(super) struct Samples<'a> {
    metric: &'static Metric,
    text: &'a mut String,
}

impl Samples<'_> {
    /// One value, with the values of the labels.
    pub(super) fn sample(&mut self, labels: &[&str], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// A histogram, with the values of the labels.
    pub(super) fn histogram(&mut self, labels: &[&str], durations: &Durations) {
        let mut count = 0;
        let bounds = BOUNDS.iter().map(|nanos| seconds(*nanos)).chain(["+Inf".to_owned()]);
        for (size, bound) in durations.buckets.iter().zip(bounds) {
            count += size;
            self.line("_bucket", labels, Some(&bound), count);
        }
        self.line("_sum", labels, None, seconds(durations.sum));
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: &[&str], bound: Option<&str>, value: impl Display) {
        debug_assert_eq!(labels.len(), self.metric.labels.len());
        let names = self.metric.labels.iter().copied().chain(bound.map(|_| "le"));
        let values = labels.iter().copied().chain(bound);
        let pairs: Vec<String> = names
            .zip(values)
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = match pairs.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", pairs.join(",")),
        };
        let _ = writeln!(self.text, "{}{suffix}{labels} {value}", self.metric.name);
    }
}

/// Nanoseconds as seconds, exactly.
pub(super) fn seconds(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
