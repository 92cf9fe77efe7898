//! How often a sequence's guesses were right.

/// Where guesses come from; how far back the text matched makes a difference of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// Where the text would stand if it had not strayed.
    Along,
    /// The same, with the last token right before it.
    Match1,
    #[default]
    Match2,
    Match4,
    Match8,
    MatchMore,
    Drafter,
}

/// The probability of the first guess, and of each further one if those before it are right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Chances {
    pub(crate) first: f32,
    pub(crate) next: f32,
}

/// What tries before the first count.
const PRIOR_TRIES: f32 = 2.0;
/// What an earlier try counts beside one that came later.
const MEMORY: f32 = 0.93;
/// What a try still counts after a step in which nothing was tried.
const FADE: f32 = 0.97;

/// A sequence's record.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Odds {
    records: [[Record; 2]; 7],
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    tries: f32,
    right: f32,
}

impl Source {
    /// A match of so many tokens.
    pub(crate) fn of_match(tokens: usize) -> Self {
        match tokens {
            0 => Self::Along,
            1 => Self::Match1,
            2 => Self::Match2,
            3..=4 => Self::Match4,
            5..=8 => Self::Match8,
            _ => Self::MatchMore,
        }
    }

    /// What is expected before anything was tried: the longer a match, the more of it.
    fn prior(self) -> Chances {
        let (first, next) = match self {
            Self::Along => (0.35, 0.8),
            Self::Match1 | Self::Match2 | Self::Drafter => (0.5, 0.8),
            Self::Match4 => (0.6, 0.85),
            Self::Match8 => (0.75, 0.9),
            Self::MatchMore => (0.85, 0.95),
        };
        Chances { first, next }
    }
}

impl Odds {
    /// What to expect of a source.
    pub(crate) fn chances(&self, source: Source) -> Chances {
        let [first, next] = self.records[source as usize];
        let prior = source.prior();
        Chances { first: first.rate(prior.first), next: next.rate(prior.next) }
    }

    /// Of some guesses, the first so many were right.
    pub(crate) fn note(&mut self, source: Source, guesses: usize, right: usize) {
        let [first, next] = &mut self.records[source as usize];
        for index in 0..guesses.min(right + 1) {
            let record = if index == 0 { &mut *first } else { &mut *next };
            record.note(index < right);
        }
    }

    /// A source was passed over.
    pub(crate) fn fade(&mut self, source: Source) {
        for record in &mut self.records[source as usize] {
            record.tries *= FADE;
            record.right *= FADE;
        }
    }
}

impl Record {
    fn note(&mut self, right: bool) {
        self.tries = self.tries * MEMORY + 1.0;
        self.right = self.right * MEMORY + f32::from(u8::from(right));
    }

    fn rate(&self, prior: f32) -> f32 {
        (self.right + PRIOR_TRIES * prior) / (self.tries + PRIOR_TRIES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_follow_what_happened_lately() {
        let mut odds = Odds::default();
        let start = odds.chances(Source::Match4);
        (0..20).for_each(|_| odds.note(Source::Match4, 8, 0));
        assert!(odds.chances(Source::Match4).first < 0.1);
        assert_eq!(odds.chances(Source::Match4).next, start.next, "nothing is known of what was not reached");
        assert_eq!(odds.chances(Source::Drafter), Source::Drafter.prior(), "each source has its own record");
        (0..40).for_each(|_| odds.note(Source::Match4, 8, 8));
        assert!(odds.chances(Source::Match4).first > 0.8 && odds.chances(Source::Match4).next > 0.95);
    }

    #[test]
    fn what_does_not_pay_is_tried_again_later() {
        let mut odds = Odds::default();
        (0..50).for_each(|_| odds.note(Source::Match2, 1, 0));
        let low = odds.chances(Source::Match2).first;
        (0..100).for_each(|_| odds.fade(Source::Match2));
        assert!(low < 0.08 && odds.chances(Source::Match2).first > 0.25);
    }
}
