//! Timing and limits, with the relations between them that safety and liveness rest on.
//!
//! A [`Timing`] can only be built checked, so that no deployment can choose a lease that outlives
//! the judgement of death. Only the view server has timing flags; it tells the others.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Clocks of two machines are trusted to run at rates that differ from true time by at most one
/// part in ten (epsilon = 0.1). Real clocks are a thousand times better.
const DRIFT_TENTHS: u32 = 1;

/// Why a combination of timing flags is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A ping interval must be long enough to be worth a datagram.
    #[error("--ping-interval {0:?} is below 1ms; use at least 1ms")]
    PingIntervalTooShort(Duration),
    /// Death must not be judged before a few pings had their chance.
    #[error(
        "--dead-after {dead_after:?} is less than 3 x --ping-interval {ping_interval:?}; raise --dead-after to at least {least:?}"
    )]
    DeadAfterTooShort {
        /// The interval that was asked for.
        ping_interval: Duration,
        /// The judgement that was asked for.
        dead_after: Duration,
        /// The shortest judgement that goes with the interval.
        least: Duration,
    },
    /// An hour is already useless; more is a typing mistake.
    #[error("--dead-after {0:?} is above 1h; use less")]
    DeadAfterTooLong(Duration),
    /// A lease must be over when its holder is judged dead.
    #[error("a lease of {lease:?} outlives the judgement of death after {dead_after:?}")]
    LeaseTooLong {
        /// The lease that was claimed.
        lease: Duration,
        /// The judgement that goes with it.
        dead_after: Duration,
    },
}

/// The cluster's timing. Travels from the view server to everybody in its pings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "Claimed", into = "Claimed")]
pub struct Timing {
    ping_interval: Duration,
    dead_after: Duration,
    lease: Duration,
}

/// Timing as it travels: what arrives may claim anything, and zeros would make timers that never
/// rest.
#[derive(Serialize, Deserialize)]
struct Claimed {
    #[serde(rename = "ping_interval_us", with = "micros")]
    ping_interval: Duration,
    #[serde(rename = "dead_after_us", with = "micros")]
    dead_after: Duration,
    #[serde(rename = "lease_us", with = "micros")]
    lease: Duration,
}

impl From<Timing> for Claimed {
    fn from(timing: Timing) -> Claimed {
        let Timing { ping_interval, dead_after, lease } = timing;
        Claimed { ping_interval, dead_after, lease }
    }
}

impl TryFrom<Claimed> for Timing {
    type Error = ConfigError;

    fn try_from(claimed: Claimed) -> Result<Timing, ConfigError> {
        let Claimed { ping_interval, dead_after, lease } = claimed;
        let timing = Timing { lease, ..Timing::new(ping_interval, dead_after, false)? };
        if lease_wait(lease) > dead_after {
            return Err(ConfigError::LeaseTooLong { lease, dead_after });
        }
        Ok(timing)
    }
}

impl Default for Timing {
    /// Ping every 50 ms, judge after 250 ms, no read leases.
    fn default() -> Self {
        Timing {
            ping_interval: Duration::from_millis(50),
            dead_after: Duration::from_millis(250),
            lease: Duration::ZERO,
        }
    }
}

impl Timing {
    /// Checked timing. With `lease_reads`, the primary holds a lease of 8/10 of `dead_after`, so
    /// that `lease * (1 + e) / (1 - e) <= dead_after` and a failover pays nothing extra.
    ///
    /// # Errors
    /// When a relation between the values does not hold.
    pub fn new(
        ping_interval: Duration,
        dead_after: Duration,
        lease_reads: bool,
    ) -> Result<Timing, ConfigError> {
        if ping_interval < Duration::from_millis(1) {
            return Err(ConfigError::PingIntervalTooShort(ping_interval));
        }
        let least = ping_interval.saturating_mul(3);
        if dead_after < least {
            return Err(ConfigError::DeadAfterTooShort { ping_interval, dead_after, least });
        }
        if dead_after > Duration::from_secs(3600) {
            return Err(ConfigError::DeadAfterTooLong(dead_after));
        }
        let lease = if lease_reads { dead_after * 8 / 10 } else { Duration::ZERO };
        assert!(lease_wait(lease) <= dead_after, "a lease never outlives the judgement of death");
        Ok(Timing { ping_interval, dead_after, lease })
    }

    /// Time between two pings to a server that answers.
    #[must_use]
    pub fn ping_interval(&self) -> Duration {
        self.ping_interval
    }

    /// Silence after which a server is judged dead, and lack of progress after which it is stalled.
    #[must_use]
    pub fn dead_after(&self) -> Duration {
        self.dead_after
    }

