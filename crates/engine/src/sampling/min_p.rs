//! Min-p: tokens with at least a share of the likeliest one's probability.

use super::Stage;

pub(super) const STAGE: Stage = Stage {
    name: "min_p",
    is_on: |sampling| sampling.min_p > 0.0,
    apply: |candidates, sampling, _| {
        let least = candidates.heaviest() * sampling.min_p;
        candidates.retain(|_, weight| weight >= least);
    },
};
