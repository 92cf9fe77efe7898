//! Weights in blocks: runs of 32 or 256 neighbours of a row as small integers that share scales, as GGUF files hold
//! them. One file a format: how its bits lie, how a block is taken apart, and how one is made.
//!
//! ```
//! use luban_kernels::blocks::{BlockFormat, dequantize, quantize};
//! let weights: Vec<f32> = (0..64).map(|i| (i as f32 - 30.0) / 8.0).collect();
//! let mut bytes = vec![0; BlockFormat::Q8_0.bytes_of(64).unwrap()];
//! quantize(BlockFormat::Q8_0, &weights, &mut bytes);
//! let mut restored = vec![0.0; 64];
//! dequantize(BlockFormat::Q8_0, &bytes, &mut restored);
//! assert!(weights.iter().zip(restored).all(|(w, r)| (w - r).abs() < 0.02));
//! ```

mod bits;
mod floats;
mod half;
mod iq4_nl;
mod iq4_xs;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod q8_k;
mod search;

use std::fmt;
use std::str::FromStr;

pub use half::{f16_to_f32, f32_to_f16};
pub use iq4_nl::STEPS as UNEVEN_STEPS;

use crate::pool::{SharedMut, parallel_ranges};

/// Most weights of one block.
pub const BLOCK_LEN_MAX: usize = 256;
/// Most sub-blocks, each with a scale of its own, of one block.
pub const SUB_BLOCKS_MAX: usize = 16;

/// A number format of weights: plain floats, or blocks of small integers with scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockFormat {
    /// Single precision; no blocks.
    F32,
    /// IEEE half precision; no blocks.
    F16,
    /// The upper half of single precision; no blocks.
    Bf16,
    /// 8 bits, a scale for 32.
    Q8_0,
    /// 4 bits, a scale for 32.
    Q4_0,
    /// 4 bits, a scale and a minimum for 32.
    Q4_1,
    /// 5 bits, a scale for 32.
    Q5_0,
    /// 5 bits, a scale and a minimum for 32.
    Q5_1,
    /// 2 bits, 4-bit scales and minima for 16, two scales of those for 256.
    Q2K,
    /// 3 bits, 6-bit scales for 16, a scale of those for 256.
    Q3K,
    /// 4 bits, 6-bit scales and minima for 32, two scales of those for 256.
    Q4K,
    /// 5 bits, 6-bit scales and minima for 32, two scales of those for 256.
    Q5K,
    /// 6 bits, 8-bit scales for 16, a scale of those for 256.
    Q6K,
    /// 8 bits, a scale for 256; with sums of 16.
    Q8K,
    /// 4 bits that choose among sixteen uneven steps, a scale for 32.
    Iq4Nl,
    /// As [`Self::Iq4Nl`], with 6-bit scales for 32 and a scale of those for 256.
    Iq4Xs,
}

/// What there is to know of a format.
struct Layout {
    name: &'static str,
    /// The number of the type in GGUF files.
    id: u32,
    /// Weights of a block.
    len: usize,
    /// Bytes of a block.
    bytes: usize,
    /// Weights that share a scale.
    sub_block: usize,
    /// Whether sub-blocks have minima.
    has_mins: bool,
    /// How it is read.
    reader: Reader,
    /// Makes one block, where this program writes the format.
    quantize: Option<Quantize>,
}

/// Makes a block of numbers.
type Quantize = fn(&[f32], &mut [u8]);

/// How a format is read.
enum Reader {
    /// Turns numbers to f32.
    Floats(fn(&[u8], &mut [f32])),
    /// Takes one block apart.
    Blocks(fn(&[u8], &mut Parts)),
}

/// A block taken apart: weight `i` is `scales[i / sub_block] * values[i] + mins[i / sub_block]`, the product rounded
/// before the sum.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Weights that share a scale: 16 or 32.
    pub sub_block: usize,
    /// A scale for each sub-block; what is beyond the block's last is of no meaning, here and in the other fields.
    pub scales: [f32; SUB_BLOCKS_MAX],
    /// What is added in each sub-block; zero in formats without minima.
    pub mins: [f32; SUB_BLOCKS_MAX],
    /// The integers, signed as they count.
    pub values: [i8; BLOCK_LEN_MAX],
}

impl Default for Parts {
    fn default() -> Self {
        let (scales, mins) = ([0.0; SUB_BLOCKS_MAX], [0.0; SUB_BLOCKS_MAX]);
        Self { sub_block: 32, scales, mins, values: [0; BLOCK_LEN_MAX] }
    }
}

