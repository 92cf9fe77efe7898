//! Charts as SVG and in letters, and the page that they stand in: for reports that are written once and need no script.

mod text;

use std::fmt::Write;

use crate::record;

/// Colours of series, in turn: the accent and the second colour of the reports' style, then further ones.
const COLOURS: [&str; 8] =
    ["var(--accent)", "var(--second)", "#5b73b8", "#9a5f9e", "#8a8a3c", "#c05a77", "#4a93b5", "#7d6a58"];
/// Size of a chart and its margins, in units of its view box.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 44.0;
/// Further style, beside that of the report of a run.
const STYLE: &str = "
svg .axis { fill: var(--soft); }
p { max-width: 62rem; }
table.figures td, table.figures th { padding: .15rem 1.4rem .15rem 0; text-align: right; color: inherit; white-space: nowrap; font-variant-numeric: tabular-nums; }
table.figures th { color: var(--soft); font-weight: 500; }
table.figures td:first-child, table.figures th:first-child { text-align: left; }
.scroll { overflow-x: auto; }
.key { color: var(--soft); font-size: 12.5px; margin: .2rem 0 0; }
.key i { display: inline-block; width: .9em; height: .3em; margin: 0 .35em .2em 0; border-radius: 2px; }
.key span { margin-right: 1.1em; white-space: nowrap; }
";

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Equal differences take equal room.
    Linear,
    /// Equal ratios do; only values above 0 are shown.
    Log,
}

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, and in which unit.
    pub label: String,
    /// How.
    pub spacing: Spacing,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A line.
    Line,
    /// A broken line.
    Dashes,
    /// Points.
    Dots,
    /// Rings, larger than points.
    Rings,
    /// Upright bars between the first and the second half of the points, which stand over one another.
    Spans,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the key; none where it is empty.
    pub name: String,
    /// Number of its colour.
    pub colour: usize,
    /// How it is drawn.
    pub mark: Mark,
    /// The points.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What stands above it.
    pub title: String,
    /// The axis across.
    pub x: Axis,
    /// The axis up.
    pub y: Axis,
    /// What it shows.
    pub series: Vec<Series>,
}

impl Plot {
    /// The chart in a card with its title and its key.
    pub fn card(&self) -> String {
        let title = escape(&self.title);
        format!("<div class=\"card\"><h2>{title}</h2>{}{}</div>\n", self.svg(), self.key())
    }

    /// The chart alone; empty where there is no point to show.
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let across = Ruler::of(&self.x, points().map(|point| point.0), (LEFT, WIDTH - RIGHT));
        let up = Ruler::of(&self.y, points().map(|point| point.1), (HEIGHT - BOTTOM, TOP));
        let (Some(across), Some(up)) = (across, up) else { return String::new() };
        let title = escape(&self.title);
        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n");
        self.grid(&mut svg, &across, &up);
        for series in &self.series {
            let places = series.points.iter().map(|&(x, y)| (across.place(x), up.place(y)));
            let places: Vec<(f64, f64)> = places.filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
            draw(&mut svg, series, &places);
        }
        svg + "</svg>"
    }

    fn grid(&self, svg: &mut String, across: &Ruler, up: &Ruler) {
        for mark in up.marks(5) {
            let (y, text) = (up.place(mark), short(mark));
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{}\" \
                 y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDTH - RIGHT,
                LEFT - 7.0,
                y + 4.0
            );
        }
        for mark in across.marks(6) {
            let (x, y, text) = (across.place(mark), HEIGHT - BOTTOM + 15.0, short(mark));
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>");
        }
        let (x, y) = ((LEFT + WIDTH - RIGHT) / 2.0, (TOP + HEIGHT - BOTTOM) / 2.0);
        let _ = writeln!(
            svg,
            "<text class=\"axis\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text><text class=\"axis\" \
             transform=\"translate(13 {y}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 6.0,
            escape(&self.x.label),
            escape(&self.y.label)
        );
    }

    fn key(&self) -> String {
        let named = self.series.iter().filter(|series| !series.name.is_empty());
        let entry = |series: &Series| {
            format!("<span><i style=\"background:{}\"></i>{}</span>", colour(series), escape(&series.name))
        };
        format!("<p class=\"key\">{}</p>", named.map(entry).collect::<String>())
    }
}

