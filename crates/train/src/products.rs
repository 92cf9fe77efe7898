//! The speed of plain matrix products on the shapes that training uses.

use luban_base::clock::Clock;
use luban_base::random::Stream;
use luban_kernels::bf16;
use luban_kernels::matmul::{Accumulate, MatRef, matmul, matmul_bf16};
use luban_tensor::Precision;
use serde::Serialize;

use crate::bench::Shape;
use crate::objective::MASKED_SHARE;
use luban_model::spec::Head;

/// Which of the three products of a linear map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `x · weightᵀ`.
    Forward,
    /// `dy · weight`: the gradient of the input.
    Input,
    /// `dyᵀ · x`: the gradient of the weight.
    Weight,
}

/// A linear map of a model, on the rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Map {
    /// Rows of activations.
    pub rows: usize,
    /// Columns of the input.
    pub inputs: usize,
    /// Columns of the output.
    pub outputs: usize,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The map.
    #[serde(flatten)]
    pub map: Map,
    /// Which of its products.
    pub form: Form,
    /// 10^9 operations a second, by the median of the calls.
    pub gflops: f64,
}

/// The different linear maps of a shape, the head among them on the rows that predict.
pub fn maps(shape: &Shape) -> Vec<Map> {
    let spec = &shape.spec;
    let rows = shape.sequences * shape.length;
    let predicting = match spec.head {
        Head::MaskedToken => (rows as f32 * MASKED_SHARE).round() as usize,
        _ => rows,
    };
    let (width, queries, keys) = (spec.width, spec.heads * spec.head_width, spec.kv_heads * spec.head_width);
    let map = |rows, inputs, outputs| Map { rows, inputs, outputs };
    let mut maps = vec![
        map(rows, width, queries),
        map(rows, width, keys),
        map(rows, queries, width),
        map(rows, width, spec.ffn_width),
        map(rows, spec.ffn_width, width),
        map(predicting, width, spec.vocab),
    ];
    let mut seen = Vec::new();
    maps.retain(|map| {
        !seen.contains(map) && {
            seen.push(*map);
            true
        }
    });
    maps
}

/// Measures the three products of a map, with both factors in f32 or both in bf16 and the result in f32.
pub fn measure(map: Map, precision: Precision, seconds: f64, clock: &dyn Clock) -> Vec<Measured> {
    let Map { rows, inputs, outputs } = map;
    let random = |seed: u64, length: usize| -> Vec<f32> {
        let stream = Stream::new(seed, &[]);
        (0..length as u64).map(|element| stream.uniform_at(element) - 0.5).collect()
    };
    let (x, weight, dy) = (random(0, rows * inputs), random(1, inputs * outputs), random(2, rows * outputs));
    let forms = [Form::Forward, Form::Input, Form::Weight];
    let gflops = |form| {
        let mut run = product(map, form, precision, [&x, &weight, &dy]);
        2e-9 * (rows * inputs * outputs) as f64 / median_seconds(&mut run, seconds, clock)
    };
    forms.map(|form| Measured { map, form, gflops: gflops(form) }).to_vec()
}

/// A product that is ready to run again and again.
fn product(
    Map { rows, inputs, outputs }: Map,
    form: Form,
    precision: Precision,
    [x, weight, dy]: [&[f32]; 3],
) -> Box<dyn FnMut()> {
    let (x, weight, dy) = ((x, rows, inputs), (weight, outputs, inputs), (dy, rows, outputs));
    let (a, b, size) = match form {
        Form::Forward => ((x, false), (weight, true), rows * outputs),
        Form::Input => ((dy, false), (weight, false), rows * inputs),
        Form::Weight => ((dy, true), (x, false), outputs * inputs),
    };
    let mut c = vec![0.0; size];
    match precision {
        Precision::F32 => {
            let [a, b] = [a, b].map(|((data, rows, columns), turned)| (data.to_vec(), rows, columns, turned));
            Box::new(move || matmul(view(&a), view(&b), &mut c, Accumulate::Overwrite))
        }
        _ => {
            let [a, b] = [a, b].map(|((data, rows, columns), turned)| (rounded(data), rows, columns, turned));
            Box::new(move || matmul_bf16(view(&a), view(&b), &mut c, Accumulate::Overwrite, None))
        }
    }
}

fn rounded(numbers: &[f32]) -> Vec<u16> {
    let mut rounded = vec![0; numbers.len()];
    bf16::round(numbers, &mut rounded);
    rounded
}

fn view<T: Copy>((data, rows, columns, turned): &(Vec<T>, usize, usize, bool)) -> MatRef<'_, T> {
    let matrix = MatRef::row_major(data, *rows, *columns);
    if *turned { matrix.transposed() } else { matrix }
}

/// Median of at least five calls within the given seconds, after one that is not counted.
fn median_seconds(run: &mut dyn FnMut(), seconds: f64, clock: &dyn Clock) -> f64 {
    run();
    let start = clock.elapsed();
    let mut taken = Vec::new();
    while taken.len() < 5 || (clock.elapsed() - start).as_secs_f64() < seconds {
        let before = clock.elapsed();
        run();
        taken.push((clock.elapsed() - before).as_secs_f64());
    }
    taken.sort_by(f64::total_cmp);
    taken[taken.len() / 2].max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::shape;
    use luban_base::clock::SystemClock;

    #[test]
    fn every_different_map_is_listed_once() {
        let bert = maps(&shape("bert").unwrap());
        let map = |rows, inputs, outputs| Map { rows, inputs, outputs };
        let expected = [map(1024, 768, 768), map(1024, 768, 3072), map(1024, 3072, 768), map(154, 768, 30_522)];
        assert_eq!(bert, expected);
        assert_eq!(maps(&shape("llama").unwrap()).len(), 5);
    }

    #[test]
    fn three_products_are_measured() {
        let map = Map { rows: 9, inputs: 20, outputs: 7 };
        for precision in [Precision::F32, Precision::Bf16] {
            let measured = measure(map, precision, 0.0, &SystemClock::default());
            assert_eq!(
                measured.iter().map(|one| one.form).collect::<Vec<_>>(),
                [Form::Forward, Form::Input, Form::Weight]
            );
            assert!(measured.iter().all(|one| one.gflops > 0.0));
        }
    }
}
