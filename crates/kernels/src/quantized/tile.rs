//! The register kernels: a few rows of quantized activations times a few panels of packed weights.

use super::lanes::Lanes;

/// Outputs of a panel.
pub(super) const PANEL: usize = 16;
/// What the halves of bytes of [`Kind::Uneven`] stand for: the steps of IQ4_NL, moved up by 128.
const STEPS: [u8; 16] = {
    let (mut steps, mut at) = ([0; 16], 0);
    while at < 16 {
        steps[at] = (crate::blocks::UNEVEN_STEPS[at] as u8).wrapping_add(128);
        at += 1;
    }
    steps
};
/// Arguments of a tile: the sums over some blocks of inputs go to `c`, or are added to what stands there.
///
/// Safety of running it: everything that the strides and counts reach must be readable, and `c` writable by this thread
/// alone. Every panel of `c` has 16 columns.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub rows: usize,
    pub panels: usize,
    /// Blocks, and the inputs of one.
    pub blocks: usize,
    pub block: usize,
    /// Parts of a block that have scales of their own: 1 or 2.
    pub parts: usize,
    pub x: Activations,
    pub w: Weights,
    pub ahead: Ahead,
    pub c: *mut f32,
    pub c_row: usize,
    pub from_c: bool,
}

/// The rows' side. Strides are in elements.
#[derive(Clone, Copy)]
pub(super) struct Activations {
    pub values: *const i8,
    pub values_row: usize,
    /// One for each block.
    pub scales: *const f32,
    pub scales_row: usize,
    /// Of each part of a block, the sum of its values times minus the weights' zero.
    pub starts: *const i32,
    /// Of each part of a block, the sum of its values times its scale.
    pub sums: *const f32,
    pub parts_row: usize,
}

/// The weights' side. Strides are from panel to panel.
#[derive(Clone, Copy)]
pub(super) struct Weights {
    pub values: *const u8,
    pub values_panel: usize,
    /// fp16, for each part of a block 16 numbers.
    pub scales: *const u16,
    /// As the scales, or null where the weights have none.
    pub mins: *const u16,
    pub parts_panel: usize,
    /// One number for each output, or null: what the complete sums are multiplied by.
    pub factors: *const f32,
    /// One number for each output, or null: what is added to that.
    pub bias: *const f32,
}

/// The weights that come next, which are asked for meanwhile: all tiles of the present weights take turns, so that memory
/// is busy as long as the products are. They may be any addresses, since nothing is read from them here.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pub w: Weights,
    /// Bits that each of them has in memory.
    pub bits: usize,
    /// This tile asks for the part of this number, and for each that is a multiple of `turns` further on.
    pub turn: usize,
    pub turns: usize,
}

/// How weights lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Half a byte each.
    Four,
    /// Half a byte each, that chooses one of [`STEPS`], bytes less 128.
    Uneven,
    /// Half a byte each for the upper bits, and one bit below them in the bytes that follow on those of a part.
    Five,
    /// Half a byte each for the upper bits, and two below them.
    Six,
    /// A byte each, of at most six bits.
    Small,
    /// A byte each, less 128.
    Eight,
}

impl Kind {
    /// Bits of a weight in memory.
    pub fn bits(self) -> usize {
        match self {
            Self::Four | Self::Uneven => 4,
            Self::Five => 5,
            Self::Six => 6,
            Self::Small | Self::Eight => 8,
        }
    }

    /// What its weights become when each is unpacked to a byte.
    pub fn unpacked(self) -> Self {
        match self {
            Self::Uneven | Self::Eight => Self::Eight,
            Self::Four | Self::Five | Self::Six | Self::Small => Self::Small,
        }
    }

    /// Whether its weights are less than a byte each.
    pub fn is_packed(self) -> bool {
        self.bits() < 8
    }
}

/// A tile of any size on the given lanes.
///
/// # Safety
/// See [`Tile`].
#[inline(always)]
pub(super) unsafe fn run<L: Lanes>(kind: Kind, tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe {
        match kind {
            Kind::Four => panels::<L, 4, false>(tile),
            Kind::Uneven => panels::<L, 4, true>(tile),
            Kind::Five => panels::<L, 5, false>(tile),
            Kind::Six => panels::<L, 6, false>(tile),
            Kind::Small => panels::<L, 8, false>(tile),
            Kind::Eight => panels::<L, 8, true>(tile),
        }
    }
}

