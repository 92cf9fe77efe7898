//! What this machine can do at most: memory reads and arithmetic in registers. Each measurement takes a third of a
//! second and gives its best window, since other programs may run beside it.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::buffer::Buffer;
use crate::cpu;
use crate::simd::{Kernel, LANES, Simd, dispatch};

const WINDOW: Duration = Duration::from_millis(60);
const WINDOWS: usize = 5;
/// Bytes that all threads read together: far more than the caches hold.
const READ_BYTES: usize = 256 << 20;
/// Instructions on each accumulator in one call of a loop in registers.
const ROUNDS: usize = 4096;

/// Memory read by `threads` threads together, in GB/s.
///
/// # Panics
/// If `threads` is zero.
pub fn read_bandwidth_gb_s(threads: usize) -> f64 {
    assert!(threads > 0, "a measurement by no threads");
    let memory = Buffer::<f32>::zeroed(READ_BYTES / size_of::<f32>());
    let part = memory.len() / threads / (4 * LANES) * (4 * LANES);
    measure(threads, |thread| {
        let part = &memory[thread * part..][..part];
        black_box(dispatch(Read(part)));
        size_of_val(part)
    })
}

/// f32 multiply-adds in registers by `threads` threads together, in GFLOP/s, with the instruction set in use.
///
/// # Panics
/// If `threads` is zero.
pub fn peak_f32_gflops(threads: usize) -> f64 {
    let isa = cpu::isa();
    measure(threads, |_| cpu::with_isa(isa, || dispatch(MultiplyAdds(ROUNDS))))
}

/// How products of bf16 with sums in f32 are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bf16Way {
    /// By dot products of pairs.
    Pairs,
    /// By multiply-adds of f32, two for each pair.
    F32,
}

impl Bf16Way {
    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pairs => "pairs",
            Self::F32 => "f32",
        }
    }
}

/// bf16 multiply-adds in registers, in GFLOP/s, by the faster of the ways that the machine has.
///
/// # Panics
/// If `threads` is zero.
pub fn peak_bf16_gflops(threads: usize) -> (f64, Bf16Way) {
    let wide = peak_f32_gflops(threads);
    match peak_pairs_gflops(threads) {
        Some(pairs) if pairs > wide => (pairs, Bf16Way::Pairs),
        _ => (wide, Bf16Way::F32),
    }
}

/// Dot products of bf16 pairs in registers, in GFLOP/s, where the machine has the instruction.
///
/// # Panics
/// If `threads` is zero.
pub fn peak_pairs_gflops(threads: usize) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if cpu::Isa::Avx512Bf16.is_supported() {
        // SAFETY: the machine has the instructions.
        return Some(measure(threads, |_| unsafe { x86::bf16(ROUNDS) }));
    }
    let _ = threads;
    None
}

/// Whether a dot product of bf16 pairs takes less time than the two multiply-adds of f32 that compute the same. Measured
/// in some tens of microseconds, by the best of a few tries of each in turn, since other programs may run beside it.
pub(crate) fn dot_products_of_pairs_pay() -> bool {
    #[cfg(target_arch = "x86_64")]
    if cpu::Isa::Avx512Bf16.is_supported() {
        const TRIES: usize = 8;
        const ROUNDS: usize = 256;
        /// Seconds of an operation.
        fn seconds(work: impl FnOnce() -> usize) -> f64 {
            let start = Instant::now();
            let operations = work();
            start.elapsed().as_secs_f64() / operations as f64
        }
        let (mut pairs, mut wide) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..TRIES {
            // SAFETY: the machine has the instructions.
            pairs = pairs.min(seconds(|| unsafe { x86::bf16(ROUNDS) }));
            wide = wide.min(seconds(|| cpu::with_isa(cpu::Isa::Avx512, || dispatch(MultiplyAdds(ROUNDS)))));
        }
        return pairs < wide;
    }
    false
}

