//! How the size of a model, its batch and its steps follow from the time there is.
//!
//! With `speed` floating-point operations a second and `minutes`, the budget is C = speed · 60 · minutes. Training
//! costs about 6 operations a parameter and token (Kaplan et al. 2020), so with D = r · N tokens for N parameters
//! N = √(C / 6r). Chinchilla's r is 20 (Hoffmann et al. 2022); it is for runs of many days. Runs of minutes are far
//! from it: the loss falls fastest at the start, and a model of a few million parameters learns more from a token
//! than a smaller one, so [`TOKENS_PER_PARAMETER`] is far lower here.
//!
//! Small steps, many of them: on Rust sources, 2.2 million parameters and 0.8 million tokens ended at 2.58 bits a byte
//! with 4096 tokens a step, at 2.41 with 2048, at 2.33 with 1024, each at the best learning rate tried.

mod probe;

use luban_data::loader::STRATA_MAX;
use luban_model::Spec;
use luban_model::spec::{Head, Position};
use luban_tensor::Precision;

use crate::error::{Error, Result};
use crate::optimizer::{AdamWSettings, MUON_LEARNING_RATE, MuonSettings};
use crate::schedule::Schedule;
use crate::settings::{BATCH_TOKENS_MAX, Plan, PretrainOptions};

pub use probe::{Machine, Speedometer, random_examples};

/// Tokens for each parameter, in runs of minutes: 2 · 10^13 operations go to 2.2 million parameters.
pub const TOKENS_PER_PARAMETER: f64 = 0.69;
/// Tokens of a sequence.
pub const CONTEXT: usize = 256;
/// Tokens of a step for a model of [`BATCH_PARAMETERS`]; it grows with the cube root of the parameters.
pub const BATCH_TOKENS: f64 = 1024.0;
/// See [`BATCH_TOKENS`].
pub const BATCH_PARAMETERS: f64 = 2.2e6;
/// The least and the most tokens of a step that are chosen.
pub const BATCH_TOKENS_BOUNDS: (f64, f64) = (512.0, 16384.0);
/// Peak learning rate at width 128; it falls with the square root of the width.
pub const LEARNING_RATE_AT_128: f64 = 2.5e-3;
/// The least and the greatest learning rate that are chosen.
pub const LEARNING_RATE_BOUNDS: (f64, f64) = (3e-4, 4e-3);
/// The last learning rate, as a share of the peak.
pub const LEARNING_RATE_FLOOR: f64 = 0.05;
/// Share of the steps that the warm-up takes.
pub const WARMUP_SHARE: f64 = 0.05;
/// The longest warm-up that is chosen, in steps.
pub const WARMUP_STEPS_MAX: u64 = 2000;
/// Rows of activations that are alive at once; more are done in parts, whose gradients are added up.
pub const ROWS_AT_ONCE: usize = 4096;
/// Sequences within which the loader shuffles where it reads documents whole: wide, so that neighbours come apart.
pub const SHUFFLE_SEQUENCES: usize = 16_384;
/// The same where it reads pieces of all documents: few, as these are mixed already, and the first step waits for them.
pub const SHUFFLE_SEQUENCES_OF_STRATA: usize = 2048;
/// Bytes of a corpus file that a token stands for, roughly, with a small vocabulary.
pub const BYTES_PER_TOKEN: f64 = 3.0;
/// Share of the minutes that goes to the steps themselves; the rest is for reading, validation and samples.
pub const STEPS_SHARE: f64 = 0.95;
/// Fewest steps of a run that is planned by minutes.
pub const STEPS_MIN: u64 = 10;

/// Shapes that train well, small to large: width and layers.
const LADDER: [(usize, usize); 21] = [
    (64, 2),
    (64, 4),
    (128, 3),
    (128, 4),
    (128, 6),
    (192, 4),
    (192, 5),
    (192, 6),
    (256, 5),
    (256, 6),
    (256, 8),
    (320, 8),
    (384, 8),
    (448, 9),
    (512, 10),
    (576, 12),
    (640, 12),
    (768, 12),
    (896, 14),
    (1024, 16),
    (1280, 20),
];

/// A plan, and why it is so.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The plan.
    pub plan: Plan,
    /// Sentences for the person who started the run.
    pub notes: Vec<String>,
    /// Seconds of one step as measured; `None` if the number of steps was given.
    pub step_s: Option<f64>,
}

/// What a plan is for.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Entries of the vocabulary.
    pub vocab: usize,
    /// Whether the objective wants a causal model.
    pub causal: bool,
    /// Bytes of the training side's file.
    pub corpus_bytes: u64,
}

