//! `luban plan`: the accounting of scale.

mod account;
mod gpt3;
mod text;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use luban_flow::nearest::hint;
use luban_flow::stages;
use luban_model::Spec;
use luban_model::families;
use luban_model::plan::memory::StateBytes;
use luban_model::plan::named::{self, NAMED};
use luban_model::plan::{Parameters, Precision, TrainingSetup};
use luban_train::optimizer::States;

use crate::args::Global;
use crate::format::{parse_bytes, parse_count, table};
use crate::output::{self, Failure, Outcome};
use account::Account;

/// Longest `config.json` that is read.
const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// Account for scale: parameters, operations, memory, devices
///
/// Everything follows from the shape of the model by counting; nothing is run or measured.
#[derive(Args, Debug)]
pub struct Options {
    /// A model known by name, a folder with a config.json, or gpt3 for the eight rows of GPT-3's tables; the names are
    /// listed when left out
    #[arg(value_name = "NAME", conflicts_with = "config")]
    pub model: Option<String>,
    /// A Hugging Face config.json, or a folder with one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Training tokens, such as 300e9; the compute-optimal number when not given (300e9 for GPT-3)
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub tokens: Option<f64>,
    /// Memory of one device
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "80GB")]
    pub memory: u64,
    /// Tokens of a training sequence; the context when not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub length: Option<u32>,
    /// Training sequences that go through a device at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// How weights, gradients, moments and activations are kept in training
    #[arg(long, value_enum, default_value_t = TrainingPrecision::Mixed)]
    pub precision: TrainingPrecision,
    /// What the optimizer's moments are kept in: f32 (or bf16, with --precision bf16), or 8bit
    #[arg(long, value_name = "NAME", default_value = "f32", value_parser = stages::word::<States>)]
    pub optimizer_states: States,
}

/// How numbers are kept in training.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TrainingPrecision {
    /// Everything in f32
    F32,
    /// bf16 weights, gradients and activations; f32 masters and moments
    Mixed,
    /// Everything in bf16
    Bf16,
}

/// Prints the plan.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let (name, spec) = match (&options.model, &options.config) {
        (None, None) => return list(global),
        (Some(name), _) if name == "gpt3" => return gpt3::run(options.tokens, global),
        (Some(path), _) if Path::new(path).exists() => (path.clone(), from_config(Path::new(path))?),
        (Some(name), _) => (name.clone(), known(name)?),
        (None, Some(path)) => (path.display().to_string(), from_config(path)?),
    };
    let account = Account::of(name, spec, options);
    match global.json {
        true => output::json(&account.json()),
        false => output::text(&text::render(&account)),
    }
}

impl Options {
    /// What the memory of training is counted for.
    fn setup(&self, spec: &Spec) -> TrainingSetup {
        let (state, activations) = match self.precision {
            TrainingPrecision::F32 => (StateBytes::F32, Precision::F32),
            TrainingPrecision::Mixed => (StateBytes::MIXED, Precision::Bf16),
            TrainingPrecision::Bf16 => (StateBytes::BF16, Precision::Bf16),
        };
        let state = match self.optimizer_states {
            States::F32 => state,
            States::Bits8 => state.with_moments_in_8_bits(),
        };
        let length = self.length.map_or(spec.context, |length| length as usize);
        TrainingSetup { sequences: self.batch as usize, length, state, activations }
    }
}

fn known(name: &str) -> Outcome<Spec> {
    named::find(name).map(|named| named.spec()).ok_or_else(|| {
        let names = ["gpt3"].into_iter().chain(NAMED.iter().map(|named| named.name));
        Failure::new(format!("no model is known as '{name}'{}", hint(name, names)))
            .with_advice("`luban plan` lists the names; --config takes any config.json")
    })
}

fn from_config(path: &Path) -> Outcome<Spec> {
    let path = if path.is_dir() { path.join("config.json") } else { path.to_path_buf() };
    let text = super::read_text(&path, CONFIG_BYTES_MAX)?;
    let (_, spec, _) = families::read_config(text.as_bytes())?;
    Ok(spec)
}

fn list(global: &Global) -> Outcome {
    let counted = NAMED.map(|named| (named, Parameters::of(&named.spec()).total()));
    if global.json {
        let models = counted.map(|(named, parameters)| {
            serde_json::json!({"name": named.name, "about": named.about, "parameters": parameters})
        });
        return output::json(&serde_json::json!({ "models": models }));
    }
    let mut rows = vec![vec!["gpt3".to_owned(), String::new(), "all eight rows of GPT-3's tables".to_owned()]];
    rows.extend(counted.map(|(named, parameters)| {
        vec![named.name.to_owned(), crate::format::count(parameters as f64), named.about.to_owned()]
    }));
    output::text(&table("lrl", &rows))
}
