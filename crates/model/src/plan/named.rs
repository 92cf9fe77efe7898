//! Specs known by name, and the published table of GPT-3.

use crate::spec::{Activation, Biases, Head, Position, Spec};

/// Tokens that every GPT-3 model was trained on (Brown et al. 2020, table D.1).
pub const GPT3_TOKENS: f64 = 300e9;
const GPT3_VOCAB: usize = 50_257;
const GPT3_CONTEXT: usize = 2048;

/// A spec with a name.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// What one types.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    make: fn() -> Spec,
}

impl Named {
    /// The spec.
    pub fn spec(&self) -> Spec {
        (self.make)()
    }
}

/// A row of GPT-3's tables 2.1 and D.1 as printed (arXiv 2005.14165).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PublishedGpt3 {
    /// What one types.
    pub name: &'static str,
    /// Layers.
    pub layers: usize,
    /// Width, as printed.
    pub width: usize,
    /// Heads, as printed.
    pub heads: usize,
    /// Width of a head, as printed.
    pub head_width: usize,
    /// Tokens of a batch.
    pub batch_tokens: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Parameters by table D.1, in millions.
    pub parameters_m: f64,
    /// Training floating-point operations by table D.1.
    pub training_flops: f64,
    /// What the row does not say right, and what is counted instead.
    pub note: Option<&'static str>,
}

const XL_NOTE: &str = "24 heads of 128 are 3072, not the width of 2048; the parameters are those of 16 heads of 128";
const B13_NOTE: &str = "40 heads of 128 are 5120, not the width of 5140; the parameters are those of width 5120";

/// The eight rows.
pub const GPT3: [PublishedGpt3; 8] = [
    row(("gpt3-125m", None), [12, 768, 12, 64], [0.5e6, 6.0e-4], [125.0, 2.25e20]),
    row(("gpt3-350m", None), [24, 1024, 16, 64], [0.5e6, 3.0e-4], [356.0, 6.41e20]),
    row(("gpt3-760m", None), [24, 1536, 16, 96], [0.5e6, 2.5e-4], [760.0, 1.37e21]),
    row(("gpt3-xl", Some(XL_NOTE)), [24, 2048, 24, 128], [1e6, 2.0e-4], [1320.0, 2.38e21]),
    row(("gpt3-2.7b", None), [32, 2560, 32, 80], [1e6, 1.6e-4], [2650.0, 4.77e21]),
    row(("gpt3-6.7b", None), [32, 4096, 32, 128], [2e6, 1.2e-4], [6660.0, 1.20e22]),
    row(("gpt3-13b", Some(B13_NOTE)), [40, 5140, 40, 128], [2e6, 1.0e-4], [12_850.0, 2.31e22]),
    row(("gpt3-175b", None), [96, 12_288, 96, 128], [3.2e6, 0.6e-4], [174_600.0, 3.14e23]),
];

/// `shape` is layers, width, heads, head width; `batch` tokens and learning rate; `cost` parameters and operations.
const fn row(
    (name, note): (&'static str, Option<&'static str>),
    shape: [usize; 4],
    batch: [f64; 2],
    cost: [f64; 2],
) -> PublishedGpt3 {
    let [layers, width, heads, head_width] = shape;
    PublishedGpt3 {
        name,
        layers,
        width,
        heads,
        head_width,
        batch_tokens: batch[0],
        learning_rate: batch[1],
        parameters_m: cost[0],
        training_flops: cost[1],
        note,
    }
}

impl PublishedGpt3 {
    /// The spec that the printed number of parameters belongs to.
    ///
    /// Where heads × head width is not the width, one of the three is a slip: XL's parameters ask for fewer heads,
    /// 13 B's for the width that its heads make.
    pub fn spec(&self) -> Spec {
        let width = match self.name {
            "gpt3-13b" => self.heads * self.head_width,
            _ => self.width,
        };
        let spec = Spec::gpt2(width, self.layers, width / self.head_width, GPT3_VOCAB);
        Spec { context: GPT3_CONTEXT, ..spec }
    }

    /// Whether heads × head width, as printed, is the width, as printed.
    pub fn is_consistent(&self) -> bool {
        self.heads * self.head_width == self.width
    }

    /// A number of parameters as table D.1 rounds it: to a million, from a thousand million on to ten.
    pub fn rounded_m(parameters: u64) -> f64 {
        let millions = parameters as f64 / 1e6;
        if millions < 1000.0 { millions.round() } else { (millions / 10.0).round() * 10.0 }
    }
}

