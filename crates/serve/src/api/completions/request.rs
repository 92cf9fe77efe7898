//! What a completion request may say.

use std::sync::Arc;

use luban_base::random;
use luban_engine::{Request, Sampling};
use serde_json::Value;

use super::fresh_seed;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::app::App;

/// Most answers to one prompt.
const N_MAX: i64 = 8;
/// Most answers in all, prompts × `n`.
const CHOICES_MAX: usize = 32;
/// Most stop strings.
const STOPS_MAX: usize = 4;
/// Most alternatives beside each token.
const LOGPROBS_MAX: i64 = 5;
/// Tokens that are generated where the request does not say.
const MAX_TOKENS_DEFAULT: i64 = 16;

/// A completion request that was checked.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) prompts: Vec<Prompt>,
    /// Answers to each prompt.
    pub(super) n: usize,
    pub(super) stream: bool,
    /// Ends a stream with the token counts.
    pub(super) include_usage: bool,
    /// Gives the prompt back before the answer.
    pub(super) echo: bool,
    /// Alternatives beside each token, where log-probabilities are wanted.
    pub(super) logprobs: Option<usize>,
    max_tokens: usize,
    sampling: Sampling,
    stop: Vec<String>,
}

/// A prompt as text and as tokens.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) text: String,
    pub(super) tokens: Vec<u32>,
}

impl Ask {
    /// Checks every field that is known; others are ignored, as OpenAI's clients expect.
    pub(super) fn read(mut fields: Fields, app: &Arc<App>) -> Result<Self, ApiError> {
        if let Some(model) = fields.text("model")? {
            app.check_model(model)?;
        }
        refuse_unsupported(&fields)?;
        fields.text("user")?;
        let context = app.engine.info().context as i64;
        let (echo, stream) = (fields.flag("echo")?, fields.flag("stream")?);
        let least = i64::from(!echo);
        let max_tokens = fields.integer("max_tokens", least..=context)?;
        // More than the queue holds would be turned away for ever.
        let choices_max = CHOICES_MAX.min(app.engine.queue_max());
        let n = fields.integer("n", 1..=N_MAX.min(choices_max as i64))?.unwrap_or(1) as usize;
        let suffix = suffix(&fields, echo)?;
        let ask = Self {
            n,
            stream,
            include_usage: include_usage(&fields, stream)?,
            echo,
            logprobs: fields.integer("logprobs", 0..=LOGPROBS_MAX)?.map(|count| count as usize),
            max_tokens: max_tokens.unwrap_or(MAX_TOKENS_DEFAULT.min(context)) as usize,
            sampling: sampling(&fields)?,
            stop: stops(fields.take("stop"))?,
            prompts: prompts(fields.take("prompt"), choices_max / n, &Asked { suffix, app })?,
        };
        Ok(ask)
    }

    /// What the engine is asked, a request for each choice: the answers to a prompt stand together.
    pub(super) fn requests(&self) -> Vec<Request> {
        let choices = self.prompts.iter().flat_map(|prompt| (0..self.n).map(move |index| (prompt, index)));
        choices
            .map(|(prompt, index)| {
                // The first answer is the one that the seed gives alone.
                let seed = match index {
                    0 => self.sampling.seed,
                    _ => random::mix(self.sampling.seed ^ random::mix(index as u64)),
                };
                Request {
                    prompt: prompt.tokens.clone(),
                    max_tokens: self.max_tokens,
                    sampling: Sampling { seed, ..self.sampling },
                    stop: self.stop.clone(),
                    logprobs: self.logprobs,
                    prompt_logprobs: self.echo && (self.logprobs.is_some() || self.max_tokens == 0),
                    ..Request::default()
                }
            })
            .collect()
    }
}

/// Fields of the API that would change the answer and that this server does not have: better a refusal than an
/// answer to another question.
fn refuse_unsupported(fields: &Fields) -> Result<(), ApiError> {
    let unsupported = |name| Err(ApiError::field(name, "is not supported by this server"));
    for name in ["presence_penalty", "frequency_penalty"] {
        if fields.number(name, -2.0..=2.0)?.is_some_and(|penalty| penalty != 0.0) {
            return unsupported(name);
        }
    }
    if fields.integer("best_of", 1..=20)?.is_some_and(|best_of| best_of > 1) {
        return unsupported("best_of");
    }
    match fields.get("logit_bias") {
        None => Ok(()),
        Some(Value::Object(bias)) if bias.is_empty() => Ok(()),
        Some(_) => unsupported("logit_bias"),
    }
}

