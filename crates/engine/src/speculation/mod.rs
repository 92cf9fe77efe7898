//! Guessing tokens ahead, and checking the guesses in one pass.
//!
//! A pass over one token moves all weights through the processor, and so does a pass over ten. So the next tokens are
//! guessed, all guesses are read in one pass, and its logits say how many were right. Each row's token is drawn as it
//! would be without guesses, by seed and position, from logits that have the same bits: what is answered does not
//! change, drawn or greedy, whatever was guessed. The method is that of Leviathan et al. 2023 (arXiv 2211.17192) with
//! guesses that are certain of themselves: for those, keeping a guess if it equals the draw is their rule for rejection.
//!
//! Guesses come from the text itself ([`lookup`]), from the model's first layers, or from a smaller model. How many are
//! made follows from how many were right so far ([`odds`]) and how long passes take ([`cost`]); where it does not pay,
//! none are.

pub(crate) mod cost;
pub(crate) mod lookup;
pub(crate) mod odds;

use std::sync::Arc;

use self::odds::{Odds, Source};
use crate::serving::ServingModel;

/// Most tokens that are guessed at a time.
pub const GUESSES_MAX: usize = 64;

/// Tokens after which a text that strayed is not expected where it was.
const ALONG_MAX: usize = 2 * GUESSES_MAX;

/// How an engine guesses tokens ahead. No answer changes by it; only how fast it comes.
#[derive(Clone, Debug)]
pub struct Speculation {
    /// Most tokens that are guessed at a time; 0 guesses none.
    pub tokens_max: usize,
    /// Looks for the last few tokens earlier in the prompt and the answer, and guesses what followed there.
    pub lookup: bool,
    /// What guesses where that finds nothing.
    pub drafter: Drafter,
    /// Always guesses as many as may be, whether it pays or not: for tests, and to measure what it costs.
    pub always: bool,
}

/// A model that guesses.
#[derive(Clone, Debug, Default)]
pub enum Drafter {
    /// None does.
    #[default]
    None,
    /// The model's own first layers, so many of them, and its head.
    Early(usize),
    /// Another model with the same vocabulary.
    Model(Arc<ServingModel>),
}

impl Speculation {
    /// No guesses.
    pub const NONE: Self = Self { tokens_max: 0, lookup: false, drafter: Drafter::None, always: false };
}

impl Default for Speculation {
    fn default() -> Self {
        Self { tokens_max: 24, lookup: true, ..Self::NONE }
    }
}

/// One sequence's guesses, and what became of its earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    /// The last token that is certain, then the guesses; empty where there are none.
    feed: Vec<u32>,
    source: Source,
    odds: Odds,
    /// Where the text stood that it last repeated, and how long it was then.
    along: Option<(usize, usize)>,
    /// Tokens that another model has read to guess.
    pub(crate) read: usize,
}

impl Guesses {
    /// What the next step reads instead of the last token alone, if anything.
    pub(crate) fn feed(&self) -> Option<&[u32]> {
        (self.feed.len() > 1).then_some(&self.feed)
    }

    /// The guesses.
    pub(crate) fn tokens(&self) -> &[u32] {
        self.feed.get(1..).unwrap_or_default()
    }

    /// Takes them back.
    pub(crate) fn clear(&mut self) {
        self.feed.clear();
    }

    /// Keeps the first few only.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.feed.truncate(1 + count);
    }

    /// Guesses at most `most` tokens by what followed earlier; the chances of the first and of each further one.
    pub(crate) fn look_up(&mut self, tokens: &[u32], most: usize) -> Option<odds::Chances> {
        self.feed.clear();
        let place = lookup::find(tokens).or_else(|| lookup::near(tokens, self.expected(tokens.len())?))?;
        if place.matched > 0 {
            self.along = Some((place.start, tokens.len()));
        }
        self.feed.extend(tokens.last());
        self.feed.extend(lookup::from_there(tokens, place.start).take(most));
        self.source = Source::of_match(place.matched);
        Some(self.odds.chances(self.source))
    }

    /// Where the next token should stand if the text, of so many tokens now, still repeats what it did.
    fn expected(&self, length: usize) -> Option<usize> {
        let (start, before) = self.along?;
        let since = length.checked_sub(before)?;
        (since <= ALONG_MAX).then_some(start + since)
    }

    /// The chances of a drafter's guesses.
    pub(crate) fn chances_of_drafter(&self) -> odds::Chances {
        self.odds.chances(Source::Drafter)
    }

    /// Adds a guess of the drafter's after `last`, the last certain token.
    pub(crate) fn push(&mut self, last: u32, guess: u32) {
        if self.feed.is_empty() {
            self.feed.push(last);
            self.source = Source::Drafter;
        }
        self.feed.push(guess);
    }

    /// The last of all that is known or guessed.
    pub(crate) fn last(&self) -> Option<&u32> {
        self.feed.last()
    }

    /// It did not pay to try, this time. With time it is tried again.
    pub(crate) fn pass_over(&mut self, source: Option<Source>) {
        self.odds.fade(source.unwrap_or(self.source));
        self.feed.clear();
    }

    /// So many of the guesses were right.
    pub(crate) fn settle(&mut self, right: usize) {
        self.odds.note(self.source, self.tokens().len(), right);
        self.feed.clear();
    }
}