/// # Safety
/// See [`Tile`].
#[inline(always)]
unsafe fn panels<L: Lanes, const BITS: usize, const SIGNED: bool>(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe {
        if L::PANELS == 4 && tile.panels == 4 {
            rows::<L, BITS, SIGNED, 4>(tile);
        } else {
            // No closure: it would be compiled without the instructions.
            for panel in 0..tile.panels {
                rows::<L, BITS, SIGNED, 1>(&tile.panel(panel));
            }
        }
    }
}

/// # Safety
/// See [`Tile`].
#[inline(always)]
unsafe fn rows<L: Lanes, const BITS: usize, const SIGNED: bool, const P: usize>(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe {
        match tile.rows {
            1 => sized::<L, BITS, SIGNED, 1, P>(tile),
            2 => sized::<L, BITS, SIGNED, 2, P>(tile),
            3 => sized::<L, BITS, SIGNED, 3, P>(tile),
            4 => sized::<L, BITS, SIGNED, 4, P>(tile),
            5 if L::ROWS > 4 => sized::<L, BITS, SIGNED, 5, P>(tile),
            6 if L::ROWS > 4 => sized::<L, BITS, SIGNED, 6, P>(tile),
            rows => unreachable!("a tile of {rows} rows"),
        }
    }
}

/// # Safety
/// See [`Tile`].
#[inline(always)]
unsafe fn sized<L: Lanes, const BITS: usize, const SIGNED: bool, const R: usize, const P: usize>(tile: &Tile) {
    let x = tile.x;
    let mut kept = [[L::splat(0); P]; R];
    let mut floats = &mut kept;
    // SAFETY: the caller's promise.
    unsafe {
        if tile.from_c {
            for (r, floats) in floats.iter_mut().enumerate() {
                for (p, floats) in floats.iter_mut().enumerate() {
                    *floats = L::load(tile.c.add(r * tile.c_row + p * PANEL).cast());
                }
            }
        }
        let mut until = tile.ahead.turn;
        for part in 0..tile.blocks * tile.parts {
            let asks = until == 0;
            until = if asks { tile.ahead.turns } else { until } - 1;
            let mut sums = [[L::splat(0); P]; R];
            for (r, sums) in sums.iter_mut().enumerate() {
                *sums = [L::start::<SIGNED>(*x.starts.add(r * x.parts_row + part)); P];
            }
            if asks {
                ask_scales::<P>(tile, part);
            }
            if BITS < 8 {
                packed_part::<L, BITS, SIGNED, R, P>(tile, part, asks, &mut sums);
            } else {
                part_of_bytes::<L, SIGNED, R, P>(tile, part, asks, &mut sums);
            }
            if R * P > L::SUMS {
                // They do not fit the registers beside the whole sums: better in memory on purpose, lined up and touched
                // once a part, than where the compiler spills them.
                floats = std::hint::black_box(floats);
            }
            scale::<L, R, P>(tile, part, sums, floats);
        }
        finish::<L, R, P>(tile, floats);
    }
}

/// Adds the products of a part whose weights are less than a byte each.
///
/// # Safety
/// See [`Tile`].
#[inline(always)]
unsafe fn packed_part<L: Lanes, const BITS: usize, const SIGNED: bool, const R: usize, const P: usize>(
    tile: &Tile,
    part: usize,
    asks: bool,
    sums: &mut [[L::Vector; P]; R],
) {
    let (Tile { x, w, .. }, quads) = (*tile, tile.quads());
    let lines = part * quads * BITS / 8;
    // SAFETY: the caller's promise.
    unsafe {
        let (values, weights) = (x.values.add(part * quads * 4), w.values.add(lines * 64));
        let mut below = [L::splat(0); P];
        for pair in 0..quads / 2 {
            if let Some(line) = line_below::<BITS>(quads, pair) {
                for (p, below) in below.iter_mut().enumerate() {
                    *below = L::load(weights.add(p * w.values_panel + line * 64));
                }
                if asks {
                    ask_values::<P>(tile, lines + line);
                }
            }
            for half in 0..2 {
                let mut columns = [L::splat(0); P];
                for (p, columns) in columns.iter_mut().enumerate() {
                    let bytes = L::load(weights.add(p * w.values_panel + pair * 64));
                    *columns = quad::<L, BITS, SIGNED>(bytes, half, &mut below[p]);
                }
                dots::<L, SIGNED, R, P>(values.add((2 * pair + half) * 4), x.values_row, columns, sums);
            }
            if asks {
                ask_values::<P>(tile, lines + pair);
            }
        }
    }
}

