//! The engine: a model, a tokenizer, and a thread that answers requests.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use luban_artifact::ModelFiles;
use luban_base::digest::Digest;
use luban_kernels::pool::{self, Pool};
use luban_model::Spec;
use luban_model::spec::Head;
use luban_text::grammar::Grammar;
use luban_text::{Sentinels, Tokenizer};

use crate::CacheFormat;
use crate::adapters::{Adapters, LoadedAdapter};
use crate::answer::{self, Answer};
use crate::backend::ModelBackend;
use crate::blocks::BLOCK_TOKENS;
use crate::error::{Error, Result};
use crate::files;
use crate::inbox::{Inbox, QueueLimits};
use crate::live::Common;
use crate::masks::Guides;
use crate::queue::Submission;
use crate::request::{self, Event, Refused, Request};
use crate::sampling::Chooser;
use crate::sampling::settings::Sampling;
use crate::serving::{ServingModel, block_bytes};
use crate::speculation::{Drafter, GUESSES_MAX, Speculation};
use crate::spelling::Spellings;
use crate::stats::{Counters, Stats};
use crate::worker::{Limits, Parts, Worker};

/// How much an engine may do at once.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Longest sequence, prompt and answer together; the model's own, or what the cache holds, where not given.
    pub context: Option<usize>,
    /// Most sequences that are worked on at a time.
    pub sequences_max: usize,
    /// Most requests that wait.
    pub queue_max: usize,
    /// Most requests of one tenant that wait; as many as of all where not given.
    pub tenant_queue_max: Option<usize>,
    /// Whether what a request leaves in the cache serves later ones of its tenant that begin alike.
    pub prefix_cache: bool,
    /// Tokens that one step takes: how long the others wait while a long prompt is read.
    pub step_tokens_max: usize,
    /// Memory for the keys and values of all sequences; more only where one `context` needs it.
    pub cache_bytes_max: u64,
    /// How they are held: in half or a quarter of the memory, an answer is that of rounded keys and values, and as much
    /// the same whatever else the engine does.
    pub cache: CacheFormat,
    /// How tokens are guessed ahead; no answer changes by it.
    pub speculation: Speculation,
    /// Threads for the model; all cores where not given.
    pub threads: Option<usize>,
}

impl EngineOptions {
    /// Most tokens that a step may take.
    pub const STEP_TOKENS_MAX: usize = 1 << 16;
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            context: None,
            sequences_max: 16,
            queue_max: 64,
            tenant_queue_max: None,
            prefix_cache: true,
            step_tokens_max: 256,
            cache_bytes_max: 1 << 30,
            cache: CacheFormat::F32,
            speculation: Speculation::default(),
            threads: None,
        }
    }
}

/// What an engine serves.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// The name of the model's folder.
    pub name: String,
    /// The artifact's identity, or the digest over a plain folder's files.
    pub digest: Option<Digest>,
    /// Whether a manifest vouches for the files.
    pub managed: bool,
    /// Number of parameters.
    pub parameters: usize,
    /// `f32` or `int8`.
    pub precision: &'static str,
    /// Bytes that the weights take in memory.
    pub weight_bytes: u64,
    /// Bytes that 64 positions take in the cache.
    pub cache_block_bytes: u64,
    /// Bytes of them that a step reads that takes one token.
    pub step_bytes: u64,
    /// Bytes of the cache of keys and values; what was never used takes no memory.
    pub cache_bytes: u64,
    /// Longest sequence.
    pub context: usize,
    /// Entries of the vocabulary.
    pub vocab: usize,
}

/// Where an engine's model comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// What to call the model.
    pub name: String,
    /// Its identity, if it has one.
    pub digest: Option<Digest>,
    /// Whether a manifest vouches for it.
    pub managed: bool,
    /// Tokens that end an answer, besides the tokenizer's own.
    pub ends: Vec<u32>,
}

/// Answers requests on its own thread, many at a time. Dropping it stops it at once.
#[derive(Debug)]
pub struct Engine {
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    tokenizer: Arc<Tokenizer>,
    spellings: Spellings,
    guides: Guides,
    adapters: Adapters,
    info: ModelInfo,
    blocks_total: usize,
    queue_max: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Loads the model in a folder and starts.
    ///
    /// # Errors
    /// A folder that holds no model that generates text, damaged files, or options out of range.
    pub fn load(dir: &Path, options: EngineOptions) -> Result<Self> {
        let model_files = ModelFiles::open(dir)?;
        let tokenizer = files::tokenizer(&model_files)?;
        let model = ServingModel::load(&model_files)?;
        let origin = Origin {
            name: files::name(dir),
            digest: Some(model_files.digest()?),
            managed: model_files.is_managed(),
            ends: files::end_tokens(&model_files)?,
        };
        Self::start(model, tokenizer, origin, options)
    }

