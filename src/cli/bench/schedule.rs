//! When operations begin.
//!
//! Closed loop: whenever a lane is free. Open loop: at fixed times, whoever is free then; a time at
//! which nobody was free is not left out, but taken up late by the next lane that is.

use std::time::Duration;

use super::lanes::Plan;

/// When a measurement ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Length {
    /// After this time.
    Time(Duration),
    /// After so many operations.
    Operations(u64),
}

/// Hands out the turns.
pub(super) struct Schedule {
    pub(super) start_ns: u64,
    /// The measurement's beginning.
    pub(super) from_ns: u64,
    /// No turn begins at or after this time.
    end_ns: u64,
    /// Turns left within the measurement.
    turns_left: u64,
    /// Between two turns of an open loop.
    gap_ns: Option<f64>,
    /// Turns given in an open loop.
    given: u64,
}

/// A turn: when it may begin, and whether it is late already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// At once.
    Now,
    /// An open loop, at this time, which lies ahead.
    At(u64),
    /// An open loop, at this time, at which no lane was free.
    Overdue(u64),
    /// There is none: the run is over.
    None,
}

impl Schedule {
    pub(super) fn new(plan: &Plan, start_ns: u64) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let from_ns = start_ns.saturating_add(nanos(plan.warm_up));
        let (end_ns, turns_left) = match plan.length {
            Length::Time(time) => (from_ns.saturating_add(nanos(time)), u64::MAX),
            Length::Operations(count) => (u64::MAX, count),
        };
        let gap_ns = plan.rate.map(|rate| 1e9 / rate);
        Schedule { start_ns, from_ns, end_ns, turns_left, gap_ns, given: 0 }
    }

    pub(super) fn stop(&mut self) {
        self.end_ns = 0;
    }

    pub(super) fn next(&mut self, now_ns: u64) -> Turn {
        let turn = match self.gap_ns {
            None => Turn::Now,
            Some(gap_ns) => {
                // Computed afresh each time, so that no rounding adds up.
                let due = self.start_ns + (self.given as f64 * gap_ns) as u64;
                if due > now_ns { Turn::At(due) } else { Turn::Overdue(due) }
            }
        };
        let begins_ns = match turn {
            Turn::At(due) | Turn::Overdue(due) => due,
            Turn::Now | Turn::None => now_ns,
        };
        if begins_ns.max(now_ns) >= self.end_ns || self.turns_left == 0 {
            return Turn::None;
        }
        self.given += 1;
        self.turns_left -= u64::from(begins_ns >= self.from_ns);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::keys::Distribution;
    use crate::cli::bench::load::{Kind, Mix};
    use crate::cli::bench::tally::Tally;
    use crate::history::Outcome;

    fn schedule(length: Length, rate: Option<f64>) -> Schedule {
        let plan = Plan {
            clients: 1,
            pipeline: 1,
            length,
            warm_up: Duration::from_nanos(100),
            rate,
            mix: Mix::gets_and_puts(50),
            distribution: Distribution::Uniform,
            keys: 1,
            key_prefix: String::new(),
            value_size: 0,
            seed: 0,
            is_recorded: false,
        };
        Schedule::new(&plan, 1_000)
    }

    #[test]
    fn a_closed_loop_has_turns_until_its_time_is_over() {
        let mut schedule = schedule(Length::Time(Duration::from_nanos(50)), None);
        assert_eq!((schedule.next(1_000), schedule.next(1_149)), (Turn::Now, Turn::Now));
        assert_eq!(schedule.next(1_150), Turn::None);
    }

    #[test]
    fn turns_of_the_warm_up_do_not_count() {
        let mut schedule = schedule(Length::Operations(2), None);
        let turns = [1_000, 1_099, 1_100, 2_000, 2_001].map(|at| schedule.next(at));
        assert_eq!(turns, [Turn::Now, Turn::Now, Turn::Now, Turn::Now, Turn::None]);
    }

    #[test]
    fn an_open_loop_keeps_to_its_times_however_late_the_lanes_are() {
        let mut schedule = schedule(Length::Time(Duration::from_nanos(300)), Some(1e7));
        assert_eq!(schedule.next(999), Turn::At(1_000));
        assert_eq!(schedule.next(1_000), Turn::At(1_100));
        assert_eq!(schedule.next(1_350), Turn::Overdue(1_200));
        assert_eq!(schedule.next(1_350), Turn::Overdue(1_300));
        assert_eq!(schedule.next(1_350), Turn::None);
    }

    #[test]
    fn a_stopped_run_has_no_turns() {
        let mut schedule = schedule(Length::Operations(2), Some(1e7));
        schedule.stop();
        assert_eq!(schedule.next(1_000), Turn::None);
    }

    /// One lane in a world where everything takes 1 ms, except that nothing is answered for a
    /// second in the middle of ten.
    fn through_a_stall(rate: Option<f64>) -> Tally {
        const MS: u64 = 1_000_000;
        let plan = Length::Time(Duration::from_secs(10));
        let mut schedule = schedule(plan, rate);
        let mut tally = Tally::new(schedule.from_ns);
        let mut now_ns = 1_000;
        loop {
            let begun_ns = match schedule.next(now_ns) {
                Turn::None => return tally,
                Turn::Now => now_ns,
                Turn::Overdue(due_ns) => due_ns,
                Turn::At(due_ns) => {
                    now_ns = due_ns;
                    due_ns
                }
            };
            now_ns += MS;
            if (5_000 * MS..6_000 * MS).contains(&now_ns) {
                now_ns = 6_000 * MS;
            }
            tally.add(Kind::Put, Outcome::Ok, begun_ns, now_ns);
        }
    }

    #[test]
    fn a_stall_shows_in_the_percentiles_of_an_open_loop_and_hides_in_a_closed_one() {
        let p90_ms = |tally: &Tally| tally.all.latency.value_at_percentile(90.0) / 1_000_000;
        let (open, closed) = (through_a_stall(Some(500.0)), through_a_stall(None));
        assert!(p90_ms(&open) > 300, "{}", p90_ms(&open));
        assert_eq!(p90_ms(&closed), 1);
        assert!(closed.longest_gap_ns() >= 1_000_000_000);
    }
}
