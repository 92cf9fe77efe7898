//! Running a computation with the instruction set at hand.

#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Simd, scalar};
use crate::cpu;

/// A computation that [`dispatch`] runs with the lanes of the instruction set at hand.
pub(crate) trait Kernel {
    /// What it gives.
    type Output;
    /// Whether it gains by the instructions for bf16 pairs, and so is compiled with them too.
    const BF16: bool = false;
    /// The computation. Implementations must be `#[inline(always)]`.
    fn run<S: Simd>(self) -> Self::Output;
}

/// Runs the kernel with the instruction set in use on this thread.
#[inline]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    match cpu::isa() {
        // SAFETY: `isa` gives only what this machine can run.
        #[cfg(target_arch = "x86_64")]
        cpu::Isa::Avx512Bf16 | cpu::Isa::Avx512Bf16Fma if K::BF16 => unsafe { x86::run_avx512_bf16(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        cpu::Isa::Avx512Bf16 | cpu::Isa::Avx512Bf16Fma | cpu::Isa::Avx512 => unsafe { x86::run_avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        cpu::Isa::Avx2 => unsafe { x86::run_avx2(kernel) },
        _ => kernel.run::<scalar::Scalar>(),
    }
}