    /// How long a primary may answer reads by itself; zero when leases are off.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// A gap between two events of a process that shows that it was stopped or starved: it must
    /// hear the others again before it judges any of them.
    #[must_use]
    pub fn pause_gap(&self) -> Duration {
        self.ping_interval * 2
    }
}

/// How long the grantor waits, on its own clock, for a lease of this length to be over on the
/// holder's clock: `lease * (1 + e) / (1 - e)`.
#[must_use]
pub fn lease_wait(lease: Duration) -> Duration {
    lease * (10 + DRIFT_TENTHS) / (10 - DRIFT_TENTHS)
}

/// Bounds on everything that could otherwise grow without one.
///
/// Those that can be set together, for tests, are fields. The others stand beside what they bound;
/// this is the list of all of them. What exceeds one is dropped or refused, never acknowledged.
///
/// | what | bound | beyond it | where |
/// | --- | --- | --- | --- |
/// | key, value, command | 64 KiB, 1 MiB, both together; 10,000 keys | refused by the client, `too_large`, not ordered | here |
/// | memory of a copy | `--max-memory`, off | what grows is refused: `out_of_memory` | `memory_bytes`, `kv::memory` |
/// | sessions | 10,000 | the least recently used one is evicted | `session_capacity` |
/// | writes of a session in flight | 64 | not ordered | `session_window` |
/// | operations that wait for the backup | 16,384, or 32 MiB of log | `busy` | `pending_operations`, `history_bytes`, `backlog_bytes` |
/// | requests before their turn | 16 MiB in all | the oldest sessions make room | `backlog_bytes`, `server::intake` |
/// | reads that wait for a proof | 65,536, 16 MiB | `busy` | `pending_reads`, `backlog_bytes` |
/// | reads that wait for writes of their session | 64 of a session, 16 MiB in all | dropped, asked again | `server::reads` |
/// | log kept for a server that was away | 16,384 operations, 16 MiB | the oldest are forgotten | `history_operations`, `history_bytes` |
/// | replication or transfer in flight | 512 KiB | waits | `window_bytes` |
/// | effects that wait for a joiner | 16 MiB | `busy` | `backlog_bytes` |
/// | operations before their turn at the backup | 16,384, 16 MiB | dropped, sent again | `server::backup` |
/// | messages of a transfer before their turn | 1024, 16 MiB | dropped, sent again | `server::state_transfer` |
/// | snapshot | one, 256 MiB, 30 s of rest | refused, given up | `snapshot_bytes`, `server::snapshots` |
/// | an answer | a page, 256 KiB and one value; 60,000 bytes in the plain form | pages; `too_large` | `page_bytes`, `server::primary` |
/// | a message | 8 MiB | dropped | `message_bytes` |
/// | messages put together from pieces | 64 at a time, 64 MiB declared, a minute each | the stalest, or one of whoever takes more than a quarter, makes room | `transport::assembly` |
/// | gaps in one of them | 2048 | the piece is dropped | `transport::assembly` |
/// | messages that wait to be fetched | 64 MiB, 10 s each | the least recently used are forgotten | `transport::outgoing` |
/// | pieces that answer wants | 256 KiB a want, 4 MiB a turn | asked for again | `transport::outgoing` |
/// | addresses: other checksum, tokens, datagrams sent lately | 1024 each | forgotten and learned again | `transport::packing`, `transport::proof` |
/// | datagrams that wait for their turn | 4096, 8 MiB; 16 to 256 of a source | dropped | `runtime::arrivals` |
/// | socket buffers | 4 MiB each way | the kernel drops | `runtime::socket` |
/// | servers known | 1024, of which 64 may never have answered | the oldest newcomer is forgotten | `view_server::roster` |
/// | pings remembered, former processes of an id | 256, 64 | the oldest are forgotten | `view_server::roster` |
/// | questions for a fresh view | 1024 | dropped, asked again | `view_server::queries` |
/// | view changes remembered | 64 | the oldest are forgotten | `view_server::changes` |
/// | connections for metrics | 32, 8 KiB, 5 s | closed | `runtime::http` |
/// | anything counted | 2^62 | not decoded | `types::COUNT_MAX` |
/// | nesting of JSON | 128 | not decoded | `serde_json` |
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limits {
    /// Longest key, in bytes of UTF-8.
    pub key_bytes: usize,
    /// Longest value (one element of a list), in bytes of UTF-8.
    pub value_bytes: usize,
    /// Keys that one command may name.
    pub keys_per_command: usize,
    /// Largest datagram sent to an address that is not loopback.
    pub datagram_bytes: usize,
    /// Largest datagram sent to a loopback address.
    pub loopback_datagram_bytes: usize,
    /// Largest message that is put together from pieces. JSON can make six bytes of one.
    pub message_bytes: usize,
    /// All messages that are being put together, and all that wait to be fetched by their receiver.
    pub assembly_bytes: usize,
    /// Writes of one session that may be in flight.
    pub session_window: u64,
    /// Sessions kept; opening one more evicts the one that was used least recently.
    pub session_capacity: u64,
    /// Operations that may wait for the backup's acknowledgement before new ones are refused (`busy`).
    pub pending_operations: usize,
    /// Committed operations remembered, so that a server that was away shortly can catch up.
    pub history_operations: usize,
    /// Bytes of committed operations remembered for the same purpose.
    pub history_bytes: usize,
    /// Bytes of operations or effects that may wait for a joiner before writes are slowed (`busy`).
    pub backlog_bytes: usize,
    /// Bytes of replication or of a state transfer that may be in flight to one peer.
    pub window_bytes: usize,
    /// Bytes that may be kept of what is changed while a snapshot is read.
    pub snapshot_bytes: usize,
    /// Bytes of list elements in one page of a long list.
    pub page_bytes: usize,
    /// Reads that may wait for a proof before new ones are refused (`busy`).
    pub pending_reads: usize,
    /// Bytes that a copy may take, as `kv::memory` estimates them, before what would make it larger
    /// is refused (`out_of_memory`); none for no limit. What the backup may take counts as well.
    pub memory_bytes: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            key_bytes: 64 << 10,
            value_bytes: 1 << 20,
            keys_per_command: 10_000,
            datagram_bytes: 1200,
            loopback_datagram_bytes: 60 << 10,
            message_bytes: 8 << 20,
            assembly_bytes: 64 << 20,
            session_window: 64,
            session_capacity: 10_000,
            pending_operations: 16_384,
            history_operations: 16_384,
            history_bytes: 16 << 20,
            backlog_bytes: 16 << 20,
            window_bytes: 512 << 10,
            snapshot_bytes: 256 << 20,
            page_bytes: 256 << 10,
            pending_reads: 65_536,
            memory_bytes: None,
        }
    }
}

