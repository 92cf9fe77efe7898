//! In which order an epoch reads the corpus.
//!
//! The corpus file is read by chunks: the documents whose lines begin within [`CHUNK_BYTES`] of it. An epoch of one
//! stratum reads each chunk once, in the file's order, its documents whole. An epoch of many reads the file in as many
//! passes; each takes some pieces of each chunk, so that after any pass the stream was a fair sample of the whole.
//! Beyond [`PIECE_CLASSES_MAX`] strata a pass leaves out whole chunks too, evenly spread, which need not be read then.

use luban_base::random::Stream;

use super::LoaderOptions;
use super::pieces::Sizes;
use crate::streams;

/// Bytes of the corpus file that are read at once.
pub(super) const CHUNK_BYTES: u64 = 256 << 10;
/// Most passes that read the same chunk; each parses it anew.
const PIECE_CLASSES_MAX: u64 = 32;
/// Bytes of a piece for each token of a sequence: with about three bytes a token, two sequences' worth. Shorter ones
/// would be more diverse, but leave their tokens less to be predicted from.
const PIECE_BYTES_PER_TOKEN: usize = 6;

/// The order of one epoch.
#[derive(Debug)]
pub(super) struct Order {
    /// The chunks in a random order; `None` for the file's.
    shuffled: Option<Vec<u32>>,
    chunks: u64,
    /// A pass reads every so many-th chunk of the order.
    chunk_classes: u64,
    /// And of it every so many-th piece.
    piece_classes: u64,
    draws: Stream,
    sizes: Sizes,
}

impl Order {
    pub(super) fn of_epoch(epoch: u64, file_bytes: u64, options: &LoaderOptions) -> Self {
        let (strata, chunks) = (options.strata.max(1) as u64, file_bytes.div_ceil(CHUNK_BYTES));
        let chunk_classes = strata.div_ceil(PIECE_CLASSES_MAX).min(chunks.max(1));
        let draws = Stream::new(options.seed, &[streams::STRATA, epoch]);
        let shuffled = (strata > 1).then(|| {
            let mut order: Vec<u32> = (0..u32::try_from(chunks).unwrap_or(u32::MAX)).collect();
            draws.child(0).shuffle(&mut order);
            order
        });
        let bytes =
            options.length.saturating_mul(PIECE_BYTES_PER_TOKEN).clamp(PIECE_BYTES_PER_TOKEN, CHUNK_BYTES as usize);
        let sizes = Sizes { bytes, first_less: 0 };
        let piece_classes = strata.div_ceil(chunk_classes);
        Self { shuffled, chunks, chunk_classes, piece_classes, draws, sizes }
    }

    /// Times that an epoch goes through the file.
    pub(super) fn passes(&self) -> u64 {
        self.chunk_classes * self.piece_classes
    }

    /// The chunk that a pass reads at a place, from 0; `None` after its last.
    pub(super) fn chunk(&self, pass: u64, place: u64) -> Option<u64> {
        let place = place.checked_mul(self.chunk_classes)?.checked_add(pass % self.chunk_classes)?;
        match &self.shuffled {
            None => Some(place).filter(|place| *place < self.chunks),
            Some(order) => order.get(usize::try_from(place).ok()?).map(|chunk| u64::from(*chunk)),
        }
    }

    /// How a chunk is cut into pieces; `None` where its documents stay whole.
    pub(super) fn sizes(&self, chunk: u64) -> Option<Sizes> {
        let first_less = self.draws.child(1).below_at(chunk, self.sizes.bytes as u64) as usize;
        self.shuffled.is_some().then_some(Sizes { first_less, ..self.sizes })
    }

    /// Whether a pass reads a piece of a chunk. Each piece has one pass that does.
    pub(super) fn takes(&self, pass: u64, chunk: u64, piece: u64) -> bool {
        let first = self.draws.child(2).below_at(chunk, self.piece_classes);
        (piece + first) % self.piece_classes == pass / self.chunk_classes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_piece_of_each_chunk_has_one_pass() {
        for (strata, chunks) in [(1, 5), (2, 1), (7, 5), (32, 3), (33, 9), (100, 9), (1000, 4)] {
            let options = LoaderOptions { length: 256, seed: 5, block_sequences: 1, strata };
            let order = Order::of_epoch(3, chunks * CHUNK_BYTES - 7, &options);
            assert!(order.passes() >= strata as u64 && order.passes() < 2 * strata as u64 + 2, "{strata} {chunks}");
            let mut seen = BTreeMap::new();
            for pass in 0..order.passes() {
                for chunk in (0..).map_while(|place| order.chunk(pass, place)) {
                    for piece in (0..50).filter(|&piece| order.takes(pass, chunk, piece)) {
                        *seen.entry((chunk, piece)).or_insert(0) += 1;
                    }
                }
            }
            assert_eq!(seen.len() as u64, chunks * 50);
            assert!(seen.values().all(|&times| times == 1));
        }
    }

    #[test]
    fn an_empty_file_has_no_chunks() {
        let options = LoaderOptions { length: 256, seed: 5, block_sequences: 1, strata: 40 };
        assert_eq!(Order::of_epoch(0, 0, &options).chunk(0, 0), None);
    }
}
