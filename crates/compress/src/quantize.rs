//! Quantization: the same model with fewer bits a weight.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use luban_artifact::{Artifact, ArtifactWriter, Keys, Kind, ModelFiles};
use luban_base::atomic;
use luban_base::progress::{Event, Observer};
use luban_eval::{Perplexity, PerplexityOptions, Text, perplexity};
use luban_model::io::{self, Source, WeightData};
use luban_model::weights::{self, Slot};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::format::{self, Format};
use crate::quality::{Quality, TensorError};

/// The name of the report in the artifact.
const QUALITY: &str = "quality.json";
/// Files that may stand beside a model's weights and go along with it.
const COMPANIONS: [&str; 14] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "chat_template.jinja",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "LICENSE",
    "README.md",
];
/// Fields of a configuration that no spec holds, and that go along.
const CONFIG_FIELDS: [&str; 3] = ["bos_token_id", "eos_token_id", "pad_token_id"];

/// What is asked of a quantization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct QuantizeOptions {
    /// How weights are written; see [`crate::format::registry`].
    pub format: String,
}

impl Default for QuantizeOptions {
    fn default() -> Self {
        Self { format: "int8".to_owned() }
    }
}

/// What a quantization works with.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// The model.
    pub model: &'a ModelFiles,
    /// The corpus on whose validation split both models are measured; without one, nothing is.
    pub corpus: Option<&'a Artifact>,
    /// Where the new model goes.
    pub target: &'a Path,
    /// Sign it.
    pub keys: &'a Keys,
    /// Receives progress.
    pub observer: &'a dyn Observer,
}

/// Quantizes a model and leaves it at the target, with a report of what it lost.
///
/// # Errors
/// An unknown format, a model that cannot be read or is quantized already, or a disk that refuses; whatever stood
/// at the target is then still there.
pub fn quantize(options: &QuantizeOptions, work: Work<'_>) -> Result<Artifact> {
    let format = format::by_name(&options.format)?;
    let source = io::read(work.model)?;
    let draft = Draft::write(format, &source, work)?;
    let quality = match work.corpus {
        Some(corpus) => draft.measure(&Text::of_corpus(corpus)?, work)?,
        None => draft.quality.clone(),
    };
    draft.finish(options, &quality, work)
}

/// The quantized model in a folder beside its place, so that what is measured is what was written.
struct Draft {
    artifact: Artifact,
    quality: Quality,
}

impl Draft {
    fn write(format: &dyn Format, source: &Source, work: Work<'_>) -> Result<Self> {
        let spec = source.spec();
        let writer = ArtifactWriter::create(&draft_dir(work.target), Kind::Model)?;
        let mut extra: Map<String, Value> = CONFIG_FIELDS
            .iter()
            .filter_map(|&field| Some((field.to_owned(), source.config().get(field)?.clone())))
            .collect();
        extra.insert("quantization_config".to_owned(), format.config());
        let mut tally = Tally::new(format, source, work.observer);
        let slots = weights::slots(spec);
        let mut converted = slots.iter().map(|slot| tally.convert(slot)).collect::<Result<Vec<_>>>()?.into_iter();
        io::export(&writer, source.family(), spec, extra, |_| {
            Ok(converted.next().expect("every slot of the spec was converted"))
        })?;
        copy_companions(&writer, work.model)?;
        Ok(Self { quality: tally.quality(), artifact: writer.commit(work.keys)? })
    }

    fn measure(&self, text: &Text, work: Work<'_>) -> Result<Quality> {
        let measure = |files: &ModelFiles, what: &str| -> Result<Perplexity> {
            work.observer.event(&Event::Note(&format!("measuring the perplexity of the {what} model")));
            Ok(perplexity::evaluate(files, text, &PerplexityOptions::default(), work.observer)?)
        };
        let before = measure(work.model, "original")?;
        let after = measure(&ModelFiles::open(self.artifact.dir())?, self.quality.format)?;
        Ok(self.quality.clone().measured(before, after))
    }

