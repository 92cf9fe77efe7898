//! `luban plan gpt3`: the paper's rows beside what is counted here.

use luban_model::plan::named::{GPT3, GPT3_TOKENS, PublishedGpt3};
use luban_model::plan::{Flops, Parameters};
use serde_json::{Value, json};

use crate::args::Global;
use crate::format::{count, grouped, scientific, table};
use crate::output::{self, Outcome};

/// A row and what is counted for it.
struct Row {
    paper: PublishedGpt3,
    parameters: u64,
    flops: f64,
}

/// Prints the table; `tokens` other than the paper's 300 G change the operations.
pub fn run(tokens: Option<f64>, global: &Global) -> Outcome {
    let tokens = tokens.unwrap_or(GPT3_TOKENS);
    let rows = GPT3.map(|paper| {
        let parameters = Parameters::of(&paper.spec()).total();
        Row { paper, parameters, flops: Flops::rule_of_six(parameters, tokens) }
    });
    match global.json {
        true => output::json(&json!({ "tokens": tokens, "rows": rows.iter().map(Row::json).collect::<Vec<_>>() })),
        false => output::text(&render(&rows, tokens)),
    }
}

impl Row {
    fn json(&self) -> Value {
        let Row { paper, parameters, flops } = self;
        json!({
            "name": paper.name,
            "layers": paper.layers,
            "width": paper.width,
            "heads": paper.heads,
            "head_width": paper.head_width,
            "batch_tokens": paper.batch_tokens,
            "learning_rate": paper.learning_rate,
            "parameters": parameters,
            "parameters_rounded_m": PublishedGpt3::rounded_m(*parameters),
            "published_parameters_m": paper.parameters_m,
            "training_flops": flops,
            "published_training_flops": paper.training_flops,
            "note": paper.note,
        })
    }

    fn cells(&self) -> Vec<String> {
        let Row { paper, parameters, flops } = self;
        let PublishedGpt3 { layers, width, heads, head_width, .. } = paper;
        let mark = if paper.is_consistent() { "" } else { " *" };
        vec![
            format!("{}{mark}", paper.name),
            format!("{layers} / {width} / {heads} / {head_width}"),
            format!("{}, {:.1e}", count(paper.batch_tokens), paper.learning_rate),
            grouped(*parameters),
            format!("{} M", grouped(PublishedGpt3::rounded_m(*parameters) as u64)),
            format!("{} M", grouped(paper.parameters_m as u64)),
            scientific(*flops),
            scientific(paper.training_flops),
        ]
    }
}

fn render(rows: &[Row], tokens: f64) -> String {
    let title = [
        "",
        "layers / width / heads / head width",
        "batch, learning rate",
        "parameters",
        "rounded",
        "paper",
        "6 N D",
        "paper",
    ];
    let mut cells = vec![title.map(str::to_owned).to_vec()];
    cells.extend(rows.iter().map(Row::cells));
    let mut text = format!(
        "GPT-3, tables 2.1 and D.1 of arXiv 2005.14165; operations for {} tokens, the paper's for {}\n\n{}",
        scientific(tokens),
        scientific(GPT3_TOKENS),
        table("llrrrrrr", &cells)
    );
    text.push('\n');
    for row in rows {
        if let Some(note) = row.paper.note {
            text += &format!("* {}: {note}\n", row.paper.name);
        }
    }
    text
}
