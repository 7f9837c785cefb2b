//! What is asked: drawn from a seed, so that it can be drawn again.

use std::fmt::{self, Write};

use super::keys::{Keys, Random};
use crate::history::Action;
use crate::kv::command::Value;

/// Of values, piece by piece.
const PADDING: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Put,
    Append,
    Get,
    Remove,
}

impl Kind {
    /// In the order of reports.
    pub(super) const ALL: [Kind; 4] = [Kind::Put, Kind::Append, Kind::Get, Kind::Remove];

    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Put => "put",
            Kind::Append => "append",
            Kind::Get => "get",
            Kind::Remove => "remove",
        }
    }
}

/// How often each kind is drawn. The weights of [`Kind::ALL`], not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mix([u32; 4]);

impl Mix {
    /// The kinds that are not named are never drawn.
    pub(super) fn of(weights: &[(Kind, u32)]) -> Mix {
        Mix(Kind::ALL.map(|kind| {
            weights.iter().filter(|(named, _)| *named == kind).map(|(_, weight)| weight).sum()
        }))
    }

    /// So many gets of a hundred, and the rest puts.
    pub(super) fn gets_and_puts(gets: u32) -> Mix {
        Mix::of(&[(Kind::Get, gets), (Kind::Put, 100_u32.saturating_sub(gets))])
    }

    /// Reads `put=20,append=20,get=55,remove=5`.
    ///
    /// # Errors
    /// When it is not of this form, or all weights are zero.
    pub(super) fn parse(text: &str) -> Result<Mix, String> {
        const FORM: &str = "write weights from 0 to 1000000, of which one is more than 0, as in \
                            put=20,append=20,get=55,remove=5";
        let mut weights: Vec<(Kind, u32)> = Vec::new();
        for part in text.split(',') {
            let (word, weight) = part.split_once('=').ok_or(FORM)?;
            let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word.trim()).ok_or(FORM)?;
            let weight: u32 = weight.trim().parse().map_err(|_| FORM)?;
            if weight > 1_000_000 || weights.iter().any(|(named, _)| *named == kind) {
                return Err(FORM.to_owned());
            }
            weights.push((kind, weight));
        }
        let mix = Mix::of(&weights);
        if mix.sum() == 0 { Err(FORM.to_owned()) } else { Ok(mix) }
    }

    fn sum(self) -> u64 {
        self.0.iter().map(|weight| u64::from(*weight)).sum()
    }

    fn draw(self, random: &mut Random) -> Kind {
        let mut left = random.below(self.sum());
        for (kind, weight) in Kind::ALL.into_iter().zip(self.0) {
            let weight = u64::from(weight);
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        unreachable!("what is below the sum of the weights lies within one of them")
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Kind::ALL.into_iter().zip(self.0).filter(|(_, weight)| *weight > 0);
        let parts: Vec<String> =
            named.map(|(kind, weight)| format!("{weight} {}", kind.word())).collect();
        f.write_str(&parts.join(", "))
    }
}

/// What one lane asks, one operation after the other.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) random: Random,
    pub(super) mix: Mix,
    pub(super) keys: Keys,
    pub(super) key_prefix: String,
    /// Values are padded to this many bytes; a longer beginning stays if it must be unique.
    pub(super) value_size: usize,
    pub(super) is_unique: bool,
    /// No other lane has this number.
    pub(super) lane: u64,
    /// Values written.
    pub(super) written: u64,
    /// The key of the operation that was drawn last.
    pub(super) key: String,
    /// Its value, if it has one. Both keep their memory from one operation to the next: what is
    /// spent here is taken from the servers that are measured.
    pub(super) value: String,
}

