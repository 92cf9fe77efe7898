//! Writing keys and values into a cache, in its format.

use super::cached::{Arena, Format, Placed, Placement, check_blocks};
use super::{BLOCK, Shape};
use crate::bf16;
use crate::matmul::assert_len;
use crate::pool::{SharedMut, parallel};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Keys and values whose largest magnitude is below this are zeros in bytes.
const LEAST: f32 = 1e-30;

/// The cache, to be written to.
#[derive(Debug)]
pub struct ArenaMut<'a> {
    /// How both hold their numbers.
    pub format: Format,
    /// Blocks of keys.
    pub keys: &'a mut [f32],
    /// Blocks of values.
    pub values: &'a mut [f32],
}

/// Writes the keys and the values of a placement's rows, each rows × kv heads × width, where their positions stand in
/// the cache; nothing else there changes.
///
/// # Panics
/// If the lengths do not agree, or as [`super::cached::attend`].
pub fn append(shape: &Shape, placement: &Placement, [k, v]: [&[f32]; 2], arena: ArenaMut<'_>) {
    let ArenaMut { format, keys, values } = arena;
    let rows = k.len() / (shape.kv_heads * shape.head_width);
    assert_len("append: keys", k.len(), &[rows, shape.kv_heads, shape.head_width]);
    assert_len("append: values", v.len(), &[rows, shape.kv_heads, shape.head_width]);
    check_blocks(shape, placement, rows, Arena { format, keys, values });
    let sides = [(k, SharedMut::new(keys)), (v, SharedMut::new(values))];
    // A task has a head of every block, so no two write to the same memory, whichever blocks sequences share.
    parallel(2 * shape.kv_heads, |task| {
        let ((numbers, memory), is_key, head) = (sides[task % 2], task % 2 == 0, task / 2);
        dispatch(Append { shape, placement, format, head, is_key, numbers, memory });
    });
}

/// One head of all rows' keys, or of their values.
struct Append<'a> {
    shape: &'a Shape,
    placement: &'a Placement,
    format: Format,
    head: usize,
    is_key: bool,
    numbers: &'a [f32],
    memory: SharedMut<f32>,
}

impl Kernel for Append<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Shape { kv_heads, head_width, .. } = *self.shape;
        let (block_len, head_len) = (self.format.block_len(self.shape), self.format.head_len(self.shape));
        for sequence in self.placement.sequences() {
            let blocks = self.placement.blocks_of(sequence);
            let Placed { rows, first_position, .. } = sequence;
            for (row, position) in rows.clone().zip(*first_position..) {
                let start = blocks[position / BLOCK] as usize * block_len + self.head * head_len;
                // SAFETY: this task alone writes this head.
                let memory = unsafe { self.memory.slice(start, head_len) };
                let numbers = &self.numbers[(row * kv_heads + self.head) * head_width..][..head_width];
                let lane = position % BLOCK;
                let [start, stride] = if self.is_key { [lane, BLOCK] } else { [lane * self.shape.padded(), 1] };
                put::<S>(self.format, memory, numbers, lane, [start, stride]);
            }
        }
    }
}

/// Writes a head's numbers of one position into its memory, from `start` on and `stride` apart.
#[inline(always)]
fn put<S: Simd>(format: Format, memory: &mut [f32], numbers: &[f32], position: usize, [start, stride]: [usize; 2]) {
    match format {
        Format::F32 => memory[start..].iter_mut().step_by(stride).zip(numbers).for_each(|(to, x)| *to = *x),
        Format::Bf16 => {
            let to = bf16::of_floats_mut(memory)[start..].iter_mut().step_by(stride);
            to.zip(numbers).for_each(|(to, &x)| *to = bf16::from_f32(x));
        }
        Format::Int8 => {
            let (values, scales) = memory.split_at_mut(memory.len() - BLOCK);
            scales[position] = put_bytes::<S>(&mut bytes_mut(values)[start..], numbers, stride);
        }
    }
}

/// Writes numbers as bytes; gives their scale, which is NaN where one of them is not finite.
#[inline(always)]
fn put_bytes<S: Simd>(to: &mut [i8], numbers: &[f32], stride: usize) -> f32 {
    let mut magnitudes = S::splat(0.0);
    for at in (0..numbers.len()).step_by(LANES) {
        magnitudes = S::at(numbers, at).larger_magnitude(magnitudes);
    }
    let largest = magnitudes.largest_magnitude();
    let (scale, inverse) = match largest {
        _ if !largest.is_finite() => {
            to.iter_mut().step_by(stride).take(numbers.len()).for_each(|to| *to = 0);
            return f32::NAN;
        }
        _ if largest < LEAST => (0.0, 0.0),
        _ => (largest / 127.0, 127.0 / largest),
    };
    let mut bytes = [0; LANES];
    for at in (0..numbers.len()).step_by(LANES) {
        // SAFETY: sixteen bytes, of numbers up to 127.
        unsafe { (S::at(numbers, at) * S::splat(inverse)).store_i8(bytes.as_mut_ptr()) };
        let to = to[at * stride..].iter_mut().step_by(stride);
        to.zip(&bytes[..LANES.min(numbers.len() - at)]).for_each(|(to, byte)| *to = *byte);
    }
    scale
}

/// The memory of floats, as four times as many bytes.
fn bytes_mut(floats: &mut [f32]) -> &mut [i8] {
    // SAFETY: four times as many of a quarter of the size; every bit pattern is a value of either.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), 4 * floats.len()) }
}