fn colour(series: &Series) -> &'static str {
    COLOURS[series.colour % COLOURS.len()]
}

fn draw(svg: &mut String, series: &Series, places: &[(f64, f64)]) {
    let colour = colour(series);
    let dot = |svg: &mut String, (x, y): (f64, f64), radius: f64, fill: &str| {
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{fill}\" stroke=\"{colour}\" \
             stroke-width=\"1.6\"/>"
        );
    };
    match series.mark {
        Mark::Line | Mark::Dashes => {
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let dashes = if series.mark == Mark::Dashes { " stroke-dasharray=\"5 4\"" } else { "" };
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"{dashes}/>",
                path.join(" ")
            );
        }
        Mark::Dots => places.iter().for_each(|&place| dot(svg, place, 2.8, colour)),
        Mark::Rings => places.iter().for_each(|&place| dot(svg, place, 5.5, "none")),
        Mark::Spans => {
            let (low, high) = places.split_at(places.len() / 2);
            for ((x, from), (_, to)) in low.iter().zip(high) {
                let _ = writeln!(
                    svg,
                    "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{to:.1}\" stroke=\"{colour}\" \
                     stroke-width=\"6\" opacity=\"0.35\"/>"
                );
            }
        }
    }
}

/// Where values stand along an axis.
struct Ruler {
    spacing: Spacing,
    /// The least and the greatest value, as logarithms where the spacing is of ratios.
    low: f64,
    high: f64,
    /// Where those stand.
    ends: (f64, f64),
}

impl Ruler {
    fn of(axis: &Axis, values: impl Iterator<Item = f64>, ends: (f64, f64)) -> Option<Self> {
        let on_scale = |value: f64| if axis.spacing == Spacing::Log { value.log10() } else { value };
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.map(on_scale).filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        let room = if high > low { 0.04 * (high - low) } else { 0.5 };
        (low <= high).then_some(Self { spacing: axis.spacing, low: low - room, high: high + room, ends })
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.spacing == Spacing::Log { value.log10() } else { value };
        let share = (value - self.low) / (self.high - self.low);
        self.ends.0 + share * (self.ends.1 - self.ends.0)
    }

    /// Round values within the ends, about `count` of them.
    fn marks(&self, count: usize) -> Vec<f64> {
        match self.spacing {
            Spacing::Linear => even_marks(self.low, self.high, count),
            // Within less than a power of ten, round differences read better.
            Spacing::Log if self.high - self.low < 0.8 => {
                even_marks(10f64.powf(self.low), 10f64.powf(self.high), count)
            }
            Spacing::Log => log_marks(self.low, self.high, count),
        }
    }
}

fn even_marks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|&step| step >= rough);
    let step = step.unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|mark| mark as f64 * step).collect()
}

fn log_marks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let powers = (low.ceil() as i32)..=(high.floor() as i32);
    let every = (powers.clone().count() / count.max(1)).max(1) as i32;
    let factors: &[f64] = if high - low < 2.2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let from = low.floor() as i32;
    let marks = (from..=*powers.end()).filter(|power| (power - from) % every == 0);
    let marks = marks.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
    marks.filter(|mark| (low..=high).contains(&mark.log10())).collect()
}

