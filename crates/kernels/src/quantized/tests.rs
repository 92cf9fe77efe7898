use super::*;
use crate::blocks::{self, f16_to_f32, f32_to_f16};
use crate::reference;
use crate::testing::{random, same_everywhere};

const LAYOUTS: [Layout; 15] = {
    const fn of(values: Values, parts: usize) -> Layout {
        Layout { values, block: BLOCK, parts }
    }
    [
        of(Values::Four, 1),
        of(Values::Four, 2),
        of(Values::FourMin, 1),
        of(Values::FourMin, 2),
        of(Values::FourUneven, 1),
        of(Values::Five, 1),
        of(Values::FiveMin, 1),
        of(Values::Six, 1),
        of(Values::Six, 2),
        of(Values::Eight, 1),
        of(Values::Eight, 2),
        Layout { block: 64, ..of(Values::FiveMin, 2) },
        Layout { block: 96, ..of(Values::Six, 1) },
        Layout { block: 128, ..of(Values::Eight, 1) },
        Layout { block: 64, ..of(Values::FourMin, 2) },
    ]
};

/// A block of some output, by chance but always the same.
fn block(layout: Layout, seed: u64, output: usize, number: usize) -> Block {
    let chance = random(seed + (output * 1000 + number) as u64, BLOCK + 2 * PARTS);
    let value = |x: f32| match layout.values {
        Values::Four => (x * 8.0).floor() as i8,
        Values::FourMin => ((x + 1.0) * 8.0).floor() as i8,
        Values::FourUneven => blocks::UNEVEN_STEPS[((x + 1.0) * 8.0) as usize],
        Values::Five => (x * 16.0).floor() as i8,
        Values::FiveMin => ((x + 1.0) * 16.0).floor() as i8,
        Values::Six => (x * 32.0).floor() as i8,
        Values::Eight => (x * 128.0).floor() as i8,
    };
    let mut block = Block { values: [0; BLOCK], scales: [0.0; PARTS], mins: [0.0; PARTS] };
    block.values = std::array::from_fn(|i| value(chance[i]));
    // Exact in fp16, some of them tiny.
    let half = |x: f32| f16_to_f32(f32_to_f16(x * if number.is_multiple_of(3) { 1e-4 } else { 1.0 }));
    block.scales = std::array::from_fn(|i| half(chance[BLOCK + i]));
    block.mins = std::array::from_fn(|i| half(chance[BLOCK + PARTS + i]));
    block
}

fn row_of(weight: &Weight, output: usize) -> Vec<f32> {
    let mut row = vec![0.0; weight.inputs()];
    weight.dequantize(output, &mut row);
    row
}

fn expected(layout: Layout, seed: u64, x: &Rows, outputs: usize, factors: &[f32]) -> Vec<f32> {
    let (blocks, mut y) = (x.blocks(), Vec::new());
    let has_mins = matches!(layout.values, Values::FourMin | Values::FiveMin);
    for row in 0..x.rows() {
        let values =
            x.values[row * blocks * layout.block..][..blocks * layout.block].iter().map(|&v| i32::from(v)).collect();
        let scales = x.scales[row * blocks..][..blocks].to_vec();
        let own = reference::QuantizedBlocks { values, scales, mins: Vec::new() };
        for (output, &factor) in factors.iter().enumerate().take(outputs) {
            let mut w = reference::QuantizedBlocks::default();
            let each = layout.block / BLOCK;
            for number in 0..blocks * each {
                let block = block(layout, seed, output, number);
                w.values.extend(block.values.map(i32::from));
                if !number.is_multiple_of(each) {
                    continue;
                }
                w.scales.extend_from_slice(&block.scales[..layout.parts]);
                if has_mins {
                    w.mins.extend_from_slice(&block.mins[..layout.parts]);
                }
            }
            y.push(reference::quantized(&own, &w, [layout.block, layout.parts], factor));
        }
    }
    y
}

