//! The whole of what a resume needs, and its checkpoints.
//!
//! A checkpoint is an artifact of two files: `state.json` (what was asked, the plan, how far the run is) and
//! `state.safetensors` (weights and what the optimizer remembers, bit for bit). The number of threads is not part of it: the kernels give
//! the same bits with any.

use luban_artifact::safetensors::{Dtype, TensorSpec, Weights, write_f32, write_streaming};
use luban_artifact::{Artifact, ArtifactWriter, Digest};
use luban_data::loader::Position;
use luban_model::training::TrainableModel;
use luban_tensor::Parameter;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::guards::Guards;
use crate::optimizer::{Optimizer, trainable};
use crate::scaling::LossScaling;
use crate::settings::{Plan, PretrainOptions};

/// Format of `state.json`.
const FORMAT: u32 = 2;
const STATE: &str = "state.json";
const TENSORS: &str = "state.safetensors";
/// How much of the smoothed loss one step replaces.
const SMOOTHING: f64 = 0.02;

/// What decides a run's result, beside the measured part of its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// What was asked.
    pub options: PretrainOptions,
    /// The corpus.
    pub corpus: Digest,
    /// The tokenizer.
    pub tokenizer: Digest,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Where the loader goes on.
    pub position: Position,
    /// Tokens trained on.
    pub tokens: u64,
    /// Seconds of all steps so far.
    pub seconds: f64,
    /// The training loss, smoothed over the last steps.
    pub loss: Option<f64>,
    /// What guards the run remember.
    #[serde(default)]
    pub guards: Guards,
}

impl Progress {
    /// Before the first step.
    pub fn start(position: Position) -> Self {
        Self { step: 0, position, tokens: 0, seconds: 0.0, loss: None, guards: Guards::default() }
    }

    /// Counts a step.
    pub fn advance(&mut self, loss: f64, tokens: u64, seconds: f64, position: Position) {
        self.step += 1;
        self.tokens += tokens;
        self.seconds += seconds;
        self.position = position;
        // A step that was skipped may have no loss.
        if !loss.is_finite() {
            return;
        }
        // The mean of all losses at first, so that the very first one does not weigh for long.
        let weight = SMOOTHING.max(1.0 / self.step as f64);
        self.loss = Some(self.loss.map_or(loss, |smoothed| smoothed + weight * (loss - smoothed)));
    }
}

/// The whole of what a resume needs.
#[derive(Debug)]
pub struct TrainState {
    /// What decides the result.
    pub identity: Identity,
    /// What follows from it, and from the machine's speed when the run began.
    pub plan: Plan,
    /// How far the run is.
    pub progress: Progress,
    /// The weights.
    pub model: TrainableModel,
    /// The optimizer, with what it remembers.
    pub optimizer: Optimizer,
}

/// `state.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    identity: Identity,
    plan: Plan,
    progress: Progress,
    #[serde(default)]
    scaling: LossScaling,
}

impl TrainState {
    /// The state before the first step.
    ///
    /// # Errors
    /// If there can be no such model.
    pub fn start(identity: Identity, plan: Plan, position: Position) -> Result<Self> {
        let model = TrainableModel::init(plan.spec.clone(), plan.seed)?.with_precision(plan.precision);
        let optimizer = Optimizer::new(plan.optimizer_settings(), &model);
        Ok(Self { identity, plan, progress: Progress::start(position), model, optimizer })
    }

    /// Whether every step is done, or there is nothing more to learn.
    pub fn is_complete(&self) -> bool {
        self.progress.step >= self.plan.schedule.steps || self.progress.guards.stopped
    }

