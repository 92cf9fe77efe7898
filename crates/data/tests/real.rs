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

/// A package that depends on some leaves of this workspace's own dependencies, so that everything is there offline.
fn package(place: &Place, names: &[&str]) -> PathBuf {
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock")).unwrap();
    let of_registry = |name: &&str| {
        let start = format!("[[package]]\nname = \"{name}\"\n");
        let rest = &lock[lock.find(&start).unwrap_or_else(|| panic!("{name} is no dependency any more"))..];
        rest[..rest.find("\n\n").unwrap_or(rest.len())].to_string()
    };
    let entries: Vec<String> = names.iter().map(of_registry).collect();
    let requirement = |(name, entry): (&&str, &String)| {
        let version =
            entry.lines().find_map(|line| line.strip_prefix("version = ")).unwrap().trim_matches('"').to_string();
        format!("{name} = \"={version}\"\n")
    };
    let requirements: String = names.iter().zip(&entries).map(requirement).collect();
    let own = format!("[[package]]\nname = \"probe\"\nversion = \"0.1.0\"\ndependencies = {names:?}");
    let package = "[package]\nname = \"probe\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n";
    place.write("package/Cargo.toml", package.to_string() + &requirements);
    place.write("package/Cargo.lock", format!("version = 4\n\n{own}\n\n{}\n", entries.join("\n\n")));
    place.write("package/src/lib.rs", "//! Our own code, which is no dependency and must not be in the corpus.\n");
    place.data().join("package")
}

#[test]
fn the_dependencies_sources_are_split_by_crate_with_licences() {
    let place = Place::new();
    let manifest_dir = package(&place, &["cfg-if", "either", "itoa", "memchr"]);
    let source = Source::CargoDependencies { manifest_dir };
    let fingerprint = BuildOptions::new(source.clone()).source_fingerprint().unwrap();
    assert_eq!(fingerprint["cargo_lock"].as_str().map(str::len), Some(64));
    let artifact = place.build_with(|options| options.source = source).unwrap();
    let (train, valid) = (documents(&artifact, Split::Train), documents(&artifact, Split::Valid));
    assert!(groups(&train).is_disjoint(&groups(&valid)));
    let all: BTreeSet<&str> = groups(&train).union(&groups(&valid)).copied().collect();
    assert_eq!(all, BTreeSet::from(["cfg-if", "either", "itoa", "memchr"]));
    for document in train.iter().chain(&valid) {
        assert!(document.source.starts_with(&format!("{}-", document.group)), "{}", document.source);
        assert!(document.license.contains("MIT"), "{}", document.license);
    }
    let report = Report::open(&artifact).unwrap();
    assert!(report.dropped["number-table"].documents >= 1, "memchr's table of byte ranks");
}

#[test]
fn a_folder_without_a_package_says_so() {
    let place = Place::new();
    let source = Source::CargoDependencies { manifest_dir: place.data() };
    let error = place.build_with(|options| options.source = source).unwrap_err().to_string();
    assert!(
        error.contains("there is no") && error.contains("Cargo.toml") && error.contains("your own text"),
        "{error}"
    );
}
