//! XTC: now and then, the least likely of the tokens that are likely enough, in place of them all.

use super::{Stage, uniform};

/// Names this use of the random streams.
pub(super) const LABEL: u64 = 0x0078_7463;

pub(super) const STAGE: Stage = Stage {
    name: "xtc",
    is_on: |sampling| sampling.xtc_probability > 0.0,
    apply: |candidates, sampling, position| {
        if uniform(sampling.seed, LABEL, position) >= f64::from(sampling.xtc_probability) {
            return;
        }
        let least = f64::from(sampling.xtc_threshold) * candidates.total();
        let enough = |weight: f32| f64::from(weight) >= least;
        let likely = candidates.ids().iter().zip(candidates.weights()).filter(|&(_, &weight)| enough(weight));
        // Of equal ones the later, as the later would be the less likely in a sorted list.
        let last = likely.min_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(a.0))).map(|(&id, _)| id);
        candidates.retain(|id, weight| !enough(weight) || Some(id) == last);
    },
};
