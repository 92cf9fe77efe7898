//! Folders and files that appear whole or not at all, with every operation on the disk failing once.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use luban_base::atomic::{
    StagedDir, check_name, create_dirs, recover, remove_dir, sweep, write_file, write_file_with, write_private_file,
};
use luban_base::digest;
use luban_base::error::Error;
use luban_base::fault::{Guard, Op, Passed, Plan, Strike, run, without};

const MANIFEST: &str = "manifest";

fn save(target: &Path, content: &str) -> luban_base::Result<()> {
    let staged = StagedDir::create(target)?;
    staged.write("a", content.as_bytes())?;
    let mut file = staged.file("part/b")?;
    file.write_all(content.as_bytes()).map_err(|source| Error::Io { what: "write", path: "b".into(), source })?;
    file.finish()?;
    staged.commit(MANIFEST, content.as_bytes())
}

/// The content, if the folder is whole.
fn load(target: &Path) -> Option<String> {
    let files = ["a", "part/b", MANIFEST].map(|name| fs::read_to_string(target.join(name)).ok());
    let [a, b, manifest] = files;
    (a == b && b == manifest).then_some(a?)
}

/// A folder in memory where there is one, for tests that save many times and whose disk fails by plan only.
fn place_in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn leavings(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_string_lossy().contains(".luban-")).collect()
}

#[test]
fn a_folder_is_replaced_whole_and_its_entries_are_right() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("deep/er/target");
    save(&target, "old").unwrap();
    fs::write(target.join("stray"), "x").unwrap();
    let staged = StagedDir::create(&target).unwrap();
    let entry = staged.write("a", b"new").unwrap();
    assert_eq!((entry.sha256, entry.size), (digest::of_bytes(b"new"), 3));
    fs::write(place.path().join("outside"), b"brought").unwrap();
    let adopted = staged.adopt("c", &place.path().join("outside")).unwrap();
    assert_eq!(adopted.sha256, digest::of_bytes(b"brought"));
    assert!(!place.path().join("outside").exists());
    assert_eq!(load(&target).as_deref(), Some("old"), "until the commit the old one stands");
    staged.commit(MANIFEST, b"new").unwrap();
    assert!(!target.join("stray").exists() && !target.join("part").exists());
    assert_eq!(fs::read(target.join("c")).unwrap(), b"brought");
    assert_eq!(leavings(target.parent().unwrap()), Vec::<PathBuf>::new());
}

#[test]
fn what_was_not_finished_is_not_committed() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    let staged = StagedDir::create(&target).unwrap();
    let _unfinished = staged.file("a").unwrap();
    assert!(matches!(staged.file("a"), Err(Error::Staging { .. })), "a name is given once");
    assert!(matches!(staged.commit(MANIFEST, b""), Err(Error::Staging { .. })));
    assert!(!target.exists() && leavings(place.path()).is_empty());
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let staged = StagedDir::create(&place.path().join("target")).unwrap();
    let long = "a".repeat(201);
    for name in
        ["", ".", "..", "/", "/a", "a/", "a//b", "../a", "a/../b", "a\\b", "a\0b", "a\nb", "C:a", "a/b/c/d/e", &long]
    {
        assert!(matches!(staged.write(name, b""), Err(Error::Name { .. })), "{name:?}");
    }
    for name in ["a", "a.b", "...", "1_Pooling/config.json", "名字", ".hidden"] {
        check_name(name).unwrap();
    }
    let refused = |name: &str| check_name(name).is_err();
    assert!(!without(Guard::Names, || refused("../a")), "the guard is what refuses");
}

