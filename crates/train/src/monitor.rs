//! Looking at a model while it trains: its loss on held-out text, and what it writes.

use luban_base::random::Stream;
use luban_data::loader::Window;
use luban_data::masking::HELD_OUT;
use luban_kernels::loss;
use luban_model::Batch;
use luban_model::training::TrainableModel;
use luban_text::Tokenizer;

use crate::error::Result;
use crate::objective::{Assembled, Example, Measure, Objective, Passage};

/// Label of the random streams that samples are drawn with.
const SAMPLE: u64 = 0x5A3B;
/// Rows of logits that are alive at once.
const ROWS_AT_ONCE: usize = 2048;
/// Tokens that a sample starts with, and tokens that the model adds.
const PROMPT_TOKENS: usize = 16;
const SAMPLE_TOKENS: usize = 48;
/// Sampling temperature: below 1, so that a young model's samples show what it knows best.
const TEMPERATURE: f64 = 0.7;

/// Held-out text, ready to be scored.
#[derive(Debug)]
pub struct HeldOut {
    /// The first has a target for every token, where there are several.
    parts: Vec<Part>,
    targets: usize,
    bytes: u64,
}

/// A text as one of the losses sees it.
#[derive(Debug)]
struct Part {
    /// Empty where it is the only one.
    name: String,
    share: f64,
    examples: Vec<Example>,
}

/// How well a model predicts held-out text.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Mean loss, nats a target; where there are several losses, their mean by their shares.
    pub loss: f64,
    /// Bits a byte of the text, by the first loss. For an objective that predicts a share of the tokens only, what it
    /// would be if every token cost the mean loss.
    pub bits_per_byte: f64,
    /// e to the first loss: to how many tokens, all as likely, the model's doubt comes.
    pub perplexity: f64,
    /// Share of the first loss's targets that the model holds for the likeliest token.
    pub accuracy: f64,
    /// The losses by name, where they are several; those on the text of other corpora too.
    pub parts: Vec<(String, f64)>,
}

impl HeldOut {
    /// Prepares windows of text (inputs and the token after each), which have `bytes` bytes in all.
    pub fn new(windows: &[Window], bytes: u64, objective: &dyn Objective) -> Self {
        let targets = windows.iter().map(|(_, targets)| targets.len()).sum();
        Self { parts: parts(windows, objective), targets, bytes }
    }

    /// Adds windows of another corpus, whose losses are seen beside the others and count for nothing; none if there are
    /// no windows.
    pub fn push_other(&mut self, corpus: &str, windows: &[Window], objective: &dyn Objective) {
        if windows.is_empty() {
            return;
        }
        self.parts.extend(parts(windows, objective).into_iter().map(|part| {
            let name = if part.name.is_empty() { corpus.to_owned() } else { format!("{corpus}_{}", part.name) };
            Part { name, share: 0.0, ..part }
        }));
    }

    /// Whether there is nothing to score.
    pub fn is_empty(&self) -> bool {
        self.targets == 0
    }

    /// Tokens in all.
    pub fn tokens(&self) -> usize {
        self.targets
    }

    /// Bytes of text in all.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Scores the model, which is not changed.
    ///
    /// # Errors
    /// If the text does not suit the model.
    pub fn score(&self, model: &mut TrainableModel) -> Result<Score> {
        let grades = self.parts.iter().map(|part| part.score(model)).collect::<Result<Vec<Grade>>>()?;
        let loss = grades.iter().zip(&self.parts).map(|(grade, part)| grade.loss * part.share).sum();
        let first = grades.first().copied().unwrap_or(Grade { loss: f64::NAN, accuracy: f64::NAN });
        let bits = first.loss * self.targets as f64 / std::f64::consts::LN_2;
        let parts = self.parts.iter().zip(grades).filter(|(part, _)| !part.name.is_empty());
        Ok(Score {
            loss,
            bits_per_byte: bits / self.bytes.max(1) as f64,
            perplexity: first.loss.exp(),
            accuracy: first.accuracy,
            parts: parts.map(|(part, grade)| (part.name.clone(), grade.loss)).collect(),
        })
    }

    /// A text of the model's own that goes on from a place in the held-out text.
    ///
    /// # Errors
    /// If the tokens do not suit the model or the tokenizer.
    pub fn sample(&self, model: &mut TrainableModel, tokenizer: &Tokenizer, step: u64) -> Result<String> {
        let draws = Stream::new(step, &[SAMPLE]);
        let examples = self.parts.first().map_or(&[][..], |part| &part.examples);
        if examples.is_empty() || model.spec().context <= PROMPT_TOKENS {
            return Ok(String::new());
        }
        let place = draws.child(0).below_at(0, examples.len() as u64) as usize;
        let inputs = &examples[place].inputs;
        let mut tokens = inputs[..inputs.len().min(PROMPT_TOKENS)].to_vec();
        let most = (tokens.len() + SAMPLE_TOKENS).min(model.spec().context);
        while tokens.len() < most {
            let logits = model.logits(&Batch::of([&tokens[..]]), &[tokens.len() - 1])?;
            let token = draw(&logits, draws.child(1).uniform_at(tokens.len() as u64));
            tokens.push(token);
            if Some(token) == tokenizer.eos() {
                break;
            }
        }
        Ok(tokenizer.decode(&tokens)?)
    }
}

