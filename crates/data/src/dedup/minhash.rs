//! MinHash with banding (Broder, 1997; Leskovec et al., "Mining of Massive Datasets", section 3.4): texts that
//! share most of their shingles very likely share a band.

use luban_base::random::{Stream, mix};

use super::shingles;
use crate::streams;

/// Minima that make one band.
const ROWS: usize = 6;
/// Bands of a text. Two texts of likeness 0.8 share one with probability 1 - (1 - 0.8^6)^21 = 99.8 %, of 0.5 with
/// 28 %, of 0.3 with 1.5 %: nearly all true pairs are found, and few others have to be compared.
pub(crate) const BANDS: usize = 21;
const PERMUTATIONS: usize = ROWS * BANDS;

/// What is kept of a text to find its near duplicates: 84 bytes.
pub(crate) type Bands = [u32; BANDS];

/// The permutations: multiply-shift hashes (Dietzfelbinger et al., 1997), drawn from a seed.
pub(crate) struct MinHash {
    multipliers: [u64; PERMUTATIONS],
    offsets: [u64; PERMUTATIONS],
}

impl MinHash {
    pub(crate) fn new(seed: u64) -> Self {
        let draws = Stream::new(seed, &[streams::PERMUTATIONS]);
        Self {
            multipliers: std::array::from_fn(|index| draws.u64_at(2 * index as u64) | 1),
            offsets: std::array::from_fn(|index| draws.u64_at(2 * index as u64 + 1)),
        }
    }

    pub(crate) fn bands(&self, text: &str) -> Bands {
        let mut minima = [u64::MAX; PERMUTATIONS];
        for shingle in shingles::of(text) {
            for ((least, multiplier), offset) in minima.iter_mut().zip(&self.multipliers).zip(&self.offsets) {
                *least = (*least).min(shingle.wrapping_mul(*multiplier).wrapping_add(*offset));
            }
        }
        let mut bands = [0; BANDS];
        for (band, rows) in bands.iter_mut().zip(minima.chunks_exact(ROWS)) {
            *band = rows.iter().fold(0, |state, &least| mix(state ^ least)) as u32;
        }
        bands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two texts of distinct words, of which they share so many that their shingles have about this likeness.
    fn pair(case: u64, likeness: f64) -> (String, String) {
        let shared = (2000.0 * likeness / (1.0 + likeness)) as u64;
        let text = |own: u64| -> String {
            (0..1000)
                .map(|i| if i < shared { format!("w{case}x{i} ") } else { format!("w{case}x{i}y{own} ") })
                .collect()
        };
        (text(1), text(2))
    }

    fn found(likeness: f64) -> usize {
        let hash = MinHash::new(5);
        let shares_a_band = |case: &u64| {
            let (left, right) = pair(*case, likeness);
            hash.bands(&left).iter().zip(hash.bands(&right)).any(|(a, b)| *a == b)
        };
        (0..100).filter(shares_a_band).count()
    }

    #[test]
    fn alike_texts_share_a_band_and_others_rarely_do() {
        assert!(found(0.82) >= 97, "{}", found(0.82));
        assert!(found(0.3) <= 10, "{}", found(0.3));
        let (left, right) = pair(1, 0.8);
        let sorted = |text: &str| {
            let mut set = shingles::of(text);
            set.sort_unstable();
            set
        };
        assert!((shingles::jaccard(&sorted(&left), &sorted(&right)) - 0.8).abs() < 0.02, "the test's own premise");
    }
}
