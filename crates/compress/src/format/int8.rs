//! Whole numbers of 8 bits with one scale for each output, symmetric about zero.
//!
//! A row's scale is its largest magnitude over 127; its values are rounded to the nearest multiple, ties to even.
//! The layout is `compressed-tensors`' `int-quantized`: `X.weight` in I8 and `X.weight_scale` in F32, outputs × 1.
//! Tables of embeddings count as maps whose outputs are their rows. Norms and biases stay as they are: they are few,
//! and matter much.

use luban_kernels::quantize::rows_i8;
use luban_model::io::WeightData;
use luban_model::weights::{Role, Slot};
use serde_json::{Value, json};

use super::Format;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Int8;

impl Format for Int8 {
    fn name(&self) -> &'static str {
        "int8"
    }

    fn quantize(&self, slot: &Slot, values: &[f32]) -> Option<WeightData> {
        let (Role::Embedding | Role::Linear | Role::ResidualLinear, &[rows, _]) = (slot.role, &slot.shape[..]) else {
            return None;
        };
        let (mut quantized, mut scales) = (vec![0; values.len()], vec![0.0; rows]);
        rows_i8(values, rows, &mut quantized, &mut scales);
        Some(WeightData::I8 { values: quantized, scales })
    }

    fn config(&self) -> Value {
        json!({
            "quant_method": "compressed-tensors",
            "format": "int-quantized",
            "quantization_status": "compressed",
            "config_groups": {
                "group_0": {
                    "targets": ["Linear", "Embedding"],
                    "weights": {
                        "num_bits": 8,
                        "type": "int",
                        "symmetric": true,
                        "strategy": "channel",
                        "dynamic": false,
                        "group_size": null,
                        "block_structure": null,
                        "actorder": null,
                        "observer": "minmax",
                        "observer_kwargs": {},
                    },
                    "input_activations": null,
                    "output_activations": null,
                },
            },
            "ignore": [],
            "kv_cache_scheme": null,
            "global_compression_ratio": null,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(role: Role, shape: &[usize]) -> Slot {
        Slot { name: "layers.0.q.weight".into(), shape: shape.to_vec(), role }
    }

    fn quantized(values: &[f32], columns: usize) -> (Vec<i8>, Vec<f32>) {
        match Int8.quantize(&slot(Role::Linear, &[values.len() / columns, columns]), values) {
            Some(WeightData::I8 { values, scales }) => (values, scales),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_have_their_own_scales_and_ties_go_to_even() {
        let (values, scales) = quantized(&[127.0, 0.5, 1.5, -2.5, 0.0, -254.0, 3.0, 5.0], 4);
        assert_eq!(scales, [1.0, 2.0]);
        assert_eq!(values, [127, 0, 2, -2, 0, -127, 2, 2]);
    }

    #[test]
    fn no_value_is_off_by_more_than_half_a_step() {
        let stream = luban_base::random::Stream::new(5, &[]);
        let weights: Vec<f32> = (0..4096).map(|index| stream.normal_at(index)).collect();
        let (values, scales) = quantized(&weights, 64);
        for (index, (&weight, &value)) in weights.iter().zip(&values).enumerate() {
            let scale = scales[index / 64];
            assert!((weight - f32::from(value) * scale).abs() <= 0.5001 * scale);
        }
    }

    #[test]
    fn zeros_tiny_and_huge_rows_are_safe() {
        let (values, scales) = quantized(&[0.0, -0.0, 1e-45, -1e-45, f32::MAX, f32::MIN], 2);
        assert_eq!((scales[0], &values[..2]), (1.0, &[0, 0][..]));
        assert!(scales.iter().all(|scale| scale.is_finite() && *scale > 0.0));
        assert_eq!(values[4..], [127, -127]);
    }

    #[test]
    fn norms_and_biases_stay() {
        assert!(Int8.quantize(&slot(Role::NormWeight, &[4]), &[1.0; 4]).is_none());
        assert!(Int8.quantize(&slot(Role::Bias, &[4]), &[1.0; 4]).is_none());
        assert!(Int8.quantize(&slot(Role::Embedding, &[2, 2]), &[1.0; 4]).is_some());
    }
}
