//! The law that losses follow: `L = E + A / N^α + B / D^β` (Hoffmann et al. 2022, equation 2).
//!
//! N are parameters, D tokens. E is what no model of the family could learn of the text, A / N^α what a model of N
//! parameters leaves for being too small, B / D^β what it leaves for having seen D tokens only.

use serde::{Deserialize, Serialize};

/// Floating-point operations of training, a parameter and token (Kaplan et al. 2020).
pub const OPERATIONS: f64 = 6.0;

/// The law's constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Law {
    /// The loss that is left in the limit, nats a token.
    pub e: f64,
    /// The factor of the parameters' term.
    pub a: f64,
    /// Its exponent.
    pub alpha: f64,
    /// The factor of the tokens' term.
    pub b: f64,
    /// Its exponent.
    pub beta: f64,
}

impl Law {
    /// The loss of a model of `parameters` after `tokens`.
    pub fn loss(&self, parameters: f64, tokens: f64) -> f64 {
        self.e + self.a * parameters.powf(-self.alpha) + self.b * tokens.powf(-self.beta)
    }

    /// The parameters and tokens that make the most of a number of operations, where 6 N D = C (equation 4).
    pub fn best(&self, operations: f64) -> (f64, f64) {
        let Self { a, alpha, b, beta, .. } = *self;
        let balance = (alpha * a / (beta * b)).powf(1.0 / (alpha + beta));
        let product = operations / OPERATIONS;
        let parameters = balance * product.powf(beta / (alpha + beta));
        (parameters, product / parameters)
    }

    /// The least loss that a number of operations buys.
    pub fn frontier(&self, operations: f64) -> f64 {
        let (parameters, tokens) = self.best(operations);
        self.loss(parameters, tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The constants of Hoffmann et al. (2022), appendix D.3.
    const CHINCHILLA: Law = Law { e: 1.69, a: 406.4, alpha: 0.34, b: 410.7, beta: 0.28 };

    #[test]
    fn published_figures_come_out() {
        // Gopher's compute: the paper says 40 B parameters (figure 4); its constants, as rounded in print, say 32 B.
        let (parameters, tokens) = CHINCHILLA.best(5.76e23);
        assert!((30e9..41e9).contains(&parameters), "{parameters:e}");
        assert!((OPERATIONS * parameters * tokens / 5.76e23 - 1.0).abs() < 1e-12);
        assert!((CHINCHILLA.loss(70e9, 1.4e12) - 1.937).abs() < 2e-3);
    }

    #[test]
    fn no_other_division_of_the_operations_is_better() {
        for operations in [1e15, 1e20, 1e24] {
            let (parameters, tokens) = CHINCHILLA.best(operations);
            let least = CHINCHILLA.frontier(operations);
            for factor in [0.5, 0.9, 1.1, 2.0] {
                assert!(CHINCHILLA.loss(parameters * factor, tokens / factor) > least);
            }
        }
    }
}
