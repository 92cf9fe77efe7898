//! `luban chat`.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use luban_engine::{Engine, EngineOptions, Event, FinishReason, LoadedAdapter, Request};
use luban_flow::models;
use serde_json::{Value, json};

use super::generate::ADAPTER;
use crate::args::{CacheOptions, Global};
use crate::chat::conversation::{Conversation, Message, Role};
use crate::chat::line::Lines;
use crate::chat::order::{HELP, Input, Order, read};
use crate::chat::settings::Settings;
use crate::chat::terminal::{Entered, is_interactive, read_edited, read_plain};
use crate::output::{self, Failure, Outcome};
use crate::sampling::SamplingOptions;
use crate::session::{Interrupt, Session};

/// What stands before the line that is typed.
const PROMPT: &str = "> ";
/// The file of typed lines, in the home folder.
const HISTORY: &str = "chat-history.txt";
/// Longest such file that is read.
const HISTORY_BYTES_MAX: u64 = 4 << 20;

/// Talk with a model
///
/// A conversation in the terminal, by the model's own chat template. Answers appear as they are written; Ctrl-C stops
/// one and keeps the chat. /help shows what can be typed besides messages.
#[derive(Args, Debug)]
pub struct Options {
    /// The model: a folder, a file, or a name of the catalogue
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// An adapter of the model: a folder as PEFT writes it, or a GGUF file
    #[arg(long, value_name = "PATH")]
    pub adapter: Option<PathBuf>,
    /// What the model is told about itself
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Go on with a conversation that /save wrote
    #[arg(long, value_name = "FILE")]
    pub load: Option<PathBuf>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub max_tokens: usize,
    /// Keep what is typed in the home folder, for the arrow keys of the next chat
    #[arg(long)]
    pub history: bool,
    #[command(flatten)]
    pub cache: CacheOptions,
    #[command(flatten)]
    pub sampling: SamplingOptions,
}

/// Talks.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let session = Session::open(global, Interrupt::Ends)?;
    let place = models::locate(&options.model, &session.context(&|_| {}))?;
    session.progress.clear();
    let engine = Engine::load(
        &place,
        EngineOptions { sequences_max: 1, cache: options.cache.cache, ..EngineOptions::default() },
    )?;
    let adapter = options.adapter.as_ref().map(|path| engine.load_adapter(ADAPTER, path)).transpose()?;
    engine.encode_chat(&[json!({"role": "user", "content": "?"})], None)?;
    let mut conversation = match &options.load {
        Some(path) => Conversation::load(path)?,
        None => Conversation::default(),
    };
    conversation.system = options.system.clone().or(conversation.system);
    let history = options.history.then(|| session.home.join(HISTORY));
    let settings = Settings { sampling: options.sampling.sampling(), max_tokens: options.max_tokens };
    let mut chat = Chat {
        engine,
        adapter,
        conversation,
        settings,
        bias: options.sampling.logit_bias.clone(),
        lines: read_history(history.as_deref())?,
        stop: listen()?,
        style: Style::of_terminal(),
    };
    chat.greet(&options.model)?;
    chat.talk()?;
    write_history(history.as_deref(), &chat.lines)
}

/// Raised by Ctrl-C while an answer is written; otherwise Ctrl-C ends the program, as elsewhere.
#[derive(Clone, Debug, Default)]
struct Stop {
    answering: Arc<AtomicBool>,
    asked: Arc<AtomicBool>,
}

fn listen() -> Outcome<Stop> {
    let stop = Stop::default();
    let heard = stop.clone();
    ctrlc::set_handler(move || match heard.answering.load(Ordering::SeqCst) {
        true => heard.asked.store(true, Ordering::SeqCst),
        false => std::process::exit(130),
    })?;
    Ok(stop)
}

/// How hints look.
#[derive(Clone, Copy, Debug)]
struct Style {
    dim: &'static str,
    plain: &'static str,
}

