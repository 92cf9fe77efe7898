//! The law's constants from runs, and how sure they are.
//!
//! As Hoffmann et al. (2022, section 3.3): the Huber loss of the residuals of the logarithms, least over many starts.
//! The terms are summed as exponentials of logarithms, so all factors are positive. Two things are otherwise. N and D
//! are counted from the middle of the runs, so that factors and exponents hardly pull at each other; and the objective
//! is counted in squares of the Huber loss's δ, so that no optimizer takes its small values for an end (Besiroglu et al.
//! 2024 found the published fit to have stopped early for this).

use luban_base::random::Stream;
use serde::{Deserialize, Serialize};

use super::law::Law;
use super::minimise::{Minimum, minimise};

/// Where the Huber loss goes from squares to distances: 1e-3 in the logarithm, a thousandth of the loss.
pub const DELTA: f64 = 1e-3;
/// Fewest runs that five constants are fitted to.
pub const RUNS_MIN: usize = 6;
/// Constants of the law.
const CONSTANTS: usize = 5;
/// Starts: exponents, the share of the least loss that is out of reach, and the parameters' share of the rest.
const EXPONENTS: [f64; 5] = [0.1, 0.25, 0.45, 0.75, 1.2];
const FLOORS: [f64; 4] = [0.1, 0.35, 0.6, 0.85];
const SHARES: [f64; 3] = [0.2, 0.5, 0.8];
/// Greatest exponent that is looked at.
const EXPONENT_MAX: f64 = 4.0;
/// Least logarithm of a term: what is smaller is nothing.
const LOG_MIN: f64 = -20.0;
/// Minima of the whole fit that each resampling starts from.
const STARTS_AGAIN: usize = 6;
/// Label of the random streams that runs are drawn again with.
const RESAMPLE: u64 = 0xB007;

/// What a run says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Parameters of the model.
    pub parameters: f64,
    /// Tokens that it was trained on.
    pub tokens: f64,
    /// Its loss, nats a token.
    pub loss: f64,
}

/// A fit and its resamplings.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The constants.
    pub law: Law,
    /// The objective, in squares of [`DELTA`].
    pub objective: f64,
    /// The runs' residuals: logarithms of measured over predicted losses.
    pub residuals: Vec<f64>,
    /// The constants of runs drawn again with replacement.
    pub resampled: Vec<Law>,
}

/// A range that values fall in.
pub type Interval = (f64, f64);

impl Fit {
    /// Fits the law, then as many times again to runs drawn with replacement (Efron 1979). Needs at least [`RUNS_MIN`].
    pub fn of(runs: &[Observation], resamplings: u64, seed: u64) -> Option<Self> {
        if runs.len() < RUNS_MIN {
            return None;
        }
        let problem = Problem::of(runs);
        let once = vec![1.0; runs.len()];
        let mut minima: Vec<Minimum<CONSTANTS>> =
            problem.starts().into_iter().map(|start| problem.solve(start, &once)).collect();
        minima.sort_by(|left, right| left.value.total_cmp(&right.value));
        let best = minima[0];
        let again = apart(&minima);
        let resample = |number: u64| {
            let weights = drawn(runs.len(), Stream::new(seed, &[RESAMPLE, number]));
            let solved = again.iter().map(|start| problem.solve(*start, &weights));
            let best = solved.min_by(|left, right| left.value.total_cmp(&right.value)).unwrap_or(best);
            problem.law(&best.point)
        };
        let law = problem.law(&best.point);
        let residual = |run: &Observation| (run.loss / law.loss(run.parameters, run.tokens)).ln();
        Some(Self {
            law,
            objective: best.value,
            residuals: runs.iter().map(residual).collect(),
            resampled: (0..resamplings).map(resample).collect(),
        })
    }

    /// Where `share` of the resamplings have a value of the law.
    pub fn interval(&self, share: f64, value: impl Fn(&Law) -> f64) -> Interval {
        middle(self.resampled.iter().map(value).collect(), share)
    }

    /// Where the loss of a run of `parameters` and `tokens` is to be expected: the resamplings' predictions, each with
    /// the residual of one of the runs, widened by what five constants have taken up of them.
    pub fn expectation(&self, share: f64, (parameters, tokens): (f64, f64), seed: u64) -> Interval {
        let runs = self.residuals.len();
        let widened = (runs as f64 / (runs - CONSTANTS) as f64).sqrt();
        let draws = Stream::new(seed, &[RESAMPLE, u64::MAX]);
        let expected = |(number, law): (usize, &Law)| {
            let residual = self.residuals[draws.below_at(number as u64, runs as u64) as usize];
            law.loss(parameters, tokens) * (residual * widened).exp()
        };
        middle(self.resampled.iter().enumerate().map(expected).collect(), share)
    }

    /// The root of the mean square of the residuals.
    pub fn deviation(&self) -> f64 {
        (self.residuals.iter().map(|residual| residual * residual).sum::<f64>() / self.residuals.len() as f64).sqrt()
    }
}