    /// Starts with a model that is in memory; engines may share one.
    ///
    /// # Errors
    /// A model that does not generate text, a tokenizer that does not fit it, or options out of range.
    pub fn start(
        model: impl Into<Arc<ServingModel>>,
        tokenizer: impl Into<Arc<Tokenizer>>,
        origin: Origin,
        options: EngineOptions,
    ) -> Result<Self> {
        let (model, tokenizer) = (model.into(), tokenizer.into());
        check(&model, &tokenizer, &options)?;
        let sizes = Sizes::of(&model, &options);
        let info = ModelInfo {
            name: origin.name,
            digest: origin.digest,
            managed: origin.managed,
            parameters: model.spec().parameters(),
            precision: model.precision(),
            weight_bytes: model.weight_bytes(),
            cache_block_bytes: block_bytes(model.spec(), options.cache),
            step_bytes: model.step_bytes(),
            cache_bytes: sizes.blocks as u64 * block_bytes(model.spec(), options.cache),
            context: sizes.context,
            vocab: model.spec().vocab,
        };
        let mut ends: Vec<u32> = tokenizer.ends().iter().copied().chain(origin.ends).collect();
        ends.sort_unstable();
        ends.dedup();
        let ends_of_answers = ends.clone();
        let total_max = options.queue_max;
        let queue = QueueLimits { total_max, tenant_max: options.tenant_queue_max.unwrap_or(total_max) };
        let (inbox, counters) = (Arc::new(Inbox::new(queue)), Arc::new(Counters::default()));
        let parts = Parts {
            backend: ModelBackend::new(Arc::clone(&model), options.cache, sizes.blocks, &options.speculation.drafter),
            blocks_total: sizes.blocks,
            common: Common {
                tokenizer: Arc::clone(&tokenizer),
                ends,
                context: sizes.context,
                remembers: options.prefix_cache,
            },
            limits: sizes.limits,
            speculation: options.speculation,
            inbox: Arc::clone(&inbox),
            counters: Arc::clone(&counters),
        };
        let thread = Mutex::new(Some(spawn(Worker::new(parts), options.threads)?));
        let (blocks_total, queue_max) = (sizes.blocks, options.queue_max);
        let (spellings, guides) = (Spellings::default(), Guides::new(ends_of_answers));
        let adapters = Adapters::new(model);
        Ok(Self { inbox, counters, tokenizer, spellings, guides, adapters, info, blocks_total, queue_max, thread })
    }

    /// What is served.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Tokens that end an answer.
    pub(crate) fn ends(&self) -> &[u32] {
        self.guides.ends()
    }

    /// Most requests that wait, and so most that [`Self::submit_all`] takes at a time.
    pub fn queue_max(&self) -> usize {
        self.queue_max
    }

    /// What the engine has done and is doing.
    pub fn stats(&self) -> Stats {
        self.counters.snapshot(self.inbox.len(), self.blocks_total)
    }

