//! The ways of cutting texts that `tokenizer.ggml.pre` names.

use crate::cut::{GPT4, GPT4O, QWEN2, QWEN35, Step, TEKKEN, Words};

/// What a name stands for.
pub(super) struct Pre {
    pub(super) steps: Vec<Step>,
    /// Whether a word that is a token needs no merges.
    pub(super) whole_words: bool,
    /// Whether texts begin with a token for that, unless the file says otherwise.
    pub(super) add_bos: bool,
}

/// A step, before it is made.
enum Cut {
    Gpt2,
    Words(Words),
    Cased(Words),
    Digits,
    Pattern(&'static str),
}

use Cut::Pattern;

const PUNCTUATION: Cut = Pattern(r"[\p{P}\$\+<=>\^~\|`]+");
const THREE_DIGITS: Cut = Pattern("[0-9][0-9][0-9]");
const LINE_END: Cut = Pattern(r"[\r\n]");
const CHINESE: &str = r"[一-龥぀-ゟ゠-ヿ]+";
const CHINESE_AND_KOREAN: Cut = Pattern(r"[一-龥ࠀ-一가-퟿]+");
/// Words of BLOOM and its kin, which know some languages' punctuation.
const BLOOM: Cut = Pattern(r" ?[^(\s|.,!?…。，、।۔،)]+");
/// Words of DeepSeek V3 and its kin, after digits and Chinese.
const DEEPSEEK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// Letters of the scripts that DeepSeek's first model names one by one.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}",
    r"\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}",
    r"\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}",
    r"\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}",
    r"\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}",
    r"\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}",
    r"\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}",
    r"\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}",
    r"\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}",
    r"\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}",
    r"\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}",
    r"\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}",
    r"\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}",
    r"\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+",
);
const BAILING: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const SEED: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
const JAIS2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
const YOUTU_SCRIPTS: &str = r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+";

/// The names that are written: one for each way of cutting, where it has several.
pub(super) const WRITTEN: [&str; 17] = [
    "gpt-2",
    "smollm",
    "llama-bpe",
    "dbrx",
    "qwen2",
    "qwen35",
    "gpt-4o",
    "tekken",
    "falcon",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "bloom",
    "viking",
    "superbpe",
    "seed-coder",
    "jais-2",
];

/// The way of a name; nothing for one that is not known.
pub(super) fn named(name: &str) -> Option<Pre> {
    let steps = cuts(name)?.into_iter().map(Cut::step).collect();
    let whole_words = matches!(
        name,
        "llama-bpe"
            | "llama3"
            | "llama-v3"
            | "falcon3"
            | "falcon-h1"
            | "pixtral"
            | "midm-2.0"
            | "lfm2"
            | "jina-v5-nano"
            | "tekken"
            | "youtu"
            | "minicpm5"
            | "granite-embed-multi-97m"
    );
    let add_bos =
        (whole_words && !matches!(name, "youtu" | "minicpm5" | "granite-embed-multi-97m")) || name == "chameleon";
    Some(Pre { steps, whole_words, add_bos })
}