/// Between which values the middle `share` of them lie.
fn middle(mut values: Vec<f64>, share: f64) -> Interval {
    values.sort_by(f64::total_cmp);
    let at = |quantile: f64| {
        let place = quantile * values.len().saturating_sub(1) as f64;
        values.get(place.round() as usize).copied().unwrap_or(f64::NAN)
    };
    (at((1.0 - share) / 2.0), at((1.0 + share) / 2.0))
}

/// How often each of so many runs is drawn.
fn drawn(runs: usize, draws: Stream) -> Vec<f64> {
    let mut weights = vec![0.0; runs];
    (0..runs as u64).for_each(|draw| weights[draws.below_at(draw, runs as u64) as usize] += 1.0);
    weights
}

/// The best minima that are not the same as a better one.
fn apart(minima: &[Minimum<CONSTANTS>]) -> Vec<[f64; CONSTANTS]> {
    let mut kept: Vec<[f64; CONSTANTS]> = Vec::new();
    for minimum in minima {
        let near = |other: &[f64; CONSTANTS]| other.iter().zip(&minimum.point).all(|(a, b)| (a - b).abs() < 0.05);
        if kept.len() < STARTS_AGAIN && !kept.iter().any(near) {
            kept.push(minimum.point);
        }
    }
    kept
}

/// The runs, as the objective needs them. A point of it is `[e, a, α, b, β]`: logarithms of the terms in the middle of
/// the runs, and exponents.
struct Problem {
    /// Logarithms of parameters, tokens and loss, the first two from their means on.
    runs: Vec<[f64; 3]>,
    /// Those means.
    center: [f64; 2],
}

impl Problem {
    fn of(runs: &[Observation]) -> Self {
        let mean = |value: fn(&Observation) -> f64| runs.iter().map(value).sum::<f64>() / runs.len() as f64;
        let center = [mean(|run| run.parameters.ln()), mean(|run| run.tokens.ln())];
        let logs = |run: &Observation| [run.parameters.ln() - center[0], run.tokens.ln() - center[1], run.loss.ln()];
        Self { runs: runs.iter().map(logs).collect(), center }
    }

    fn starts(&self) -> Vec<[f64; CONSTANTS]> {
        let least = self.runs.iter().map(|run| run[2]).fold(f64::INFINITY, f64::min).exp();
        let usual = (self.runs.iter().map(|run| run[2]).sum::<f64>() / self.runs.len() as f64).exp();
        let mut starts = Vec::new();
        for (floor, share) in FLOORS.iter().flat_map(|floor| SHARES.map(|share| (floor * least, share))) {
            let rest = usual - floor;
            for (alpha, beta) in EXPONENTS.iter().flat_map(|alpha| EXPONENTS.map(|beta| (*alpha, beta))) {
                starts.push([floor.ln(), (rest * share).ln(), alpha, (rest * (1.0 - share)).ln(), beta]);
            }
        }
        starts
    }

    fn solve(&self, start: [f64; CONSTANTS], weights: &[f64]) -> Minimum<CONSTANTS> {
        minimise(start, |point| self.objective(point, weights))
    }