    /// The tokens of a prompt, with the special ones that the model expects before it. An empty prompt is the
    /// beginning of a document.
    ///
    /// # Errors
    /// A text that the tokenizer cannot encode.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = self.tokenizer.encode_special(text, None)?.ids;
        if tokens.is_empty() {
            tokens.extend(self.tokenizer.eos());
        }
        Ok(tokens)
    }

    /// The tokens that ask for what stands between two texts.
    ///
    /// # Errors
    /// A model whose tokenizer has no tokens for it, or texts that it cannot encode.
    pub fn encode_infilling(&self, before: &str, after: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode_infilling(before, after)?.ok_or_else(|| Error::Unsupported {
            what: "fill in the middle",
            why: format!("its tokenizer has no tokens for it ({})", Sentinels::spelling()),
        })
    }

    /// Asks for an answer.
    ///
    /// # Errors
    /// A request out of range, a full queue, or an engine that is shutting down; at once.
    pub fn submit(&self, request: Request) -> Result<Answer, Refused> {
        let mut answers = self.submit_all(vec![request])?;
        answers.pop().ok_or(Refused::ShuttingDown)
    }

    /// Asks for several answers: all of them are taken, or none. A prompt that several requests in succession have in
    /// common is read once.
    ///
    /// # Errors
    /// As [`Self::submit`]; requests of different tenants.
    pub fn submit_all(&self, requests: Vec<Request>) -> Result<Vec<Answer>, Refused> {
        let limits = request::Limits { vocab: self.info.vocab, context: self.info.context };
        requests.iter().try_for_each(|request| request.check(limits))?;
        if requests.iter().filter_map(|request| request.adapter.as_ref()).any(|one| !one.is_of(self.adapters.model())) {
            return Err(request::invalid("adapter", "it was loaded for another model"));
        }
        if requests.windows(2).any(|pair| pair[0].tenant != pair[1].tenant) {
            return Err(Refused::Invalid { field: "tenant", what: "it must be the same for all".into() });
        }
        let mut submissions: Vec<Submission> = Vec::new();
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            let (reply, answer) = answer::channel();
            answers.push(answer);
            let chooser = self.chooser(&request)?;
            let submission = Submission { chooser, ..Submission::new(request, reply) };
            match submissions.last_mut() {
                Some(last) if last.is_sibling_of(&submission) => last.siblings.push(submission),
                _ => submissions.push(submission),
            }
        }
        self.inbox.submit(submissions, answers.len())?;
        Ok(answers)
    }

    /// Loads an adapter that was trained for the model: a folder as PEFT writes it, or a GGUF file. Requests can have it
    /// as soon as this returns; the others go on meanwhile.
    ///
    /// # Errors
    /// A name that is taken or not plain, too many adapters, or one that is damaged, not supported or made for another
    /// model.
    pub fn load_adapter(&self, name: &str, path: &Path) -> Result<LoadedAdapter> {
        self.adapters.load(name, path)
    }

    /// The adapters that are loaded, in the order in which they were.
    pub fn adapters(&self) -> Vec<LoadedAdapter> {
        self.adapters.list()
    }

    /// The adapter of a name.
    pub fn adapter(&self, name: &str) -> Option<LoadedAdapter> {
        self.adapters.find(name)
    }

    /// Drops an adapter: it is not found any more. Requests that have it go on to their ends, and its memory is given
    /// back with the last of them. Nothing if none is loaded under the name.
    pub fn drop_adapter(&self, name: &str) -> Option<LoadedAdapter> {
        self.adapters.drop(name)
    }

    /// Whether answers can be kept to a grammar; it is then ready for requests.
    ///
    /// # Errors
    /// A grammar that is too large, damaged, or that asks for what cannot be guaranteed.
    pub fn check_grammar(&self, grammar: &Grammar) -> Result<()> {
        self.guides.compile(&self.tokenizer, grammar).map(drop)
    }

    fn chooser(&self, request: &Request) -> Result<Chooser, Refused> {
        let breakers = match request.sampling.dry_multiplier > 0.0 {
            true => self.spellings.breakers(&self.tokenizer, &request.dry_breakers),
            false => [].into(),
        };
        let guide = request.grammar.as_deref().map(|grammar| self.guides.guide(&self.tokenizer, grammar));
        let guide = guide.transpose().map_err(|error| request::invalid("grammar", error.to_string()))?;
        Ok(Chooser::new(request, breakers, guide))
    }

    /// Continues a text, and waits for the whole answer.
    ///
    /// # Errors
    /// As [`Self::submit`], and if the engine cannot complete the answer.
    pub fn generate(&self, prompt: &str, max_tokens: usize, sampling: Sampling) -> Result<String> {
        let request = Request { prompt: self.encode_prompt(prompt)?, max_tokens, sampling, ..Request::default() };
        let mut answer = String::new();
        for event in self.submit(request)? {
            match event {
                Event::Prompt(_) => {}
                Event::Token { text, .. } | Event::Finished { text, .. } => answer.push_str(&text),
                Event::Failed(why) => return Err(Error::Failed(why)),
            }
        }
        Ok(answer)
    }

    /// Whether requests are taken.
    pub fn is_open(&self) -> bool {
        self.inbox.is_open()
    }

    /// Takes no more requests; those that were taken have `grace` to finish, then they end as cancelled. Does not
    /// wait; a later call can only shorten the time.
    pub fn begin_drain(&self, grace: Duration) {
        self.inbox.drain(Instant::now() + grace);
    }

    /// As [`Self::begin_drain`], and waits until the engine has stopped: at most the grace time and one step.
    pub fn drain(&self, grace: Duration) {
        self.begin_drain(grace);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread catches its panics.
            let _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.drain(Duration::ZERO);
    }
}

/// What a cache may take in any case: a block of every model that fits this machine.
const CACHE_BYTES_MIN: u64 = 64 << 20;