/// Plans a run.
///
/// # Errors
/// If an option is out of bounds, the shape is impossible, or a measurement fails.
pub fn choose(options: &PretrainOptions, task: Task, machine: &mut dyn Speedometer) -> Result<Choice> {
    options.validate()?;
    let mut notes = Vec::new();
    let precision = options.precision.unwrap_or_else(Precision::of_this_machine);
    let spec = match &options.config {
        Some(blueprint) => blueprint.spec_for(task.vocab, task.causal)?,
        None => {
            let (width, layers) = choose_shape(options, task, machine, precision, &mut notes)?;
            spec(options, task, width, layers)?
        }
    };
    let (context, sequences) = choose_batch(options, &spec)?;
    let mut plan = Plan {
        objective: options.objective.clone(),
        objective_settings: options.objective_settings(),
        precision,
        context,
        sequences,
        sequences_at_once: options.at_once.unwrap_or(ROWS_AT_ONCE / context).clamp(1, sequences),
        schedule: Schedule {
            peak: options.learning_rate.unwrap_or_else(|| learning_rate(spec.width)),
            floor: LEARNING_RATE_FLOOR,
            warmup_steps: 0,
            steps: options.steps.unwrap_or(0),
            decay: options.decay,
        },
        optimizer: optimizer(options),
        muon: None,
        optimizer_states: options.optimizer_states,
        shuffle_sequences: SHUFFLE_SEQUENCES,
        strata: 1,
        mix: Vec::new(),
        dropout: options.dropout,
        document_mask: options.document_mask,
        seed: options.seed,
        family: options.config.as_ref().map(|blueprint| blueprint.family.clone()),
        spec,
    };
    plan.muon = muon(options, &plan);
    let step_s = match options.steps {
        Some(_) => None,
        None => Some(choose_steps(options, &mut plan, machine)?),
    };
    let steps = plan.schedule.steps;
    let warmup = ((steps as f64 * WARMUP_SHARE).ceil() as u64).min(WARMUP_STEPS_MAX);
    plan.schedule.warmup_steps = options.warmup.unwrap_or(warmup).min(steps);
    plan.strata =
        options.strata.unwrap_or_else(|| strata(plan.tokens() as f64 * options.first_share(), task.corpus_bytes));
    notes.push(describe(&plan, step_s));
    if plan.context < plan.spec.context && plan.spec.position == Position::Learned {
        notes
            .push(format!("positions from {} on are not trained: the model has them, but knows nothing", plan.context));
    }
    if plan.strata > 1 {
        plan.shuffle_sequences = shuffle_sequences(plan.strata);
        notes.push(format!("the corpus is larger than the run: of each document about 1/{} is read", plan.strata));
    }
    Ok(Choice { plan, notes, step_s })
}

/// How many passes the loader's epoch has: so many that the run reads at least one whole pass, and with it a fair
/// sample of the corpus; 1 if the run reads all of it.
pub fn strata(tokens: f64, corpus_bytes: u64) -> usize {
    let runs = corpus_bytes as f64 / (tokens * BYTES_PER_TOKEN).max(1.0);
    (runs.ceil() as usize).clamp(1, STRATA_MAX)
}

/// Sequences within which a loader shuffles that reads its corpus in so many strata.
pub fn shuffle_sequences(strata: usize) -> usize {
    if strata > 1 { SHUFFLE_SEQUENCES_OF_STRATA } else { SHUFFLE_SEQUENCES }
}

fn choose_shape(
    options: &PretrainOptions,
    task: Task,
    machine: &mut dyn Speedometer,
    precision: Precision,
    notes: &mut Vec<String>,
) -> Result<(usize, usize)> {
    if let (Some(width), Some(layers)) = (options.width, options.layers) {
        return Ok((width, layers));
    }
    let (probe_width, probe_layers) = (192, 4);
    let probe = spec(&PretrainOptions::default(), task, probe_width, probe_layers)?;
    let speed = machine.flops_per_second(&probe, precision)?;
    let budget = speed * 60.0 * options.minutes;
    let wanted = parameters_for(budget);
    let shape = nearest_shape(options, task, wanted)?;
    notes.push(format!(
        "this machine trains at {:.0} GFLOP/s in {precision}; {} minutes are {:.1e} operations, best spent on about {} parameters",
        speed / 1e9,
        options.minutes,
        budget,
        rounded(wanted)
    ));
    Ok(shape)
}

/// The number of parameters that makes the most of a budget of floating-point operations.
pub fn parameters_for(budget_flops: f64) -> f64 {
    (budget_flops / (6.0 * TOKENS_PER_PARAMETER)).sqrt()
}

/// The rung of the ladder whose number of parameters is nearest, by ratio; it keeps what was given.
fn nearest_shape(options: &PretrainOptions, task: Task, wanted: f64) -> Result<(usize, usize)> {
    let rungs: Vec<(usize, usize)> = match (options.width, options.layers) {
        (Some(width), None) => (1..=48).map(|layers| (width, layers)).collect(),
        (None, Some(layers)) => (1..=32).map(|multiple| (64 * multiple, layers)).collect(),
        _ => LADDER.to_vec(),
    };
    let mut best = None;
    for (width, layers) in rungs {
        // A rung that does not suit the given heads is passed over; `spec` reports it where none is left.
        let Ok(spec) = spec(options, task, width, layers) else { continue };
        let distance = (spec.parameters() as f64 / wanted).ln().abs();
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, (width, layers)));
        }
    }
    best.map(|(_, shape)| shape).ok_or_else(|| Error::Setting {
        name: "heads",
        found: options.heads.unwrap_or(0).to_string(),
        expected: "a number that divides a width into even parts".to_owned(),
    })
}

