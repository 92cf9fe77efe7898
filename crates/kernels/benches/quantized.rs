//! Products of bytes, of the shapes that serving has: `cargo bench -p luban-kernels --bench quantized`.
//!
//! Many rows count operations, as a share of the register peak of int8; few rows bytes of weights, as a share of the
//! memory that can be read. The maps of one round are together larger than the caches.

mod common;

use common::{least_seconds, numbers};
use luban_kernels::limits;
use luban_kernels::pool::Pool;
use luban_kernels::quantized::{BLOCK, Block, Layout, Map, Rows, Values, Weight, products};

/// Values and inputs of a block.
const LAYOUTS: [(&str, Values, usize); 7] = [
    ("four", Values::Four, BLOCK),
    ("four-min", Values::FourMin, BLOCK),
    ("uneven", Values::FourUneven, BLOCK),
    ("five", Values::Five, BLOCK),
    ("six", Values::Six, BLOCK),
    ("eight", Values::Eight, BLOCK),
    ("eight-128", Values::Eight, 128),
];
/// inputs, outputs.
const SHAPES: [[usize; 2]; 5] = [[576, 576], [576, 1536], [1536, 576], [384, 1536], [1536, 384]];
/// Bytes of weights that a round of few rows reads.
const ROUND_BYTES: usize = 120 << 20;

fn main() {
    for threads in [2, 1] {
        Pool::new(threads).install(|| {
            let peak = limits::peak_int8_gops(threads).unwrap_or(f64::NAN);
            let read = limits::read_bandwidth_gb_s(threads);
            println!("{threads} threads, {peak:.0} GOP/s in registers, {read:.1} GB/s read");
            for (name, values, block) in LAYOUTS {
                for shape in SHAPES {
                    print!("  {name:9} {:4} → {:4} ", shape[0], shape[1]);
                    for rows in [512, 64, 16, 8] {
                        let rate = many(rows, shape, (values, block));
                        print!(" {rows} rows {rate:5.0} GOP/s {:3.0} %;", rate / peak * 100.0);
                    }
                    for rows in [24, 16, 12, 8, 6, 4, 2, 1] {
                        let rate = few(rows, shape, (values, block));
                        print!(" {rows} rows {rate:5.1} GB/s {:3.0} %;", rate / read * 100.0);
                    }
                    println!();
                }
            }
            let (x, mut rows) = (numbers(512 * 576), Rows::default());
            let seconds = least_seconds(0.1, || rows.quantize(&x, 576, BLOCK));
            println!("  quantize 512 × 576: {:.1} µs", seconds * 1e6);
        });
    }
}

fn weight([inputs, outputs]: [usize; 2], (values, block): (Values, usize)) -> Weight {
    let fill = |output: usize, to: &mut [Block]| {
        let least = if values == Values::FourMin { 0 } else { -8 };
        for (number, to) in to.iter_mut().enumerate() {
            to.values = std::array::from_fn(|i| ((output * 7 + number * 5 + i * 3) % 16) as i8 + least);
            to.scales = [0.01; 2];
            to.mins = [-0.02; 2];
        }
    };
    Weight::pack([outputs, inputs], Layout { values, block, parts: 1 }, None, fill)
}

/// In GOP/s, the weights in the cache.
fn many(rows: usize, shape: [usize; 2], (values, block): (Values, usize)) -> f64 {
    let (weight, x, mut y) = (weight(shape, (values, block)), numbers(rows * shape[0]), vec![0.0; rows * shape[1]]);
    let mut quantized = Rows::default();
    quantized.quantize(&x, shape[0], block);
    let seconds = least_seconds(0.1, || products(&quantized, &mut [Map { weight: &weight, bias: None, out: &mut y }]));
    2.0 * (rows * shape[0] * shape[1]) as f64 / seconds / 1e9
}

/// In GB/s, the weights in memory.
fn few(rows: usize, shape: [usize; 2], (values, block): (Values, usize)) -> f64 {
    let first = weight(shape, (values, block));
    let bytes = first.bytes();
    let weights: Vec<Weight> =
        std::iter::once(first).chain((1..ROUND_BYTES / bytes).map(|_| weight(shape, (values, block)))).collect();
    let (x, mut y) = (numbers(rows * shape[0]), vec![0.0; rows * shape[1]]);
    let mut quantized = Rows::default();
    quantized.quantize(&x, shape[0], block);
    let seconds = least_seconds(0.3, || {
        for weight in &weights {
            products(&quantized, &mut [Map { weight, bias: None, out: &mut y }]);
        }
    });
    (bytes * weights.len()) as f64 / seconds / 1e9
}
