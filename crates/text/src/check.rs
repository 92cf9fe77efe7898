//! What a `tokenizer.json` must satisfy before the library may see it.
//!
//! The library trusts its files: it panics on merges of unknown tokens, allocates what a padding asks for, and
//! follows a normaliser that makes a text a million times longer. So sizes and references are checked here first.

use serde_json::{Map, Value};

use crate::{Error, Result};

/// Largest file: Gemma's, the largest known, has 33 MB.
pub(crate) const FILE_BYTES_MAX: usize = 64 << 20;
/// Largest vocabulary, and largest id.
pub(crate) const VOCAB_MAX: usize = 4 << 20;
/// Most bytes that a text may have once normalised.
pub(crate) const NORMALIZED_BYTES_MAX: usize = 256 << 20;
/// Most bytes of all added tokens together; a machine that finds them in texts takes some dozen for each.
pub(crate) const ADDED_BYTES_MAX: usize = 4 << 20;
/// Steps of a sequence, nested ones included.
const STEPS_MAX: usize = 64;
/// WordPiece tries every end of a word for every start: quadratic in this.
const WORD_CHARACTERS_MAX: u64 = 1000;
/// Longest regular expression or replacement.
const PATTERN_BYTES_MAX: usize = 4096;
/// Steps that replace or decompose may together make a text this many times longer.
const GROWTH_MAX: usize = 1 << 12;

/// What the checks learnt.
pub(crate) struct Checked {
    /// How many times longer the normaliser can make a text; 1 or more.
    pub(crate) growth: usize,
    /// The file.
    pub(crate) file: Map<String, Value>,
}

/// Checks sizes, ids and references.
pub(crate) fn check(json: &[u8]) -> Result<Checked> {
    if json.len() > FILE_BYTES_MAX {
        return Err(Error::FileTooLarge { found: json.len(), limit: FILE_BYTES_MAX });
    }
    let file: Map<String, Value> = serde_json::from_slice(json).map_err(|error| Error::Corrupt(error.to_string()))?;
    let Some(Value::Object(model)) = file.get("model") else {
        return corrupt("it has no object \"model\"");
    };
    check_model(model)?;
    added_tokens(file.get("added_tokens"))?;
    for part in ["pre_tokenizer", "post_processor", "decoder"] {
        let mut steps = 0;
        walk(file.get(part).unwrap_or(&Value::Null), part, &mut steps)?;
    }
    let mut steps = 0;
    let growth = growth(file.get("normalizer").unwrap_or(&Value::Null), &mut steps)?;
    // The byte alphabet of a pre-tokenizer doubles what the normaliser leaves.
    Ok(Checked { growth: growth.saturating_mul(2), file })
}

/// The number of ids, which tables and embeddings are sized by.
pub(crate) fn size(size: usize) -> Result<()> {
    if size == 0 {
        return corrupt("its vocabulary is empty");
    }
    if size > VOCAB_MAX {
        return corrupt(format!("its largest id is {}; ids up to {} are read", size - 1, VOCAB_MAX - 1));
    }
    Ok(())
}

fn corrupt<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Corrupt(what.into()))
}

fn check_model(model: &Map<String, Value>) -> Result<()> {
    match model.get("vocab") {
        Some(Value::Object(vocab)) => {
            ids(vocab)?;
            merges(model, vocab)?;
        }
        Some(Value::Array(vocab)) => size(vocab.len())?,
        _ => return corrupt("its model has no \"vocab\""),
    }
    match model.get("max_input_chars_per_word") {
        Some(count) if count.as_u64().is_none_or(|count| count > WORD_CHARACTERS_MAX) => {
            corrupt(format!("max_input_chars_per_word is {count}; expected at most {WORD_CHARACTERS_MAX}"))
        }
        _ => Ok(()),
    }
}

fn ids(vocab: &Map<String, Value>) -> Result<()> {
    size(vocab.len())?;
    let mut seen = vec![false; VOCAB_MAX];
    for (token, id) in vocab {
        let slot = id.as_u64().and_then(|id| seen.get_mut(usize::try_from(id).ok()?));
        match slot {
            None => return corrupt(format!("the id of {token:?} is {id}; expected 0 to {}", VOCAB_MAX - 1)),
            Some(true) => return corrupt(format!("the id {id} belongs to {token:?} and to another token")),
            Some(slot) => *slot = true,
        }
    }
    Ok(())
}

