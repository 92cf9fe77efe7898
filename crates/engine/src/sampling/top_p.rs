//! Top-p: the likeliest tokens that together reach a probability.

use super::Stage;

pub(super) const STAGE: Stage = Stage {
    name: "top_p",
    is_on: |sampling| sampling.top_p < 1.0,
    apply: |candidates, sampling, _| candidates.keep_cheapest(sampling.top_p, |depth| depth),
};
