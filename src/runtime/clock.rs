//! The clock of a process: `CLOCK_BOOTTIME`, which never goes back and counts suspended time.
//!
//! A clock that stands still while the machine sleeps would let a primary believe, after an hour
//! of sleep, that its lease is still in force.

use rustix::time::{ClockId, clock_gettime};

use crate::time::Timestamp;

/// The time since boot, in nanoseconds.
#[must_use]
pub fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Boottime);
    let part =
        |part: i64| u64::try_from(part).expect("a clock that starts at boot is not negative");
    Timestamp(part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_and_never_back() {
        let first = now();
        let mut last = first;
        while last == first {
            let next = now();
            assert!(next >= last);
            last = next;
        }
        assert!(first > Timestamp::ZERO);
    }
}