fn spec(options: &PretrainOptions, task: Task, width: usize, layers: usize) -> Result<Spec> {
    let heads = options.heads.unwrap_or_else(|| heads(width));
    if !width.is_multiple_of(heads) || !(width / heads).is_multiple_of(2) {
        return Err(Error::Setting {
            name: "heads",
            found: heads.to_string(),
            expected: format!("a number that divides the width, {width}, into even parts"),
        });
    }
    let context = options.context.unwrap_or(CONTEXT);
    let spec = match task.causal {
        true => Spec { context, ..Spec::llama(width, layers, heads, task.vocab) },
        false => Spec { context, head: Head::MaskedToken, ..Spec::bert(width, layers, heads, task.vocab) },
    };
    spec.validate()?;
    Ok(spec)
}

/// Heads of 32 columns in narrow models, so that there are several, and of 64 in wide ones.
fn heads(width: usize) -> usize {
    let head_width = if width <= 256 { 32 } else { 64 };
    if width.is_multiple_of(head_width) { width / head_width } else { 1 }
}

fn choose_batch(options: &PretrainOptions, spec: &Spec) -> Result<(usize, usize)> {
    let context = options.context.unwrap_or(spec.context);
    if context > spec.context {
        let expected = format!("at most {}, the model's own", spec.context);
        return Err(Error::Setting { name: "context", found: context.to_string(), expected });
    }
    let grown = BATCH_TOKENS * (spec.parameters() as f64 / BATCH_PARAMETERS).cbrt();
    let chosen = grown.clamp(BATCH_TOKENS_BOUNDS.0, BATCH_TOKENS_BOUNDS.1) / context as f64;
    let sequences = match options.batch {
        None => chosen.round().max(1.0) as usize,
        Some(tokens) if tokens.is_multiple_of(context) => tokens / context,
        Some(tokens) => {
            let expected = format!("a multiple of the context, {context}, up to {BATCH_TOKENS_MAX}");
            return Err(Error::Setting { name: "batch", found: tokens.to_string(), expected });
        }
    };
    Ok((context, sequences))
}

fn optimizer(options: &PretrainOptions) -> AdamWSettings {
    let chosen = AdamWSettings::default();
    AdamWSettings {
        beta2: options.beta2.unwrap_or(chosen.beta2),
        weight_decay: options.weight_decay.unwrap_or(chosen.weight_decay),
        ..chosen
    }
}

fn muon(options: &PretrainOptions, plan: &Plan) -> Option<MuonSettings> {
    let peak = options.muon_learning_rate.unwrap_or(MUON_LEARNING_RATE);
    options.optimizer.settings(plan.optimizer, peak / plan.schedule.peak).muon
}

/// The highest learning rate of a model of a width, with a cosine or a cooldown.
pub fn learning_rate(width: usize) -> f64 {
    let scaled = LEARNING_RATE_AT_128 * (128.0 / width as f64).sqrt();
    scaled.clamp(LEARNING_RATE_BOUNDS.0, LEARNING_RATE_BOUNDS.1)
}

fn choose_steps(options: &PretrainOptions, plan: &mut Plan, machine: &mut dyn Speedometer) -> Result<f64> {
    let step_s = machine.step_seconds(plan)?;
    plan.schedule.steps = ((options.minutes * 60.0 * STEPS_SHARE / step_s) as u64).max(STEPS_MIN);
    Ok(step_s)
}

fn describe(plan: &Plan, step_s: Option<f64>) -> String {
    let Plan { spec, schedule, .. } = plan;
    let muon = plan.muon.map_or_else(String::new, |muon| format!(", of Muon up to {:.2e}", muon.times * schedule.peak));
    let measured = step_s.map_or_else(
        || "as asked".to_owned(),
        |step_s| format!("{:.0} ms each, about {:.1} minutes", step_s * 1e3, step_s * schedule.steps as f64 / 60.0),
    );
    format!(
        "model: {} parameters, {} layers of width {}, {} heads, vocabulary {}; {} steps ({measured}) of {} tokens \
         ({} sequences of {}), {} tokens in all; learning rate up to {:.2e}{}",
        rounded(spec.parameters() as f64),
        spec.layers,
        spec.width,
        spec.heads,
        spec.vocab,
        schedule.steps,
        plan.batch_tokens(),
        plan.sequences,
        plan.context,
        rounded(plan.tokens() as f64),
        schedule.peak,
        muon,
    )
}

fn rounded(count: f64) -> String {
    match count < 1e6 {
        true => format!("{:.0} k", count / 1e3),
        false => format!("{:.2} M", count / 1e6),
    }
}

#[cfg(test)]
mod tests;
