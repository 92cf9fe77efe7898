//! Serves a model on loopback: `cargo run --release -p luban-serve --example serve -- MODEL [PORT]`
use luban_engine::{Engine, EngineOptions};
use luban_serve::{ServeOptions, serve};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("give MODEL")?;
    let port = arguments.next().unwrap_or("8080".into());
    let engine = Engine::load(model.as_ref(), EngineOptions::default())?;
    let options = ServeOptions { address: format!("127.0.0.1:{port}").parse()?, ..ServeOptions::default() };
    serve(engine, options, |address| println!("http://{address}"))?;
    Ok(())
}
