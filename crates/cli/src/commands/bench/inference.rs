//! `luban bench decode`, `batch`, `encode` and `load`: the speed of answering and of embedding.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use luban_artifact::ModelFiles;
use luban_base::clock::SystemClock;
use luban_data::table;
use luban_engine::bench::{self, Grid, Lengths, Order};
use luban_engine::serving::Precision;
use luban_engine::{Embedder, Engine, EngineOptions, Event, ModelInfo, Request, Speculation};
use luban_flow::models;
use luban_kernels::{limits, pool};
use serde_json::{Value, json};

use super::{peak_rss_mb, status_mb};
use crate::args::{CacheOptions, Global};
use crate::format::table as layout;
use crate::output::{self, Failure, Outcome};
use crate::session::{Interrupt, Session};

/// Speed of answering one request at a time
///
/// Measures the tokens a second of reading a prompt (`pp512`) and of writing an answer, token by token, from a prompt
/// of one token (`tg128`), greedily and past every end of text. Tokens are random. Says beside it which share of the
/// memory bandwidth, as measured in the same run, writing makes use of.
#[derive(Args, Debug)]
pub struct Decode {
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    cache: CacheOptions,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub prompt_tokens: usize,
    /// Tokens of the answer
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub answer_tokens: usize,
    /// Measurements, of which the median counts, after one that does not
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repetitions: usize,
}

/// Speed of answering many requests at once
///
/// Measures the tokens a second (`tg`) that sequences write together, one token of each a step, after prompts that
/// were read before. Tokens are random; nothing ends early.
#[derive(Args, Debug)]
pub struct Batch {
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    cache: CacheOptions,
    /// Sequences at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub sequences: u16,
    /// Tokens of each prompt
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub prompt_tokens: usize,
    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub answer_tokens: usize,
    /// Measurements, of which the median counts, after one that does not
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repetitions: usize,
}

/// Speed and exactness of sentence embeddings
///
/// Measures sentences a second, from characters to vectors, and how far the vectors are from those in f32
/// (`cosine_min`, `cosine_mean`). With --length, random sentences of that many tokens are measured instead of texts.
#[derive(Args, Debug)]
pub struct Encode {
    #[command(flatten)]
    model: Model,
    /// What linear maps compute with, where the model's weights are f32
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    pub precision: Numbers,
    /// A table (CSV) with a column of texts
    #[arg(long, value_name = "FILE", required_unless_present = "length")]
    pub texts: Option<PathBuf>,
    /// The name of that column
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub column: String,
    /// Texts that are given to the encoder at a time; all at once when not given, or 1 with --length
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub batch: Option<u32>,
    /// The shortest first
    #[arg(long)]
    pub sorted: bool,
    /// Measure batches of random sentences of so many tokens
    #[arg(long, value_name = "N", conflicts_with_all = ["texts", "sorted"])]
    pub length: Option<usize>,
    /// Measurements, of which the median counts, after one that does not
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repetitions: usize,
}

/// Time to the first token, and memory, of a process that just began
///
/// Loads the model and answers with one token: how long that took from the command's start (`first_token_ms`), and the
/// memory that is resident afterwards (`rss_mb`). For the time from a cold start, run it once before: files that the
/// system holds in memory are read faster.
#[derive(Args, Debug)]
pub struct Load {
    #[command(flatten)]
    model: Model,
    /// The text to continue
    #[arg(long, value_name = "TEXT", default_value = "Once upon a time")]
    pub prompt: String,
    /// Positions that the cache is made for
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub context: usize,
}

/// What linear maps compute with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Numbers {
    /// What the model's weights are.
    F32,
    /// bf16.
    Bf16,
    /// Bytes, with a scale for every 128 or 32 inputs.
    Int8,
}

