//! How files say that a rotation is stretched.

use luban_artifact::gguf::{Entry, Gguf};

use super::Architecture;
use crate::error::Error;
use crate::rotary::frequencies;
use crate::spec::{Position, RotaryScaling, Spec, Yarn};

/// A tensor with what each frequency is divided by.
pub(super) const DIVISORS: &str = "rope_freqs.weight";

const TYPE: &str = "rope.scaling.type";
const FACTOR: &str = "rope.scaling.factor";
/// As [`FACTOR`], in older files.
const OLDER_FACTOR: &str = "rope.scale_linear";
const CONTEXT: &str = "rope.scaling.original_context_length";
const ATTENTION: &str = "rope.scaling.attn_factor";
const FAST: &str = "rope.scaling.yarn_beta_fast";
const SLOW: &str = "rope.scaling.yarn_beta_slow";
const WIDTH: &str = "rope.dimension_count";

/// Where Llama 3.1 and later have the bounds between long and short wavelengths.
const LLAMA3: (f64, f64, usize) = (1.0, 4.0, 8192);
/// How far a divisor may be off what its formula gives: files have them in single precision.
const TOLERANCE: f64 = 1e-3;

/// Reads the scaling into the spec.
pub(super) fn read(architecture: &Architecture, gguf: &Gguf, spec: &mut Spec) -> Result<(), Error> {
    let Position::Rotary { theta } = spec.position else { return Ok(()) };
    let key = |name: &str| architecture.key(name);
    let width = key(WIDTH);
    if gguf.get(&width).is_some_and(|found| found.as_u64() != Some(spec.head_width as u64)) {
        return Err(gguf.wrong(&width, format!("{}, since whole heads are turned", spec.head_width)).into());
    }
    let number = |name: &str| gguf.get(&key(name)).map(|_| gguf.number(&key(name))).transpose();
    let factor = match number(FACTOR)? {
        Some(factor) => Some(factor),
        None => number(OLDER_FACTOR)?,
    };
    // Zero stands for nothing.
    let factor = factor.filter(|&factor| factor != 0.0 && factor != 1.0);
    let kind = if gguf.get(&key(TYPE)).is_some() { gguf.text(&key(TYPE))? } else { "linear" };
    spec.rotary_scaling = match (kind, factor) {
        ("none", _) | ("linear", None) => None,
        ("linear", Some(factor)) => Some(RotaryScaling::Linear { factor }),
        ("yarn", Some(factor)) => Some(RotaryScaling::Yarn(Yarn {
            factor,
            context: match gguf.get(&key(CONTEXT)) {
                Some(_) => usize::try_from(gguf.count(&key(CONTEXT))?).unwrap_or(usize::MAX),
                None => spec.context,
            },
            fast: number(FAST)?.unwrap_or(Yarn::FAST),
            slow: number(SLOW)?.unwrap_or(Yarn::SLOW),
            whole: true,
            attention: number(ATTENTION)?.unwrap_or(1.0) * Yarn::attention_of(factor),
        })),
        ("yarn", None) => None,
        _ => return Err(gguf.wrong(&key(TYPE), "none, linear or yarn").into()),
    };
    if gguf.contains(DIVISORS) {
        spec.rotary_scaling = read_divisors(theta, gguf, spec)?;
    }
    Ok(())
}

/// The scaling whose formula gives the divisors of a file.
fn read_divisors(theta: f64, gguf: &Gguf, spec: &Spec) -> Result<Option<RotaryScaling>, Error> {
    let wrong =
        |expected: &str, found: String| Err(Error::Weight { name: DIVISORS.into(), expected: expected.into(), found });
    let view = gguf.tensor(DIVISORS)?;
    if view.shape != [spec.head_width / 2] || spec.rotary_scaling.is_some() {
        return wrong("one for each pair of a head, and no other scaling", format!("shape {:?}", view.shape));
    }
    let found = view.to_f32();
    let largest = found.iter().fold(1.0_f32, |largest, &divisor| largest.max(divisor));
    let (low, high, context) = LLAMA3;
    let scaling = match largest == 1.0 {
        true => None,
        false => Some(RotaryScaling::Llama3 { factor: f64::from(largest), low, high, context }),
    };
    let expected = divisors(theta, scaling, spec);
    let differs = |(found, expected): (&f32, f64)| {
        let off = (f64::from(*found) / expected - 1.0).abs();
        off.is_nan() || off > TOLERANCE
    };
    match found.iter().zip(expected).any(differs) {
        true => wrong("the divisors of Llama 3's scaling", format!("others, up to {largest}")),
        false => Ok(scaling),
    }
}

/// What each frequency is divided by.
fn divisors(theta: f64, scaling: Option<RotaryScaling>, spec: &Spec) -> Vec<f64> {
    let plain = frequencies(theta, None, spec.head_width, spec.context);
    let scaled = frequencies(theta, scaling, spec.head_width, spec.context);
    plain.into_iter().zip(scaled).map(|(plain, scaled)| plain / scaled).collect()
}

/// Whether files have words for a scaling.
pub(super) fn is_said(scaling: Option<RotaryScaling>) -> bool {
    match scaling {
        None | Some(RotaryScaling::Linear { .. }) => true,
        Some(RotaryScaling::Llama3 { low, high, context, .. }) => (low, high, context) == LLAMA3,
        Some(RotaryScaling::Yarn(yarn)) => yarn.whole,
        Some(RotaryScaling::Ntk { .. }) => false,
    }
}

/// The tensor of divisors, where a model's scaling is said by one.
pub(super) fn write_divisors(spec: &Spec) -> Option<Vec<f32>> {
    let Position::Rotary { theta } = spec.position else { return None };
    let scaling = spec.rotary_scaling.filter(|scaling| matches!(scaling, RotaryScaling::Llama3 { .. }))?;
    Some(divisors(theta, Some(scaling), spec).into_iter().map(|divisor| divisor as f32).collect())
}

/// The metadata of a model's rotation.
pub(super) fn write(architecture: &Architecture, spec: &Spec) -> Vec<Entry> {
    let key = |name: &str| architecture.key(name);
    let mut entries = Vec::new();
    if matches!(spec.position, Position::Rotary { .. }) {
        entries.push(Entry::u32(key(WIDTH), spec.head_width as u32));
    }
    match spec.rotary_scaling {
        Some(RotaryScaling::Linear { factor }) => {
            entries.push(Entry::text(key(TYPE), "linear"));
            entries.push(Entry::f32(key(FACTOR), factor as f32));
        }
        Some(RotaryScaling::Yarn(yarn)) => {
            entries.push(Entry::text(key(TYPE), "yarn"));
            entries.push(Entry::f32(key(FACTOR), yarn.factor as f32));
            entries.push(Entry::u32(key(CONTEXT), yarn.context as u32));
            entries.push(Entry::f32(key(ATTENTION), (yarn.attention / Yarn::attention_of(yarn.factor)) as f32));
            entries.push(Entry::f32(key(FAST), yarn.fast as f32));
            entries.push(Entry::f32(key(SLOW), yarn.slow as f32));
        }
        // Said by a tensor, or by nothing.
        Some(RotaryScaling::Llama3 { .. } | RotaryScaling::Ntk { .. }) | None => {}
    }
    entries
}
