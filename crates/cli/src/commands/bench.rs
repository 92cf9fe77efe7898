//! `luban bench`: what this machine can do, what training and serving make of it, and whether it computes what others
//! compute.

mod inference;
mod speculation;
mod tokenizer;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use luban_artifact::ModelFiles;
use luban_base::clock::SystemClock;
use luban_flow::stages;
use luban_kernels::limits;
use luban_kernels::pool;
use luban_train::bench::{Conditions, Measured, measure, shape, shapes};
use luban_train::choose::LEARNING_RATE_FLOOR;
use luban_train::curve::{Curve as Steps, CurveOptions, Tokens};
use luban_train::optimizer::{AdamWSettings, Kind, Settings, States};
use luban_train::products;
use luban_train::schedule::{Decay, Schedule};
use luban_train::{Precision, PretrainOptions};
use serde_json::json;

use crate::args::Global;
use crate::format::{grouped, table};
use crate::output::{self, Outcome};

pub use inference::{Batch, Decode, Encode, Load, batch, decode, encode, load};
pub use speculation::{Options as Speculation, run as speculation};
pub use tokenizer::{Options as Tokenizer, run as tokenizer};

/// Measurements of this machine.
#[derive(Subcommand)]
pub enum Bench {
    Train(Train),
    Curve(Curve),
    Products(Products),
    Limits(Limits),
    Tokenizer(Tokenizer),
    Decode(Decode),
    Batch(Batch),
    Encode(Encode),
    Load(Load),
    Speculation(Speculation),
    Grammar(super::bench_grammar::GrammarBench),
}

/// Speed of training on known shapes
///
/// Measures a training step (forward, backward, optimizer) on random tokens. The shapes and the count of operations are
/// those of the PyTorch script in `bench/`, so that the figures compare.
#[derive(Args, Debug)]
pub struct Train {
    /// tiny, small, gpt2_b4, bert, llama, or llama_lora: the last with adapters only in training
    #[arg(long, value_name = "NAME", default_value = "small")]
    pub config: String,
    /// f32, bf16, fp16, fp8, fp8-tensor or int8: what matrix products round their factors to
    #[arg(long, default_value_t = Precision::F32)]
    pub precision: Precision,
    /// Compute each layer again in the backward pass instead of keeping what it computed: less memory, the same result
    #[arg(long)]
    pub recompute: bool,
    /// What changes the matrices inside blocks: adamw or muon
    #[arg(long, value_name = "NAME", default_value = "adamw", value_parser = stages::word::<Kind>)]
    pub optimizer: Kind,
    /// What its states are kept in: f32 or 8bit
    #[arg(long, value_name = "NAME", default_value = "f32", value_parser = stages::word::<States>)]
    pub optimizer_states: States,
    /// Least number of timed steps
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub steps: usize,
}

/// Speed of plain matrix products on the shapes of training
///
/// Measures the three products of each linear map of the models of `luban bench train`: forward, and the gradients of
/// the input and of the weight. Both factors are of the precision, the result is f32.
#[derive(Args, Debug)]
pub struct Products {
    /// tiny, small, gpt2_b4, bert or llama; all of them when not given
    #[arg(long, value_name = "NAME")]
    pub config: Option<String>,
    /// f32 or bf16
    #[arg(long, value_name = "NAME", default_value_t = Precision::Bf16, value_parser = f32_or_bf16)]
    pub precision: Precision,
    /// Least time for each product
    #[arg(long, value_name = "S", default_value_t = 0.2)]
    pub seconds: f64,
}

fn f32_or_bf16(name: &str) -> Result<Precision, String> {
    match name.parse()? {
        precision @ (Precision::F32 | Precision::Bf16) => Ok(precision),
        _ => Err("products are measured in f32 or bf16".to_owned()),
    }
}

/// Loss of each step on given weights and tokens
///
/// Trains a given model on given tokens and prints each step, so that the losses compare with those of another program
/// on the same data. The step and its constants are those of `luban pretrain`.
#[derive(Args, Debug)]
pub struct Curve {
    /// The model to begin with: a decoder in a Hugging Face folder
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// A safetensors file of one tensor of token ids, steps x sequences x (length + 1)
    #[arg(long, value_name = "FILE")]
    pub tokens: PathBuf,
    /// Steps to train; every one has its tokens
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub steps: u64,
    /// Highest learning rate
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    pub learning_rate: f64,
    /// Steps over which the learning rate rises
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub warmup: u64,
    /// How the learning rate falls, to a twentieth: cosine or linear
    #[arg(long, value_name = "NAME", default_value = "cosine", value_parser = stages::word::<Decay>)]
    pub decay: Decay,
    /// Sequences that go through the model at once; all of a step's when not given
    #[arg(long, value_name = "N")]
    pub at_once: Option<usize>,
    /// f32, bf16, fp16, fp8, fp8-tensor or int8: what matrix products round their factors to
    #[arg(long, default_value_t = Precision::F32)]
    pub precision: Precision,
}

/// Memory bandwidth and arithmetic peak of this machine
///
/// Measures what bounds every program here: streaming reads, and independent chains of products in registers. Products
/// of bf16 are dot products of pairs, or multiply-adds of f32 where those are faster.
#[derive(Args, Debug)]
pub struct Limits {}

/// Muon's learning rate over AdamW's: of no consequence for speed.
const BENCH_MUON_TIMES: f64 = 20.0;

