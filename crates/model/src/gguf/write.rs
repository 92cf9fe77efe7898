//! Writing a model as a GGUF file.

use std::io::Write;

use luban_artifact::Piece;
use luban_artifact::gguf::{Entry, TensorSpec, write_streaming};
use luban_kernels::blocks::{self, BlockFormat};
use luban_kernels::elementwise;

use super::architecture::{Architecture, Layout};
use super::{interleaved, metadata, rotation};
use crate::error::Error;
use crate::io::WeightData;
use crate::spec::{Head, Spec};
use crate::weights::{Role, Slot, slots};

/// The version of the layouts of blocks, as files say it.
const QUANTIZATION_VERSION: u32 = 2;

/// The format that a weight gets in a file of one: vectors, tables of positions and token types, and routers stay F32; a table
/// that is the head too has 6 bits at least; where rows do not fill blocks, a finer format with shorter ones, or F16.
pub fn format_of(slot: &Slot, spec: &Spec, wanted: BlockFormat) -> BlockFormat {
    let &[_, columns] = slot.shape.as_slice() else { return BlockFormat::F32 };
    let is_small = matches!(&*slot.name, "embedding.positions" | "embedding.token_types");
    if is_small || slot.role == Role::Router {
        return BlockFormat::F32;
    }
    let fits = |format: BlockFormat| columns.is_multiple_of(format.block_len());
    let is_head = match spec.head {
        Head::Vocabulary { tied: true } => slot.name == "embedding.tokens",
        _ => slot.name == "head.weight",
    };
    let coarse = !wanted.is_float() && wanted.bytes_of(256) < BlockFormat::Q6K.bytes_of(256);
    let wanted = if is_head && coarse { BlockFormat::Q6K } else { wanted };
    let shorter = match wanted {
        BlockFormat::Q2K | BlockFormat::Q3K => BlockFormat::Q4_0,
        BlockFormat::Q4K => BlockFormat::Q5_0,
        BlockFormat::Q5K => BlockFormat::Q5_1,
        _ => BlockFormat::Q8_0,
    };
    [wanted, shorter].into_iter().find(|&format| fits(format)).unwrap_or(BlockFormat::F16)
}

/// Writes a model: what it is, `extra` entries (its name, its tokenizer), and every weight, in the format that `format`
/// says and as `weight` gives it when it is its turn. Blocks that have that format already are copied.
///
/// # Errors
/// A model that no architecture holds, weights that are not finite, those of `weight`, or of the disk.
pub fn export(
    out: &mut dyn Write,
    spec: &Spec,
    extra: &[Entry],
    format: impl Fn(&Slot) -> BlockFormat,
    mut weight: impl FnMut(&Slot) -> Result<WeightData, Error>,
) -> Result<(), Error> {
    let architecture = holding(spec)?;
    let mut entries = metadata::write(architecture, spec);
    entries.push(Entry::u32("general.quantization_version", QUANTIZATION_VERSION));
    let more: Vec<&Entry> = extra.iter().filter(|more| entries.iter().all(|own| own.key() != more.key())).collect();
    entries.extend(more.into_iter().cloned());
    let tensors = tensors(architecture, spec, format);
    let mut specs: Vec<TensorSpec> = tensors.iter().map(|tensor| tensor.spec.clone()).collect();
    let divisors = rotation::write_divisors(spec);
    specs.extend(divisors.iter().map(|values| TensorSpec::new(rotation::DIVISORS, BlockFormat::F32, [values.len()])));
    let mut next = tensors.iter();
    write_streaming(out, &entries, &specs, |spec_of_tensor, out| {
        let Some(tensor) = next.next() else {
            let bytes: Vec<u8> = divisors.iter().flatten().flat_map(|divisor| divisor.to_le_bytes()).collect();
            return Ok(spec_of_tensor.put(out, &bytes)?);
        };
        for slot in &tensor.slots {
            spec_of_tensor.put(out, &bytes_of(tensor, slot, weight(slot)?, spec.head_width)?)?;
        }
        Ok(())
    })
}