impl Limits {
    /// Bytes of all keys and values of one command: as many as the largest `put` has, so that
    /// whatever can carry that one can carry every command.
    #[must_use]
    pub fn command_bytes(&self) -> usize {
        self.key_bytes + self.value_bytes
    }

    /// The largest datagram that may be sent to this address.
    #[must_use]
    pub fn datagram_bytes_to(&self, to: SocketAddr) -> usize {
        if to.ip().is_loopback() { self.loopback_datagram_bytes } else { self.datagram_bytes }
    }
}

/// Durations cross the network as whole microseconds.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn default_timing_is_one_that_the_checks_accept() {
        assert_eq!(Timing::new(ms(50), ms(250), false), Ok(Timing::default()));
    }

    #[test]
    fn judging_before_three_pings_is_refused_with_the_remedy() {
        let error = Timing::new(ms(50), ms(149), false).unwrap_err();
        assert!(error.to_string().contains("raise --dead-after to at least 150ms"), "{error}");
    }

    #[test]
    fn the_wait_for_a_lease_is_longer_than_the_lease_on_any_clock_that_is_trusted() {
        for lease in [ms(9), ms(180), ms(7_200)] {
            // The grantor's clock runs fast, the holder's slow.
            assert!(lease_wait(lease) * (10 - DRIFT_TENTHS) >= lease * (10 + DRIFT_TENTHS));
            assert!(lease_wait(lease) < lease * 13 / 10, "and not much longer");
        }
    }

    #[test]
    fn timing_from_the_network_that_breaks_a_relation_is_refused() {
        let sound = |ping: u64, dead: u64, lease: u64| {
            let text = format!(
                r#"{{"ping_interval_us":{ping},"dead_after_us":{dead},"lease_us":{lease}}}"#
            );
            serde_json::from_str::<Timing>(&text).is_ok()
        };
        assert!(sound(50_000, 250_000, 0) && sound(50_000, 250_000, 200_000));
        assert!(sound(1_000, 3_000, 2_400));
        assert!(!sound(0, 0, 0) && !sound(0, 250_000, 0) && !sound(50_000, 0, 0));
        assert!(!sound(50_000, 250_000, 250_000), "the lease outlives the judgement of death");
        assert!(!sound(50_000, u64::MAX, 0) && !sound(u64::MAX, u64::MAX, u64::MAX));
    }

    #[test]
    fn a_lease_with_worst_drift_is_over_when_death_is_judged() {
        for dead_after in [3, 10, 40, 250, 9_999] {
            let timing = Timing::new(ms(1), ms(dead_after), true).unwrap();
            assert!(timing.lease() > Duration::ZERO);
            assert!(lease_wait(timing.lease()) <= timing.dead_after());
        }
    }
}
