//! `luban bench grammar`: what keeping answers to a grammar costs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use luban_engine::{Engine, EngineOptions, Event, Grammar, Request, Sampling, Stats};
use luban_flow::models;
use serde_json::{Value, json};

use crate::args::Global;
use crate::format::table;
use crate::output::{self, Failure, Outcome};
use crate::session::{Interrupt, Session};

/// Longest schema.
const SCHEMA_BYTES_MAX: u64 = 1 << 20;
/// What the model is asked to go on from.
const PROMPT: &str = "The orders of the week, with customers, goods and prices, as JSON:\n";

/// What keeping answers to a JSON schema costs
///
/// Generates with and without a schema in turns, one sequence at a time, and compares the time of a step. Masks are
/// worked out on a thread of their own while the model runs, so only what has to be waited for should be seen.
#[derive(Args, Debug)]
pub struct GrammarBench {
    /// The model: a folder, a file, or a name of the catalogue
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// A JSON schema; one of orders, with nested records, enumerations and patterns, when not given
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// Tokens of each answer, at most
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub tokens: usize,
    /// Answers of each kind
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: u32,
}

/// Measures.
pub fn run(options: &GrammarBench, global: &Global) -> Outcome {
    let session = Session::open(global, Interrupt::Ends)?;
    let dir = models::locate(&options.model, &session.context(&|_| {}))?;
    session.progress.clear();
    let schema = match &options.schema {
        Some(path) => serde_json::from_str(&super::read_text(path, SCHEMA_BYTES_MAX)?)?,
        None => orders(),
    };
    let engine = Engine::load(&dir, EngineOptions { sequences_max: 1, ..EngineOptions::default() })?;
    let grammar = Arc::new(Grammar::JsonSchema(schema));
    let started = std::time::Instant::now();
    engine.check_grammar(&grammar)?;
    let ready = started.elapsed();
    let (mut plain, mut kept) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=options.rounds {
        let before = measure(&engine, options, round, None)?;
        let with = measure(&engine, options, round, Some(Arc::clone(&grammar)))?;
        if round > 0 {
            plain.push(before);
            kept.push(with);
        }
    }
    report(&plain, &kept, ready, global)
}

/// One answer, per step.
#[derive(Clone, Copy, Debug)]
struct Step {
    time: f64,
    waited: f64,
    mask: f64,
    steps: u64,
}

fn measure(engine: &Engine, options: &GrammarBench, round: u32, grammar: Option<Arc<Grammar>>) -> Outcome<Step> {
    let sampling = Sampling { temperature: 0.7, top_p: 0.95, seed: u64::from(round), ..Sampling::GREEDY };
    let prompt = engine.encode_prompt(PROMPT)?;
    let max_tokens = options.tokens.min(engine.info().context);
    let request = Request { prompt, max_tokens, sampling, grammar, ..Request::default() };
    let (mut before, mut tokens) = (Stats::default(), 0);
    for event in engine.submit(request)? {
        match event {
            // By the second token, the step that read the prompt is in the counters.
            Event::Token { .. } => {
                tokens += 1;
                before = if tokens <= 2 { engine.stats() } else { before };
            }
            Event::Failed(why) => return Err(Failure::new(why)),
            _ => {}
        }
    }
    let after = engine.stats();
    let steps = after.steps.saturating_sub(before.steps).max(1);
    let each = |time: fn(&Stats) -> Duration| (time(&after) - time(&before)).as_secs_f64() / steps as f64;
    Ok(Step {
        time: each(|stats| stats.step_time),
        waited: each(|stats| stats.mask_wait),
        mask: each(|stats| stats.mask_time),
        steps,
    })
}

fn report(plain: &[Step], kept: &[Step], ready: Duration, global: &Global) -> Outcome {
    let of = |steps: &[Step], part: fn(&Step) -> f64| median(steps.iter().map(part).collect());
    let (without, with) = (of(plain, |step| step.time), of(kept, |step| step.time));
    let (waited, mask) = (of(kept, |step| step.waited), of(kept, |step| step.mask));
    let cost = with / without - 1.0;
    if global.json {
        return output::json(&json!({
            "step_ms": without * 1e3,
            "step_with_grammar_ms": with * 1e3,
            "cost": cost,
            "mask_us": mask * 1e6,
            "mask_wait_us": waited * 1e6,
            "compile_ms": ready.as_secs_f64() * 1e3,
            "steps": kept.iter().map(|step| step.steps).collect::<Vec<_>>(),
        }));
    }
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    output::text(&table(
        "lr",
        &[
            row("a step without a grammar", format!("{:.3} ms", without * 1e3)),
            row("a step with the schema", format!("{:.3} ms", with * 1e3)),
            row("cost", format!("{:.1} %", cost * 100.0)),
            row("working out a mask", format!("{:.0} us", mask * 1e6)),
            row("of which waited for", format!("{:.0} us", waited * 1e6)),
            row("making the schema ready, once", format!("{:.1} ms", ready.as_secs_f64() * 1e3)),
        ],
    ))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A schema such as programs have: long enough that an answer by it does not end soon.
fn orders() -> Value {
    let goods = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 60},
            "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
            "count": {"type": "integer", "minimum": 1, "maximum": 500},
            "price": {"type": "number", "minimum": 0},
            "unit": {"enum": ["piece", "kg", "litre", "box"]},
        },
        "required": ["name", "code", "count", "price", "unit"],
        "additionalProperties": false,
    });
    let customer = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 80},
            "email": {"type": "string", "format": "email"},
            "since": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 5},
        },
        "required": ["name", "email", "since", "tags"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {
            "orders": {
                "type": "array",
                "minItems": 20,
                "items": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "integer", "minimum": 1},
                        "customer": customer,
                        "goods": {"type": "array", "minItems": 2, "items": goods},
                        "status": {"enum": ["open", "paid", "sent", "returned"]},
                        "note": {"anyOf": [{"type": "string", "maxLength": 200}, {"type": "null"}]},
                    },
                    "required": ["id", "customer", "goods", "status", "note"],
                    "additionalProperties": false,
                },
            },
        },
        "required": ["orders"],
        "additionalProperties": false,
    })
}
