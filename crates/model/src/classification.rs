//! Heads that classify whole texts, or give a pair of texts one score: what stands behind an encoder in models for
//! sequence classification.
//!
//! A head pools an encoder's hidden states to one row, maps and activates it, and maps that to a number for each label.
//! It computes a single row a text, so it is no part of the forward that executors share; sums are in f64 and in
//! order, so that a text's numbers depend on its hidden states alone.

use luban_kernels::activation;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::families::Config;
use crate::io::Source;
use crate::spec::Activation;

/// What the architecture of a model with such a head is called, behind the family's own name.
const ARCHITECTURE: &str = "ForSequenceClassification";
/// Most labels that are read.
pub const LABELS_MAX: usize = 1 << 16;
/// Labels where a configuration does not say how many, as in `transformers`.
const LABELS: usize = 2;

/// What a head's numbers, the logits, stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// One of the labels holds: their softmax is the probability of each.
    OneLabel,
    /// Each label holds or not: the sigmoid of each is its probability.
    AnyLabels,
    /// They are the answer.
    Value,
}

/// The head of a classifier.
#[derive(Clone, Debug)]
pub struct Classifier {
    labels: Vec<String>,
    meaning: Meaning,
    pool: Pool,
    first: LinearMap,
    activation: Activate,
    norm: Option<Norm>,
    last: LinearMap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    First,
    Mean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activate {
    Tanh,
    By(Activation),
}

/// A linear map, outputs × inputs, and its bias.
#[derive(Clone, Debug)]
struct LinearMap {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    outputs: usize,
}

#[derive(Clone, Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    epsilon: f32,
}

/// Where a family keeps its head: the two maps, and the norm between them.
struct Names {
    family: &'static str,
    first: &'static str,
    norm: Option<&'static str>,
    last: &'static str,
}

const NAMES: &[Names] = &[
    Names { family: "bert", first: "bert.pooler.dense", norm: None, last: "classifier" },
    Names { family: "roberta", first: "classifier.dense", norm: None, last: "classifier.out_proj" },
    Names { family: "xlm-roberta", first: "classifier.dense", norm: None, last: "classifier.out_proj" },
    Names { family: "modernbert", first: "head.dense", norm: Some("head.norm"), last: "classifier" },
];

impl Classifier {
    /// The head of a model; nothing where it has none that classifies.
    ///
    /// # Errors
    /// A head of a family or with settings that this program does not know; weights that are missing or of another
    /// shape.
    pub fn read(source: &Source) -> Result<Option<Self>, Error> {
        let config = Config::new(source.config())?;
        let architectures = config.get("architectures").and_then(Value::as_array);
        let classifies = |name: &Value| name.as_str().is_some_and(|name| name.ends_with(ARCHITECTURE));
        if !architectures.is_some_and(|names| names.iter().any(classifies)) {
            return Ok(None);
        }
        let family = source.family().name;
        let names = NAMES.iter().find(|names| names.family == family).ok_or_else(|| {
            let known = NAMES.iter().map(|names| names.family).collect::<Vec<_>>().join(", ");
            Error::Config(format!("model_type is \"{family}\"; heads that classify are read of {known}"))
        })?;
        let labels = labels(&config)?;
        let (width, count) = (source.spec().width, labels.len());
        let modern = names.norm.is_some();
        let biased = !modern || source.spec().biases.head;
        Ok(Some(Self {
            meaning: meaning(&config, count)?,
            pool: if modern { pool(&config)? } else { Pool::First },
            first: LinearMap::read(source, names.first, [width, width], biased)?,
            activation: if modern { Activate::By(source.spec().activation) } else { Activate::Tanh },
            norm: names.norm.map(|name| Norm::read(source, name)).transpose()?,
            last: LinearMap::read(source, names.last, [count, width], true)?,
            labels,
        }))
    }

    /// The names of the labels, in the order of the logits.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What the logits stand for.
    pub fn meaning(&self) -> Meaning {
        self.meaning
    }

    /// A number for each label, of one text's hidden states: tokens × width.
    pub fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        let width = self.first.inputs();
        let pooled = match self.pool {
            Pool::First => hidden[..width].to_vec(),
            Pool::Mean => mean(hidden, width),
        };
        let mut row = self.first.apply(&pooled);
        match self.activation {
            Activate::Tanh => row.iter_mut().for_each(|x| *x = f64::from(*x).tanh() as f32),
            Activate::By(activation) => row = activated(activation, &row),
        }
        if let Some(norm) = &self.norm {
            norm.apply(&mut row);
        }
        self.last.apply(&row)
    }
}