impl Load {
    /// Draws the next operation, with its `key` and `value`.
    pub(super) fn next(&mut self) -> Kind {
        let kind = self.mix.draw(&mut self.random);
        let number = self.keys.draw(&mut self.random);
        self.key.clear();
        let Ok(()) = write!(self.key, "{}{number:010}", self.key_prefix) else {
            unreachable!("a String takes everything")
        };
        match kind {
            Kind::Put | Kind::Append => self.make_value(),
            Kind::Get | Kind::Remove => {}
        }
        kind
    }

    /// The operation that was drawn last, as a history has it.
    pub(super) fn action(&self, kind: Kind) -> Action {
        match kind {
            Kind::Put => Action::Put(Value::from(&*self.value)),
            Kind::Append => Action::Append(Value::from(&*self.value)),
            Kind::Get => Action::Get(None),
            Kind::Remove => Action::Remove,
        }
    }

    fn make_value(&mut self) {
        self.written += 1;
        let text = &mut self.value;
        text.clear();
        let Ok(()) = write!(text, "{}.{}", self.lane, self.written) else {
            unreachable!("a String takes everything")
        };
        if text.len() < self.value_size {
            // Behind a separator: padding of digits would make two numbers one.
            text.push('.');
            while text.len() < self.value_size {
                text.push_str(&PADDING[..PADDING.len().min(self.value_size - text.len())]);
            }
        } else if !self.is_unique {
            text.truncate(self.value_size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::keys::Distribution;
    use std::collections::BTreeSet;

    fn load(mix: Mix, value_size: usize, is_unique: bool) -> Load {
        Load {
            random: Random(1),
            mix,
            keys: Distribution::Uniform.over(5),
            key_prefix: "bench:".to_owned(),
            value_size,
            is_unique,
            lane: 3,
            written: 0,
            key: String::new(),
            value: String::new(),
        }
    }

    #[test]
    fn a_mix_draws_each_kind_as_often_as_its_weight_says() {
        let mix = Mix::parse("put=10, append=20,get=70").unwrap();
        let mut random = Random(7);
        let drawn: Vec<Kind> = (0..10_000).map(|_| mix.draw(&mut random)).collect();
        for (kind, share) in Kind::ALL.into_iter().zip([1_000, 2_000, 7_000, 0]) {
            let count = drawn.iter().filter(|drawn| **drawn == kind).count();
            assert!(count.abs_diff(share) <= share / 10, "{count} {kind:?}");
        }
        assert_eq!(mix.to_string(), "10 put, 20 append, 70 get");
        assert_eq!(Mix::gets_and_puts(100), Mix::of(&[(Kind::Get, 1)]).scaled(100));
    }

    impl Mix {
        fn scaled(self, by: u32) -> Mix {
            Mix(self.0.map(|weight| weight * by))
        }
    }

    #[test]
    fn a_mix_of_nothing_is_refused() {
        for text in ["", "put", "put=0", "put=1,put=2", "frob=1", "put=-1", "put=1000001"] {
            assert!(Mix::parse(text).unwrap_err().contains("as in put=20"), "{text}");
        }
    }

    #[test]
    fn every_key_is_chosen_and_has_sixteen_bytes() {
        let mut load = load(Mix::gets_and_puts(100), 100, false);
        let keys: BTreeSet<String> = (0..200)
            .map(|_| {
                load.next();
                load.key.clone()
            })
            .collect();
        assert_eq!(keys.len(), 5);
        assert!(keys.iter().all(|key| key.len() == 16), "{keys:?}");
    }

    #[test]
    fn values_have_the_size_that_is_wanted_and_recorded_ones_are_unique() {
        let values = |size, is_unique| -> Vec<String> {
            let mut load = load(Mix::gets_and_puts(0), size, is_unique);
            (0..20)
                .map(|_| {
                    assert_eq!(load.next(), Kind::Put);
                    load.value.clone()
                })
                .collect()
        };
        assert!(values(100, true).iter().all(|value| value.len() == 100));
        assert!(values(2, false).iter().all(|value| value == "3."));
        for size in 0..8 {
            let values = values(size, true);
            assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), 20, "{values:?}");
        }
    }
}
