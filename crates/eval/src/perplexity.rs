//! How well a model predicts a text.
//!
//! Perplexity is e to the mean loss of a token (Jelinek et al. 1977); it compares models of one tokenizer only. Bits
//! per byte divides the loss of the whole text by its UTF-8 bytes, and compares any two models.

use std::f64::consts::LN_2;

use luban_artifact::ModelFiles;
use luban_base::progress::{Event, Observer};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Subject;
use crate::task::{Figures, Subject as TaskSubject, Task};
use crate::text::{Text, Window, Windows};

/// Windows that are scored between two reports of progress.
const WINDOWS_AT_ONCE: usize = 32;

/// What to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerplexityOptions {
    /// Tokens of a window; the model's whole context where not given.
    pub context: Option<usize>,
    /// No document is begun after so many bytes of text.
    pub bytes_max: Option<u64>,
    /// Tokens that are predicted, at most.
    pub tokens_max: Option<u64>,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Perplexity {
    /// e to the mean loss of a token.
    pub perplexity: f64,
    /// Bits for each UTF-8 byte of the text.
    pub bits_per_byte: f64,
    /// The summed loss of all tokens.
    pub nats: f64,
    /// Tokens predicted, ends of documents among them.
    pub tokens: u64,
    /// UTF-8 bytes of the text.
    pub bytes: u64,
    /// Tokens of a window.
    pub context: usize,
}

impl Perplexity {
    fn new(nats: f64, tokens: u64, bytes: u64, context: usize) -> Self {
        let perplexity = (nats / tokens as f64).exp();
        Self { perplexity, bits_per_byte: nats / LN_2 / bytes as f64, nats, tokens, bytes, context }
    }
}

/// Scores every token of a text, in non-overlapping windows, with the model's own tokenizer.
///
/// # Errors
/// A model that does not predict the next token, an option out of bounds, or a text that is empty or cannot be read.
pub fn evaluate(
    files: &ModelFiles,
    text: &Text,
    options: &PerplexityOptions,
    observer: &dyn Observer,
) -> Result<Perplexity> {
    let subject = Subject::decoder(files)?;
    let context = window_length(options.context, subject.model.spec().context)?;
    let eos = subject.tokenizer.eos().ok_or_else(|| Error::NoEos { model: files.dir().to_owned() })?;
    let bytes_max = options.bytes_max.unwrap_or(u64::MAX);
    let mut windows = Windows::new(text.documents()?, &subject.tokenizer, eos, context, bytes_max);
    let (mut nats, mut tokens, mut bytes) = (0.0, 0, 0);
    let tokens_max = tokens_max(options)?;
    loop {
        let some = next_windows(&mut windows, tokens_max - tokens)?;
        if some.is_empty() {
            break;
        }
        subject.model.score(&some, |_, losses| {
            nats += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            tokens += losses.len() as u64;
        })?;
        if options.tokens_max.is_some() {
            let targets = some.iter().flat_map(|(_, targets)| targets).copied().collect::<Vec<_>>();
            bytes += subject.tokenizer.decode(&targets)?.len() as u64;
        }
        observer.event(&Event::Progress { what: "scoring", done: tokens, total: 0, unit: "tokens" });
    }
    if windows.bytes() == 0 {
        return Err(Error::NoText { from: text.place() });
    }
    // Where the text went on, only what was predicted of it counts.
    let bytes = if tokens < tokens_max { windows.bytes() } else { bytes };
    match bytes {
        0 => Err(Error::NoText { from: text.place() }),
        bytes => Ok(Perplexity::new(nats, tokens, bytes, context)),
    }
}

fn tokens_max(options: &PerplexityOptions) -> Result<u64> {
    match options.tokens_max {
        Some(0) => Err(Error::Setting { name: "max-tokens", found: "0".to_owned(), expected: "at least 1".to_owned() }),
        most => Ok(most.unwrap_or(u64::MAX)),
    }
}

/// The next windows, of at most `left` tokens together.
fn next_windows<I>(windows: &mut Windows<'_, I>, mut left: u64) -> Result<Vec<Window>>
where
    I: Iterator<Item = Result<String>>,
{
    let mut some = Vec::new();
    while some.len() < WINDOWS_AT_ONCE && left > 0 {
        let Some(window) = windows.next() else { break };
        let (mut tokens, mut targets) = window?;
        let kept = usize::try_from(left).unwrap_or(usize::MAX).min(targets.len());
        tokens.truncate(kept);
        targets.truncate(kept);
        left -= kept as u64;
        some.push((tokens, targets));
    }
    Ok(some)
}

/// Tokens of a window, where a model sees `longest` of them.
pub(crate) fn window_length(context: Option<usize>, longest: usize) -> Result<usize> {
    match context {
        None => Ok(longest),
        Some(context) if (1..=longest).contains(&context) => Ok(context),
        Some(context) => Err(Error::Setting {
            name: "context",
            found: context.to_string(),
            expected: format!("1 to {longest}, the model's own"),
        }),
    }
}

/// The line in the registry.
pub struct PerplexityTask;

impl Task for PerplexityTask {
    fn name(&self) -> &'static str {
        "perplexity"
    }

    fn about(&self) -> &'static str {
        "how well a model predicts a text: perplexity and bits per byte"
    }

    fn run(&self, subject: TaskSubject<'_>, observer: &dyn Observer) -> Result<Figures> {
        let options = PerplexityOptions {
            context: subject.context,
            bytes_max: subject.bytes_max,
            ..PerplexityOptions::default()
        };
        let measured = evaluate(subject.model, subject.text, &options, observer)?;
        Ok(match serde_json::to_value(measured) {
            Ok(serde_json::Value::Object(figures)) => figures,
            _ => Figures::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use luban_base::progress::Silent;
    use luban_text::{Tokenizer, TrainOptions};

    use super::*;

    #[test]
    fn a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary() {
        let measured = Perplexity::new(100.0 * 256.0_f64.ln(), 100, 200, 64);
        assert!((measured.perplexity - 256.0).abs() < 1e-9);
        assert!((measured.bits_per_byte - 4.0).abs() < 1e-12);
    }

    #[test]
    fn windows_end_at_the_limit_of_tokens() {
        let tokenizer = Tokenizer::train(
            std::iter::repeat_n("a b c d e f g h\n".to_owned(), 9),
            &TrainOptions { vocab_size: 260, ..TrainOptions::default() },
            &Silent,
        )
        .unwrap();
        for (most, expected) in [(1, vec![1]), (8, vec![4, 4]), (10, vec![4, 4, 2])] {
            let documents = std::iter::once(Ok("a b c d e f g h\n".repeat(20)));
            let mut windows = Windows::new(documents, &tokenizer, 0, 4, u64::MAX);
            let cut = next_windows(&mut windows, most).unwrap();
            assert!(cut.iter().all(|(tokens, targets)| tokens.len() == targets.len()));
            assert_eq!(cut.iter().map(|(tokens, _)| tokens.len()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn windows_never_exceed_the_context() {
        let length = |context| window_length(context, 256);
        assert_eq!(length(None).unwrap(), 256);
        assert_eq!(length(Some(64)).unwrap(), 64);
        assert!(length(Some(0)).is_err() && length(Some(257)).is_err());
    }
}
