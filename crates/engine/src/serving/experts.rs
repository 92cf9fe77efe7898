//! Which experts a row takes, and with which shares.

use luban_model::spec::Experts;

/// One expert that one row takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub expert: usize,
    pub row: usize,
    /// What its output is multiplied with.
    pub share: f32,
}

/// The choices of a batch's rows.
#[derive(Debug, Default)]
pub(super) struct Choices(Vec<Choice>);

impl Choices {
    /// Takes, for each row of `shares` (rows × experts), the experts with the largest shares; of equal ones the first.
    pub fn choose(&mut self, shares: &[f32], experts: &Experts) {
        self.0.clear();
        for (row, shares) in shares.chunks_exact(experts.count).enumerate() {
            let first = self.0.len();
            for _ in 0..experts.per_token {
                let free = |expert: &usize| self.0[first..].iter().all(|choice| choice.expert != *expert);
                // Shares of a row whose numbers are none are not larger than any; it takes some, for it fails anyway.
                let larger = |best: usize, expert: usize| if shares[expert] > shares[best] { expert } else { best };
                let Some(expert) = (0..experts.count).filter(free).reduce(larger) else { break };
                self.0.push(Choice { expert, row, share: shares[expert] });
            }
            if experts.normalize {
                let sum: f32 = self.0[first..].iter().map(|choice| choice.share).sum();
                self.0[first..].iter_mut().for_each(|choice| choice.share /= sum);
            }
        }
        self.0.sort_unstable_by_key(|choice| (choice.expert, choice.row));
    }

    /// The choices of each expert that is taken, in the experts' order; rows ascend.
    pub fn by_expert(&self) -> impl Iterator<Item = &[Choice]> {
        self.0.chunk_by(|a, b| a.expert == b.expert)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(shares: &[f32], per_token: usize, normalize: bool) -> Vec<(usize, usize, f32)> {
        let experts = Experts { count: 4, per_token, width: 1, normalize, layers: vec![true] };
        let mut choices = Choices::default();
        choices.choose(shares, &experts);
        choices.by_expert().flatten().map(|&Choice { expert, row, share }| (expert, row, share)).collect()
    }

    #[test]
    fn the_largest_shares_are_taken_and_of_equal_ones_the_first() {
        let shares = [0.1, 0.5, 0.15, 0.25, 0.25, 0.25, 0.25, 0.25];
        assert_eq!(chosen(&shares, 2, false), [(0, 1, 0.25), (1, 0, 0.5), (1, 1, 0.25), (3, 0, 0.25)]);
        let normal = [(0, 1, 0.5), (1, 0, 0.5 / 0.75), (1, 1, 0.5), (3, 0, 0.25 / 0.75)];
        assert_eq!(chosen(&shares, 2, true), normal);
        assert_eq!(chosen(&shares[..4], 4, true).iter().map(|choice| choice.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn rows_that_are_no_numbers_take_some_and_leave_the_others_alone() {
        let shares = [f32::NAN, f32::NAN, f32::NAN, f32::NAN, 0.1, 0.2, 0.3, 0.4];
        let found = chosen(&shares, 2, true);
        assert_eq!(found.len(), 4);
        let fine: Vec<_> = found.into_iter().filter(|choice| choice.1 == 1).collect();
        assert_eq!(fine, [(2, 1, 0.3 / (0.4 + 0.3)), (3, 1, 0.4 / (0.4 + 0.3))]);
    }
}
