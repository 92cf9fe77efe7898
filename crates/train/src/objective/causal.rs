//! Predicting the next token (Radford et al. 2018).

use super::{Entry, Example, Objective, Passage};

/// The line in the registry.
pub const ENTRY: Entry =
    Entry { name: "causal", about: "predict the next token", takes: &[], make: |_| Ok(Box::new(Causal)) };

/// Each token predicts the one that follows it.
#[derive(Clone, Copy, Debug)]
pub struct Causal;

impl Objective for Causal {
    fn causal(&self) -> bool {
        true
    }

    fn example(&self, passage: &Passage<'_>) -> Example {
        match passage.tokens {
            [inputs @ .., _] => {
                let (rows, targets) = ((0..inputs.len()).collect(), passage.tokens[1..].to_vec());
                Example { inputs: inputs.to_vec(), rows, targets, ..Example::default() }.cut(passage.cuts())
            }
            [] => Example::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use luban_base::random::Stream;

    use super::*;

    #[test]
    fn each_token_predicts_the_next() {
        let unused = Stream::new(0, &[]);
        let example = Causal.example(&Passage::new(&[5, 6, 7, 8], unused));
        assert_eq!(example.inputs, [5, 6, 7]);
        assert_eq!(example.rows, [0, 1, 2]);
        assert_eq!(example.targets, [6, 7, 8]);
        assert_eq!(Causal.example(&Passage::new(&[], unused)), Example::default());
    }
}