#[test]
fn products_are_their_definition_everywhere() {
    let sizes = [[1, 32, 16], [2, 40, 17], [5, 96, 80], [7, 31, 130], [13, 500, 48], [29, 416, 65], [200, 64, 64]];
    for (case, [rows, inputs, outputs]) in sizes.into_iter().enumerate() {
        let x_numbers = random(7 + case as u64, rows * inputs);
        let factors = random(99, outputs);
        for layout in LAYOUTS {
            let mut x = Rows::default();
            let got = same_everywhere(|| {
                let fill = |output: usize, to: &mut [Block]| {
                    to.iter_mut().enumerate().for_each(|(number, to)| *to = block(layout, 3, output, number));
                };
                let weight = Weight::pack([outputs, inputs], layout, Some(&factors), fill);
                let mut x = Rows::default();
                x.quantize(&x_numbers, inputs, layout.block);
                let mut y = vec![f32::NAN; rows * outputs];
                products(&x, &mut [Map { weight: &weight, bias: None, out: &mut y }]);
                y
            });
            x.quantize(&x_numbers, inputs, layout.block);
            let expected = expected(layout, 3, &x, outputs, &factors);
            crate::testing::assert_same_bits(&got, &expected, &format!("{layout:?} {rows} × {inputs} × {outputs}"));
        }
    }
}

#[test]
fn every_byte_of_weight_and_activation_multiplies_right_without_dot_instructions_too() {
    let layout = Layout { values: Values::Eight, block: BLOCK, parts: 1 };
    let fill = |output: usize, to: &mut [Block]| {
        for (number, to) in to.iter_mut().enumerate() {
            to.values = std::array::from_fn(|i| (output * 37 + number * 32 + i) as u8 as i8);
            to.scales = [1.0; PARTS];
        }
    };
    let weight = Weight::pack([16, 256], layout, None, fill);
    let mut x = Rows::default();
    x.quantize(&(0..256).map(|i| i as f32 - 127.5).collect::<Vec<_>>(), 256, BLOCK);
    let mut y = vec![0.0; 16];
    products(&x, &mut [Map { weight: &weight, bias: None, out: &mut y }]);
    #[cfg(target_arch = "x86_64")]
    if crate::cpu::Isa::Avx512.is_supported() {
        let mut plain = vec![0.0; 16];
        let side = Side::new(&x, &weight, None, &mut plain);
        let functions = Functions { tile: tile::avx512::tile, unpack: tile::avx512::unpack, rows: 6 };
        side.unit(&x, 0, 0..1, functions);
        assert_eq!(plain, y);
    }
    let by_hand = |output: usize| {
        let weights = row_of(&weight, output);
        x.dequantized(0).iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(w)).sum::<f64>()
    };
    for (output, &y) in y.iter().enumerate() {
        assert!((f64::from(y) - by_hand(output)).abs() < 0.5, "output {output}: {y} for {}", by_hand(output));
    }
}

#[test]
fn several_maps_share_their_rows_and_each_adds_its_own_bias() {
    let layout = Layout { values: Values::Four, block: BLOCK, parts: 1 };
    let fill = |output: usize, to: &mut [Block]| {
        to.iter_mut().enumerate().for_each(|(number, to)| *to = block(layout, 5, output, number));
    };
    let weights = [40, 7, 128].map(|outputs| Weight::pack([outputs, 64], layout, None, fill));
    let x_numbers = random(1, 9 * 64);
    let mut x = Rows::default();
    x.quantize(&x_numbers, 64, BLOCK);
    let mut out = [40, 7, 128].map(|outputs| vec![0.0; 9 * outputs]);
    let biases = [40, 7, 128].map(|outputs| random(40 + outputs as u64, outputs));
    let mut each = weights.iter().zip(&biases).zip(&mut out);
    let mut maps = [(); 3].map(|()| {
        let ((weight, bias), out) = each.next().unwrap();
        Map { weight, bias: Some(bias), out }
    });
    products(&x, &mut maps);
    for ((weight, bias), out) in weights.iter().zip(&biases).zip(&out) {
        let mut alone = vec![0.0; out.len()];
        products(&x, &mut [Map { weight, bias: None, out: &mut alone }]);
        for (at, (&y, alone)) in out.iter().zip(alone).enumerate() {
            assert_eq!(y, alone + bias[at % weight.outputs()]);
        }
    }
}

#[test]
fn scales_beyond_the_range_of_fp16_are_kept_by_a_factor() {
    let layout = Layout { values: Values::FiveMin, block: BLOCK, parts: 1 };
    for size in [1e-20f32, 3e-6, 7.7e9] {
        let fill = |output: usize, to: &mut [Block]| {
            for (number, to) in to.iter_mut().enumerate() {
                *to = block(layout, 5, output, number);
                to.scales = [size * (1.0 + number as f32 / 3.0); PARTS];
                to.mins = [-size * 3.3; PARTS];
            }
        };
        let weight = Weight::pack([3, 128], layout, None, fill);
        for output in 0..3 {
            for (input, got) in row_of(&weight, output).into_iter().enumerate() {
                let block = block(layout, 5, output, input / BLOCK);
                let value = f32::from(block.values[input % BLOCK]);
                let expected = size * (1.0 + (input / BLOCK) as f32 / 3.0) * value - size * 3.3;
                assert!((got - expected).abs() <= 2e-3 * size * 200.0, "{size}: {got} for {expected}");
            }
        }
    }
}