impl BlockFormat {
    /// Every format.
    pub const ALL: [Self; 16] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Q8K,
        Self::Iq4Nl,
        Self::Iq4Xs,
    ];

    const fn layout(self) -> &'static Layout {
        match self {
            Self::F32 => &floats::F32,
            Self::F16 => &floats::F16,
            Self::Bf16 => &floats::BF16,
            Self::Q8_0 => &q8_0::LAYOUT,
            Self::Q4_0 => &q4_0::LAYOUT,
            Self::Q4_1 => &q4_1::LAYOUT,
            Self::Q5_0 => &q5_0::LAYOUT,
            Self::Q5_1 => &q5_1::LAYOUT,
            Self::Q2K => &q2_k::LAYOUT,
            Self::Q3K => &q3_k::LAYOUT,
            Self::Q4K => &q4_k::LAYOUT,
            Self::Q5K => &q5_k::LAYOUT,
            Self::Q6K => &q6_k::LAYOUT,
            Self::Q8K => &q8_k::LAYOUT,
            Self::Iq4Nl => &iq4_nl::LAYOUT,
            Self::Iq4Xs => &iq4_xs::LAYOUT,
        }
    }

    /// Its usual name, in capitals.
    pub const fn name(self) -> &'static str {
        self.layout().name
    }

    /// The number of its type in GGUF files.
    pub const fn gguf_id(self) -> u32 {
        self.layout().id
    }

    /// The format of a number of GGUF files.
    pub fn from_gguf_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.gguf_id() == id)
    }

    /// Weights of one block; 1 for floats.
    pub const fn block_len(self) -> usize {
        self.layout().len
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        self.layout().bytes
    }

    /// Weights that share a scale: 16 or 32; 1 for floats.
    pub const fn sub_block(self) -> usize {
        self.layout().sub_block
    }

    /// Whether [`Parts::mins`] may be other than zero.
    pub const fn has_mins(self) -> bool {
        self.layout().has_mins
    }

    /// Whether each weight is a float of its own.
    pub const fn is_float(self) -> bool {
        matches!(self.layout().reader, Reader::Floats(_))
    }

    /// Whether [`quantize`] makes it.
    pub const fn is_written(self) -> bool {
        self.layout().quantize.is_some()
    }

    /// Bytes of so many weights; `None` where they do not fill blocks, or cannot be counted.
    pub const fn bytes_of(self, weights: usize) -> Option<usize> {
        if !weights.is_multiple_of(self.block_len()) {
            return None;
        }
        (weights / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for BlockFormat {
    type Err = ();

    /// The format of a name, in letters of either case.
    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name)).ok_or(())
    }
}

/// Takes one block apart.
///
/// # Panics
/// If `block` has another length than a block, or the format is one of floats.
#[inline]
pub fn parts(format: BlockFormat, block: &[u8], out: &mut Parts) {
    let layout = format.layout();
    assert_eq!(block.len(), layout.bytes, "parts: bytes of a block of {format}");
    let Reader::Blocks(parts) = layout.reader else { panic!("parts: {format} has no blocks to take apart") };
    out.sub_block = layout.sub_block;
    parts(block, out);
}

/// Turns blocks to numbers.
///
/// # Panics
/// If the lengths do not agree.
pub fn dequantize(format: BlockFormat, bytes: &[u8], out: &mut [f32]) {
    let layout = format.layout();
    assert_eq!(Some(bytes.len()), format.bytes_of(out.len()), "dequantize: bytes of {} in {format}", out.len());
    let blocks = out.len() / layout.len;
    let out = SharedMut::new(out);
    parallel_ranges(blocks, layout.len, |range| {
        // SAFETY: ranges do not overlap.
        let out = unsafe { out.slice(range.start * layout.len, range.len() * layout.len) };
        let bytes = &bytes[range.start * layout.bytes..range.end * layout.bytes];
        match layout.reader {
            Reader::Floats(read) => read(bytes, out),
            Reader::Blocks(parts) => dequantize_blocks(layout, parts, bytes, out),
        }
    });
}

/// Makes blocks of numbers. Scales are chosen for the least squared error; what a half-precision number cannot hold
/// becomes the largest that it can.
///
/// # Panics
/// If the lengths do not agree, the format is not one that is written, or a weight is NaN or infinite (see
/// [`crate::elementwise::first_non_finite`]).
pub fn quantize(format: BlockFormat, weights: &[f32], out: &mut [u8]) {
    let layout = format.layout();
    let make = layout.quantize.unwrap_or_else(|| panic!("quantize: {format} is not written"));
    assert_eq!(Some(out.len()), format.bytes_of(weights.len()), "quantize: bytes of {} in {format}", weights.len());
    let blocks = weights.len() / layout.len;
    let out = SharedMut::new(out);
    parallel_ranges(blocks, layout.len, |range| {
        for block in range {
            let weights = &weights[block * layout.len..][..layout.len];
            assert!(weights.iter().all(|w| w.is_finite()), "quantize: block {block} holds NaN or infinity");
            // SAFETY: blocks do not overlap, and each belongs to one range.
            make(weights, unsafe { out.slice(block * layout.bytes, layout.bytes) });
        }
    });
}

/// Turns blocks of integers to numbers, by their parts.
fn dequantize_blocks(layout: &Layout, parts: fn(&[u8], &mut Parts), bytes: &[u8], out: &mut [f32]) {
    let mut apart = Parts { sub_block: layout.sub_block, ..Parts::default() };
    for (block, out) in bytes.chunks_exact(layout.bytes).zip(out.chunks_exact_mut(layout.len)) {
        parts(block, &mut apart);
        let values = apart.values.chunks_exact(layout.sub_block);
        let scales = apart.scales.iter().zip(&apart.mins);
        for ((out, values), (scale, min)) in out.chunks_exact_mut(layout.sub_block).zip(values).zip(scales) {
            out.iter_mut().zip(values).for_each(|(out, &value)| *out = scale * f32::from(value) + min);
        }
    }
}
