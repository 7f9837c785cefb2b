//! What came of the operations, counted.

use hdrhistogram::Histogram;

use super::load::Kind;
use crate::history::Outcome;

/// Longer ones count as this long.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Outcomes and latencies.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    /// Nanoseconds of what was executed.
    pub(super) latency: Histogram<u64>,
    pub(super) not_executed: u64,
    pub(super) unknown: u64,
}

impl Default for Counted {
    fn default() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST_NS, 3)
            .expect("three digits between a nanosecond and an hour are allowed");
        Counted { latency, not_executed: 0, unknown: 0 }
    }
}

impl Counted {
    fn add(&mut self, outcome: Outcome, latency_ns: u64) {
        match outcome {
            Outcome::Ok => self.latency.saturating_record(latency_ns.max(1)),
            Outcome::NotExecuted => self.not_executed += 1,
            Outcome::Unknown => self.unknown += 1,
        }
    }

    /// Adds what was counted elsewhere.
    pub(super) fn merge(&mut self, other: &Counted) {
        self.latency.add(&other.latency).expect("both histograms have the same bounds");
        self.not_executed += other.not_executed;
        self.unknown += other.unknown;
    }

    /// Operations that were executed.
    pub(super) fn done(&self) -> u64 {
        self.latency.len()
    }

    /// Operations that were not, or perhaps not.
    pub(super) fn failed(&self) -> u64 {
        self.not_executed + self.unknown
    }
}

/// What came of the operations of a run.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// In the order of [`Kind::ALL`].
    pub(super) kinds: [Counted; 4],
    pub(super) all: Counted,
    /// Operations that ended, also before the measurement begins.
    pub(super) asked: u64,
    /// Since the last progress line, also before the measurement begins.
    recent: Counted,
    /// The measurement's beginning.
    from_ns: u64,
    last_success_ns: u64,
    longest_gap_ns: u64,
}

impl Tally {
    /// For a measurement that begins at this time.
    pub(super) fn new(from_ns: u64) -> Self {
        Tally {
            kinds: Default::default(),
            all: Counted::default(),
            asked: 0,
            recent: Counted::default(),
            from_ns,
            last_success_ns: from_ns,
            longest_gap_ns: 0,
        }
    }

    /// Counts an operation that was called (or due) at `begun_ns` and told at `told_ns`. What began
    /// before the measurement does not count.
    pub(super) fn add(&mut self, kind: Kind, outcome: Outcome, begun_ns: u64, told_ns: u64) {
        let latency_ns = told_ns.saturating_sub(begun_ns);
        self.asked += 1;
        self.recent.add(outcome, latency_ns);
        if outcome == Outcome::Ok && told_ns > self.last_success_ns {
            self.longest_gap_ns = self.longest_gap_ns.max(told_ns - self.last_success_ns);
            self.last_success_ns = told_ns;
        }
        if begun_ns < self.from_ns {
            return;
        }
        self.all.add(outcome, latency_ns);
        for (index, other) in Kind::ALL.into_iter().enumerate() {
            if other == kind {
                self.kinds[index].add(outcome, latency_ns);
            }
        }
    }

    /// What was counted since the last call.
    pub(super) fn take_recent(&mut self) -> Counted {
        std::mem::take(&mut self.recent)
    }

    /// From the beginning of the measurement to its last success.
    pub(super) fn elapsed_ns(&self) -> u64 {
        self.last_success_ns - self.from_ns
    }

    /// The longest time without a success, between the beginning and the last one.
    pub(super) fn longest_gap_ns(&self) -> u64 {
        self.longest_gap_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_by_kind_and_only_within_the_measurement() {
        let mut tally = Tally::new(1_000);
        tally.add(Kind::Put, Outcome::Ok, 900, 1_100);
        tally.add(Kind::Put, Outcome::Ok, 1_100, 1_300);
        tally.add(Kind::Get, Outcome::NotExecuted, 1_200, 5_000);
        tally.add(Kind::Append, Outcome::Unknown, 1_200, 6_000);
        tally.add(Kind::Get, Outcome::Ok, 1_300, 3_300);
        assert_eq!((tally.all.done(), tally.all.failed()), (2, 2));
        let counted = |kind: &Counted| (kind.done(), kind.not_executed, kind.unknown);
        assert_eq!(
            tally.kinds.each_ref().map(counted),
            [(1, 0, 0), (0, 0, 1), (1, 1, 0), (0, 0, 0)]
        );
        assert_eq!(tally.all.latency.max() / 10, 200);
        assert_eq!(tally.longest_gap_ns(), 2_000);
        assert_eq!(tally.elapsed_ns(), 2_300);
        assert_eq!((tally.take_recent().done(), tally.take_recent().done()), (3, 0));
    }

    #[test]
    fn answers_out_of_order_make_no_gap() {
        let mut tally = Tally::new(0);
        tally.add(Kind::Get, Outcome::Ok, 0, 500);
        tally.add(Kind::Get, Outcome::Ok, 0, 100);
        assert_eq!((tally.longest_gap_ns(), tally.elapsed_ns()), (500, 500));
    }
}