#[test]
fn files_do_not_become_folders_nor_folders_files() {
    let place = tempfile::tempdir().unwrap();
    let (file, folder) = (place.path().join("file"), place.path().join("folder"));
    write_file(&file, b"1").unwrap();
    create_dirs(&folder).unwrap();
    assert!(matches!(StagedDir::create(&file), Err(Error::Occupied { .. })));
    assert!(matches!(write_file(&folder, b""), Err(Error::Occupied { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"1");
}

#[test]
fn links_are_followed() {
    let place = tempfile::tempdir().unwrap();
    let (real, link) = (place.path().join("real"), place.path().join("link"));
    save(&real, "old").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    save(&link, "new").unwrap();
    assert_eq!(load(&real).as_deref(), Some("new"));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_private_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("key");
    for content in [b"one", b"two"] {
        write_private_file(&path, content).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn every_fault_of_a_first_save_leaves_nothing() {
    for no_exchange in [false, true] {
        for (strike, errno) in
            [(Strike::Once, libc::EIO), (Strike::Once, libc::ENOSPC), (Strike::Onwards, libc::ENOSPC)]
        {
            create_with_faults(no_exchange, strike, errno);
        }
    }
}

fn create_with_faults(no_exchange: bool, strike: Strike, errno: i32) {
    for at in 0.. {
        let place = place_in_memory();
        let target = place.path().join("target");
        let plan = Plan { at: Some(at), errno, strike, no_exchange };
        let (result, passed) = run(plan, || save(&target, "new"));
        let found = load(&target);
        // When the disk fails on, taking the folder away again may fail as well; then it is whole.
        let whole = result.is_ok() || strike == Strike::Onwards;
        assert!((found.as_deref() == Some("new") && whole) || !target.exists(), "{plan:?}: {result:?}");
        save(&target, "next").unwrap();
        assert_eq!(load(&target).as_deref(), Some("next"));
        assert_eq!(leavings(place.path()), Vec::<PathBuf>::new(), "{plan:?}");
        if !passed.iter().any(|passed| passed.failed) {
            assert!(result.is_ok() && at > 8, "the faults were never reached");
            break;
        }
    }
}

#[test]
fn guards_of_the_disk_are_what_makes_saves_durable() {
    let place = tempfile::tempdir().unwrap();
    let durable = |target: &Path| is_durable(&run(Plan::default(), || save(target, "x").unwrap()).1);
    assert_eq!(durable(&place.path().join("a")), Ok(()));
    assert_eq!(durable(&place.path().join("a")), Ok(()), "when it replaces another too");
    assert!(without(Guard::Sync, || durable(&place.path().join("b"))).is_err());
}

/// Checks the protocol: every file written is flushed, then the manifest, then each folder, then comes the change of
/// names, then the parent is flushed.
fn is_durable(passed: &[Passed]) -> Result<(), String> {
    let renamed = passed.iter().position(|p| matches!(p.op, Op::Rename | Op::Exchange)).ok_or("never renamed")?;
    let synced = |from: usize, path: &Path| passed[from..].iter().any(|p| p.op == Op::Sync && p.path == path);
    let made = passed[..renamed].iter().enumerate().filter(|(_, p)| matches!(p.op, Op::Create | Op::Write));
    for (index, change) in made {
        let flushed = passed[index..renamed].iter().any(|p| p.op == Op::Sync && p.path == change.path);
        if !flushed {
            return Err(format!("{} was not flushed before the rename", change.path.display()));
        }
    }
    let manifest = passed.iter().position(|p| p.op == Op::Create && p.path.ends_with(MANIFEST)).ok_or("no manifest")?;
    let later = passed[manifest + 1..renamed].iter().find(|p| p.op == Op::Create);
    if let Some(later) = later {
        return Err(format!("{} was made after the manifest", later.path.display()));
    }
    let parent = passed[renamed].path.parent().ok_or("no parent")?;
    synced(renamed, parent).then_some(()).ok_or_else(|| "the parent was not flushed".to_owned())
}

#[test]
fn the_old_state_outlives_every_fault() {
    for no_exchange in [false, true] {
        for (strike, errno) in [(Strike::Once, libc::EIO), (Strike::Once, libc::ENOSPC), (Strike::Onwards, libc::EIO)] {
            replace_with_faults(no_exchange, strike, errno);
        }
    }
}

fn replace_with_faults(no_exchange: bool, strike: Strike, errno: i32) {
    for at in 0.. {
        let place = place_in_memory();
        let target = place.path().join("target");
        save(&target, "old").unwrap();
        let plan = Plan { at: Some(at), errno, strike, no_exchange };
        let (result, passed) = run(plan, || save(&target, "new"));
        let reached = passed.iter().any(|passed| passed.failed);
        // A folder that was set aside when everything failed is brought back by whoever opens it next.
        recover(&target).unwrap();
        let found = load(&target);
        match (&result, strike) {
            (Ok(()), _) => assert_eq!(found.as_deref(), Some("new"), "{plan:?}"),
            (Err(_), Strike::Once) => assert_eq!(found.as_deref(), Some("old"), "{plan:?}"),
            (Err(_), Strike::Onwards) => assert!(found.is_some(), "{plan:?}"),
        }
        save(&target, "next").unwrap();
        assert_eq!(load(&target).as_deref(), Some("next"));
        assert_eq!(leavings(place.path()), Vec::<PathBuf>::new(), "{plan:?}");
        if !reached {
            assert!(result.is_ok() && at > 8);
            break;
        }
    }
}

#[test]
fn a_single_file_outlives_every_fault() {
    type Save = fn(&Path) -> Result<(), Error>;
    let whole: Save = |path| write_file(path, b"new");
    let streamed: Save = |path| {
        write_file_with(path, |out| {
            out.write_all(b"new").map_err(|source| Error::Io { what: "write", path: path.into(), source })
        })
    };
    for (no_exchange, save) in [(false, whole), (true, whole), (false, streamed), (true, streamed)] {
        for at in 0.. {
            let place = place_in_memory();
            let path = place.path().join("file");
            write_file(&path, b"old").unwrap();
            let plan = Plan { at: Some(at), no_exchange, ..Plan::default() };
            let (result, passed) = run(plan, || save(&path));
            let found = fs::read(&path).unwrap();
            // Without the swap a file is replaced in one step, which a failed flush after it does not take back.
            let kept = found == b"old" || (no_exchange && found == b"new");
            assert!(if result.is_ok() { found == b"new" } else { kept }, "{plan:?}: {result:?}");
            assert_eq!(leavings(place.path()), Vec::<PathBuf>::new());
            if !passed.iter().any(|passed| passed.failed) {
                break;
            }
        }
    }
}

#[test]
fn leavings_of_the_dead_go_and_those_of_the_living_stay() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    let dead = place.path().join(".target.luban-4000000-0.tmp");
    let other = place.path().join(".target2.luban-4000000-0.tmp");
    let no_leaving = place.path().join(".target.luban-notes.tmp");
    for folder in [&dead, &other, &no_leaving] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("a"), "half").unwrap();
    }
    let living = StagedDir::create(&target).unwrap();
    living.write("a", b"1").unwrap();
    assert!(!dead.exists() && other.exists() && no_leaving.exists());
    let second = StagedDir::create(&target).unwrap();
    assert!(living.path().join("a").exists(), "a save at work is left alone");
    living.commit(MANIFEST, b"1").unwrap();
    second.commit(MANIFEST, b"2").unwrap();
    assert_eq!(fs::read(target.join(MANIFEST)).unwrap(), b"2");
    sweep(place.path());
    assert!(!other.exists() && no_leaving.exists());
}

#[test]
fn a_folder_set_aside_by_a_dead_process_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let (target, aside) = (place.path().join("target"), place.path().join(".target.luban-4000000-0.aside"));
    save(&target, "old").unwrap();
    fs::rename(&target, &aside).unwrap();
    sweep(place.path());
    let held = File::open(&aside).unwrap();
    held.lock().unwrap();
    recover(&target).unwrap();
    assert!(!target.exists(), "whoever set it aside is still at work");
    drop(held);
    recover(&target).unwrap();
    assert_eq!(load(&target).as_deref(), Some("old"));
    assert!(!aside.exists());
}

#[test]
fn a_removal_takes_the_name_first() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    remove_dir(&target).unwrap();
    for at in 0.. {
        save(&target, "x").unwrap();
        let plan = Plan { at: Some(at), ..Plan::default() };
        let (result, passed) = run(plan, || remove_dir(&target));
        assert!(!target.exists() || load(&target).is_some(), "gone or whole: {plan:?}");
        if !passed.iter().any(|passed| passed.failed) {
            result.unwrap();
            assert!(!target.exists());
            break;
        }
        result.unwrap_err();
        remove_dir(&target).unwrap();
    }
    // What was cut short lies under temporary names, and goes with the next sweep.
    sweep(place.path());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
