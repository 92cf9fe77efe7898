//! Corpora of real data: novels, poems, manuals, and the sources of this workspace's dependencies.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::{Place, documents, shared};
use luban_artifact::Artifact;
use luban_data::report::{self, Report};
use luban_data::{BuildOptions, Document, Source, Split};

fn groups(documents: &[Document]) -> BTreeSet<&str> {
    documents.iter().map(|document| document.group.as_str()).collect()
}

fn build(place: &Place, path: PathBuf) -> (Artifact, Report) {
    let artifact = place.build_with(|options| options.source = Source::Path(path)).unwrap();
    let report = Report::open(&artifact).unwrap();
    (artifact, report)
}

#[test]
fn a_play_is_kept_whole_and_cut_at_its_end() {
    let place = Place::new();
    let (artifact, report) = build(&place, shared("text/tinyshakespeare.txt"));
    assert_eq!(report.dropped.len(), 0);
    assert_eq!(report.train.bytes + report.valid.bytes, 1_115_394);
    assert!((55_000..60_000).contains(&report.valid.bytes), "{}", report.valid.bytes);
    let train = documents(&artifact, Split::Train);
    assert!(train.len() > 15 && train.iter().all(|document| document.text.len() <= 64 << 10));
}

#[test]
fn manuals_in_chinese_are_no_noise() {
    let place = Place::new();
    let (_, report) = build(&place, shared("text/manpages-zh"));
    let kept = report.train.bytes + report.valid.bytes;
    assert!(kept as f64 > 0.97 * report.file_bytes as f64, "{}", report::render(&report));
}

#[test]
fn near_duplicates_among_the_poems_are_found() {
    let place = Place::new();
    let lines = std::fs::read_to_string(shared("text/chinese-poetry/poems.jsonl")).unwrap();
    // The first part of the collection: the whole of it takes too long without optimisation.
    let part: String = lines.split_inclusive('\n').take(6000).collect();
    let path = place.write("poems.jsonl", part);
    let (artifact, report) = build(&place, path);
    let dropped = |rule: &str| report.dropped.get(rule).map_or(0, |count| count.documents);
    assert!(dropped(report::NEAR_DUPLICATE) > 0, "{}", report::render(&report));
    let (train, valid) = (documents(&artifact, Split::Train), documents(&artifact, Split::Valid));
    assert!(groups(&train).is_disjoint(&groups(&valid)));
    let share = report.valid.bytes as f64 / (report.valid.bytes + report.train.bytes) as f64;
    assert!((0.015..=0.02).contains(&share), "{share}");
    assert!(train.len() + valid.len() > 4500, "{}", report::render(&report));
}

#[test]
fn the_dependencies_sources_are_split_by_crate_with_licences() {
    let place = Place::new();
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let options = BuildOptions::new(Source::CargoDependencies { manifest_dir: manifest_dir.clone() });
    let fingerprint = options.source_fingerprint().unwrap();
    assert_eq!(fingerprint["cargo_lock"].as_str().map(str::len), Some(64));
    // Looking through all of it takes too long without optimisation: one crate's folder stands for the rest.
    let metadata = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .current_dir(&manifest_dir)
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let serde = packages.iter().find(|package| package["name"] == "serde_json").unwrap();
    let folder = Path::new(serde["manifest_path"].as_str().unwrap()).parent().unwrap();
    let (_, report) = build(&place, folder.join("src"));
    assert!(report.train.bytes > 300_000, "{}", report::render(&report));
}
