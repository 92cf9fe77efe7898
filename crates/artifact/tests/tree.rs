//! Lineage and verification over a tree of three levels, with every byte of it flipped.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{family, files_below, keys, make, trusted};
use luban_artifact::lineage::{RenderOptions, State, render, tree};
use luban_artifact::verify::{Problem, What, verify};
use luban_artifact::{Artifact, ArtifactWriter, Error, Keys, Kind, MANIFEST, Trusted};

fn problem(dir: &Path) -> Option<Problem> {
    verify(dir, &[], &trusted()).unwrap().problem
}

#[test]
fn a_whole_tree_is_good() {
    let place = tempfile::tempdir().unwrap();
    let model = family(place.path());
    let report = verify(&model, &[], &trusted()).unwrap();
    assert!(report.is_good(), "{:?}", report.problem);
    let names: Vec<_> = report.checked.iter().map(|checked| checked.dir.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["model", "corpus", "tokenizer"], "each once");
    let drawn = render(&tree(&model, &[]).unwrap(), RenderOptions::default());
    let lines: Vec<&str> = drawn.lines().map(|line| line.split(" (").next().unwrap()).collect();
    let digest = |name: &str| Artifact::open(&place.path().join(name)).unwrap().digest().to_string()[..12].to_owned();
    let corpus = digest("corpus");
    let expected = [
        format!("model model {} by test", digest("model")),
        format!("├─ corpus: corpus corpus {corpus} by test"),
        "│  └─ alpha [MIT] 1 files, 12 B, 1 left out".to_owned(),
        format!("└─ tokenizer: tokenizer tokenizer {} by test", digest("tokenizer")),
        format!("   └─ corpus: corpus corpus {corpus}"),
    ];
    assert_eq!(lines, expected);
    let drawn = render(&tree(&model, &[]).unwrap(), RenderOptions { files: true });
    assert!(drawn.contains("│     └─ alpha-1.0/src/bad.rs  7 B left out: too short\n"), "{drawn}");
}

/// Flips each byte of each file (by one bit, which one depends on the place) and looks whether the file is named.
#[test]
fn every_flipped_byte_is_named() {
    let place = common::place_in_memory();
    let model = family(place.path());
    let mut flips = 0;
    for file in files_below(place.path()) {
        let content = fs::read(&file).unwrap();
        for at in 0..content.len() {
            let mut flipped = content.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&file, &flipped).unwrap();
            let problem = problem(&model).unwrap_or_else(|| panic!("{} at {at}: not noticed", file.display()));
            let named = fs::canonicalize(problem.dir.join(&problem.file)).unwrap();
            assert_eq!(named, fs::canonicalize(&file).unwrap(), "byte {at}: {problem}");
            assert_eq!(problem.what, What::Tampered, "byte {at}: {problem}");
            assert!(!problem.expected.is_empty() && problem.expected != problem.found, "{problem}");
            flips += 1;
        }
        fs::write(&file, &content).unwrap();
    }
    assert!(flips > 2500, "{flips}");
    assert_eq!(problem(&model), None);
}