impl Style {
    fn of_terminal() -> Self {
        let colours =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        match colours {
            true => Self { dim: "\x1b[2m", plain: "\x1b[0m" },
            false => Self { dim: "", plain: "" },
        }
    }
}

struct Chat {
    engine: Engine,
    adapter: Option<LoadedAdapter>,
    conversation: Conversation,
    settings: Settings,
    bias: Vec<(u32, f32)>,
    lines: Lines,
    stop: Stop,
    style: Style,
}

impl Chat {
    fn greet(&self, model: &str) -> Outcome {
        if !is_interactive() {
            return Ok(());
        }
        self.say(&format!("{model}. /help shows what can be typed; Ctrl-C stops an answer, Ctrl-D leaves."))?;
        match self.conversation.len() {
            0 => Ok(()),
            count => self.say(&format!("{count} messages were loaded")),
        }
    }

    /// Takes in line after line until the end.
    fn talk(&mut self) -> Outcome {
        let interactive = is_interactive();
        loop {
            let entered = if interactive { read_edited(PROMPT, &self.lines)? } else { read_plain()? };
            let typed = match entered {
                Entered::End => return Ok(()),
                Entered::Dropped => {
                    self.say("/exit or Ctrl-D leaves")?;
                    continue;
                }
                Entered::Text(typed) => typed,
            };
            self.lines.push(typed.trim_end());
            match read(&typed) {
                Input::Empty => {}
                Input::Unclear(why) => self.say(&why)?,
                Input::Order(Order::Exit) => return Ok(()),
                Input::Order(order) => self.follow(order)?,
                Input::Message(message) => {
                    self.conversation.push(Role::User, message);
                    self.answer()?;
                }
            }
        }
    }

    /// A hint, not from the model.
    fn say(&self, text: &str) -> Outcome {
        let Style { dim, plain } = self.style;
        output::text(&text.lines().map(|line| format!("{dim}{line}{plain}\n")).collect::<String>())
    }

    fn follow(&mut self, order: Order) -> Outcome {
        match order {
            Order::Help => {
                let lines = HELP.iter().map(|(usage, what)| format!("{usage:<18}{what}\n")).collect::<String>();
                self.say(&format!("{lines}A backslash before Enter, or Alt-Enter, begins another line."))
            }
            Order::Clear => {
                self.conversation.clear();
                self.say("the conversation is forgotten")
            }
            Order::System(None) => {
                let system = self.conversation.system.clone();
                self.say(&system.unwrap_or_else(|| "the model was told nothing about itself".into()))
            }
            Order::System(text) => {
                self.conversation.system = text;
                self.say("the model is told so from now on")
            }
            Order::Save(file) => self.report(self.conversation.save(file.as_ref()), &format!("saved in {file}")),
            Order::Load(file) => match Conversation::load(file.as_ref()) {
                Ok(conversation) => {
                    self.conversation = conversation;
                    self.say(&format!("{} messages were loaded", self.conversation.len()))
                }
                Err(failure) => self.say(failure.message()),
            },
            Order::Set(None) => {
                let lines = self.settings.lines();
                self.say(&lines.iter().map(|(name, value)| format!("{name:<20}{value}\n")).collect::<String>())
            }
            Order::Set(Some((name, value))) => match self.settings.set(&name, &value) {
                Ok(()) => self.say(&format!("{name} is {value}")),
                Err(why) => self.say(&why),
            },
            Order::Regenerate => self.regenerate(),
            Order::Exit => Ok(()),
        }
    }

    fn report(&self, outcome: Outcome, done: &str) -> Outcome {
        match outcome {
            Ok(()) => self.say(done),
            Err(failure) => self.say(failure.message()),
        }
    }

    /// Has the last answer given anew, with other draws.
    fn regenerate(&mut self) -> Outcome {
        let had_answer = self.conversation.take_last(Role::Assistant).is_some();
        if !had_answer && self.conversation.len() == 0 {
            return self.say("there is no answer yet");
        }
        self.settings.sampling.seed = self.settings.sampling.seed.wrapping_add(1);
        self.answer()
    }

