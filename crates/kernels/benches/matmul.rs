//! Products of the shapes that training and serving have, as a share of the register peak:
//! `cargo bench -p luban-kernels --bench matmul`.

use luban_kernels::limits;
use luban_kernels::matmul::{
    Accumulate, MatRef, Shape, matmul, matmul_packed, matmul_packed_i8, pack, packed_i8_len, packed_len,
};
use luban_kernels::pool::{self, Pool};

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

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect()
}

/// Time that this thread had a core to itself, where it works alone; else the time of day.
#[allow(unsafe_code)]
fn seconds() -> f64 {
    let clock = if pool::threads() == 1 { libc::CLOCK_THREAD_CPUTIME_ID } else { libc::CLOCK_MONOTONIC };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the system writes the time that the pointer leads to.
    assert_eq!(unsafe { libc::clock_gettime(clock, &mut time) }, 0, "no clock");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The best of several short runs, in GFLOP/s: the machine may be shared.
fn rate(multiply_adds: usize, mut f: impl FnMut()) -> f64 {
    f();
    let repeats = (20_000_000 / multiply_adds).max(1);
    let run = || {
        let start = seconds();
        (0..repeats).for_each(|_| f());
        (seconds() - start) / repeats as f64
    };
    let best = std::iter::repeat_with(run)
        .take((4_000_000_000 / multiply_adds / repeats).clamp(3, 200))
        .fold(f64::INFINITY, f64::min);
    2.0 * multiply_adds as f64 / best / 1e9
}