/// int8 multiply-adds in registers, in GOP/s, where the machine has the instruction.
///
/// # Panics
/// If `threads` is zero.
pub fn peak_int8_gops(threads: usize) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the machine has the instructions.
        return Some(measure(threads, |_| unsafe { x86::int8(ROUNDS) }));
    }
    let _ = threads;
    None
}

/// Runs `work(thread)` over and over; gives what it counts, in 1e9 a second for all threads together.
fn measure(threads: usize, work: impl Fn(usize) -> usize + Sync) -> f64 {
    assert!(threads > 0, "a measurement by no threads");
    let barrier = Barrier::new(threads);
    let windows = |thread: usize| -> Vec<f64> {
        barrier.wait();
        let window = || {
            let (start, mut count) = (Instant::now(), 0);
            while start.elapsed() < WINDOW {
                count += work(thread);
            }
            count as f64 / start.elapsed().as_secs_f64() / 1e9
        };
        (0..WINDOWS).map(|_| window()).collect()
    };
    let rates: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let windows = &windows;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || windows(thread))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    });
    (0..WINDOWS).map(|w| rates.iter().map(|rate| rate[w]).sum()).fold(0.0, f64::max)
}

struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self) -> f32 {
        let mut sums = [S::splat(0.0); 4];
        for chunk in self.0.chunks_exact(4 * LANES) {
            for (l, sum) in sums.iter_mut().enumerate() {
                *sum = *sum + S::at(chunk, l * LANES);
            }
        }
        ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
    }
}

/// So many rounds of multiply-adds of f32.
struct MultiplyAdds(usize);

impl Kernel for MultiplyAdds {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self) -> usize {
        if S::ACCUMULATORS >= 12 { multiply_adds::<S, 12>(self.0) } else { multiply_adds::<S, 6>(self.0) }
    }
}

/// Keeps `N` independent chains going; gives the floating-point operations.
#[inline(always)]
fn multiply_adds<S: Simd, const N: usize>(rounds: usize) -> usize {
    let (factor, addend) = (S::splat(black_box(0.999)), S::splat(black_box(0.001)));
    let mut sums = [S::splat(1.0); N];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.fma(factor, addend);
        }
    }
    let mut total = S::splat(0.0);
    for sum in sums {
        total = total + sum;
    }
    black_box(total.sum());
    rounds * N * LANES * 2
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    const CHAINS: usize = 12;
    const REGISTER_BYTES: usize = 64;

    /// Operations of one call: a multiply and an add for each element of the narrow operand.
    const fn operations(rounds: usize, element_bytes: usize) -> usize {
        rounds * CHAINS * REGISTER_BYTES / element_bytes * 2
    }

    /// # Safety
    /// The machine must have the instructions.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn bf16(rounds: usize) -> usize {
        let start = _mm512_set1_ps(black_box(1.0));
        // SAFETY: both are 64 bytes without invalid values.
        let pairs: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi16(black_box(0x3F80))) };
        let mut sums = [start; CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, pairs, pairs);
            }
        }
        let total = sums.into_iter().fold(start, |total, sum| _mm512_add_ps(total, sum));
        black_box(_mm512_cvtss_f32(total));
        operations(rounds, 2)
    }

    /// # Safety
    /// The machine must have the instructions.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn int8(rounds: usize) -> usize {
        let start = _mm512_set1_epi32(black_box(1));
        let bytes = _mm512_set1_epi8(black_box(1));
        let mut sums = [start; CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, bytes, bytes);
            }
        }
        let total = sums.into_iter().fold(start, |total, sum| _mm512_add_epi32(total, sum));
        black_box(_mm512_cvtsi512_si32(total));
        operations(rounds, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_plausible() {
        assert!(read_bandwidth_gb_s(1) > 0.1);
        assert!(peak_f32_gflops(2) > 0.1);
        let (bf16, way) = peak_bf16_gflops(1);
        assert!(bf16 > 0.1);
        assert!(peak_pairs_gflops(1).is_some() || way == Bf16Way::F32);
        assert!(peak_int8_gops(1).is_none_or(|int8| int8 > 0.1));
    }
}
