//! The model artifact that a run leaves.

use std::path::Path;

use luban_artifact::{Artifact, ArtifactWriter, Keys, Kind};
use luban_model::families::Family;
use luban_model::io::{self, WeightData};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::inputs::Materials;
use crate::monitor::{HeldOut, Score};
use crate::record::REPORT;
use crate::state::TrainState;

/// What is written.
pub struct Trained<'a> {
    /// The state after the last step.
    pub state: &'a TrainState,
    /// What it was made from; the tokenizer's files go into the artifact.
    pub materials: Materials<'a>,
    /// Where the artifact goes.
    pub target: &'a Path,
    /// Sign it.
    pub keys: &'a Keys,
    /// What came of it, as [`metrics`] gives it.
    pub metrics: Map<String, Value>,
    /// The report of the run, if there is one.
    pub report: Option<String>,
    /// The token that ends a text.
    pub eos: Option<u32>,
}

/// Writes the artifact in Hugging Face's layout.
///
/// # Errors
/// If no family can hold the model, or the disk refuses.
pub fn write(trained: Trained<'_>) -> Result<Artifact> {
    let Trained { state, materials: Materials { corpus, mix, tokenizer }, target, keys, .. } = trained;
    let spec = &state.plan.spec;
    let given = state.plan.family.as_deref().and_then(Family::named).filter(|family| family.holds(spec));
    let family = given.or_else(|| Family::for_spec(spec)).ok_or_else(|| Error::Setting {
        name: "objective",
        found: state.plan.objective.clone(),
        expected: "one whose model a known family can hold".to_owned(),
    })?;
    let mut writer = ArtifactWriter::create(target, Kind::Model)?;
    let mut parameters = state.model.parameters();
    io::export(&writer, family, spec, special_tokens(trained.eos), |_| {
        let parameter = parameters.next().expect("the model was built from the same spec");
        Ok(WeightData::F32(parameter.value.to_vec()))
    })?;
    for name in tokenizer.manifest().files.keys() {
        writer.write(name, &tokenizer.read(name)?)?;
    }
    writer.write("generation_config.json", &generation_config(trained.eos))?;
    writer.stage("pretrain").input("corpus", corpus).input("tokenizer", tokenizer);
    for corpus in mix {
        writer.input("mix", corpus);
    }
    writer.settings(serde_json::to_value(&state.identity.options).unwrap_or_default());
    if let Some(report) = &trained.report {
        writer.write(REPORT, report.as_bytes())?;
    }
    for (name, value) in trained.metrics {
        writer.metric(&name, value);
    }
    Ok(writer.commit(keys)?)
}

/// The fields of configurations that name special tokens: one token stands before, between and after documents.
fn special_tokens(eos: Option<u32>) -> Map<String, Value> {
    let names = ["bos_token_id", "eos_token_id", "pad_token_id"];
    names.into_iter().filter_map(|name| Some((name.to_owned(), json!(eos?)))).collect()
}

fn generation_config(eos: Option<u32>) -> Vec<u8> {
    let mut config = special_tokens(eos);
    config.insert("do_sample".to_owned(), json!(true));
    format!("{:#}\n", Value::Object(config)).into_bytes()
}

/// What came of the run, and the plan, which has everything that another program needs to repeat it.
pub fn metrics(state: &TrainState, validation: Option<(&Score, &HeldOut)>) -> Map<String, Value> {
    let TrainState { plan, progress, .. } = state;
    let tokens_per_second = progress.tokens as f64 / progress.seconds.max(1e-9);
    let mut metrics = vec![
        ("parameters", json!(plan.spec.parameters())),
        ("steps", json!(progress.step)),
        ("tokens", json!(progress.tokens)),
        ("epochs_begun", json!(progress.position.epochs().next().map_or(0, |epoch| epoch + 1))),
        ("seconds", json!(progress.seconds)),
        ("tokens_per_second", json!(tokens_per_second)),
        ("gflops", json!(tokens_per_second * plan.flops_per_token() / 1e9)),
        ("train_loss", json!(progress.loss)),
        ("plan", serde_json::to_value(plan).unwrap_or_default()),
    ];
    if let Some((score, held_out)) = validation {
        metrics.extend([
            ("validation_loss", json!(score.loss)),
            ("validation_accuracy", json!(score.accuracy)),
            ("perplexity", json!(score.perplexity)),
            ("bits_per_byte", json!(score.bits_per_byte)),
            ("validation_tokens", json!(held_out.tokens())),
            ("validation_bytes", json!(held_out.bytes())),
        ]);
    }
    let mut metrics: Map<String, Value> = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for (mixed, epoch) in plan.mix.iter().zip(progress.position.epochs().skip(1)) {
        metrics.insert(format!("epochs_begun_{}", mixed.name), json!(epoch + 1));
    }
    for (name, loss) in validation.iter().flat_map(|(score, _)| &score.parts) {
        metrics.insert(format!("validation_loss_{name}"), json!(loss));
    }
    metrics
}
