//! Saving an artifact while the disk fails at every operation in turn; and switching every guard off to see that
//! something notices.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{keys, load, place_in_memory, save, trusted};
use luban_artifact::safetensors::{Dtype, Weights, write};
use luban_artifact::{Artifact, MANIFEST, Manifest, verify};
use luban_base::fault::{Guard, Op, Plan, Strike, run, without};

#[test]
fn the_old_artifact_outlives_every_fault_of_the_disk() {
    let mut tried = 0;
    for no_exchange in [false, true] {
        for (strike, errno) in
            [(Strike::Once, libc::ENOSPC), (Strike::Once, libc::EIO), (Strike::Onwards, libc::ENOSPC)]
        {
            tried += replace_with_faults(Plan { at: None, errno, strike, no_exchange });
        }
    }
    println!("{tried} faults tried");
}

fn replace_with_faults(plan: Plan) -> usize {
    for at in 0.. {
        let place = place_in_memory();
        let target = place.path().join("artifact");
        save(&target, "old").unwrap();
        let plan = Plan { at: Some(at), ..plan };
        let (result, passed) = run(plan, || save(&target, "new"));
        let found = load(&target).unwrap_or_else(|error| panic!("{plan:?}: {error}"));
        let report = verify::verify(&target, &[], &trusted()).unwrap();
        assert_eq!(report.problem, None, "{plan:?}");
        match (&result, plan.strike) {
            (Ok(_), _) => assert_eq!(found, "new", "{plan:?}"),
            (Err(_), Strike::Once) => assert_eq!(found, "old", "{plan:?}"),
            // When taking the new one back fails too, it stays: whole, which is what `load` has checked.
            (Err(_), Strike::Onwards) => assert!(found == "old" || found == "new", "{plan:?}"),
        }
        if let Err(error) = &result {
            let text = error.to_string();
            assert!(text.contains("cannot") && !text.contains('\n'), "{text}");
        }
        save(&target, "next").unwrap();
        assert_eq!(common::leavings(place.path()), Vec::<PathBuf>::new(), "{plan:?}");
        if !passed.iter().any(|passed| passed.failed) {
            result.unwrap();
            assert!(at > 15, "too few operations were seen: {at}");
            return at;
        }
    }
    unreachable!("every save ends")
}

/// What a test of each guard does; an error says what it noticed.
type Check = fn(&Path) -> Result<(), String>;

const CHECKS: [(Guard, Check); 5] = [
    (Guard::Sync, files_are_flushed),
    (Guard::Digest, flips_are_found),
    (Guard::Signature, changed_manifests_are_found),
    (Guard::Bounds, long_files_are_found),
    (Guard::Names, bad_names_are_found),
];

#[test]
fn without_any_one_guard_a_check_turns_red() {
    assert_eq!(CHECKS.map(|(guard, _)| guard), Guard::ALL, "each guard has its check");
    for (guard, check) in CHECKS {
        let place = place_in_memory();
        assert_eq!(check(&place.path().join("on")), Ok(()), "{guard:?}");
        let off = without(guard, || check(&place.path().join("off")));
        assert!(off.is_err(), "nothing noticed that the guard {guard:?} was off");
    }
}

fn refused<T>(result: luban_artifact::Result<T>, what: &str) -> Result<(), String> {
    if result.is_err() { Ok(()) } else { Err(format!("{what} was accepted")) }
}

fn files_are_flushed(target: &Path) -> Result<(), String> {
    let passed = run(Plan::default(), || save(target, "x").unwrap()).1;
    let files = passed.iter().filter(|p| p.op == Op::Write).map(|p| &p.path);
    let flushed = |path: &PathBuf| passed.iter().any(|p| p.op == Op::Sync && p.path == *path);
    files.clone().all(flushed).then_some(()).ok_or_else(|| "a file was not flushed".to_owned())
}

fn flips_are_found(target: &Path) -> Result<(), String> {
    let artifact = save(target, "x").unwrap();
    fs::write(target.join("first.txt"), "y").unwrap();
    refused(artifact.read("first.txt"), "a flipped byte")?;
    refused(artifact.map("first.txt"), "a flipped byte, mapped,")
}

fn changed_manifests_are_found(target: &Path) -> Result<(), String> {
    save(target, "x").unwrap();
    let path = target.join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"stage\": \"test\"", "\"stage\": \"tent\"")).unwrap();
    refused(Artifact::open(target), "a changed manifest")
}

fn long_files_are_found(target: &Path) -> Result<(), String> {
    let artifact = save(target, "x").unwrap();
    fs::write(target.join("first.txt"), "xx").unwrap();
    // Only the first byte would be read and hashed, and it is right.
    refused(artifact.read("first.txt"), "a file that is too long")?;
    let mut file = Vec::new();
    write(&mut file, &[("a".to_owned(), Dtype::F32, vec![1], &[0; 4])], &[]).unwrap();
    file.push(0);
    refused(Weights::open(file.into()), "a tensor file that is too long")
}

fn bad_names_are_found(target: &Path) -> Result<(), String> {
    let mut manifest = save(target, "x").unwrap().manifest().clone();
    let entry = manifest.files["first.txt"];
    manifest.files.insert("../escaped".to_owned(), entry);
    manifest.sign(&keys());
    refused(Manifest::parse(&manifest.render(), Path::new("luban.json")), "a name that leaves the folder")
}
