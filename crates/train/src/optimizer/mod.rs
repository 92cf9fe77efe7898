//! How gradients become changes of weights: AdamW (Loshchilov and Hutter 2019), or Muon (Jordan et al. 2024) for the
//! matrices inside blocks and AdamW for the rest; the gradient clipped by its global norm (Pascanu et al. 2013).

mod memory;

use luban_kernels::optim::{self, muon};
use luban_model::training::TrainableModel;
use luban_tensor::{Buffer, Parameter, Precision};
use serde::{Deserialize, Serialize};

use crate::scaling::LossScaling;

pub use memory::{Memory, Part};

/// The constants of AdamW. Learning rates come from the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AdamWSettings {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the mean of squares.
    pub epsilon: f64,
    /// Share of itself that a matrix loses in a step of learning rate 1; biases and norms lose nothing.
    pub weight_decay: f64,
    /// A longer gradient is scaled down to this norm.
    pub clip_norm: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip_norm: 1.0 }
    }
}

/// The constants of Muon.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MuonSettings {
    /// Its learning rate over that of AdamW, at every step.
    pub times: f64,
    /// Decay of the mean of gradients.
    pub momentum: f64,
    /// Share of itself that a matrix loses in a step of (Muon's) learning rate 1.
    pub weight_decay: f64,
}

impl MuonSettings {
    /// A learning rate of `times` that of AdamW. Its steps are longer; what a matrix loses to decay in one is the same.
    pub fn new(times: f64, adamw: &AdamWSettings) -> Self {
        Self { times, momentum: MUON_MOMENTUM, weight_decay: adamw.weight_decay / times }
    }
}

/// Muon's highest learning rate, where none is given: Jordan's, with his rule for the shape of a matrix
/// ([`muon::scale`]).
pub const MUON_LEARNING_RATE: f64 = 0.02;
/// Muon's decay of the mean of gradients.
pub const MUON_MOMENTUM: f64 = 0.95;

/// Which optimizer trains the matrices inside blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// AdamW, as for everything else.
    #[default]
    Adamw,
    /// Muon.
    Muon,
}

impl Kind {
    /// Its constants, where Muon has `times` AdamW's learning rate.
    pub fn settings(self, adamw: AdamWSettings, times: f64) -> Settings {
        Settings { adamw, muon: (self == Self::Muon).then(|| MuonSettings::new(times, &adamw)) }
    }
}

/// All constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Of AdamW, and of clipping.
    pub adamw: AdamWSettings,
    /// Of Muon, where it is used.
    pub muon: Option<MuonSettings>,
}

impl From<AdamWSettings> for Settings {
    fn from(adamw: AdamWSettings) -> Self {
        Self { adamw, muon: None }
    }
}

impl Settings {
    /// What is to be remembered of a parameter before the first step.
    fn memory(&self, parameter: &Parameter) -> Memory {
        match self.muon.is_some() && is_hidden_matrix(parameter) {
            true => Memory::muon(parameter.value.len()),
            false => Memory::adamw(parameter.value.len()),
        }
    }
}

/// Whether it is a matrix inside a block: embeddings and heads are none, whose rows are told apart by tokens.
fn is_hidden_matrix(parameter: &Parameter) -> bool {
    parameter.name.starts_with("layers.") && parameter.value.shape().len() == 2
}

/// An optimizer and its state.
#[derive(Debug)]
pub struct Optimizer {
    settings: Settings,
    memories: Vec<Memory>,
    products: muon::Products,
    step: u64,
    scaling: LossScaling,
}

impl Optimizer {
    /// The state before the first step: nothing to remember of every trainable parameter, in the model's order.
    pub fn new(settings: impl Into<Settings>, model: &TrainableModel) -> Self {
        let settings = settings.into();
        let memories = trainable(model).map(|parameter| settings.memory(parameter)).collect();
        Self::restore(settings, model, memories, 0, LossScaling::of(model.precision()))
    }

    /// The state after `step` steps, those included that were skipped.
    ///
    /// # Panics
    /// If the memories do not match the model's trainable parameters.
    pub fn restore(
        settings: impl Into<Settings>,
        model: &TrainableModel,
        memories: Vec<Memory>,
        step: u64,
        scaling: LossScaling,
    ) -> Self {
        let settings = settings.into();
        let expected = trainable(model).map(|parameter| settings.memory(parameter));
        let fit = memories.len() == expected.clone().count()
            && memories.iter().zip(expected).all(|(memory, expected)| memory.is_like(&expected));
        assert!(fit, "the state of another optimizer or model was restored");
        let products = match model.precision() {
            Precision::F32 | Precision::Fp16 => muon::Products::F32,
            Precision::Bf16 | Precision::Fp8 | Precision::Fp8Tensor => muon::Products::Bf16,
        };
        Self { settings, memories, products, step: step.saturating_sub(scaling.skipped), scaling }
    }

