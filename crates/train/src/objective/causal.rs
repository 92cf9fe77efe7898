//! Predicting the next token (Radford et al. 2018).

use luban_base::random::Stream;

use super::{Entry, Example, Objective};

/// The line in the registry.
pub const ENTRY: Entry = Entry { name: "causal", about: "predict the next token", make: |_| Ok(Box::new(Causal)) };

/// Each token predicts the one that follows it.
#[derive(Clone, Copy, Debug)]
pub struct Causal;

impl Objective for Causal {
    fn causal(&self) -> bool {
        true
    }

    fn example(&self, sequence: &[u32], _: Stream) -> Example {
        match sequence {
            [inputs @ .., _] => {
                let (rows, targets) = ((0..inputs.len()).collect(), sequence[1..].to_vec());
                Example { inputs: inputs.to_vec(), rows, targets, ..Example::default() }
            }
            [] => Example::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_predicts_the_next() {
        let example = Causal.example(&[5, 6, 7, 8], Stream::new(0, &[]));
        assert_eq!(example.inputs, [5, 6, 7]);
        assert_eq!(example.rows, [0, 1, 2]);
        assert_eq!(example.targets, [6, 7, 8]);
        assert_eq!(Causal.example(&[], Stream::new(0, &[])), Example::default());
    }
}