/// Every merge must join two tokens into a third. (The library slices by their lengths without looking.)
fn merges(model: &Map<String, Value>, vocab: &Map<String, Value>) -> Result<()> {
    let merges = match model.get("merges") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(merges)) => merges,
        Some(_) => return corrupt("its \"merges\" are not a list"),
    };
    let prefix = model.get("continuing_subword_prefix").and_then(Value::as_str).unwrap_or("");
    for (rank, merge) in merges.iter().enumerate() {
        if is_version(merge) {
            continue;
        }
        let Some((left, right)) = merge_of(merge) else {
            return corrupt(format!("merge {rank} is not a pair of tokens"));
        };
        let joined = right.strip_prefix(prefix).map(|right| [left, right].concat());
        let known = |token: &str| vocab.contains_key(token);
        if !(known(left) && known(right) && joined.is_some_and(|joined| known(&joined))) {
            return corrupt(format!("merge {rank} ({left:?} and {right:?}) names a token that the vocabulary lacks"));
        }
    }
    Ok(())
}

/// Whether a line of the merges only says in which version they are written.
pub(crate) fn is_version(merge: &Value) -> bool {
    merge.as_str().is_some_and(|text| text.starts_with("#version"))
}

/// The two sides of a merge, as a string or as a pair.
pub(crate) fn merge_of(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(text) => Some(text.split_once(' ').unwrap_or((text, ""))),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(left), Value::String(right)] => Some((left, right)),
            _ => None,
        },
        _ => None,
    }
}

fn added_tokens(tokens: Option<&Value>) -> Result<()> {
    match tokens {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(tokens)) => {
            size(tokens.len() + 1)?;
            let bytes = tokens.iter().filter_map(|token| token.get("content")?.as_str()).map(str::len).sum::<usize>();
            if bytes > ADDED_BYTES_MAX {
                return corrupt(format!("its added tokens have {bytes} bytes; at most {ADDED_BYTES_MAX}"));
            }
            Ok(())
        }
        Some(_) => corrupt("its \"added_tokens\" are not a list"),
    }
}

/// The steps of a pre-tokenizer, post-processor or decoder: few enough, with patterns of a sane length.
fn walk(step: &Value, part: &str, steps: &mut usize) -> Result<()> {
    count_step(part, steps)?;
    for pattern in pattern_texts(step) {
        if pattern.len() > PATTERN_BYTES_MAX {
            return corrupt(format!(
                "a pattern of its {part} has {} bytes; at most {PATTERN_BYTES_MAX}",
                pattern.len()
            ));
        }
    }
    nested(step).try_for_each(|step| walk(step, part, steps))
}

fn count_step(part: &str, steps: &mut usize) -> Result<()> {
    *steps += 1;
    if *steps > STEPS_MAX {
        return corrupt(format!("its {part} has more than {STEPS_MAX} steps"));
    }
    Ok(())
}

fn nested(step: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["normalizers", "pretokenizers", "processors", "decoders"].into_iter().filter_map(|key| step.get(key));
    lists.filter_map(Value::as_array).flatten()
}

fn pattern_texts(step: &Value) -> impl Iterator<Item = &str> {
    let pattern = step.get("pattern").into_iter();
    let inner = pattern.flat_map(|pattern| [Some(pattern), pattern.get("Regex"), pattern.get("String")]);
    inner.flatten().chain(step.get("content")).filter_map(Value::as_str)
}

/// By how much a normaliser can make a text longer, at most.
fn growth(step: &Value, steps: &mut usize) -> Result<usize> {
    walk(step, "normalizer", steps)?;
    let total = growth_of(step);
    if total > GROWTH_MAX {
        return corrupt(format!("its normalizer can make a text {total} times longer; at most {GROWTH_MAX}"));
    }
    Ok(total)
}

/// Old files leave out `type`, so a step is also known by its fields.
fn growth_of(step: &Value) -> usize {
    let text = |key: &str| step.get(key).and_then(Value::as_str);
    let inner = nested(step).map(growth_of).fold(1, usize::saturating_mul);
    let own = match (text("content"), text("prepend"), text("type")) {
        // A pattern can match at every byte, or between bytes.
        (Some(content), ..) => match step.get("pattern").and_then(|pattern| pattern.get("String")?.as_str()) {
            Some(pattern) if !pattern.is_empty() => content.len().div_ceil(pattern.len()).max(1),
            _ => content.len() + 1,
        },
        (_, Some(prefix), _) => prefix.len() + 1,
        (.., Some("Sequence" | "Strip" | "StripAccents")) => 1,
        (.., Some("NFC" | "NFD" | "Lowercase" | "BertNormalizer" | "Nmt" | "ByteLevel")) => 3,
        _ if step.is_null() => 1,
        // U+FDFA decomposes into 18 characters: 33 bytes from 3.
        _ => 12,
    };
    own.saturating_mul(inner)
}
