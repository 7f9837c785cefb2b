//! Which key is next: drawn from a seed, so that it can be drawn again.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

/// A small generator (splitmix64): even enough to choose keys.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).expect("64 bits are left of 128")
    }

    /// A number from 0 on, below 1, of 53 random bits.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How often each key is drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Distribution {
    /// Each as often as any other.
    Uniform,
    /// The one of rank `n` as often as `1 / n^exponent` says.
    Zipfian(f64),
    /// One after the other, by all lanes together: as many operations as keys touch each once.
    Sequential,
}

/// Of what is asked for without an exponent, as in YCSB.
const EXPONENT: f64 = 0.99;

impl Distribution {
    /// Reads `uniform`, `zipfian`, `zipfian=0.8`, `sequential`.
    ///
    /// # Errors
    /// When it is none of these.
    pub(super) fn parse(text: &str) -> Result<Distribution, String> {
        const FORM: &str = "write uniform, zipfian, zipfian=EXPONENT with one from 0.1 to 5, or \
                            sequential";
        match text.split_once('=').unwrap_or((text, "")) {
            ("uniform", "") => Ok(Distribution::Uniform),
            ("sequential", "") => Ok(Distribution::Sequential),
            ("zipfian", "") => Ok(Distribution::Zipfian(EXPONENT)),
            ("zipfian", exponent) => match exponent.parse() {
                Ok(exponent) if (0.1..=5.0).contains(&exponent) => {
                    Ok(Distribution::Zipfian(exponent))
                }
                Ok(_) | Err(_) => Err(FORM.to_owned()),
            },
            (_, _) => Err(FORM.to_owned()),
        }
    }

    /// To draw from so many keys. Clones of what this returns share the place of a sequence.
    pub(super) fn over(self, keys: u64) -> Keys {
        let order = match self {
            Distribution::Uniform => Order::Uniform,
            Distribution::Zipfian(exponent) => Order::Zipfian(Zipfian::new(keys, exponent)),
            Distribution::Sequential => Order::Sequential(Rc::default()),
        };
        Keys { keys, order }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distribution::Uniform => f.write_str("uniform"),
            Distribution::Zipfian(exponent) => write!(f, "zipfian={exponent}"),
            Distribution::Sequential => f.write_str("sequential"),
        }
    }
}

/// Draws numbers of keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    keys: u64,
    order: Order,
}

#[derive(Clone, Debug)]
enum Order {
    Uniform,
    Zipfian(Zipfian),
    /// The next one, shared by all lanes.
    Sequential(Rc<Cell<u64>>),
}

/// A prime above every number of keys: multiplying with it, modulo the number of keys, gives each
/// rank a key of its own, and neighbouring ranks keys that lie apart.
const SPREAD: u64 = 2_147_483_647;

impl Keys {
    pub(super) fn draw(&self, random: &mut Random) -> u64 {
        match &self.order {
            Order::Uniform => random.below(self.keys),
            Order::Zipfian(zipfian) => (zipfian.draw(random) - 1) * SPREAD % self.keys,
            Order::Sequential(next) => {
                let number = next.get();
                next.set((number + 1) % self.keys);
                number
            }
        }
    }
}

/// Ranks from 1 on, drawn in constant time and without a table: rejection-inversion after Hoermann
/// and Derflinger (1996). The area under `x^-exponent` from one half below the first rank is
/// inverted at a random point; what the curve covers beyond the bar of a rank is rejected.
#[derive(Clone, Debug)]
struct Zipfian {
    exponent: f64,
    ranks: f64,
    /// Bounds of the areas to draw from.
    first: f64,
    last: f64,
    /// Points that are this near to their rank need no test.
    accepted: f64,
}

impl Zipfian {
    fn new(ranks: u64, exponent: f64) -> Self {
        let ranks = ranks as f64;
        let mut zipfian = Zipfian { exponent, ranks, first: 0.0, last: 0.0, accepted: 0.0 };
        zipfian.first = zipfian.area(1.5) - 1.0;
        zipfian.last = zipfian.area(ranks + 0.5);
        zipfian.accepted = 2.0 - zipfian.inverse(zipfian.area(2.5) - 2.0_f64.powf(-exponent));
        zipfian
    }

    fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.last + random.unit() * (self.first - self.last);
            let x = self.inverse(area);
            let rank = x.round().clamp(1.0, self.ranks);
            if rank - x <= self.accepted
                || area >= self.area(rank + 0.5) - rank.powf(-self.exponent)
            {
                return rank as u64;
            }
        }
    }

    /// The integral of `x^-exponent`, up to a constant.
    fn area(&self, x: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power.abs() < 1e-9 { x.ln() } else { (x.powf(power) - 1.0) / power }
    }

    /// The `x` with this area.
    fn inverse(&self, area: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power.abs() < 1e-9 {
            area.exp()
        } else {
            (1.0 + area * power).max(0.0).powf(1.0 / power)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_sequence_is_shared_and_touches_every_key_once_a_round() {
        let keys = Distribution::Sequential.over(10);
        let (one, other, mut random) = (keys.clone(), keys, Random(1));
        let drawn: Vec<u64> =
            (0..10).flat_map(|_| [one.draw(&mut random), other.draw(&mut random)]).collect();
        assert_eq!(drawn, (0..10).chain(0..10).collect::<Vec<_>>());
    }

    #[test]
    fn zipfian_ranks_are_drawn_as_often_as_their_weights_say() {
        for exponent in [0.5, 0.99, 1.0, 1.5] {
            let zipfian = Zipfian::new(1_000, exponent);
            let mut random = Random(3);
            let mut counts = vec![0_u32; 1_001];
            for _ in 0..200_000 {
                counts[usize::try_from(zipfian.draw(&mut random)).unwrap()] += 1;
            }
            assert_eq!(counts[0], 0);
            let sum: f64 = (1..=1_000).map(|rank| f64::from(rank).powf(-exponent)).sum();
            for rank in [1_u32, 2, 3, 10] {
                let wanted = 200_000.0 * f64::from(rank).powf(-exponent) / sum;
                let counted = f64::from(counts[rank as usize]);
                let noise = 6.0 * wanted.sqrt();
                assert!((counted - wanted).abs() <= noise, "{exponent} {rank}: {counted} {wanted}");
            }
        }
    }

    #[test]
    fn each_rank_has_a_key_of_its_own() {
        for keys in [1, 2, 7, 1_000] {
            let spread: BTreeSet<u64> = (0..keys).map(|rank| rank * SPREAD % keys).collect();
            assert_eq!(spread.len() as u64, keys);
            let mut random = Random(5);
            let zipfian = Distribution::Zipfian(0.99).over(keys);
            assert!((0..1_000).all(|_| zipfian.draw(&mut random) < keys));
        }
    }

    #[test]
    fn a_distribution_is_written_as_it_is_read() {
        for text in ["uniform", "zipfian=0.8", "sequential"] {
            assert_eq!(Distribution::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Distribution::parse("zipfian"), Ok(Distribution::Zipfian(0.99)));
        for text in ["", "zipf", "zipfian=0", "zipfian=x", "uniform=1"] {
            assert!(Distribution::parse(text).unwrap_err().contains("sequential"), "{text}");
        }
    }
}
