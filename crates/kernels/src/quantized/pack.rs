//! Weights in the layout of the kernels.

use super::tile::{Kind, PANEL};
use super::{BLOCK, PARTS};
use crate::blocks::{UNEVEN_STEPS, f16_to_f32, f32_to_f16};
use crate::buffer::Buffer;
use crate::pool::{SharedMut, parallel};

/// What a weight's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Whole numbers from -8 to 7.
    Four,
    /// Whole numbers from 0 to 15, and a minimum for each part.
    FourMin,
    /// One of [`UNEVEN_STEPS`], the sixteen of IQ4_NL.
    FourUneven,
    /// Whole numbers from -16 to 15.
    Five,
    /// Whole numbers from 0 to 31, and a minimum for each part.
    FiveMin,
    /// Whole numbers from -32 to 31.
    Six,
    /// Whole numbers from -128 to 127.
    Eight,
}

/// How a weight is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What its elements are.
    pub values: Values,
    /// Inputs of a block of the layout: 32, or a multiple of it where neighbouring blocks of 32 have the same scales.
    pub block: usize,
    /// Parts of a block that have a scale (and a minimum) of their own: 1 or 2.
    pub parts: usize,
}

/// 32 inputs of one output: a weight is its value times the scale of its part, plus the minimum of its part. Where the
/// layout's blocks are longer, the scales and minima of the first 32 inputs count for all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// Whole numbers in the range of the layout's values.
    pub values: [i8; BLOCK],
    /// The first counts alone where a block has one part.
    pub scales: [f32; PARTS],
    /// Where the layout has minima.
    pub mins: [f32; PARTS],
}

impl Block {
    const ZERO: Self = Self { values: [0; BLOCK], scales: [0.0; PARTS], mins: [0.0; PARTS] };
}

/// A linear map, packed: panels of 16 outputs, in each the inputs by fours; scales and minima are fp16, times one factor
/// for each output.
#[derive(Debug)]
pub struct Weight {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) layout: Layout,
    pub(super) values: Buffer<u8>,
    pub(super) scales: Buffer<u16>,
    pub(super) mins: Option<Buffer<u16>>,
    pub(super) factors: Buffer<f32>,
}

impl Layout {
    pub(super) fn kind(self) -> Kind {
        match self.values {
            Values::Four | Values::FourMin => Kind::Four,
            Values::FourUneven => Kind::Uneven,
            Values::Five | Values::FiveMin => Kind::Five,
            Values::Six => Kind::Six,
            Values::Eight => Kind::Eight,
        }
    }

    fn has_mins(self) -> bool {
        matches!(self.values, Values::FourMin | Values::FiveMin)
    }

    /// What is added to a value to make it a byte from zero up.
    pub(super) fn zero(self) -> u8 {
        match self.values {
            Values::FourMin | Values::FiveMin => 0,
            Values::Four => 8,
            Values::Five => 16,
            Values::Six => 32,
            Values::FourUneven | Values::Eight => 128,
        }
    }

    /// Quads of inputs of a part.
    pub(super) fn quads(self) -> usize {
        self.block / 4 / self.parts
    }

    /// Bytes of a block's values, of all outputs of a panel.
    pub(super) fn block_bytes(self) -> usize {
        PANEL * self.block * self.kind().bits() / 8
    }
}

