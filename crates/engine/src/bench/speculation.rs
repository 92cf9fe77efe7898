//! What guessing ahead gains: the same answer, in turn with and without guesses.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use luban_artifact::ModelFiles;
use luban_base::clock::Clock;

use super::median;
use crate::engine::{Engine, EngineOptions, Origin};
use crate::error::{Error, Result};
use crate::files;
use crate::request::{Event, Request};
use crate::serving::ServingModel;
use crate::speculation::{Drafter, Speculation};

/// A way of guessing, and an engine that does it.
#[derive(Debug)]
pub struct Way {
    /// What to call it.
    pub name: &'static str,
    /// The engine.
    pub engine: Engine,
}

/// What came of one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Guessed {
    /// The way's name.
    pub name: &'static str,
    /// Tokens a second of the answer, from its first token on.
    pub tokens_s: f64,
    /// The answer.
    pub tokens: Vec<u32>,
    /// Its text.
    pub text: String,
    /// Tokens that were guessed for the last of the answers: how many differs, for guessing follows the clock.
    pub guesses: u64,
    /// Those of them that were right.
    pub right: u64,
}

impl Guessed {
    /// Passes over the model after the one that read the prompt.
    pub fn passes(&self) -> u64 {
        (self.tokens.len() as u64).saturating_sub(1 + self.right)
    }
}

/// Engines over one model that guess nothing, look the text up, and ask the model's first `early_layers` too: a quarter
/// of all where not given, and not at all where 0.
///
/// # Errors
/// Those of [`Engine::load`].
pub fn ways(dir: &Path, early_layers: Option<usize>) -> Result<Vec<Way>> {
    let model_files = ModelFiles::open(dir)?;
    let tokenizer = Arc::new(files::tokenizer(&model_files)?);
    let model = Arc::new(ServingModel::load(&model_files)?);
    let early = early_layers.unwrap_or((model.spec().layers / 4).max(1));
    let lookup = Speculation::default();
    let mut speculations = vec![("plain", Speculation::NONE), ("lookup", lookup.clone())];
    if early > 0 {
        speculations.push(("early", Speculation { drafter: Drafter::Early(early), ..lookup }));
    }
    let ends = files::end_tokens(&model_files)?;
    let start = |(name, speculation)| {
        let origin = Origin { name: files::name(dir), ends: ends.clone(), ..Origin::default() };
        let options = EngineOptions { sequences_max: 1, speculation, ..EngineOptions::default() };
        let engine = Engine::start(Arc::clone(&model), Arc::clone(&tokenizer), origin, options)?;
        Ok(Way { name, engine })
    };
    speculations.into_iter().map(start).collect()
}

/// Measures the greedy answer to a prompt, of at most so many tokens, by each way in turn. The median of the
/// repetitions counts; one more goes before them.
///
/// # Errors
/// A prompt that does not fit into the model's context, a request that fails, or an answer of fewer than two tokens.
pub fn guessing(
    ways: &[Way],
    prompt: &[u32],
    tokens_max: usize,
    repetitions: usize,
    clock: &dyn Clock,
) -> Result<Vec<Guessed>> {
    let mut rates = vec![Vec::new(); ways.len()];
    let mut found = Vec::new();
    for repetition in 0..=repetitions.max(1) {
        found.clear();
        for (way, rates) in ways.iter().zip(&mut rates) {
            let guessed = answer(way, prompt, tokens_max, clock)?;
            if repetition > 0 {
                rates.push(guessed.tokens_s);
            }
            found.push(guessed);
        }
    }
    for (guessed, rates) in found.iter_mut().zip(&rates) {
        guessed.tokens_s = median(rates);
    }
    Ok(found)
}

/// Whether all ways gave the same answer.
pub fn identical(found: &[Guessed]) -> bool {
    found.windows(2).all(|pair| pair[0].tokens == pair[1].tokens && pair[0].text == pair[1].text)
}

fn answer(way: &Way, prompt: &[u32], tokens_max: usize, clock: &dyn Clock) -> Result<Guessed> {
    let before = way.engine.stats();
    let (mut tokens, mut whole, mut start) = (Vec::new(), String::new(), Duration::ZERO);
    for event in way.engine.submit(Request::greedy(prompt.to_vec(), tokens_max))? {
        match event {
            Event::Token { id, text, .. } => {
                if tokens.is_empty() {
                    start = clock.elapsed();
                }
                tokens.push(id);
                whole += &text;
            }
            Event::Finished { text, .. } => whole += &text,
            Event::Failed(why) => return Err(Error::Failed(why)),
            Event::Prompt(_) => {}
        }
    }
    let seconds = (clock.elapsed() - start).as_secs_f64();
    let timed = tokens.len().saturating_sub(1);
    if timed == 0 {
        let expected = "an answer of two tokens or more is needed to measure its speed".into();
        return Err(Error::Option { what: "the answer", found: format!("{} tokens", tokens.len()), expected });
    }
    let after = way.engine.stats();
    Ok(Guessed {
        name: way.name,
        tokens_s: timed as f64 / seconds.max(1e-9),
        tokens,
        text: whole,
        guesses: after.guessed_tokens - before.guessed_tokens,
        right: after.right_guesses - before.right_guesses,
    })
}
