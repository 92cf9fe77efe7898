//! A fast hash of short strings, keyed by chance so that no file or text can be made to collide.

use std::hash::{BuildHasher, RandomState};

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// The key. What is computed with it never shows: it only says where a table looks first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash {
    key: u64,
}

impl Default for Hash {
    fn default() -> Self {
        Self { key: RandomState::new().hash_one(MULTIPLIER) | 1 }
    }
}

impl Hash {
    /// The hash of a string.
    #[inline]
    pub(crate) fn of(self, string: &[u8]) -> u64 {
        let (chunks, rest) = string.as_chunks::<8>();
        let mut state = self.key ^ (string.len() as u64).wrapping_mul(MULTIPLIER);
        for chunk in chunks {
            state = self.mix(state ^ u64::from_le_bytes(*chunk));
        }
        let tail = match *rest {
            [] => return self.mix(state),
            [a] => u64::from(a),
            [a, b] => u64::from(u16::from_le_bytes([a, b])),
            [a, b, c] => u64::from(u32::from_le_bytes([a, b, c, 0])),
            [a, b, c, d, ref more @ ..] => {
                let high = more.iter().fold(0, |high: u64, &byte| high << 8 | u64::from(byte));
                high << 32 | u64::from(u32::from_le_bytes([a, b, c, d]))
            }
        };
        self.mix(state ^ tail)
    }

    /// The hash of a number.
    #[inline]
    pub(crate) fn of_number(self, number: u64) -> u64 {
        self.mix(number ^ self.key)
    }

    #[inline]
    fn mix(self, state: u64) -> u64 {
        let wide = u128::from(state ^ MULTIPLIER) * u128::from(self.key);
        (wide as u64) ^ (wide >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn strings_of_all_lengths_differ() {
        let hash = Hash::default();
        let text: Vec<u8> = (0..100_u8).collect();
        let mut seen = HashSet::new();
        for length in 0..=60 {
            for start in 0..40 {
                let unseen = seen.insert(hash.of(&text[start..start + length]));
                assert!(unseen || length == 0, "{length} bytes from {start}");
            }
            // A change of any byte is seen.
            for place in 0..length {
                let mut other = text[..length].to_vec();
                other[place] ^= 0x80;
                assert_ne!(hash.of(&other), hash.of(&text[..length]));
            }
        }
        assert_ne!(hash.of(b"a"), hash.of(b"a\0"));
    }
}
