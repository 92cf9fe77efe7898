//! Everything but the matrix products, each with its share of what the machine can do at most (bytes that must come from
//! memory or go there against streaming reads, operations against the register peak):
//! `cargo bench -p luban-kernels --bench kernels`.

mod common;

use common::{least_seconds, numbers};
use luban_kernels::Accumulate::Overwrite;
use luban_kernels::attention::{self, Gradients, Inputs, Saved, Shape, cached};
use luban_kernels::formats::{self, E4M3, Tile};
use luban_kernels::optim::blocks::{Blocks, Code, Draws};
use luban_kernels::optim::muon;
use luban_kernels::pool::{self, Pool};
use luban_kernels::{activation, bf16, dropout, elementwise, embedding, limits, loss, norm, optim, quantize, rotary};

fn main() {
    for threads in [1, 2] {
        Pool::new(threads).install(|| {
            let machine = Machine {
                read_gb_s: limits::read_bandwidth_gb_s(threads),
                f32_gflops: limits::peak_f32_gflops(threads),
                bf16_gflops: limits::peak_bf16_gflops(threads).0,
            };
            let Machine { read_gb_s, f32_gflops, bf16_gflops } = machine;
            println!("{threads} threads: {read_gb_s:.1} GB/s, f32 {f32_gflops:.0} and bf16 {bf16_gflops:.0} GFLOP/s");
            println!("  region of two tasks: {:.3} us", 1e6 * least_seconds(0.1, || pool::parallel(2, |_| {})));
            machine.training_attention(6, 6, 64, 256);
            machine.training_attention(9, 3, 64, 512);
            machine.cached_attention(9, 3, 64);
            machine.muon(768);
            let rows = Rows { machine, rows: 16384, width: 768 };
            rows.norms();
            rows.activations();
            rows.tables();
            rows.elementwise();
            rows.formats();
            rows.optimizers();
        });
    }
}

/// What it can do at most.
#[derive(Clone, Copy)]
struct Machine {
    read_gb_s: f64,
    f32_gflops: f64,
    bf16_gflops: f64,
}

impl Machine {
    fn operations(&self, name: &str, gflop: f64, seconds: f64, peak: f64) {
        let rate = gflop / seconds;
        println!("  {name}: {:.1} us, {rate:.0} GFLOP/s, {:.0} % of the peak", 1e6 * seconds, 100.0 * rate / peak);
    }

    fn training_attention(&self, heads: usize, kv_heads: usize, head_width: usize, length: usize) {
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
        let name = format!("attention {heads}/{kv_heads} x {head_width}, {length}");
        self.operations(&name, 2.0 * gflop, forward, self.f32_gflops);
        self.operations("its backward", 5.0 * gflop, backward, self.f32_gflops);
    }

    fn cached_attention(&self, heads: usize, kv_heads: usize, head_width: usize) {
        let shape = Shape { heads, kv_heads, head_width, scale: 0.125, causal: true, reach: None };
        let blocks: Vec<u32> = (0..16).collect();
        let cases =
            cached::Format::ALL.into_iter().flat_map(|format| [(1, 1000), (1, 100), (512, 0)].map(|c| (format, c)));
        for (format, (rows, first_position)) in cases {
            let arena = vec![0.0; format.block_len(&shape) * 16];
            let arena = cached::Arena { format, keys: &arena, values: &arena };
            let (q, mut out) = (numbers(rows * heads * head_width), numbers(rows * heads * head_width));
            let sequence = cached::CachedSequence { rows: 0..rows, first_position, blocks: &blocks };
            let mut placement = cached::Placement::of([sequence]);
            let seconds = least_seconds(0.2, || cached::attend(&shape, &mut placement, &q, arena, &mut out));
            let visible: usize = (0..rows).map(|row| first_position + row + 1).sum();
            let gflop = (2 * 2 * visible * heads * head_width) as f64 / 1e9;
            let name = format!("cached attention, {}, {rows} rows from {first_position}", format.name());
            self.operations(&name, gflop, seconds, self.f32_gflops);
        }
    }

    /// Orthogonalizes a square: three products for each step.
    fn muon(&self, side: usize) {
        let mut scratch = vec![0.0; muon::scratch_len([side, side])];
        let mut update = numbers(side * side);
        let seconds = least_seconds(0.3, || {
            muon::orthogonalize(&mut update, [side, side], muon::Products::Bf16, &mut scratch);
        });
        let gflop = (muon::STEPS * 3 * 2 * side.pow(3)) as f64 / 1e9;
        self.operations(&format!("muon, a square of {side} in bf16"), gflop, seconds, self.bf16_gflops);
    }
}

/// Kernels whose time is that of memory, on matrices larger than the caches.
#[derive(Clone, Copy)]
struct Rows {
    machine: Machine,
    rows: usize,
    width: usize,
}

impl Rows {
    fn len(&self) -> usize {
        self.rows * self.width
    }

    /// `bytes` are those read and written for each element.
    fn report(&self, name: &str, bytes: usize, f: impl FnMut()) {
        let seconds = least_seconds(0.15, f);
        let gb_s = (bytes * self.len()) as f64 / seconds / 1e9;
        let (ns, share) = (1e9 * seconds / self.len() as f64, 100.0 * gb_s / self.machine.read_gb_s);
        println!("  {name}: {ns:.3} ns an element, {gb_s:.1} GB/s, {share:.0} % of the read bandwidth");
    }

