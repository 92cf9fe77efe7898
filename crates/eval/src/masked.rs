//! How well a model tells hidden tokens from what stands on both sides of them.
//!
//! The text is cut into the windows of [`crate::perplexity`], and 15 % of each window's tokens are hidden as
//! [`luban_data::masking`] says, always the same ones. A causal model, which must have learnt it beside the next token
//! (`pretrain --objective both`), sees both sides too here, and predicts a token from the row before it.

use luban_artifact::ModelFiles;
use luban_base::progress::{Event, Observer};
use luban_base::random::Stream;
use luban_data::masking::{HELD_OUT, Hidden, MASK_TOKENS, Masker};
use luban_engine::serving::Question;
use luban_model::spec::Head;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Subject;
use crate::perplexity::window_length;
use crate::task::{Figures, Subject as TaskSubject, Task};
use crate::text::{Text, Window, Windows};

/// Windows that are scored between two reports of progress.
const WINDOWS_AT_ONCE: usize = 32;

/// What to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaskedOptions {
    /// Tokens of a window; the model's whole context where not given.
    pub context: Option<usize>,
    /// No document is begun after so many bytes of text.
    pub bytes_max: Option<u64>,
    /// Whether whole words are hidden.
    pub whole_word: bool,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Masked {
    /// Mean loss of a hidden token, nats.
    pub masked_loss: f64,
    /// e to that loss.
    pub masked_perplexity: f64,
    /// The summed loss.
    pub nats: f64,
    /// Tokens that were hidden.
    pub hidden: u64,
    /// Tokens in all.
    pub tokens: u64,
    /// UTF-8 bytes of the text.
    pub bytes: u64,
    /// Tokens of a window.
    pub context: usize,
}

/// Scores the hidden tokens of a text, in non-overlapping windows, with the model's own tokenizer.
///
/// # Errors
/// A model that predicts no tokens or whose tokenizer has no mask token, an option out of bounds, or a text that is
/// empty or cannot be read.
pub fn evaluate(files: &ModelFiles, text: &Text, options: &MaskedOptions, observer: &dyn Observer) -> Result<Masked> {
    let subject = Subject::open(files)?;
    if subject.model.spec().head == Head::None {
        return Err(Error::Setting {
            name: "model",
            found: format!("{}, which has no head over the vocabulary", files.dir().display()),
            expected: "a model that predicts tokens".to_owned(),
        });
    }
    let context = window_length(options.context, subject.model.spec().context)?;
    let eos = subject.tokenizer.eos().ok_or_else(|| Error::NoEos { model: files.dir().to_owned() })?;
    let masker = Masker::for_tokenizer(&subject.tokenizer, options.whole_word).ok_or_else(|| Error::Setting {
        name: "model",
        found: format!("{}, whose tokenizer has no mask token", files.dir().display()),
        expected: format!("a model with one ({})", MASK_TOKENS.join(", ")),
    })?;
    let bytes_max = options.bytes_max.unwrap_or(u64::MAX);
    let mut windows = Windows::new(text.documents()?, &subject.tokenizer, eos, context, bytes_max);
    let (mut nats, mut hidden, mut tokens, mut number) = (0.0, 0, 0, 0);
    loop {
        let some: Vec<Window> = windows.by_ref().take(WINDOWS_AT_ONCE).collect::<Result<_>>()?;
        if some.is_empty() {
            break;
        }
        let shifted = subject.model.spec().causal;
        let questions: Vec<Question> =
            (number..).zip(&some).map(|(number, window)| question(&masker, shifted, number, window)).collect();
        number += some.len() as u64;
        tokens += some.iter().map(|(inputs, _)| inputs.len() as u64).sum::<u64>();
        subject.model.answer(&questions, |_, losses| {
            nats += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            hidden += losses.len() as u64;
        })?;
        observer.event(&Event::Progress { what: "scoring", done: tokens, total: 0, unit: "tokens" });
    }
    match (windows.bytes(), hidden) {
        (0, _) | (_, 0) => Err(Error::NoText { from: text.place() }),
        (bytes, _) => {
            let masked_loss = nats / hidden as f64;
            Ok(Masked { masked_loss, masked_perplexity: masked_loss.exp(), nats, hidden, tokens, bytes, context })
        }
    }
}

/// A window with some of its tokens hidden; `shifted` as a causal model predicts.
fn question(masker: &Masker, shifted: bool, number: u64, (inputs, _): &Window) -> Question {
    let mut tokens = inputs.clone();
    let spared = |position: usize| shifted && position == 0;
    let hidden = masker.hide(&mut tokens, spared, Stream::new(0, &[HELD_OUT, number]));
    Question {
        tokens,
        rows: hidden.iter().map(|hidden: &Hidden| hidden.position - usize::from(shifted)).collect(),
        targets: hidden.iter().map(|hidden| hidden.token).collect(),
        open: true,
    }
}

/// The line in the registry.
pub struct MaskedTask;

impl Task for MaskedTask {
    fn name(&self) -> &'static str {
        "masked"
    }

    fn about(&self) -> &'static str {
        "how well a model tells hidden tokens from both sides"
    }

    fn run(&self, subject: TaskSubject<'_>, observer: &dyn Observer) -> Result<Figures> {
        let TaskSubject { model, text, context, bytes_max } = subject;
        let options = MaskedOptions { context, bytes_max, whole_word: false };
        Ok(match serde_json::to_value(evaluate(model, text, &options, observer)?) {
            Ok(serde_json::Value::Object(figures)) => figures,
            _ => Figures::new(),
        })
    }
}