#[test]
fn cut_lengthened_and_missing_files_are_named() {
    let place = tempfile::tempdir().unwrap();
    let model = family(place.path());
    let files = files_below(place.path()).into_iter().filter(|file| !file.ends_with(MANIFEST));
    for file in files {
        let content = fs::read(&file).unwrap();
        let longer = [&content[..], b" "].concat();
        for changed in [Some(&content[1..]), Some(&longer[..]), None] {
            match changed {
                Some(bytes) => fs::write(&file, bytes).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            let problem = problem(&model).unwrap();
            assert!(file.ends_with(&problem.file) && problem.what == What::Tampered, "{problem}");
            fs::write(&file, &content).unwrap();
        }
    }
}

/// White space and keys that a parser overlooks are part of the manifest all the same.
#[test]
fn a_manifest_has_one_spelling() {
    let place = tempfile::tempdir().unwrap();
    let artifact = common::save(&place.path().join("artifact"), "x").unwrap();
    let path = artifact.dir().join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    let changes: [(&str, &str); 8] = [
        ("  \"kind\"", "\t\"kind\""),
        ("{\n", "{ \n"),
        ("\n}\n", "\n}"),
        ("\n}\n", "\n}\n\n"),
        ("\"kind\"", "\"kin\\u0064\""),
        ("\"stage\": \"test\"", "\"stage\": \"test\",\n  \"stage\": \"test\""),
        ("1.5e-7", "15e-8"),
        ("\"a\": {", "\"a\": 1,\n    \"a\": {"),
    ];
    for (from, to) in changes {
        assert!(text.contains(from), "{from}: {text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let problem = problem(artifact.dir()).unwrap_or_else(|| panic!("{to:?} was not noticed"));
        assert_eq!((problem.file.as_str(), problem.what), (MANIFEST, What::Tampered), "{to:?}");
    }
    fs::write(&path, &text).unwrap();
    assert_eq!(problem(artifact.dir()), None);
}

#[test]
fn signatures_are_told_apart() {
    let place = tempfile::tempdir().unwrap();
    let model = family(place.path());
    let stranger = Keys::from_seed(&[9; 32]);
    let report = verify(&model, &[], &Trusted::of([stranger.public()])).unwrap();
    let found = report.problem.unwrap();
    assert_eq!((found.what, report.checked.len()), (What::UntrustedSigner, 3), "{found}");
    assert!(found.found.contains(&keys().public().to_string()), "{found}");

    // The stranger's key in our manifest, and our key with the stranger's signature.
    let path = model.join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    let ours = keys().public().to_string();
    fs::write(&path, text.replace(&ours, &stranger.public().to_string())).unwrap();
    assert_eq!(problem(&model).unwrap().what, What::Tampered);
    let artifact = Artifact::open(&place.path().join("corpus")).unwrap();
    let mut forged = artifact.manifest().clone();
    forged.signature = stranger.sign(&forged.signed_bytes());
    fs::write(&path, &text).unwrap();
    fs::write(place.path().join("corpus").join(MANIFEST), forged.render()).unwrap();
    let found = problem(&model).unwrap();
    assert!(found.what == What::Tampered && found.dir.ends_with("corpus"), "{found}");
}

#[test]
fn a_manifest_of_a_later_format_is_unverifiable_only_if_its_signature_holds() {
    let place = tempfile::tempdir().unwrap();
    let artifact = common::save(&place.path().join("artifact"), "x").unwrap();
    let mut later = artifact.manifest().clone();
    later.format = 2;
    later.sign(&keys());
    fs::write(artifact.dir().join(MANIFEST), later.render()).unwrap();
    assert!(matches!(Artifact::open(artifact.dir()), Err(Error::Unsupported { .. })));
    assert_eq!(problem(artifact.dir()).unwrap().what, What::Unverifiable);
    later.format = 3;
    fs::write(artifact.dir().join(MANIFEST), later.render()).unwrap();
    assert_eq!(problem(artifact.dir()).unwrap().what, What::Tampered);
}

#[test]
fn parents_are_found_by_digest_wherever_they_went() {
    let place = tempfile::tempdir().unwrap();
    let model = family(place.path());
    let (beside, far) = (place.path().join("renamed"), place.path().join("store/deep"));
    fs::rename(place.path().join("corpus"), &beside).unwrap();
    assert_eq!(problem(&model), None, "under another name beside it");

    fs::create_dir_all(&far).unwrap();
    fs::rename(&beside, far.join("moved")).unwrap();
    let found = problem(&model).unwrap();
    assert!(found.what == What::Unverifiable && found.expected.contains("corpus"), "{found}");
    let drawn = render(&tree(&model, &[]).unwrap(), RenderOptions::default());
    assert!(drawn.contains("UNVERIFIABLE: it is not at"), "{drawn}");
    for search in [far.clone(), far.join("moved")] {
        assert_eq!(verify(&model, &[search], &trusted()).unwrap().problem, None);
    }

    // Another artifact in the old place is not the parent, though it is whole.
    make(&place.path().join("corpus"), Kind::Corpus, &[], &[("train.jsonl", "other")]);
    let found = problem(&model).unwrap();
    assert!(found.what == What::Unverifiable && found.found.contains("another artifact"), "{found}");
    // And damage weighs more than absence.
    fs::write(model.join("config.json"), "[]").unwrap();
    assert_eq!(problem(&model).unwrap().what, What::Tampered);
}

#[test]
fn the_whole_tree_may_move() {
    let place = tempfile::tempdir().unwrap();
    family(&place.path().join("here"));
    fs::rename(place.path().join("here"), place.path().join("there")).unwrap();
    assert_eq!(problem(&place.path().join("there/model")), None);
    let node = tree(&place.path().join("there/model"), &[]).unwrap();
    assert!(node.inputs.iter().all(|input| matches!(input.state, State::Found(_) | State::Above { .. })));
}

#[test]
fn damage_shows_in_the_tree_too() {
    let place = tempfile::tempdir().unwrap();
    let model = family(place.path());
    fs::write(place.path().join("corpus/sources.jsonl"), "{").unwrap();
    let drawn = render(&tree(&model, &[]).unwrap(), RenderOptions::default());
    assert!(drawn.contains("DAMAGED"), "{drawn}");
    fs::write(place.path().join("tokenizer").join(MANIFEST), "{").unwrap();
    let drawn = render(&tree(&model, &[]).unwrap(), RenderOptions::default());
    assert_eq!(drawn.matches("DAMAGED").count(), 2, "{drawn}");
}

#[test]
fn nothing_that_a_manifest_says_reaches_the_terminal_raw() {
    let place = tempfile::tempdir().unwrap();
    let mut writer = ArtifactWriter::create(&place.path().join("report"), Kind::Report).unwrap();
    writer.stage("\u{1b}[2J\nfake");
    let artifact = writer.commit(&keys()).unwrap();
    let drawn = render(&tree(artifact.dir(), &[]).unwrap(), RenderOptions::default());
    assert!(!drawn.contains('\u{1b}') && drawn.lines().count() == 1, "{drawn:?}");
}

#[test]
fn what_is_no_artifact_is_said_to_be_none() {
    let place = tempfile::tempdir().unwrap();
    assert!(matches!(verify(place.path(), &[], &trusted()), Err(Error::NotAnArtifact { .. })));
    assert!(verify(&place.path().join("nothing"), &[], &trusted()).is_err());
    assert!(tree(place.path(), &[PathBuf::new()]).is_err());
}

#[test]
fn files_that_nobody_listed_are_reported_and_not_read() {
    let place = tempfile::tempdir().unwrap();
    let artifact = common::save(&place.path().join("artifact"), "x").unwrap();
    fs::write(artifact.dir().join("modeling.py"), "import os").unwrap();
    let report = verify(artifact.dir(), &[], &trusted()).unwrap();
    assert!(report.is_good() && report.checked[0].unlisted == ["modeling.py"]);
    assert!(matches!(artifact.read("modeling.py"), Err(Error::NoFile { .. })));
}