impl Numbers {
    fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::Stored,
            Self::Bf16 => Precision::Bf16,
            Self::Int8 => Precision::Int8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// What is measured.
#[derive(Args, Debug)]
pub(super) struct Model {
    /// The model: a file, a folder, or a name of the catalogue
    #[arg(value_name = "MODEL")]
    model: String,
}

impl Model {
    pub(super) fn locate(&self, global: &Global) -> Outcome<PathBuf> {
        let session = Session::open(global, Interrupt::Ends)?;
        let path = models::locate(&self.model, &session.context(&|_| {}))?;
        session.progress.clear();
        Ok(path)
    }
}

/// Seconds that a shape of the grid is measured for, at least.
const GRID_SECONDS_MIN: f64 = 0.5;

/// What answers are measured with: every token by a step of its own, as the peers do it.
fn plain(options: EngineOptions) -> EngineOptions {
    EngineOptions { speculation: Speculation::NONE, ..options }
}

/// Measures one request at a time.
pub fn decode(options: &Decode, global: &Global) -> Outcome {
    let Decode { prompt_tokens, answer_tokens, repetitions, .. } = *options;
    let engine = Engine::load(
        &options.model.locate(global)?,
        plain(EngineOptions { sequences_max: 1, cache: options.cache.cache, ..EngineOptions::default() }),
    )?;
    let lengths = Lengths { prompt: prompt_tokens, answer: answer_tokens, repetitions };
    let measured = bench::single(&engine, lengths, &SystemClock::default())?;
    let read_gb_s = engine.info().step_bytes as f64 * measured.answer_tokens_s / 1e9;
    let bandwidth_gb_s = limits::read_bandwidth_gb_s(pool::threads());
    let mut line = json!({
        format!("pp{prompt_tokens}"): measured.prompt_tokens_s,
        format!("tg{answer_tokens}"): measured.answer_tokens_s,
        "weight_bytes_touched": engine.info().step_bytes,
        "read_gb_s": read_gb_s,
        "bandwidth_gb_s": bandwidth_gb_s,
        "bandwidth_share": read_gb_s / bandwidth_gb_s,
    });
    describe(&mut line, "decode", engine.info());
    print(&line, global)
}

/// Measures requests together.
pub fn batch(options: &Batch, global: &Global) -> Outcome {
    let Batch { prompt_tokens, answer_tokens, repetitions, .. } = *options;
    let sequences = usize::from(options.sequences);
    let engine = plain(EngineOptions {
        sequences_max: sequences,
        queue_max: sequences,
        cache: options.cache.cache,
        // All prompts in one step, so that the steps after it are of answers alone.
        step_tokens_max: (sequences * prompt_tokens).clamp(1, EngineOptions::STEP_TOKENS_MAX),
        ..EngineOptions::default()
    });
    let engine = Engine::load(&options.model.locate(global)?, engine)?;
    let lengths = Lengths { prompt: prompt_tokens, answer: answer_tokens, repetitions };
    let tokens_s = bench::together(&engine, sequences, lengths, &SystemClock::default())?;
    let mut line = json!({ "sequences": sequences, "tg": tokens_s });
    describe(&mut line, "batch", engine.info());
    print(&line, global)
}

/// Measures an encoder.
pub fn encode(options: &Encode, global: &Global) -> Outcome {
    let files = ModelFiles::open(&options.model.locate(global)?)?;
    let embedder = Embedder::load_as(&files, options.precision.precision())?;
    let line = match options.length {
        Some(length) => grid(options, &embedder, length)?,
        None => texts(options, &embedder, &files)?,
    };
    print(&line, global)
}

fn grid(options: &Encode, embedder: &Embedder, length: usize) -> Outcome<Value> {
    let batch = options.batch.unwrap_or(1) as usize;
    let shape = Grid { batch, length, seconds_min: GRID_SECONDS_MIN };
    let sentences_s = bench::grid(embedder, shape, options.repetitions, &SystemClock::default())?;
    Ok(json!({
        "bench": "encode",
        "precision": options.precision.name(),
        "threads": pool::threads(),
        "batch": batch,
        "length": length,
        "sentences_s": sentences_s,
    }))
}

fn texts(options: &Encode, embedder: &Embedder, files: &ModelFiles) -> Outcome<Value> {
    let path = options.texts.as_deref().unwrap_or(Path::new(""));
    let texts = table::column(path, &options.column)?;
    if texts.is_empty() {
        return Err(Failure::new(format!("{} has no rows", path.display())));
    }
    let order = Order { sorted: options.sorted, batch: options.batch.map(|batch| batch as usize) };
    let (sentences_s, embeddings) =
        bench::texts(embedder, &texts, order, options.repetitions, &SystemClock::default())?;
    let (cosine_min, cosine_mean) = bench::cosines(&embeddings, &Embedder::load(files)?.embed(&texts)?);
    Ok(json!({
        "bench": "encode",
        "precision": options.precision.name(),
        "threads": pool::threads(),
        "texts": texts.len(),
        "sorted": options.sorted,
        "batch": options.batch,
        "sentences_s": sentences_s,
        "cosine_min": cosine_min,
        "cosine_mean": cosine_mean,
    }))
}

/// Measures the first token.
pub fn load(options: &Load, global: &Global) -> Outcome {
    let start = Instant::now();
    let path = options.model.locate(global)?;
    let engine = plain(EngineOptions { sequences_max: 1, context: Some(options.context), ..EngineOptions::default() });
    let engine = Engine::load(&path, engine)?;
    let loaded = start.elapsed();
    let request = Request { ignore_end: true, ..Request::greedy(engine.encode_prompt(&options.prompt)?, 1) };
    match engine.submit(request)?.next() {
        Some(Event::Token { .. }) => {}
        other => return Err(Failure::new(format!("the engine gave no token, but {other:?}"))),
    }
    let first_token = start.elapsed();
    let info = engine.info();
    let mb = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut line = json!({
        "load_ms": 1e3 * loaded.as_secs_f64(),
        "first_token_ms": 1e3 * first_token.as_secs_f64(),
        "rss_mb": status_mb("VmRSS:"),
        "peak_rss_mb": peak_rss_mb(),
        "weights_mb": mb(info.weight_bytes),
        "cache_mb": mb(info.cache_bytes),
    });
    describe(&mut line, "load", info);
    print(&line, global)
}

/// What every line about an engine says.
pub(super) fn describe(line: &mut Value, bench: &str, info: &ModelInfo) {
    line["bench"] = json!(bench);
    line["model"] = json!(info.name);
    line["precision"] = json!(info.precision);
    line["threads"] = json!(pool::threads());
}

/// As JSON, or one figure a line.
pub(super) fn print(line: &Value, global: &Global) -> Outcome {
    if global.json {
        return output::json(line);
    }
    let show = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if !number.is_u64() => format!("{:.3}", number.as_f64().unwrap_or(f64::NAN)),
        other => other.to_string(),
    };
    let rows = line.as_object().into_iter().flatten().map(|(name, value)| vec![name.clone(), show(value)]);
    output::text(&layout("lr", &rows.collect::<Vec<_>>()))
}
