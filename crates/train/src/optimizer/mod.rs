//! How gradients become changes of weights: AdamW (Loshchilov and Hutter 2019), or Muon (Jordan et al. 2024) for the
//! matrices inside blocks and AdamW for the rest; the gradient clipped by its global norm (Pascanu et al. 2013).

mod memory;
mod settings;

use luban_base::random::Stream;
use luban_kernels::optim::{self, blocks, muon};
use luban_model::training::TrainableModel;
use luban_tensor::{Buffer, Parameter, Precision};

use crate::scaling::LossScaling;

pub use memory::{Memory, Part, Source, Values};
pub use settings::{
    AdamWSettings, BITS8_LENGTH_MIN, Kind, MUON_LEARNING_RATE, MUON_MOMENTUM, MuonSettings, Settings, States,
};

/// Label of the random streams that states in 8 bits are rounded by.
const ROUNDING: u64 = 0x8b17;

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
            Precision::Bf16 | Precision::Fp8 | Precision::Fp8Tensor | Precision::Int8 => muon::Products::Bf16,
        };
        Self { settings, memories, products, step: step.saturating_sub(scaling.skipped), scaling }
    }

    /// The state of a model's parameters, each from the source that `of` gives for it.
    ///
    /// # Errors
    /// Those of the source.
    pub fn read_memories<'m, S: Source>(
        settings: Settings,
        model: &'m TrainableModel,
        mut of: impl FnMut(&'m Parameter) -> S,
    ) -> Result<Vec<Memory>, S::Error> {
        trainable(model).map(|parameter| settings.memory(parameter).filled(&mut of(parameter))).collect()
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
            for (index, (parameter, memory)) in parameters.zip(&mut self.memories).enumerate() {
                update.apply(index as u64, parameter, memory);
            }
        }
        model.parameters_mut().for_each(|parameter| parameter.grad = None);
        norm
    }

    fn update(&self, learning_rate: f64, norm: f64) -> Update {
        let Settings { adamw, muon, seed, .. } = self.settings;
        let AdamWSettings { beta1, beta2, epsilon, weight_decay, clip_norm } = adamw;
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
        let rounding = Stream::new(seed, &[ROUNDING, self.step]);
        Update { adamw, muon, learning_rate, products: self.products, rounding }
    }
}

/// One step's change, for every parameter.
struct Update {
    adamw: optim::AdamW,
    muon: Option<MuonSettings>,
    learning_rate: f64,
    products: muon::Products,
    rounding: Stream,
}

impl Update {
    /// Changes the parameter of this number.
    fn apply(&self, index: u64, parameter: &mut Parameter, memory: &mut Memory) {
        // A parameter that no target depended on keeps its value, and its state does not age.
        let Some(gradient) = parameter.grad.take() else { return };
        let weight_decay = if parameter.decay { self.adamw.weight_decay } else { 0.0 };
        let options = optim::AdamW { weight_decay, ..self.adamw };
        let draws = blocks::Draws { key: self.rounding.key(), path: self.rounding.child(index).path() };
        match memory {
            Memory::AdamW { first, second } => {
                optim::adamw(&options, parameter.value_mut(), &gradient, first, second);
            }
            Memory::AdamW8 { first, second } => {
                blocks::adamw(&options, draws, parameter.value_mut(), &gradient, [first, second]);
            }
            Memory::Muon { momentum } => {
                self.turn(parameter, |factors, update| muon::momentum(momentum, &gradient, factors, update));
            }
            Memory::Muon8 { momentum } => {
                self.turn(parameter, |factors, update| blocks::momentum(momentum, &gradient, factors, draws, update));
            }
        }
    }

    /// Moves a matrix by its momentum, made orthogonal; `momentum` gives it for the decay and the gradient's scale.
    fn turn(&self, parameter: &mut Parameter, momentum: impl FnOnce([f32; 2], &mut [f32])) {
        let Some(settings) = self.muon else { unreachable!("only Muon leaves a momentum") };
        let &[rows, columns] = parameter.value.shape() else { unreachable!("Muon is for matrices") };
        let shape = [rows, columns];
        let learning_rate = self.learning_rate * settings.times;
        let mut update = Buffer::scratch(rows * columns);
        let mut scratch = Buffer::scratch(muon::scratch_len(shape));
        momentum([settings.momentum as f32, self.adamw.gradient_scale], &mut update);
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
