//! A model with parameters and gradients.

use std::sync::Arc;

use luban_base::random::Stream;
use luban_tensor::{Parameter, Precision, Tensor, Var, ops};

use crate::batch::Batch;
use crate::error::Error;
use crate::executor::forward;
use crate::lora::Lora;
use crate::recording::{Recording, RotaryTables, Settings, vocabulary};
use crate::spec::Spec;
use crate::weights::{ModelWeights, Role, Slot};

pub use crate::recording::{Dropout, Sample};
pub use luban_tensor::ops::LossSum;

/// Label of the random streams that initial weights come from.
const INIT: u64 = 0x1217;
/// Label of the random streams that adapters come from.
const INIT_LORA: u64 = 0x10_2A;
/// Standard deviation of initial embeddings.
const EMBEDDING_DEVIATION: f32 = 0.02;
/// Initial matrices have this over the square root of their inputs as standard deviation; at GPT-2's width that
/// is its 0.02.
const LINEAR_DEVIATION: f32 = 0.55;

/// A model in training.
#[derive(Debug)]
pub struct TrainableModel {
    weights: ModelWeights<Parameter>,
    lora: Option<Lora>,
    settings: Settings,
}

/// What a batch should predict.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// The rows of the batch whose predictions count, in ascending order.
    pub rows: &'a [usize],
    /// The token that each of them should predict.
    pub tokens: &'a [u32],
    /// What the loss of each of them is multiplied with; none for 1 everywhere.
    pub weights: &'a [f32],
    /// Factor of the gradient: one over the sum of all weights of the optimizer step, for a mean.
    pub scale: f32,
}

/// Says that a model with experts is not trained.
pub(crate) fn refuse_experts(spec: &Spec) -> Result<(), Error> {
    match &spec.experts {
        None => Ok(()),
        Some(experts) => Err(Error::Spec {
            field: "feed-forward part",
            found: format!("a choice among {} experts", experts.count),
            expected: "such models are served, and not trained".into(),
        }),
    }
}

impl TrainableModel {
    /// A model with random weights: normal, the maps that write to the residual stream scaled down by the root of
    /// twice the depth (Radford et al. 2019), norms at one, biases at zero.
    pub fn init(spec: Spec, seed: u64) -> Result<Self, Error> {
        spec.validate()?;
        let depth_scale = 1.0 / (2.0 * spec.layers as f32).sqrt();
        let mut index = 0;
        Self::from_weights(spec, |slot| {
            index += 1;
            let stream = Stream::new(seed, &[INIT, index]);
            let inputs = slot.shape.last().copied().unwrap_or(1) as f32;
            let deviation = match slot.role {
                Role::NormWeight => return Ok(vec![1.0; slot.len()]),
                Role::Bias | Role::LoraB => return Ok(vec![0.0; slot.len()]),
                Role::Embedding => EMBEDDING_DEVIATION,
                Role::Linear | Role::Router | Role::LoraA => LINEAR_DEVIATION / inputs.sqrt(),
                Role::ResidualLinear => LINEAR_DEVIATION / inputs.sqrt() * depth_scale,
            };
            Ok((0..slot.len() as u64).map(|element| stream.normal_at(element) * deviation).collect())
        })
    }

    /// A model with the weights that `read` gives for each slot.
    pub fn from_weights(spec: Spec, mut read: impl FnMut(&Slot) -> Result<Vec<f32>, Error>) -> Result<Self, Error> {
        spec.validate()?;
        refuse_experts(&spec)?;
        let weights = ModelWeights::build(&spec, |slot| {
            let values = read(slot)?;
            if values.len() != slot.len() {
                return Err(Error::Weight {
                    name: slot.name.clone(),
                    expected: format!("{:?}", slot.shape),
                    found: format!("{} values", values.len()),
                });
            }
            Ok(Parameter {
                name: slot.name.clone(),
                value: Tensor::new(&slot.shape, &values),
                grad: None,
                trainable: true,
                decay: !matches!(slot.role, Role::NormWeight | Role::Bias),
            })
        })?;
        let rotary = RotaryTables::new(&spec);
        let settings = Settings {
            spec: Arc::new(spec),
            rotary,
            precision: Precision::F32,
            lora_scale: 1.0,
            recompute: false,
            dropout: None,
        };
        Ok(Self { weights, lora: None, settings })
    }