/// The text that follows what is to be written; an empty one says nothing.
fn suffix(fields: &Fields, echo: bool) -> Result<Option<String>, ApiError> {
    match fields.text("suffix")?.filter(|suffix| !suffix.is_empty()) {
        Some(_) if echo => Err(ApiError::field("suffix", "is not supported together with `echo`")),
        suffix => Ok(suffix.map(str::to_owned)),
    }
}

fn include_usage(fields: &Fields, stream: bool) -> Result<bool, ApiError> {
    match fields.get("stream_options") {
        None => Ok(false),
        Some(_) if !stream => Err(ApiError::field("stream_options", "is for streams only")),
        Some(Value::Object(options)) => match options.get("include_usage") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(include)) => Ok(*include),
            Some(_) => Err(ApiError::field("stream_options", "`include_usage` must be true or false")),
        },
        Some(_) => Err(ApiError::field("stream_options", "must be an object")),
    }
}

fn sampling(fields: &Fields) -> Result<Sampling, ApiError> {
    let top_p = fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0) as f32;
    // −1 is how some clients say "all".
    let top_k = fields.integer("top_k", -1..=i64::from(i32::MAX))?.unwrap_or(0).max(0) as usize;
    let seed = fields.integer("seed", i64::MIN..=i64::MAX)?.map_or_else(fresh_seed, |seed| seed as u64);
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0) as f32,
        // No probability at all still leaves the likeliest token.
        top_p: top_p.max(f32::MIN_POSITIVE),
        top_k,
        seed,
    })
}

fn stops(value: Option<Value>) -> Result<Vec<String>, ApiError> {
    let wrong = || ApiError::field("stop", format!("must be a string or an array of at most {STOPS_MAX} strings"));
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(stop)) => Ok(vec![stop]),
        Some(Value::Array(stops)) if stops.len() <= STOPS_MAX => {
            let text = |stop| if let Value::String(stop) = stop { Ok(stop) } else { Err(wrong()) };
            stops.into_iter().map(text).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// What prompts are read with.
struct Asked<'a> {
    /// The text that follows the answer to each.
    suffix: Option<String>,
    app: &'a App,
}

/// A string, an array of strings, an array of tokens, or an array of arrays of tokens.
fn prompts(value: Option<Value>, most: usize, asked: &Asked<'_>) -> Result<Vec<Prompt>, ApiError> {
    let prompts = match value {
        None => vec![Prompt::from_text(String::new(), asked)?],
        Some(Value::String(text)) => vec![Prompt::from_text(text, asked)?],
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => {
            vec![Prompt::from_tokens(items, asked)?]
        }
        Some(Value::Array(items)) => {
            if items.len() > most {
                return Err(ApiError::field("prompt", format!("at most {most} prompts fit in this request")));
            }
            items.into_iter().map(|item| Prompt::from_item(item, asked)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(wrong_prompt()),
    };
    match prompts.is_empty() {
        true => Err(ApiError::field("prompt", "must not be an empty array")),
        false => Ok(prompts),
    }
}

fn wrong_prompt() -> ApiError {
    ApiError::field("prompt", "must be a string, an array of strings, an array of tokens, or an array of those")
}

impl Prompt {
    fn from_item(item: Value, asked: &Asked<'_>) -> Result<Self, ApiError> {
        match item {
            Value::String(text) => Self::from_text(text, asked),
            Value::Array(items) => Self::from_tokens(items, asked),
            _ => Err(wrong_prompt()),
        }
    }

    fn from_text(text: String, Asked { suffix, app }: &Asked<'_>) -> Result<Self, ApiError> {
        let (field, tokens) = match suffix {
            None => ("prompt", app.engine.encode_prompt(&text)),
            Some(suffix) => ("suffix", app.engine.encode_infilling(&text, suffix)),
        };
        let tokens = tokens.map_err(|error| ApiError::field(field, error.to_string()))?;
        Ok(Self { text, tokens })
    }

    fn from_tokens(items: Vec<Value>, Asked { suffix, app }: &Asked<'_>) -> Result<Self, ApiError> {
        if suffix.is_some() {
            return Err(ApiError::field("suffix", "needs a prompt that is text"));
        }
        let vocab = app.engine.info().vocab as u64;
        let token = |item: &Value| item.as_u64().filter(|&token| token < vocab).map(|token| token as u32);
        let tokens = items.iter().map(token).collect::<Option<Vec<u32>>>();
        let tokens =
            tokens.ok_or_else(|| ApiError::field("prompt", format!("tokens must be from 0 to {}", vocab - 1)))?;
        let text =
            app.engine.tokenizer().decode(&tokens).map_err(|error| ApiError::field("prompt", error.to_string()))?;
        Ok(Self { text, tokens })
    }
}
