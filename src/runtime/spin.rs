//! Looking out for work a little longer before the process sleeps.
//!
//! Waking a sleeping process costs tens of microseconds, more than everything else that happens to
//! one operation. Looking out costs processor time that others could use, and when many operations
//! are under way, sleeping is what lets them gather. Kept here: in the mode that adapts, looking
//! out in vain, or for a crowd, becomes rare at once.

use std::time::Duration;

use crate::time::Timestamp;

/// Whether to look out for work before sleeping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spin {
    /// Sleep at once.
    #[default]
    Off,
    /// Look out as long as that is mostly rewarded, and operations come one by one.
    Auto,
    /// Always look out.
    On,
}

/// Longer than the way to the backup and back, among processes that are awake.
const LONGEST: Duration = Duration::from_micros(50);

/// Sleeps in a row without looking out, after many times in vain.
const SLEEPS: u32 = 1024;

/// The same after a crowd: two datagrams now and then may also be a ping beside a request.
const SLEEPS_AFTER_CROWD: u32 = 64;

/// More than this in one turn is a crowd.
const ALONE_BYTES: usize = 1024;

/// Decides when to sleep.
#[derive(Debug)]
pub(super) struct Spinner {
    mode: Spin,
    /// When there was nothing to do; none while there is.
    idle_since: Option<Timestamp>,
    /// Sleeps that are to come before it looks out again, and how many the last time in vain cost.
    sleeps: u32,
    penalty: u32,
}

impl Spinner {
    pub(super) fn new(mode: Spin) -> Spinner {
        Spinner { mode, idle_since: None, sleeps: 0, penalty: 0 }
    }

    /// There is nothing to do now. Returns whether to look again at once rather than to sleep.
    pub(super) fn is_awake(&mut self, now: Timestamp) -> bool {
        match self.mode {
            Spin::Off => return false,
            Spin::Auto if self.sleeps > 0 => {
                self.sleeps -= 1;
                return false;
            }
            Spin::Auto | Spin::On => {}
        }
        let since = *self.idle_since.get_or_insert(now);
        if now.since(since) < LONGEST {
            return true;
        }
        self.idle_since = None;
        self.penalty = (self.penalty * 2 + 1).min(SLEEPS);
        self.sleeps = self.penalty;
        false
    }

    /// So much has arrived.
    pub(super) fn received(&mut self, datagrams: usize, bytes: usize) {
        let was_looking = self.idle_since.take().is_some();
        if datagrams > 1 || bytes > ALONE_BYTES {
            self.sleeps = self.sleeps.max(SLEEPS_AFTER_CROWD);
        } else if was_looking {
            self.penalty = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Timestamp {
        Timestamp(micros * 1_000)
    }

    /// How often it looks out during so many pauses of one length.
    fn looks(spinner: &mut Spinner, pauses: u64, length: u64) -> u64 {
        let mut looks = 0;
        for pause in 0..pauses {
            let begin = pause * 1_000_000;
            let mut time = 0;
            while time < length && spinner.is_awake(micros(begin + time)) {
                looks += u64::from(time == 0);
                time += 1;
            }
            spinner.received(1, 300);
        }
        looks
    }

    #[test]
    fn it_looks_out_while_that_is_rewarded_and_hardly_ever_when_not() {
        let mut spinner = Spinner::new(Spin::Auto);
        assert_eq!(looks(&mut spinner, 1000, 20), 1000);
        let in_vain = looks(&mut spinner, 10_000, 60);
        assert!((1..30).contains(&in_vain), "{in_vain}");
        let begun_anew = looks(&mut spinner, 2000, 20);
        assert!(begun_anew > 900, "{begun_anew}");
    }

    #[test]
    fn it_sleeps_while_there_is_a_crowd() {
        for (datagrams, bytes) in [(2, 600), (1, 20_000)] {
            let mut spinner = Spinner::new(Spin::Auto);
            spinner.received(datagrams, bytes);
            assert_eq!(looks(&mut spinner, 64, 20), 0);
            assert_eq!(looks(&mut spinner, 64, 20), 64);
        }
    }

    #[test]
    fn off_never_looks_out_and_on_always_does() {
        assert_eq!(looks(&mut Spinner::new(Spin::Off), 100, 60), 0);
        assert_eq!(looks(&mut Spinner::new(Spin::On), 100, 60), 100);
    }
}
