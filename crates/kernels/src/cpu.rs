//! Which instruction set the kernels use, chosen once at run time.
//!
//! All give the same bits, so the choice changes only the speed (bf16 sums below 2⁻¹²⁶ aside, which the dot products of
//! AVX-512 BF16 flush to zero). On some machines those dot products are slower than the multiply-adds of f32 that compute
//! the same: which of the two is faster is measured at first use.
//! `LUBAN_CPU=avx512bf16|avx512bf16fma|avx512|avx2|scalar` forces one.

use std::cell::Cell;
use std::sync::OnceLock;

use crate::limits;

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// As [`Isa::Avx512`], with conversions to bf16 and dot products of bf16 pairs.
    Avx512Bf16,
    /// As [`Isa::Avx512`], with conversions to bf16, whose products are multiply-adds of f32.
    Avx512Bf16Fma,
    /// 16 lanes in one register: AVX-512 F, BW, DQ, VL.
    Avx512,
    /// 16 lanes in two registers: AVX2 with FMA.
    Avx2,
    /// Plain Rust with `f32::mul_add`; runs everywhere, slow where the compiler may not assume fused multiply-add.
    Scalar,
}

impl Isa {
    /// Every instruction set.
    pub const ALL: [Isa; 5] = [Isa::Avx512Bf16, Isa::Avx512Bf16Fma, Isa::Avx512, Isa::Avx2, Isa::Scalar];

    /// The name that `LUBAN_CPU` takes.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::Avx512Bf16Fma => "avx512bf16fma",
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Scalar => "scalar",
        }
    }

    /// Whether this machine can run it.
    pub fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 | Isa::Avx512Bf16Fma => {
                Isa::Avx512.is_supported() && is_x86_feature_detected!("avx512bf16")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_supported()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512Bf16 | Isa::Avx512Bf16Fma | Isa::Avx512 | Isa::Avx2 => false,
            Isa::Scalar => true,
        }
    }

    /// Those that this machine can run.
    pub fn supported() -> impl Iterator<Item = Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_supported())
    }
}

thread_local! {
    static OVERRIDE: Cell<Option<Isa>> = const { Cell::new(None) };
}
static DEFAULT: OnceLock<Isa> = OnceLock::new();

/// The instruction set in use on this thread.
///
/// # Panics
/// At first use, if `LUBAN_CPU` names something unknown or that this machine cannot run.
#[inline]
pub fn isa() -> Isa {
    OVERRIDE.get().unwrap_or_else(|| *DEFAULT.get_or_init(detect))
}

/// Whether products of bf16 are computed by dot products of pairs, which where they are fast do twice the work of a
/// multiply-add of f32. Where they are not (or there are none), factors are best widened to f32 as they are packed.
pub fn bf16_pairs_are_fast() -> bool {
    isa() == Isa::Avx512Bf16
}

/// Whether products of bytes, those of [`crate::quantized::training`], are much faster than any others: where there are
/// instructions for dot products of four bytes.
pub fn bytes_are_fast() -> bool {
    match isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 | Isa::Avx512Bf16Fma | Isa::Avx512 => is_x86_feature_detected!("avx512vnni"),
        _ => false,
    }
}

/// Bytes of a core's second cache, as the processor tells; a cautious guess where it does not.
pub(crate) fn second_cache_bytes() -> usize {
    const GUESS: usize = 1 << 20;
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        const CACHES: u32 = 0x8000_0006;
        if __cpuid(0x8000_0000).eax >= CACHES {
            let kib = (__cpuid(CACHES).ecx >> 16) as usize;
            return if kib > 0 { kib << 10 } else { GUESS };
        }
    }
    GUESS
}

/// Runs `f` with another instruction set, also inside the pool tasks that it starts. For tests and benches.
///
/// # Panics
/// If this machine cannot run it.
pub fn with_isa<T>(isa: Isa, f: impl FnOnce() -> T) -> T {
    assert!(isa.is_supported(), "this machine cannot run {}; it can run: {}", isa.name(), choices());
    let _restore = Restore(OVERRIDE.replace(Some(isa)));
    f()
}

/// Puts the thread's former override back, also on a panic.
struct Restore(Option<Isa>);

impl Drop for Restore {
    fn drop(&mut self) {
        OVERRIDE.set(self.0);
    }
}

fn detect() -> Isa {
    match std::env::var("LUBAN_CPU") {
        Ok(name) => forced(&name),
        Err(_) => fastest(),
    }
}

/// The fastest that this machine can run.
fn fastest() -> Isa {
    let slow = |isa| isa == Isa::Avx512Bf16 && !limits::dot_products_of_pairs_pay();
    Isa::supported().find(|&isa| !slow(isa)).unwrap_or(Isa::Scalar)
}

fn forced(name: &str) -> Isa {
    match Isa::ALL.into_iter().find(|isa| isa.name() == name) {
        Some(isa) if isa.is_supported() => isa,
        Some(_) => panic!("LUBAN_CPU={name}: this machine cannot run it; it can run: {}", choices()),
        None => panic!("LUBAN_CPU={name}: unknown; this machine can run: {}", choices()),
    }
}

fn choices() -> String {
    Isa::supported().map(Isa::name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_holds_inside_and_ends_after() {
        let outside = isa();
        let inside = with_isa(Isa::Scalar, || std::panic::catch_unwind(|| with_isa(Isa::Scalar, isa)).unwrap());
        assert_eq!((inside, isa()), (Isa::Scalar, outside));
    }

    #[test]
    fn an_unknown_name_lists_the_choices() {
        let message = *std::panic::catch_unwind(|| forced("mmx")).unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("mmx") && message.contains("scalar"), "{message}");
        assert_eq!(forced("scalar"), Isa::Scalar);
    }
}
