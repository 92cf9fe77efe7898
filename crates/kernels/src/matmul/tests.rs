use super::*;
use crate::bf16;
use crate::reference;
use crate::testing::{Guarded, assert_same_bits, random, same_everywhere};

const SHAPES: &[[usize; 3]] = &[
    [0, 3, 4],
    [3, 0, 4],
    [3, 4, 0],
    [1, 1, 1],
    [1, 64, 64],
    [2, 5, 17],
    [5, 300, 65],
    [6, 256, 64],
    [7, 257, 130],
    [13, 33, 63],
    [97, 31, 80],
    [100, 600, 20],
    [193, 20, 200],
    [7, 1100, 70],
    [9, 1030, 450],
    [6, 1100, 80],
    [300, 20, 48],
    [300, 20, 512],
];

type Product = fn(MatRef<'_>, MatRef<'_>, &mut [f32], Accumulate);
type Reference = fn(&[f32], &[f32], [usize; 3], Option<&[f32]>) -> Vec<f32>;

/// The products, and what defines them.
const PRODUCTS: [(Product, Reference); 2] =
    [(matmul, reference::matmul), (|a, b, c, mode| matmul_bf16(a, b, c, mode, None), reference::matmul_bf16)];

#[test]
fn equals_the_reference_bit_for_bit_in_every_layout() {
    for &[m, k, n] in SHAPES {
        let (a, b, start) = (random(1, m * k), random(2, k * n), random(3, m * n));
        let (a_turned, b_turned) = (reference::transpose(&a, m, k), reference::transpose(&b, k, n));
        let a_views = [MatRef::row_major(&a, m, k), MatRef::row_major(&a_turned, k, m).transposed()];
        let b_views = [MatRef::row_major(&b, k, n), MatRef::row_major(&b_turned, n, k).transposed()];
        let ways = [(Accumulate::Overwrite, None), (Accumulate::Add, Some(&start[..]))];
        for ((product, reference), (accumulate, from)) in
            PRODUCTS.into_iter().flat_map(|product| ways.map(|way| (product, way)))
        {
            let expected = reference(&a, &b, [m, k, n], from);
            for (a, b) in a_views.iter().flat_map(|a| b_views.iter().map(move |b| (*a, *b))) {
                let got = same_everywhere(|| {
                    let mut c = start.clone();
                    product(a, b, &mut c, accumulate);
                    c
                });
                assert_same_bits(&got, &expected, &format!("{m} x {k} x {n}, {accumulate:?}"));
            }
        }
    }
}

#[test]
fn a_deep_and_wide_product_is_cut_without_a_trace() {
    for ((product, reference), k) in PRODUCTS.into_iter().zip([DEPTH_MAX + 70, 2 * DEPTH_MAX + 71]) {
        let [m, n] = [3, 300];
        let (a, b) = (random(1, m * k), random(2, k * n));
        let mut c = vec![0.0; m * n];
        product(MatRef::row_major(&a, m, k), MatRef::row_major(&b, k, n), &mut c, Accumulate::Overwrite);
        assert_same_bits(&c, &reference(&a, &b, [m, k, n], None), "deep");
    }
}

/// Factors that are bf16 already give the bits that factors rounded on the way do, in every layout, with a bias or not.
#[test]
fn factors_may_be_bf16_already() {
    for &[m, k, n] in SHAPES {
        let (a, b, bias) = (random(1, m * k), random(2, k * n), random(3, n));
        let (a_turned, b_turned) = (reference::transpose(&a, m, k), reference::transpose(&b, k, n));
        let [a16, b16, at16, bt16] = [&a, &b, &a_turned, &b_turned].map(|x| {
            let mut rounded = vec![0; x.len()];
            bf16::round(x, &mut rounded);
            rounded
        });
        let a_views = [MatRef::row_major(&a16, m, k), MatRef::row_major(&at16, k, m).transposed()];
        let b_views = [MatRef::row_major(&b16, k, n), MatRef::row_major(&bt16, n, k).transposed()];
        let mut expected = reference::matmul_bf16(&a, &b, [m, k, n], None);
        expected.chunks_exact_mut(n.max(1)).for_each(|row| row.iter_mut().zip(&bias).for_each(|(y, b)| *y += b));
        for (a, b) in a_views.iter().flat_map(|a| b_views.iter().map(move |b| (*a, *b))) {
            let got = same_everywhere(|| {
                let mut c = vec![7.0; m * n];
                matmul_bf16(a, b, &mut c, Accumulate::Overwrite, Some(&bias));
                c
            });
            assert_same_bits(&got, &expected, &format!("{m} x {k} x {n}"));
        }
    }
}

