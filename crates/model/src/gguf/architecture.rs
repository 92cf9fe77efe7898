//! The kinds of models that GGUF files know.

use luban_artifact::gguf::Gguf;

use super::metadata::Field;
use super::metadata::Kind::{Count, Number};
use crate::error::Error;
use crate::families::{Family, Numbered};
use crate::spec::Spec;
use crate::weights::Slot;

/// Every architecture that is read and written. The first of a family's is the one that is written.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "llama", family: "llama", interleaved: true, ..LLAMA_LIKE },
    Architecture { name: "qwen2", family: "qwen2", ..LLAMA_LIKE },
    Architecture { name: "qwen3", family: "qwen3", ..LLAMA_LIKE },
    Architecture { name: "qwen3moe", family: "qwen3_moe", fields: QWEN3_MOE, ..LLAMA_LIKE },
    Architecture {
        name: "gemma3",
        family: "gemma3_text",
        fields: GEMMA,
        constants: &[("hidden_activation", "gelu_pytorch_tanh")],
        ..LLAMA_LIKE
    },
    Architecture {
        name: "gpt2",
        family: "gpt2",
        fields: GPT2,
        constants: &[("activation_function", "gelu_new")],
        names: GPT2_NAMES,
        interleaved: false,
    },
    Architecture {
        name: "bert",
        family: "bert",
        fields: BERT,
        constants: &[("hidden_act", "gelu")],
        names: BERT_NAMES,
        interleaved: false,
    },
];

/// A kind of model: its metadata and its names.
#[derive(Debug)]
pub struct Architecture {
    /// `general.architecture`, and what keys of the metadata begin with.
    pub name: &'static str,
    /// The family whose configuration says the same.
    family: &'static str,
    /// Which entries of the metadata stand for which fields of that configuration.
    pub(super) fields: &'static [Field],
    /// Fields of the configuration that are the same for all.
    pub(super) constants: &'static [(&'static str, &'static str)],
    /// From canonical names to those in the file; `#` stands for the layer, `@` for the expert.
    names: &'static [(&'static str, &'static str)],
    /// Whether rows of queries and keys alternate between the halves of their head.
    interleaved: bool,
}

/// How a weight lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// As the canonical weight does.
    Same,
    /// Rows of each head alternate between its halves.
    Interleaved,
    /// Several weights lie one after another, rows below rows; this one is the `part`-th.
    Part { part: usize, of: usize },
    /// Those of all experts lie one after another, along a dimension of their own; this one is of the `expert`-th.
    Stacked { expert: usize },
}

/// Where a weight stands in a file.
pub(super) struct Place {
    pub name: String,
    pub layout: Layout,
}

impl Architecture {
    /// The architecture of a file.
    pub(super) fn of(gguf: &Gguf) -> Result<&'static Self, Error> {
        let name = gguf.text("general.architecture")?;
        ARCHITECTURES.iter().find(|architecture| architecture.name == name).ok_or_else(|| {
            let known = ARCHITECTURES.iter().map(|architecture| architecture.name).collect::<Vec<_>>().join(", ");
            let what = format!("general.architecture is {name:?}; this program reads {known}");
            Error::Gguf { path: gguf.path().to_owned(), what }
        })
    }

    /// The architecture that holds a spec whole, if there is one.
    pub fn for_spec(spec: &Spec) -> Option<&'static Self> {
        let family = Family::for_spec(spec)?;
        ARCHITECTURES.iter().find(|architecture| architecture.family == family.name)
    }

    /// The family of its folders.
    pub(super) fn family(&self) -> &'static Family {
        Family::named(self.family).expect("architectures name families of the table")
    }

    /// A key of the metadata.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// Where its files keep a weight.
    ///
    /// # Panics
    /// If the table lacks a slot; a test walks every architecture.
    pub(super) fn place(&self, slot: &Slot) -> Place {
        let Numbered { pattern, layer, expert } = crate::families::numbered(&slot.name);
        let found = self.names.iter().find_map(|&(canonical, file)| {
            let rest = pattern.strip_prefix(canonical)?;
            (rest.is_empty() || rest.starts_with('.')).then_some((canonical, file, rest))
        });
        let (canonical, file, rest) =
            found.unwrap_or_else(|| panic!("architecture {} has no name for {}", self.name, slot.name));
        let layout = match (canonical, self.interleaved) {
            ("layers.#.q" | "layers.#.k", true) => Layout::Interleaved,
            _ => match FUSED.iter().position(|&part| part == canonical) {
                Some(part) if file == FUSED_FILE => Layout::Part { part, of: FUSED.len() },
                _ => Layout::Same,
            },
        };
        let layout = expert.parse().map_or(layout, |expert| Layout::Stacked { expert });
        let file = file.replace('#', layer);
        // Tables have no `.weight` in their canonical names, but all tensors of a file do.
        let ending = if rest.is_empty() && !file.contains(".weight") { ".weight" } else { rest };
        Place { name: format!("{file}{ending}"), layout }
    }
}

/// The maps that may lie in one tensor, in its order.
const FUSED: [&str; 3] = ["layers.#.q", "layers.#.k", "layers.#.v"];
const FUSED_FILE: &str = "blk.#.attn_qkv";

/// Llama and what is laid out like it.
const LLAMA_LIKE: Architecture = Architecture {
    name: "",
    family: "",
    fields: LLAMA,
    constants: &[("hidden_act", "silu")],
    names: LLAMA_NAMES,
    interleaved: false,
};

