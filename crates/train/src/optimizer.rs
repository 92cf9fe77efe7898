//! AdamW (Loshchilov and Hutter 2019) with the gradient clipped by its global norm (Pascanu et al. 2013).

use luban_kernels::optim;
use luban_model::training::TrainableModel;
use luban_tensor::{Buffer, Parameter};
use serde::{Deserialize, Serialize};

use crate::scaling::LossScaling;

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

/// The running means of one parameter's gradient.
#[derive(Debug)]
pub struct Moments {
    /// Of the gradient.
    pub first: Buffer,
    /// Of its square.
    pub second: Buffer,
}

/// AdamW and its state.
#[derive(Debug)]
pub struct AdamW {
    settings: AdamWSettings,
    moments: Vec<Moments>,
    step: u64,
    scaling: LossScaling,
}

impl AdamW {
    /// The state before the first step: zero moments for every trainable parameter, in the model's order.
    pub fn new(settings: AdamWSettings, model: &TrainableModel) -> Self {
        let zeros = |parameter: &Parameter| Moments {
            first: Buffer::zeroed(parameter.value.len()),
            second: Buffer::zeroed(parameter.value.len()),
        };
        Self {
            settings,
            moments: trainable(model).map(zeros).collect(),
            step: 0,
            scaling: LossScaling::of(model.precision()),
        }
    }

    /// The state after `step` steps, those included that were skipped.
    ///
    /// # Panics
    /// If the moments do not match the model's trainable parameters.
    pub fn restore(
        settings: AdamWSettings,
        model: &TrainableModel,
        moments: Vec<Moments>,
        step: u64,
        scaling: LossScaling,
    ) -> Self {
        let lengths = trainable(model).map(|parameter| parameter.value.len());
        let fit = moments.iter().map(|moments| moments.first.len()).eq(lengths.clone())
            && moments.iter().map(|moments| moments.second.len()).eq(lengths);
        assert!(fit, "moments of another model were restored");
        Self { settings, moments, step: step.saturating_sub(scaling.skipped), scaling }
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

    /// The moments, one for each trainable parameter in the model's order.
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// One step with the gradients that the model holds, of the loss times [`AdamW::scaling`]'s scale; they are used
    /// up. Gives the unscaled gradient's norm before clipping; where that is no finite number, the step is skipped:
    /// neither weights nor moments change.
    ///
    /// Clipping costs no pass of its own: the norm is known first, and the update scales each gradient as it
    /// reads it.
    pub fn step(&mut self, model: &mut TrainableModel, learning_rate: f64) -> f64 {
        let norm = gradient_norm(model) / self.scaling.scale;
        if !norm.is_finite() {
            self.skip(model);
        } else {
            self.step += 1;
            let settings = self.update(learning_rate, norm);
            self.scaling.succeeded();
            let parameters = model.parameters_mut().filter(|parameter| parameter.trainable);
            for (parameter, moments) in parameters.zip(&mut self.moments) {
                apply(parameter, moments, settings);
            }
        }
        model.parameters_mut().for_each(|parameter| parameter.grad = None);
        norm
    }

    fn update(&self, learning_rate: f64, norm: f64) -> optim::AdamW {
        let AdamWSettings { beta1, beta2, epsilon, weight_decay, clip_norm } = self.settings;
        optim::AdamW {
            learning_rate: learning_rate as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            epsilon: epsilon as f32,
            weight_decay: weight_decay as f32,
            step: self.step,
            // The scale is a power of two: undoing it rounds nothing.
            gradient_scale: if norm > clip_norm { (clip_norm / norm) as f32 } else { 1.0 } / self.scaling.scale as f32,
        }
    }
}

fn apply(parameter: &mut Parameter, moments: &mut Moments, settings: optim::AdamW) {
    let weight_decay = if parameter.decay { settings.weight_decay } else { 0.0 };
    // A parameter that no target depended on keeps its value, and its moments do not age.
    let Some(gradient) = parameter.grad.take() else { return };
    let settings = optim::AdamW { weight_decay, ..settings };
    optim::adamw(&settings, parameter.value_mut(), &gradient, &mut moments.first, &mut moments.second);
}

fn gradient_norm(model: &TrainableModel) -> f64 {
    let gradients = trainable(model).filter_map(|parameter| parameter.grad.as_deref());
    gradients.map(optim::sum_of_squares).sum::<f64>().sqrt()
}

/// The parameters that have moments.
pub fn trainable(model: &TrainableModel) -> impl Iterator<Item = &Parameter> + Clone {
    let parameters: Vec<&Parameter> = model.parameters().filter(|parameter| parameter.trainable).collect();
    parameters.into_iter()
}
