//! Manifests, and what names the source of a model.

use std::fs;
use std::path::Path;

use luban_artifact::pull::Source;
use luban_artifact::{ArtifactWriter, Keys, Kind, Manifest};

use super::said;
use crate::{Target, Verdict};

/// `luban.json`.
pub(crate) const MANIFEST: Target = Target {
    name: "manifest",
    run: manifest,
    seeds: manifest_seeds,
    words: &["{", "}", "[", "]", "null", "-1", "\"\""],
};
/// `hf:…`, `pypi:…`, an address.
pub(crate) const SOURCE: Target = Target {
    name: "source",
    run: source,
    seeds: source_seeds,
    words: &["hf:", "pypi:", "https://", "#sha256=", "==", "@", "../", "/"],
};

fn manifest(input: &[u8]) -> Verdict {
    let manifest = Manifest::parse(input, Path::new("luban.json")).map_err(said)?;
    assert_eq!(manifest.render(), input, "what is accepted has one spelling");
    Ok(())
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    let place = tempfile::tempdir().expect("a temporary folder");
    let path = place.path().join("artifact");
    let writer = ArtifactWriter::create(&path, Kind::Model).expect("a new folder");
    writer.write("a.json", b"{}").expect("it is written");
    writer.write("b/c.txt", b"text").expect("it is written");
    writer.commit(&Keys::from_seed(&[7; 32])).expect("it is written");
    vec![fs::read(path.join(luban_artifact::MANIFEST)).expect("it was written")]
}

fn source(input: &[u8]) -> Verdict {
    let source = Source::parse(&String::from_utf8_lossy(input)).map_err(said)?;
    assert_eq!(Source::parse(&source.to_string()).map_err(said)?, source, "it reads back what it writes");
    Ok(())
}

fn source_seeds() -> Vec<Vec<u8>> {
    let address = format!("https://host/model.gguf#sha256={}", "0".repeat(64));
    ["hf:org/name", "hf:org/name@main", "pypi:name==1.0", &address].map(|text| text.into()).to_vec()
}
