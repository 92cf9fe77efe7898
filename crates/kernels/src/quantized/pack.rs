//! Weights in the layout of the kernels.

use super::tile::{Kind, PANEL};
use super::{BLOCK, PARTS};
use crate::blocks::{f16_to_f32, f32_to_f16};
use crate::buffer::Buffer;
use crate::pool::{SharedMut, parallel};

/// What a weight's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Whole numbers from -8 to 7.
    Four,
    /// Whole numbers from 0 to 15, and a minimum for each part.
    FourMin,
    /// Whole numbers from -128 to 127.
    Eight,
    /// Whole numbers from -128 to 127, and a minimum for each part.
    EightMin,
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
            Values::Four => Kind::Four,
            Values::FourMin => Kind::FourMin,
            Values::Eight | Values::EightMin => Kind::Eight,
        }
    }

    fn has_mins(self) -> bool {
        matches!(self.values, Values::FourMin | Values::EightMin)
    }

    /// What is added to a value to make it a byte from zero up.
    fn zero(self) -> u8 {
        match self.values {
            Values::Four => 8,
            Values::FourMin => 0,
            Values::Eight | Values::EightMin => 128,
        }
    }

    /// Bytes of a block's values, of all outputs of a panel.
    pub(super) fn block_bytes(self) -> usize {
        match self.values {
            Values::Four | Values::FourMin => PANEL * self.block / 2,
            Values::Eight | Values::EightMin => PANEL * self.block,
        }
    }
}

impl Weight {
    /// Packs a map whose blocks `fill(output, blocks)` gives, which finds them zero. `factors`, one for each output,
    /// multiply its results.
    ///
    /// # Panics
    /// If a layout has not 1 or 2 parts, or blocks of no multiple of 32, or there is not one factor for each output.
    pub fn pack(
        [outputs, inputs]: [usize; 2],
        layout: Layout,
        factors: Option<&[f32]>,
        fill: impl Fn(usize, &mut [Block]) + Sync,
    ) -> Self {
        assert!((1..=PARTS).contains(&layout.parts), "a block of {} parts", layout.parts);
        assert!(layout.block > 0 && layout.block.is_multiple_of(BLOCK), "a block of {} inputs", layout.block);
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

    /// A value of a panel, as it lies there.
    fn byte(&self, panel: &[u8], lane: usize, input: usize) -> u8 {
        let (quad, byte) = (input / 4, input % 4);
        match self.layout.kind() {
            Kind::Eight => panel[quad * 64 + lane * 4 + byte],
            _ => (panel[quad / 2 * 64 + lane * 4 + byte] >> (4 * (quad % 2))) & 15,
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
        let bytes = layout.block_bytes() / each;
        for (block, values) in column.iter().zip(values.chunks_exact_mut(bytes)) {
            put_values(layout, &block.values, lane, values);
        }
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

fn put_values(layout: Layout, block: &[i8; BLOCK], lane: usize, to: &mut [u8]) {
    let zero = layout.zero();
    let quads = block.as_chunks::<4>().0;
    if layout.kind() == Kind::Eight {
        for (quad, values) in quads.iter().enumerate() {
            to[quad * 64 + lane * 4..][..4].copy_from_slice(&values.map(|value| (value as u8).wrapping_add(zero)));
        }
    } else {
        for (pair, [low, high]) in quads.as_chunks::<2>().0.iter().enumerate() {
            let byte =
                |i: usize| ((low[i] as u8).wrapping_add(zero) & 15) | ((high[i] as u8).wrapping_add(zero) & 15) << 4;
            to[pair * 64 + lane * 4..][..4].copy_from_slice(&std::array::from_fn::<u8, 4, _>(byte));
        }
    }
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
