//! The optimizers' states in 8 bits, block by block (Dettmers et al. 2022, "8-bit Optimizers via Block-wise
//! Quantization").
//!
//! A block is 256 neighbours. It has one scale, its largest magnitude, so that an outlier costs its neighbours only, and
//! a byte for each of them. What the bytes stand for is not spaced evenly, as the states of one block span many powers
//! of ten: it is the square of an even step, where that paper takes a table of a tree of decimal exponents. A square
//! needs no table, and product and root are exact IEEE operations: every instruction set gives the same bytes.
//!
//! - [`Code::Signed`], for means of gradients: scale · t |t|, t = byte / 127.
//! - [`Code::Root`], for means of squared gradients: (scale · u²)², u = (byte + 129) / 256. What is kept is the root, as
//!   that is what divides; and in a block that is not all zero it is never zero, which would leave epsilon alone to
//!   divide by (the zero-point problem of Li et al. 2023, "Memory Efficient Optimizers with 4-bit States").
//!
//! An update decodes a block, computes in f32, changes the weights by what it computed, and encodes, in one pass. Encoding
//! rounds to one of the two neighbours by chance, so that the mean is right: a mean that should lose a hundredth of itself
//! at each step would never change if it always went to the nearest. The chances are Philox 4x32-10 (see
//! [`crate::dropout`]): the element 128 g + 32 w + 16 h + l of a block has the half h (the lower first) of the word w at
//! the counter (16 g + l, block, path), its lower byte for the first state and its upper one for the second.

mod bytes;

use super::{AdamW, Constants};
use crate::buffer::Buffer;
use crate::dropout::draw;
use crate::pool::{SharedMut, parallel_ranges};
use crate::simd::{Kernel, LANES, Simd, dispatch};

use bytes::{magnitude, root, root_byte, signed, signed_byte, units};

/// Elements that share a scale.
pub const BLOCK: usize = 256;
/// Steps of [`Code::Signed`] on either side of zero.
pub const SIGNED_STEPS: f32 = 127.0;
/// Steps of [`Code::Root`].
pub const ROOT_STEPS: f32 = 256.0;
/// The number of steps of [`Code::Root`] that the byte 0 stands for.
pub const ROOT_ZERO: f32 = 129.0;

/// Elements that one draw of all lanes serves: four words of two halves for each lane.
const DRAWN: usize = 8 * LANES;

/// Where the chances of one update come from: every step of every parameter has a path of its own.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    /// The generator's key.
    pub key: [u32; 2],
    /// See above.
    pub path: u64,
}

/// What a byte stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A number of either sign.
    Signed,
    /// The root of a number that is not negative.
    Root,
}

impl Code {
    /// The byte of a zero.
    fn zero(self) -> i8 {
        match self {
            Self::Signed => 0,
            Self::Root => i8::MIN,
        }
    }
}

/// A state in blocks.
#[derive(Clone, Debug)]
pub struct Blocks {
    code: Code,
    len: usize,
    /// Of whole blocks: those past the length are zeros.
    codes: Buffer<i8>,
    scales: Buffer<f32>,
}

impl Blocks {
    /// Zeros.
    pub fn zeroed(code: Code, len: usize) -> Self {
        let blocks = len.div_ceil(BLOCK);
        let mut codes = Buffer::zeroed(blocks * BLOCK);
        codes.fill(code.zero());
        Self { code, len, codes, scales: Buffer::zeroed(blocks) }
    }

    /// What [`Self::codes`] and [`Self::scales`] gave.
    ///
    /// # Panics
    /// If there is not one scale for each block.
    pub fn from_parts(code: Code, codes: &[i8], scales: &[f32]) -> Self {
        let mut blocks = Self::zeroed(code, codes.len());
        assert_eq!(scales.len(), blocks.scales.len(), "blocks: number of scales");
        blocks.codes[..codes.len()].copy_from_slice(codes);
        blocks.scales.copy_from_slice(scales);
        blocks
    }

    /// Numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Of what kind the bytes are.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The byte of each number.
    pub fn codes(&self) -> &[i8] {
        &self.codes[..self.len]
    }

    /// The scale of each block.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The numbers.
    pub fn values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.codes.len()];
        for (block, values) in values.chunks_exact_mut(BLOCK).enumerate() {
            let codes = &self.codes[block * BLOCK..][..BLOCK];
            dispatch(Values { code: self.code, codes, scale: self.scales[block], values });
        }
        values.truncate(self.len);
        values
    }

    fn check(&self, code: Code, len: usize) {
        assert!(self.code == code && self.len == len, "blocks: {:?} of {}, not {code:?} of {len}", self.code, self.len);
    }
}

