//! Safetensors files.

use luban_artifact::safetensors::{Dtype, Weights, write};

use super::said;
use crate::{Target, Verdict};

/// The container.
pub(crate) const FILE: Target = Target {
    name: "safetensors",
    run,
    seeds,
    words: &[
        "\"dtype\":",
        "\"shape\":[",
        "\"data_offsets\":[",
        "\"__metadata__\":{",
        "F32",
        "BF16",
        "I8",
        "F8_E4M3",
        "18446744073709551615",
        "-1",
        "1e9",
    ],
};

fn run(input: &[u8]) -> Verdict {
    let weights = Weights::open(input.to_vec().into()).map_err(said)?;
    let mut bytes = 0;
    for name in weights.names() {
        let view = weights.tensor(name).expect("a name that was listed");
        assert_eq!(view.data.len(), view.elements() * view.dtype.bitsize() / 8, "{name}");
        assert!(view.to_f32().is_none_or(|elements| elements.len() == view.elements()), "{name}");
        assert!(view.to_i8().is_none_or(|elements| elements.len() == view.elements()), "{name}");
        bytes += view.data.len();
    }
    let header = input.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    assert_eq!(bytes as u64 + header + 8, input.len() as u64, "every byte belongs to one tensor");
    Ok(())
}

fn seeds() -> Vec<Vec<u8>> {
    let tensors = [
        ("model.norm.weight".to_owned(), Dtype::F32, vec![3], &[1; 12][..]),
        ("model.embed".to_owned(), Dtype::BF16, vec![2, 3], &[2; 12][..]),
        ("model.scale".to_owned(), Dtype::F16, vec![], &[3; 2][..]),
        ("model.codes".to_owned(), Dtype::I8, vec![5, 1, 0], &[][..]),
    ];
    let file = |count: usize, metadata: &[(&str, &str)]| {
        let mut file = Vec::new();
        write(&mut file, &tensors[..count], metadata).expect("a buffer takes what is written");
        file
    };
    vec![file(4, &[("format", "pt")]), file(1, &[]), file(0, &[])]
}
