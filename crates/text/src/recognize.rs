//! Which of the library's tokenizers have an [`Encoder`] that gives the same ids.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{Encoding, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Token, Tokenizer};

use crate::added::{self, Added};
use crate::bpe::{Merges, Twice};
use crate::byte_bpe::ByteBpe;
use crate::characters::Characters;
use crate::check::{is_version, merge_of};
use crate::cut::Step;
use crate::encoder::{Encoder, Frame, Method};
use crate::memory::Memories;
use crate::pieces::{Joins, Order, Pieces, SPACE, SpaceBefore, Unknown};
use crate::table::Table;
use crate::word_piece::{Cleaning, WordPiece};

/// The encoder of a tokenizer that the library read from `file`, if it is one of those that are known.
pub(crate) fn encoder(library: &Tokenizer, file: &Map<String, Value>) -> Option<Encoder> {
    let model = file.get("model")?;
    let normalizer = library.get_normalizer();
    let composed = matches!(normalizer, Some(NormalizerWrapper::NFC(_)));
    let method = match library.get_model() {
        ModelWrapper::BPE(bpe) if normalizer.is_none() || composed => characters(library, bpe, model)
            .or_else(|| bytes(library, bpe, model))
            .or_else(|| pieces(library, bpe, model)),
        ModelWrapper::BPE(bpe) => pieces(library, bpe, model),
        ModelWrapper::WordPiece(_) => words(library, model),
        _ => None,
    }?;
    let added = added_tokens(library)?;
    Some(Encoder { method, added, composed, frame: frame(library), memories: Memories::default() })
}

/// Added tokens are looked for before normalization and after it. Where it changes a text only those that are looked
/// for before are understood.
fn added_tokens(library: &Tokenizer) -> Option<Added> {
    let mut passes = [Vec::new(), Vec::new()];
    for (id, token) in library.get_added_tokens_decoder() {
        let odd = token.single_word || token.lstrip || token.rstrip;
        if token.normalized && library.get_normalizer().is_some() {
            return None;
        }
        let found = added::Token { id, special: token.special, odd };
        passes[usize::from(token.normalized)].push((token.content, found));
    }
    Added::new(passes)
}

/// What the library's post-processor puts around a text.
fn frame(library: &Tokenizer) -> Option<Frame> {
    const TEXT: u32 = u32::MAX;
    let text = Encoding::from_tokens(vec![Token::new(TEXT, String::new(), (0, 0))], 0);
    let whole = library.post_process(text, None, true).ok()?;
    let mut ids = whole.get_ids().iter().copied().zip(whole.get_type_ids().iter().copied());
    let before = ids.by_ref().take_while(|&(id, _)| id != TEXT).collect::<Vec<_>>();
    let type_id = *whole.get_type_ids().get(before.len())?;
    let after: Vec<(u32, u32)> = ids.collect();
    let once = whole.get_ids().iter().filter(|&&id| id == TEXT).count() == 1;
    once.then_some(Frame { before, type_id, after })
}

fn characters(library: &Tokenizer, bpe: &BPE, model: &Value) -> Option<Method> {
    let merges = model.get("merges").and_then(Value::as_array).is_some_and(|merges| !merges.is_empty());
    let alone = library.get_normalizer().is_none() && library.get_pre_tokenizer().is_none();
    if merges || !alone || !is_plain(bpe) || bpe.fuse_unk || bpe.byte_fallback || bpe.ignore_merges {
        return None;
    }
    let vocab = spelled(model)?;
    let unknown = match &bpe.unk_token {
        Some(token) => Some(model.get("vocab")?.get(token)?.as_u64()? as u32),
        None => None,
    };
    Some(Method::Characters(Characters::new(&vocab, unknown)))
}

fn bytes(library: &Tokenizer, bpe: &BPE, model: &Value) -> Option<Method> {
    let (steps, space_before) = steps(library.get_pre_tokenizer()?)?;
    let vocab = model.get("vocab")?.as_object()?;
    let byte_ids = ByteBpe::byte_ids(|token| vocab.get(token)?.as_u64().map(|id| id as u32));
    // A byte that the vocabulary leaves out is lost, as long as nothing stands in for it.
    let complete = byte_ids.iter().all(|&id| id != crate::bpe::NONE);
    let loses = bpe.unk_token.is_none() && !bpe.byte_fallback;
    if !((complete || loses) && is_plain(bpe)) {
        return None;
    }
    let whole = match bpe.ignore_merges {
        true => Some(Arc::new(Table::new(spelled(model)?.into_iter().map(str::as_bytes)))),
        false => None,
    };
    Some(Method::Bytes(ByteBpe { steps, space_before, byte_ids, merges: merges(model)?, whole }))
}

/// How texts are cut, where nothing else happens before the model but the spelling of bytes; and whether a space is
/// put before a text.
fn steps(pre_tokenizer: &PreTokenizerWrapper) -> Option<(Vec<Step>, bool)> {
    let (before, last) = match pre_tokenizer {
        PreTokenizerWrapper::Sequence(steps) => steps.as_ref().split_last().map(|(last, before)| (before, last))?,
        one => (&[][..], one),
    };
    let PreTokenizerWrapper::ByteLevel(last) = last else { return None };
    if last.add_prefix_space && !before.is_empty() {
        return None;
    }
    let step = |step: &PreTokenizerWrapper| match step {
        PreTokenizerWrapper::Split(split) => {
            let isolated = matches!(split.behavior, SplitDelimiterBehavior::Isolated) && !split.invert;
            match &split.pattern {
                SplitPattern::Regex(pattern) if isolated => Step::of_pattern(pattern).ok(),
                _ => None,
            }
        }
        PreTokenizerWrapper::Digits(digits) if digits.individual_digits => Some(Step::Digits),
        _ => None,
    };
    let mut steps = before.iter().map(step).collect::<Option<Vec<_>>>()?;
    steps.extend(last.use_regex.then_some(Step::Gpt2));
    Some((steps, last.add_prefix_space))
}

