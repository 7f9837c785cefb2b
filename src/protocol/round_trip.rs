//! When to send something again: round-trip estimate, exponential backoff, jitter.
//!
//! The estimator is the one of RFC 6298 (Jacobson/Karels), with integers only so that states of a
//! process can be compared. Kept here: retries never outgrow the capacity that is left, because the
//! waiting time doubles with every attempt, and no two senders stay in step.

use std::time::Duration;

/// Estimates how long an answer takes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct RoundTrip {
    /// Smoothed round trip and its mean deviation; none before the first sample.
    estimate: Option<(Duration, Duration)>,
}

impl RoundTrip {
    /// Waiting time before the first sample.
    pub const INITIAL: Duration = Duration::from_millis(50);
    /// A peer that was merely not scheduled for a moment is not asked twice.
    pub const SHORTEST: Duration = Duration::from_millis(10);
    /// Longest waiting time, so that a healed network is noticed soon.
    pub const LONGEST: Duration = Duration::from_millis(250);

    /// Takes the measured time between a sending and its answer. Only for what was sent once: the
    /// answer to something sent twice does not tell which sending it answers (Karn's rule).
    pub fn sample(&mut self, measured: Duration) {
        self.estimate = Some(match self.estimate {
            None => (measured, measured / 2),
            Some((smoothed, deviation)) => {
                let error = smoothed.abs_diff(measured);
                ((smoothed * 7 + measured) / 8, (deviation * 3 + error) / 4)
            }
        });
    }

    /// The smoothed round trip.
    #[must_use]
    pub fn smoothed(&self) -> Duration {
        self.estimate.map_or(RoundTrip::INITIAL, |(smoothed, _)| smoothed)
    }

    /// How long to wait for an answer to the sending number `attempt` (the first is 0). `salt`
    /// spreads different senders and attempts by up to a quarter.
    #[must_use]
    pub fn timeout(&self, attempt: u32, salt: u64) -> Duration {
        let first = self.estimate.map_or(RoundTrip::INITIAL, |(smoothed, deviation)| {
            (smoothed + deviation * 4).max(RoundTrip::SHORTEST)
        });
        let doubled = first.saturating_mul(1 << attempt.min(10)).min(RoundTrip::LONGEST);
        doubled + doubled * jitter(salt, u64::from(attempt)) / 1024
    }
}

/// A number below 256 that looks random but is a function of its arguments (splitmix64).
fn jitter(salt: u64, attempt: u64) -> u32 {
    let mut mixed = salt.wrapping_add(attempt.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::try_from((mixed ^ (mixed >> 31)) & 0xff).expect("eight bits fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_time_follows_the_measured_round_trip_and_never_falls_below_the_floor() {
        let mut round_trip = RoundTrip::default();
        for _ in 0..50 {
            round_trip.sample(Duration::from_micros(100));
        }
        let quick = round_trip.timeout(0, 1);
        assert!(quick >= RoundTrip::SHORTEST && quick <= RoundTrip::SHORTEST * 5 / 4);
        for _ in 0..50 {
            round_trip.sample(Duration::from_millis(80));
        }
        assert!(round_trip.timeout(0, 1) >= Duration::from_millis(80));
    }

    #[test]
    fn waiting_time_doubles_up_to_a_cap_and_differs_between_senders() {
        let round_trip = RoundTrip::default();
        assert!(round_trip.timeout(1, 7) >= RoundTrip::INITIAL * 2);
        assert!(round_trip.timeout(99, 7) <= RoundTrip::LONGEST * 5 / 4);
        let distinct: std::collections::BTreeSet<_> =
            (0..20).map(|salt| round_trip.timeout(0, salt)).collect();
        assert!(distinct.len() > 10);
    }
}