fn check(model: &ServingModel, tokenizer: &Tokenizer, options: &EngineOptions) -> Result<()> {
    let spec = model.spec();
    let unsupported = |why: String| Err(Error::Unsupported { what: "generate text", why });
    if !spec.causal || !matches!(spec.head, Head::Vocabulary { .. }) {
        return unsupported("it is no decoder with a head over the vocabulary".into());
    }
    if tokenizer.vocab_size() > spec.vocab {
        let (tokens, rows) = (tokenizer.vocab_size(), spec.vocab);
        return unsupported(format!("its tokenizer has {tokens} tokens, its vocabulary {rows}"));
    }
    check_drafter(spec, &options.speculation)?;
    let block = block_bytes(spec, options.cache);
    if options.context.is_none() && block > options.cache_bytes_max.max(CACHE_BYTES_MIN) {
        let most = options.cache_bytes_max;
        return unsupported(format!("{BLOCK_TOKENS} positions take {block} bytes of cache; it may have {most}"));
    }
    let bounds = [
        ("the context", options.context, spec.context),
        ("the number of sequences", Some(options.sequences_max), 4096),
        ("the length of the queue", Some(options.queue_max), 1 << 20),
        ("the length of a tenant's queue", options.tenant_queue_max, 1 << 20),
        ("the number of tokens a step", Some(options.step_tokens_max), EngineOptions::STEP_TOKENS_MAX),
        ("the number of threads", options.threads, pool::THREADS_MAX),
    ];
    for (what, found, most) in bounds {
        if let Some(found) = found {
            within(what, found, 1, most)?;
        }
    }
    Ok(())
}

fn within(what: &'static str, found: usize, least: usize, most: usize) -> Result<()> {
    match (least..=most).contains(&found) {
        true => Ok(()),
        false => {
            let expected = format!("it must be from {least} to {most}");
            Err(Error::Option { what, found: found.to_string(), expected })
        }
    }
}

fn check_drafter(spec: &Spec, speculation: &Speculation) -> Result<()> {
    within("the number of tokens guessed ahead", speculation.tokens_max, 0, GUESSES_MAX)?;
    match &speculation.drafter {
        Drafter::None => Ok(()),
        Drafter::Early(layers) => within("the number of layers that guess", *layers, 1, spec.layers.saturating_sub(1)),
        Drafter::Model(model) => {
            let other = model.spec();
            let decodes = other.causal && matches!(other.head, Head::Vocabulary { .. });
            match decodes && other.vocab == spec.vocab {
                true => within("the context of the model that guesses", other.context, spec.context, usize::MAX),
                false => {
                    let why = format!("it must be a decoder with the same vocabulary of {}", spec.vocab);
                    Err(Error::Unsupported { what: "guess for the other", why })
                }
            }
        }
    }
}

/// Activations that a step keeps at a time, in numbers: 64 MiB of the widest rows, whatever a model's shape.
const ACTIVATIONS_MAX: usize = 16 << 20;

/// How long sequences may be, how many cache blocks there are, and what a step takes.
struct Sizes {
    context: usize,
    blocks: usize,
    limits: Limits,
}

impl Sizes {
    fn of(model: &ServingModel, options: &EngineOptions) -> Self {
        let affordable = (options.cache_bytes_max / block_bytes(model.spec(), options.cache)).max(1);
        let affordable = usize::try_from(affordable).unwrap_or(usize::MAX);
        let own = model.spec().context;
        let context = options.context.unwrap_or(own.min(affordable.saturating_mul(BLOCK_TOKENS)));
        let for_one = context.div_ceil(BLOCK_TOKENS);
        let for_all = for_one.saturating_mul(options.sequences_max);
        let spec = model.spec();
        let widest = spec.ffn_width_max().max(spec.query_width()).max(spec.width);
        let limits = Limits {
            sequences_max: options.sequences_max.min((ACTIVATIONS_MAX / spec.vocab).max(1)),
            step_tokens_max: options.step_tokens_max.min((ACTIVATIONS_MAX / widest).max(1)),
            logit_rows_max: (ACTIVATIONS_MAX / spec.vocab).max(1),
        };
        Self { context, blocks: affordable.clamp(for_one, for_all), limits }
    }
}

fn spawn(mut worker: Worker<ModelBackend>, threads: Option<usize>) -> Result<JoinHandle<()>> {
    let run = move || {
        let inbox = Arc::clone(&worker.inbox);
        let outcome = catch_unwind(AssertUnwindSafe(|| match threads {
            Some(threads) => Pool::shared(threads).install(|| worker.run()),
            None => worker.run(),
        }));
        if outcome.is_err() {
            // Whoever waits must not wait for ever; dropping what is left tells them.
            drop(inbox.close());
        }
    };
    let builder = std::thread::Builder::new().name("luban-engine".into());
    builder.spawn(run).map_err(|source| Error::System { what: "start the engine's thread", source })
}
