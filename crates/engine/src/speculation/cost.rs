//! How long a pass takes by the number of its rows, as measured, and what it is worth to add rows of guesses.

use super::GUESSES_MAX;
use super::odds::Chances;

/// Rows of which the times are kept.
const ROWS_MAX: usize = 4 * GUESSES_MAX;
/// Times of a number of rows, of which the median counts, so that what disturbed one does not.
const TIMES: usize = 3;
/// Passes after which a time is too old to be believed.
const PASSES_MAX: u64 = 400;
/// Least gain for which guesses are made.
const GAIN_MIN: f32 = 1.03;

/// Times of passes.
#[derive(Debug)]
pub(crate) struct PassTimes {
    by_rows: Vec<Times>,
    passes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    seconds: [f32; TIMES],
    count: u64,
    at: u64,
}

/// A pass to which guesses may be added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    /// Rows that it has so far.
    pub(crate) rows: usize,
    /// Tokens that are expected to come of it.
    pub(crate) expected: f32,
    /// What each guess costs before it is checked.
    pub(crate) seconds_a_guess: f32,
}

impl Default for PassTimes {
    fn default() -> Self {
        Self { by_rows: vec![Times::default(); ROWS_MAX + 1], passes: 0 }
    }
}

impl PassTimes {
    /// A pass of so many rows took so long.
    pub(crate) fn note(&mut self, rows: usize, seconds: f32) {
        self.passes += 1;
        let Some(times) = self.by_rows.get_mut(rows) else { return };
        if !times.is_fresh(self.passes) {
            times.count = 0;
        }
        times.seconds[(times.count % TIMES as u64) as usize] = seconds;
        times.count += 1;
        times.at = self.passes;
    }

    /// How long a pass of so many rows takes: between those that were measured in proportion, beyond them as long as
    /// the nearest, so that it is tried.
    pub(crate) fn seconds(&self, rows: usize) -> Option<f32> {
        let known = |rows: &usize| self.by_rows.get(*rows).and_then(|times| times.median(self.passes)).is_some();
        let value = |rows: usize| self.by_rows[rows].median(self.passes).unwrap_or_default();
        let below = (0..=rows.min(ROWS_MAX)).rev().find(known);
        let above = (rows..=ROWS_MAX).find(known);
        match (below, above) {
            (Some(below), Some(above)) if below < above => {
                let share = (rows - below) as f32 / (above - below) as f32;
                Some(value(below) + share * (value(above) - value(below)))
            }
            (Some(one), _) | (None, Some(one)) => Some(value(one)),
            (None, None) => None,
        }
    }

    /// How many guesses, of at most `most`, give the most tokens in a second; and the tokens that are expected of them.
    pub(crate) fn best(&self, pass: Pass, chances: Chances, most: usize) -> (usize, f32) {
        let Some(plain) = self.seconds(pass.rows) else { return (0, 0.0) };
        let mut best = (0, 0.0);
        let mut rate = GAIN_MIN * pass.expected / plain;
        let (mut chance, mut more) = (chances.first, 0.0);
        for count in 1..=most {
            more += chance;
            chance *= chances.next;
            let checked = self.seconds(pass.rows + count).unwrap_or(plain);
            let found = (pass.expected + more) / (checked + count as f32 * pass.seconds_a_guess);
            if found > rate {
                (best, rate) = ((count, more), found);
            }
        }
        best
    }
}

impl Times {
    fn is_fresh(&self, passes: u64) -> bool {
        self.count > 0 && passes - self.at <= PASSES_MAX
    }

    fn median(&self, passes: u64) -> Option<f32> {
        if !self.is_fresh(passes) {
            return None;
        }
        let mut seconds = self.seconds;
        let known = &mut seconds[..(self.count as usize).min(TIMES)];
        known.sort_unstable_by(f32::total_cmp);
        Some(known[(known.len() - 1) / 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Pass = Pass { rows: 1, expected: 1.0, seconds_a_guess: 0.0 };

    fn measured(times: &[(usize, f32)]) -> PassTimes {
        let mut found = PassTimes::default();
        for _ in 0..TIMES {
            times.iter().for_each(|&(rows, seconds)| found.note(rows, seconds));
        }
        found
    }

    #[test]
    fn times_lie_between_their_neighbours() {
        let times = measured(&[(2, 1.0), (4, 2.0)]);
        let found = [1, 2, 3, 4, 9, 1000].map(|rows| times.seconds(rows));
        assert_eq!(found, [1.0, 1.0, 1.5, 2.0, 2.0, 2.0].map(Some));
        assert_eq!(PassTimes::default().seconds(1), None);
    }

    #[test]
    fn one_disturbed_pass_does_not_count_and_old_ones_are_forgotten() {
        let mut times = measured(&[(1, 1.0)]);
        times.note(1, 50.0);
        assert_eq!(times.seconds(1), Some(1.0));
        (0..=PASSES_MAX).for_each(|_| times.note(2, 3.0));
        assert_eq!(times.seconds(1), Some(3.0));
    }

    #[test]
    fn guesses_are_made_where_they_pay() {
        let likely = Chances { first: 0.9, next: 0.9 };
        let unlikely = Chances { first: 0.1, next: 0.5 };
        let free = measured(&[(1, 1.0), (17, 1.0)]);
        let dear = measured(&[(1, 1.0), (17, 17.0)]);
        assert_eq!(free.best(ALONE, likely, 8).0, 8);
        assert_eq!(dear.best(ALONE, likely, 8).0, 0);
        assert_eq!(measured(&[(1, 1.0), (17, 4.0)]).best(ALONE, unlikely, 8).0, 0);
        let some = measured(&[(1, 1.0), (17, 4.0)]).best(ALONE, likely, 16).0;
        assert!((3..16).contains(&some), "{some}");
        // A drafter that takes as long as the model does never pays.
        assert_eq!(free.best(Pass { seconds_a_guess: 1.0, ..ALONE }, likely, 8).0, 0);
        // In a full batch there is nothing to gain where rows cost what they do.
        let crowd = Pass { rows: 16, expected: 16.0, seconds_a_guess: 0.0 };
        assert_eq!(measured(&[(16, 16.0), (32, 32.0)]).best(crowd, likely, 8).0, 0);
    }

    #[test]
    fn what_was_never_measured_is_tried() {
        assert_eq!(measured(&[(1, 1.0)]).best(ALONE, Chances { first: 0.5, next: 0.8 }, 8).0, 8);
    }
}
