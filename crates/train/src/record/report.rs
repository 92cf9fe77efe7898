//! The report: one page that needs nothing else, with the run's charts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::history::{Entry, Step};

/// The page without its data. Everything in it that comes from outside goes through `textContent`.
const PAGE: &str = include_str!("report.html");
/// What stands in the page where the data go.
const PLACE: &str = "\"DATA\"";
/// Points of a chart, at most; each stands for as many steps as that takes.
const POINTS_MAX: u64 = 1200;
/// Samples, notes and resumptions that are shown, at most; the last ones.
const LINES_MAX: usize = 60;

/// What is known of a run before it begins.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Header {
    /// The model's name.
    pub name: String,
    /// What was asked.
    pub settings: Value,
    /// What followed from it.
    pub plan: Value,
    /// Digests of what it learns from.
    pub inputs: Value,
    /// Steps in all.
    pub steps_total: u64,
    /// Parameters of the model.
    pub parameters: usize,
    /// Operations of training on a token.
    pub flops_per_token: f64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", content = "why", rename_all = "kebab-case")]
pub enum Ending {
    /// It has not.
    Running,
    /// All its steps were done.
    Finished,
    /// It learned nothing more.
    StoppedEarly(String),
    /// A person stopped it; it can go on.
    Interrupted,
    /// It went wrong.
    Failed(String),
}

/// What the page shows: `points` has for each group of steps its last step, the mean, least and greatest loss, the
/// learning rate, the mean and greatest norm of the gradient, tokens a second and the resident bytes.
pub fn data(header: &Header, ending: &Ending, figures: Value, entries: impl Iterator<Item = Entry>) -> Value {
    let mut points = Points::new(header.steps_total.div_ceil(POINTS_MAX).max(1));
    let (mut validations, mut parts) = (Vec::new(), BTreeMap::<String, Vec<Value>>::new());
    let [mut samples, mut notes, mut sessions] = [const { Vec::new() }; 3];
    let mut peak_gflops = None;
    for entry in entries {
        match entry {
            Entry::Step(step) => points.add(step),
            Entry::Validation { step, loss, bits_per_byte, perplexity, accuracy } => {
                validations.push(json!([step, loss, bits_per_byte, perplexity, accuracy]));
            }
            Entry::ValidationPart { step, name, loss } => parts.entry(name).or_default().push(json!([step, loss])),
            Entry::Sample { step, text } => keep(&mut samples, json!([step, text])),
            Entry::Note { step, text } => keep(&mut notes, json!([step, text, false])),
            Entry::Warning { step, text } => keep(&mut notes, json!([step, text, true])),
            Entry::Session { step, unix_s } => keep(&mut sessions, json!([step, unix_s])),
            Entry::Peak { gflops, .. } => peak_gflops = Some(gflops),
        }
    }
    json!({
        "header": header,
        "ending": ending,
        "figures": figures,
        "points": points.finish(),
        "validations": validations,
        "validation_parts": parts,
        "samples": samples,
        "notes": notes,
        "sessions": sessions,
        "peak_gflops": peak_gflops,
        "program": concat!("luban ", env!("CARGO_PKG_VERSION")),
    })
}

/// The page's style, which other reports share.
pub(crate) fn style() -> &'static str {
    let after = PAGE.split_once("<style>").map_or("", |(_, after)| after);
    after.split_once("</style>").map_or("", |(style, _)| style)
}

/// What the page asks the server that it came from for, again and again, while the run goes on.
pub const DATA_PATH: &str = "/data.json";

/// The page with its data inside.
pub fn page(data: &Value) -> String {
    // Within a script element only `<` could end it or begin a comment.
    PAGE.replacen(PLACE, &data.to_string().replace('<', "\\u003c"), 1)
}

fn keep(lines: &mut Vec<Value>, line: Value) {
    if lines.len() == LINES_MAX {
        lines.remove(0);
    }
    lines.push(line);
}

/// Steps, gathered in groups.
struct Points {
    width: u64,
    group: Vec<Step>,
    points: Vec<Value>,
}

impl Points {
    fn new(width: u64) -> Self {
        Self { width, group: Vec::new(), points: Vec::new() }
    }

    fn add(&mut self, step: Step) {
        let number = |step: &Step| step.step.saturating_sub(1) / self.width;
        if self.group.first().is_some_and(|first| number(first) != number(&step)) {
            self.close();
        }
        self.group.push(step);
    }

    fn close(&mut self) {
        let Some(last) = self.group.last() else { return };
        let values = |value: fn(&Step) -> f64| self.group.iter().map(value);
        let mean = |value: fn(&Step) -> f64| values(value).sum::<f64>() / self.group.len() as f64;
        let most = |value: fn(&Step) -> f64| values(value).fold(f64::NEG_INFINITY, f64::max);
        self.points.push(json!([
            last.step,
            figures(mean(|step| step.loss)),
            figures(-most(|step| -step.loss)),
            figures(most(|step| step.loss)),
            figures(last.learning_rate),
            figures(mean(|step| step.gradient_norm)),
            figures(most(|step| step.gradient_norm)),
            figures(mean(|step| step.tokens_per_second)),
            last.memory,
        ]));
        self.group.clear();
    }

    fn finish(mut self) -> Vec<Value> {
        self.close();
        self.points
    }
}

/// Five figures: no chart shows more, and pages are shorter.
fn figures(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: u64, loss: f64) -> Entry {
        let (unix_s, learning_rate, gradient_norm, tokens_per_second) = (0.0, 0.001, 2.0, 100.0);
        let memory = Some(1 << 20);
        Entry::Step(Step { step: number, unix_s, loss, learning_rate, gradient_norm, tokens_per_second, memory })
    }

    #[test]
    fn long_runs_have_few_points_and_keep_their_spikes() {
        let header = Header { steps_total: 10 * POINTS_MAX, ..Header::default() };
        let steps = (1..=header.steps_total).map(|number| step(number, if number == 5003 { 50.0 } else { 2.0 }));
        let data = data(&header, &Ending::Finished, Value::Null, steps);
        let points = data["points"].as_array().unwrap();
        assert_eq!(points.len() as u64, POINTS_MAX);
        assert_eq!((&points[0][0], &points[0][1]), (&json!(10), &json!(2.0)));
        assert_eq!((&points[500][0], &points[500][3]), (&json!(5010), &json!(50.0)));
        assert_eq!(data["ending"]["how"], "finished");
    }

    #[test]
    fn nothing_in_the_data_leaves_its_place_and_nothing_is_fetched() {
        let text = "</script><script>alert(1)</script><!-- \u{2028} \"DATA\"".to_owned();
        let hostile = [Entry::Sample { step: 1, text: text.clone() }, Entry::Note { step: 1, text: text.clone() }];
        let header = Header { name: text.clone(), ..Header::default() };
        let page = page(&data(&header, &Ending::Failed(text), Value::Null, hostile.into_iter()));
        assert!(!page.contains("alert(1)</script>") && !page.contains("<!-- "));
        assert_eq!(page.matches("</script>").count(), PAGE.matches("</script>").count());
        for outside in ["http://", "https://", "src=", "@import", "innerHTML", "insertAdjacentHTML", "document.write"] {
            let found = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "{outside}");
        }
    }
}