/// Adds the products of a part whose weights are bytes.
///
/// # Safety
/// See [`Tile`].
#[inline(always)]
unsafe fn part_of_bytes<L: Lanes, const SIGNED: bool, const R: usize, const P: usize>(
    tile: &Tile,
    part: usize,
    asks: bool,
    sums: &mut [[L::Vector; P]; R],
) {
    let (Tile { x, w, .. }, quads) = (*tile, tile.quads());
    // SAFETY: the caller's promise.
    unsafe {
        let (values, weights) = (x.values.add(part * quads * 4), w.values.add(part * quads * 64));
        for quad in 0..quads {
            let mut columns = [L::splat(0); P];
            for (p, columns) in columns.iter_mut().enumerate() {
                *columns = L::load(weights.add(p * w.values_panel + quad * 64));
            }
            dots::<L, SIGNED, R, P>(values.add(quad * 4), x.values_row, columns, sums);
            // A line of these bytes was so many bits of a line in memory: one that begins within them is asked for.
            let (bits, packed) = ((part * quads + quad) * tile.ahead.bits, tile.ahead.bits);
            if asks && bits % 8 < packed {
                ask_values::<P>(tile, bits / 8);
            }
        }
    }
}

/// The line of a part that holds the lowest bits of the quads from this pair on, if it is the first that needs it.
#[inline(always)]
fn line_below<const BITS: usize>(quads: usize, pair: usize) -> Option<usize> {
    let bits = 2 * pair * (BITS - 4);
    (BITS > 4 && bits.is_multiple_of(8)).then_some(quads / 2 + bits / 8)
}

/// Four inputs of each output as bytes: the low (0) or the high (1) halves of `bytes`, and beneath them what `below` has
/// lowest, which is moved on.
#[inline(always)]
fn quad<L: Lanes, const BITS: usize, const SIGNED: bool>(
    bytes: L::Vector,
    half: usize,
    below: &mut L::Vector,
) -> L::Vector {
    let room = BITS as u32 - 4;
    let upper = if half == 0 { L::low_nibbles(bytes, room) } else { L::high_nibbles(bytes, room) };
    if SIGNED {
        return L::choose(&STEPS, upper);
    }
    if room == 0 {
        return upper;
    }
    let all = L::with_low(upper, *below, room);
    *below = L::move_down(*below, room);
    all
}

/// Adds the products of four inputs of each row with four of each output.
///
/// # Safety
/// Four bytes of each row must be readable.
#[inline(always)]
unsafe fn dots<L: Lanes, const SIGNED: bool, const R: usize, const P: usize>(
    values: *const i8,
    row: usize,
    columns: [L::Vector; P],
    sums: &mut [[L::Vector; P]; R],
) {
    for (r, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        let quad = L::splat(unsafe { values.add(r * row).cast::<i32>().read_unaligned() });
        for (sum, columns) in sums.iter_mut().zip(columns) {
            *sum = L::dot::<SIGNED>(columns, quad, *sum);
        }
    }
}