    /// Writes the files of a checkpoint.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, writer: &mut ArtifactWriter) -> luban_artifact::Result<()> {
        let Self { identity, plan, progress, .. } = self;
        let record = Record {
            format: FORMAT,
            identity: identity.clone(),
            plan: plan.clone(),
            progress: progress.clone(),
            scaling: self.optimizer.scaling(),
        };
        let json = serde_json::to_vec_pretty(&record).expect("a record of plain values is always written");
        writer.write(STATE, &json)?;
        let tensors = self.tensors();
        let specs: Vec<TensorSpec> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
        let mut file = writer.file(TENSORS)?;
        write_streaming(&mut file, &specs, &[], |spec, out| {
            let found = tensors.iter().find(|(known, _)| known.name == spec.name);
            let values = found.map_or(&[][..], |(_, values)| values);
            write_f32(out, values).map_err(|source| luban_artifact::Error::Io {
                what: "write",
                path: TENSORS.into(),
                source,
            })
        })?;
        file.finish()?;
        Ok(())
    }

    /// Every weight and moment with its name.
    fn tensors(&self) -> Vec<(TensorSpec, &[f32])> {
        let spec = |kind: &str, parameter: &Parameter| {
            TensorSpec::new(format!("{kind}.{}", parameter.name), Dtype::F32, parameter.value.shape())
        };
        let weights = self.model.parameters().map(|parameter| (spec("weight", parameter), &*parameter.value));
        let memories = trainable(&self.model).zip(self.optimizer.memories()).flat_map(|(parameter, memory)| {
            memory.parts().into_iter().map(move |part| (spec(part.name, parameter), part.values))
        });
        weights.chain(memories).collect()
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// If it is damaged, or not what this version writes.
    pub fn read(checkpoint: &Artifact) -> Result<Self> {
        let Record { identity, plan, progress, scaling, .. } = read_record(checkpoint)?;
        let fail = |why: String| Error::Checkpoint { path: checkpoint.dir().to_owned(), why };
        let weights = Weights::open_named(checkpoint.map(TENSORS)?, &checkpoint.path(TENSORS)?)?;
        let model = TrainableModel::from_weights(plan.spec.clone(), |slot| {
            Ok(weights.to_f32(&format!("weight.{}", slot.name))?)
        })?
        .with_precision(plan.precision);
        let settings = plan.optimizer_settings();
        let memories = Optimizer::read_memories(settings, &model, |parameter, part, length| {
            let name = format!("{part}.{}", parameter.name);
            let values = weights.to_f32(&name)?;
            match values.len() == length {
                true => Ok(values),
                false => Err(fail(format!("{name} has {} values, expected {length}", values.len()))),
            }
        })?;
        let optimizer = Optimizer::restore(settings, &model, memories, progress.step, scaling);
        Ok(Self { identity, plan, progress, model, optimizer })
    }
}

fn read_record(checkpoint: &Artifact) -> Result<Record> {
    let fail = |why: String| Error::Checkpoint { path: checkpoint.dir().to_owned(), why };
    let record: Record =
        serde_json::from_slice(&checkpoint.read(STATE)?).map_err(|error| fail(format!("{STATE}: {error}")))?;
    if record.format != FORMAT {
        return Err(fail(format!("{STATE} has format {}, this version reads {FORMAT}", record.format)));
    }
    let scaling = record.scaling;
    let scales = scaling.dynamic == record.plan.precision.scales_loss();
    if !scales || !scaling.is_possible() || scaling.skipped > record.progress.step {
        return Err(fail(format!("{STATE} holds an impossible scale of the loss: {scaling:?}")));
    }
    let Plan { sequences, sequences_at_once, context, .. } = record.plan;
    if sequences == 0 || sequences_at_once == 0 || context == 0 || record.progress.step > record.plan.schedule.steps {
        return Err(fail(format!("{STATE} holds an impossible plan")));
    }
    Ok(record)
}

impl Identity {
    /// The first thing in which two runs differ: what it is, what it is here and there.
    pub fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let json = |options: &PretrainOptions| serde_json::to_value(options).unwrap_or_default();
        let (ours, theirs) = (json(&self.options), json(&other.options));
        let keys = ours.as_object().into_iter().flat_map(|map| map.keys());
        for key in keys {
            if ours[key] != theirs[key] {
                return Some((key.clone(), ours[key].to_string(), theirs[key].to_string()));
            }
        }
        let digests = [("corpus", self.corpus, other.corpus), ("tokenizer", self.tokenizer, other.tokenizer)];
        let short = |digest: Digest| digest.to_string()[..12].to_owned();
        let differs = digests.into_iter().find(|(_, ours, theirs)| ours != theirs);
        differs.map(|(what, ours, theirs)| (what.to_owned(), short(ours), short(theirs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let digest = |byte| Digest([byte; 32]);
        let identity = Identity { options: PretrainOptions::default(), corpus: digest(1), tokenizer: digest(2) };
        assert_eq!(identity.difference(&identity.clone()), None);
        let seed = Identity { options: PretrainOptions { seed: 7, ..Default::default() }, ..identity.clone() };
        assert_eq!(identity.difference(&seed), Some(("seed".into(), "0".into(), "7".into())));
        let corpus = Identity { corpus: digest(3), ..identity.clone() };
        let (what, ours, theirs) = identity.difference(&corpus).unwrap();
        assert_eq!((&*what, &*ours, &*theirs), ("corpus", "010101010101", "030303030303"));
        // What does not change the result does not count.
        let options = PretrainOptions { checkpoint_every: Some(3), fresh: true, ..Default::default() };
        assert_eq!(identity.difference(&Identity { options, ..identity.clone() }), None);
    }

    #[test]
    fn progress_of_earlier_versions_reads() {
        let mut json = serde_json::to_value(Progress::start(Position::default())).unwrap();
        json.as_object_mut().unwrap().remove("guards");
        assert_eq!(serde_json::from_value::<Progress>(json).unwrap(), Progress::start(Position::default()));
    }
}