    /// Moves the draft's files to the target, with the report.
    fn finish(self, options: &QuantizeOptions, quality: &Quality, work: Work<'_>) -> Result<Artifact> {
        let mut writer = ArtifactWriter::create(work.target, Kind::Model)?;
        for name in self.artifact.manifest().files.keys() {
            writer.adopt(name, &self.artifact.path(name)?)?;
        }
        let report = serde_json::to_string_pretty(quality).expect("a report of plain values is always written");
        writer.write(QUALITY, format!("{report}\n").as_bytes())?;
        writer.stage("quantize").settings(serde_json::to_value(options).unwrap_or_default());
        if let Some(model) = work.model.artifact() {
            writer.input("model", model);
        }
        if let Some(corpus) = work.corpus {
            writer.input("corpus", corpus);
        }
        for (name, value) in quality.metrics() {
            writer.metric(name, value);
        }
        let artifact = writer.commit(work.keys)?;
        atomic::remove_dir(self.artifact.dir()).map_err(luban_artifact::Error::from)?;
        Ok(artifact)
    }
}

/// A hidden folder beside the target.
fn draft_dir(target: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(".draft");
    target.with_file_name(name)
}

/// Converts weight after weight, and counts.
struct Tally<'a> {
    format: &'a dyn Format,
    source: &'a Source,
    observer: &'a dyn Observer,
    slots: u64,
    parameters: u64,
    bytes_after: u64,
    tensors: Vec<TensorError>,
}

impl<'a> Tally<'a> {
    fn new(format: &'a dyn Format, source: &'a Source, observer: &'a dyn Observer) -> Self {
        Self { format, source, observer, slots: 0, parameters: 0, bytes_after: 0, tensors: Vec::new() }
    }

    fn convert(&mut self, slot: &Slot) -> Result<WeightData> {
        let path = || self.source.path().to_owned();
        let values = match self.source.weight(slot)? {
            WeightData::F32(values) => values,
            floats @ WeightData::Blocks { format, .. } if format.is_float() => floats.into_f32(),
            _ => return Err(Error::Quantized { path: path(), tensor: slot.name.clone() }),
        };
        if let Some(&found) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::NotFinite { path: path(), tensor: slot.name.clone(), found });
        }
        self.parameters += values.len() as u64;
        self.progress();
        let Some(quantized) = self.format.quantize(slot, &values) else {
            self.bytes_after += 4 * values.len() as u64;
            return Ok(WeightData::F32(values));
        };
        self.bytes_after += quantized.bytes() as u64;
        self.tensors.push(TensorError::between(&slot.name, &values, &quantized.clone().into_f32()));
        Ok(quantized)
    }

    fn progress(&mut self) {
        self.slots += 1;
        let total = weights::slots(self.source.spec()).len() as u64;
        self.observer.event(&Event::Progress { what: "quantizing", done: self.slots, total, unit: "tensors" });
    }

    fn quality(self) -> Quality {
        let bytes_before = self.source.weight_bytes();
        let after = self.bytes_after as f64;
        let largest = self.tensors.iter().max_by(|a, b| a.relative_error.total_cmp(&b.relative_error));
        Quality {
            format: self.format.name(),
            parameters: self.parameters,
            bytes_before,
            bytes_after: self.bytes_after,
            bits_per_weight: 8.0 * after / self.parameters as f64,
            compression_ratio: bytes_before as f64 / after,
            compression_ratio_to_f32: 4.0 * self.parameters as f64 / after,
            before: None,
            after: None,
            perplexity_ratio: None,
            largest_error: largest.cloned(),
            tensors: self.tensors,
        }
    }
}

fn copy_companions(writer: &ArtifactWriter, model: &ModelFiles) -> Result<()> {
    for name in COMPANIONS {
        if model.exists(name) {
            writer.write(name, &model.read(name)?)?;
        }
    }
    Ok(())
}