#[test]
fn packed_products_equal_the_reference_for_any_number_of_rows() {
    for &[m, k, n] in SHAPES {
        let (x, weight, bias) = (random(1, m * k), random(2, n * k), random(3, n));
        let shape = Shape { rows: m, inputs: k, outputs: n };
        let mut expected = reference::matmul(&x, &reference::transpose(&weight, n, k), [m, k, n], None);
        for row in expected.chunks_exact_mut(n.max(1)) {
            row.iter_mut().zip(&bias).for_each(|(y, b)| *y += b);
        }
        let got = same_everywhere(|| {
            let (mut packed, mut y) = (vec![9.0; packed_len(k, n)], vec![7.0; m * n]);
            pack(MatRef::row_major(&weight, n, k).transposed(), &mut packed);
            matmul_packed(&x, &packed, shape, Some(&bias), &mut y, Accumulate::Overwrite);
            y
        });
        assert_same_bits(&got, &expected, &format!("{m} x {k} x {n}"));
    }
}

#[test]
fn nothing_is_touched_beyond_the_slices() {
    for &[m, k, n] in SHAPES {
        let (a, b, mut c) =
            (Guarded::new(&random(1, m * k)), Guarded::new(&random(2, k * n)), Guarded::new(&vec![0.0; m * n]));
        let expected = reference::matmul(&a, &b, [m, k, n], None);
        let got = same_everywhere(|| {
            let mut c = Guarded::new(&vec![0.0; m * n]);
            matmul(MatRef::row_major(&a, m, k), MatRef::row_major(&b, k, n), &mut c, Accumulate::Overwrite);
            c.to_vec()
        });
        assert_same_bits(&got, &expected, "row major");
        let (at, bt) = (Guarded::new(&reference::transpose(&a, m, k)), Guarded::new(&reference::transpose(&b, k, n)));
        let (at, bt) = (MatRef::row_major(&at, k, m).transposed(), MatRef::row_major(&bt, n, k).transposed());
        matmul(at, bt, &mut c, Accumulate::Overwrite);
        assert_same_bits(&c, &expected, "transposed");
    }
}

#[test]
fn not_a_number_and_infinity_reach_their_outputs_alone() {
    let [m, k, n] = [8, 20, 70];
    let (mut a, b) = (random(1, m * k), random(2, k * n));
    a[3 * k + 5] = f32::NAN;
    a[6 * k + 1] = f32::INFINITY;
    let mut c = vec![0.0; m * n];
    matmul(MatRef::row_major(&a, m, k), MatRef::row_major(&b, k, n), &mut c, Accumulate::Overwrite);
    for (i, row) in c.chunks_exact(n).enumerate() {
        match i {
            3 => assert!(row.iter().all(|x| x.is_nan())),
            6 => assert!(row.iter().all(|x| x.is_infinite())),
            _ => assert!(row.iter().all(|x| x.is_finite())),
        }
    }
}

#[test]
#[should_panic(expected = "columns of a and rows of b")]
fn sizes_that_disagree_are_refused() {
    matmul(MatRef::row_major(&[0.0; 6], 2, 3), MatRef::row_major(&[0.0; 8], 2, 4), &mut [0.0; 8], Accumulate::Add);
}

#[test]
#[should_panic(expected = "elements for the shape")]
fn sizes_that_overflow_are_refused() {
    MatRef::row_major(&[0.0; 0], usize::MAX / 2 + 1, 2);
}

#[test]
fn narrow_factors_of_few_rows_are_read_where_they_lie() {
    let numbers = random(1, 512 * 512);
    let of = |rows: usize, columns: usize| MatRef::row_major(&numbers[..rows * columns], rows, columns);
    assert!(is_read_in_place(1, of(300, 48)) && is_read_in_place(ROWS_FEW, of(48, 192)));
    for columns in [1, 16, 24, 250, 256, 300] {
        let fitting = columns_in_place(columns);
        assert!(fitting >= columns && is_read_in_place(8, of(2, fitting)), "{columns} columns: {fitting}");
    }
    let (many, ragged, whole_kib) = ((ROWS_FEW + 1, of(48, 192)), (8, of(48, 200)), (8, of(48, 512)));
    for (rows, b) in [many, ragged, whole_kib, (8, of(192, 48).transposed())] {
        assert!(!is_read_in_place(rows, b), "{rows} rows times {:?}", b.shape());
    }
}
