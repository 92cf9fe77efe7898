//! The fields that say how tokens are drawn: OpenAI's, and those that open servers have besides.

use luban_base::random;
use luban_engine::{
    BIAS_MAX, DRY_BASE_MAX, DRY_BREAKERS_MAX, DRY_MULTIPLIER_MAX, LOGIT_BIAS_MAX, REPETITION_PENALTY_MAX, Sampling,
};
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::app::process_entropy;

/// How tokens are drawn, as a request says it.
#[derive(Clone, Debug)]
pub(crate) struct Drawing {
    pub(crate) sampling: Sampling,
    pub(crate) logit_bias: Vec<(u32, f32)>,
    /// Where the request names any.
    pub(crate) dry_breakers: Option<Vec<String>>,
}

impl Drawing {
    /// Reads the fields; each is held against its range.
    pub(crate) fn read(fields: &Fields, vocab: usize) -> Result<Self, ApiError> {
        let sampling = with_dry(fields, with_truncation(fields, with_penalties(fields, Sampling::GREEDY)?)?)?;
        let seed = fields.integer("seed", i64::MIN..=i64::MAX)?.map_or_else(fresh_seed, |seed| seed as u64);
        let temperature = fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0) as f32;
        Ok(Self {
            sampling: Sampling { seed, temperature, ..sampling },
            logit_bias: logit_bias(fields, vocab)?,
            dry_breakers: dry_breakers(fields)?,
        })
    }
}

fn with_penalties(fields: &Fields, sampling: Sampling) -> Result<Sampling, ApiError> {
    let highest = f64::from(REPETITION_PENALTY_MAX);
    Ok(Sampling {
        repetition_penalty: fields.number("repetition_penalty", 1.0 / highest..=highest)?.unwrap_or(1.0) as f32,
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0) as f32,
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0) as f32,
        ..sampling
    })
}

fn with_truncation(fields: &Fields, sampling: Sampling) -> Result<Sampling, ApiError> {
    let share = |name, off| Ok::<_, ApiError>(fields.number(name, 0.0..=1.0)?.unwrap_or(off) as f32);
    // −1 is how some clients say "all".
    let top_k = fields.integer("top_k", -1..=i64::from(i32::MAX))?.unwrap_or(0).max(0) as usize;
    Ok(Sampling {
        top_k,
        // No probability at all still leaves the likeliest token.
        typical_p: share("typical_p", 1.0)?.max(f32::MIN_POSITIVE),
        top_p: share("top_p", 1.0)?.max(f32::MIN_POSITIVE),
        min_p: share("min_p", 0.0)?,
        xtc_probability: share("xtc_probability", 0.0)?,
        xtc_threshold: share("xtc_threshold", f64::from(sampling.xtc_threshold))?,
        ..sampling
    })
}

fn with_dry(fields: &Fields, sampling: Sampling) -> Result<Sampling, ApiError> {
    let whole = i64::from(i32::MAX);
    let multiplier = fields.number("dry_multiplier", 0.0..=f64::from(DRY_MULTIPLIER_MAX))?;
    let base = fields.number("dry_base", 1.0..=f64::from(DRY_BASE_MAX))?;
    let allowed_length = fields.integer("dry_allowed_length", 1..=whole)?;
    // −1 is the whole context; 0 looks at nothing, and so switches DRY off.
    let range = fields.integer("dry_penalty_last_n", -1..=whole)?;
    Ok(Sampling {
        dry_multiplier: multiplier.filter(|_| range != Some(0)).unwrap_or(0.0) as f32,
        dry_base: base.map_or(sampling.dry_base, |base| base as f32),
        dry_allowed_length: allowed_length.map_or(sampling.dry_allowed_length, |length| length as usize),
        dry_range: range.unwrap_or(0).max(0) as usize,
        ..sampling
    })
}

fn dry_breakers(fields: &Fields) -> Result<Option<Vec<String>>, ApiError> {
    const NAME: &str = "dry_sequence_breakers";
    let wrong = || ApiError::field(NAME, format!("must be an array of at most {DRY_BREAKERS_MAX} strings"));
    let Some(value) = fields.get(NAME) else { return Ok(None) };
    let breakers = value.as_array().filter(|breakers| breakers.len() <= DRY_BREAKERS_MAX).ok_or_else(wrong)?;
    let text = |breaker: &Value| breaker.as_str().map(str::to_owned).ok_or_else(wrong);
    breakers.iter().map(text).collect::<Result<_, _>>().map(Some)
}

/// An object of biases by token.
fn logit_bias(fields: &Fields, vocab: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    const NAME: &str = "logit_bias";
    let Some(value) = fields.get(NAME) else { return Ok(Vec::new()) };
    let biases = value.as_object().filter(|biases| biases.len() <= LOGIT_BIAS_MAX).ok_or_else(|| {
        ApiError::field(NAME, format!("must be an object of at most {LOGIT_BIAS_MAX} tokens and their biases"))
    })?;
    let one = |(token, bias): (&String, &Value)| {
        let token = token.parse::<u32>().ok().filter(|&token| (token as usize) < vocab).ok_or_else(|| {
            ApiError::field(NAME, format!("its keys must be tokens, from 0 to {}", vocab.saturating_sub(1)))
        })?;
        let most = f64::from(BIAS_MAX);
        let bias = bias
            .as_f64()
            .filter(|bias| (-most..=most).contains(bias))
            .ok_or_else(|| ApiError::field(NAME, format!("its values must be numbers from {} to {most}", -most)))?;
        Ok((token, bias as f32))
    };
    biases.iter().map(one).collect()
}

/// A seed for a request that names none.
fn fresh_seed() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(1);
    random::mix(process_entropy().rotate_left(32) ^ random::mix(COUNT.fetch_add(1, Ordering::Relaxed)))
}
