//! `luban bench speculation`: what guessing tokens ahead gains.

use std::path::PathBuf;

use clap::Args;
use luban_base::clock::SystemClock;
use luban_engine::Engine;
use luban_engine::bench::{self, Guessed, Way};
use serde_json::{Value, json};

use super::super::read_text;
use super::inference::{Model, describe, print};
use crate::args::Global;
use crate::output::{Failure, Outcome};

/// Longest text.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// What guessing tokens ahead gains, on answers that repeat their prompt
///
/// Asks for the correction of a piece of code and for sentences of a text, or for what --instruction says about a text
/// of your own, and answers each greedily, in turn without guesses (`plain`), guessing by what followed the last tokens
/// earlier in prompt and answer (`lookup`), and by the model's first layers too (`early`). Says of each the tokens a
/// second of the answer, times those of the plain one, and which share of the guesses was right. Ends with a failure
/// where the answers are not the same.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    model: Model,
    /// A text of your own, in place of those that come with the program
    #[arg(long, value_name = "FILE", requires = "instruction")]
    pub text: Option<PathBuf>,
    /// What to do with it
    #[arg(long, value_name = "TEXT", requires = "text")]
    pub instruction: Option<String>,
    /// Tokens of each answer, at most
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub answer_tokens: usize,
    /// Layers that guess; a quarter of all when not given, 0 leaves them out
    #[arg(long, value_name = "N")]
    pub early_layers: Option<usize>,
    /// Measurements, of which the median counts, after one that does not
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub repetitions: usize,
}

/// What the model is asked to do.
struct Task {
    name: &'static str,
    instruction: String,
    text: String,
}

impl Task {
    fn built_in() -> Vec<Self> {
        let edit = "Correct the indentation and spelling in this Python code, if there is anything wrong. Repeat the whole code.";
        let quote = "Quote the sentences of this text that say what happened in 1913, in 1958 and in 1984.";
        let code = format!("```python\n{}```", include_str!("speculation/code.py"));
        vec![
            Self { name: "edit", instruction: edit.into(), text: code },
            Self { name: "quote", instruction: quote.into(), text: include_str!("speculation/article.txt").into() },
        ]
    }

    fn of(options: &Options) -> Outcome<Vec<Self>> {
        match (&options.text, &options.instruction) {
            (Some(path), Some(instruction)) => {
                let text = read_text(path, TEXT_BYTES_MAX)?;
                Ok(vec![Self { name: "text", instruction: instruction.clone(), text }])
            }
            _ => Ok(Self::built_in()),
        }
    }

    /// As the model's template has it, or plainly where there is none.
    fn prompt(&self, engine: &Engine) -> Outcome<Vec<u32>> {
        let text = format!("{}\n\n{}", self.instruction, self.text);
        if engine.tokenizer().chat()?.is_none() {
            return Ok(engine.encode_prompt(&format!("{text}\n\n"))?);
        }
        Ok(engine.encode_chat(&[json!({ "role": "user", "content": text })], None)?.1)
    }
}

/// Measures each task.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let tasks = Task::of(options)?;
    let ways = bench::ways(&options.model.locate(global)?, options.early_layers)?;
    let mut different = Vec::new();
    for task in &tasks {
        let (mut line, identical, answer) = measure(task, &ways, options)?;
        if global.json {
            line["answer"] = json!(answer);
        }
        print(&line, global)?;
        if !identical {
            different.push(task.name);
        }
    }
    match different.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!("guesses changed the answer of: {}", different.join(", ")))),
    }
}

/// The figures, whether the answers are the same, and the answer.
fn measure(task: &Task, ways: &[Way], options: &Options) -> Outcome<(Value, bool, String)> {
    let Some(Way { engine, .. }) = ways.first() else { return Err(Failure::new("there is nothing to measure")) };
    let prompt = task.prompt(engine)?;
    let Options { answer_tokens, repetitions, .. } = *options;
    let found = bench::guessing(ways, &prompt, answer_tokens, repetitions, &SystemClock::default())?;
    let identical = bench::identical(&found);
    let plain = &found[0];
    let mut line = json!({
        "task": task.name,
        "prompt_tokens": prompt.len(),
        "answer_tokens": plain.tokens.len(),
        "identical": identical,
    });
    for guessed in &found {
        put(&mut line, guessed, plain.tokens_s);
    }
    describe(&mut line, "speculation", engine.info());
    Ok((line, identical, plain.text.clone()))
}

fn put(line: &mut Value, guessed: &Guessed, plain_tokens_s: f64) {
    let key = |what: &str| format!("{}_{what}", guessed.name);
    line[key("tokens_s")] = json!(guessed.tokens_s);
    if guessed.name == "plain" {
        return;
    }
    line[key("ratio")] = json!(guessed.tokens_s / plain_tokens_s);
    line[key("passes")] = json!(guessed.passes());
    line[key("guesses")] = json!(guessed.guesses);
    line[key("right")] = json!(guessed.right);
    line[key("acceptance")] = json!(guessed.right as f64 / (guessed.guesses as f64).max(1.0));
}
