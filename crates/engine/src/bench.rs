//! The speed of answering and of embedding, measured on the path that serving takes: requests to an [`Engine`], texts
//! to an [`Embedder`].
//!
//! Tokens are random, those of every request others, so that no cached prefix can help; only what guessing ahead gains
//! is measured on texts ([`guessing`]).

mod speculation;

use luban_base::clock::Clock;
use luban_base::random::Stream;
use luban_text::Encoding;

use crate::answer::Answer;
use crate::embedder::Embedder;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::request::{Event, Request};

pub use speculation::{Guessed, Way, guessing, identical, ways};

/// Labels of the streams that tokens are drawn from.
const PROMPTS: u64 = 0x62_65_6e_63_68;
const SENTENCES: u64 = PROMPTS + 1;

/// How long prompts and answers are, and how often they are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Tokens of a prompt.
    pub prompt: usize,
    /// Tokens of an answer.
    pub answer: usize,
    /// Measurements, of which the median counts; one more goes before them.
    pub repetitions: usize,
}

/// The speed of one request at a time, in tokens a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Single {
    /// Reading a prompt: from asking to the first token of the answer.
    pub prompt_tokens_s: f64,
    /// Writing an answer, token by token, from a prompt of one token: as many steps as tokens.
    pub answer_tokens_s: f64,
}

/// Measures an engine with one request at a time.
///
/// # Errors
/// Lengths that do not fit into the model's context, or a request that fails.
pub fn single(engine: &Engine, lengths: Lengths, clock: &dyn Clock) -> Result<Single> {
    check(engine, lengths.prompt, lengths.answer)?;
    let (mut prompt_s, mut answer_s) = (Vec::new(), Vec::new());
    for repetition in 0..=lengths.repetitions.max(1) as u64 {
        let start = clock.elapsed();
        finish(engine.submit(request(engine, 2 * repetition, lengths.prompt, 1))?)?;
        let between = clock.elapsed();
        finish(engine.submit(request(engine, 2 * repetition + 1, 1, lengths.answer))?)?;
        prompt_s.push((between - start).as_secs_f64());
        answer_s.push((clock.elapsed() - between).as_secs_f64());
    }
    let rate = |tokens: usize, seconds: &[f64]| tokens as f64 / median(&seconds[1..]);
    Ok(Single { prompt_tokens_s: rate(lengths.prompt, &prompt_s), answer_tokens_s: rate(lengths.answer, &answer_s) })
}

/// Tokens a second that so many sequences write together, in steps of one token of each. Their prompts are read in one
/// step before, which does not count: the engine's steps must have room for all of them.
///
/// # Errors
/// Lengths that do not fit into the model's context, more sequences than the engine takes, or a request that fails.
pub fn together(engine: &Engine, sequences: usize, lengths: Lengths, clock: &dyn Clock) -> Result<f64> {
    check(engine, lengths.prompt, lengths.answer + 1)?;
    let mut seconds = Vec::new();
    for repetition in 0..=lengths.repetitions.max(1) {
        let numbers = (0..sequences).map(|sequence| (repetition * sequences + sequence) as u64);
        // One token comes with the prompt.
        let requests = numbers.map(|number| request(engine, number, lengths.prompt, lengths.answer + 1)).collect();
        let mut answers = engine.submit_all(requests)?;
        answers.iter_mut().try_for_each(first_token)?;
        let start = clock.elapsed();
        answers.into_iter().try_for_each(finish)?;
        seconds.push((clock.elapsed() - start).as_secs_f64());
    }
    Ok((sequences * lengths.answer) as f64 / median(&seconds[1..]))
}

/// Sentences a second of texts, from characters to vectors; with the vectors of the last pass.
///
/// Texts go to the embedder `batch` at a time, or all at once, in their order or the shortest first.
///
/// # Errors
/// A text that the tokenizer cannot encode.
pub fn texts(
    embedder: &Embedder,
    texts: &[String],
    order: Order,
    repetitions: usize,
    clock: &dyn Clock,
) -> Result<(f64, Vec<Vec<f32>>)> {
    let (mut seconds, mut embeddings) = (Vec::new(), Vec::new());
    for _ in 0..=repetitions.max(1) {
        let start = clock.elapsed();
        embeddings = pass(embedder, texts, order)?;
        seconds.push((clock.elapsed() - start).as_secs_f64());
    }
    Ok((texts.len() as f64 / median(&seconds[1..]), embeddings))
}

/// In which order texts are embedded, and how many at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The shortest first, by tokens.
    pub sorted: bool,
    /// Texts that are given to the embedder at a time; all where there is no number.
    pub batch: Option<usize>,
}

