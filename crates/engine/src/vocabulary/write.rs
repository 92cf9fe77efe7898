//! What a GGUF file says beside its weights: names, and the tokenizer.

use luban_artifact::ModelFiles;
use luban_artifact::gguf::{ALIGNMENT_KEY, Entry, Gguf};
use luban_model::Spec;
use luban_text::gguf::{Imported, Vocabulary};

use crate::embedder::{Pooling, pooling};
use crate::error::Result;
use crate::files;

/// The number of a token that is never used, as files have it.
const UNUSED: i32 = 5;

/// Entries for a GGUF file of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufEntries {
    /// The model's name, its tokenizer with its chat template, how an encoder's hidden states are pooled.
    pub entries: Vec<Entry>,
    /// Whether what reads the tokenizer gives the same tokens for every text.
    pub exact: bool,
}

/// What a GGUF file of a model says beside its weights; copied where the model comes from such a file.
///
/// # Errors
/// A model without a tokenizer, or with one that GGUF files have no way to write.
pub fn gguf_entries(model: &ModelFiles, spec: &Spec) -> Result<GgufEntries> {
    if let Some(gguf) = model.gguf()? {
        return Ok(GgufEntries { entries: copied(&gguf), exact: true });
    }
    let tokenizer = files::tokenizer(model)?;
    let config = if model.exists(files::TOKENIZER_CONFIG) { Some(model.read(files::TOKENIZER_CONFIG)?) } else { None };
    let Imported { vocabulary, exact } = tokenizer.to_gguf(config.as_deref())?;
    let mut entries =
        vec![Entry::text("general.type", "model"), Entry::text("general.name", &files::name(model.dir()))];
    entries.extend(of_vocabulary(&vocabulary, spec.vocab));
    if !spec.causal {
        let (pooling, _) = pooling(model)?;
        entries.push(Entry::u32("tokenizer.ggml.token_type_count", spec.token_types as u32));
        entries.push(Entry::u32("bert.pooling_type", if pooling == Pooling::Mean { 1 } else { 2 }));
    }
    Ok(GgufEntries { entries, exact })
}

/// All that a file says of other things than shape and layout.
fn copied(gguf: &Gguf) -> Vec<Entry> {
    const OWN: [&str; 3] = [ALIGNMENT_KEY, "general.file_type", "general.quantization_version"];
    let told = |key: &&str| {
        let ours = key.starts_with("general.") || key.starts_with("tokenizer.") || key.ends_with(".pooling_type");
        ours && !OWN.contains(key)
    };
    gguf.keys().filter(told).filter_map(|key| gguf.entry(key)).collect()
}

fn of_vocabulary(vocabulary: &Vocabulary, rows: usize) -> Vec<Entry> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    // Other programs count tokens by this list, and want a row of the embedding for each.
    let mut tokens = vocabulary.tokens.clone();
    tokens.extend((tokens.len()..rows).map(|id| format!("[PAD{id}]")));
    let mut kinds = vocabulary.kinds.clone();
    kinds.resize(tokens.len().max(kinds.len()), UNUSED);
    let mut entries = vec![
        Entry::text(key("model"), &vocabulary.model),
        Entry::text(key("pre"), vocabulary.pre.as_deref().unwrap_or("default")),
        Entry::texts(key("tokens"), &tokens),
        Entry::i32s(key("token_type"), &kinds),
    ];
    if !vocabulary.scores.is_empty() {
        let least = vocabulary.scores.iter().copied().fold(0.0, f32::min);
        let mut scores = vocabulary.scores.clone();
        scores.resize(tokens.len().max(scores.len()), least - 1.0);
        entries.push(Entry::f32s(key("scores"), &scores));
    }
    if !vocabulary.merges.is_empty() {
        entries.push(Entry::texts(key("merges"), &vocabulary.merges));
    }
    let special = &vocabulary.special;
    let roles = [
        ("bos", special.bos),
        ("eos", special.eos),
        ("eot", special.eot),
        ("eom", special.eom),
        ("unknown", special.unknown),
        ("seperator", special.separator),
        ("padding", special.padding),
        ("cls", special.cls),
        ("mask", special.mask),
        ("fim_pre", special.prefix),
        ("fim_suf", special.suffix),
        ("fim_mid", special.middle),
    ];
    entries.extend(roles.iter().filter_map(|&(role, id)| Some(Entry::u32(key(&format!("{role}_token_id")), id?))));
    let flags = [
        ("add_bos_token", vocabulary.add_bos),
        ("add_eos_token", vocabulary.add_eos),
        ("add_sep_token", vocabulary.add_separator),
        ("add_space_prefix", vocabulary.add_space_prefix),
        ("remove_extra_whitespaces", vocabulary.remove_extra_whitespaces),
        ("normalizer.lowercase", vocabulary.lowercase),
        ("normalizer.strip_accents", vocabulary.strip_accents),
    ];
    entries.extend(flags.iter().filter_map(|&(name, yes)| Some(Entry::bool(key(name), yes?))));
    entries.extend(vocabulary.chat_template.iter().map(|template| Entry::text("tokenizer.chat_template", template)));
    entries
}
