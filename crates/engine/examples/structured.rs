//! An answer that is valid by a JSON schema:
//! `cargo run --release -p luban-engine --example structured -- MODEL 'A person, as JSON: '`
use std::sync::Arc;

use luban_engine::{Engine, EngineOptions, Event, Grammar, Request};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (model, prompt) = (arguments.next().ok_or("give MODEL")?, arguments.next().ok_or("give PROMPT")?);
    let engine = Engine::load(model.as_ref(), EngineOptions::default())?;
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 40},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "languages": {"type": "array", "items": {"enum": ["en", "zh", "fr"]}, "minItems": 1, "maxItems": 3},
        },
        "required": ["name", "age", "languages"],
        "additionalProperties": false,
    });
    let request = Request {
        grammar: Some(Arc::new(Grammar::JsonSchema(schema))),
        ..Request::greedy(engine.encode_prompt(&prompt)?, 200)
    };
    for event in engine.submit(request)? {
        match event {
            Event::Token { text, .. } => print!("{text}"),
            Event::Finished { text, reason, .. } => println!("{text}\n({reason:?})"),
            Event::Failed(why) => return Err(why.into()),
            Event::Prompt(_) => {}
        }
    }
    Ok(())
}
