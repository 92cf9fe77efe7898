use luban_base::random::Stream;

use super::known::GPT2_PATTERN;
use super::*;
use crate::train::SPLIT;

const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN_1: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const PATTERNS: [&str; 7] = [GPT2_PATTERN, LLAMA_3, QWEN_2, QWEN_35, GPT_4O, TEKKEN_1, SPLIT];

fn words(steps: &[Step], text: &str) -> Vec<String> {
    let mut words = Vec::new();
    cut(steps, text, &mut |word| words.push(word.to_owned()));
    words
}

/// Each pattern by hand and by the engine.
fn both_ways() -> Vec<[Step; 2]> {
    let engine = |pattern: &str| Step::Pattern(String::new(), Box::new(SysRegex::new(pattern).unwrap()));
    PATTERNS.iter().map(|pattern| [scanned(pattern).expect("a known pattern"), engine(pattern)]).collect()
}

fn agree(ways: &[[Step; 2]], text: &str) {
    for (pattern, [by_hand, engine]) in PATTERNS.iter().zip(ways) {
        let cut = |step| words(std::slice::from_ref(step), text);
        assert_eq!(cut(by_hand), cut(engine), "{pattern}\non {text:?}");
    }
}

#[test]
fn by_hand_and_by_the_engine() {
    let texts = [
        "",
        " ",
        "  ",
        "\n",
        "a",
        " a",
        "  a",
        "a  b",
        "it's IT'LL 'tis we'Re o'ſ 'ſ 's",
        "x = 12345;\n\n    y /= 3.5//\n/ z",
        "HTTPServer XMLHttpRequest iPhone ǅungla ʰaʰA 花A花a A花",
        "e\u{301}e \u{301} \u{301}a 1\u{301}",
        "\r\n\r\n  a \r b\t\tc",
        "\u{a0}\u{3000}a\u{2028}\u{85}b",
        "٣٤٥٦ ⅧⅨ ½",
        "'",
        "''s",
        "a'",
        "'l",
        "don't'",
        "!!!\n\n  x ?\r\n\t \ty",
        "   \n   ",
        " \n \n a",
    ];
    let ways = both_ways();
    texts.iter().for_each(|text| agree(&ways, text));
}

#[test]
fn by_hand_and_by_the_engine_on_texts_drawn_by_chance() {
    // Characters at the borders of the classes, some of them often.
    let letters: Vec<char> =
        "aZ09 _.(\n\r\t;é花ß\u{301}٣Ⅷ\u{A0}\u{3000}\u{200B}  ''sStTlLdDmMrReEvVſ/ǅʰ\u{345}\u{903}🙂\u{0}\u{85}ªº\u{1F88}"
            .chars()
            .collect();
    let ways = both_ways();
    for case in 0..400 {
        let draws = Stream::new(case, &[]);
        let of = |at: u64| match draws.below_at(3 * at, 40) {
            0 => char::from_u32(draws.below_at(3 * at + 1, 0x11_0000) as u32).unwrap_or('x'),
            _ => letters[draws.below_at(3 * at + 2, letters.len() as u64) as usize],
        };
        let text: String = (0..120).map(of).collect();
        agree(&ways, &text);
    }
}

#[test]
fn every_step_cuts_what_the_step_before_left() {
    let steps = || [Step::Digits, Step::Gpt2];
    assert_eq!(words(&steps(), "ab 12  3c  "), ["ab", " ", "1", "2", "  ", "3", "c", "  "]);
    let falcon =
        [Step::of_pattern(r"[\p{P}\$\+<=>\^~\|`]+").unwrap(), Step::Gpt2, Step::of_pattern("[0-9][0-9][0-9]").unwrap()];
    assert_eq!(words(&falcon, "a=b 12345?"), ["a", "=", "b", " ", "123", "45", "?"]);
    assert!(Step::of_pattern("(").is_err());
    assert!(matches!(Step::of_pattern(LLAMA_3), Ok(Step::Words(GPT4))));
}
