//! `luban grok`.

use clap::Args;
use luban_flow::stages::Grok;
use luban_train::grok;

use super::stage::{self, Target};
use crate::args::Global;
use crate::format::{CHART_COLUMNS, CHART_ROWS, table};
use crate::output::Outcome;

/// Show grokking: a model that understands long after it has learned by heart
///
/// Small models learn one side of a table of sums and are asked for the other: with weight decay, which knows it all at
/// once, and without, which never does. The report has the sharp measure (accuracy) and the smooth ones (loss and
/// probability of the right answer) side by side. Ctrl-C saves, and the same command goes on from there.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    stage: Grok,
    #[command(flatten)]
    target: Target,
}

/// Runs the demonstration and prints what each seed showed.
pub fn run(options: Options, global: &Global) -> Outcome {
    stage::run_and(options.stage, &options.target, global, |artifact| {
        let report = grok::read(artifact)?;
        let verdict = if report.holds { "holds for every seed" } else { "does not hold for every seed" };
        let page = artifact.dir().join(grok::PAGE);
        let seed = report.options.seed;
        let [accuracy, loss, _] = report.plots(seed);
        Ok(format!(
            "\n{}\n{}\nSeed {seed}, the sharp measure and the smooth ones side by side:\n\n{}\n{}\nGrokking {verdict}. All \
             charts are in {}\n",
            accuracy.text(CHART_COLUMNS, CHART_ROWS),
            loss.text(CHART_COLUMNS, CHART_ROWS),
            table("r", &report.along(seed)),
            table("r", &report.rows()),
            page.display()
        ))
    })
}