/// Adds whole sums of a part to the floats: times the row's scale, times the output's.
///
/// # Safety
/// See [`Tile`].
#[inline(always)]
unsafe fn scale<L: Lanes, const R: usize, const P: usize>(
    tile: &Tile,
    part: usize,
    sums: [[L::Vector; P]; R],
    floats: &mut [[L::Vector; P]; R],
) {
    // Parts are one or two.
    let Tile { x, w, parts, .. } = *tile;
    // SAFETY: the caller's promise.
    unsafe {
        let (mut scales, mut mins) = ([L::splat(0); P], [L::splat(0); P]);
        for (p, scales) in scales.iter_mut().enumerate() {
            *scales = L::load_fp16(w.scales.add(p * w.parts_panel + part * PANEL));
        }
        if w.mins.is_null() {
            for r in 0..R {
                let own = L::splat((*x.scales.add(r * x.scales_row + (part >> (parts - 1)))).to_bits() as i32);
                for p in 0..P {
                    let sum = L::multiply(L::to_floats(sums[r][p]), own);
                    floats[r][p] = L::fma(sum, scales[p], floats[r][p]);
                }
            }
            return;
        }
        for (p, mins) in mins.iter_mut().enumerate() {
            *mins = L::load_fp16(w.mins.add(p * w.parts_panel + part * PANEL));
        }
        for r in 0..R {
            let own = L::splat((*x.scales.add(r * x.scales_row + (part >> (parts - 1)))).to_bits() as i32);
            let own_sum = L::splat((*x.sums.add(r * x.parts_row + part)).to_bits() as i32);
            for p in 0..P {
                let sum = L::multiply(L::to_floats(sums[r][p]), own);
                floats[r][p] = L::fma(own_sum, mins[p], L::fma(sum, scales[p], floats[r][p]));
            }
        }
    }
}

/// # Safety
/// See [`Tile`].
#[inline(always)]
unsafe fn finish<L: Lanes, const R: usize, const P: usize>(tile: &Tile, floats: &[[L::Vector; P]; R]) {
    // SAFETY: the caller's promise.
    unsafe {
        for (r, floats) in floats.iter().enumerate() {
            for (p, &floats) in floats.iter().enumerate() {
                let mut floats = floats;
                if !tile.w.factors.is_null() {
                    floats = L::multiply(floats, L::load(tile.w.factors.add(p * PANEL).cast()));
                }
                if !tile.w.bias.is_null() {
                    floats = L::add(floats, L::load(tile.w.bias.add(p * PANEL).cast()));
                }
                L::store(floats, tile.c.add(r * tile.c_row + p * PANEL).cast());
            }
        }
    }
}

/// Asks for the values of each panel that come next, 64 bytes of it.
#[inline(always)]
fn ask_values<const P: usize>(tile: &Tile, line: usize) {
    let Weights { values, values_panel, .. } = tile.ahead.w;
    for p in 0..P {
        crate::simd::prefetch(values.wrapping_add(p * values_panel + line * 64).cast());
    }
}

/// Asks for the scales and minima of each panel that come next, those of one part.
#[inline(always)]
fn ask_scales<const P: usize>(tile: &Tile, part: usize) {
    let Weights { scales, mins, parts_panel, .. } = tile.ahead.w;
    for p in 0..P {
        crate::simd::prefetch(scales.wrapping_add(p * parts_panel + part * PANEL).cast());
        if !mins.is_null() {
            crate::simd::prefetch(mins.wrapping_add(p * parts_panel + part * PANEL).cast());
        }
    }
}

impl Tile {
    /// Quads of inputs of a part.
    #[inline(always)]
    fn quads(&self) -> usize {
        self.block / 4 / self.parts
    }

    /// The tile of one of its panels.
    ///
    /// # Safety
    /// See [`Tile`].
    unsafe fn panel(&self, panel: usize) -> Self {
        // SAFETY: the caller's promise.
        let c = unsafe { self.c.add(panel * PANEL) };
        let ahead = Ahead { w: self.ahead.w.panel(panel), ..self.ahead };
        Self { panels: 1, w: self.w.panel(panel), ahead, c, ..*self }
    }
}

impl Weights {
    /// From one of the panels on.
    fn panel(&self, panel: usize) -> Self {
        let of = |start: *const u16| if start.is_null() { start } else { start.wrapping_add(panel * self.parts_panel) };
        let own = |start: *const f32| if start.is_null() { start } else { start.wrapping_add(panel * PANEL) };
        let values = self.values.wrapping_add(panel * self.values_panel);
        Self {
            values,
            scales: of(self.scales),
            mins: of(self.mins),
            factors: own(self.factors),
            bias: own(self.bias),
            ..*self
        }
    }
}

