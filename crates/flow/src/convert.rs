//! A model in another file format, for other programs.

use std::path::Path;

use luban_artifact::ModelFiles;
use luban_artifact::gguf::Entry;
use luban_base::atomic;
use luban_base::progress::{Event, Observer};
use luban_engine::{GgufEntries, gguf_entries};
use luban_kernels::blocks::BlockFormat;
use luban_model::weights::{Slot, slots};
use luban_model::{gguf, io};

use crate::{Error, Result};

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of all weights as they are in it, over their number, times eight.
    pub bits_per_weight: f64,
    /// Whether other programs cut texts into the same tokens.
    pub same_tokens: bool,
}

/// Writes a model as a GGUF file: matrices in the format that is asked for, or as they come where none is (F16 then,
/// where they are not in blocks), with tokenizer and chat template.
///
/// # Errors
/// A model that cannot be read, that GGUF has no architecture for, or whose tokenizer it cannot hold; a format that is
/// not written; a disk that refuses.
pub fn to_gguf(
    model: &ModelFiles,
    format: Option<BlockFormat>,
    out: &Path,
    observer: &dyn Observer,
) -> Result<Converted> {
    if let Some(format) = format.filter(|format| !format.is_written()) {
        let known: Vec<&str> = BlockFormat::ALL.iter().filter(|f| f.is_written()).map(|f| f.name()).collect();
        let what = format!("{format} is read but not written; expected one of {}", known.join(", "));
        return Err(Error::Input { role: "format", what });
    }
    let source = io::read(model)?;
    let spec = source.spec();
    let GgufEntries { mut entries, exact } = gguf_entries(model, spec)?;
    entries.extend(format.and_then(gguf::file_type).map(|number| Entry::u32("general.file_type", number)));
    let format_of = |slot: &Slot| match (format, source.block_format(slot)) {
        (Some(format), _) => gguf::format_of(slot, spec, format),
        (None, Some(format)) => format,
        (None, None) => gguf::format_of(slot, spec, BlockFormat::F16),
    };
    let total = slots(spec).len() as u64;
    let mut done = 0;
    atomic::write_file_with(out, |file| {
        gguf::export(file, spec, &entries, format_of, |slot| {
            done += 1;
            observer.event(&Event::Progress { what: "converting", done, total, unit: "tensors" });
            source.weight(slot)
        })
        .map_err(Error::from)
    })?;
    let written = ModelFiles::open(out)?;
    let tensor_bytes = written.gguf()?.map_or(0, |gguf| gguf.tensor_bytes());
    let bytes = std::fs::metadata(out).map_err(|source| Error::Io { what: "look at", path: out.into(), source })?.len();
    let bits_per_weight = 8.0 * tensor_bytes as f64 / spec.parameters() as f64;
    Ok(Converted { bytes, bits_per_weight, same_tokens: exact })
}
