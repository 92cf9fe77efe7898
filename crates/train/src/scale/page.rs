//! The page of a ladder: charts of loss over compute and size with the law, and of sharp beside smooth measures.

use super::SURE;
use super::law::OPERATIONS;
use super::measure::SPANS;
use super::report::{Prediction, Report, RunFigures};
use crate::plot::{self, Axis, Mark, Plot, Series, Spacing, short};

/// Points of a curve.
const CURVE_POINTS: usize = 60;

impl Report {
    /// The page with its charts.
    pub(super) fn page(&self) -> String {
        let about = format!(
            "{} models of one family were trained for several numbers of tokens each; the law L = E + A/N^α + B/D^β was \
             fitted to them, and said what a larger one, trained for longer, would come to, before that was trained. \
             Intervals hold {:.0} % of {} resamplings. Points of one model share most of their training, so intervals \
             are somewhat narrow.",
            self.ladder.rungs.len(),
            100.0 * SURE,
            self.options.resamplings
        );
        let tiles: String = self.tiles().iter().map(|(figure, what)| plot::tile(figure, what)).collect();
        let charts: String = self.plots().iter().map(Plot::card).collect();
        let body = format!(
            "<p>{}</p>\n<div class=\"tiles\">{tiles}</div>\n<p>{}</p>\n<section class=\"charts\">{charts}</section>\n\
             <section class=\"card\"><h2>Constants</h2>{}</section>\n<section class=\"card\"><h2>Runs</h2>{}</section>\n",
            plot::escape(&about),
            plot::escape(&self.verdict()),
            plot::table(&self.constants()),
            plot::table(&self.rows()),
        );
        let verdict = if self.holds { "the prediction holds" } else { "the prediction does not hold" };
        plot::page("scaling", verdict, &body)
    }

    /// The charts: losses over compute and over size, smooth and sharp measures of the same models.
    pub fn plots(&self) -> [Plot; 4] {
        [self.over_compute(), self.over_size(), self.smooth(), self.sharp()]
    }

    fn tiles(&self) -> Vec<(String, &'static str)> {
        let Prediction { loss, low, high, .. } = self.fit.prediction;
        let largest = self.runs.iter().map(|run| run.size.operations()).fold(0.0, f64::max);
        let factor = self.held_out.size.operations() / largest;
        vec![
            (format!("{loss:.4}"), "predicted loss, nats a token"),
            (format!("{low:.4} to {high:.4}"), "where it was to be expected"),
            (format!("{:.4}", self.held_out.loss), "measured"),
            (format!("{:+.2} %", 100.0 * self.error), "off"),
            (format!("{factor:.1}"), "times the compute of the largest run that was fitted"),
            (format!("{:.1} min", self.seconds / 60.0), "of training"),
        ]
    }

    /// Measured losses over compute, a colour a model; the law for each, and for the best division of the compute.
    fn over_compute(&self) -> Plot {
        let mut series = Vec::new();
        let tokens: Vec<f64> = self.everything().map(|run| run.size.tokens).collect();
        let ends = ends(&tokens);
        for (colour, rung) in self.ladder.rungs.iter().chain([&self.ladder.held_out]).enumerate() {
            let parameters = rung.parameters as f64;
            let law = curve(ends, |tokens| (OPERATIONS * parameters * tokens, self.fit.law.loss(parameters, tokens)));
            series.push(Series { name: String::new(), colour, mark: Mark::Line, points: law });
            let measured = self.everything().filter(|run| run.width == rung.width);
            let points = measured.map(|run| (run.size.operations(), run.loss)).collect();
            series.push(Series { name: format!("N = {}", short(parameters)), colour, mark: Mark::Dots, points });
        }
        let operations: Vec<f64> = self.everything().map(|run| run.size.operations()).collect();
        let frontier = curve(self::ends(&operations), |operations| (operations, self.fit.law.frontier(operations)));
        let name = "the best division of the compute".to_owned();
        series.push(Series { name, colour: 7, mark: Mark::Dashes, points: frontier });
        series.extend(self.prediction(self.held_out.size.operations(), self.ladder.rungs.len()));
        let title = "Loss over compute: measured, and the law".to_owned();
        Plot { title, x: axis("operations, 6 N D", Spacing::Log), y: axis("loss, nats a token", Spacing::Log), series }
    }

