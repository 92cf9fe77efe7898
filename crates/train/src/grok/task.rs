//! Addition modulo a number, as a table of which one half is learned and the other asked for (Power et al. 2022).

use luban_base::digest::{self, Digest};
use luban_base::random::Stream;

use crate::objective::Example;

/// Label of the random streams that a table is divided with.
const DIVISION: u64 = 0x6E0C;
/// Tokens of a sum: both numbers and the equals sign, whose row has to give the answer.
pub const LENGTH: usize = 3;

/// The table, in two sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What is learned.
    pub train: Vec<Example>,
    /// What is asked for.
    pub test: Vec<Example>,
}

impl Table {
    /// All sums of two numbers below `modulus`. `a + b` and `b + a` stand on the same side: a model that has learned
    /// the order not to matter, which is quickly done, would else know a part of the test by heart.
    pub fn new(modulus: u32, train_share: f64, seed: u64) -> Self {
        let mut pairs: Vec<(u32, u32)> = (0..modulus).flat_map(|a| (a..modulus).map(move |b| (a, b))).collect();
        Stream::new(seed, &[DIVISION]).shuffle(&mut pairs);
        let learned = (train_share * pairs.len() as f64).round() as usize;
        let (train, test) = pairs.split_at(learned.clamp(1, pairs.len() - 1));
        let side = |pairs: &[(u32, u32)]| {
            let both = |&(a, b): &(u32, u32)| [Some((a, b)), (a != b).then_some((b, a))].into_iter().flatten();
            pairs.iter().flat_map(both).map(|(a, b)| sum(a, b, modulus)).collect()
        };
        Self { train: side(train), test: side(test) }
    }

    /// What is learned, in 32 bytes.
    pub fn digest(&self) -> Digest {
        let tokens = self.train.iter().flat_map(|example| example.inputs.iter().chain(&example.targets));
        digest::of_bytes(&tokens.flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>())
    }
}

/// Entries of the vocabulary: the numbers, and the equals sign.
pub fn vocabulary(modulus: u32) -> usize {
    modulus as usize + 1
}

fn sum(a: u32, b: u32, modulus: u32) -> Example {
    let targets = vec![(a + b) % modulus];
    Example { inputs: vec![a, b, modulus], rows: vec![LENGTH - 1], targets, ..Example::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_sum_stands_on_one_side_and_its_mirror_image_with_it() {
        let Table { train, test } = Table::new(13, 0.4, 3);
        assert_eq!(train.len() + test.len(), 169);
        let pairs = |side: &[Example]| side.iter().map(|sum| (sum.inputs[0], sum.inputs[1])).collect::<BTreeSet<_>>();
        let (learned, asked) = (pairs(&train), pairs(&test));
        assert!(learned.is_disjoint(&asked) && learned.len() + asked.len() == 169);
        assert!(learned.iter().all(|&(a, b)| learned.contains(&(b, a))));
        assert!((60..76).contains(&learned.len()), "{}", learned.len());
        for example in train.iter().chain(&test) {
            assert_eq!((example.inputs[0] + example.inputs[1]) % 13, example.targets[0]);
            assert_eq!((example.inputs[2], &*example.rows), (13, &[2][..]));
        }
    }

    #[test]
    fn the_seed_decides_the_sides() {
        let digest = |seed| Table::new(13, 0.4, seed).digest();
        assert_eq!(digest(3), digest(3));
        assert_ne!(digest(3), digest(4));
    }
}