/// Every name, in the order in which they are listed.
pub const NAMED: [Named; 13] = [
    Named { name: "gpt3-125m", about: "GPT-3 Small", make: || GPT3[0].spec() },
    Named { name: "gpt3-350m", about: "GPT-3 Medium", make: || GPT3[1].spec() },
    Named { name: "gpt3-760m", about: "GPT-3 Large", make: || GPT3[2].spec() },
    Named { name: "gpt3-xl", about: "GPT-3 XL, 1.3 B", make: || GPT3[3].spec() },
    Named { name: "gpt3-2.7b", about: "GPT-3 2.7 B", make: || GPT3[4].spec() },
    Named { name: "gpt3-6.7b", about: "GPT-3 6.7 B", make: || GPT3[5].spec() },
    Named { name: "gpt3-13b", about: "GPT-3 13 B", make: || GPT3[6].spec() },
    Named { name: "gpt3-175b", about: "GPT-3 175 B", make: || GPT3[7].spec() },
    Named { name: "gpt2", about: "GPT-2 small, 124 M", make: || Spec::gpt2(768, 12, 12, 50_257) },
    Named { name: "smollm2-135m", about: "SmolLM2 135 M", make: smollm2_135m },
    Named { name: "qwen2.5-0.5b", about: "Qwen2.5 0.5 B", make: qwen2_5_0_5b },
    Named { name: "llama-3-8b", about: "Llama 3 8 B", make: llama_3_8b },
    Named { name: "bert-base", about: "BERT base with its masked-token head", make: bert_base },
];

/// The spec of that name; `gpt3` alone is the table, not a spec, and `gpt3-1.3b` is another name of XL.
pub fn find(name: &str) -> Option<&'static Named> {
    let name = if name == "gpt3-1.3b" { "gpt3-xl" } else { name };
    NAMED.iter().find(|named| named.name == name)
}

fn smollm2_135m() -> Spec {
    Spec {
        kv_heads: 3,
        ffn_width: 1536,
        context: 8192,
        position: Position::Rotary { theta: 100_000.0 },
        ..Spec::llama(576, 30, 9, 49_152)
    }
}

fn qwen2_5_0_5b() -> Spec {
    Spec {
        kv_heads: 2,
        ffn_width: 4864,
        context: 32_768,
        position: Position::Rotary { theta: 1_000_000.0 },
        biases: Biases { qkv: true, ..Biases::NONE },
        ..Spec::llama(896, 24, 14, 151_936)
    }
}

fn llama_3_8b() -> Spec {
    Spec {
        kv_heads: 8,
        ffn_width: 14_336,
        context: 8192,
        position: Position::Rotary { theta: 500_000.0 },
        activation: Activation::Silu,
        head: Head::Vocabulary { tied: false },
        ..Spec::llama(4096, 32, 32, 128_256)
    }
}

fn bert_base() -> Spec {
    Spec { head: Head::MaskedToken, ..Spec::bert(768, 12, 12, 30_522) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Flops, Parameters};

    #[test]
    fn gpt3_parameters_are_the_papers_as_it_rounds_them() {
        for row in GPT3 {
            let parameters = Parameters::of(&row.spec()).total();
            assert_eq!(PublishedGpt3::rounded_m(parameters), row.parameters_m, "{}", row.name);
        }
    }

    #[test]
    fn gpt3_training_flops_are_the_papers_within_two_per_cent() {
        for row in GPT3 {
            let flops = Flops::rule_of_six(Parameters::of(&row.spec()).total(), GPT3_TOKENS);
            let off = (flops / row.training_flops - 1.0).abs();
            assert!(off < 0.02, "{}: {flops:e} is {:.1} % off", row.name, 100.0 * off);
        }
    }

    #[test]
    fn rows_that_contradict_themselves_are_marked() {
        for row in GPT3 {
            assert_eq!(row.is_consistent(), row.note.is_none(), "{}", row.name);
            // Taken at their word, the marked rows would have other sizes than the paper says.
            let literal = Spec {
                heads: row.heads,
                kv_heads: row.heads,
                head_width: row.head_width,
                width: row.width,
                ..row.spec()
            };
            let literal = Spec { ffn_width: 4 * row.width, ..literal };
            let rounded = PublishedGpt3::rounded_m(Parameters::of(&literal).total());
            assert_eq!(rounded == row.parameters_m, row.is_consistent(), "{}", row.name);
        }
    }

    #[test]
    fn named_specs_are_sound_and_have_their_published_sizes() {
        let published = [
            ("gpt2", 124_439_808),
            ("smollm2-135m", 134_515_008),
            ("qwen2.5-0.5b", 494_032_768),
            ("llama-3-8b", 8_030_261_248),
            // bert-base-uncased with its masked-token head, without the pooler.
            ("bert-base", 109_514_298),
        ];
        for named in NAMED {
            named.spec().validate().unwrap();
        }
        for (name, parameters) in published {
            assert_eq!(Parameters::of(&find(name).unwrap().spec()).total(), parameters, "{name}");
        }
    }
}