/// A file's tensor, and the slots that lie in it.
struct Tensor {
    spec: TensorSpec,
    layout: Layout,
    slots: Vec<Slot>,
}

fn tensors(architecture: &Architecture, spec: &Spec, format: impl Fn(&Slot) -> BlockFormat) -> Vec<Tensor> {
    let mut tensors: Vec<Tensor> = Vec::new();
    for slot in slots(spec) {
        let place = architecture.place(&slot);
        let stacked = matches!(place.layout, Layout::Stacked { .. });
        // Parts follow one another in the walk, but for their biases or the other maps of experts between them.
        if let Some(fused) = tensors.iter_mut().rev().take(2 * 3).find(|tensor| tensor.spec.name == place.name) {
            fused.spec.shape[0] += if stacked { 1 } else { slot.shape[0] };
            fused.slots.push(slot);
            continue;
        }
        let mut shape = slot.shape.clone();
        if stacked {
            shape.insert(0, 1);
        }
        let spec = TensorSpec::new(place.name, format(&slot), shape);
        tensors.push(Tensor { spec, layout: place.layout, slots: vec![slot] });
    }
    tensors
}

fn bytes_of(tensor: &Tensor, slot: &Slot, data: WeightData, head_width: usize) -> Result<Piece, Error> {
    let format = tensor.spec.format;
    let bytes: Piece = match data {
        WeightData::Blocks { format: found, bytes } if found == format => bytes,
        other => {
            let values = other.into_f32();
            if let Some(at) = elementwise::first_non_finite(&values) {
                let (expected, found) = ("finite numbers".into(), format!("{} at {at}", values[at]));
                return Err(Error::Weight { name: slot.name.clone(), expected, found });
            }
            let length = format.bytes_of(values.len()).unwrap_or(0);
            let mut bytes = vec![0; length];
            blocks::quantize(format, &values, &mut bytes);
            bytes.into()
        }
    };
    Ok(match tensor.layout {
        Layout::Interleaved => interleaved(&bytes, bytes.len() / slot.shape[0], head_width).into(),
        _ => bytes,
    })
}

/// The architecture that says all of a spec.
fn holding(spec: &Spec) -> Result<&'static Architecture, Error> {
    let refuse = |found: &str| Error::Spec {
        field: "description",
        found: found.to_owned(),
        expected: "a GGUF file of an architecture that other programs know must say all of it".to_owned(),
    };
    let architecture = Architecture::for_spec(spec).ok_or_else(|| refuse("of none of them"))?;
    if spec.local.is_some() && architecture.name != "gemma3" {
        return Err(refuse("one with near sight, which this architecture has not"));
    }
    if spec.experts.as_ref().is_some_and(|experts| !experts.normalize || experts.layers.contains(&false)) {
        return Err(refuse("one with experts in some layers only, or with shares that do not sum to one"));
    }
    if !rotation::is_said(spec.rotary_scaling) {
        return Err(refuse("one with a rotation scaled in a way that GGUF has no words for"));
    }
    if architecture.name == "gemma3" && spec.attention_scalar != Some(metadata::gemma_scalar(spec)) {
        return Err(refuse("one with scores that are not divided as Gemma's are"));
    }
    Ok(architecture)
}

/// The number that files have for a format that most of their tensors have.
pub fn file_type(format: BlockFormat) -> Option<u32> {
    Some(match format {
        BlockFormat::F32 => 0,
        BlockFormat::F16 => 1,
        BlockFormat::Q4_0 => 2,
        BlockFormat::Q4_1 => 3,
        BlockFormat::Q8_0 => 7,
        BlockFormat::Q5_0 => 8,
        BlockFormat::Q5_1 => 9,
        BlockFormat::Q2K => 10,
        BlockFormat::Q3K => 12,
        BlockFormat::Q4K => 15,
        BlockFormat::Q5K => 17,
        BlockFormat::Q6K => 18,
        BlockFormat::Bf16 => 32,
        _ => return None,
    })
}
