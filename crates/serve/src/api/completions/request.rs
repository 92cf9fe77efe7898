//! What a completion request may say.

use std::sync::Arc;

use luban_engine::{Grammar, LoadedAdapter, Request};
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::grammar;
use crate::api::sampling::Drawing;
use crate::app::App;
use crate::auth::Tenant;

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

/// A request for answers that was checked.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) prompts: Vec<Prompt>,
    /// Gives the prompt back before the answer.
    pub(super) echo: bool,
    /// Alternatives beside each token, where log-probabilities are wanted.
    pub(super) logprobs: Option<usize>,
    pub(super) max_tokens: usize,
    pub(super) terms: Terms,
}

/// What requests for completions and for chat messages say in the same words.
#[derive(Debug)]
pub(super) struct Terms {
    /// What the name of the model stands for.
    pub(super) adapter: Option<LoadedAdapter>,
    /// Answers to each prompt.
    pub(super) n: usize,
    pub(super) stream: bool,
    /// Ends a stream with the token counts.
    pub(super) include_usage: bool,
    drawing: Drawing,
    grammar: Option<Arc<Grammar>>,
    stop: Vec<String>,
}

/// A prompt as text and as tokens.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) text: String,
    pub(super) tokens: Vec<u32>,
}

impl Terms {
    /// Checks every field that is known; others are ignored, as OpenAI's clients expect.
    pub(super) fn read(fields: &mut Fields, app: &App) -> Result<Self, ApiError> {
        let adapter = match fields.text("model")? {
            Some(model) => app.adapter_of(model)?,
            None => None,
        };
        fields.text("user")?;
        let stream = fields.flag("stream")?;
        let n = fields.integer("n", 1..=N_MAX.min(choices_max(app) as i64))?.unwrap_or(1) as usize;
        Ok(Self {
            adapter,
            n,
            stream,
            include_usage: include_usage(fields, stream)?,
            drawing: Drawing::read(fields, app.engine.info().vocab)?,
            grammar: grammar::read(fields, app)?,
            stop: stops(fields.take("stop"))?,
        })
    }
}

/// Most answers of a request: more than the queue holds would be turned away for ever.
fn choices_max(app: &App) -> usize {
    CHOICES_MAX.min(app.engine.queue_max())
}

impl Ask {
    /// Reads a request for completions.
    pub(super) fn read(mut fields: Fields, app: &Arc<App>) -> Result<Self, ApiError> {
        refuse_unsupported(&fields)?;
        let context = app.engine.info().context as i64;
        let echo = fields.flag("echo")?;
        let max_tokens = fields.integer("max_tokens", i64::from(!echo)..=context)?;
        let suffix = suffix(&fields, echo)?;
        let terms = Terms::read(&mut fields, app)?;
        Ok(Self {
            echo,
            logprobs: fields.integer("logprobs", 0..=LOGPROBS_MAX)?.map(|count| count as usize),
            max_tokens: max_tokens.unwrap_or(MAX_TOKENS_DEFAULT.min(context)) as usize,
            prompts: prompts(fields.take("prompt"), choices_max(app) / terms.n, &Asked { suffix, app })?,
            terms,
        })
    }

    /// What the engine is asked, a request for each choice: the answers to a prompt stand together.
    pub(super) fn requests(&self, tenant: &Tenant) -> Vec<Request> {
        let Drawing { sampling, logit_bias, dry_breakers } = &self.terms.drawing;
        let request = |prompt: &Prompt| {
            let request = Request {
                prompt: prompt.tokens.clone(),
                adapter: self.terms.adapter.clone(),
                tenant: Arc::clone(&tenant.0),
                max_tokens: self.max_tokens,
                sampling: *sampling,
                logit_bias: logit_bias.clone(),
                grammar: self.terms.grammar.clone(),
                stop: self.terms.stop.clone(),
                logprobs: self.logprobs,
                prompt_logprobs: self.echo && (self.logprobs.is_some() || self.max_tokens == 0),
                ..Request::default()
            };
            let breakers = dry_breakers.clone().unwrap_or_else(|| request.dry_breakers.clone());
            Request { dry_breakers: breakers, ..request }.choices(self.terms.n)
        };
        self.prompts.iter().flat_map(request).collect()
    }
}

/// Fields of the API that would change the answer and that this server does not have: better a refusal than an
/// answer to another question.
fn refuse_unsupported(fields: &Fields) -> Result<(), ApiError> {
    match fields.integer("best_of", 1..=20)? {
        Some(best_of) if best_of > 1 => Err(ApiError::field("best_of", "is not supported by this server")),
        _ => Ok(()),
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
