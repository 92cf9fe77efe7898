//! Locally typical sampling: tokens whose surprise is nearest to what is expected, which is the entropy.

use super::Stage;
use super::candidates::Candidates;

pub(super) const STAGE: Stage = Stage {
    name: "typical",
    is_on: |sampling| sampling.typical_p < 1.0,
    apply: |candidates, sampling, _| {
        let expected = expected_depth(candidates) as f32;
        candidates.keep_cheapest(sampling.typical_p, |depth| (depth - expected).abs());
    },
};

/// The mean of the nats by which logits lie below the peak. Surprise and entropy are this much more than depth and
/// mean depth alike, so that their difference is the same.
fn expected_depth(candidates: &Candidates) -> f64 {
    let depths = candidates.depths().zip(candidates.weights());
    let sum: f64 = depths.map(|(depth, &weight)| f64::from(depth) * f64::from(weight)).sum();
    sum / candidates.total()
}
