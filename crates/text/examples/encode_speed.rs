//! Megabytes a second that a tokenizer encodes: `encode_speed TOKENIZER.json TEXT`.
use std::time::Instant;

use luban_text::Tokenizer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(json), Some(text)) = (arguments.next(), arguments.next()) else {
        return Err("usage: encode_speed TOKENIZER.json TEXT".into());
    };
    let (tokenizer, text) = (Tokenizer::from_json(&std::fs::read(json)?)?, std::fs::read_to_string(text)?);
    for (name, ordinary) in [("encode", false), ("encode_ordinary", true)] {
        let (start, mut tokens) = (Instant::now(), 0);
        for document in text.split_inclusive("\n\n") {
            let ids = if ordinary { tokenizer.encode_ordinary(document) } else { tokenizer.encode(document) };
            tokens += ids?.len();
        }
        let speed = text.len() as f64 / 1e6 / start.elapsed().as_secs_f64();
        println!("{name}: {tokens} tokens, {speed:.1} MB/s");
    }
    Ok(())
}
