//! Several corpora as one stream of sequences, each with its share.

use serde::{Deserialize, Serialize};

use super::{Loader, Position, Sequence};
use crate::{Error, Result};

/// 2⁶⁴ over the golden ratio: its multiples, modulo 2⁶⁴, spread more evenly than those of any other number.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Draws from several loaders by shares. Which of them gives a sample follows from the sample's number alone, and so
/// that among any samples in succession each has its share, but for a few.
#[derive(Debug)]
pub struct Mixture {
    loaders: Vec<Loader>,
    shares: Shares,
}

/// Where the loaders of a mixture stand. That of one is written as a position, those of several as a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Positions(Vec<Position>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    One(Position),
    Several(Vec<Position>),
}

impl Default for Positions {
    fn default() -> Self {
        Self(vec![Position::default()])
    }
}

impl From<Written> for Positions {
    fn from(written: Written) -> Self {
        match written {
            Written::One(position) => Self(vec![position]),
            Written::Several(positions) => Self(positions),
        }
    }
}

impl From<Positions> for Written {
    fn from(Positions(positions): Positions) -> Self {
        match *positions {
            [position] => Self::One(position),
            _ => Self::Several(positions),
        }
    }
}

impl Positions {
    /// The epoch in which each loader is, from 0.
    pub fn epochs(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|position| position.stream.epoch)
    }
}

/// The ends of neighbouring intervals that fill the one from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
struct Shares(Vec<f64>);

impl Shares {
    fn of(weights: impl Iterator<Item = f64>) -> Self {
        let ends = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        let ends: Vec<f64> = ends.collect();
        let total = ends.last().copied().unwrap_or(1.0);
        Self(ends.into_iter().map(|end| end / total).collect())
    }

    /// Whose turn a sample is.
    fn turn(&self, sample: u64) -> usize {
        let place = sample.wrapping_mul(GOLDEN) as f64 / (u64::MAX as f64 + 1.0);
        self.0.iter().position(|&end| place < end).unwrap_or(self.0.len().saturating_sub(1))
    }
}

impl Mixture {
    /// Loaders and the weight of each.
    ///
    /// # Panics
    /// If there is none.
    pub fn new(parts: Vec<(Loader, f64)>) -> Self {
        assert!(!parts.is_empty(), "a mixture of no loaders");
        let shares = Shares::of(parts.iter().map(|(_, weight)| *weight));
        Self { loaders: parts.into_iter().map(|(loader, _)| loader).collect(), shares }
    }

    /// The sequences of samples in succession, of which `first` is the first one's number.
    ///
    /// # Errors
    /// If a corpus cannot be read any more; the loaders must then be sought to a position first.
    pub fn next(&mut self, first: u64, sequences: usize) -> Result<Vec<Sequence>> {
        let turns: Vec<usize> = (first..).take(sequences).map(|sample| self.shares.turn(sample)).collect();
        let mut read = Vec::with_capacity(self.loaders.len());
        for (number, loader) in self.loaders.iter_mut().enumerate() {
            let count = turns.iter().filter(|&&turn| turn == number).count();
            read.push(if count == 0 { Vec::new() } else { loader.next(count)? }.into_iter());
        }
        Ok(turns.into_iter().filter_map(|turn| read[turn].next()).collect())
    }

    /// Where each loader stands.
    pub fn positions(&self) -> Positions {
        Positions(self.loaders.iter().map(Loader::position).collect())
    }

    /// Goes to positions that [`Self::positions`] gave.
    ///
    /// # Errors
    /// A position that a corpus does not have, or not one for each corpus.
    pub fn seek(&mut self, Positions(positions): &Positions) -> Result<()> {
        if positions.len() != self.loaders.len() {
            let reason = format!("there are {} positions for {} corpora", positions.len(), self.loaders.len());
            return Err(Error::Position { dir: self.loaders[0].corpus.dir().to_owned(), reason });
        }
        self.loaders.iter_mut().zip(positions).try_for_each(|(loader, position)| loader.seek(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_alone_is_written_as_before() {
        let (one, text) = (Positions::default(), serde_json::to_string(&Position::default()).unwrap());
        assert_eq!(serde_json::to_string(&one).unwrap(), text);
        assert_eq!(serde_json::from_str::<Positions>(&text).unwrap(), one);
        let two = Positions(vec![Position::default(), Position { taken: 3, ..Position::default() }]);
        assert_eq!(serde_json::from_str::<Positions>(&serde_json::to_string(&two).unwrap()).unwrap(), two);
    }

    #[test]
    fn each_has_its_share_among_any_samples() {
        for weights in [vec![1.0], vec![0.5, 0.5], vec![0.9, 0.1], vec![3.0, 1.0, 0.5, 0.001]] {
            let shares = Shares::of(weights.iter().copied());
            let total: f64 = weights.iter().sum();
            for (first, count) in [(0, 10), (0, 100_000), (77_777, 1000), (1 << 40, 5000)] {
                let mut found = vec![0_u32; weights.len()];
                (first..first + count).for_each(|sample| found[shares.turn(sample)] += 1);
                for (found, weight) in found.iter().zip(&weights) {
                    let expected = weight / total * count as f64;
                    assert!((f64::from(*found) - expected).abs() < 4.0, "{weights:?} {first} {count}: {found}");
                }
            }
        }
    }
}
