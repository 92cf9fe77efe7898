//! What a smaller model lost, and gained.

use luban_eval::Perplexity;
use serde::Serialize;

/// The report that stands in a quantized model as `quality.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// The format.
    pub format: &'static str,
    /// Weights, tied ones counted once.
    pub parameters: u64,
    /// Bytes of all tensors before.
    pub bytes_before: u64,
    /// Bytes of all tensors now, scales included.
    pub bytes_after: u64,
    /// Bits for each weight now, scales included.
    pub bits_per_weight: f64,
    /// How many times smaller the tensors are than before.
    pub compression_ratio: f64,
    /// How many times smaller they are than in f32.
    pub compression_ratio_to_f32: f64,
    /// The model before, on held-out text; nothing where there was none.
    pub before: Option<Perplexity>,
    /// The model now, on the same text.
    pub after: Option<Perplexity>,
    /// Perplexity now over perplexity before.
    pub perplexity_ratio: Option<f64>,
    /// The tensor that changed most.
    pub largest_error: Option<TensorError>,
    /// Every tensor that changed.
    pub tensors: Vec<TensorError>,
}

/// How far a tensor is from what it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorError {
    /// The weight's canonical name.
    pub name: String,
    /// Norm of the difference over the norm of the tensor before.
    pub relative_error: f64,
}

impl TensorError {
    /// Compares a tensor with what it was.
    pub fn between(name: &str, before: &[f32], after: &[f32]) -> Self {
        let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
        let differences = before.iter().zip(after).map(|(&before, &after)| f64::from(after) - f64::from(before));
        let difference = squares(&mut { differences });
        let whole = squares(&mut before.iter().map(|&value| f64::from(value)));
        let relative_error = if difference == 0.0 { 0.0 } else { (difference / whole).sqrt() };
        Self { name: name.to_owned(), relative_error }
    }
}

impl Quality {
    /// Records the measurements on held-out text.
    pub fn measured(mut self, before: Perplexity, after: Perplexity) -> Self {
        self.perplexity_ratio = Some(after.perplexity / before.perplexity);
        (self.before, self.after) = (Some(before), Some(after));
        self
    }

    /// The figures for the artifact's manifest.
    pub fn metrics(&self) -> Vec<(&'static str, serde_json::Value)> {
        let mut metrics = vec![
            ("parameters", self.parameters.into()),
            ("bytes_before", self.bytes_before.into()),
            ("bytes_after", self.bytes_after.into()),
            ("bits_per_weight", self.bits_per_weight.into()),
            ("compression_ratio", self.compression_ratio.into()),
            ("largest_relative_error", self.largest_error.as_ref().map(|error| error.relative_error).into()),
        ];
        if let (Some(before), Some(after)) = (&self.before, &self.after) {
            metrics.extend([
                ("perplexity_before", before.perplexity.into()),
                ("perplexity", after.perplexity.into()),
                ("perplexity_ratio", self.perplexity_ratio.into()),
                ("bits_per_byte_before", before.bits_per_byte.into()),
                ("bits_per_byte", after.bits_per_byte.into()),
            ]);
        }
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_what_was() {
        let error = |before: &[f32], after: &[f32]| TensorError::between("w", before, after).relative_error;
        assert_eq!(error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(error(&[3.0, 4.0], &[3.0, 4.5]), 0.1);
        assert_eq!(error(&[0.0], &[0.0]), 0.0);
    }
}
