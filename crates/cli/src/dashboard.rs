//! A training run in the terminal.

use std::io;
use std::time::{Duration, Instant};

use luban_train::record::{Entry, Snapshot};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph, Row, Sparkline, Table, Wrap};
use ratatui::{DefaultTerminal, Frame};

use crate::commands::watch::figures;

/// How often the record is read again.
const REFRESH: Duration = Duration::from_secs(1);
/// Points of a chart, at most.
const POINTS_MAX: usize = 400;
/// Control characters in a sample would move the cursor.
const SAFE_BREAKS: [char; 2] = ['\n', '\t'];

/// Draws a run until `q`, Escape or Ctrl-C; `read` gives its record.
///
/// # Errors
/// If the terminal or the record fails.
pub fn show(read: impl Fn() -> io::Result<Snapshot>) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let shown = run(&mut terminal, read);
    ratatui::try_restore()?;
    shown
}

fn run(terminal: &mut DefaultTerminal, read: impl Fn() -> io::Result<Snapshot>) -> io::Result<()> {
    let mut snapshot = read()?;
    loop {
        terminal.draw(|frame| draw(frame, &snapshot))?;
        let next = Instant::now() + REFRESH;
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            if !event::poll(left)? {
                break;
            }
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    let stop = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                    if stop || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                        return Ok(());
                    }
                }
                // A new size is drawn at once.
                Event::Resize(..) => break,
                _ => {}
            }
        }
        // Between two files of a record that is being written anew, the old picture stays.
        snapshot = read().unwrap_or(snapshot);
    }
}

/// Draws one picture.
fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot) {
    let rows = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(10),
        Constraint::Length(9),
        Constraint::Length(1),
    ];
    let [title, progress, middle, below, foot] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(Line::from(vec!["Luban ".cyan().bold(), clean(&snapshot.header.name).into()]), title);
    let share = snapshot.done() as f64 / snapshot.header.steps_total.max(1) as f64;
    frame.render_widget(Gauge::default().ratio(share.clamp(0.0, 1.0)).gauge_style(Style::new().cyan()), progress);
    let [losses, numbers] = Layout::horizontal([Constraint::Min(30), Constraint::Length(44)]).areas(middle);
    draw_losses(frame, losses, snapshot);
    draw_figures(frame, numbers, snapshot);
    let [sample, curves] = Layout::horizontal([Constraint::Min(30), Constraint::Length(44)]).areas(below);
    draw_sample(frame, sample, snapshot);
    draw_curves(frame, curves, snapshot);
    frame.render_widget(Line::from("q leaves; the run goes on".dim()), foot);
}

fn draw_losses(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let steps: Vec<(f64, f64)> = snapshot.steps().map(|step| (step.step as f64, step.loss)).collect();
    let training = thinned(&steps);
    let validation: Vec<(f64, f64)> = snapshot
        .entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Validation { step, loss, .. } => Some((*step as f64, *loss)),
            _ => None,
        })
        .collect();
    let values = || training.iter().chain(&validation).map(|point| point.1).filter(|loss| loss.is_finite());
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return frame.render_widget(Paragraph::new("no steps yet").block(Block::bordered().title(" Loss ")), area);
    }
    let margin = ((high - low) * 0.05).max(0.01);
    let (low, high) = (low - margin, high + margin);
    let last = steps.last().map_or(1.0, |point| point.0).max(2.0);
    let line = |name, marker, kind, colour| {
        Dataset::default().name(name).marker(marker).graph_type(kind).style(Style::new().fg(colour))
    };
    let chart = Chart::new(vec![
        line("training", Marker::Braille, GraphType::Line, Color::Cyan).data(&training),
        line("validation", Marker::Dot, GraphType::Scatter, Color::Yellow).data(&validation),
    ]);
    let marks = [low, f64::midpoint(low, high), high].map(|mark| format!("{mark:.2}"));
    let chart = chart
        .block(Block::bordered().title(" Loss "))
        .x_axis(Axis::default().bounds([1.0, last]).labels(["1".to_owned(), format!("{last}")]))
        .y_axis(Axis::default().bounds([low, high]).labels(marks));
    frame.render_widget(chart, area);
}