fn cuts(name: &str) -> Option<Vec<Cut>> {
    Some(match name {
        "default" => vec![Pattern(r"[\p{P}\$\+<=>\^~\|]+"), Cut::Gpt2, Pattern(r"\p{N}+"), THREE_DIGITS],
        "gpt-2" | "gpt2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" | "exaone4"
        | "gigachat" | "a.x-4.0" | "mellum" | "modern-bert" | "jina-es" | "jina-de" | "jina-v1-en" | "jina-v2-es"
        | "jina-v2-de" | "jina-v2-code" | "roberta-bpe" => vec![Cut::Gpt2],
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => {
            vec![Cut::Digits, Cut::Gpt2]
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2"
        | "jina-v5-nano" | "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => vec![Cut::Words(GPT4)],
        "qwen2" | "stablelm2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" | "hunyuan" | "solar-open"
        | "grok-2" => vec![Cut::Words(QWEN2)],
        "qwen35" => vec![Cut::Words(QWEN35)],
        "ufakzeka" => vec![Cut::Words(Words { contractions: false, ..QWEN2 })],
        "laguna" => vec![Pattern(r"[^\n]+|[\n]+"), Cut::Words(QWEN2)],
        "minicpm5" => vec![Pattern(r"\p{N}{1,3}"), Cut::Words(Words { digits_max: usize::MAX, ..GPT4 })],
        "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" | "granite-embed-multi-97m" => {
            vec![Cut::Cased(GPT4O)]
        }
        "tiny_aya" | "cohere2moe" => vec![Pattern(r"\d{1,3}(?=(?:\d{3})*\b)"), Cut::Cased(GPT4O)],
        "tekken" => vec![Cut::Cased(TEKKEN)],
        "youtu" => vec![Pattern(YOUTU_SCRIPTS), Cut::Cased(Words { digits_max: 1, ..GPT4O })],
        "falcon" => vec![PUNCTUATION, Cut::Gpt2, THREE_DIGITS],
        "deepseek-llm" => vec![
            LINE_END,
            Pattern(DEEPSEEK_LETTERS),
            Pattern(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            Pattern(r"\s+$"),
            CHINESE_AND_KOREAN,
            Pattern(r"\p{N}+"),
        ],
        "deepseek-coder" => {
            vec![LINE_END, Pattern(r"\s?\p{L}+"), Pattern(r"\s?\p{P}+"), CHINESE_AND_KOREAN, Cut::Digits]
        }
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => {
            vec![Pattern(r"\p{N}{1,3}"), Pattern(CHINESE), Pattern(DEEPSEEK)]
        }
        "bloom" | "poro-chat" | "gpt3-finnish" => vec![BLOOM],
        "viking" => vec![BLOOM, Cut::Digits],
        "superbpe" => vec![Pattern(r"\p{N}+"), Pattern(r"(?=(\d{3})+(?!\d))")],
        "bailingmoe" | "bailingmoe2" | "llada-moe" => vec![Pattern(BAILING)],
        "seed-coder" => vec![Pattern(SEED)],
        "exaone-moe" => vec![Pattern(EXAONE_MOE)],
        "jais-2" => vec![Pattern(JAIS2)],
        "chameleon" => vec![
            Pattern("<sentinel:[0-9]+>"),
            Pattern("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
            Pattern(r"([\t\n]|    |  )"),
            Cut::Digits,
            Pattern(r"[\p{P}!-/:-@\[-`{-~]"),
            Cut::Gpt2,
        ],
        _ => return None,
    })
}

impl Cut {
    fn step(self) -> Step {
        match self {
            Self::Gpt2 => Step::Gpt2,
            Self::Words(words) => Step::Words(words),
            Self::Cased(words) => Step::Cased(words),
            Self::Digits => Step::Digits,
            Self::Pattern(pattern) => Step::of_pattern(pattern).expect("the pattern is constant and tested"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name that llama.cpp's files are known to use.
    const NAMES: [&str; 69] = [
        "default",
        "gpt-2",
        "gpt2",
        "phi-2",
        "mpt",
        "olmo",
        "jais",
        "trillion",
        "granite-docling",
        "exaone4",
        "gigachat",
        "a.x-4.0",
        "mellum",
        "modern-bert",
        "jina-es",
        "jina-de",
        "jina-v1-en",
        "jina-v2-es",
        "jina-v2-de",
        "jina-v2-code",
        "roberta-bpe",
        "smollm",
        "starcoder",
        "refact",
        "command-r",
        "codeshell",
        "exaone",
        "minerva-7b",
        "mellum2",
        "llama-bpe",
        "llama3",
        "llama-v3",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "jina-v5-nano",
        "dbrx",
        "smaug-bpe",
        "glm4",
        "chatglm-bpe",
        "qwen2",
        "stablelm2",
        "deepseek-r1-qwen",
        "megrez",
        "hunyuan",
        "qwen35",
        "gpt-4o",
        "llama4",
        "minimax-m2",
        "tiny_aya",
        "tekken",
        "youtu",
        "falcon",
        "deepseek-llm",
        "deepseek-coder",
        "deepseek-v3",
        "bloom",
        "poro-chat",
        "viking",
        "superbpe",
        "bailingmoe",
        "seed-coder",
        "exaone-moe",
        "jais-2",
        "chameleon",
        "minicpm5",
        "laguna",
    ];

    #[test]
    fn every_way_loses_nothing_and_can_be_written_down() {
        let text = "Hello, it's 12345 o'clock… HTTPServer\n\n  ３.14 花が\u{301} 你好，世界 ١٢٣ <sentinel:7>\t\t x=1000000;\r\n 'Ll ";
        for name in NAMES {
            let pre = named(name).unwrap_or_else(|| panic!("{name}"));
            let mut words = Vec::new();
            crate::cut::cut(&pre.steps, text, &mut |word| words.push(word.to_owned()));
            assert_eq!(words.concat(), text, "{name}");
            assert!(words.len() > 10 && words.iter().all(|word| !word.is_empty()), "{name}: {words:?}");
            assert!(crate::cut::to_json(&pre.steps).is_object(), "{name}");
        }
        assert!(named("another").is_none());
    }

    #[test]
    fn cuts_of_some_ways() {
        let cases: [(&str, &str, &[&str]); 6] = [
            ("default", "a = 12345.6!", &["a", " ", "=", " ", "123", "45", ".", "6", "!"]),
            ("falcon", "a b 1234 !?", &["a", " b", " ", "123", "4", " ", "!?"]),
            ("superbpe", "x 1234567", &["x ", "1", "234", "567"]),
            ("deepseek-coder", "ab 你好 12\n!", &["ab", " ", "你好", " ", "1", "2", "\n", "!"]),
            ("deepseek-v3", "你好 world 1234 _x", &["你好", " world", " ", "123", "4", " _", "x"]),
            ("bloom", "the cat, sat", &["the", " cat", ",", " sat"]),
        ];
        for (name, text, expected) in cases {
            let mut words = Vec::new();
            crate::cut::cut(&named(name).unwrap().steps, text, &mut |word| words.push(word.to_owned()));
            assert_eq!(words, expected, "{name}");
        }
    }
}
