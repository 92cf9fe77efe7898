//! Products of the shapes that training and serving have, as a share of the register peak:
//! `cargo bench -p luban-kernels --bench matmul`.

mod common;

use common::{least_seconds, numbers};
use luban_kernels::limits;
use luban_kernels::matmul::{
    Accumulate, MatRef, Shape, matmul, matmul_packed, matmul_packed_i8, pack, packed_i8_len, packed_len,
};
use luban_kernels::pool::Pool;

/// m, k, n; A transposed; B transposed.
const PRODUCTS: &[([usize; 3], bool, bool)] = &[
    ([4096, 192, 576], false, true),
    ([4096, 576, 192], false, false),
    ([192, 4096, 512], true, false),
    ([576, 4096, 192], true, false),
    ([1024, 768, 3072], false, true),
    ([3072, 1024, 768], true, false),
    ([4096, 192, 8192], false, true),
    ([8192, 4096, 192], true, false),
];
/// rows, inputs, outputs.
const PACKED: &[[usize; 3]] = &[[1, 576, 1536], [1, 1536, 576], [4, 576, 1536], [16, 576, 1536], [512, 576, 1536]];

fn main() {
    for threads in [1, 2] {
        Pool::new(threads).install(|| {
            let peak = limits::peak_f32_gflops(threads);
            println!("{threads} threads, register peak {peak:.0} GFLOP/s");
            for &([m, k, n], a_turned, b_turned) in PRODUCTS {
                let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0.0; m * n]);
                let a = if a_turned { MatRef::row_major(&a, k, m).transposed() } else { MatRef::row_major(&a, m, k) };
                let b = if b_turned { MatRef::row_major(&b, n, k).transposed() } else { MatRef::row_major(&b, k, n) };
                let rate = rate(m * k * n, || matmul(a, b, &mut c, Accumulate::Overwrite));
                println!("  {m:5} x {k:5} x {n:5}  {rate:6.1} GFLOP/s  {:3.0} %", rate / peak * 100.0);
            }
            PACKED.iter().for_each(|&shape| packed(shape, peak));
        });
    }
}

fn packed([rows, inputs, outputs]: [usize; 3], peak: f64) {
    let (x, weight, mut y) = (numbers(rows * inputs), numbers(inputs * outputs), vec![0.0; rows * outputs]);
    let mut wide = vec![0.0; packed_len(inputs, outputs)];
    pack(MatRef::row_major(&weight, inputs, outputs), &mut wide);
    let (small, scales) = (vec![3i8; packed_i8_len(inputs, outputs)], vec![0.1; outputs]);
    let shape = Shape { rows, inputs, outputs };
    let f32 = rate(rows * inputs * outputs, || matmul_packed(&x, &wide, shape, None, &mut y, Accumulate::Overwrite));
    let i8 = rate(rows * inputs * outputs, || matmul_packed_i8(&x, &small, &scales, shape, None, &mut y));
    println!(
        "  packed {rows:3} x {inputs:4} x {outputs:4}  f32 {f32:6.1} GFLOP/s {:3.0} %  int8 {i8:6.1} GFLOP/s {:3.0} %",
        f32 / peak * 100.0,
        i8 / peak * 100.0
    );
}

/// In GFLOP/s.
fn rate(multiply_adds: usize, f: impl FnMut()) -> f64 {
    2.0 * multiply_adds as f64 / least_seconds(0.2, f) / 1e9
}
