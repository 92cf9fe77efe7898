//! Sixteen lanes of 32 bits, for products of small integers: whole numbers and floats in the same registers.

/// What the kernels of this folder need of an instruction set. Every operation is exact, or one rounding of IEEE
/// arithmetic, so that all implementations give the same bits.
pub(super) trait Lanes: Copy + 'static {
    /// Sixteen whole numbers or floats, as their bits.
    type Vector: Copy;
    /// Rows of the largest tile.
    const ROWS: usize;
    /// Panels of the largest tile.
    const PANELS: usize;
    /// Vectors of whole sums beside which the registers hold as many of floats.
    const SUMS: usize;

    /// All lanes the same bits.
    fn splat(bits: i32) -> Self::Vector;
    /// # Safety
    /// 64 bytes at `from` must be readable.
    unsafe fn load(from: *const u8) -> Self::Vector;
    /// # Safety
    /// 64 bytes at `to` must be writable.
    unsafe fn store(vector: Self::Vector, to: *mut u8);
    /// The low halves of all bytes, moved up by so many bits, at most four.
    fn low_nibbles(bytes: Self::Vector, up: u32) -> Self::Vector;
    /// The high halves of all bytes, as numbers from 0 to 15, moved up by so many bits.
    fn high_nibbles(bytes: Self::Vector, up: u32) -> Self::Vector;
    /// `upper`, whose bytes have nothing in so many of their lowest bits, with those of `below`.
    fn with_low(upper: Self::Vector, below: Self::Vector, bits: u32) -> Self::Vector;
    /// Each byte moved down by so many bits; what comes in at its upper end is of no account.
    fn move_down(bytes: Self::Vector, bits: u32) -> Self::Vector;
    /// What each byte, from 0 to 15, chooses.
    fn choose(among: &[u8; 16], bytes: Self::Vector) -> Self::Vector;
    /// Adds to each lane the products of its four bytes in `weights` with those in `activations`, which are signed. The
    /// weights are bytes below 64, or where `SIGNED` any bytes that stand for their value less 128.
    ///
    /// Implementations may leave that subtraction to [`Self::start`].
    fn dot<const SIGNED: bool>(weights: Self::Vector, activations: Self::Vector, sum: Self::Vector) -> Self::Vector;
    /// What sums of [`Self::dot`] begin with, given the sum of all activations that will come times minus the weights'
    /// zero.
    fn start<const SIGNED: bool>(correction: i32) -> Self::Vector;
    /// Whole numbers to floats.
    fn to_floats(integers: Self::Vector) -> Self::Vector;
    /// Sixteen fp16 numbers as f32.
    ///
    /// # Safety
    /// 32 bytes at `from` must be readable.
    unsafe fn load_fp16(from: *const u16) -> Self::Vector;
    /// Products of floats.
    fn multiply(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Sums of floats.
    fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c` of floats, rounded once.
    fn fma(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The odd numbers of bf16 pairs, and the even ones, as f32.
    fn halves(pairs: Self::Vector) -> (Self::Vector, Self::Vector);
    /// `sum + a.odd * b.odd`, then `+ a.even * b.even`, of bf16 pairs, each rounded once.
    fn dot_pairs(a: Self::Vector, b: Self::Vector, sum: Self::Vector) -> Self::Vector;
}

/// The portable lanes, and the yardstick for the others.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Portable {
    fn map(vector: [u32; 16], f: impl Fn(u32) -> u32) -> [u32; 16] {
        vector.map(f)
    }
}

impl Lanes for Portable {
    type Vector = [u32; 16];
    const ROWS: usize = 4;
    const PANELS: usize = 1;
    const SUMS: usize = 4;

    #[inline(always)]
    fn splat(bits: i32) -> [u32; 16] {
        [bits as u32; 16]
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> [u32; 16] {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[u32; 16]>().read_unaligned() }.map(u32::from_le)
    }
    #[inline(always)]
    unsafe fn store(vector: [u32; 16], to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[u32; 16]>().write_unaligned(vector.map(u32::to_le)) }
    }
    #[inline(always)]
    fn low_nibbles(bytes: [u32; 16], up: u32) -> [u32; 16] {
        Self::map(bytes, |v| (v & 0x0F0F_0F0F) << up)
    }
    #[inline(always)]
    fn high_nibbles(bytes: [u32; 16], up: u32) -> [u32; 16] {
        Self::map(bytes, |v| ((v >> 4) & 0x0F0F_0F0F) << up)
    }
    #[inline(always)]
    fn with_low(upper: [u32; 16], below: [u32; 16], bits: u32) -> [u32; 16] {
        let mask = 0x0101_0101 * ((1 << bits) - 1);
        std::array::from_fn(|lane| upper[lane] | (below[lane] & mask))
    }
    #[inline(always)]
    fn move_down(bytes: [u32; 16], bits: u32) -> [u32; 16] {
        Self::map(bytes, |v| v >> bits)
    }
    #[inline(always)]
    fn choose(among: &[u8; 16], bytes: [u32; 16]) -> [u32; 16] {
        Self::map(bytes, |v| u32::from_le_bytes(v.to_le_bytes().map(|byte| among[usize::from(byte & 15)])))
    }
    #[inline(always)]
    fn dot<const SIGNED: bool>(weights: [u32; 16], activations: [u32; 16], sum: [u32; 16]) -> [u32; 16] {
        std::array::from_fn(|lane| {
            let (w, a) = (weights[lane].to_le_bytes(), activations[lane].to_le_bytes());
            let product = |i: usize| i32::from(w[i]) * i32::from(a[i] as i8);
            sum[lane].wrapping_add((product(0) + product(1) + product(2) + product(3)) as u32)
        })
    }
    #[inline(always)]
    fn start<const SIGNED: bool>(correction: i32) -> [u32; 16] {
        Self::splat(correction)
    }
    #[inline(always)]
    fn to_floats(integers: [u32; 16]) -> [u32; 16] {
        Self::map(integers, |v| (v as i32 as f32).to_bits())
    }
    #[inline(always)]
    unsafe fn load_fp16(from: *const u16) -> [u32; 16] {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[u16; 16]>().read_unaligned() }.map(|half| crate::blocks::f16_to_f32(half).to_bits())
    }
    #[inline(always)]
    fn multiply(a: [u32; 16], b: [u32; 16]) -> [u32; 16] {
        std::array::from_fn(|i| (f32::from_bits(a[i]) * f32::from_bits(b[i])).to_bits())
    }
    #[inline(always)]
    fn add(a: [u32; 16], b: [u32; 16]) -> [u32; 16] {
        std::array::from_fn(|i| (f32::from_bits(a[i]) + f32::from_bits(b[i])).to_bits())
    }
    #[inline(always)]
    fn fma(a: [u32; 16], b: [u32; 16], c: [u32; 16]) -> [u32; 16] {
        std::array::from_fn(|i| f32::from_bits(a[i]).mul_add(f32::from_bits(b[i]), f32::from_bits(c[i])).to_bits())
    }
    #[inline(always)]
    fn dot_pairs(a: [u32; 16], b: [u32; 16], sum: [u32; 16]) -> [u32; 16] {
        let ((a_odd, a_even), (b_odd, b_even)) = (Self::halves(a), Self::halves(b));
        Self::fma(a_even, b_even, Self::fma(a_odd, b_odd, sum))
    }
    #[inline(always)]
    fn halves(pairs: [u32; 16]) -> ([u32; 16], [u32; 16]) {
        (Self::map(pairs, |v| v & 0xFFFF_0000), Self::map(pairs, |v| v << 16))
    }
}
