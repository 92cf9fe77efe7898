//! An encoder and its tokenizer: texts to hidden states, many of them in one pass without padding.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use luban_artifact::ModelFiles;
use luban_kernels::pool;
use luban_model::{Batch, Spec, forward};
use luban_text::{Encoding, Tokenizer};

use crate::error::{Error, Result};
use crate::files;
use crate::serving::{Precision, ServingExecutor, ServingModel};

/// Tokens that go through the model at a time, where one pass has all threads.
const PASS_ROWS: usize = 2048;
/// Where each thread has a pass of its own: few enough that what a layer computes stays in the second cache until the
/// next layer reads it.
const OWN_PASS_ROWS: usize = 192;

/// What embeds and what classifies have in common.
#[derive(Debug)]
pub(crate) struct Encoder {
    model: Arc<ServingModel>,
    tokenizer: Tokenizer,
    tokens_max: usize,
    /// Those that no pass uses at the moment.
    executors: Mutex<Vec<ServingExecutor>>,
}

impl Encoder {
    /// `what` the model is for, as a verb; `tokens_max` bounds texts below the model's context.
    pub(crate) fn new(
        files: &ModelFiles,
        model: ServingModel,
        tokens_max: Option<usize>,
        what: &'static str,
    ) -> Result<Self> {
        let tokenizer = files::tokenizer(files)?;
        let spec = model.spec();
        if tokenizer.vocab_size() > spec.vocab {
            let why = format!("its tokenizer has {} tokens, its vocabulary {}", tokenizer.vocab_size(), spec.vocab);
            return Err(Error::Unsupported { what, why });
        }
        let tokens_max = tokens_max.map_or(spec.context, |limit| spec.context.min(limit));
        let model = Arc::new(model);
        Ok(Self { model, tokenizer, tokens_max, executors: Mutex::default() })
    }

    /// A model as `precision` has it.
    pub(crate) fn load(
        files: &ModelFiles,
        precision: Precision,
        tokens_max: Option<usize>,
        what: &'static str,
    ) -> Result<Self> {
        Self::new(files, ServingModel::load_as(files, precision)?, tokens_max, what)
    }