/// Windows as each of an objective's losses sees them.
fn parts(windows: &[Window], objective: &dyn Objective) -> Vec<Part> {
    let examples = |objective: &dyn Objective| {
        let example = |(index, (inputs, targets)): (usize, &Window)| {
            let tokens: Vec<u32> = inputs.iter().chain(targets.last()).copied().collect();
            objective.example(&Passage::new(&tokens, Stream::new(0, &[HELD_OUT, index as u64])))
        };
        windows.iter().enumerate().map(example).collect::<Vec<_>>()
    };
    let measures = objective.measures();
    if measures.is_empty() {
        return vec![Part { name: String::new(), share: 1.0, examples: examples(objective) }];
    }
    let part = |measure: &Measure| {
        let Measure { name, share, objective } = measure;
        Part { name: (*name).to_owned(), share: *share, examples: examples(&**objective) }
    };
    measures.iter().map(part).collect()
}

/// How well a model predicts one part.
#[derive(Clone, Copy, Debug)]
struct Grade {
    /// Mean, nats a target.
    loss: f64,
    accuracy: f64,
}

impl Part {
    fn score(&self, model: &mut TrainableModel) -> Result<Grade> {
        let (mut nats, mut right, mut scored) = (0.0, 0, 0);
        let longest = self.examples.iter().map(|example| example.inputs.len()).max().unwrap_or(1).max(1);
        for part in self.examples.chunks((ROWS_AT_ONCE / longest).max(1)) {
            let Assembled { batch, rows, targets, .. } = Assembled::of(part);
            if rows.is_empty() {
                continue;
            }
            let logits = model.logits(&batch, &rows)?;
            nats += sum_of_losses(&logits, &targets);
            right += likeliest(&logits, &targets).filter(|right| *right).count();
            scored += targets.len();
        }
        let scored = scored.max(1) as f64;
        Ok(Grade { loss: nats / scored, accuracy: right as f64 / scored })
    }
}

/// Mean loss of one example, nats a target; 0 for one without targets.
///
/// # Errors
/// If it does not suit the model.
pub fn loss_of(model: &mut TrainableModel, example: &Example) -> Result<f64> {
    let Assembled { batch, rows, targets, .. } = Assembled::of(std::slice::from_ref(example));
    if rows.is_empty() {
        return Ok(0.0);
    }
    Ok(sum_of_losses(&model.logits(&batch, &rows)?, &targets) / targets.len() as f64)
}

/// The summed cross entropy of rows of logits, in nats; summed in the order of the rows.
fn sum_of_losses(logits: &[f32], targets: &[u32]) -> f64 {
    let mut losses = vec![0.0; targets.len()];
    loss::negative_log_likelihood(logits, targets, &mut losses);
    losses.iter().map(|&nats| f64::from(nats)).sum()
}

/// Of each row of logits whether none is greater than that of the row's target.
pub(crate) fn likeliest<'a>(logits: &'a [f32], targets: &'a [u32]) -> impl Iterator<Item = bool> + 'a {
    /// Compared as one: without an exit between them, the compiler compares several at a time.
    const GROUP: usize = 64;
    let vocab = (logits.len() / targets.len().max(1)).max(1);
    logits.chunks(vocab).zip(targets).map(|(row, &target)| {
        let own = row[target as usize];
        let mut groups = row.chunks(GROUP);
        groups.all(|group| group.iter().fold(true, |least, &other| least & (other <= own)))
    })
}

/// Draws a token by its probability at [`TEMPERATURE`]; `uniform` is in [0, 1).
fn draw(logits: &[f32], uniform: f32) -> u32 {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let weight = |&logit: &f32| ((f64::from(logit) - most) / TEMPERATURE).exp();
    let mut left = f64::from(uniform) * logits.iter().map(weight).sum::<f64>();
    for (token, logit) in logits.iter().enumerate() {
        left -= weight(logit);
        if left < 0.0 {
            return token as u32;
        }
    }
    logits.len().saturating_sub(1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_those_of_the_definition() {
        let logits = [1.0_f32, 2.0, 3.0, 0.0, 0.0, 0.0];
        let total = (1.0_f64.exp() + 2.0_f64.exp() + 3.0_f64.exp()).ln();
        let expected = (total - 2.0) + 3.0_f64.ln();
        assert!((sum_of_losses(&logits, &[1, 0]) - expected).abs() < 1e-6);
    }

    #[test]
    fn a_target_is_right_where_no_token_is_likelier() {
        let mut logits = vec![0.0_f32; 2 * 150];
        (logits[140], logits[150 + 3]) = (2.0, 1.0);
        let right = |targets: [u32; 2]| likeliest(&logits, &targets).collect::<Vec<_>>();
        assert_eq!([right([140, 3]), right([139, 140])], [[true, true], [false, false]]);
        logits[139] = 2.0;
        assert!(likeliest(&logits, &[139, 0]).next().unwrap(), "as likely as another");
        logits[1] = f32::NAN;
        assert!(!likeliest(&logits, &[139, 0]).next().unwrap(), "a model that broke is never right");
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.0, f32::NEG_INFINITY, 0.0];
        assert_eq!([draw(&logits, 0.0), draw(&logits, 0.49), draw(&logits, 0.51), draw(&logits, 0.999)], [0, 0, 2, 2]);
    }
}
