//! Which tokens hold a certain text: worked out when it is first asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use luban_text::Tokenizer;

/// Sets of strings whose tokens are remembered; requests seldom bring any but the usual one.
const SETS_MAX: usize = 16;

/// The tokens of an engine that hold certain strings.
#[derive(Debug, Default)]
pub(crate) struct Spellings {
    sets: Mutex<BTreeMap<Vec<String>, Arc<[u32]>>>,
}

impl Spellings {
    /// The tokens, in order, with any of the strings in their text.
    pub(crate) fn breakers(&self, tokenizer: &Tokenizer, strings: &[String]) -> Arc<[u32]> {
        let known = self.sets.lock().unwrap_or_else(PoisonError::into_inner).get(strings).cloned();
        known.unwrap_or_else(|| {
            let holds = |id: &u32| {
                let text = tokenizer.decode(&[*id]).unwrap_or_default();
                strings.iter().any(|string| text.contains(string.as_str()))
            };
            let tokens: Arc<[u32]> = (0..tokenizer.vocab_size() as u32).filter(holds).collect();
            let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
            if sets.len() < SETS_MAX {
                sets.insert(strings.to_vec(), Arc::clone(&tokens));
            }
            tokens
        })
    }
}
