//! Reads a model's folder and writes it again: `resave FROM TO HOME [BYTES]`, in files of at most so many bytes.
//! `bench/family_saved.py` holds what comes out against `transformers`.

use std::path::Path;

use luban_artifact::{ArtifactWriter, Keys, Kind, ModelFiles};
use luban_model::io::{self, Export};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, home, limit @ ..] = arguments.as_slice() else { return Err("resave FROM TO HOME [BYTES]".into()) };
    let file_bytes_max = limit.first().map_or(Ok(usize::MAX), |limit| limit.parse())?;
    let source = io::read(&ModelFiles::open(Path::new(from))?)?;
    let writer = ArtifactWriter::create(Path::new(to), Kind::Model)?;
    let token = |name: &str| Some((name.to_owned(), source.config().get(name)?.clone()));
    let extra = ["bos_token_id", "eos_token_id", "pad_token_id"].into_iter().filter_map(token).collect();
    let model = Export { family: source.family(), spec: source.spec(), extra, file_bytes_max };
    io::export_with(&writer, model, |slot| source.weight(slot))?;
    writer.commit(&Keys::load_or_create(Path::new(home))?)?;
    Ok(())
}
