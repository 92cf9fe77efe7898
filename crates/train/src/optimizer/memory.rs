//! What an optimizer remembers of a parameter.

use luban_tensor::Buffer;

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
    /// Muon's.
    Muon {
        /// The running mean of the gradient.
        momentum: Buffer,
    },
}

/// A piece of a state, as checkpoints name it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its values, as many as the parameter has.
    pub values: &'a [f32],
}

impl Memory {
    /// AdamW's, before the first step.
    pub(super) fn adamw(length: usize) -> Self {
        Self::AdamW { first: Buffer::zeroed(length), second: Buffer::zeroed(length) }
    }

    /// Muon's, before the first step.
    pub(super) fn muon(length: usize) -> Self {
        Self::Muon { momentum: Buffer::zeroed(length) }
    }

    /// What it consists of.
    pub fn parts(&self) -> Vec<Part<'_>> {
        match self {
            Self::AdamW { first, second } => {
                vec![Part { name: "first", values: first }, Part { name: "second", values: second }]
            }
            Self::Muon { momentum } => vec![Part { name: "momentum", values: momentum }],
        }
    }

    /// A copy.
    pub fn copied(&self) -> Self {
        match self {
            Self::AdamW { first, second } => {
                Self::AdamW { first: Buffer::copied(first), second: Buffer::copied(second) }
            }
            Self::Muon { momentum } => Self::Muon { momentum: Buffer::copied(momentum) },
        }
    }

    /// One of the same kind, with what `read` gives for each part by its name and length.
    pub(super) fn filled<E>(self, mut read: impl FnMut(&'static str, usize) -> Result<Vec<f32>, E>) -> Result<Self, E> {
        let mut part = |name, old: Buffer| Ok(Buffer::copied(&read(name, old.len())?));
        Ok(match self {
            Self::AdamW { first, second } => {
                Self::AdamW { first: part("first", first)?, second: part("second", second)? }
            }
            Self::Muon { momentum } => Self::Muon { momentum: part("momentum", momentum)? },
        })
    }

    /// Whether it is of the same kind, for as long a parameter.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let shape =
            |memory: &Self| memory.parts().iter().map(|part| (part.name, part.values.len())).collect::<Vec<_>>();
        shape(self) == shape(other)
    }
}