    /// The weighted sum of Huber losses in squares of δ, and its gradient.
    fn objective(&self, point: &[f64; CONSTANTS], weights: &[f64]) -> (f64, [f64; CONSTANTS]) {
        let [e, a, alpha, b, beta] = *point;
        let exponents = 0.0..=EXPONENT_MAX;
        if !exponents.contains(&alpha) || !exponents.contains(&beta) || [e, a, b].iter().any(|log| *log < LOG_MIN) {
            return (f64::INFINITY, [0.0; CONSTANTS]);
        }
        let (mut sum, mut gradient) = (0.0, [0.0; CONSTANTS]);
        for (&[n, d, loss], weight) in self.runs.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
            let terms = [e, a - alpha * n, b - beta * d];
            let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let parts = terms.map(|term| (term - most).exp());
            let total: f64 = parts.iter().sum();
            let residual = (total.ln() + most - loss) / DELTA;
            let (huber, slope) = match residual.abs() <= 1.0 {
                true => (0.5 * residual * residual, residual),
                false => (residual.abs() - 0.5, residual.signum()),
            };
            sum += weight * huber;
            let [floor, size, text] = parts.map(|part| weight * slope / DELTA * part / total);
            let added = [floor, size, -n * size, text, -d * text];
            gradient.iter_mut().zip(added).for_each(|(gradient, added)| *gradient += added);
        }
        (sum, gradient)
    }

    fn law(&self, &[e, a, alpha, b, beta]: &[f64; CONSTANTS]) -> Law {
        let [n, d] = self.center;
        Law { e: e.exp(), a: (a + alpha * n).exp(), alpha, b: (b + beta * d).exp(), beta }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: Law = Law { e: 1.2, a: 60.0, alpha: 0.36, b: 300.0, beta: 0.42 };

    fn runs(noise: f64) -> Vec<Observation> {
        noisy(noise, 2)
    }

    /// Runs of a ladder, with noise of so many parts of the loss.
    fn noisy(noise: f64, seed: u64) -> Vec<Observation> {
        let draws = Stream::new(4, &[seed]);
        let sizes = [1e5, 2.2e5, 4.8e5, 1e6, 2.1e6];
        let places = sizes.iter().flat_map(|n| [5e5, 1e6, 2e6, 4e6].map(|d| (*n, d)));
        let run = |(number, (parameters, tokens)): (usize, (f64, f64))| {
            let off = (noise * f64::from(draws.normal_at(number as u64))).exp();
            Observation { parameters, tokens, loss: TRUTH.loss(parameters, tokens) * off }
        };
        places.enumerate().map(run).collect()
    }

    #[test]
    fn true_constants_are_found_again() {
        let fit = Fit::of(&runs(0.0), 0, 0).unwrap();
        let near = |found: f64, truth: f64| assert!((found / truth - 1.0).abs() < 1e-3, "{found} {truth}: {fit:?}");
        near(fit.law.e, TRUTH.e);
        near(fit.law.a, TRUTH.a);
        near(fit.law.alpha, TRUTH.alpha);
        near(fit.law.b, TRUTH.b);
        near(fit.law.beta, TRUTH.beta);
        assert!(fit.deviation() < 1e-6);
    }

    #[test]
    fn with_noise_the_intervals_hold_the_truth_and_the_prediction() {
        let fit = Fit::of(&runs(3e-3), 200, 0).unwrap();
        let held = |value: fn(&Law) -> f64| {
            let (low, high) = fit.interval(0.95, value);
            assert!((low..=high).contains(&value(&TRUTH)), "{low} {high} {}", value(&TRUTH));
            high - low
        };
        let widths = [held(|law| law.e), held(|law| law.alpha), held(|law| law.beta)];
        assert!(widths.iter().all(|&width| width > 1e-3), "{widths:?}");
        let larger = (4.4e6, 8e6);
        let truth = TRUTH.loss(larger.0, larger.1);
        assert!((fit.law.loss(larger.0, larger.1) / truth - 1.0).abs() < 0.01);
        let (low, high) = fit.expectation(0.95, larger, 0);
        assert!(low < truth && truth < high && high - low < 0.1 * truth, "{low} {truth} {high}");
        assert!(high - low > fit.deviation() * truth, "as uncertain as a run is, at least");
        assert_eq!(Fit::of(&runs(3e-3), 200, 0), Some(fit), "the same seed gives the same fit");
    }

    #[test]
    fn a_run_that_went_wrong_moves_little() {
        let mut runs = runs(0.0);
        runs[7].loss *= 1.3;
        let fit = Fit::of(&runs, 0, 0).unwrap();
        assert!((fit.law.loss(4.4e6, 8e6) / TRUTH.loss(4.4e6, 8e6) - 1.0).abs() < 2e-3, "{fit:?}");
        assert!((fit.residuals[7] - 1.3_f64.ln()).abs() < 5e-3);
    }

    #[test]
    fn noise_and_runs_that_went_wrong_together_leave_the_prediction_standing() {
        let larger = (4.4e6, 8e6);
        let truth = TRUTH.loss(larger.0, larger.1);
        let mut held = 0;
        for seed in 0..5 {
            let mut runs = noisy(2e-3, seed);
            runs[5].loss *= 1.1;
            runs[16].loss *= 0.95;
            let fit = Fit::of(&runs, 60, seed).unwrap();
            let predicted = fit.law.loss(larger.0, larger.1);
            assert!((predicted / truth - 1.0).abs() < 0.02, "{seed}: {predicted} {truth} {fit:?}");
            let (low, high) = fit.expectation(0.95, larger, seed);
            held += usize::from((low..=high).contains(&truth));
        }
        assert!(held >= 4, "{held} of 5 intervals of 95 % hold the truth");
    }

    #[test]
    fn the_gradient_is_that_of_differences() {
        let runs = runs(0.01);
        let problem = Problem::of(&runs);
        let weights: Vec<f64> = (0..runs.len()).map(|number| (number % 3) as f64).collect();
        let point = [0.1, -0.4, 0.3, 0.2, 0.5];
        let (_, gradient) = problem.objective(&point, &weights);
        for place in 0..CONSTANTS {
            let step = 1e-7;
            let at = |off: f64| {
                let mut moved = point;
                moved[place] += off;
                problem.objective(&moved, &weights).0
            };
            let slope = (at(step) - at(-step)) / (2.0 * step);
            assert!((slope / gradient[place] - 1.0).abs() < 1e-4, "{place}: {slope} {}", gradient[place]);
        }
    }

    #[test]
    fn too_few_runs_are_no_fit() {
        assert_eq!(Fit::of(&runs(0.0)[..RUNS_MIN - 1], 10, 0), None);
    }
}