const LLAMA: &[Field] = &[
    Field::new("hidden_size", "embedding_length", Count),
    Field::new("num_hidden_layers", "block_count", Count),
    Field::new("num_attention_heads", "attention.head_count", Count),
    Field::optional("num_key_value_heads", "attention.head_count_kv", Count),
    Field::optional("head_dim", "attention.key_length", Count),
    Field::new("intermediate_size", "feed_forward_length", Count),
    Field::new("max_position_embeddings", "context_length", Count),
    Field::new("rms_norm_eps", "attention.layer_norm_rms_epsilon", Number),
    Field::optional("rope_theta", "rope.freq_base", Number),
];

const QWEN3_MOE: &[Field] = &[
    Field::new("hidden_size", "embedding_length", Count),
    Field::new("num_hidden_layers", "block_count", Count),
    Field::new("num_attention_heads", "attention.head_count", Count),
    Field::optional("num_key_value_heads", "attention.head_count_kv", Count),
    Field::optional("head_dim", "attention.key_length", Count),
    Field::new("intermediate_size", "feed_forward_length", Count),
    Field::new("num_experts", "expert_count", Count),
    Field::new("num_experts_per_tok", "expert_used_count", Count),
    Field::new("moe_intermediate_size", "expert_feed_forward_length", Count),
    Field::new("max_position_embeddings", "context_length", Count),
    Field::new("rms_norm_eps", "attention.layer_norm_rms_epsilon", Number),
    Field::optional("rope_theta", "rope.freq_base", Number),
];

const GEMMA: &[Field] = &[
    Field::new("hidden_size", "embedding_length", Count),
    Field::new("num_hidden_layers", "block_count", Count),
    Field::new("num_attention_heads", "attention.head_count", Count),
    Field::new("num_key_value_heads", "attention.head_count_kv", Count),
    Field::new("head_dim", "attention.key_length", Count),
    Field::new("intermediate_size", "feed_forward_length", Count),
    Field::new("max_position_embeddings", "context_length", Count),
    Field::new("rms_norm_eps", "attention.layer_norm_rms_epsilon", Number),
    Field::optional("rope_theta", "rope.freq_base", Number),
    Field::optional("rope_local_base_freq", "rope.freq_base_swa", Number),
    Field::optional("sliding_window", "attention.sliding_window", Count),
];

const GPT2: &[Field] = &[
    Field::new("n_embd", "embedding_length", Count),
    Field::new("n_layer", "block_count", Count),
    Field::new("n_head", "attention.head_count", Count),
    Field::new("n_inner", "feed_forward_length", Count),
    Field::new("n_positions", "context_length", Count),
    Field::new("layer_norm_epsilon", "attention.layer_norm_epsilon", Number),
];

const BERT: &[Field] = &[
    Field::new("hidden_size", "embedding_length", Count),
    Field::new("num_hidden_layers", "block_count", Count),
    Field::new("num_attention_heads", "attention.head_count", Count),
    Field::new("intermediate_size", "feed_forward_length", Count),
    Field::new("max_position_embeddings", "context_length", Count),
    Field::new("layer_norm_eps", "attention.layer_norm_epsilon", Number),
];

const LLAMA_NAMES: &[(&str, &str)] = &[
    ("embedding.tokens", "token_embd"),
    ("layers.#.attention_norm", "blk.#.attn_norm"),
    ("layers.#.q", "blk.#.attn_q"),
    ("layers.#.k", "blk.#.attn_k"),
    ("layers.#.v", "blk.#.attn_v"),
    ("layers.#.q_norm", "blk.#.attn_q_norm"),
    ("layers.#.k_norm", "blk.#.attn_k_norm"),
    ("layers.#.out", "blk.#.attn_output"),
    ("layers.#.attention_out_norm", "blk.#.post_attention_norm"),
    ("layers.#.ffn_norm", "blk.#.ffn_norm"),
    ("layers.#.gate", "blk.#.ffn_gate"),
    ("layers.#.up", "blk.#.ffn_up"),
    ("layers.#.down", "blk.#.ffn_down"),
    ("layers.#.ffn_out_norm", "blk.#.post_ffw_norm"),
    ("layers.#.router", "blk.#.ffn_gate_inp"),
    ("layers.#.experts.@.gate", "blk.#.ffn_gate_exps"),
    ("layers.#.experts.@.up", "blk.#.ffn_up_exps"),
    ("layers.#.experts.@.down", "blk.#.ffn_down_exps"),
    ("final_norm", "output_norm"),
    ("head", "output"),
];

const GPT2_NAMES: &[(&str, &str)] = &[
    ("embedding.tokens", "token_embd"),
    ("embedding.positions", "position_embd"),
    ("layers.#.attention_norm", "blk.#.attn_norm"),
    ("layers.#.q", FUSED_FILE),
    ("layers.#.k", FUSED_FILE),
    ("layers.#.v", FUSED_FILE),
    ("layers.#.out", "blk.#.attn_output"),
    ("layers.#.ffn_norm", "blk.#.ffn_norm"),
    ("layers.#.up", "blk.#.ffn_up"),
    ("layers.#.down", "blk.#.ffn_down"),
    ("final_norm", "output_norm"),
    ("head", "output"),
];

const BERT_NAMES: &[(&str, &str)] = &[
    ("embedding.tokens", "token_embd"),
    ("embedding.positions", "position_embd"),
    ("embedding.token_types", "token_types"),
    ("embedding.norm", "token_embd_norm"),
    ("layers.#.q", "blk.#.attn_q"),
    ("layers.#.k", "blk.#.attn_k"),
    ("layers.#.v", "blk.#.attn_v"),
    ("layers.#.out", "blk.#.attn_output"),
    ("layers.#.attention_norm", "blk.#.attn_output_norm"),
    ("layers.#.up", "blk.#.ffn_up"),
    ("layers.#.down", "blk.#.ffn_down"),
    ("layers.#.ffn_norm", "blk.#.layer_output_norm"),
];