#[test]
fn activations_are_rounded_to_half_a_step_and_what_is_not_finite_shows() {
    let mut numbers = random(4, 5 * 70);
    numbers[..70].fill(0.0);
    numbers[70] = 1e-38;
    let restored = same_everywhere(|| {
        let mut x = Rows::default();
        x.quantize(&numbers, 70, BLOCK);
        (0..5).flat_map(|row| x.dequantized(row)).collect()
    });
    for (a, b) in numbers.iter().zip(&restored) {
        assert!((a - b).abs() <= 0.502 / 127.0, "{a} became {b}");
    }
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut numbers = numbers.clone();
        numbers[3 * 70 + 69] = poison;
        let mut x = Rows::default();
        x.quantize(&numbers, 70, BLOCK);
        assert!(x.dequantized(3).iter().all(|x| x.is_nan()));
        assert_eq!(x.dequantized(2), restored[140..210]);
    }
}

#[test]
fn every_format_of_blocks_keeps_its_weights_and_multiplies_close_to_f64() {
    use crate::blocks::BlockFormat;
    for format in BlockFormat::ALL.into_iter().filter(|format| !format.is_float()) {
        let (outputs, inputs) = (19, 512);
        let mut bytes = vec![0u8; format.bytes_of(outputs * inputs).unwrap()];
        let chance = random(11, bytes.len());
        bytes.iter_mut().zip(&chance).for_each(|(byte, x)| *byte = ((x + 1.0) * 128.0) as u8);
        // Scales are halves, which chance would make infinite: their upper bytes become those of small numbers.
        for block in bytes.chunks_exact_mut(format.block_bytes()) {
            let (spread, len) = (random(u64::from(block[0]), 4), block.len());
            for (at, spread) in [0, 2, len - 2, len - 4].into_iter().zip(spread) {
                block[at..at + 2].copy_from_slice(&f32_to_f16(spread * 0.05).to_le_bytes());
            }
            if format == BlockFormat::Q8K {
                block[..4].copy_from_slice(&0.013f32.to_le_bytes());
            }
        }
        let mut plain = vec![0.0; outputs * inputs];
        blocks::dequantize(format, &bytes, &mut plain);
        let weight = Weight::from_blocks(format, &bytes, [outputs, inputs]);
        for output in 0..outputs {
            let largest = plain[output * inputs..][..inputs].iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
            for (input, w) in row_of(&weight, output).into_iter().enumerate() {
                let expected = plain[output * inputs + input];
                assert!((w - expected).abs() <= 1e-3 * largest, "{format} {output} {input}: {w} for {expected}");
            }
        }
        let mut x = Rows::default();
        x.quantize(&random(12, inputs), inputs, BLOCK);
        let mut y = vec![0.0; outputs];
        products(&x, &mut [Map { weight: &weight, bias: None, out: &mut y }]);
        let row = x.dequantized(0);
        for (output, &y) in y.iter().enumerate() {
            let terms = row.iter().zip(row_of(&weight, output)).map(|(x, w)| f64::from(*x) * f64::from(w));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
            assert!((f64::from(y) - sum).abs() <= 1e-5 * size, "{format} {output}: {y} for {sum}");
        }
    }
}

#[test]
fn formats_of_few_bits_take_as_many_in_memory() {
    use crate::blocks::BlockFormat;
    for format in BlockFormat::ALL.into_iter().filter(|format| !format.is_float()) {
        let [outputs, inputs] = [64, 1024];
        let bytes = vec![0; format.bytes_of(outputs * inputs).unwrap()];
        let weight = Weight::from_blocks(format, &bytes, [outputs, inputs]);
        let (held, file) = (weight.bytes() as f64, bytes.len() as f64);
        // Scales and minima are 16 bits each, where files have 4 to 8; and 2 and 3 bits are held in 4.
        let most = if matches!(format, BlockFormat::Q2K | BlockFormat::Q3K) { 2.3 } else { 1.12 };
        assert!(held <= most * file, "{format}: {held} bytes for {file}");
    }
}

#[test]
#[should_panic(expected = "parts of 16 inputs")]
fn five_bits_in_parts_that_do_not_fill_vectors_are_refused() {
    Weight::pack([16, 32], Layout { values: Values::Five, block: BLOCK, parts: 2 }, None, |_, _| {});
}
