//! How far a state transfer has come, told to the log in sensible steps.
//!
//! For people; decides nothing, and is kept aside of the state.

use std::time::Duration;

use tracing::info;

use crate::kv::transfer::Item;
use crate::protocol::view::Member;
use crate::time::Timestamp;

/// A transfer that is over sooner is not worth a line.
const TOLD_AFTER: Duration = Duration::from_millis(500);
/// Percent between two lines.
const STEP: u64 = 10;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Keys that are on their way, or there.
    walked: usize,
    began: Option<Timestamp>,
    /// Percent that were told last.
    told: u64,
}

impl Progress {
    /// Keys that are on their way to the joiner, or there.
    #[must_use]
    pub fn walked(&self) -> usize {
        self.walked
    }

    /// These items were found by the walk, of a store with so many keys; `ended` if they are the
    /// last ones.
    pub fn walk(
        &mut self,
        now: Timestamp,
        items: &[Item],
        (keys, ended): (usize, bool),
        joiner: &Member,
    ) {
        let begins = |item: &&Item| matches!(item, Item::List { start: 0, .. });
        self.walked += items.iter().filter(begins).count();
        if let Some((percent, rate)) = self.worth_telling(now, keys, ended) {
            info!(
                event = "transfer",
                joiner = %joiner,
                percent,
                keys = self.walked,
                of = keys,
                keys_per_second = rate,
                "{joiner} receives the state"
            );
        }
    }

    /// Percent and keys a second, if it is time for a line.
    fn worth_telling(&mut self, now: Timestamp, keys: usize, ended: bool) -> Option<(u64, u64)> {
        let took = now.since(*self.began.get_or_insert(now));
        // Keys may have come and gone since they were visited: the walk alone knows its end.
        let share = (100 * self.walked as u64).checked_div(keys as u64).unwrap_or(100).min(99);
        let percent = if ended { 100 } else { share };
        let step = percent - percent % STEP;
        if took < TOLD_AFTER || step <= self.told {
            return None;
        }
        self.told = step;
        let rate = u128::from(self.walked as u64) * 1_000_000 / took.as_micros().max(1);
        Some((percent, u64::try_from(rate).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_transfer_is_told_in_steps_and_a_short_one_is_not() {
        let start = Timestamp(1_000_000_000);
        let mut told = Vec::new();
        let mut progress = Progress::default();
        for tick in 0..=1000u32 {
            progress.walked = 1 + tick as usize;
            let now = start + Duration::from_millis(2) * tick;
            told.extend(
                progress.worth_telling(now, 1001, tick == 1000).map(|(percent, _)| percent),
            );
        }
        assert_eq!(told, [25, 30, 40, 50, 60, 70, 80, 90, 100]);
        let mut progress = Progress { walked: 10, ..Progress::default() };
        assert_eq!(progress.worth_telling(start, 10, true), None);
        let later = start + Duration::from_secs(1);
        assert_eq!(progress.worth_telling(later, 10, true), Some((100, 10)));
        assert_eq!(progress.worth_telling(later, 10, true), None);
    }
}
