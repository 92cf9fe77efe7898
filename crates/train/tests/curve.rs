//! The losses of training against PyTorch's, step by step, on small stored models: the guard of `bench/curve.py`.
//!
//! `bench/curve_vectors.py` made the folders under `vectors/`.

use std::path::{Path, PathBuf};

use luban_artifact::ModelFiles;
use luban_artifact::safetensors::{Dtype, write};
use luban_train::Precision;
use luban_train::curve::{Curve, CurveOptions, Point, Tokens};
use luban_train::optimizer::{AdamWSettings, MuonSettings, Settings};
use luban_train::schedule::Schedule;
use serde::Deserialize;

const FAMILIES: [&str; 2] = ["llama", "gpt2"];
/// Largest difference of a step's loss, nats.
const TOLERANCE: f64 = 1e-4;

/// What PyTorch computed, and how.
#[derive(Deserialize)]
struct Expected {
    schedule: Schedule,
    losses: Vec<f64>,
    gradient_norms: Vec<f64>,
}

fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(family)
}

fn expected(family: &str) -> Expected {
    stored(family, "expected.json")
}

fn stored(family: &str, name: &str) -> Expected {
    serde_json::from_slice(&std::fs::read(folder(family).join(name)).unwrap()).unwrap()
}

fn options(schedule: Schedule) -> CurveOptions {
    CurveOptions { schedule, optimizer: AdamWSettings::default().into(), at_once: None, precision: Precision::F32 }
}

fn curve(family: &str, options: CurveOptions) -> Vec<Point> {
    let tokens = Tokens::open(&folder(family).join("tokens.safetensors")).unwrap();
    let curve = Curve::open(&ModelFiles::open(&folder(family)).unwrap(), tokens, options).unwrap();
    curve.map(|point| point.unwrap()).collect()
}

/// The largest difference of losses.
fn apart(points: &[Point], losses: &[f64]) -> f64 {
    assert_eq!(points.len(), losses.len());
    points.iter().zip(losses).fold(0.0, |off, (point, loss)| off.max((point.loss - loss).abs()))
}

#[test]
fn losses_and_gradients_are_those_of_pytorch_at_each_step() {
    for family in FAMILIES {
        let Expected { schedule, losses, gradient_norms } = expected(family);
        assert_eq!(losses.len(), 20);
        let points = curve(family, options(schedule));
        let off = apart(&points, &losses);
        let norms = points.iter().zip(&gradient_norms).map(|(point, norm)| (point.gradient_norm / norm - 1.0).abs());
        let norm_off = norms.fold(0.0, f64::max);
        println!("{family}: losses {off:.1e} apart, gradient norms {norm_off:.1e} of themselves");
        assert!(off <= TOLERANCE, "{family}: losses {off} apart");
        assert!(norm_off <= TOLERANCE, "{family}: gradient norms {norm_off} of themselves apart");
    }
}

#[test]
fn a_constant_that_is_slightly_off_shows() {
    for family in FAMILIES {
        let Expected { schedule, losses, .. } = expected(family);
        let right = options(schedule);
        let adamw = right.optimizer.adamw;
        let AdamWSettings { weight_decay, .. } = adamw;
        let off = [
            ("weight decay", AdamWSettings { weight_decay: 0.9 * weight_decay, ..adamw }, schedule),
            ("second moment", AdamWSettings { beta2: 0.94, ..adamw }, schedule),
            ("clipping", AdamWSettings { clip_norm: f64::INFINITY, ..adamw }, schedule),
            ("warm-up", adamw, Schedule { warmup_steps: schedule.warmup_steps + 1, ..schedule }),
            ("floor", adamw, Schedule { floor: 0.1, ..schedule }),
        ];
        for (what, optimizer, schedule) in off {
            let optimizer = optimizer.into();
            let off = apart(&curve(family, CurveOptions { optimizer, schedule, ..right }), &losses);
            println!("{family}, {what}: {off:.1e}");
            assert!(off > 2.0 * TOLERANCE, "{family}: another {what} changes losses by {off} only");
        }
    }
}

#[test]
fn losses_with_muon_are_those_of_pytorch() {
    let Expected { schedule, losses, .. } = stored("llama", "muon.json");
    let muon = MuonSettings { times: 2.0, momentum: 0.95, weight_decay: 0.1 };
    let of = |muon| {
        let optimizer = Settings { muon: Some(muon), ..AdamWSettings::default().into() };
        apart(&curve("llama", CurveOptions { optimizer, ..options(schedule) }), &losses)
    };
    let off = of(muon);
    println!("losses {off:.1e} apart");
    assert!(off <= TOLERANCE, "{off}");
    let others = [
        ("length", MuonSettings { times: 1.95, ..muon }),
        ("momentum", MuonSettings { momentum: 0.94, ..muon }),
        ("decay", MuonSettings { weight_decay: 0.05, ..muon }),
    ];
    for (what, muon) in others {
        let other = of(muon);
        println!("another {what}: {other:.1e}");
        assert!(other > 10.0 * TOLERANCE, "another {what} changes losses by {other} only");
    }
}

#[test]
fn parts_of_a_batch_and_bf16_stay_near() {
    for family in FAMILIES {
        let Expected { schedule, losses, .. } = expected(family);
        let right = options(schedule);
        let parts = apart(&curve(family, CurveOptions { at_once: Some(2), ..right }), &losses);
        assert!(parts <= TOLERANCE, "{family}: {parts}");
        let bf16 = apart(&curve(family, CurveOptions { precision: Precision::Bf16, ..right }), &losses);
        println!("{family}: bf16 {bf16:.1e} apart");
        assert!(bf16 > 0.0 && bf16 < 0.05, "{family}: {bf16}");
    }
}

#[test]
fn what_cannot_be_trained_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, dtype: Dtype, shape: &[usize], data: &[u8]| {
        let path = dir.path().join(name);
        let mut bytes = Vec::new();
        write(&mut bytes, &[("tokens".to_owned(), dtype, shape.to_vec(), data)], &[]).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let words = |ids: &[i32]| ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>();
    let refused = |path: &Path| Tokens::open(path).unwrap_err().to_string();
    assert!(refused(&file("flat", Dtype::I32, &[4], &words(&[1; 4]))).contains("steps × sequences × (length + 1)"));
    assert!(refused(&file("short", Dtype::I32, &[2, 2, 1], &words(&[1; 4]))).contains("(length + 1)"));
    assert!(refused(&file("real", Dtype::F32, &[1, 2, 2], &words(&[1; 4]))).contains("I32 or I64, found F32"));
    assert!(refused(&file("negative", Dtype::I32, &[1, 1, 2], &words(&[1, -3]))).contains("found -3"));
    assert!(refused(&folder("llama").join("model.safetensors")).contains("one tensor"));

    let model = ModelFiles::open(&folder("llama")).unwrap();
    let schedule = Schedule { steps: 2, ..expected("llama").schedule };
    let tokens = |shape: &[usize], ids: &[i32]| Tokens::open(&file("tokens", Dtype::I32, shape, &words(ids))).unwrap();
    let few = Curve::open(&model, tokens(&[1, 2, 2], &[1; 4]), options(schedule)).unwrap_err().to_string();
    assert!(few.contains("steps is 2; expected at most 1"), "{few}");
    let mut unknown = Curve::open(&model, tokens(&[2, 1, 2], &[1, 2, 67, 1]), options(schedule)).unwrap();
    assert!(unknown.next().unwrap().is_ok());
    assert!(unknown.next().unwrap().unwrap_err().to_string().contains("67"));
    assert!(unknown.next().is_none(), "nothing follows a failure");
}
