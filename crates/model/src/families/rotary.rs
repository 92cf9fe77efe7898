//! How configurations say what rotation a model has, older ones and newer ones.

use serde_json::{Map, Value, json};

use super::config::Config;
use crate::error::Error;
use crate::spec::{Local, RotaryScaling, Spec, Yarn};

/// A rotation: its base, and how it is stretched.
pub(super) struct Rotation {
    pub theta: f64,
    pub scaling: Option<RotaryScaling>,
}

/// Where the base of a rotation stands in older configurations, and what it is where it stands nowhere.
#[derive(Clone, Copy)]
pub(super) struct Base {
    pub field: &'static str,
    pub theta: f64,
}

impl Base {
    /// Of most models.
    pub const USUAL: Self = Self { field: "rope_theta", theta: 10_000.0 };
}

/// Reads a rotation. Newer configurations have an object `rope_parameters`, older ones fields of their own and an
/// object `rope_scaling`.
pub(super) fn read(config: &Config<'_>, base: Base) -> Result<Rotation, Error> {
    match config.object("rope_parameters")? {
        Some(parameters) => read_object(config, &parameters, base),
        None => read_older(config, base, config.object("rope_scaling")?),
    }
}

/// Reads the rotation of one kind of layers, which newer configurations name within `rope_parameters`. Older ones
/// stretch that of the full layers only.
pub(super) fn read_of_layers(config: &Config<'_>, kind: &str, base: Base) -> Result<Rotation, Error> {
    let parameters = config.object("rope_parameters")?;
    match parameters.as_ref().map(|parameters| parameters.object(kind)).transpose()?.flatten() {
        Some(parameters) => read_object(config, &parameters, base),
        None if kind == FULL => read_older(config, base, config.object("rope_scaling")?),
        None => read_older(config, base, None),
    }
}

fn read_older(config: &Config<'_>, base: Base, scaling: Option<Config<'_>>) -> Result<Rotation, Error> {
    refuse_partial(config)?;
    let theta = config.number_or(base.field, base.theta)?;
    match scaling {
        Some(object) => {
            Ok(Rotation { theta: object.number_or("rope_theta", theta)?, ..read_object(config, &object, base)? })
        }
        None => Ok(Rotation { theta, scaling: None }),
    }
}

fn read_object(config: &Config<'_>, object: &Config<'_>, base: Base) -> Result<Rotation, Error> {
    refuse_partial(object)?;
    let theta = match object.get("rope_theta") {
        Some(_) => object.number_or("rope_theta", base.theta)?,
        None => config.number_or(base.field, base.theta)?,
    };
    let field = if object.get("rope_type").is_some() { "rope_type" } else { "type" };
    let kind = if object.get(field).is_some() { object.text(field)? } else { "default" };
    let factor = || object.number("factor");
    let scaling = match kind {
        "default" => None,
        "linear" => Some(RotaryScaling::Linear { factor: factor()? }),
        "llama3" => Some(RotaryScaling::Llama3 {
            factor: factor()?,
            low: object.number("low_freq_factor")?,
            high: object.number("high_freq_factor")?,
            context: object.size("original_max_position_embeddings")?,
        }),
        "dynamic" => Some(RotaryScaling::Ntk { factor: factor()?, context: old_context(config, object)? }),
        "yarn" => Some(RotaryScaling::Yarn(read_yarn(config, object)?)),
        other => {
            let known = "this program scales rotary positions by linear, dynamic, llama3 and yarn only";
            return Err(Error::Config(format!("{field} is \"{other}\"; {known}")));
        }
    };
    Ok(Rotation { theta, scaling })
}

/// The context that a rotation was trained with first; the model's own where a configuration has no other.
fn old_context(config: &Config<'_>, object: &Config<'_>) -> Result<usize, Error> {
    let field = "original_max_position_embeddings";
    match config.get(field) {
        Some(_) => config.size(field),
        None => object.size_or(field, config.size("max_position_embeddings")?),
    }
}

