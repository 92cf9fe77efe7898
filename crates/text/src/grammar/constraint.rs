//! A grammar at some point of an answer.

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

use crate::{Error, Result};

/// Says which tokens may follow, for one answer.
pub struct Constraint {
    matcher: Matcher,
    kind: &'static str,
}

/// The tokens that may follow.
#[derive(Clone)]
pub struct Mask {
    set: SimpleVob,
}

impl Constraint {
    pub(super) fn new(matcher: Matcher, kind: &'static str) -> Self {
        Self { matcher, kind }
    }

    /// The same grammar at its beginning, which shares nothing with this one that changes.
    pub(super) fn fresh(&self) -> Self {
        Self { matcher: self.matcher.deep_clone(), kind: self.kind }
    }

    /// The tokens that may follow: those that end an answer among them where it may end here.
    ///
    /// # Errors
    /// A grammar whose state grew beyond all bounds.
    pub fn mask(&mut self) -> Result<Mask> {
        let set = self.matcher.compute_mask_or_eos().map_err(|error| failed(self.kind, &error))?;
        Ok(Mask { set })
    }

    /// Takes in the next token of the answer.
    ///
    /// # Errors
    /// A token that may not follow, or as [`Self::mask`].
    pub fn accept(&mut self, token: u32) -> Result<()> {
        self.matcher.consume_token(token).map_err(|error| failed(self.kind, &error))
    }

    /// Whether the answer is complete and nothing can follow.
    pub fn is_finished(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// Whether the answer may end here.
    ///
    /// # Errors
    /// As [`Self::mask`].
    pub fn may_end(&mut self) -> Result<bool> {
        self.matcher.is_accepting().map_err(|error| failed(self.kind, &error))
    }
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Constraint").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Mask {
    /// Whether a token may follow.
    pub fn allows(&self, token: u32) -> bool {
        (token as usize) < self.set.len() && self.set.is_allowed(token)
    }

    /// Makes the tokens that may not follow impossible: their logits become minus infinity, as do those of rows that
    /// are no tokens.
    pub fn forbid_others(&self, logits: &mut [f32]) {
        let words = self.set.as_slice();
        for (index, part) in logits.chunks_mut(u32::BITS as usize).enumerate() {
            match words.get(index).copied().unwrap_or(0) {
                u32::MAX => {}
                0 => part.fill(f32::NEG_INFINITY),
                word => {
                    let others = part.iter_mut().enumerate().filter(|(bit, _)| word >> bit & 1 == 0);
                    others.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
                }
            }
        }
    }

    /// How many tokens may follow.
    pub fn count(&self) -> usize {
        self.set.num_set()
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mask").field("count", &self.count()).finish()
    }
}

/// What the library said, without its inner state.
pub(super) fn failed(kind: &'static str, error: &dyn std::fmt::Display) -> Error {
    let text = error.to_string();
    let first = text.split("\n<").next().unwrap_or_default();
    let why: String = first.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect();
    Error::Grammar { kind, why }
}
