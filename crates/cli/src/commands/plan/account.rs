//! Everything that is counted for one model, and its JSON.

use luban_model::Spec;
use luban_model::plan::devices::placements;
use luban_model::plan::named::{GPT3, GPT3_TOKENS};
use luban_model::plan::scaling::{BESIROGLU, FITS};
use luban_model::plan::{
    Cluster, Flops, Parameters, Placement, ScalingFit, ServingMemory, StepMemory, TrainingMemory, TrainingSetup,
};
use luban_train::Precision as Compute;
use luban_train::memory::Step;
use serde_json::{Value, json};

use super::Options;

/// The counts for one model.
pub struct Account {
    /// What it was asked for by.
    pub name: String,
    /// The model.
    pub spec: Spec,
    /// Its parameters.
    pub parameters: Parameters,
    /// Training tokens.
    pub tokens: f64,
    /// Whether the tokens were chosen here.
    pub tokens_are_optimal: bool,
    /// Operations of a token at the setup's length.
    pub flops: Flops,
    /// What training memory is counted for.
    pub setup: TrainingSetup,
    /// Bytes of training.
    pub training: TrainingMemory,
    /// Bytes of a step of this program, at the precisions of its products, with activations kept and computed again.
    pub own_step: [(Compute, [StepMemory; 2]); 2],
    /// Bytes of serving at each precision.
    pub serving: [ServingMemory; 4],
    /// Bytes of one device.
    pub device_bytes: u64,
    /// Devices with activations kept, and with activations computed again.
    pub placements: [Vec<Placement>; 2],
    /// What each fit says.
    pub optimal: Vec<Optimal>,
}

/// What a scaling law says of a model.
pub struct Optimal {
    /// The law.
    pub fit: ScalingFit,
    /// The tokens for which this size is best.
    pub tokens: f64,
    /// The loss at the planned tokens.
    pub loss: f64,
    /// The best size and tokens for the planned compute.
    pub best: luban_model::plan::scaling::Optimum,
}

impl Account {
    /// Counts.
    pub fn of(name: String, spec: Spec, options: &Options) -> Self {
        let parameters = Parameters::of(&spec);
        let total = parameters.total() as f64;
        let published = GPT3.iter().any(|row| row.name == name).then_some(GPT3_TOKENS);
        let given = options.tokens.or(published);
        let tokens = given.unwrap_or_else(|| BESIROGLU.best_tokens(total));
        let setup = options.setup(&spec);
        let flops = Flops::per_token(&spec, setup.length);
        let place = |recompute| placements(&spec, &setup, &Cluster { device_bytes: options.memory, recompute });
        let optimal = FITS.map(|fit| Optimal {
            fit,
            tokens: fit.best_tokens(total),
            loss: fit.loss(total, tokens),
            best: fit.best_for_flops(6.0 * total * tokens),
        });
        Self {
            name,
            parameters,
            tokens,
            tokens_are_optimal: given.is_none(),
            flops,
            setup,
            training: TrainingMemory::of(&spec, &setup),
            own_step: [Compute::F32, Compute::Bf16].map(|precision| (precision, own_step(&spec, &setup, precision))),
            serving: ServingMemory::all(&spec),
            device_bytes: options.memory,
            placements: [place(false), place(true)],
            optimal: optimal.into(),
            spec,
        }
    }

    /// Training operations by the rule of six.
    pub fn training_flops(&self) -> f64 {
        Flops::rule_of_six(self.parameters.total(), self.tokens)
    }

    /// Training operations by counting products.
    pub fn counted_flops(&self) -> f64 {
        self.flops.training() * self.tokens
    }

    /// The account as one JSON document.
    pub fn json(&self) -> Value {
        let optimal = self.optimal.iter().map(|optimal| {
            json!({
                "fit": optimal.fit.name,
                "source": optimal.fit.source,
                "tokens": optimal.tokens,
                "tokens_per_parameter": optimal.tokens / self.parameters.total() as f64,
                "loss_at_tokens": optimal.loss,
                "best_parameters_for_flops": optimal.best.parameters,
                "best_tokens_for_flops": optimal.best.tokens,
            })
        });
        let placements = self.placements.each_ref().map(|placements| {
            let row = |placement: &Placement| {
                let mut row = json!(placement);
                row["formula"] = json!(placement.strategy.formula());
                row
            };
            placements.iter().map(row).collect::<Vec<_>>()
        });
        let [kept, recomputed] = placements;
        json!({
            "name": self.name,
            "spec": self.spec,
            "parameters": self.parameters.total(),
            "parameters_by_part": self.parameters,
            "tokens": self.tokens,
            "training_flops": self.training_flops(),
            "training_flops_counted": self.counted_flops(),
            "flops_per_token": {
                "length": self.setup.length,
                "forward": self.flops.forward(),
                "training": self.flops.training(),
                "forward_by_part": self.flops,
            },
            "training_setup": self.setup,
            "training_memory": self.training,
            "training_memory_total": self.training.total(false),
            "training_memory_total_recomputed": self.training.total(true),
            "own_step_memory": self.own_step.map(|(precision, [kept, recomputed])| {
                json!({ "precision": precision.name(), "activations_kept": kept, "activations_recomputed": recomputed })
            }),
            "serving_memory": self.serving,
            "compute_optimal": optimal.collect::<Vec<_>>(),
            "device_bytes": self.device_bytes,
            "devices": { "activations_kept": kept, "activations_recomputed": recomputed },
        })
    }
}

/// A step of this program, with activations kept and computed again.
fn own_step(spec: &Spec, setup: &TrainingSetup, precision: Compute) -> [StepMemory; 2] {
    let tokens = setup.sequences * setup.length;
    [false, true].map(|recompute| Step { spec, tokens, at_once: tokens, precision, recompute, lora: None }.memory())
}
