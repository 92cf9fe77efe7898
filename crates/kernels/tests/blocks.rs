//! Weights in blocks: read as others read them, written with small errors, and never a panic.

use luban_kernels::blocks::{BlockFormat, Parts, dequantize, f16_to_f32, f32_to_f16, parts, quantize};
use luban_kernels::pool::Pool;

/// Seeded numbers (SplitMix64).
fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Bell-shaped, as weights are: sums of four uniform ones.
fn weights(seed: u64, len: usize) -> Vec<f32> {
    let mut next = random(seed);
    let mut uniform = || (next() >> 40) as f32 / (1 << 24) as f32 - 0.5;
    (0..len).map(|_| (0..4).map(|_| uniform()).sum::<f32>() * 0.07).collect()
}

fn restored(format: BlockFormat, weights: &[f32]) -> Vec<f32> {
    let mut bytes = vec![0; format.bytes_of(weights.len()).unwrap()];
    quantize(format, weights, &mut bytes);
    let mut out = vec![0.0; weights.len()];
    dequantize(format, &bytes, &mut out);
    out
}

fn relative_error(weights: &[f32], restored: &[f32]) -> f64 {
    let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x) * f64::from(x)).sum::<f64>();
    let wrong = squares(&mut weights.iter().zip(restored).map(|(w, r)| w - r));
    (wrong / squares(&mut weights.iter().copied())).sqrt()
}

/// Made by `bench/block_vectors.py` with the `gguf` package.
#[test]
fn blocks_read_as_others_read_them() {
    let mut seen = Vec::new();
    for line in include_str!("vectors/blocks.txt").lines() {
        let mut words = line.split(' ');
        let format: BlockFormat = words.next().unwrap().parse().unwrap();
        let hex = words.next().unwrap();
        let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len() / 2).map(byte).collect();
        let expected: Vec<f32> = words.map(|word| f32::from_bits(u32::from_str_radix(word, 16).unwrap())).collect();
        assert_eq!((bytes.len(), expected.len()), (format.block_bytes(), format.block_len()), "{format}");
        let mut found = vec![0.0; expected.len()];
        dequantize(format, &bytes, &mut found);
        assert_eq!(found, expected, "{format}");
        seen.push(format);
    }
    assert!(BlockFormat::ALL.iter().all(|format| *format == BlockFormat::F32 || seen.contains(format)));
}

#[test]
fn parts_say_what_the_numbers_are() {
    let mut next = random(5);
    for format in BlockFormat::ALL.into_iter().filter(|format| !format.is_float()) {
        let block: Vec<u8> = (0..format.block_bytes()).map(|_| next() as u8).collect();
        let (mut apart, mut numbers) = (Parts::default(), vec![0.0; format.block_len()]);
        parts(format, &block, &mut apart);
        dequantize(format, &block, &mut numbers);
        assert_eq!(apart.sub_block, format.sub_block());
        for (i, number) in numbers.iter().enumerate() {
            let group = i / apart.sub_block;
            let expected = apart.scales[group] * f32::from(apart.values[i]) + apart.mins[group];
            assert_eq!(expected.to_bits(), number.to_bits(), "{format}, number {i}");
            assert!(format.has_mins() || apart.mins[group] == 0.0, "{format}");
        }
    }
}

#[test]
fn written_blocks_have_small_errors() {
    // Bounds a tenth above what these weights give.
    let bounds = [
        (BlockFormat::F32, 0.0),
        (BlockFormat::F16, 3e-4),
        (BlockFormat::Bf16, 2e-3),
        (BlockFormat::Q8_0, 6e-3),
        (BlockFormat::Q8K, 8e-3),
        (BlockFormat::Q6K, 0.02),
        (BlockFormat::Q5K, 0.04),
        (BlockFormat::Q5_1, 0.04),
        (BlockFormat::Q5_0, 0.045),
        (BlockFormat::Q4K, 0.08),
        (BlockFormat::Q4_1, 0.08),
        (BlockFormat::Q4_0, 0.09),
        (BlockFormat::Q3K, 0.17),
        (BlockFormat::Q2K, 0.32),
    ];
    let weights = weights(1, 64 * 256);
    for (format, bound) in bounds {
        let error = relative_error(&weights, &restored(format, &weights));
        println!("{format}: {error:.5}");
        assert!(error <= bound && error >= 0.6 * bound, "{format}: {error}, bound {bound}");
    }
    let written = BlockFormat::ALL.iter().filter(|format| format.is_written()).count();
    assert_eq!(written, bounds.len(), "a bound for each format that is written");
}