fn read_yarn(config: &Config<'_>, object: &Config<'_>) -> Result<Yarn, Error> {
    let context = old_context(config, object)?;
    let factor = match object.get("factor") {
        Some(_) => object.number("factor")?,
        None => config.size("max_position_embeddings")? as f64 / context.max(1) as f64,
    };
    // Zero stands for nothing in these.
    let or = |field: &str, default: f64| {
        Ok::<_, Error>(Some(object.number_or(field, 0.0)?).filter(|&n| n != 0.0).unwrap_or(default))
    };
    let (weight, weight_all) = (or("mscale", 0.0)?, or("mscale_all_dim", 0.0)?);
    let attention = match object.get("attention_factor") {
        Some(_) => object.number("attention_factor")?,
        None if weight != 0.0 && weight_all != 0.0 => {
            Yarn::attention_by(factor, weight) / Yarn::attention_by(factor, weight_all)
        }
        None => Yarn::attention_of(factor),
    };
    Ok(Yarn {
        factor,
        context,
        fast: or("beta_fast", Yarn::FAST)?,
        slow: or("beta_slow", Yarn::SLOW)?,
        whole: object.flag_or("truncate", true)?,
        attention,
    })
}

fn refuse_partial(config: &Config<'_>) -> Result<(), Error> {
    let whole = |value: &Value| value.as_f64() == Some(1.0);
    config.refuse_unless("partial_rotary_factor", whole, "this program turns whole heads")
}

/// The object `rope_scaling` of older configurations, which newer programs read too.
pub(super) fn write_scaling(spec: &Spec) -> Value {
    match spec.rotary_scaling {
        None => Value::Null,
        Some(RotaryScaling::Linear { factor }) => json!({ "rope_type": "linear", "factor": factor }),
        Some(RotaryScaling::Llama3 { factor, low, high, context }) => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": context,
        }),
        Some(RotaryScaling::Ntk { factor, context }) => json!({
            "rope_type": "dynamic",
            "factor": factor,
            "original_max_position_embeddings": context,
        }),
        Some(RotaryScaling::Yarn(yarn)) => json!({
            "rope_type": "yarn",
            "factor": yarn.factor,
            "original_max_position_embeddings": yarn.context,
            "beta_fast": yarn.fast,
            "beta_slow": yarn.slow,
            "truncate": yarn.whole,
            "attention_factor": yarn.attention,
        }),
    }
}

/// The base of a spec's common rotation; 0 where it has none, which no family reads back.
pub(super) fn theta(spec: &Spec) -> f64 {
    match spec.position {
        crate::spec::Position::Rotary { theta } => theta,
        crate::spec::Position::Learned => 0.0,
    }
}

/// What configurations call layers that see everything, and those that see what is near.
pub(super) const FULL: &str = "full_attention";
pub(super) const SLIDING: &str = "sliding_attention";

/// Which layers see what is near only: by `layer_types`, or where that is missing by `otherwise`.
pub(super) fn local_layers(
    config: &Config<'_>,
    layers: usize,
    otherwise: impl Fn(usize) -> bool,
) -> Result<Vec<bool>, Error> {
    let Some(types) = config.get("layer_types") else { return Ok((0..layers).map(otherwise).collect()) };
    let kind = |kind: &Value| match kind.as_str() {
        Some(FULL) => Some(false),
        Some(SLIDING) => Some(true),
        _ => None,
    };
    let read = types.as_array().and_then(|types| types.iter().map(kind).collect());
    read.ok_or_else(|| Error::Config(format!("layer_types is {types}; expected a list of {FULL} and {SLIDING}")))
}

/// The layers with near sight, where there is any.
pub(super) fn local(reach: usize, theta: Option<f64>, layers: Vec<bool>) -> Option<Local> {
    layers.contains(&true).then_some(Local { reach, theta, layers })
}

/// The list `layer_types`.
pub(super) fn write_layer_types(spec: &Spec) -> Value {
    (0..spec.layers).map(|layer| Value::from(if spec.is_local(layer) { SLIDING } else { FULL })).collect()
}

/// A number, written without a point where it is a whole one.
pub(super) fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 { Value::from(number as i64) } else { Value::from(number) }
}

/// More fields for a configuration.
pub(super) fn with(mut config: Value, fields: Value) -> Value {
    if let (Value::Object(config), Value::Object(fields)) = (&mut config, fields) {
        config.extend::<Map<String, Value>>(fields);
    }
    config
}
