//! Which counters of one sender have been taken: the highest ones exactly, all others as taken.

/// Counters that may be overtaken. A sender counts what it seals for everybody, so that this is as
/// long as it takes to send so many datagrams, two hundred milliseconds under full load.
pub(super) const WINDOW: u64 = 8192;

const WORDS: usize = (WINDOW / 64) as usize;

/// See the module. Counters begin at 1.
#[derive(Clone, Debug)]
pub(super) struct Window {
    highest: u64,
    /// A ring: the bit of a counter is at the counter modulo [`WINDOW`].
    taken: Box<[u64; WORDS]>,
}

impl Default for Window {
    fn default() -> Self {
        Window { highest: 0, taken: Box::new([0; WORDS]) }
    }
}

impl Window {
    /// Whether this counter was taken, or is too old to know.
    pub(super) fn has(&self, counter: u64) -> bool {
        if counter > self.highest {
            return false;
        }
        counter == 0
            || self.highest - counter >= WINDOW
            || self.taken[word(counter)] & bit(counter) != 0
    }

    /// Takes a counter that it does not have.
    pub(super) fn take(&mut self, counter: u64) {
        debug_assert!(!self.has(counter), "a counter is taken once");
        if counter > self.highest {
            if counter - self.highest >= WINDOW {
                self.taken.fill(0);
            } else {
                // The places of those in between were those of counters that are too old now.
                self.clear(self.highest + 1, counter);
            }
            self.highest = counter;
        }
        self.taken[word(counter)] |= bit(counter);
    }

    fn clear(&mut self, first: u64, last: u64) {
        for counter in first..=last {
            self.taken[word(counter)] &= !bit(counter);
        }
    }
}

fn word(counter: u64) -> usize {
    usize::try_from(counter % WINDOW / 64).expect("a window has few words")
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_taken_once_in_whatever_order_they_come() {
        let mut window = Window::default();
        for counter in [3, 1, 2, 100, 64, 65, 63, 8192, 4000] {
            assert!(!window.has(counter), "{counter}");
            window.take(counter);
            assert!(window.has(counter), "{counter}");
        }
        assert!(!window.has(5) && !window.has(8193) && window.has(0));
    }

    #[test]
    fn what_is_too_old_to_know_counts_as_taken() {
        let mut window = Window::default();
        window.take(1);
        window.take(WINDOW + 5);
        assert!(window.has(1) && window.has(5), "behind the window");
        assert!(!window.has(6), "the last one in it");
        window.take(6);
        window.take(10 * WINDOW);
        assert!(window.has(WINDOW + 5) && window.has(9 * WINDOW) && !window.has(9 * WINDOW + 1));
        window.take(u64::MAX);
        assert!(window.has(u64::MAX) && !window.has(u64::MAX - 1));
    }

    #[test]
    fn a_window_agrees_with_a_set_of_all_counters() {
        let mut state = 7u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 33
        };
        let (mut window, mut set) = (Window::default(), std::collections::BTreeSet::new());
        let mut middle = 1u64;
        for _ in 0..50_000 {
            middle += random() % 8;
            let counter = (middle + random() % 200).saturating_sub(random() % (2 * WINDOW)).max(1);
            let highest = set.last().copied().unwrap_or(0);
            let expected = set.contains(&counter) || counter + WINDOW <= highest;
            assert_eq!(window.has(counter), expected, "{counter} of {highest}");
            if !expected {
                window.take(counter);
                set.insert(counter);
            }
        }
    }
}