    /// Reads the state of a model's parameters, as [`Memory::parts`] names it.
    ///
    /// # Errors
    /// Those of `read`, which gives a part of a parameter's state by name and length.
    pub fn read_memories<E>(
        settings: Settings,
        model: &TrainableModel,
        mut read: impl FnMut(&Parameter, &'static str, usize) -> Result<Vec<f32>, E>,
    ) -> Result<Vec<Memory>, E> {
        let memory =
            |parameter: &Parameter| settings.memory(parameter).filled(|part, length| read(parameter, part, length));
        trainable(model).map(memory).collect()
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// What the loss is multiplied by, and its state.
    pub fn scaling(&self) -> LossScaling {
        self.scaling
    }

    /// Notes a step whose loss or gradient is no finite number, and drops the gradients.
    pub fn skip(&mut self, model: &mut TrainableModel) {
        self.scaling.overflowed();
        model.parameters_mut().for_each(|parameter| parameter.grad = None);
    }

    /// What is remembered, one for each trainable parameter in the model's order.
    pub fn memories(&self) -> &[Memory] {
        &self.memories
    }

    /// One step with the gradients that the model holds, of the loss times [`Optimizer::scaling`]'s scale; they are used
    /// up. Gives the unscaled gradient's norm before clipping; where that is no finite number, the step is skipped:
    /// neither weights nor state change.
    ///
    /// Clipping costs no pass of its own: the norm is known first, and the update scales each gradient as it
    /// reads it.
    pub fn step(&mut self, model: &mut TrainableModel, learning_rate: f64) -> f64 {
        let norm = gradient_norm(model) / self.scaling.scale;
        if !norm.is_finite() {
            self.skip(model);
        } else {
            self.step += 1;
            let update = self.update(learning_rate, norm);
            self.scaling.succeeded();
            let parameters = model.parameters_mut().filter(|parameter| parameter.trainable);
            for (parameter, memory) in parameters.zip(&mut self.memories) {
                update.apply(parameter, memory);
            }
        }
        model.parameters_mut().for_each(|parameter| parameter.grad = None);
        norm
    }

    fn update(&self, learning_rate: f64, norm: f64) -> Update {
        let AdamWSettings { beta1, beta2, epsilon, weight_decay, clip_norm } = self.settings.adamw;
        // The scale is a power of two: undoing it rounds nothing.
        let gradient_scale = if norm > clip_norm { (clip_norm / norm) as f32 } else { 1.0 } / self.scaling.scale as f32;
        let adamw = optim::AdamW {
            learning_rate: learning_rate as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            epsilon: epsilon as f32,
            weight_decay: weight_decay as f32,
            step: self.step,
            gradient_scale,
        };
        Update { adamw, muon: self.settings.muon, learning_rate, products: self.products }
    }
}

/// One step's change, for every parameter.
struct Update {
    adamw: optim::AdamW,
    muon: Option<MuonSettings>,
    learning_rate: f64,
    products: muon::Products,
}

impl Update {
    fn apply(&self, parameter: &mut Parameter, memory: &mut Memory) {
        // A parameter that no target depended on keeps its value, and its state does not age.
        let Some(gradient) = parameter.grad.take() else { return };
        let weight_decay = if parameter.decay { self.adamw.weight_decay } else { 0.0 };
        match (memory, self.muon) {
            (Memory::AdamW { first, second }, _) => {
                let options = optim::AdamW { weight_decay, ..self.adamw };
                optim::adamw(&options, parameter.value_mut(), &gradient, first, second);
            }
            (Memory::Muon { momentum }, Some(settings)) => self.turn(parameter, &gradient, momentum, settings),
            (Memory::Muon { .. }, None) => unreachable!("only Muon leaves a momentum"),
        }
    }

    /// Moves a matrix by its momentum, made orthogonal.
    fn turn(&self, parameter: &mut Parameter, gradient: &[f32], momentum: &mut [f32], settings: MuonSettings) {
        let &[rows, columns] = parameter.value.shape() else { unreachable!("Muon is for matrices") };
        let shape = [rows, columns];
        let learning_rate = self.learning_rate * settings.times;
        let mut update = Buffer::scratch(gradient.len());
        let mut scratch = Buffer::scratch(muon::scratch_len(shape));
        muon::momentum(momentum, gradient, [settings.momentum as f32, self.adamw.gradient_scale], &mut update);
        muon::orthogonalize(&mut update, shape, self.products, &mut scratch);
        let kept = 1.0 - learning_rate * settings.weight_decay;
        let length = learning_rate * muon::scale(shape);
        luban_kernels::elementwise::mix(parameter.value_mut(), kept as f32, &update, -length as f32);
    }
}

fn gradient_norm(model: &TrainableModel) -> f64 {
    let gradients = trainable(model).filter_map(|parameter| parameter.grad.as_deref());
    gradients.map(optim::sum_of_squares).sum::<f64>().sqrt()
}

/// The parameters that something is remembered of.
pub fn trainable(model: &TrainableModel) -> impl Iterator<Item = &Parameter> + Clone {
    let parameters: Vec<&Parameter> = model.parameters().filter(|parameter| parameter.trainable).collect();
    parameters.into_iter()
}
