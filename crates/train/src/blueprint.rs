//! A model that somebody describes whole: by a `config.json` of Hugging Face, or by name.

use luban_model::Spec;
use luban_model::families::{self, Family};
use luban_model::plan::named;
use luban_model::spec::Head;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What to train from scratch: every dimension is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Blueprint {
    /// The `model_type`, which decides the layout of the files that are written.
    pub family: String,
    /// The model.
    pub spec: Spec,
    /// Whether the vocabulary is as large as the description says; otherwise the tokenizer decides.
    pub fixed_vocabulary: bool,
}

impl Blueprint {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// If it is damaged, of a family that this program does not know, or describes an impossible model.
    pub fn from_config(json: &[u8]) -> Result<Self> {
        let (family, spec, _) = families::read_config(json)?;
        Ok(Self { family: family.name.to_owned(), spec, fixed_vocabulary: true })
    }

    /// The shape of a known model, for any tokenizer; nothing where no model has that name.
    pub fn named(name: &str) -> Option<Self> {
        let spec = named::find(name)?.spec();
        let family = Family::for_spec(&spec)?.name.to_owned();
        Some(Self { family, spec, fixed_vocabulary: false })
    }

    /// The model for a tokenizer of `vocab` entries and an objective that wants it `causal` or not.
    ///
    /// # Errors
    /// If the vocabulary is too small for the tokenizer, or the model is not what the objective trains.
    pub(crate) fn spec_for(&self, vocab: usize, causal: bool) -> Result<Spec> {
        let spec = self.spec.clone();
        let fail = |found: String, expected: String| Err(Error::Setting { name: "config", found, expected });
        let spec = match self.fixed_vocabulary {
            false => Spec { vocab, ..spec },
            true if spec.vocab >= vocab => spec,
            true => {
                let found = format!("a model with a vocabulary of {}", spec.vocab);
                return fail(found, format!("at least {vocab} entries, which the tokenizer has"));
            }
        };
        let spec = match (spec.head, causal) {
            // The configuration of a bare encoder says nothing about the head that it is trained with.
            (Head::None, false) => Spec { head: Head::MaskedToken, ..spec },
            _ => spec,
        };
        let suits = match spec.head {
            Head::Vocabulary { .. } => causal && spec.causal,
            Head::MaskedToken => !causal && !spec.causal,
            Head::None => false,
        };
        if !suits {
            let found = format!("{} {}", if spec.causal { "a decoder," } else { "an encoder," }, self.family);
            let wanted = if causal { "a decoder with a head over its vocabulary" } else { "an encoder" };
            return fail(found, format!("{wanted}, which the objective trains"));
        }
        spec.validate()?;
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPT2: &str = r#"{"model_type": "gpt2", "vocab_size": 65, "n_embd": 384, "n_layer": 6, "n_head": 6,
        "n_positions": 256, "activation_function": "gelu_new"}"#;
    const BERT: &str = r#"{"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 100, "hidden_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64,
        "hidden_act": "gelu"}"#;

    #[test]
    fn a_configuration_must_suit_the_tokenizer_and_the_objective() {
        let gpt2 = Blueprint::from_config(GPT2.as_bytes()).unwrap();
        assert_eq!((gpt2.spec_for(65, true).unwrap().vocab, gpt2.spec_for(60, true).unwrap().vocab), (65, 65));
        assert_eq!(gpt2.spec.parameters(), 10_770_816);
        let small = gpt2.spec_for(66, true).unwrap_err().to_string();
        assert!(small.contains("vocabulary of 65") && small.contains("66"), "{small}");
        let wrong = gpt2.spec_for(65, false).unwrap_err().to_string();
        assert!(wrong.contains("a decoder, gpt2") && wrong.contains("an encoder"), "{wrong}");
        let bert = Blueprint::from_config(BERT.as_bytes()).unwrap();
        assert_eq!(bert.spec_for(100, false).unwrap().head, Head::MaskedToken);
        assert!(bert.spec_for(100, true).is_err());
    }

    #[test]
    fn names_take_the_tokenizers_vocabulary() {
        let smollm = Blueprint::named("smollm2-135m").unwrap();
        assert_eq!((smollm.family.as_str(), smollm.spec_for(4096, true).unwrap().vocab), ("llama", 4096));
        for named in named::NAMED {
            let blueprint = Blueprint::named(named.name).unwrap();
            assert!(blueprint.spec_for(300, blueprint.spec.causal).is_ok(), "{}", named.name);
        }
        assert_eq!(Blueprint::named("gpt5"), None);
        let json = serde_json::to_string(&smollm).unwrap();
        assert_eq!(serde_json::from_str::<Blueprint>(&json).unwrap(), smollm);
    }
}
