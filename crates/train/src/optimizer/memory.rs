//! What an optimizer remembers of a parameter.

use luban_kernels::optim::blocks::{Blocks, Code};
use luban_tensor::Buffer;

use super::States;

/// The state of one parameter.
#[derive(Debug)]
pub enum Memory {
    /// AdamW's running means.
    AdamW {
        /// Of the gradient.
        first: Buffer,
        /// Of its square.
        second: Buffer,
    },
    /// The same in 8 bits.
    AdamW8 {
        /// Of the gradient.
        first: Blocks,
        /// Of its square.
        second: Blocks,
    },
    /// Muon's.
    Muon {
        /// The running mean of the gradient.
        momentum: Buffer,
    },
    /// The same in 8 bits.
    Muon8 {
        /// The running mean of the gradient.
        momentum: Blocks,
    },
}

/// A piece of a state, as checkpoints name it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its numbers.
    pub values: Values<'a>,
}

/// The numbers of a [`Part`].
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// As many as the parameter has, or one for each of its blocks.
    F32(&'a [f32]),
    /// As many as the parameter has.
    I8(&'a [i8]),
}

impl Values<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I8(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where a state is read from.
pub trait Source {
    /// What may go wrong.
    type Error;
    /// So many numbers of the part of this name.
    ///
    /// # Errors
    /// If there are none, or others.
    fn f32(&mut self, part: &'static str, length: usize) -> Result<Vec<f32>, Self::Error>;
    /// So many bytes of the part of this name.
    ///
    /// # Errors
    /// If there are none, or others.
    fn i8(&mut self, part: &'static str, length: usize) -> Result<Vec<i8>, Self::Error>;
}

/// Names of the parts of a state in blocks: of its bytes, and of its scales.
type BlockNames = [&'static str; 2];
const FIRST: BlockNames = ["first-codes", "first-scales"];
const SECOND: BlockNames = ["second-codes", "second-scales"];
const MOMENTUM: BlockNames = ["momentum-codes", "momentum-scales"];

impl Memory {
    /// AdamW's, before the first step.
    pub(super) fn adamw(states: States, length: usize) -> Self {
        match states {
            States::F32 => Self::AdamW { first: Buffer::zeroed(length), second: Buffer::zeroed(length) },
            States::Bits8 => {
                Self::AdamW8 { first: Blocks::zeroed(Code::Signed, length), second: Blocks::zeroed(Code::Root, length) }
            }
        }
    }

    /// Muon's, before the first step.
    pub(super) fn muon(states: States, length: usize) -> Self {
        match states {
            States::F32 => Self::Muon { momentum: Buffer::zeroed(length) },
            States::Bits8 => Self::Muon8 { momentum: Blocks::zeroed(Code::Signed, length) },
        }
    }

    /// What it consists of.
    pub fn parts(&self) -> Vec<Part<'_>> {
        match self {
            Self::AdamW { first, second } => vec![whole("first", first), whole("second", second)],
            Self::AdamW8 { first, second } => [in_blocks(FIRST, first), in_blocks(SECOND, second)].concat(),
            Self::Muon { momentum } => vec![whole("momentum", momentum)],
            Self::Muon8 { momentum } => in_blocks(MOMENTUM, momentum).to_vec(),
        }
    }

    /// A copy.
    pub fn copied(&self) -> Self {
        match self {
            Self::AdamW { first, second } => {
                Self::AdamW { first: Buffer::copied(first), second: Buffer::copied(second) }
            }
            Self::AdamW8 { first, second } => Self::AdamW8 { first: first.clone(), second: second.clone() },
            Self::Muon { momentum } => Self::Muon { momentum: Buffer::copied(momentum) },
            Self::Muon8 { momentum } => Self::Muon8 { momentum: momentum.clone() },
        }
    }

    /// One of the same kind, with what the source gives for each part.
    pub(super) fn filled<S: Source>(self, source: &mut S) -> Result<Self, S::Error> {
        Ok(match self {
            Self::AdamW { first, second } => {
                let first = Buffer::copied(&source.f32("first", first.len())?);
                Self::AdamW { first, second: Buffer::copied(&source.f32("second", second.len())?) }
            }
            Self::AdamW8 { first, second } => {
                Self::AdamW8 { first: read(FIRST, first, source)?, second: read(SECOND, second, source)? }
            }
            Self::Muon { momentum } => {
                Self::Muon { momentum: Buffer::copied(&source.f32("momentum", momentum.len())?) }
            }
            Self::Muon8 { momentum } => Self::Muon8 { momentum: read(MOMENTUM, momentum, source)? },
        })
    }

    /// Whether it is of the same kind, for as long a parameter.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let shape =
            |memory: &Self| memory.parts().iter().map(|part| (part.name, part.values.len())).collect::<Vec<_>>();
        shape(self) == shape(other)
    }
}

fn whole<'a>(name: &'static str, values: &'a [f32]) -> Part<'a> {
    Part { name, values: Values::F32(values) }
}

fn in_blocks<'a>([codes, scales]: BlockNames, blocks: &'a Blocks) -> [Part<'a>; 2] {
    [Part { name: codes, values: Values::I8(blocks.codes()) }, whole(scales, blocks.scales())]
}

fn read<S: Source>([codes, scales]: BlockNames, old: Blocks, source: &mut S) -> Result<Blocks, S::Error> {
    let codes = source.i8(codes, old.len())?;
    Ok(Blocks::from_parts(old.code(), &codes, &source.f32(scales, old.scales().len())?))
}