    pub(crate) fn spec(&self) -> &Spec {
        self.model.spec()
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Tokens of a text that are read.
    pub(crate) fn tokens_max(&self) -> usize {
        self.tokens_max
    }

    /// The tokens of each text, found by all threads.
    ///
    /// # Errors
    /// The first text that the tokenizer cannot encode.
    pub(crate) fn encode_all<T: Sync>(
        &self,
        texts: &[T],
        encode: impl Fn(&T) -> Result<Encoding> + Sync,
    ) -> Result<Vec<Encoding>> {
        const TEXTS: usize = 16;
        let mut encodings: Vec<Option<Result<Encoding>>> = texts.iter().map(|_| None).collect();
        pool::parallel_chunks_mut(&mut encodings, TEXTS, |chunk, encodings| {
            encodings.iter_mut().zip(&texts[chunk * TEXTS..]).for_each(|(to, text)| *to = Some(encode(text)));
        });
        encodings.into_iter().flatten().collect()
    }

    /// What `each` makes of every text's hidden states, tokens × width; of texts without tokens, nothing.
    ///
    /// Many texts are shared out: each thread takes some through all layers. Few go through the model together, each
    /// operation shared out. A text's states are the same either way.
    ///
    /// # Errors
    /// Texts that are too long, or tokens that are not in the vocabulary.
    pub(crate) fn map<T: Send>(
        &self,
        encodings: &[&Encoding],
        each: impl Fn(&[f32]) -> T + Sync,
    ) -> Result<Vec<Option<T>>> {
        encodings.iter().try_for_each(|encoding| self.check(encoding))?;
        let lengths: Vec<usize> = encodings.iter().map(|encoding| encoding.ids.len()).collect();
        let passes = passes(&lengths, pool::threads());
        let mut found: Vec<Result<Vec<Option<T>>>> = passes.iter().map(|_| Ok(Vec::new())).collect();
        let pass = |index: usize, found: &mut Result<_>| *found = self.pass(&encodings[passes[index].clone()], &each);
        if passes.len() < pool::threads() {
            found.iter_mut().enumerate().for_each(|(index, found)| pass(index, found));
        } else {
            pool::parallel_chunks_mut(&mut found, 1, |index, found| pass(index, &mut found[0]));
        }
        Ok(found.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn check(&self, encoding: &Encoding) -> Result<()> {
        let Encoding { ids, type_ids } = encoding;
        let fail = |what, found: usize, expected| Err(Error::Option { what, found: found.to_string(), expected });
        if ids.len() > self.tokens_max {
            return fail("the number of a text's tokens", ids.len(), format!("at most {} fit", self.tokens_max));
        }
        if type_ids.len() != ids.len() {
            return fail("the number of a text's types", type_ids.len(), format!("its tokens are {}", ids.len()));
        }
        let spec = self.model.spec();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= spec.vocab) {
            return fail("a text's token", id as usize, format!("it must be below {}", spec.vocab));
        }
        match type_ids.iter().find(|&&kind| spec.token_types > 0 && kind as usize >= spec.token_types) {
            Some(&kind) => fail("a token's type", kind as usize, format!("it must be below {}", spec.token_types)),
            None => Ok(()),
        }
    }

    /// Texts one after another in one pass, without padding.
    fn pass<T>(&self, encodings: &[&Encoding], each: &impl Fn(&[f32]) -> T) -> Result<Vec<Option<T>>> {
        let spec = self.model.spec();
        let mut batch = Batch::new();
        for encoding in encodings.iter().filter(|encoding| !encoding.ids.is_empty()) {
            batch.push(&encoding.ids, 0);
            if spec.token_types > 0 {
                batch.set_token_types(&encoding.type_ids);
            }
        }
        let mut results = Vec::new();
        if batch.rows() > 0 {
            let idle = self.executors.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut executor = idle.unwrap_or_else(|| ServingExecutor::new(Arc::clone(&self.model), None));
            let hidden = forward(spec, self.model.weights(), &mut executor, &batch)?;
            let rows = batch.sequences().iter().map(|rows| rows.start * spec.width..rows.end * spec.width);
            results.extend(rows.map(|rows| each(&hidden.values()[rows])));
            drop(hidden);
            self.executors.lock().unwrap_or_else(PoisonError::into_inner).push(executor);
        }
        let mut results = results.into_iter();
        Ok(encodings.iter().map(|encoding| if encoding.ids.is_empty() { None } else { results.next() }).collect())
    }
}

/// Cuts texts of so many tokens into passes: as many as keep all threads busy, each about as long, or, of too few texts
/// for that, as few as possible.
fn passes(lengths: &[usize], threads: usize) -> Vec<Range<usize>> {
    let total: usize = lengths.iter().sum();
    let shared_out = threads > 1 && lengths.len() >= 2 * threads;
    let most = match shared_out {
        true => total.div_ceil(total.div_ceil(OWN_PASS_ROWS).next_multiple_of(threads).max(1)),
        false => PASS_ROWS,
    };
    let (mut passes, mut start, mut rows) = (Vec::new(), 0, 0);
    for (index, length) in lengths.iter().enumerate() {
        // Half of a text more or less, so that the last pass is as long as the others.
        let reach = if shared_out { rows + length / 2 } else { rows + length };
        if reach > most && index > start {
            passes.push(start..index);
            (start, rows) = (index, 0);
        }
        rows += length;
    }
    passes.push(start..lengths.len());
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_hold_every_text_once_and_are_about_as_long() {
        for (lengths, threads) in [
            (vec![14; 32], 2),
            ((1..200).map(|i| 5 + i * 7 % 40).collect::<Vec<_>>(), 2),
            ((1..60).map(|i| i * i % 90).collect(), 3),
            (vec![400; 9], 2),
            (vec![500], 4),
            (vec![], 2),
            (vec![0, 0, 0, 0], 2),
        ] {
            let passes = passes(&lengths, threads);
            let all: Vec<usize> = passes.iter().cloned().flatten().collect();
            assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            let rows = passes.iter().map(|pass| lengths[pass.clone()].iter().sum::<usize>());
            let (longest, longest_text) = (rows.max().unwrap_or(0), lengths.iter().copied().max().unwrap_or(0));
            assert!(longest <= PASS_ROWS.max(longest_text), "{longest} rows at once");
            if lengths.len() >= 2 * threads {
                assert!(longest <= OWN_PASS_ROWS + longest_text, "{longest} rows for one thread");
            }
        }
        assert_eq!(passes(&[14; 32], 2).len(), 4);
    }
}