/// SentencePiece's BPE as files of Hugging Face hold it: a space is written as another character, by one way or another.
fn pieces(library: &Tokenizer, bpe: &BPE, model: &Value) -> Option<Method> {
    let space_before = spaces(library)?;
    if bpe.ignore_merges || !is_plain(bpe) {
        return None;
    }
    let tokens = Table::new(spelled(model)?.into_iter().map(str::as_bytes));
    let unknown = match &bpe.unk_token {
        Some(token) => Some(tokens.find(token.as_bytes())?),
        None => None,
    };
    let byte_ids = match bpe.byte_fallback {
        true => Some(Box::new(byte_tokens(&tokens)?)),
        false => None,
    };
    // Unknown characters become one across any cut.
    let cut = byte_ids.is_some() || !bpe.fuse_unk;
    Some(Method::Pieces(Pieces {
        joins: if cut { Joins::of(tokens.iter()) } else { Joins::everywhere() },
        tokens: Arc::new(tokens),
        order: Order::Pairs(merges(model)?),
        space_before,
        byte_ids,
        unknown: Unknown { id: unknown, fused: bpe.fuse_unk },
    }))
}

/// The tokens `<0x00>` to `<0xFF>`, if there are all.
pub(crate) fn byte_tokens(tokens: &Table) -> Option<[u32; 256]> {
    let mut ids = [0; 256];
    for (byte, id) in ids.iter_mut().enumerate() {
        *id = tokens.find(format!("<0x{byte:02X}>").as_bytes())?;
    }
    Some(ids)
}

/// Where spaces are written as [`SPACE`] and nothing else is done: when one is put before a text.
fn spaces(library: &Tokenizer) -> Option<SpaceBefore> {
    let normalizer = serde_json::to_value(library.get_normalizer()).ok()?;
    let pre_tokenizer = serde_json::to_value(library.get_pre_tokenizer()).ok()?;
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
    let prepend = json!({ "type": "Prepend", "prepend": SPACE });
    let nothing_left =
        json!({ "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false });
    let metaspace =
        |scheme: &str| json!({ "type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": false });
    let cases = [
        (json!({ "type": "Sequence", "normalizers": [prepend, replace.clone()] }), Value::Null, SpaceBefore::Always),
        (replace.clone(), Value::Null, SpaceBefore::Never),
        (replace, nothing_left, SpaceBefore::Never),
        (Value::Null, metaspace("always"), SpaceBefore::Missing),
        (Value::Null, metaspace("first"), SpaceBefore::First),
        (Value::Null, metaspace("never"), SpaceBefore::Never),
    ];
    let found = cases.into_iter().find(|(first, second, _)| *first == normalizer && *second == pre_tokenizer);
    found.map(|(.., space)| space)
}

fn words(library: &Tokenizer, model: &Value) -> Option<Method> {
    let ModelWrapper::WordPiece(piece) = library.get_model() else { return None };
    let Some(NormalizerWrapper::BertNormalizer(bert)) = library.get_normalizer() else { return None };
    let Some(PreTokenizerWrapper::BertPreTokenizer(_)) = library.get_pre_tokenizer() else { return None };
    let vocab = spelled(model)?;
    let tokens = vocab.iter().map(|token| token.as_bytes());
    let (first, later) = WordPiece::tables(tokens, piece.continuing_subword_prefix.as_bytes());
    let unknown = first.find(piece.unk_token.as_bytes())?;
    let cleaning = Cleaning {
        controls: bert.clean_text,
        chinese: bert.handle_chinese_chars,
        accents: bert.strip_accents.unwrap_or(bert.lowercase),
        lowercase: bert.lowercase,
    };
    Some(Method::Words(WordPiece {
        token_bytes_max: first.iter().map(<[u8]>::len).max()?,
        first,
        later,
        unknown,
        word_characters_max: piece.max_input_chars_per_word,
        cleaning,
    }))
}

/// Whether a model encodes a word always alike, by its merges alone.
fn is_plain(bpe: &BPE) -> bool {
    let affixes = [&bpe.continuing_subword_prefix, &bpe.end_of_word_suffix];
    bpe.dropout.is_none() && affixes.into_iter().all(|affix| affix.as_deref().unwrap_or_default().is_empty())
}

/// The tokens of a vocabulary by their ids; gaps are empty.
fn spelled(model: &Value) -> Option<Vec<&str>> {
    let vocab = model.get("vocab")?.as_object()?;
    let size = vocab.values().filter_map(Value::as_u64).max()? as usize + 1;
    let mut spelled = vec![""; size];
    for (token, id) in vocab {
        *spelled.get_mut(id.as_u64()? as usize)? = token;
    }
    Some(spelled)
}

fn merges(model: &Value) -> Option<Merges> {
    let vocab = model.get("vocab")?.as_object()?;
    let list = model.get("merges").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let id = |token: &str| vocab.get(token)?.as_u64().map(|id| id as u32);
    let mut merges = Merges::with_capacity(list.len());
    let mut merged = String::new();
    for (rank, merge) in (0..).zip(list.iter().filter(|merge| !is_version(merge))) {
        let (left, right) = merge_of(merge)?;
        merged.clear();
        merged.extend([left, right]);
        merges.insert([id(left)?, id(right)?], rank, id(&merged)?, Twice::Last);
    }
    Some(merges)
}
