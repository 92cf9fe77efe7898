//! Logit bias: what a request adds to single tokens.

use super::Edit;

/// Adds each bias to its token's logit.
pub(super) fn apply(edit: &mut Edit<'_>) {
    for &(token, bias) in edit.bias {
        edit.logits[token as usize] += bias;
    }
}
