//! Floats: each weight by itself.

use super::half::{f16_to_f32, f32_to_f16};
use super::{Layout, Reader};
use crate::bf16;

const FLOATS: Layout = Layout {
    name: "F32",
    id: 0,
    len: 1,
    bytes: 4,
    sub_block: 1,
    has_mins: false,
    reader: Reader::Floats(|bytes, out| read(bytes, out, f32::from_le_bytes)),
    quantize: Some(|weights, out| out.copy_from_slice(&weights[0].to_le_bytes())),
};

pub(super) const F32: Layout = FLOATS;

pub(super) const F16: Layout = Layout {
    name: "F16",
    id: 1,
    bytes: 2,
    reader: Reader::Floats(|bytes, out| read(bytes, out, |half| f16_to_f32(u16::from_le_bytes(half)))),
    quantize: Some(|weights, out| out.copy_from_slice(&f32_to_f16(weights[0]).to_le_bytes())),
    ..FLOATS
};

pub(super) const BF16: Layout = Layout {
    name: "BF16",
    id: 30,
    bytes: 2,
    reader: Reader::Floats(|bytes, out| read(bytes, out, |half| bf16::to_f32(u16::from_le_bytes(half)))),
    quantize: Some(|weights, out| out.copy_from_slice(&bf16::from_f32(weights[0]).to_le_bytes())),
    ..FLOATS
};

fn read<const BYTES: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; BYTES]) -> f32) {
    out.iter_mut().zip(bytes.as_chunks().0).for_each(|(out, &bytes)| *out = number(bytes));
}
