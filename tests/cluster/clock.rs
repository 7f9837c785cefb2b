//! A process's own clock: its own origin and its own rate, which the nemesis may change, down to
//! standing still. It never goes back.

use pbkv::time::Timestamp;

/// Simulated time, in nanoseconds since the start of the run. No process ever sees it.
pub type Instant = u64;

/// One millisecond of simulated time.
pub const MS: Instant = 1_000_000;

/// One microsecond of simulated time.
pub const US: Instant = 1_000;

#[derive(Clone, Debug)]
pub struct Clock {
    changed_at: Instant,
    shown_then: u64,
    /// Parts per million of true time; 0 stands still.
    rate: u64,
}

impl Clock {
    pub fn new(now: Instant, shows: u64, rate: u64) -> Self {
        Clock { changed_at: now, shown_then: shows, rate }
    }

    pub fn read(&self, now: Instant) -> Timestamp {
        Timestamp(self.shown_then + (now - self.changed_at) * self.rate / 1_000_000)
    }

    pub fn runs(&self) -> bool {
        self.rate > 0
    }

    pub fn set_rate(&mut self, now: Instant, rate: u64) {
        self.shown_then = self.read(now).0;
        self.changed_at = now;
        self.rate = rate;
    }

    /// The first instant at which the clock shows at least this; none while it stands still.
    pub fn instant_of(&self, shown: Timestamp) -> Option<Instant> {
        if shown.0 <= self.shown_then {
            return Some(self.changed_at);
        }
        if self.rate == 0 {
            return None;
        }
        let local = u128::from(shown.0 - self.shown_then);
        let elapsed = (local * 1_000_000).div_ceil(u128::from(self.rate));
        Some(self.changed_at.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX)))
    }
}

#[test]
fn a_clock_shows_the_time_that_it_was_asked_to_wait_for_and_not_a_nanosecond_less() {
    let mut clock = Clock::new(7, 1_000, 953_217);
    clock.set_rate(1_007, 1_049_999);
    for ahead in [1, 17, 1_000, 1_000_003] {
        let wanted = Timestamp(clock.read(1_007).0 + ahead);
        let at = clock.instant_of(wanted).unwrap();
        assert!(clock.read(at) >= wanted && clock.read(at - 1) < wanted);
    }
    clock.set_rate(2_000_000, 0);
    assert_eq!(clock.instant_of(Timestamp(u64::MAX)), None);
}
