//! An encoder and its tokenizer: texts to hidden states, many of them in one pass without padding.

use std::sync::{Arc, Mutex, PoisonError};

use luban_artifact::ModelFiles;
use luban_model::{Batch, Spec, forward};
use luban_text::{Encoding, Tokenizer};

use crate::error::{Error, Result};
use crate::files;
use crate::serving::{Precision, ServingExecutor, ServingModel};

/// Tokens that go through the model at a time.
const BATCH_ROWS: usize = 2048;

/// What embeds and what classifies have in common.
#[derive(Debug)]
pub(crate) struct Encoder {
    model: Arc<ServingModel>,
    tokenizer: Tokenizer,
    tokens_max: usize,
    executor: Mutex<ServingExecutor>,
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
        let executor = Mutex::new(ServingExecutor::new(Arc::clone(&model), None));
        Ok(Self { model, tokenizer, tokens_max, executor })
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

    /// What `each` makes of every text's hidden states, tokens × width; of texts without tokens, nothing.
    ///
    /// # Errors
    /// Texts that are too long, or tokens that are not in the vocabulary.
    pub(crate) fn map<T>(&self, encodings: &[&Encoding], each: impl Fn(&[f32]) -> T) -> Result<Vec<Option<T>>> {
        encodings.iter().try_for_each(|encoding| self.check(encoding))?;
        let mut found = Vec::with_capacity(encodings.len());
        let (mut start, mut rows) = (0, 0);
        for (index, encoding) in encodings.iter().enumerate() {
            if rows + encoding.ids.len() > BATCH_ROWS {
                self.pass(&encodings[start..index], &each, &mut found)?;
                (start, rows) = (index, 0);
            }
            rows += encoding.ids.len();
        }
        self.pass(&encodings[start..], &each, &mut found)?;
        Ok(found)
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
    fn pass<T>(&self, encodings: &[&Encoding], each: &impl Fn(&[f32]) -> T, found: &mut Vec<Option<T>>) -> Result<()> {
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
            let mut executor = self.executor.lock().unwrap_or_else(PoisonError::into_inner);
            let hidden = forward(spec, self.model.weights(), &mut *executor, &batch)?;
            let rows = batch.sequences().iter().map(|rows| rows.start * spec.width..rows.end * spec.width);
            results.extend(rows.map(|rows| each(&hidden.values()[rows])));
        }
        let mut results = results.into_iter();
        found.extend(encodings.iter().map(|encoding| if encoding.ids.is_empty() { None } else { results.next() }));
        Ok(())
    }
}
