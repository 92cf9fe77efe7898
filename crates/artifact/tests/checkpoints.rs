//! The checkpoint store.

mod common;

use std::fs;

use common::{Heard, keys};
use luban_artifact::checkpoints::CheckpointStore;
use luban_artifact::{Artifact, Error};
use luban_base::fault::{Plan, run};
use luban_base::progress::Silent;

fn save(store: &CheckpointStore, step: u64) -> luban_artifact::Result<Artifact> {
    store.save(step, &keys(), |writer| {
        writer.write("state", format!("state {step}").as_bytes())?;
        Ok(())
    })
}

fn latest(store: &CheckpointStore) -> Option<u64> {
    store.latest(&Silent).unwrap().map(|artifact| artifact.manifest().metrics["step"].as_u64().unwrap())
}

fn steps(store: &CheckpointStore) -> Vec<u64> {
    store.steps().unwrap().into_iter().map(|(step, _)| step).collect()
}

#[test]
fn the_newest_whole_checkpoint_is_found() {
    let place = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(&place.path().join("run.checkpoints")).unwrap();
    assert_eq!(latest(&store), None);
    for step in [5, 40, 123_456_789_012, 7] {
        save(&store, step).unwrap();
    }
    assert_eq!(steps(&store), [5, 7, 40, 123_456_789_012]);
    assert_eq!(latest(&store), Some(123_456_789_012));
    assert!(store.dir().join("step-00000005").is_dir());

    // One broken in its content, one in its manifest, one without: each is passed over, and said so.
    fs::write(store.dir().join("step-123456789012/state"), "state 123456789013").unwrap();
    fs::write(store.dir().join("step-00000040/luban.json"), "{}").unwrap();
    fs::create_dir(store.dir().join("step-00000041")).unwrap();
    let heard = Heard::default();
    let found = store.latest(&heard).unwrap().unwrap();
    assert_eq!(found.read("state").unwrap(), b"state 7");
    assert_eq!(heard.text().matches("skipping a checkpoint").count(), 3, "{}", heard.text());
}

#[test]
fn pruning_keeps_the_newest_whole_ones() {
    let place = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(place.path()).unwrap();
    (1..=6).for_each(|step| drop(save(&store, step).unwrap()));
    fs::write(store.dir().join("step-00000006/state"), "cut").unwrap();
    fs::remove_file(store.dir().join("step-00000002/state")).unwrap();
    store.prune(2).unwrap();
    assert_eq!(steps(&store), [4, 5, 6], "the damaged newest one does not count");
    store.prune(0).unwrap();
    assert_eq!(steps(&store), [5, 6]);
    assert_eq!(latest(&store), Some(5));
}

#[test]
fn a_failed_save_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(place.path()).unwrap();
    save(&store, 1).unwrap();
    let failed = store.save(2, &keys(), |writer| {
        writer.write("state", b"half")?;
        Err(Error::NoFile { dir: "somewhere".into(), name: "weights".to_owned() })
    });
    assert!(failed.is_err());
    assert_eq!((steps(&store), common::leavings(store.dir()).len()), (vec![1], 0));
    for at in 0.. {
        let (result, passed) = run(Plan { at: Some(at), ..Plan::default() }, || save(&store, 1));
        assert_eq!(latest(&store), Some(1), "fault {at}");
        if !passed.iter().any(|passed| passed.failed) {
            result.unwrap();
            break;
        }
    }
}
