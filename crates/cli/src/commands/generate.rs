//! `luban generate`.

use std::io::{IsTerminal, Read};

use clap::Args;
use luban_engine::{Engine, EngineOptions, Event, FinishReason, Request, Sampling, Usage};
use luban_flow::models;
use serde_json::json;

use crate::args::Global;
use crate::output::{self, Failure, Outcome};
use crate::session::{Interrupt, Session};

/// Longest prompt that is read from standard input.
const PROMPT_BYTES_MAX: u64 = 16 << 20;

/// Continue a text
///
/// Continues a text; what the model writes appears as it is written. The same seed gives the same text, on any
/// number of threads.
#[derive(Args, Debug)]
pub struct Options {
    /// The model: a folder, or a name of the catalogue
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// The text to continue; standard input when not given
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// The text that follows what is to be written: the model fills in what stands between --prompt and this
    #[arg(long, value_name = "TEXT")]
    pub suffix: Option<String>,
    /// Most tokens to write
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_tokens: usize,
    /// How freely tokens are drawn; 0 always takes the likeliest
    #[arg(long, value_name = "X", default_value_t = 0.8)]
    pub temperature: f32,
    /// Draw among the likeliest tokens that together have this probability
    #[arg(long, value_name = "X", default_value_t = 0.95)]
    pub top_p: f32,
    /// Draw among this many likeliest tokens; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub top_k: usize,
    /// Decides the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// A text at which to stop; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
}

/// What the model wrote.
struct Written {
    text: String,
    reason: FinishReason,
    usage: Usage,
}

/// Generates.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let session = Session::open(global, Interrupt::Asks)?;
    let dir = models::locate(&options.model, &session.context(&|_| {}))?;
    session.progress.clear();
    let prompt = match &options.prompt {
        Some(prompt) => prompt.clone(),
        None => read_prompt()?,
    };
    let engine = Engine::load(&dir, EngineOptions { sequences_max: 1, ..EngineOptions::default() })?;
    let tokens = match &options.suffix {
        None => engine.encode_prompt(&prompt)?,
        Some(suffix) => engine.encode_infilling(&prompt, suffix)?,
    };
    // Whoever asks for more than fits gets what fits.
    let max_tokens = options.max_tokens.min(engine.info().context);
    let request = Request {
        prompt: tokens,
        max_tokens,
        sampling: options.sampling(),
        stop: options.stop.clone(),
        ..Request::default()
    };
    let written = write(&engine, request, &session, !global.json)?;
    match (global.json, written.reason) {
        (true, _) => output::json(&json!({
            "prompt": prompt,
            "suffix": options.suffix,
            "text": written.text,
            "finish_reason": reason(written.reason),
            "prompt_tokens": written.usage.prompt_tokens,
            "completion_tokens": written.usage.completion_tokens,
            "seed": options.seed,
        })),
        (false, FinishReason::Cancelled) => Err(Failure::interrupted("stopped")),
        (false, _) => output::text("\n"),
    }
}

impl Options {
    fn sampling(&self) -> Sampling {
        Sampling { temperature: self.temperature, top_p: self.top_p, top_k: self.top_k, seed: self.seed }
    }
}

/// Takes the answer in, showing it as it comes if asked to; Ctrl-C ends it.
fn write(engine: &Engine, request: Request, session: &Session, show: bool) -> Outcome<Written> {
    let mut written = Written { text: String::new(), reason: FinishReason::Cancelled, usage: Usage::default() };
    for event in engine.submit(request)? {
        let piece = match event {
            Event::Prompt(_) => continue,
            Event::Token { text, .. } => text,
            Event::Finished { reason, text, usage } => {
                (written.reason, written.usage) = (reason, usage);
                text
            }
            Event::Failed(why) => return Err(Failure::new(why)),
        };
        if show {
            output::text(&piece)?;
        }
        written.text.push_str(&piece);
        if session.cancel.is_raised() {
            break;
        }
    }
    Ok(written)
}

fn reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
    }
}

fn read_prompt() -> Outcome<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        return Err(Failure::usage("give a text to continue with --prompt, or on standard input"));
    }
    let mut prompt = String::new();
    input.lock().take(PROMPT_BYTES_MAX).read_to_string(&mut prompt)?;
    Ok(prompt)
}
