//! `luban scale`.

use clap::Args;
use luban_flow::stages::Scale;
use luban_train::scale;

use super::stage::{self, Target};
use crate::args::Global;
use crate::format::{CHART_COLUMNS, CHART_ROWS, table};
use crate::output::Outcome;

/// Train a ladder of models, fit a law to their losses, predict a larger one
///
/// Models of several sizes are trained for several numbers of tokens each; L = E + A/N^α + B/D^β is fitted to their
/// losses, says what a larger model trained for longer will come to, and is held against it. The runs lie beside the
/// report. Ctrl-C saves, and the same command goes on from there.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    stage: Scale,
    #[command(flatten)]
    target: Target,
}

/// Runs the demonstration and prints its runs, the law and the verdict.
pub fn run(options: Options, global: &Global) -> Outcome {
    stage::run_and(options.stage, &options.target, global, |artifact| {
        let report = scale::read(artifact)?;
        let page = artifact.dir().join(scale::PAGE);
        let [over_compute, _, smooth, sharp] = report.plots();
        Ok(format!(
            "\n{}\n{}\n{}\n{}\n{}\n{}\nThe charts are in {}\n",
            over_compute.text(CHART_COLUMNS, 2 * CHART_ROWS),
            smooth.text(CHART_COLUMNS, CHART_ROWS),
            sharp.text(CHART_COLUMNS, CHART_ROWS),
            table("r", &report.rows()),
            table("lr", &report.constants()),
            report.verdict(),
            page.display()
        ))
    })
}
