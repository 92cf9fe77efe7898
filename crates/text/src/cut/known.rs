//! The patterns that are scanned by hand, as files spell them.

use serde_json::{Value, json};

use super::{GPT4, GPT4O, OURS, QWEN2, QWEN35, Step, TEKKEN, Tail, Words};
use crate::train::SPLIT;

/// GPT-2's.
pub(crate) const GPT2_PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// How contractions in any case are spelled. (Other spellings leave out the long s.)
const CONTRACTIONS: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";

/// The step that does what a pattern says, where one is known to.
pub(crate) fn scanned(pattern: &str) -> Option<Step> {
    if pattern == GPT2_PATTERN {
        return Some(Step::Gpt2);
    }
    if pattern == SPLIT {
        return Some(Step::Words(OURS));
    }
    let words = [GPT4, QWEN2, QWEN35].into_iter().flat_map(|words| [words, Words { contractions: false, ..words }]);
    let cased = [
        GPT4O,
        TEKKEN,
        Words { digits_max: TEKKEN.digits_max, ..GPT4O },
        Words { digits_max: GPT4O.digits_max, ..TEKKEN },
    ];
    let mut steps = words.map(Step::Words).chain(cased.into_iter().map(Step::Cased));
    steps.find(|step| spelled(step).as_deref() == Some(pattern))
}

/// The steps as the pre-tokenizer of a `tokenizer.json` for byte-level BPE.
pub(crate) fn to_json(steps: &[Step]) -> Value {
    let byte_level = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
    let split = |pattern: &str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
    let written = |step: &Step| match step {
        Step::Gpt2 => split(GPT2_PATTERN),
        Step::Digits => json!({ "type": "Digits", "individual_digits": true }),
        Step::Pattern(pattern, _) => split(pattern),
        Step::Words(_) | Step::Cased(_) => split(&spelled(step).unwrap_or_else(|| SPLIT.to_owned())),
    };
    let (before, by_gpt2) = match steps {
        [before @ .., Step::Gpt2] => (before, true),
        all => (all, false),
    };
    let mut steps: Vec<Value> = before.iter().map(written).collect();
    steps.push(byte_level(by_gpt2));
    json!({ "type": "Sequence", "pretokenizers": steps })
}

/// The pattern of a step.
fn spelled(step: &Step) -> Option<String> {
    let (words, cased) = match step {
        Step::Words(words) => (words, false),
        Step::Cased(words) => (words, true),
        _ => return None,
    };
    let tail = match words.tail {
        Tail::Lines => r"[\r\n]*",
        Tail::Slashes => r"[\r\n/]*",
        Tail::Indent => return None,
    };
    let marks = words.letters & crate::classes::MARK > 0;
    let (letters, others) = if marks { (r"[\p{L}\p{M}]", r"\p{L}\p{M}") } else { (r"\p{L}", r"\p{L}") };
    let number = match words.digits_max {
        1 => r"\p{N}".to_owned(),
        usize::MAX => r"\p{N}+".to_owned(),
        most => format!(r"\p{{N}}{{1,{most}}}"),
    };
    let head = match (cased, words.contractions) {
        (false, true) => format!(r"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?{letters}+"),
        (false, false) => format!(r"[^\r\n\p{{L}}\p{{N}}]?{letters}+"),
        (true, any) => {
            let end = if any { format!("{CONTRACTIONS}?") } else { String::new() };
            let (upper, lower) = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]");
            let first = r"[^\r\n\p{L}\p{N}]?";
            format!("{first}{upper}*{lower}+{end}|{first}{upper}+{lower}*{end}")
        }
    };
    Some(format!(r"{head}|{number}| ?[^\s{others}\p{{N}}]+{tail}|\s*[\r\n]+|\s+(?!\S)|\s+"))
}