/// As [`super::adamw`], with moments in blocks: the first signed, the second as roots.
///
/// # Panics
/// As that, or if a moment is of another code.
pub fn adamw(options: &AdamW, draws: Draws, parameters: &mut [f32], gradients: &[f32], [m, v]: [&mut Blocks; 2]) {
    let len = parameters.len();
    assert_eq!(gradients.len(), len, "adamw: lengths");
    m.check(Code::Signed, len);
    v.check(Code::Root, len);
    assert!(options.step > 0, "adamw: steps are counted from one");
    let constants = Constants::new(options);
    let parameters = SharedMut::new(parameters);
    let (m, v) = (Shared::new(m), Shared::new(v));
    parallel_ranges(len.div_ceil(BLOCK), BLOCK, |blocks| {
        for block in blocks {
            let (start, len) = (block * BLOCK, BLOCK.min(len - block * BLOCK));
            // SAFETY: blocks do not overlap, and each belongs to one range.
            let (parameters, m, v) = unsafe { (parameters.slice(start, len), m.block(block), v.block(block)) };
            let gradients = &gradients[start..start + len];
            dispatch(Update { constants, chances: Chances { draws, block }, parameters, gradients, m, v });
        }
    });
}

/// As [`super::muon::momentum`], with a momentum in blocks.
///
/// # Panics
/// As that, or if the momentum is of another code.
pub fn momentum(m: &mut Blocks, g: &[f32], [beta, scale]: [f32; 2], draws: Draws, update: &mut [f32]) {
    let len = g.len();
    assert_eq!(update.len(), len, "momentum: lengths");
    m.check(Code::Signed, len);
    let (m, update) = (Shared::new(m), SharedMut::new(update));
    parallel_ranges(len.div_ceil(BLOCK), BLOCK, |blocks| {
        for block in blocks {
            let (start, len) = (block * BLOCK, BLOCK.min(len - block * BLOCK));
            // SAFETY: blocks do not overlap, and each belongs to one range.
            let (update, m) = unsafe { (update.slice(start, len), m.block(block)) };
            let (g, rest) = (&g[start..start + len], (1.0 - beta) * scale);
            dispatch(Momentum { m, g, factors: [beta, rest], chances: Chances { draws, block }, update });
        }
    });
}

/// Blocks that tasks divide among themselves.
struct Shared {
    codes: SharedMut<i8>,
    scales: SharedMut<f32>,
}

impl Shared {
    fn new(blocks: &mut Blocks) -> Self {
        Self { codes: SharedMut::new(&mut blocks.codes), scales: SharedMut::new(&mut blocks.scales) }
    }

    /// # Safety
    /// No one else may have this block.
    unsafe fn block<'a>(&self, block: usize) -> Block<'a> {
        // SAFETY: the caller's promise.
        unsafe { Block { codes: self.codes.slice(block * BLOCK, BLOCK), scale: &mut self.scales.slice(block, 1)[0] } }
    }
}

/// The chances of one block.
#[derive(Clone, Copy)]
struct Chances {
    draws: Draws,
    block: usize,
}

impl Chances {
    /// Two numbers between 0 and 1 for each of the next 128 elements, from the element `at` on.
    #[inline(always)]
    fn draw(self, at: usize) -> [[f32; DRAWN]; 2] {
        let words = draw([(at / DRAWN * LANES) as u32, self.block as u32], self.draws.path, self.draws.key);
        let mut chances = [[0.0; DRAWN]; 2];
        for (word, lanes) in words.iter().enumerate() {
            for (lane, bits) in lanes.iter().enumerate() {
                let chance = |shift: u32| ((bits >> shift & 0xFF) as i32 as f32 + 0.5) * (1.0 / 256.0);
                for half in 0..2 {
                    let element = (2 * word + half) * LANES + lane;
                    chances[0][element] = chance(16 * half as u32);
                    chances[1][element] = chance(16 * half as u32 + 8);
                }
            }
        }
        chances
    }
}

/// One block.
struct Block<'a> {
    codes: &'a mut [i8],
    scale: &'a mut f32,
}

