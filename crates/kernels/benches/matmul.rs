//! Products of the shapes that training and serving have, as a share of the register peak:
//! `cargo bench -p luban-kernels --bench matmul`.

mod common;

use common::{least_seconds, numbers};
use luban_kernels::matmul::{Accumulate, MatRef, Shape, matmul, matmul_bf16, matmul_packed, pack, packed_len};
use luban_kernels::pool::Pool;
use luban_kernels::{bf16, limits};

/// m, k, n; A transposed; B transposed.
const PRODUCTS: &[([usize; 3], bool, bool)] = &[
    ([4096, 192, 576], false, true),
    ([4096, 576, 192], false, false),
    ([128, 4096, 128], true, false),
    ([128, 4096, 512], true, false),
    ([512, 4096, 128], true, false),
    ([384, 4096, 384], true, false),
    ([384, 4096, 1536], true, false),
    ([1536, 4096, 384], true, false),
    ([576, 1024, 1536], true, false),
    ([768, 1024, 3072], true, false),
    ([1024, 768, 3072], false, true),
    ([3072, 1024, 768], true, false),
    ([4096, 192, 8192], false, true),
    ([8192, 4096, 192], true, false),
    ([154, 768, 30522], false, true),
    ([154, 30522, 768], false, false),
];
/// rows, inputs, outputs.
const PACKED: &[[usize; 3]] = &[[1, 576, 1536], [1, 1536, 576], [4, 576, 1536], [16, 576, 1536], [512, 576, 1536]];

fn main() {
    for threads in [1, 2] {
        Pool::new(threads).install(|| {
            let peak = limits::peak_f32_gflops(threads);
            let (bf16_peak, way) = limits::peak_bf16_gflops(threads);
            let way = way.name();
            println!("{threads} threads, register peak f32 {peak:.0}, bf16 {bf16_peak:.0} GFLOP/s (by {way})");
            PRODUCTS
                .iter()
                .for_each(|&(size, a_turned, b_turned)| plain(size, [a_turned, b_turned], [peak, bf16_peak]));
            PACKED.iter().for_each(|&shape| packed(shape, peak));
        });
    }
}

/// A product in f32, and in bf16 of factors that are bf16 already.
fn plain([m, k, n]: [usize; 3], [a_turned, b_turned]: [bool; 2], [f32_peak, bf16_peak]: [f64; 2]) {
    let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0.0; m * n]);
    let (a16, b16) = (rounded(&a), rounded(&b));
    let work = m * k * n;
    let (x, y) = (view(&a, [m, k], a_turned), view(&b, [k, n], b_turned));
    let f32 = rate(work, || matmul(x, y, &mut c, Accumulate::Overwrite));
    let (x, y) = (view(&a16, [m, k], a_turned), view(&b16, [k, n], b_turned));
    let bf16 = rate(work, || matmul_bf16(x, y, &mut c, Accumulate::Overwrite, None));
    println!(
        "  {m:5} x {k:5} x {n:5}  f32 {f32:6.1} GFLOP/s {:3.0} %  bf16 {bf16:6.1} GFLOP/s {:3.0} %",
        f32 / f32_peak * 100.0,
        bf16 / bf16_peak * 100.0
    );
}

fn view<T: Copy>(data: &[T], [rows, columns]: [usize; 2], turned: bool) -> MatRef<'_, T> {
    if turned { MatRef::row_major(data, columns, rows).transposed() } else { MatRef::row_major(data, rows, columns) }
}

fn rounded(numbers: &[f32]) -> Vec<u16> {
    let mut rounded = vec![0; numbers.len()];
    bf16::round(numbers, &mut rounded);
    rounded
}

fn packed([rows, inputs, outputs]: [usize; 3], peak: f64) {
    let (x, weight, mut y) = (numbers(rows * inputs), numbers(inputs * outputs), vec![0.0; rows * outputs]);
    let mut wide = vec![0.0; packed_len(inputs, outputs)];
    pack(MatRef::row_major(&weight, inputs, outputs), &mut wide);
    let shape = Shape { rows, inputs, outputs };
    let f32 = rate(rows * inputs * outputs, || matmul_packed(&x, &wide, shape, None, &mut y, Accumulate::Overwrite));
    println!("  packed {rows:3} x {inputs:4} x {outputs:4}  f32 {f32:6.1} GFLOP/s {:3.0} %", f32 / peak * 100.0);
}

/// In GFLOP/s.
fn rate(multiply_adds: usize, f: impl FnMut()) -> f64 {
    2.0 * multiply_adds as f64 / least_seconds(0.2, f) / 1e9
}