#[test]
fn unusual_blocks_are_written_too() {
    let tiny = f32::from_bits(1);
    type Weight = fn(usize) -> f32;
    let cases: [(&str, f64, Weight); 7] = [
        ("zeros", 0.0, |_| 0.0),
        ("all the same", 0.08, |_| 0.3),
        ("all the same, below zero", 0.08, |_| -0.3),
        ("one alone", 0.08, |i| if i == 77 { -4.0 } else { 0.0 }),
        ("far from zero", 0.35, |i| 10.0 + i as f32 / 300.0),
        ("far from zero, below it", 0.35, |i| -10.0 - i as f32 / 300.0),
        ("two values", 0.35, |i| if i % 3 == 0 { -1.0 } else { 1.0 }),
    ];
    for format in BlockFormat::ALL.into_iter().filter(|format| format.is_written()) {
        for (what, bound, weight) in cases {
            let weights: Vec<f32> = (0..256).map(weight).collect();
            let restored = restored(format, &weights);
            let error = if bound == 0.0 { 0.0 } else { relative_error(&weights, &restored) };
            assert!(error <= bound, "{format}, {what}: {error}");
            assert!(bound > 0.0 || restored.iter().all(|&r| r == 0.0), "{format}, {what}");
        }
        for magnitude in [tiny, f32::MIN_POSITIVE, 1e-20, 1e20, 3e38] {
            let weights: Vec<f32> = (0..256).map(|i| if i % 2 == 0 { magnitude } else { -magnitude }).collect();
            assert!(restored(format, &weights).iter().all(|r| r.is_finite()), "{format}, {magnitude}");
        }
    }
}

#[test]
fn any_bytes_are_read() {
    let mut next = random(6);
    for format in BlockFormat::ALL {
        for _ in 0..200 {
            let blocks = 2048 / format.block_len();
            let bytes: Vec<u8> = (0..blocks * format.block_bytes()).map(|_| next() as u8).collect();
            dequantize(format, &bytes, &mut vec![0.0; blocks * format.block_len()]);
        }
    }
}

#[test]
fn threads_change_nothing() {
    let weights = weights(2, 256 * 256);
    for format in [BlockFormat::Q4_0, BlockFormat::Q6K] {
        let one = Pool::new(1).install(|| restored(format, &weights));
        assert_eq!(Pool::new(3).install(|| restored(format, &weights)), one, "{format}");
    }
}

#[test]
fn halves_are_rounded_to_the_nearest() {
    for half in 0..=u16::MAX {
        let number = f16_to_f32(half);
        if number.is_finite() {
            assert_eq!(f32_to_f16(number), half);
        }
    }
    // Halfway between neighbours, to the even one; a little more, up.
    for half in 0..0x7bff_u16 {
        let middle = (f16_to_f32(half) + f16_to_f32(half + 1)) / 2.0;
        assert_eq!(f32_to_f16(middle), half + half % 2);
        assert_eq!(f32_to_f16(f32::from_bits(middle.to_bits() + 1)), half + 1);
    }
    assert_eq!(f16_to_f32(f32_to_f16(1e9)), 65504.0);
    assert_eq!(f16_to_f32(f32_to_f16(f32::NEG_INFINITY)), -65504.0);
    assert!(f16_to_f32(f32_to_f16(f32::NAN)).is_nan());
}

#[test]
fn names_and_numbers_lead_back() {
    for format in BlockFormat::ALL {
        assert_eq!(BlockFormat::from_gguf_id(format.gguf_id()), Some(format));
        assert_eq!(format.name().to_lowercase().parse(), Ok(format));
    }
    assert_eq!(BlockFormat::from_gguf_id(4), None);
    assert_eq!(BlockFormat::Q4K.bytes_of(300), None);
}