fn draw_figures(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let rows =
        figures(snapshot).into_iter().map(|(name, value)| Row::new([Line::from(name.dim()), clean(&value).into()]));
    let table = Table::new(rows, [Constraint::Length(21), Constraint::Min(10)]);
    frame.render_widget(table.block(Block::bordered().title(" Now ")), area);
}

fn draw_sample(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let newest = snapshot.entries.iter().rev().find_map(|entry| match entry {
        Entry::Sample { step, text } => Some((format!(" Sample after step {step} "), text.as_str())),
        _ => None,
    });
    let (title, text) = newest.unwrap_or((" Sample ".to_owned(), "none yet"));
    let paragraph = Paragraph::new(clean(text)).wrap(Wrap { trim: false });
    frame.render_widget(paragraph.block(Block::bordered().title(title)), area);
}

fn draw_curves(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let [speed, norm, rate] = Layout::vertical([Constraint::Fill(1); 3]).areas(area);
    let width = usize::from(area.width.saturating_sub(2)).max(1);
    let mut curve = |area, title, values: Vec<f64>| {
        let newest = &values[values.len().saturating_sub(width)..];
        let most = newest.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let heights: Vec<u64> = newest.iter().map(|value| (1000.0 * value / most) as u64).collect();
        let block = Block::bordered().title(title);
        frame
            .render_widget(Sparkline::default().data(&heights).max(1000).style(Style::new().cyan()).block(block), area);
    };
    curve(speed, " Tokens a second ", snapshot.steps().map(|step| step.tokens_per_second).collect());
    curve(norm, " Gradient norm ", snapshot.steps().map(|step| step.gradient_norm).collect());
    let rates: Vec<(f64, f64)> = snapshot.steps().map(|step| (step.step as f64, step.learning_rate)).collect();
    let every = rates.len().div_ceil(width).max(1);
    curve(rate, " Learning rate, the whole run ", rates.iter().step_by(every).map(|point| point.1).collect());
}

/// Means of neighbours, so that there are few points.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let each = points.len().div_ceil(POINTS_MAX).max(1);
    let mean = |part: &[(f64, f64)]| part.iter().map(|point| point.1).sum::<f64>() / part.len() as f64;
    points.chunks(each).filter_map(|part| Some((part.last()?.0, mean(part)))).collect()
}

/// Text without what would act on the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !SAFE_BREAKS.contains(&c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use luban_train::record::{Ending, Header, Step};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn picture(entries: Vec<Entry>, ending: Ending) -> String {
        let header = Header { name: "tiny\u{1b}[2J".into(), steps_total: 200, ..Header::default() };
        let snapshot = Snapshot { header, ending, figures: serde_json::Value::Null, entries };
        let mut terminal = Terminal::new(TestBackend::new(120, 32)).unwrap();
        terminal.draw(|frame| draw(frame, &snapshot)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_run_is_drawn_with_its_figures() {
        let step = |step: u64| Step {
            step,
            unix_s: 2.0 * step as f64,
            loss: 4.0 - step as f64 / 100.0,
            learning_rate: 1e-3,
            gradient_norm: 0.5,
            tokens_per_second: 12_345.0,
            memory: Some(250_000_000),
        };
        let mut entries: Vec<Entry> = (1..=100).map(|number| Entry::Step(step(number))).collect();
        entries.push(Entry::Validation {
            step: 100,
            loss: 3.25,
            bits_per_byte: 1.5,
            perplexity: Some(25.79),
            accuracy: Some(0.4375),
        });
        entries.push(Entry::Sample { step: 100, text: "fn main() {\u{7}}".into() });
        let drawn = picture(entries, Ending::Running);
        for part in [
            "100 of 200",
            "3.0000",
            "3.2500",
            "25.79",
            "43.8 %",
            "12,345",
            "250",
            "3:20",
            "Sample after step 100",
            "fn main() {\u{fffd}}",
        ] {
            assert!(drawn.contains(part), "{part} in\n{drawn}");
        }
        assert!(!drawn.contains('\u{1b}'));
    }

    #[test]
    fn a_run_without_steps_and_one_that_went_wrong_are_drawn_too() {
        assert!(picture(Vec::new(), Ending::Running).contains("no steps yet"));
        let drawn = picture(Vec::new(), Ending::Failed("the loss is no number".into()));
        assert!(drawn.contains("failed: the loss"), "{drawn}");
    }
}
