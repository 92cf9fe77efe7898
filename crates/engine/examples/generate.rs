//! Continues a text: `cargo run --release -p luban-engine --example generate -- MODEL 'fn main() {'`
use luban_engine::{Engine, EngineOptions, Sampling};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [model, prompt] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "give MODEL and PROMPT")?;
    let engine = Engine::load(model.as_ref(), EngineOptions::default())?;
    let sampling = Sampling { temperature: 0.8, top_p: 0.95, seed: 1, ..Sampling::GREEDY };
    print!("{prompt}{}", engine.generate(&prompt, 100, sampling)?);
    Ok(())
}
