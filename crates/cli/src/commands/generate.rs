//! `luban generate`.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use luban_engine::{Answer, Engine, EngineOptions, Event, FinishReason, Request, Usage};
use luban_flow::models;
use serde_json::{Value, json};

use crate::args::{CacheOptions, Global};
use crate::output::{self, Failure, Outcome};
use crate::sampling::{GrammarOptions, SamplingOptions};
use crate::session::{Interrupt, Session};

/// What the adapter of a command is called in its engine.
pub const ADAPTER: &str = "adapter";
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
    /// An adapter of the model: a folder as PEFT writes it, or a GGUF file
    #[arg(long, value_name = "PATH")]
    pub adapter: Option<PathBuf>,
    /// The text to continue; standard input when not given
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// The text that follows what is to be written: the model fills in what stands between --prompt and this
    #[arg(long, value_name = "TEXT")]
    pub suffix: Option<String>,
    /// Most tokens to write
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_tokens: usize,
    /// A text at which to stop; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Write so many answers, each with draws of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub n: u16,
    #[command(flatten)]
    pub cache: CacheOptions,
    #[command(flatten)]
    pub sampling: SamplingOptions,
    #[command(flatten)]
    pub grammar: GrammarOptions,
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
    let count = usize::from(options.n);
    let engine = Engine::load(
        &dir,
        EngineOptions { sequences_max: count, cache: options.cache.cache, ..EngineOptions::default() },
    )?;
    let adapter = options.adapter.as_ref().map(|path| engine.load_adapter(ADAPTER, path)).transpose()?;
    let tokens = match &options.suffix {
        None => engine.encode_prompt(&prompt)?,
        Some(suffix) => engine.encode_infilling(&prompt, suffix)?,
    };
    // Whoever asks for more than fits gets what fits.
    let max_tokens = options.max_tokens.min(engine.info().context);
    let request = Request {
        prompt: tokens,
        max_tokens,
        sampling: options.sampling.sampling(),
        logit_bias: options.sampling.logit_bias.clone(),
        grammar: options.grammar.grammar()?.map(Arc::new),
        stop: options.stop.clone(),
        adapter,
        ..Request::default()
    };
    let answers = engine.submit_all(request.choices(count))?;
    let mut written = Vec::new();
    for (index, answer) in answers.into_iter().enumerate() {
        if count > 1 && !global.json {
            output::text(&format!("{}[{} of {count}]\n", if index > 0 { "\n" } else { "" }, index + 1))?;
        }
        let one = write(answer, &session, !global.json)?;
        if one.reason == FinishReason::Cancelled && !global.json {
            return Err(Failure::interrupted("stopped"));
        }
        if !global.json {
            output::text("\n")?;
        }
        written.push(one);
    }
    match global.json {
        true => output::json(&options.json(&prompt, &written)),
        false => Ok(()),
    }
}

impl Options {
    /// The first answer, and all of them where there are several.
    fn json(&self, prompt: &str, written: &[Written]) -> Value {
        let one = |written: &Written| {
            json!({
                "prompt": prompt,
                "suffix": self.suffix,
                "text": written.text,
                "finish_reason": reason(written.reason),
                "prompt_tokens": written.usage.prompt_tokens,
                "completion_tokens": written.usage.completion_tokens,
                "seed": self.sampling.seed,
            })
        };
        let mut answer = written.first().map_or(Value::Null, one);
        if written.len() > 1 {
            answer["answers"] = written
                .iter()
                .map(|written| json!({"text": written.text, "finish_reason": reason(written.reason)}))
                .collect();
        }
        answer
    }
}

/// Takes the answer in, showing it as it comes if asked to; Ctrl-C ends it.
fn write(answer: Answer, session: &Session, show: bool) -> Outcome<Written> {
    let mut written = Written { text: String::new(), reason: FinishReason::Cancelled, usage: Usage::default() };
    for event in answer {
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