/// A number in few characters: `1.5k`, `2.4M`, `0.02`, `1e-7`.
pub fn short(value: f64) -> String {
    let size = value.abs();
    let trimmed = |value: f64| {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match size {
        _ if size == 0.0 => "0".to_owned(),
        _ if !(1e-3..1e12).contains(&size) => format!("{value:.0e}"),
        _ if size >= 1e9 => trimmed(value / 1e9) + "G",
        _ if size >= 1e6 => trimmed(value / 1e6) + "M",
        _ if size >= 1e4 => trimmed(value / 1e3) + "k",
        _ => trimmed(value),
    }
}

/// A table with figures: the first row is its head.
pub fn table(rows: &[Vec<String>]) -> String {
    let row = |(index, cells): (usize, &Vec<String>)| {
        let tag = if index == 0 { "th" } else { "td" };
        let cells = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect::<String>();
        format!("<tr>{cells}</tr>\n")
    };
    let rows = rows.iter().enumerate().map(row).collect::<String>();
    format!("<div class=\"scroll\"><table class=\"figures\">\n{rows}</table></div>\n")
}

/// A tile with a figure and what it is.
pub fn tile(figure: &str, what: &str) -> String {
    format!("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", escape(figure), escape(what))
}

/// A page of its own, in the style of the report of a run; `verdict` stands beside the title.
pub fn page(title: &str, verdict: &str, body: &str) -> String {
    let (title, verdict, style) = (escape(title), escape(verdict), record::style());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title} · Luban</title>\n<style>{style}{STYLE}</style>\n</head>\n<body>\n\
         <header><h1><span>Luban</span> · {title}</h1><span class=\"ending\">{verdict}</span></header>\n\
         {body}<footer>luban {}</footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Text as it may stand in HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(spacing: Spacing, points: Vec<(f64, f64)>) -> Plot {
        let axis = |label: &str| Axis { label: label.to_owned(), spacing };
        let series = |mark| Series { name: "a <b>".to_owned(), colour: 9, mark, points: points.clone() };
        let series = [Mark::Line, Mark::Dashes, Mark::Dots, Mark::Rings, Mark::Spans].map(series).to_vec();
        Plot { title: "t & u".to_owned(), x: axis("x"), y: axis("y"), series }
    }

    #[test]
    fn charts_stay_within_their_frame_and_hold_no_nonsense() {
        for spacing in [Spacing::Linear, Spacing::Log] {
            let points = vec![(1.0, 3.0), (10.0, 0.5), (1e5, f64::NAN), (0.0, 7.0), (2e5, 2.0), (4.0, 2.0)];
            let card = plot(spacing, points).card();
            assert!(card.contains("t &amp; u") && card.contains("a &lt;b&gt;"));
            assert!(!card.contains("NaN") && !card.contains("inf"), "{card}");
            for part in card.split("cx=\"").skip(1) {
                let place: f64 = part.split('"').next().unwrap().parse().unwrap();
                assert!((LEFT..=WIDTH - RIGHT).contains(&place), "{place}");
            }
        }
        assert_eq!(plot(Spacing::Log, vec![]).svg(), "");
        assert_eq!(plot(Spacing::Log, vec![(-1.0, 2.0)]).svg(), "");
    }

    #[test]
    fn marks_are_round() {
        let ruler = |spacing, low, high| Ruler { spacing, low, high, ends: (0.0, 1.0) };
        assert_eq!(ruler(Spacing::Linear, -0.04, 1.04).marks(5), [0.0, 0.5, 1.0]);
        assert_eq!(ruler(Spacing::Log, -0.1, 4.2).marks(6), [1.0, 10.0, 100.0, 1e3, 1e4]);
        assert_eq!(ruler(Spacing::Log, 4.9, 6.1).marks(6), [1e5, 2e5, 5e5, 1e6]);
        assert!(ruler(Spacing::Log, -20.0, 2.0).marks(5).len() <= 8);
        let shown = [0.0, 0.02, 1.25, 1500.0, 25_000.0, 3.05e6, 2e13, 1e-7].map(short);
        assert_eq!(shown, ["0", "0.02", "1.25", "1500", "25k", "3.05M", "2e13", "1e-7"]);
    }

    #[test]
    fn a_page_needs_nothing_from_outside() {
        let page = page("x<script>", "holds", &table(&[vec!["a".into()], vec!["<1".into()]]));
        assert!(page.contains("--accent:") && page.contains("<td>&lt;1</td>") && !page.contains("<script>"));
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