impl Weight {
    /// Packs a map whose blocks `fill(output, blocks)` gives, which finds them zero. `factors`, one for each output,
    /// multiply its results.
    ///
    /// # Panics
    /// If a layout has not 1 or 2 parts, or blocks of no multiple of 32, or parts of half as many whose five bits do not
    /// fill vectors, or there is not one factor for each output.
    pub fn pack(
        [outputs, inputs]: [usize; 2],
        layout: Layout,
        factors: Option<&[f32]>,
        fill: impl Fn(usize, &mut [Block]) + Sync,
    ) -> Self {
        assert!((1..=PARTS).contains(&layout.parts), "a block of {} parts", layout.parts);
        assert!(layout.block > 0 && layout.block.is_multiple_of(BLOCK), "a block of {} inputs", layout.block);
        let bits_below = layout.kind().bits().saturating_sub(4) % 4;
        assert!((layout.quads() * bits_below).is_multiple_of(8), "parts of {} inputs", layout.quads() * 4);
        assert!(factors.is_none_or(|factors| factors.len() == outputs), "one factor for each of {outputs} outputs");
        let (panels, blocks) = (outputs.div_ceil(PANEL), inputs.div_ceil(layout.block));
        let parts = panels * blocks * layout.parts * PANEL;
        let mut weight = Self {
            inputs,
            outputs,
            layout,
            values: Buffer::zeroed(panels * blocks * layout.block_bytes()),
            scales: Buffer::zeroed(parts),
            mins: layout.has_mins().then(|| Buffer::zeroed(parts)),
            factors: Buffer::zeroed(panels * PANEL),
        };
        let mut none = [];
        let out = Shared {
            values: SharedMut::new(&mut weight.values),
            scales: SharedMut::new(&mut weight.scales),
            mins: SharedMut::new(weight.mins.as_deref_mut().unwrap_or(&mut none)),
            factors: SharedMut::new(&mut weight.factors),
        };
        parallel(panels, |panel| {
            let mut column = vec![Block::ZERO; blocks * layout.block / BLOCK];
            let own = PANEL.min(outputs - panel * PANEL);
            for lane in 0..PANEL {
                let output = panel * PANEL + lane;
                column.fill(Block::ZERO);
                if lane < own {
                    fill(output, &mut column);
                }
                let factor = factors.map_or(1.0, |factors| if lane < own { factors[output] } else { 0.0 });
                out.put(layout, output, &column, factor);
            }
        });
        weight
    }

    /// Outputs of the map.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Inputs of the map.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes in memory, all of which a product reads.
    pub fn bytes(&self) -> usize {
        let mins = self.mins.as_ref().map_or(0, |mins| mins.len());
        self.values.len() + 2 * (self.scales.len() + mins) + 4 * self.factors.len()
    }

    pub(super) fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    pub(super) fn blocks(&self) -> usize {
        self.inputs.div_ceil(self.layout.block)
    }

    /// How it is laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Writes the weights of one output, as f32.
    ///
    /// # Panics
    /// If there is no such output, or `to` has not one element for each input.
    pub fn dequantize(&self, output: usize, to: &mut [f32]) {
        assert!(output < self.outputs && to.len() == self.inputs, "output {output} of {}", self.outputs);
        let (panel, lane, parts) = (output / PANEL, output % PANEL, self.blocks() * self.layout.parts);
        let bytes = self.blocks() * self.layout.block_bytes();
        let values = &self.values[panel * bytes..][..bytes];
        let (zero, factor) = (i16::from(self.layout.zero()), self.factors[output]);
        for (part, to) in to.chunks_mut(self.layout.block / self.layout.parts).enumerate() {
            let at = (panel * parts + part) * PANEL + lane;
            let scale = f16_to_f32(self.scales[at]);
            let min = self.mins.as_ref().map_or(0.0, |mins| f16_to_f32(mins[at]));
            for (i, to) in to.iter_mut().enumerate() {
                let input = part * (self.layout.block / self.layout.parts) + i;
                let value = i16::from(self.byte(values, lane, input)) - zero;
                *to = (f32::from(value) * scale + min) * factor;
            }
        }
    }

    /// A value of a panel, as a byte from zero up.
    fn byte(&self, panel: &[u8], lane: usize, input: usize) -> u8 {
        let (kind, quads, quad) = (self.layout.kind(), self.layout.quads(), input / 4);
        let (part, quad, at) = (quad / quads, quad % quads, lane * 4 + input % 4);
        let line = |line: usize| panel[(part * quads * kind.bits() / 8 + line) * 64 + at];
        if !kind.is_packed() {
            return line(quad);
        }
        let upper = (line(quad / 2) >> (4 * (quad % 2))) & 15;
        let room = kind.bits() - 4;
        match kind {
            Kind::Uneven => (UNEVEN_STEPS[usize::from(upper)] as u8).wrapping_add(self.layout.zero()),
            _ if room == 0 => upper,
            _ => upper << room | (line(quads / 2 + quad * room / 8) >> (quad * room % 8)) & ((1 << room) - 1),
        }
    }
}

/// Where packing writes to.
struct Shared {
    values: SharedMut<u8>,
    scales: SharedMut<u16>,
    mins: SharedMut<u16>,
    factors: SharedMut<f32>,
}