/// Parts of a panel, of so many quads each, to bytes.
///
/// # Safety
/// All parts must be readable, and as many bytes writable as they have values.
#[inline(always)]
unsafe fn unpack<L: Lanes>(kind: Kind, from: *const u8, [parts, quads]: [usize; 2], to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match kind {
            Kind::Four => unpack_bits::<L, 4, false>(from, [parts, quads], to),
            Kind::Uneven => unpack_bits::<L, 4, true>(from, [parts, quads], to),
            Kind::Five => unpack_bits::<L, 5, false>(from, [parts, quads], to),
            Kind::Six => unpack_bits::<L, 6, false>(from, [parts, quads], to),
            Kind::Small | Kind::Eight => from.copy_to_nonoverlapping(to, parts * quads * 64),
        }
    }
}

/// # Safety
/// See [`unpack`].
#[inline(always)]
unsafe fn unpack_bits<L: Lanes, const BITS: usize, const SIGNED: bool>(
    from: *const u8,
    [parts, quads]: [usize; 2],
    to: *mut u8,
) {
    for part in 0..parts {
        // SAFETY: the caller's promise.
        unsafe {
            let (from, to) = (from.add(part * quads * BITS / 8 * 64), to.add(part * quads * 64));
            let mut below = L::splat(0);
            for pair in 0..quads / 2 {
                if let Some(line) = line_below::<BITS>(quads, pair) {
                    below = L::load(from.add(line * 64));
                }
                let bytes = L::load(from.add(pair * 64));
                for half in 0..2 {
                    L::store(quad::<L, BITS, SIGNED>(bytes, half, &mut below), to.add((2 * pair + half) * 64));
                }
            }
        }
    }
}

/// The tile and the unpacking, compiled for an instruction set.
macro_rules! compiled {
    ($name:ident, $lanes:ty, $($features:literal)?) => {
        pub(super) mod $name {
            use super::*;

            /// # Safety
            /// See [`Tile`]; the machine must have the instructions.
            $(#[target_feature(enable = $features)])?
            pub unsafe fn tile(kind: Kind, tile: &Tile) {
                // SAFETY: the caller's promise.
                unsafe { run::<$lanes>(kind, tile) }
            }
            /// # Safety
            /// See [`super::unpack`]; the machine must have the instructions.
            $(#[target_feature(enable = $features)])?
            pub unsafe fn unpack(kind: Kind, from: *const u8, parts: [usize; 2], to: *mut u8) {
                // SAFETY: the caller's promise.
                unsafe { super::unpack::<$lanes>(kind, from, parts, to) }
            }
        }
    };
}
compiled!(portable, super::super::lanes::Portable,);
#[cfg(target_arch = "x86_64")]
compiled!(avx512_vnni, super::super::x86::Wide<true, false>, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
compiled!(avx512, super::super::x86::Wide<false, false>, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
compiled!(avx2, super::super::x86::Narrow, "avx2,fma,f16c");

/// The functions of an instruction set.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub tile: unsafe fn(Kind, &Tile),
    pub unpack: unsafe fn(Kind, *const u8, [usize; 2], *mut u8),
    /// Rows of the largest tile.
    pub rows: usize,
}

/// Those of the instruction set in use on this thread.
pub(super) fn functions() -> Functions {
    use crate::cpu::Isa;
    let portable = Functions { tile: portable::tile, unpack: portable::unpack, rows: 4 };
    match crate::cpu::isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 | Isa::Avx512Bf16Fma | Isa::Avx512 => match is_x86_feature_detected!("avx512vnni") {
            true => Functions { tile: avx512_vnni::tile, unpack: avx512_vnni::unpack, rows: 6 },
            false => Functions { tile: avx512::tile, unpack: avx512::unpack, rows: 6 },
        },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if is_x86_feature_detected!("f16c") => Functions { tile: avx2::tile, unpack: avx2::unpack, rows: 4 },
        Isa::Avx2 | Isa::Scalar => portable,
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512Bf16 | Isa::Avx512Bf16Fma | Isa::Avx512 => portable,
    }
}