    /// The same model with adapters, whose matrices `a` are drawn and whose matrices `b` are zero: it computes what it
    /// computed. Only they are trained from here on.
    pub fn with_lora(self, lora: Lora, seed: u64) -> Self {
        let Self { weights, settings, .. } = self;
        let spec = Arc::clone(&settings.spec);
        let mut known = weights.iter();
        let mut index = 0;
        let built: Result<_, std::convert::Infallible> = ModelWeights::build_adapted(&spec, Some(&lora), |slot| {
            let deviation = match slot.role {
                Role::LoraA => 1.0 / (slot.shape[1] as f32).sqrt(),
                Role::LoraB => 0.0,
                _ => {
                    let parameter = known.next().expect("the tree was built from the same spec");
                    let Parameter { name, value, decay, .. } = parameter;
                    let (name, value, decay) = (name.clone(), value.clone(), *decay);
                    return Ok(Parameter { name, value, grad: None, trainable: false, decay });
                }
            };
            index += 1;
            let stream = Stream::new(seed, &[INIT_LORA, index]);
            let values: Vec<f32> =
                (0..slot.len() as u64).map(|element| stream.normal_at(element) * deviation).collect();
            let value = Tensor::new(&slot.shape, &values);
            Ok(Parameter { name: slot.name.clone(), value, grad: None, trainable: true, decay: true })
        });
        let weights = built.unwrap_or_else(|never| match never {});
        let settings = Settings { lora_scale: lora.scale(), ..settings };
        Self { weights, lora: Some(lora), settings }
    }

    /// Its adapters, where it has any.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// The same model, with matrix products of another precision; a new one's are f32.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.set_precision(precision);
        self
    }

    /// Changes the precision of its matrix products.
    pub fn set_precision(&mut self, precision: Precision) {
        self.settings.precision = precision;
    }

    /// The precision of its matrix products.
    pub fn precision(&self) -> Precision {
        self.settings.precision
    }

    /// Whether backward passes compute each block again instead of keeping what it computed: less memory, more time,
    /// the same bits.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.settings.recompute = recompute;
    }

    /// What the model is.
    pub fn spec(&self) -> &Spec {
        &self.settings.spec
    }

    /// The parameters, in the order of [`crate::weights::slots`].
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.weights.iter()
    }

    /// The parameters, to change.
    pub fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter> {
        self.weights.iter_mut()
    }

    /// Forward and backward of one batch: adds the gradient of `scale` times the summed loss to each trainable
    /// parameter's, and gives the weighted sum of the losses in nats.
    ///
    /// Sums over tokens run one after another, so two calls with half the sequences each add up to the same bits
    /// as one call with all of them, but for tied tables, which two operations add to in turn.
    pub fn accumulate(&mut self, batch: &Batch, targets: &Targets<'_>) -> Result<LossSum, Error> {
        self.accumulate_dropping(batch, targets, None)
    }

    /// As [`Self::accumulate`], while elements of activations fall out.
    pub fn accumulate_dropping(
        &mut self,
        batch: &Batch,
        targets: &Targets<'_>,
        dropout: Option<Dropout>,
    ) -> Result<LossSum, Error> {
        let spec = Arc::clone(&self.settings.spec);
        check_targets(batch, targets, &spec)?;
        check_samples(batch, dropout.as_ref())?;
        let mut recording = Recording::new(Settings { dropout, ..self.settings.clone() });
        let vars = on_tape(&spec, self.lora.as_ref(), &mut self.weights, &mut recording, true);
        let hidden = forward(&spec, &vars, &mut recording, batch)?;
        let input = recording.head_input(&hidden, targets.rows, &vars.head)?;
        drop(hidden);
        let (matrix, bias) = vocabulary(&vars.head, &vars.embedding.tokens)?;
        let (loss, sum) = ops::cross_entropy(
            &mut recording.tape,
            input,
            ops::Vocabulary { matrix, bias },
            ops::Targets { tokens: targets.tokens, weights: targets.weights, scale: targets.scale },
        );
        let mut gradients = recording.tape.backward(&loss);
        for (parameter, var) in self.weights.iter_mut().zip(vars.iter()) {
            if parameter.trainable {
                parameter.grad = gradients.take(var);
            }
        }
        Ok(sum)
    }

    /// The hidden states of a batch (rows × width), without a backward pass.
    pub fn hidden(&mut self, batch: &Batch) -> Result<Tensor, Error> {
        let spec = Arc::clone(&self.settings.spec);
        let mut recording = self.unrecorded();
        let vars = on_tape(&spec, self.lora.as_ref(), &mut self.weights, &mut recording, false);
        Ok(forward(&spec, &vars, &mut recording, batch)?.into_value())
    }

    /// The logits of the given rows of a batch (rows × vocabulary), without a backward pass.
    pub fn logits(&mut self, batch: &Batch, rows: &[usize]) -> Result<Tensor, Error> {
        use crate::executor::Executor;
        let spec = Arc::clone(&self.settings.spec);
        let mut recording = self.unrecorded();
        let vars = on_tape(&spec, self.lora.as_ref(), &mut self.weights, &mut recording, false);
        let hidden = forward(&spec, &vars, &mut recording, batch)?;
        Ok(recording.head(&hidden, rows, &vars.head, &vars.embedding.tokens)?.into_value())
    }

    /// For a forward without a backward pass.
    fn unrecorded(&self) -> Recording {
        Recording::new(Settings { recompute: false, ..self.settings.clone() })
    }
}

