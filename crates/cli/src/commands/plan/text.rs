//! The account as text.

use luban_model::plan::{Placement, StepMemory};
use luban_train::Precision as Compute;

use super::account::Account;
use crate::format::{bytes, count, experts, grouped, scientific, table};

/// What this program's own training is called.
const OWN_STEP: &str = "The same in `luban pretrain`, at the fullest moment of a step";

/// Every table.
pub fn render(account: &Account) -> String {
    let sections = [
        head(account),
        section("Parameters", "lr", &parameters(account)),
        section(&format!("Operations, sequences of {} tokens", account.setup.length), "lrl", &operations(account)),
        section(&training_title(account), "lrl", &training(account)),
        section(OWN_STEP, "lr", &own_step(account)),
        section("Serving memory", "lr", &serving(account)),
        section("Compute-optimal training (loss in nats a token of the laws' own text)", "lr", &optimal(account)),
        section(&format!("Devices of {} for training", bytes(account.device_bytes as f64)), "lrrl", &devices(account)),
    ];
    sections.join("\n")
}

fn head(account: &Account) -> String {
    let spec = &account.spec;
    format!(
        "{}: {} parameters; {} layers of width {}, {} heads of {} ({} for keys and values), feed-forward {}, \
         vocabulary {}, context {}\n",
        account.name,
        count(account.parameters.total() as f64),
        spec.layers,
        grouped(spec.width as u64),
        spec.heads,
        spec.head_width,
        spec.kv_heads,
        experts(spec).unwrap_or_else(|| grouped(spec.ffn_width as u64)),
        grouped(spec.vocab as u64),
        grouped(spec.context as u64),
    )
}

fn section(title: &str, alignment: &str, rows: &[Vec<String>]) -> String {
    let body = table(alignment, rows).lines().map(|line| format!("  {line}\n")).collect::<String>();
    format!("{title}\n{body}")
}

fn row<const N: usize>(cells: [String; N]) -> Vec<String> {
    cells.into()
}

fn parameters(account: &Account) -> Vec<Vec<String>> {
    let total = account.parameters.total();
    let share = |part: u64| format!("{:.1} %", 100.0 * part as f64 / total as f64);
    let parts = account.parameters.parts().into_iter().filter(|(_, part)| *part > 0);
    let mut rows = parts.map(|(name, part)| row([name.to_owned(), grouped(part), share(part)])).collect::<Vec<_>>();
    rows.push(row(["all".to_owned(), grouped(total), String::new()]));
    rows
}

fn operations(account: &Account) -> Vec<Vec<String>> {
    let flops = &account.flops;
    let chosen = if account.tokens_are_optimal { ", compute-optimal" } else { "" };
    let tokens = format!("{} tokens{chosen}", scientific(account.tokens));
    let line = |name: &str, value: f64, how: &str| row([name.to_owned(), scientific(value), how.to_owned()]);
    vec![
        line("forward, a token", flops.forward(), "2 x weights + attention"),
        line("  of it attention", flops.attention, "4 x layers x positions seen x width of all heads"),
        line("training, a token", flops.training(), "3 x forward"),
        line("training, counted", account.counted_flops(), &tokens),
        line("training, 6 N D", account.training_flops(), "as published tables count"),
    ]
}

fn training_title(account: &Account) -> String {
    let setup = &account.setup;
    format!("Training memory, {} x {} tokens at once", setup.sequences, setup.length)
}

fn training(account: &Account) -> Vec<Vec<String>> {
    let memory = &account.training;
    let state = &account.setup.state;
    let line = |name: &str, value: u64, how: String| row([name.to_owned(), bytes(value as f64), how]);
    let each = |value: f64| format!("{} bytes a parameter", (1e2 * value).round() / 1e2);
    vec![
        line("weights", memory.weights, each(state.weights as f64)),
        line("gradients", memory.gradients, each(state.gradients as f64)),
        line("optimizer", memory.optimizer, each(state.optimizer())),
        line("activations", memory.activations, "kept for the backward pass".to_owned()),
        line("  recomputed", memory.activations_recomputed, "layer inputs, and one layer at a time".to_owned()),
        line("logits", memory.logits, "f32, and their gradient in place".to_owned()),
        line("all", memory.total(false), String::new()),
        line("  recomputed", memory.total(true), String::new()),
    ]
}

fn own_step(account: &Account) -> Vec<Vec<String>> {
    let title = ["", "activations kept", "recomputed"].map(str::to_owned);
    let line = |(precision, memory): &(Compute, [StepMemory; 2])| {
        let [kept, recomputed] = memory.map(|memory| bytes(memory.total() as f64));
        row([precision.name().to_owned(), kept, recomputed])
    };
    std::iter::once(row(title)).chain(account.own_step.iter().map(line)).collect()
}

fn serving(account: &Account) -> Vec<Vec<String>> {
    let title = ["", "weights", "cache a token", "cache of a full context"].map(str::to_owned);
    let full = account.spec.context as f64;
    let line = |memory: &luban_model::plan::ServingMemory| {
        let cache = memory.cache_per_token;
        row([memory.precision.name().to_owned(), bytes(memory.weights as f64), bytes(cache), bytes(cache * full)])
    };
    std::iter::once(row(title)).chain(account.serving.iter().map(line)).collect()
}

fn optimal(account: &Account) -> Vec<Vec<String>> {
    let title = ["", "tokens for this size", "tokens a parameter", "loss as planned", "best size for the compute"];
    let total = account.parameters.total() as f64;
    let line = |optimal: &super::account::Optimal| {
        row([
            optimal.fit.name.to_owned(),
            count(optimal.tokens),
            format!("{:.1}", optimal.tokens / total),
            format!("{:.3}", optimal.loss),
            count(optimal.best.parameters),
        ])
    };
    std::iter::once(row(title.map(str::to_owned))).chain(account.optimal.iter().map(line)).collect()
}

fn devices(account: &Account) -> Vec<Vec<String>> {
    let [kept, recomputed] = &account.placements;
    let title = ["", "activations kept", "recomputed", "bytes on one device"].map(str::to_owned);
    let line = |(kept, recomputed): (&Placement, &Placement)| {
        row([kept.strategy.name().to_owned(), number(kept), number(recomputed), kept.strategy.formula().to_owned()])
    };
    std::iter::once(row(title)).chain(kept.iter().zip(recomputed).map(line)).collect()
}

fn number(placement: &Placement) -> String {
    match placement.devices {
        None => format!("none ({})", bytes(placement.bytes_per_device as f64)),
        Some(count) if placement.tensor > 1 && placement.pipeline > 1 => {
            format!("{count} = {} x {}", placement.tensor, placement.pipeline)
        }
        Some(count) => count.to_string(),
    }
}
