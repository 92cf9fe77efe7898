use super::cached::{Arena, ArenaMut, CachedSequence, Format, Placement, append, attend};
use super::*;
use crate::reference;
use crate::testing::{Guarded, assert_close, assert_same_bits, check_gradient, random, same_everywhere, wide};

/// heads, kv heads, width, causal, reach, lengths.
type Numbers = (usize, usize, usize, bool, Option<usize>, &'static [usize]);
const CASES: &[Numbers] = &[
    (1, 1, 1, true, None, &[1]),
    (2, 1, 16, true, None, &[3, 0, 70]),
    (4, 2, 20, true, None, &[65, 1, 130]),
    (3, 3, 64, true, None, &[100]),
    (9, 3, 33, true, None, &[20, 64]),
    (2, 2, 80, false, None, &[7, 129]),
    (4, 1, 16, false, None, &[64, 5]),
    (2, 1, 16, true, Some(0), &[70]),
    (4, 2, 20, true, Some(5), &[65, 1, 130]),
    (5, 1, 17, true, Some(63), &[200]),
    (3, 3, 24, true, Some(64), &[140, 3]),
    (1, 1, 8, true, Some(usize::MAX), &[66]),
    (2, 2, 80, false, Some(3), &[7, 129]),
    (4, 1, 16, false, Some(64), &[300]),
    (3, 1, 16, false, Some(100), &[64, 150]),
    (1, 1, 8, false, Some(usize::MAX), &[66]),
];

#[derive(Clone)]
struct Case {
    shape: Shape,
    sequences: Vec<Range<usize>>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Case {
    fn new(&(heads, kv_heads, head_width, causal, reach, lengths): &Numbers) -> Self {
        let mut rows = 0;
        let sequences = lengths.iter().map(|len| {
            rows += len;
            rows - len..rows
        });
        let sequences: Vec<_> = sequences.collect();
        let shape = Shape { heads, kv_heads, head_width, scale: 2.0 / (head_width as f32).sqrt(), causal, reach };
        let (q_len, kv_len) = (rows * heads * head_width, rows * kv_heads * head_width);
        Self { shape, sequences, q: random(1, q_len), k: random(2, kv_len), v: random(3, kv_len) }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs { q: &self.q, k: &self.k, v: &self.v }
    }

    fn forward(&self) -> (Vec<f32>, Vec<f32>) {
        let (mut out, mut lse) = (vec![0.0; self.q.len()], vec![0.0; self.q.len() / self.shape.head_width]);
        let (q, k, v) = (Guarded::new(&self.q), Guarded::new(&self.k), Guarded::new(&self.v));
        forward(&self.shape, &self.sequences, Inputs { q: &q, k: &k, v: &v }, &mut out, Some(&mut lse));
        (out, lse)
    }
}

#[test]
fn forward_agrees_with_the_reference() {
    for case in CASES {
        let case = Case::new(case);
        let got = same_everywhere(|| case.forward().0);
        let expected =
            reference::attention(&case.shape, &case.sequences, &wide(&case.q), &wide(&case.k), &wide(&case.v));
        assert_close(&got, &expected, 2e-6, &format!("{:?}", case.shape));
    }
}

#[test]
fn a_row_depends_on_its_own_prefix_alone() {
    let mut case = Case::new(&(4, 2, 24, true, None, &[90, 140]));
    let before = case.forward().0;
    // Everything from row 200 on becomes poison, and the other sequence changes.
    let row = case.shape.kv_heads * case.shape.head_width;
    case.k[200 * row..].fill(f32::NAN);
    case.v[200 * row..].fill(f32::INFINITY);
    case.v[..10].fill(3.0);
    let (after, row) = (case.forward().0, case.shape.heads * case.shape.head_width);
    assert_same_bits(&after[90 * row..200 * row], &before[90 * row..200 * row], "prefix");
    assert!(after[200 * row..].iter().all(|x| x.is_nan()));
}

#[test]
fn what_lies_out_of_reach_does_not_show() {
    for causal in [true, false] {
        let mut case = Case::new(&(3, 1, 24, causal, Some(20), &[300]));
        let before = case.forward().0;
        let row = case.shape.kv_heads * case.shape.head_width;
        case.k[100 * row..150 * row].fill(f32::NAN);
        case.v[100 * row..150 * row].fill(f32::INFINITY);
        let (after, row) = (case.forward().0, case.shape.heads * case.shape.head_width);
        let first = if causal { 100 } else { 80 };
        assert_same_bits(&after[..first * row], &before[..first * row], "before");
        assert!(after[first * row..170 * row].iter().all(|x| x.is_nan()), "within reach");
        assert_same_bits(&after[170 * row..], &before[170 * row..], "after");
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    let small: &[Numbers] = &[
        (2, 1, 5, true, None, &[3, 9]),
        (4, 2, 3, false, None, &[6]),
        (1, 1, 2, true, None, &[70]),
        (2, 2, 2, false, None, &[66]),
        (1, 1, 2, true, Some(4), &[70]),
        (2, 1, 3, false, Some(2), &[67]),
    ];
    for case in small {
        let case = Case::new(case);
        let dout = random(4, case.q.len());
        let got = same_everywhere(|| gradients(&case, &dout));
        let (q, k, v) = (wide(&case.q), wide(&case.k), wide(&case.v));
        let loss = |q: &[f64], k: &[f64], v: &[f64]| {
            let out = reference::attention(&case.shape, &case.sequences, q, k, v);
            out.iter().zip(&dout).map(|(out, &d)| out * f64::from(d)).sum::<f64>()
        };
        let (dq, rest) = got.split_at(q.len());
        let (dk, dv) = rest.split_at(k.len());
        check_gradient(dq, &q, |q| loss(q, &k, &v));
        check_gradient(dk, &k, |k| loss(&q, k, &v));
        check_gradient(dv, &v, |v| loss(&q, &k, v));
    }
}

#[test]
fn gradients_of_larger_shapes_agree_with_the_reference() {
    for case in CASES {
        let case = Case::new(case);
        let dout = random(4, case.q.len());
        let got = same_everywhere(|| gradients(&case, &dout));
        let [q, k, v, dout] = [&case.q, &case.k, &case.v, &dout].map(|x| wide(x));
        let expected = reference::attention_backward(&case.shape, &case.sequences, [&q, &k, &v], &dout);
        assert_close(&got, &expected.concat(), 1e-5, &format!("{:?}", case.shape));
    }
}

/// dq, dk and dv, one after the other.
fn gradients(case: &Case, dout: &[f32]) -> Vec<f32> {
    let (out, lse) = case.forward();
    let (mut q, mut k, mut v) = (vec![9.0; case.q.len()], vec![9.0; case.k.len()], vec![9.0; case.v.len()]);
    let [out, lse, dout] = [&out, &lse, dout].map(Guarded::new);
    let [gq, gk, gv] = [&case.q, &case.k, &case.v].map(|x| Guarded::new(x));
    let saved = Saved { inputs: Inputs { q: &gq, k: &gk, v: &gv }, out: &out, lse: &lse };
    backward(&case.shape, &case.sequences, saved, &dout, Gradients { q: &mut q, k: &mut k, v: &mut v });
    [q, k, v].concat()
}

/// Runs all sequences through the cache in chunks, several in one call, and gives the result for all rows.
fn through_cache(case: &Case, format: Format, chunk: usize) -> Vec<f32> {
    let (shape, size) = (&case.shape, format.block_len(&case.shape));
    // Blocks of the sequences alternate in the arena, which holds poison where nothing was written.
    let count = case.sequences.len();
    let most = case.sequences.iter().map(|s| s.len().div_ceil(BLOCK)).max().unwrap_or(0);
    let (mut keys, mut values) = (vec![f32::NAN; most * count * size], vec![f32::NAN; most * count * size]);
    let tables: Vec<Vec<u32>> = (0..count).map(|s| (0..most).map(|b| (b * count + s) as u32).collect()).collect();
    let (row, kv_row) = (shape.heads * shape.head_width, shape.kv_heads * shape.head_width);
    let mut out = vec![0.0; case.q.len()];
    for first in (0..most * BLOCK).step_by(chunk) {
        let (mut placement, mut rows) = (Placement::default(), Vec::new());
        for (s, sequence) in case.sequences.iter().enumerate() {
            let positions = first.min(sequence.len())..sequence.len().min(first + chunk);
            rows.extend(positions.clone().map(|position| sequence.start + position));
            let rows = rows.len() - positions.len()..rows.len();
            placement.push(CachedSequence { rows, first_position: positions.start, blocks: &tables[s] });
        }
        let of_rows = |numbers: &[f32], width: usize| -> Vec<f32> {
            rows.iter().flat_map(|&row| numbers[row * width..][..width].to_vec()).collect()
        };
        let (q, k, v) = (of_rows(&case.q, row), of_rows(&case.k, kv_row), of_rows(&case.v, kv_row));
        append(shape, &placement, [&k, &v], ArenaMut { format, keys: &mut keys, values: &mut values });
        let mut part = vec![0.0; q.len()];
        let arena = Arena { format, keys: &keys, values: &values };
        attend(shape, &mut placement, &q, arena, &mut part);
        rows.iter().zip(part.chunks_exact(row)).for_each(|(&r, part)| out[r * row..][..row].copy_from_slice(part));
    }
    out
}

#[test]
fn the_cache_gives_the_bits_of_training() {
    for case in CASES.iter().filter(|case| case.3) {
        let case = Case::new(case);
        let expected = case.forward().0;
        for chunk in [1, 13, 64, 1000] {
            let got = same_everywhere(|| through_cache(&case, Format::F32, chunk));
            assert_same_bits(&got, &expected, &format!("{:?} in chunks of {chunk}", case.shape));
        }
    }
}

#[test]
fn a_cache_of_fewer_bits_gives_the_bits_of_what_it_holds() {
    for case in CASES.iter().filter(|case| case.3) {
        let case = Case::new(case);
        for format in [Format::Bf16, Format::Int8] {
            let round = |numbers: &[f32]| -> Vec<f32> {
                let head = |head: &[f32]| -> Vec<f32> {
                    match format {
                        Format::F32 => head.to_vec(),
                        Format::Bf16 => head.iter().map(|&x| crate::bf16::to_f32(crate::bf16::from_f32(x))).collect(),
                        Format::Int8 => {
                            let (values, scale) = reference::bytes_of(head, false);
                            values.iter().map(|&value| value as f32 * scale).collect()
                        }
                    }
                };
                numbers.chunks(case.shape.head_width).flat_map(head).collect()
            };
            let mut rounded = case.clone();
            (rounded.k, rounded.v) = (round(&case.k), round(&case.v));
            let (expected, exact) = (rounded.forward().0, case.forward().0);
            for chunk in [1, 100] {
                let got = same_everywhere(|| through_cache(&case, format, chunk));
                assert_same_bits(&got, &expected, &format!("{:?} in {format:?}", case.shape));
            }
            let error = expected.iter().zip(&exact).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            // The one number of a head of width one is its own largest, which bytes hold.
            let may_be_exact = case.shape.head_width == 1 && format == Format::Int8;
            assert!(error < 0.02 && (error > 0.0 || may_be_exact), "{format:?}, {:?}: {error}", case.shape);
        }
    }
}

#[test]
fn a_value_that_is_no_number_stays_none_in_bytes() {
    let shape = Shape { heads: 1, kv_heads: 1, head_width: 4, scale: 1.0, causal: true, reach: None };
    let format = Format::Int8;
    let (mut keys, mut values) = (vec![0.0; format.block_len(&shape)], vec![0.0; format.block_len(&shape)]);
    let mut placement = Placement::of([CachedSequence { rows: 0..1, first_position: 0, blocks: &[0] }]);
    let arena = ArenaMut { format, keys: &mut keys, values: &mut values };
    append(&shape, &placement, [&[1.0; 4], &[1.0, f32::NAN, 1.0, 1.0]], arena);
    let mut out = [0.0; 4];
    attend(&shape, &mut placement, &[1.0; 4], Arena { format, keys: &keys, values: &values }, &mut out);
    assert!(out.iter().all(|x| x.is_nan()), "{out:?}");
}

#[test]
#[should_panic(expected = "sequence 2..4 after row 3")]
fn overlapping_sequences_are_refused() {
    let case = Case::new(&(1, 1, 4, true, None, &[4]));
    forward(&case.shape, &[0..3, 2..4], case.inputs(), &mut [0.0; 16], None);
}

#[test]
#[should_panic(expected = "block 2 in an arena of 2")]
fn a_block_beyond_the_arena_is_refused() {
    let shape = Shape { heads: 1, kv_heads: 1, head_width: 4, scale: 1.0, causal: true, reach: None };
    let arena = vec![0.0; Format::F32.block_len(&shape) * 2];
    let sequence = CachedSequence { rows: 0..1, first_position: 64, blocks: &[0, 2] };
    let arena = Arena { format: Format::F32, keys: &arena, values: &arena };
    attend(&shape, &mut Placement::of([sequence]), &[0.0; 4], arena, &mut [0.0; 4]);
}
