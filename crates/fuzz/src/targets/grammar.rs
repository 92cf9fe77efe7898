//! What answers are to keep to: the first line says which kind, the rest is the grammar.

use std::sync::OnceLock;

use luban_base::progress::Silent;
use luban_text::grammar::{Grammar, Grammars};
use luban_text::{Tokenizer, TrainOptions};

use super::said;
use crate::{Target, Verdict};

/// Schemas, expressions, grammars.
pub(crate) const TARGET: Target = Target {
    name: "grammar",
    run,
    seeds,
    words: &[
        "schema\n",
        "regex\n",
        "lark\n",
        "\"type\":\"object\"",
        "\"properties\":{",
        "\"$ref\":\"#/",
        "\"anyOf\":[",
        "\"not\":{",
        "\"pattern\":\"",
        "\"minItems\":",
        "\"enum\":[",
        "{0,1000}",
        "[^a]",
        "start: ",
        "%ignore ",
        "1e9",
    ],
};

fn run(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    let (kind, text) = text.split_once('\n').ok_or("there is no line end")?;
    let grammar = match kind {
        "schema" => Grammar::JsonSchema(serde_json::from_str(text).map_err(said)?),
        "regex" => Grammar::Regex(text.to_owned()),
        "lark" => Grammar::Lark(text.to_owned()),
        _ => return Err("it is of no kind".into()),
    };
    let mut constraint = grammars().compile(&grammar).map_err(said)?;
    for _ in 0..3 {
        let mask = constraint.mask().map_err(said)?;
        let Some(token) = (0..VOCABULARY).find(|&token| mask.allows(token)) else { break };
        constraint.accept(token).map_err(said)?;
        if constraint.is_finished() {
            break;
        }
    }
    Ok(())
}

const VOCABULARY: u32 = 270;

fn grammars() -> &'static Grammars {
    static GRAMMARS: OnceLock<Grammars> = OnceLock::new();
    GRAMMARS.get_or_init(|| {
        let texts = (0..20).map(|i| format!("{{\"area {i}\": [1, true, null]}}\n"));
        let options = TrainOptions { vocab_size: VOCABULARY as usize, ..TrainOptions::default() };
        let tokenizer = Tokenizer::train(texts, &options, &Silent).expect("a small tokenizer is trained");
        Grammars::new(&tokenizer, &[]).expect("its tokens have bytes")
    })
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "schema\n{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":1},\"b\":{\"enum\":[1,\"x\",null]}},\"required\":[\"a\"]}",
        "schema\n{\"$defs\":{\"n\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/n\"},\"maxItems\":3}},\"$ref\":\"#/$defs/n\"}",
        "schema\n{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^[a-c]{2,4}$\"},{\"not\":{\"type\":\"string\"}}]}",
        "regex\n[a-z]+(, [a-z]+){0,3}\\.",
        "lark\nstart: item (\",\" item)*\nitem: /[a-z]+/ | \"(\" start \")\"\n",
    ]
    .map(|text| text.into())
    .to_vec()
}
