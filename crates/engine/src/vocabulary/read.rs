//! The tokenizer that a GGUF file carries.

use luban_artifact::gguf::{Array, Gguf, Value};
use luban_text::gguf::{Special, Vocabulary};

use crate::error::Result;

/// Most tokens, or merges, that are read.
const TOKENS_MAX: usize = 1 << 20;

/// Reads the values of the keys that begin with `tokenizer.`; the text crate checks that they fit together.
pub(crate) fn read(gguf: &Gguf) -> Result<Vocabulary> {
    let id = |names: &[&str]| -> Result<Option<u32>> {
        let keys: Vec<String> = names.iter().map(|name| format!("tokenizer.ggml.{name}_token_id")).collect();
        let Some(key) = keys.iter().find(|key| gguf.get(key).is_some()) else { return Ok(None) };
        // Files say that there is none by the largest number.
        let id = u32::try_from(gguf.count(key)?).map_err(|_| gguf.wrong(key, "a number of 32 bits"))?;
        Ok(Some(id).filter(|&id| id != u32::MAX))
    };
    let flag = |name: &str| value(gguf, name, "true or false", Value::as_bool);
    let optional = |key: &str| gguf.get(key).map(|_| gguf.text(key).map(str::to_owned)).transpose();
    Ok(Vocabulary {
        model: gguf.text("tokenizer.ggml.model")?.to_owned(),
        pre: optional("tokenizer.ggml.pre")?,
        tokens: items(gguf, "tokens", |value| value.as_text().map(str::to_owned))?,
        scores: items(gguf, "scores", |value| value.as_f64().map(|score| score as f32))?,
        kinds: items(gguf, "token_type", |value| value.as_f64().map(|kind| kind as i32))?,
        merges: items(gguf, "merges", |value| value.as_text().map(str::to_owned))?,
        precompiled_charsmap: items(gguf, "precompiled_charsmap", |value| Some(value.as_f64()? as i64 as u8))?,
        special: Special {
            bos: id(&["bos"])?,
            eos: id(&["eos"])?,
            eot: id(&["eot"])?,
            eom: id(&["eom"])?,
            unknown: id(&["unknown"])?,
            separator: id(&["seperator", "separator"])?,
            padding: id(&["padding"])?,
            cls: id(&["cls"])?,
            mask: id(&["mask"])?,
            prefix: id(&["fim_pre", "prefix"])?,
            suffix: id(&["fim_suf", "suffix"])?,
            middle: id(&["fim_mid", "middle"])?,
        },
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
        add_separator: flag("add_sep_token")?,
        add_space_prefix: flag("add_space_prefix")?,
        remove_extra_whitespaces: flag("remove_extra_whitespaces")?,
        lowercase: flag("normalizer.lowercase")?,
        strip_accents: flag("normalizer.strip_accents")?,
        chat_template: optional("tokenizer.chat_template")?,
    })
}

/// The value of a key that may be missing.
fn value<'a, T>(
    gguf: &'a Gguf,
    name: &str,
    expected: &str,
    take: impl Fn(Value<'a>) -> Option<T>,
) -> Result<Option<T>> {
    let key = format!("tokenizer.ggml.{name}");
    let Some(found) = gguf.get(&key) else { return Ok(None) };
    Ok(Some(take(found).ok_or_else(|| gguf.wrong(&key, expected))?))
}

/// The items of an array that may be missing.
fn items<'a, T>(gguf: &'a Gguf, name: &str, take: impl Fn(Value<'a>) -> Option<T>) -> Result<Vec<T>> {
    let expected = format!("at most {TOKENS_MAX} of one kind");
    let array = value(gguf, name, &expected, |value| {
        let array: Array<'a> = value.as_array()?;
        (array.len() <= TOKENS_MAX).then(|| array.iter().map(&take).collect::<Option<Vec<T>>>())?
    })?;
    Ok(array.unwrap_or_default())
}
