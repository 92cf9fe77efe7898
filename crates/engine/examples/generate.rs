//! Continues a text: `cargo run --release -p luban-engine --example generate -- MODEL 'fn main() {'`
use luban_engine::{Engine, EngineOptions, Sampling};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (model, prompt) = (arguments.next().ok_or("give MODEL")?, arguments.next().ok_or("give PROMPT")?);
    let sampling = Sampling { temperature: 0.8, top_p: 0.95, seed: 1, ..Sampling::GREEDY };
    let text = Engine::load(model.as_ref(), EngineOptions::default())?.generate(&prompt, 100, sampling)?;
    println!("{prompt}{text}");
    Ok(())
}