    fn norms(&self) {
        let (x, weight) = (numbers(self.len()), numbers(self.width));
        let (mut y, mut stats) = (numbers(self.len()), vec![0.0; 2 * self.rows]);
        let (mut dweight, mut dbias) = (weight.clone(), weight.clone());
        self.report("layer norm", 8, || norm::layer_norm(&x, &weight, Some(&weight), 1e-5, &mut y, Some(&mut stats)));
        let saved = norm::Saved { x: &x, weight: &weight, stats: &stats };
        self.report("its backward", 16, || {
            let gradients = (Some(&mut dweight[..]), Some(&mut dbias[..]));
            norm::layer_norm_backward(saved, &x, &mut y, Overwrite, gradients);
        });
        let stats = &mut stats[..self.rows];
        self.report("rms norm", 8, || norm::rms_norm(&x, &weight, 1e-5, &mut y, Some(stats)));
        let saved = norm::Saved { x: &x, weight: &weight, stats };
        self.report("its backward", 12, || {
            norm::rms_norm_backward(saved, &x, &mut y, Overwrite, Some(&mut dweight));
        });
    }

    fn activations(&self) {
        let (x, up, mut y) = (numbers(self.len()), numbers(self.len()), numbers(self.len()));
        let mut dup = y.clone();
        let (gelu, silu) = (activation::Kind::GeluErf, activation::Kind::Silu);
        self.report("gelu", 8, || activation::forward(gelu, &x, None, &mut y));
        self.report("its backward", 12, || activation::backward(gelu, &x, &up, &mut y));
        self.report("gated silu", 12, || activation::forward(silu, &x, Some(&up), &mut y));
        let gated = activation::Gated { gate: &x, up: &up };
        self.report("its backward", 20, || activation::backward_gated(silu, gated, &x, &mut y, &mut dup));
        let positions: Vec<u32> = (0..self.rows as u32).map(|r| r % 512).collect();
        let table = rotary::Table::new(64, 512, 1e4);
        self.report("rotary", 8, || {
            rotary::apply(&mut y, self.width / 64, &positions, &table, rotary::Direction::Forward);
        });
        let runs = [dropout::Run { rows: self.rows, path: 1 }];
        let mask = dropout::Mask { dropped: dropout::probability(0.2), key: [1, 2], runs: &runs };
        self.report("dropout and sum", 12, || dropout::add_to(&x, &mut y, &mask));
        let (mut losses, targets) = (vec![0.0; self.rows], vec![7u32; self.rows]);
        self.report("cross entropy", 8, || loss::cross_entropy(&mut y, &targets, 1.0, &mut losses));
    }

    fn tables(&self) {
        let (mut table, mut out) = (numbers(self.len()), numbers(self.len()));
        let ids: Vec<u32> = (0..self.rows).map(|row| (row * 7919 % self.rows) as u32).collect();
        self.report("embedding", 8, || embedding::gather(&table, self.width, &ids, &mut out));
        self.report("its gradient", 12, || embedding::scatter_add(&mut table, self.width, &ids, &out));
    }

    fn elementwise(&self) {
        let (x, mut y, row) = (numbers(self.len()), numbers(self.len()), numbers(self.width));
        let mut sums = row.clone();
        self.report("sum", 12, || elementwise::add_assign(&mut y, &x));
        self.report("scaling", 8, || elementwise::scale(&mut y, 0.999));
        self.report("mixture", 12, || elementwise::mix(&mut y, 0.5, &x, 0.5));
        self.report("bias", 8, || elementwise::add_rows(&mut y, &row));
        self.report("its gradient", 4, || elementwise::column_sums(&x, &mut sums));
        self.report("search for what is no number", 4, || _ = std::hint::black_box(elementwise::first_non_finite(&x)));
        self.report("sum of squares", 4, || _ = std::hint::black_box(optim::sum_of_squares(&x)));
    }

    fn formats(&self) {
        let (x, mut y, mut narrow) = (numbers(self.len()), numbers(self.len()), vec![0u16; self.len()]);
        let (mut sums, mut small, mut scales) = (numbers(self.width), vec![0i8; self.len()], vec![0.0; self.rows]);
        self.report("rounding to bf16", 6, || bf16::round(&x, &mut narrow));
        self.report("and the sums of columns", 6, || bf16::round_and_sum(&x, &mut narrow, &mut sums));
        self.report("rounding to fp16", 8, || formats::round_fp16(&x, &mut y));
        for (name, tile) in [("row", Tile::Row), ("column", Tile::Column), ("square", Tile::Square)] {
            self.report(&format!("fp8, a scale for a block of a {name}"), 6, || {
                formats::quantize_fp8(&x, self.width, E4M3, tile, &mut narrow);
            });
        }
        self.report("rounding to int8", 5, || quantize::rows_i8(&x, self.rows, &mut small, &mut scales));
    }

    fn optimizers(&self) {
        let (x, mut y) = (numbers(self.len()), numbers(self.len()));
        let (mut m, mut v) = (vec![0.0; self.len()], vec![0.0; self.len()]);
        let options = optim::AdamW {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            step: 10,
            gradient_scale: 1.0,
        };
        self.report("adamw", 28, || optim::adamw(&options, &mut y, &x, &mut m, &mut v));
        self.report("muon's momentum", 20, || muon::momentum(&mut m, &x, [0.9, 1.0], &mut v));
        let draws = Draws { key: [1, 2], path: 3 };
        let [mut m, mut v] = [Code::Signed, Code::Root].map(|code| Blocks::zeroed(code, self.len()));
        self.report("adamw, states in 8 bits", 16, || {
            optim::blocks::adamw(&options, draws, &mut y, &x, [&mut m, &mut v]);
        });
    }
}
