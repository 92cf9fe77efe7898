//! Products of bytes in the three forms that training has, factors quantized on the way, beside the same products of
//! f32: `cargo bench -p luban-kernels --bench training`.
//!
//! Operations as a share of the register peak of int8, without quantizing and with it.

mod common;

use common::{least_seconds, numbers};
use luban_kernels::limits;
use luban_kernels::matmul::{Accumulate, MatRef, matmul};
use luban_kernels::pool::Pool;
use luban_kernels::quantized::training::{Left, Right, block_of, product};

/// Tokens, inputs, outputs of a linear map.
const SHAPES: [[usize; 3]; 6] =
    [[1024, 256, 1024], [2048, 512, 512], [4096, 768, 768], [4096, 768, 3072], [4096, 3072, 768], [2048, 576, 1536]];

fn main() {
    Pool::new(2).install(|| {
        let peak = limits::peak_int8_gops(2).unwrap_or(f64::NAN);
        println!("2 threads, {peak:.0} GOP/s in registers");
        for [tokens, inputs, outputs] in SHAPES {
            let (x, w, dy) = (numbers(tokens * inputs), numbers(outputs * inputs), numbers(tokens * outputs));
            let x = MatRef::row_major(&x, tokens, inputs);
            let w = MatRef::row_major(&w, outputs, inputs);
            let dy = MatRef::row_major(&dy, tokens, outputs);
            print!("{tokens} × {inputs} → {outputs}:");
            form("forward", peak, block_of(inputs), [x, w.transposed()]);
            form("to the input", peak, block_of(outputs), [dy, w]);
            for block in [128, 64, 32] {
                form(&format!("to the weight, {block}"), peak, block, [dy.transposed(), x]);
            }
            println!();
        }
    });
}

fn form(name: &str, peak: f64, block: usize, [a, b]: [MatRef<'_>; 2]) {
    let ((rows, depth), columns) = (a.shape(), b.shape().1);
    let operations = 2.0 * (rows * depth * columns) as f64 / 1e9;
    let mut c = vec![0.0; rows * columns];
    let (mut left, mut right) =
        (vec![0.0; Left::floats([rows, depth], block)], vec![0.0; Right::floats([depth, columns], block)]);
    let of_left = least_seconds(0.05, || {
        Left::quantize(a, block, &mut left);
    });
    let of_right = least_seconds(0.05, || {
        Right::quantize(b, block, &mut right);
    });
    let (left, right) = (Left::of(&left, [rows, depth], block), Right::of(&right, [depth, columns], block));
    let alone = least_seconds(0.2, || product(left, right, &mut c, Accumulate::Overwrite, None));
    let floats = least_seconds(0.2, || matmul(a, b, &mut c, Accumulate::Overwrite));
    let whole = alone + of_left + of_right;
    print!(
        " {name} {:.0} GOP/s {:.0} %, quantizing {:.0} % + {:.0} % more, {:.2} times f32;",
        operations / alone,
        operations / alone / peak * 100.0,
        of_left / alone * 100.0,
        of_right / alone * 100.0,
        floats / whole
    );
}