/// Measures training.
pub fn train(options: &Train, global: &Global) -> Outcome {
    let shape = shape(&options.config)?;
    let Train { precision, recompute, steps, .. } = *options;
    let optimizer = options.optimizer.settings(AdamWSettings::default(), BENCH_MUON_TIMES);
    let optimizer = Settings { states: options.optimizer_states, ..optimizer };
    let conditions = Conditions { precision, recompute, optimizer, steps_min: steps.max(1), ..Conditions::default() };
    let measured = measure(&shape, conditions, &SystemClock::default())?;
    let rss = peak_rss_mb();
    if global.json {
        let mut line = json!(measured);
        line["bench"] = json!("train");
        line["precision"] = json!(precision.name());
        line["recompute"] = json!(recompute);
        line["optimizer"] = json!(options.optimizer);
        line["optimizer_states"] = json!(options.optimizer_states);
        line["threads"] = json!(pool::threads());
        line["peak_rss_mb"] = json!(rss);
        return output::json(&line);
    }
    output::text(&describe(&measured, rss))
}

fn describe(measured: &Measured, rss: Option<u64>) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("config", measured.config.to_owned()),
        row("threads", pool::threads().to_string()),
        row("parameters", grouped(measured.parameters as u64)),
        row("tokens a second", format!("{:.0}", measured.tok_s)),
        row("ms a step", format!("{:.1}", measured.step_ms)),
        row("GFLOP/s", format!("{:.1}", measured.gflops)),
    ];
    if let Some(rss) = rss {
        rows.push(row("peak memory, MB", grouped(rss)));
        rows.push(row("as planned, MB", grouped(measured.planned_memory >> 20)));
    }
    table("lr", &rows)
}

/// Measures products.
pub fn products(options: &Products, global: &Global) -> Outcome {
    let shapes = match &options.config {
        Some(name) => vec![shape(name)?],
        // Those with adapters have the same maps.
        None => shapes().into_iter().filter(|shape| shape.lora.is_none()).collect(),
    };
    let mut rows = vec![["config", "rows", "inputs", "outputs", "product", "GFLOP/s"].map(str::to_owned).to_vec()];
    for shape in shapes {
        for map in products::maps(&shape) {
            for measured in products::measure(map, options.precision, options.seconds, &SystemClock::default()) {
                let mut line = json!(measured);
                if global.json {
                    line["bench"] = json!("products");
                    line["config"] = json!(shape.name);
                    line["precision"] = json!(options.precision.name());
                    line["threads"] = json!(pool::threads());
                    output::json(&line)?;
                    continue;
                }
                let form = line["form"].as_str().unwrap_or_default().to_owned();
                let sizes = [map.rows, map.inputs, map.outputs].map(|size| size.to_string());
                rows.push([&[shape.name.to_owned()][..], &sizes, &[form, format!("{:.0}", measured.gflops)]].concat());
            }
        }
    }
    if global.json { Ok(()) } else { output::text(&table("lrrrlr", &rows)) }
}

/// Prints the steps of a run.
pub fn curve(options: &Curve, global: &Global) -> Outcome {
    let Curve { steps, learning_rate, warmup, at_once, .. } = *options;
    let (steps, learning_rate, warmup) = (Some(steps), Some(learning_rate), Some(warmup));
    PretrainOptions { steps, learning_rate, warmup, at_once, ..PretrainOptions::default() }.validate()?;
    let schedule = Schedule {
        peak: options.learning_rate,
        floor: LEARNING_RATE_FLOOR,
        warmup_steps: options.warmup,
        steps: options.steps,
        decay: options.decay,
    };
    let optimizer = AdamWSettings::default().into();
    let settings = CurveOptions { schedule, optimizer, at_once, precision: options.precision };
    let steps = Steps::open(&ModelFiles::open(&options.model)?, Tokens::open(&options.tokens)?, settings)?;
    for point in steps {
        let point = point?;
        match global.json {
            true => output::json(&json!(point))?,
            false => output::text(&format!(
                "step {:>6}  loss {:.6}  gradient norm {:.4}  learning rate {:.3e}\n",
                point.step, point.loss, point.gradient_norm, point.learning_rate
            ))?,
        }
    }
    Ok(())
}

/// Measures limits with one thread, then with all.
pub fn limits(_: &Limits, global: &Global) -> Outcome {
    let all = pool::threads();
    let counts = if all > 1 { vec![1, all] } else { vec![1] };
    let mut rows =
        vec![["threads", "read GB/s", "f32 GFLOP/s", "bf16 GFLOP/s", "by", "int8 GOP/s"].map(str::to_owned).to_vec()];
    for threads in counts {
        let read = limits::read_bandwidth_gb_s(threads);
        let f32 = limits::peak_f32_gflops(threads);
        let (bf16, way) = limits::peak_bf16_gflops(threads);
        let int8 = limits::peak_int8_gops(threads);
        if global.json {
            output::json(&json!({
                "bench": "limits",
                "threads": threads,
                "read_gb_s": read,
                "f32_gflops": f32,
                "bf16_gflops": bf16,
                "bf16_by": way.name(),
                "int8_gops": int8,
            }))?;
            continue;
        }
        let show = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:.0}"));
        let (read, way) = (format!("{read:.1}"), way.name().to_owned());
        rows.push(vec![threads.to_string(), read, show(Some(f32)), show(Some(bf16)), way, show(int8)]);
    }
    if global.json { Ok(()) } else { output::text(&table("lrrrlr", &rows)) }
}

/// The most memory that this process ever had resident, in MiB, where the system tells.
fn peak_rss_mb() -> Option<u64> {
    status_mb("VmHWM:")
}

/// A size of this process by its name in the system's status, in MiB.
fn status_mb(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kib / 1024)
}
