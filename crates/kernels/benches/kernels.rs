//! Everything but the matrix products: `cargo bench -p luban-kernels --bench kernels`.

mod common;

use common::{least_seconds, numbers};
use luban_kernels::Accumulate;
use luban_kernels::attention::{self, Gradients, Inputs, Saved, Shape, cached};
use luban_kernels::pool::{self, Pool};
use luban_kernels::{activation, dropout, loss, norm, optim, rotary};

fn main() {
    for threads in [1, 2] {
        Pool::new(threads).install(|| {
            println!("{threads} threads");
            report("region of two tasks", 0.1, "us", 1e-6, || pool::parallel(2, |_| {}));
            training_attention(6, 6, 64, 256);
            training_attention(9, 3, 64, 512);
            cached_attention(9, 3, 64);
            rows(4096, 192);
            rows(1024, 4096);
        });
    }
}

fn training_attention(heads: usize, kv_heads: usize, head_width: usize, length: usize) {
    let count = 4096 / length;
    let shape = Shape { heads, kv_heads, head_width, scale: 0.125, causal: true, reach: None };
    let sequences: Vec<_> = (0..count).map(|i| i * length..(i + 1) * length).collect();
    let (q, k) = (numbers(4096 * heads * head_width), numbers(4096 * kv_heads * head_width));
    let (mut out, mut lse) = (q.clone(), vec![0.0; 4096 * heads]);
    let (mut dq, mut dk, mut dv) = (q.clone(), k.clone(), k.clone());
    let inputs = Inputs { q: &q, k: &k, v: &k };
    // Multiply-adds of the visible half of the scores; two products forward, five backward.
    let gflop = (count * heads * length * (length + 1) / 2 * head_width * 2) as f64 / 1e9;
    let forward = least_seconds(0.3, || attention::forward(&shape, &sequences, inputs, &mut out, Some(&mut lse)));
    let saved = Saved { inputs, out: &out, lse: &lse };
    let backward = least_seconds(0.3, || {
        let gradients = Gradients { q: &mut dq, k: &mut dk, v: &mut dv };
        attention::backward(&shape, &sequences, saved, &q, gradients);
    });
    let (forward, backward) = (2.0 * gflop / forward, 5.0 * gflop / backward);
    println!("  attention {heads}/{kv_heads} x {head_width}, {length}: {forward:.0} and {backward:.0} GFLOP/s");
}

fn cached_attention(heads: usize, kv_heads: usize, head_width: usize) {
    let shape = Shape { heads, kv_heads, head_width, scale: 0.125, causal: true, reach: None };
    let arena = numbers(cached::block_len(&shape) * 16);
    let arena = cached::Arena { keys: &arena, values: &arena };
    let blocks: Vec<u32> = (0..16).collect();
    for (rows, first_position) in [(1, 1000), (1, 100), (512, 0)] {
        let (q, mut out) = (numbers(rows * heads * head_width), numbers(rows * heads * head_width));
        let sequence = cached::CachedSequence { rows: 0..rows, first_position, blocks: &blocks };
        let sequences = [sequence];
        let name = format!("cached attention, {rows} rows from {first_position}");
        report(&name, 0.2, "us", 1e-6, || cached::attend(&shape, &sequences, &q, arena, &mut out));
    }
}

/// Each in nanoseconds an element.
fn rows(rows: usize, width: usize) {
    let len = rows * width;
    let (x, weight, mut y, mut stats) = (numbers(len), numbers(width), numbers(len), vec![0.0; rows]);
    let (mut dx, mut dweight) = (numbers(len), numbers(width));
    let positions: Vec<u32> = (0..rows as u32).map(|r| r % 512).collect();
    let (table, targets) = (rotary::Table::new(64, 512, 1e4), vec![7u32; rows]);
    let ns = |name: &str, f: &mut dyn FnMut()| {
        report(&format!("{name} {rows} x {width}"), 0.1, "ns an element", 1e-9 * len as f64, f);
    };
    ns("rms norm", &mut || norm::rms_norm(&x, &weight, 1e-5, &mut y, Some(&mut stats)));
    let saved = norm::Saved { x: &x, weight: &weight, stats: &stats };
    ns("its backward", &mut || norm::rms_norm_backward(saved, &x, &mut dx, Accumulate::Overwrite, Some(&mut dweight)));
    ns("rotary", &mut || rotary::apply(&mut y, width / 64, &positions, &table, rotary::Direction::Forward));
    ns("gated silu", &mut || activation::forward(activation::Kind::Silu, &x, Some(&dx), &mut y));
    ns("gelu", &mut || activation::forward(activation::Kind::GeluErf, &x, None, &mut y));
    ns("its backward", &mut || activation::backward(activation::Kind::GeluErf, &x, &x, &mut y));
    let runs = [dropout::Run { rows, path: 1 }];
    let mask = dropout::Mask { dropped: dropout::probability(0.2), key: [1, 2], runs: &runs };
    ns("dropout and sum", &mut || dropout::add_to(&x, &mut y, &mask));
    let mut logits = x.clone();
    ns("cross entropy", &mut || loss::cross_entropy(&mut logits, &targets, 1.0, &mut stats));
    let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
    let options = optim::AdamW {
        learning_rate: 1e-3,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        step: 10,
        gradient_scale: 1.0,
    };
    ns("adamw", &mut || optim::adamw(&options, &mut y, &x, &mut m, &mut v));
    let side = (len as f64).sqrt() as usize;
    let mut scratch = vec![0.0; optim::muon::scratch_len([side, side])];
    let mut update = x[..side * side].to_vec();
    let products = optim::muon::Products::Bf16;
    ns("muon, a square in bf16", &mut || optim::muon::orthogonalize(&mut update, [side, side], products, &mut scratch));
    ns("sum of squares", &mut || _ = std::hint::black_box(optim::sum_of_squares(&x)));
}

fn report(name: &str, seconds_max: f64, unit: &str, unit_seconds: f64, f: impl FnMut()) {
    println!("  {name}: {:.3} {unit}", least_seconds(seconds_max, f) / unit_seconds);
}
