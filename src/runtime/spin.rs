//! Looking out for work a little longer before the process sleeps.
//!
//! Waking a sleeping process costs tens of microseconds, more than everything else that happens to
//! one operation. Looking out costs processor time, and is meant for processors that have nothing
//! else to do. Kept here: in the mode that adapts, looking out in vain becomes rare at once; and it
//! is in vain, too, once somebody else had the processor meanwhile. On a machine that has more to
//! do than it can, it would only take turns from those who could do something.

use std::time::Duration;

use crate::time::Timestamp;

/// Whether to look out for work before sleeping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spin {
    /// Sleep at once.
    #[default]
    Off,
    /// Look out as long as that is mostly rewarded.
    Auto,
    /// Always look out.
    On,
}

/// Longer than the way to the backup and back with a batch of operations, among processes that are
/// awake.
const LONGEST: Duration = Duration::from_micros(200);

/// Longer than one look. After more than this, another process had the processor.
const UNDISTURBED: Duration = Duration::from_micros(20);

/// Sleeps in a row without looking out, after many times in vain.
const SLEEPS: u32 = 1024;

#[derive(Clone, Copy, Debug)]
struct Looking {
    since: Timestamp,
    /// The last time so far.
    looked: Timestamp,
}

impl Looking {
    fn is_worth_while(self, now: Timestamp) -> bool {
        now.since(self.looked) < UNDISTURBED && now.since(self.since) < LONGEST
    }
}

/// Decides when to sleep.
#[derive(Debug)]
pub(super) struct Spinner {
    mode: Spin,
    /// None while there is something to do.
    looking: Option<Looking>,
    /// Sleeps that are to come before it looks out again, and how many the last time in vain cost.
    sleeps: u32,
    penalty: u32,
}

impl Spinner {
    pub(super) fn new(mode: Spin) -> Spinner {
        Spinner { mode, looking: None, sleeps: 0, penalty: 0 }
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
        let looking = self.looking.get_or_insert(Looking { since: now, looked: now });
        if looking.is_worth_while(now) {
            looking.looked = now;
            return true;
        }
        self.in_vain();
        false
    }

    /// Whether it looks out; only then is it of use to know when something came.
    pub(super) fn is_looking(&self) -> bool {
        self.looking.is_some()
    }

    /// Something had arrived when it looked at this time.
    pub(super) fn received(&mut self, now: Timestamp) {
        let Some(looking) = self.looking.take() else { return };
        if looking.is_worth_while(now) {
            self.penalty = 0;
        } else {
            self.in_vain();
        }
    }

    fn in_vain(&mut self) {
        self.looking = None;
        self.penalty = (self.penalty * 2 + 1).min(SLEEPS);
        self.sleeps = self.penalty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Timestamp {
        Timestamp(micros * 1_000)
    }

    /// How often it looks out during so many pauses of one length, while one look takes so long.
    fn looks(spinner: &mut Spinner, pauses: u64, length: u64, step: u64) -> u64 {
        let mut looks = 0;
        for pause in 0..pauses {
            let begin = pause * 1_000_000;
            let mut time = 0;
            while time < length && spinner.is_awake(micros(begin + time)) {
                looks += u64::from(time == 0);
                time += step;
            }
            assert!(spinner.is_looking() || time < length);
            spinner.received(micros(begin + time.max(length)));
        }
        looks
    }

    #[test]
    fn it_looks_out_while_that_is_rewarded_and_hardly_ever_when_not() {
        let mut spinner = Spinner::new(Spin::Auto);
        assert_eq!(looks(&mut spinner, 1000, 150, 2), 1000);
        let in_vain = looks(&mut spinner, 10_000, 250, 2);
        assert!((1..30).contains(&in_vain), "{in_vain}");
        let begun_anew = looks(&mut spinner, 2000, 150, 2);
        assert!(begun_anew > 900, "{begun_anew}");
    }

    #[test]
    fn what_came_while_another_process_had_the_processor_is_no_reward() {
        let mut spinner = Spinner::new(Spin::Auto);
        let looks = looks(&mut spinner, 10_000, 30, 30);
        assert!((1..30).contains(&looks), "{looks}");
    }

    #[test]
    fn it_sleeps_once_another_process_had_the_processor() {
        let mut spinner = Spinner::new(Spin::On);
        assert!(spinner.is_awake(micros(0)) && spinner.is_awake(micros(10)));
        assert!(!spinner.is_awake(micros(40)));
        assert!(spinner.is_awake(micros(50)));
    }

    #[test]
    fn off_never_looks_out_and_on_always_does() {
        assert_eq!(looks(&mut Spinner::new(Spin::Off), 100, 250, 2), 0);
        assert_eq!(looks(&mut Spinner::new(Spin::On), 100, 250, 2), 100);
    }
}