impl Block<'_> {
    /// Sets the scale to the largest magnitude among all lanes; gives its inverse.
    #[inline(always)]
    fn rescale<S: Simd>(&mut self, largest: S) -> S {
        let scale = largest.largest();
        // What is below the normal numbers has no finite inverse, and is nothing.
        let is_normal = scale >= f32::MIN_POSITIVE;
        *self.scale = if is_normal { scale } else { 0.0 };
        S::splat(if is_normal { 1.0 / scale } else { 0.0 })
    }

    #[inline(always)]
    fn put<S: Simd>(&mut self, at: usize, byte: S) {
        let codes = &mut self.codes[at..at + LANES];
        // SAFETY: sixteen bytes.
        unsafe { byte.store_i8(codes.as_mut_ptr()) };
    }
}

struct Update<'a> {
    constants: Constants,
    chances: Chances,
    parameters: &'a mut [f32],
    gradients: &'a [f32],
    m: Block<'a>,
    v: Block<'a>,
}

impl Kernel for Update<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self) {
        let c = self.constants;
        let (beta1, beta2) = (S::splat(c.beta1), S::splat(c.beta2));
        let (rest1, rest2) = (S::splat(1.0 - c.beta1), S::splat(1.0 - c.beta2));
        let ([m_unit, _], [_, v_unit]) = (units::<S>(*self.m.scale), units::<S>(*self.v.scale));
        let (mut means, mut roots) = ([0.0; BLOCK], [0.0; BLOCK]);
        let (mut m_largest, mut v_largest) = (S::splat(0.0), S::splat(0.0));
        for i in (0..self.parameters.len()).step_by(LANES) {
            let g = S::at(self.gradients, i) * S::splat(c.gradient_scale);
            let old = root::<S>(self.v.codes, i, v_unit);
            let m = beta1.fma(signed::<S>(self.m.codes, i, m_unit), rest1 * g);
            let root = beta2.fma(old * old, rest2 * g * g).sqrt();
            let size = root.fma(S::splat(c.root), S::splat(c.epsilon));
            let step = S::splat(-c.rate) * m / size;
            S::at(self.parameters, i).fma(S::splat(c.kept), step).put(self.parameters, i);
            m.put(&mut means, i);
            root.put(&mut roots, i);
            m_largest = m_largest.max(magnitude(m));
            v_largest = v_largest.max(root);
        }
        let (m_inverse, v_inverse) = (self.m.rescale(m_largest), self.v.rescale(v_largest));
        for first in (0..BLOCK).step_by(DRAWN) {
            let [low, high] = self.chances.draw(first);
            for i in (0..DRAWN).step_by(LANES) {
                let at = first + i;
                self.m.put(at, signed_byte(S::at(&means, at), m_inverse, S::at(&low, i)));
                self.v.put(at, root_byte(S::at(&roots, at), v_inverse, S::at(&high, i)));
            }
        }
    }
}

struct Momentum<'a> {
    m: Block<'a>,
    g: &'a [f32],
    /// What is left of the momentum, and what comes of the gradient.
    factors: [f32; 2],
    chances: Chances,
    update: &'a mut [f32],
}

impl Kernel for Momentum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self) {
        let [beta, rest] = self.factors;
        let (beta, rest) = (S::splat(beta), S::splat(rest));
        let [unit, _] = units::<S>(*self.m.scale);
        let mut means = [0.0; BLOCK];
        let mut largest = S::splat(0.0);
        for i in (0..self.g.len()).step_by(LANES) {
            let g = S::at(self.g, i) * rest;
            let m = beta.fma(signed::<S>(self.m.codes, i, unit), g);
            m.put(&mut means, i);
            beta.fma(m, g).put(self.update, i);
            largest = largest.max(magnitude(m));
        }
        let inverse = self.m.rescale(largest);
        for first in (0..BLOCK).step_by(DRAWN) {
            let [low, _] = self.chances.draw(first);
            for i in (0..DRAWN).step_by(LANES) {
                self.m.put(first + i, signed_byte(S::at(&means, first + i), inverse, S::at(&low, i)));
            }
        }
    }
}

struct Values<'a> {
    code: Code,
    codes: &'a [i8],
    scale: f32,
    values: &'a mut [f32],
}

impl Kernel for Values<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let [signed_unit, root_unit] = units::<S>(self.scale);
        for at in (0..BLOCK).step_by(LANES) {
            let value = match self.code {
                Code::Signed => signed::<S>(self.codes, at, signed_unit),
                Code::Root => {
                    let root = root::<S>(self.codes, at, root_unit);
                    root * root
                }
            };
            value.put(self.values, at);
        }
    }
}

#[cfg(test)]
mod tests;