impl Shared {
    /// Writes one output's blocks. Tasks write different panels, and a panel's lanes come one after another.
    fn put(&self, layout: Layout, output: usize, column: &[Block], factor: f32) {
        let each = layout.block / BLOCK;
        let (panel, lane, blocks) = (output / PANEL, output % PANEL, column.len() / each);
        let own = common_factor(layout, column);
        let (bytes, parts) = (blocks * layout.block_bytes(), blocks * layout.parts * PANEL);
        // SAFETY: this panel belongs to this task alone.
        let (values, scales, mins, factors) = unsafe {
            let mins = if layout.has_mins() { self.mins.slice(panel * parts, parts) } else { &mut [] };
            let factors = self.factors.slice(panel * PANEL, PANEL);
            (self.values.slice(panel * bytes, bytes), self.scales.slice(panel * parts, parts), mins, factors)
        };
        factors[lane] = factor * own;
        put_values(layout, column, lane, values);
        for (number, block) in column.iter().step_by(each).enumerate() {
            for part in 0..layout.parts {
                let at = (number * layout.parts + part) * PANEL + lane;
                scales[at] = f32_to_f16(block.scales[part] / own);
                if layout.has_mins() {
                    mins[at] = f32_to_f16(block.mins[part] / own);
                }
            }
        }
    }
}

/// Writes one output's values into its panel, whose bytes of this output are still zero.
fn put_values(layout: Layout, column: &[Block], lane: usize, to: &mut [u8]) {
    let (kind, zero, at) = (layout.kind(), layout.zero(), lane * 4);
    let bytes = |block: &Block| match kind {
        Kind::Uneven => block.values.map(step),
        _ => block.values.map(|value| (value as u8).wrapping_add(zero)),
    };
    let lines = to.as_chunks_mut::<64>().0;
    if !kind.is_packed() {
        for (block, lines) in column.iter().zip(lines.chunks_exact_mut(BLOCK / 4)) {
            for (quad, line) in bytes(block).as_chunks::<4>().0.iter().zip(lines) {
                line[at..][..4].copy_from_slice(quad);
            }
        }
        return;
    }
    // Four bytes at once: their upper halves, and what is below these.
    let (quads, room) = (layout.quads(), kind.bits() - 4);
    let (half, below) = (0x0F0F_0F0F, 0x0101_0101 * ((1 << room) - 1));
    let (mut part, mut quad) = (0, 0);
    for block in column {
        for [low, high] in bytes(block).as_chunks::<4>().0.as_chunks::<2>().0 {
            let [low, high] = [low, high].map(|quad| u32::from_le_bytes(*quad));
            let upper = (low >> room) & half | ((high >> room) & half) << 4;
            lines[part + quad / 2][at..][..4].copy_from_slice(&upper.to_le_bytes());
            if room > 0 {
                let lower = (low & below | (high & below) << room) << (quad * room % 8);
                let line = &mut lines[part + quads / 2 + quad * room / 8][at..][..4];
                line.iter_mut().zip(lower.to_le_bytes()).for_each(|(to, bits)| *to |= bits);
            }
            quad += 2;
            if quad == quads {
                (part, quad) = (part + quads * kind.bits() / 8, 0);
            }
        }
    }
}

/// Which of the uneven steps a value is. Values that are none have scales of zero: they fill up a panel or a block.
fn step(value: i8) -> u8 {
    const STEPS: [u8; 256] = {
        let (mut steps, mut at) = ([0; 256], 0);
        while at < UNEVEN_STEPS.len() {
            steps[UNEVEN_STEPS[at] as u8 as usize] = at as u8;
            at += 1;
        }
        steps
    };
    STEPS[usize::from(value as u8)]
}

/// A power of two by which an output's scales and minima are divided so that fp16 holds them well: one where fp16 holds
/// them exactly as they are.
fn common_factor(layout: Layout, column: &[Block]) -> f32 {
    let numbers = || {
        let mins = move |block: &'_ Block| if layout.has_mins() { block.mins } else { [0.0; PARTS] };
        column.iter().step_by(layout.block / BLOCK).flat_map(move |block| {
            let mins = mins(block);
            (0..layout.parts).flat_map(move |part| [block.scales[part], mins[part]])
        })
    };
    if numbers().all(|number| f16_to_f32(f32_to_f16(number)).to_bits() == number.to_bits()) {
        return 1.0;
    }
    let largest = numbers().fold(0.0f32, |largest, number| largest.max(number.abs()));
    if !largest.is_normal() {
        return 1.0;
    }
    // The largest comes to lie from 2¹⁴ up to 2¹⁵.
    let exponent = (largest.to_bits() >> 23) as i32 - 127 - 14;
    2f32.powi(exponent.clamp(-126, 127))
}