    /// Measured losses over parameters, a colour a number of tokens; the law for each.
    fn over_size(&self) -> Plot {
        let mut tokens: Vec<f64> = self.everything().map(|run| run.size.tokens).collect();
        tokens.sort_by(f64::total_cmp);
        tokens.dedup();
        let sizes: Vec<f64> = self.everything().map(|run| run.size.all()).collect();
        let ends = ends(&sizes);
        let mut series = Vec::new();
        for (colour, &tokens) in tokens.iter().enumerate() {
            let law = curve(ends, |parameters| (parameters, self.fit.law.loss(parameters, tokens)));
            series.push(Series { name: String::new(), colour, mark: Mark::Line, points: law });
            let measured = self.everything().filter(|run| run.size.tokens == tokens);
            let points = measured.map(|run| (run.size.all(), run.loss)).collect();
            series.push(Series { name: format!("D = {}", short(tokens)), colour, mark: Mark::Dots, points });
        }
        series.extend(self.prediction(self.held_out.size.all(), tokens.len() - 1));
        let title = "Loss over size: measured, and the law".to_owned();
        Plot { title, x: axis("parameters, N", Spacing::Log), y: axis("loss, nats a token", Spacing::Log), series }
    }

    /// Where the held-out run was expected, and where it came to.
    fn prediction(&self, x: f64, colour: usize) -> [Series; 2] {
        let Prediction { loss, low, high, .. } = self.fit.prediction;
        let span = vec![(x, low), (x, high)];
        [
            Series { name: String::new(), colour, mark: Mark::Spans, points: span },
            Series { name: "predicted (ring)".to_owned(), colour, mark: Mark::Rings, points: vec![(x, loss)] },
        ]
    }

    /// Smooth measures over compute.
    fn smooth(&self) -> Plot {
        let series = vec![
            self.measure("probability of the right token", 0, |run| run.grades.probability),
            self.measure("right tokens", 1, |run| run.grades.accuracy),
        ];
        let title = "Smooth measures of every model".to_owned();
        Plot { title, x: axis("operations, 6 N D", Spacing::Log), y: axis("share", Spacing::Linear), series }
    }

    /// Sharp measures over compute.
    fn sharp(&self) -> Plot {
        let values: [fn(&RunFigures) -> f64; SPANS.len()] =
            [|run| run.grades.spans[0], |run| run.grades.spans[1], |run| run.grades.spans[2]];
        let named = SPANS.iter().zip(values).enumerate();
        let series = named.map(|(place, (length, value))| {
            self.measure(&format!("{length} tokens in succession right"), 2 + place, value)
        });
        let title = "Sharp measures of the same models".to_owned();
        let series = series.collect();
        Plot { title, x: axis("operations, 6 N D", Spacing::Log), y: axis("share", Spacing::Linear), series }
    }

    fn measure(&self, name: &str, colour: usize, value: fn(&RunFigures) -> f64) -> Series {
        let points = self.everything().map(|run| (run.size.operations(), value(run))).collect();
        Series { name: name.to_owned(), colour, mark: Mark::Dots, points }
    }

    fn everything(&self) -> impl Iterator<Item = &RunFigures> + Clone {
        self.runs.iter().chain([&self.held_out])
    }
}

fn axis(label: &str, spacing: Spacing) -> Axis {
    Axis { label: label.to_owned(), spacing }
}

fn ends(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (least, values.iter().copied().fold(0.0, f64::max))
}

/// Points at even ratios.
fn curve((low, high): (f64, f64), point: impl Fn(f64) -> (f64, f64)) -> Vec<(f64, f64)> {
    let ratio = high / low;
    (0..=CURVE_POINTS).map(|place| point(low * ratio.powf(place as f64 / CURVE_POINTS as f64))).collect()
}