impl LinearMap {
    fn read(source: &Source, name: &str, [outputs, inputs]: [usize; 2], biased: bool) -> Result<Self, Error> {
        let weight = source.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = biased.then(|| source.tensor(&format!("{name}.bias"), &[outputs])).transpose()?;
        Ok(Self { weight, bias, outputs })
    }

    fn inputs(&self) -> usize {
        self.weight.len() / self.outputs.max(1)
    }

    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let bias = |output: usize| self.bias.as_ref().map_or(0.0, |bias| f64::from(bias[output]));
        let dot = |row: &[f32]| row.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>();
        let rows = self.weight.chunks_exact(self.inputs().max(1)).enumerate();
        rows.map(|(output, row)| (dot(row) + bias(output)) as f32).collect()
    }
}

impl Norm {
    fn read(source: &Source, name: &str) -> Result<Self, Error> {
        let spec = source.spec();
        let weight = source.tensor(&format!("{name}.weight"), &[spec.width])?;
        let bias = spec.biases.norm.then(|| source.tensor(&format!("{name}.bias"), &[spec.width])).transpose()?;
        Ok(Self { weight, bias, epsilon: spec.norm.epsilon })
    }

    fn apply(&self, row: &mut [f32]) {
        let count = row.len() as f64;
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
        let scale = 1.0 / (variance + f64::from(self.epsilon)).sqrt();
        for (at, (x, &weight)) in row.iter_mut().zip(&self.weight).enumerate() {
            let bias = self.bias.as_ref().map_or(0.0, |bias| f64::from(bias[at]));
            *x = ((f64::from(*x) - mean) * scale * f64::from(weight) + bias) as f32;
        }
    }
}

fn activated(activation: Activation, row: &[f32]) -> Vec<f32> {
    let kind = match activation {
        Activation::Silu => activation::Kind::Silu,
        Activation::GeluTanh => activation::Kind::GeluTanh,
        Activation::GeluErf => activation::Kind::GeluErf,
        Activation::Relu => activation::Kind::Relu,
    };
    let mut active = vec![0.0; row.len()];
    activation::forward(kind, row, None, &mut active);
    active
}

/// The mean of some rows.
pub fn mean(hidden: &[f32], width: usize) -> Vec<f32> {
    let rows = (hidden.len() / width) as f64;
    let mut sums = vec![0.0f64; width];
    for row in hidden.chunks_exact(width) {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    sums.into_iter().map(|sum| (sum / rows) as f32).collect()
}

/// The labels' names, which a configuration gives by their numbers; without names, `LABEL_0` and so on.
fn labels(config: &Config<'_>) -> Result<Vec<String>, Error> {
    let wrong = |what: String| Error::Config(format!("id2label {what}"));
    let Some(names) = config.get("id2label") else {
        let count = config.size_or("num_labels", LABELS)?;
        if !(1..=LABELS_MAX).contains(&count) {
            return Err(Error::Config(format!("num_labels is {count}; expected 1 to {LABELS_MAX}")));
        }
        return Ok((0..count).map(|label| format!("LABEL_{label}")).collect());
    };
    let names: &Map<String, Value> = names.as_object().ok_or_else(|| wrong("must be an object".into()))?;
    if names.is_empty() || names.len() > LABELS_MAX {
        return Err(wrong(format!("has {} labels; expected 1 to {LABELS_MAX}", names.len())));
    }
    let name = |label: usize| {
        let name = names.get(&label.to_string()).and_then(Value::as_str);
        name.map(str::to_owned).ok_or_else(|| wrong(format!("has {} labels, but no name for {label}", names.len())))
    };
    (0..names.len()).map(name).collect()
}

/// As `transformers` takes it to be, where it is not said.
fn meaning(config: &Config<'_>, labels: usize) -> Result<Meaning, Error> {
    let said = match config.get("problem_type") {
        Some(_) => Some(config.text("problem_type")?),
        None => None,
    };
    match said {
        Some("regression") => Ok(Meaning::Value),
        Some("multi_label_classification") => Ok(Meaning::AnyLabels),
        Some("single_label_classification") if labels > 1 => Ok(Meaning::OneLabel),
        None if labels > 1 => Ok(Meaning::OneLabel),
        Some("single_label_classification") | None => Ok(Meaning::AnyLabels),
        Some(other) => Err(Error::Config(format!(
            "problem_type is \"{other}\"; expected regression, single_label_classification or multi_label_classification"
        ))),
    }
}

fn pool(config: &Config<'_>) -> Result<Pool, Error> {
    match config.get("classifier_pooling").and_then(Value::as_str) {
        Some("cls") | None => Ok(Pool::First),
        Some("mean") => Ok(Pool::Mean),
        Some(other) => Err(Error::Config(format!("classifier_pooling is \"{other}\"; expected cls or mean"))),
    }
}
