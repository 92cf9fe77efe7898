use super::*;
use crate::reference;
use crate::testing::{assert_same_bits, random, same_everywhere};

/// Rows, numbers along the sum, columns.
const SHAPES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [3, 32, 16],
    [7, 64, 64],
    [13, 96, 80],
    [5, 130, 33],
    [30, 576, 72],
    [64, 1024, 65],
    [129, 257, 48],
    [2, 1500, 130],
];

/// A matrix as it lies in memory, or its transposed copy.
fn transposed(matrix: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column])).collect()
}

fn run(block: usize, a: MatRef<'_>, b: MatRef<'_>, c: &mut [f32], accumulate: Accumulate) {
    let ((m, k), n) = (a.shape(), b.shape().1);
    let (mut left, mut right) =
        (vec![f32::NAN; Left::floats([m, k], block)], vec![f32::NAN; Right::floats([k, n], block)]);
    let bias: Vec<f32> = (0..n).map(|j| j as f32).collect();
    let bias = (accumulate == Accumulate::Overwrite).then_some(&*bias);
    product(Left::quantize(a, block, &mut left), Right::quantize(b, block, &mut right), c, accumulate, bias);
}

#[test]
fn products_of_either_order_are_those_of_the_reference() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let [m, k, n] = shape;
        // Magnitudes from tiny to large, so that scales differ and some are subnormal in fp16.
        let spread = |numbers: Vec<f32>| -> Vec<f32> {
            numbers.iter().enumerate().map(|(i, x)| x * 10f32.powi((i / 37 % 9) as i32 - 6)).collect()
        };
        let (a, b) = (spread(random(seed as u64, m * k)), spread(random(100 + seed as u64, k * n)));
        let (a_turned, b_turned) = (transposed(&a, [m, k]), transposed(&b, [k, n]));
        let start = random(200 + seed as u64, m * n);
        // Of any length; these take turns.
        let block = if seed.is_multiple_of(2) { block_of(k) } else { 32 };
        let fresh: Vec<f32> =
            reference::bytes(&a, &b, shape, block, None).iter().enumerate().map(|(i, y)| y + (i % n) as f32).collect();
        let added = reference::bytes(&a, &b, shape, block, Some(&start));
        let lefts = [MatRef::row_major(&a, m, k), MatRef::row_major(&a_turned, k, m).transposed()];
        let rights = [MatRef::row_major(&b, k, n), MatRef::row_major(&b_turned, n, k).transposed()];
        for (left, right) in lefts.into_iter().flat_map(|left| rights.map(|right| (left, right))) {
            let got = same_everywhere(|| {
                let mut c = vec![f32::NAN; m * n];
                run(block, left, right, &mut c, Accumulate::Overwrite);
                c
            });
            assert_same_bits(&got, &fresh, &format!("{shape:?}"));
            let got = same_everywhere(|| {
                let mut c = start.clone();
                run(block, left, right, &mut c, Accumulate::Add);
                c
            });
            assert_same_bits(&got, &added, &format!("{shape:?}, added"));
        }
    }
}

#[test]
fn products_are_near_those_of_f32() {
    let shape @ [m, k, n] = [40, 768, 96];
    let (a, b) = (random(1, m * k), random(2, k * n));
    let exact = reference::matmul(&a, &b, shape, None);
    let mut got = vec![0.0; m * n];
    let (mut left, mut right) = (vec![0.0; Left::floats([m, k], 128)], vec![0.0; Right::floats([k, n], 128)]);
    let (a, b) = (MatRef::row_major(&a, m, k), MatRef::row_major(&b, k, n));
    let (a, b) = (Left::quantize(a, 128, &mut left), Right::quantize(b, 128, &mut right));
    product(a, b, &mut got, Accumulate::Overwrite, None);
    let norm = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let error = norm(&mut got.iter().zip(&exact).map(|(a, b)| a - b)) / norm(&mut exact.iter().copied());
    // A step is 1/127 of a block's largest number; its error spreads evenly over a step, in both factors.
    assert!(error < 0.008, "relative error {error}");
}

#[test]
fn numbers_that_are_none_are_not_lost() {
    for bad in [f32::NAN, f32::INFINITY, 1e7] {
        let [m, k, n] = [20, 256, 20];
        let (mut a, mut b) = (random(3, m * k), random(4, k * n));
        b[130 * n + 7] = bad;
        let (a_view, b_view) = (MatRef::row_major(&a, m, k), MatRef::row_major(&b, k, n));
        let mut c = vec![0.0; m * n];
        run(128, a_view, b_view, &mut c, Accumulate::Overwrite);
        assert!((0..m * n).all(|i| c[i].is_nan() == (i % n == 7)), "{bad} in the right factor");
        b[130 * n + 7] = 0.0;
        a[5 * k + 3] = bad;
        run(128, MatRef::row_major(&a, m, k), MatRef::row_major(&b, k, n), &mut c, Accumulate::Overwrite);
        // The left factor's scales are f32, which hold 1e7.
        assert!((0..m * n).all(|i| c[i].is_nan() == (i / n == 5 && bad != 1e7)), "{bad} in the left factor");
    }
}

#[test]
fn blocks_fill_the_depth_where_they_can() {
    assert_eq!([64, 96, 128, 192, 576, 768, 1000].map(block_of), [64, 96, 128, 96, 96, 128, 128]);
}

#[test]
#[should_panic(expected = "columns of a and rows of b")]
fn factors_that_do_not_fit_are_refused() {
    let (left, right) = (vec![0.0; Left::floats([2, 64], 64)], vec![0.0; Right::floats([96, 2], 64)]);
    product(Left::of(&left, [2, 64], 64), Right::of(&right, [96, 2], 64), &mut [0.0; 4], Accumulate::Overwrite, None);
}
