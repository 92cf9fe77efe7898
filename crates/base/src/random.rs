//! Counter-based random numbers: every draw is a pure function of a seed, a path of labels and an index.
//!
//! Nothing is consumed, so recomputation, another thread count or a resumed run sees the same numbers. The
//! generator is Philox 4x32 with ten rounds (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3").

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// A stream of random numbers, addressed by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
    path: u64,
}

impl Stream {
    /// The stream for `seed` and a path of labels (step, sample, layer, operation, …).
    pub fn new(seed: u64, path: &[u64]) -> Self {
        let path = path.iter().fold(0x9E37_79B9_7F4A_7C15, |state, &label| mix(state ^ mix(label)));
        Self { key: [seed as u32, (seed >> 32) as u32], path }
    }

    /// The stream one label further down the path.
    pub fn child(&self, label: u64) -> Self {
        Self { key: self.key, path: mix(self.path ^ mix(label)) }
    }

    /// The key of the generator, which is the seed.
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// What the path of labels came to: the upper half of the generator's counter, the index being the lower.
    pub fn path(&self) -> u64 {
        self.path
    }

    /// Four independent words for the index.
    pub fn block_at(&self, index: u64) -> [u32; 4] {
        let counter = [index as u32, (index >> 32) as u32, self.path as u32, (self.path >> 32) as u32];
        philox(counter, self.key)
    }

    /// A uniform 32-bit word.
    pub fn u32_at(&self, index: u64) -> u32 {
        self.block_at(index / 4)[(index % 4) as usize]
    }

    /// A uniform 64-bit word.
    pub fn u64_at(&self, index: u64) -> u64 {
        let block = self.block_at(index / 2);
        let half = (index % 2) as usize * 2;
        u64::from(block[half]) | u64::from(block[half + 1]) << 32
    }

    /// Uniform in [0, 1) with 24 bits.
    pub fn uniform_at(&self, index: u64) -> f32 {
        (self.u32_at(index) >> 8) as f32 / (1 << 24) as f32
    }

    /// Uniform in [0, bound), without modulo bias beyond 2^-32 (Lemire's multiplication).
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below_at(&self, index: u64, bound: u64) -> u64 {
        assert!(bound > 0, "a random number below zero was asked for");
        ((u128::from(self.u64_at(index)) * u128::from(bound)) >> 64) as u64
    }

    /// Normal with mean 0 and variance 1 (Box and Muller, 1958).
    pub fn normal_at(&self, index: u64) -> f32 {
        let block = self.block_at(index / 2);
        let unit = |word: u32| (f64::from(word) + 0.5) / 4_294_967_296.0;
        let radius = (-2.0 * unit(block[0]).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * unit(block[1])).sin_cos();
        (radius * if index.is_multiple_of(2) { cosine } else { sine }) as f32
    }

    /// Shuffles in place (Fisher and Yates), using indices from 0.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below_at(last as u64, last as u64 + 1) as usize);
        }
    }
}

/// The finaliser of SplitMix64: a bijection on 64-bit words that spreads every bit.
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let left = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let right = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (right >> 32) as u32 ^ counter[1] ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ counter[3] ^ key[1],
            left as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_agrees_with_the_published_vectors() {
        // Known answers of Random123's philox4x32_10.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn normal_draws_have_the_right_moments() {
        let stream = Stream::new(3, &[1]);
        let draws: Vec<f64> = (0..100_000).map(|i| f64::from(stream.normal_at(i))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "mean {mean}, variance {variance}");
    }

    #[test]
    fn paths_and_seeds_separate_streams() {
        let words = |seed, path: &[u64]| (0..8).map(|i| Stream::new(seed, path).u32_at(i)).collect::<Vec<_>>();
        assert_ne!(words(1, &[1, 2]), words(1, &[2, 1]));
        assert_ne!(words(1, &[1]), words(2, &[1]));
        assert_ne!(words(1, &[]), words(1, &[0]));
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        let mut items: Vec<u32> = (0..100).collect();
        Stream::new(1, &[]).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