/// The parameters as leaves of a recording; those in training bring the gradients that they have.
fn on_tape(
    spec: &Spec,
    lora: Option<&Lora>,
    weights: &mut ModelWeights<Parameter>,
    recording: &mut Recording,
    training: bool,
) -> ModelWeights<Var> {
    let mut parameters = weights.iter_mut();
    let built: Result<_, std::convert::Infallible> = ModelWeights::build_adapted(spec, lora, |_| {
        let parameter = parameters.next().expect("the tree was built from the same spec");
        let value = parameter.value.clone();
        Ok(match training && parameter.trainable {
            true => recording.tape.leaf_with_grad(value, parameter.grad.take()),
            false => recording.tape.leaf(value, false),
        })
    });
    built.unwrap_or_else(|never| match never {})
}

fn check_samples(batch: &Batch, dropout: Option<&Dropout>) -> Result<(), Error> {
    let rows = |dropout: &Dropout| dropout.samples.iter().map(|sample| sample.rows).sum::<usize>();
    match dropout.map(rows) {
        Some(rows) if rows != batch.rows() => Err(Error::Batch {
            what: "the number of rows of all samples",
            found: rows as u64,
            expected: batch.rows().to_string(),
        }),
        _ => Ok(()),
    }
}

fn check_targets(batch: &Batch, targets: &Targets<'_>, spec: &Spec) -> Result<(), Error> {
    let fail = |what, found: usize, expected: String| Err(Error::Batch { what, found: found as u64, expected });
    if targets.rows.len() != targets.tokens.len() {
        return fail(
            "the number of targets",
            targets.tokens.len(),
            format!("{}, one for each row", targets.rows.len()),
        );
    }
    if !(targets.weights.is_empty() || targets.weights.len() == targets.tokens.len()) {
        return fail("the number of weights", targets.weights.len(), format!("none, or {}", targets.tokens.len()));
    }
    if let Some(&row) = targets.rows.iter().find(|&&row| row >= batch.rows()) {
        return fail("a target's row", row, format!("rows below {}", batch.rows()));
    }
    if let Some(&token) = targets.tokens.iter().find(|&&token| token as usize >= spec.vocab) {
        return fail("a target", token as usize, format!("tokens below {}", spec.vocab));
    }
    Ok(())
}