/// One pass over the texts; their vectors in the order of the texts.
fn pass(embedder: &Embedder, texts: &[String], order: Order) -> Result<Vec<Vec<f32>>> {
    let batch = order.batch.unwrap_or(texts.len()).max(1);
    if !order.sorted {
        let batches = texts.chunks(batch).map(|texts| embedder.embed(texts));
        return Ok(batches.collect::<Result<Vec<_>>>()?.concat());
    }
    let encodings = embedder.encode_all(texts)?;
    let mut indices: Vec<usize> = (0..texts.len()).collect();
    indices.sort_by_key(|&index| encodings[index].ids.len());
    let mut embeddings = vec![Vec::new(); texts.len()];
    for chosen in indices.chunks(batch) {
        let chosen_encodings: Vec<&Encoding> = chosen.iter().map(|&index| &encodings[index]).collect();
        for (&index, embedding) in chosen.iter().zip(embedder.embed_encodings(&chosen_encodings)?) {
            embeddings[index] = embedding;
        }
    }
    Ok(embeddings)
}

/// Sentences a second for batches of one shape, with random tokens: `batch` sentences of `length` tokens. At least
/// `repetitions` batches and `seconds_min` are measured.
///
/// # Errors
/// A length that does not fit into the model's context.
pub fn grid(embedder: &Embedder, shape: Grid, repetitions: usize, clock: &dyn Clock) -> Result<f64> {
    let Grid { batch, length, seconds_min } = shape;
    if !(1..=embedder.tokens_max()).contains(&length) {
        let expected = format!("it must be from 1 to {}, the model's own", embedder.tokens_max());
        return Err(Error::Option { what: "the length of sentences", found: length.to_string(), expected });
    }
    let stream = Stream::new(0, &[SENTENCES]);
    let token = |index: usize| stream.below_at(index as u64, embedder.vocab() as u64) as u32;
    let sentence = |number: usize| Encoding {
        ids: (number * length..(number + 1) * length).map(token).collect(),
        type_ids: vec![0; length],
    };
    let sentences: Vec<Encoding> = (0..batch).map(sentence).collect();
    let sentences: Vec<&Encoding> = sentences.iter().collect();
    embedder.embed_encodings(&sentences)?;
    let (begin, mut seconds) = (clock.elapsed(), Vec::new());
    while seconds.len() < repetitions.max(1) || (clock.elapsed() - begin).as_secs_f64() < seconds_min {
        let start = clock.elapsed();
        embedder.embed_encodings(&sentences)?;
        seconds.push((clock.elapsed() - start).as_secs_f64());
    }
    Ok(batch as f64 / median(&seconds))
}

/// A batch of one shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Sentences of the batch.
    pub batch: usize,
    /// Tokens of each.
    pub length: usize,
    /// Seconds to measure, at least.
    pub seconds_min: f64,
}

/// The least and the mean cosine between vectors and those that they should be.
pub fn cosines(found: &[Vec<f32>], expected: &[Vec<f32>]) -> (f64, f64) {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let cosine = |(a, b): (&Vec<f32>, &Vec<f32>)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE);
    let cosines: Vec<f64> = found.iter().zip(expected).map(cosine).collect();
    let least = cosines.iter().copied().fold(f64::INFINITY, f64::min);
    (least, cosines.iter().sum::<f64>() / cosines.len() as f64)
}

fn check(engine: &Engine, prompt: usize, answer: usize) -> Result<()> {
    let context = engine.info().context;
    // The last token of an answer is never read.
    let needed = prompt.max(1) + answer.saturating_sub(1);
    if prompt > 0 && answer > 0 && needed <= context {
        return Ok(());
    }
    let expected = format!("together they must be from 1 to {context}, the model's context");
    let found = format!("{prompt} and {answer}");
    Err(Error::Option { what: "the tokens of prompt and answer", found, expected })
}

/// A greedy request with random tokens, which are others for every number.
fn request(engine: &Engine, number: u64, prompt: usize, answer: usize) -> Request {
    let stream = Stream::new(number, &[PROMPTS]);
    let vocab = engine.info().vocab as u64;
    let prompt = (0..prompt as u64).map(|index| stream.below_at(index, vocab) as u32).collect();
    Request { ignore_end: true, ..Request::greedy(prompt, answer) }
}

/// Waits for the first token.
fn first_token(answer: &mut Answer) -> Result<()> {
    match answer.next() {
        Some(Event::Failed(why)) => Err(Error::Failed(why)),
        _ => Ok(()),
    }
}

/// Waits for the last event.
fn finish(answer: Answer) -> Result<()> {
    match answer.last() {
        Some(Event::Failed(why)) => Err(Error::Failed(why)),
        _ => Ok(()),
    }
}

fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2].max(1e-9)
}