    /// Has the model answer what was said last.
    fn answer(&mut self) -> Outcome {
        let request = match self.request() {
            Ok(request) => request,
            Err(failure) => {
                self.conversation.take_last(Role::User);
                return self.say(failure.message());
            }
        };
        self.stop.asked.store(false, Ordering::SeqCst);
        self.stop.answering.store(true, Ordering::SeqCst);
        let written = self.write(request);
        self.stop.answering.store(false, Ordering::SeqCst);
        match written {
            Ok(text) => {
                self.conversation.push(Role::Assistant, text);
                Ok(())
            }
            Err(failure) => {
                self.conversation.take_last(Role::User);
                self.say(failure.message())
            }
        }
    }

    /// The conversation as a request; the oldest messages are left out where there is no room for all.
    fn request(&mut self) -> Outcome<Request> {
        let context = self.engine.info().context;
        let room_for_answer = self.settings.max_tokens.clamp(1, (context / 4).max(1));
        let mut forgotten = 0;
        let tokens = loop {
            let messages: Vec<Value> = self.conversation.messages().iter().map(as_json).collect();
            let (_, tokens) = self.engine.encode_chat(&messages, None)?;
            if tokens.len() + room_for_answer <= context || !self.conversation.forget_oldest() {
                break tokens;
            }
            forgotten += 1;
        };
        if forgotten > 0 {
            self.say(&format!("(the {forgotten} oldest messages no longer fit and were left out)"))?;
        }
        let max_tokens = self.settings.max_tokens.min(context.saturating_sub(tokens.len())).max(1);
        // Another seed for each turn, or the same thoughts would come again.
        let sampling = self.settings.sampling.for_choice(self.conversation.len());
        let (logit_bias, adapter) = (self.bias.clone(), self.adapter.clone());
        Ok(Request { prompt: tokens, max_tokens, sampling, logit_bias, adapter, ..Request::default() })
    }

    /// Shows an answer as it comes; Ctrl-C ends it, and what there is stays.
    fn write(&self, request: Request) -> Outcome<String> {
        let (mut text, mut tokens, started) = (String::new(), 0u32, Instant::now());
        let mut end = None;
        for event in self.engine.submit(request)? {
            let piece = match event {
                Event::Prompt(_) => continue,
                Event::Token { text, .. } => {
                    tokens += 1;
                    text
                }
                Event::Finished { reason, text, .. } => {
                    end = Some(reason);
                    text
                }
                Event::Failed(why) => return Err(Failure::new(why)),
            };
            // Some templates leave the line break before an answer to the model.
            let shown = if text.is_empty() { piece.trim_start() } else { &piece };
            output::text(shown)?;
            text.push_str(shown);
            if self.stop.asked.load(Ordering::SeqCst) {
                break;
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        output::text("\n")?;
        match end {
            None => self.say("(stopped)")?,
            Some(FinishReason::Length) => self.say("(cut: max_tokens, or the end of the context)")?,
            Some(_) => {}
        }
        if is_interactive() {
            self.say(&format!("{tokens} tokens, {:.1} a second", f64::from(tokens) / seconds.max(1e-9)))?;
        }
        Ok(text)
    }
}

fn as_json(message: &Message) -> Value {
    json!({"role": message.role.name(), "content": message.text})
}

fn read_history(path: Option<&std::path::Path>) -> Outcome<Lines> {
    let Some(path) = path.filter(|path| path.exists()) else { return Ok(Lines::default()) };
    let mut text = String::new();
    std::fs::File::open(path)?.take(HISTORY_BYTES_MAX).read_to_string(&mut text)?;
    Ok(Lines::from_text(&text))
}

fn write_history(path: Option<&std::path::Path>, lines: &Lines) -> Outcome {
    match path {
        // What somebody typed is for nobody else to read.
        Some(path) => Ok(luban_base::atomic::write_private_file(path, lines.to_text().as_bytes())?),
        None => Ok(()),
    }
}
