//! The same charts in letters, for terminals.

use super::{Mark, Plot, Ruler, Series, short};

/// Signs of named series, in turn; what has no name is drawn in points of its own.
const SIGNS: [char; 10] = ['●', '○', '▲', '△', '■', '□', '◆', '◇', '★', '☆'];
const UNNAMED: char = '·';
const RING: char = '◎';
const RING_WITH_POINT: char = '◉';
const SPAN: char = '│';
/// Fewest columns and rows of the part that is drawn in.
const COLUMNS_MIN: usize = 16;
const ROWS_MIN: usize = 4;

impl Plot {
    /// The chart in lines of at most so many columns, its frame of so many rows; empty where there is no point to show.
    pub fn text(&self, columns: usize, rows: usize) -> String {
        let rows = rows.max(ROWS_MIN);
        let points = || self.series.iter().flat_map(|series| &series.points);
        let Some(up) = Ruler::of(&self.y, points().map(|point| point.1), ((rows - 1) as f64, 0.0)) else {
            return String::new();
        };
        let marks: Vec<(usize, String)> =
            up.marks(rows / 3).into_iter().map(|mark| (cell(up.place(mark)), short(mark))).collect();
        let margin = marks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
        let width = columns.saturating_sub(margin + 2).max(COLUMNS_MIN);
        let Some(across) = Ruler::of(&self.x, points().map(|point| point.0), (0.0, (width - 1) as f64)) else {
            return String::new();
        };
        let mut text = format!("{}\n", self.title);
        for (row, line) in self.cells(&across, &up, (width, rows)).iter().enumerate() {
            let mark = marks.iter().find(|(place, _)| *place == row);
            let (label, edge) = mark.map_or(("", '│'), |(_, label)| (label, '┤'));
            let line: String = line.iter().collect();
            text += &format!("{label:>margin$} {edge}{}\n", line.trim_end());
        }
        text += &format!("{:margin$} └{}\n", "", "─".repeat(width));
        text += &format!("{:margin$}  {}\n", "", labels(&across, width));
        text += &format!("{:margin$}  across: {}; up: {}\n", "", self.x.label, self.y.label);
        let key = self.key_in_letters();
        if !key.is_empty() {
            text += &format!("{:margin$}  {key}\n", "");
        }
        text
    }

    fn cells(&self, across: &Ruler, up: &Ruler, (width, rows): (usize, usize)) -> Vec<Vec<char>> {
        let mut cells = vec![vec![' '; width]; rows];
        // What has a name stands over what has none, and points over rings, in which they are seen.
        let mut signs = self.signs();
        signs.sort_by_key(|(series, sign)| if *sign == RING { 1 } else { 2 * u8::from(!series.name.is_empty()) });
        for (series, sign) in signs {
            let places = series.points.iter().map(|&(x, y)| (across.place(x), up.place(y)));
            let places: Vec<(f64, f64)> = places.filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
            for (x, y) in spread(series.mark, &places) {
                if let Some(cell) = cells.get_mut(cell(y)).and_then(|row| row.get_mut(cell(x))) {
                    *cell = if *cell == RING && sign != RING { RING_WITH_POINT } else { sign };
                }
            }
        }
        cells
    }

    /// Every series with its sign.
    fn signs(&self) -> Vec<(&Series, char)> {
        let mut named = SIGNS.iter().cycle();
        let sign = |series: &Series| match series {
            Series { mark: Mark::Rings, .. } => RING,
            Series { mark: Mark::Spans, .. } => SPAN,
            Series { name, .. } if name.is_empty() => UNNAMED,
            _ => named.next().copied().unwrap_or(UNNAMED),
        };
        let signs: Vec<char> = self.series.iter().map(sign).collect();
        self.series.iter().zip(signs).collect()
    }

    fn key_in_letters(&self) -> String {
        let named = self.signs().into_iter().filter(|(series, _)| !series.name.is_empty());
        named.map(|(series, sign)| format!("{sign} {}", series.name)).collect::<Vec<_>>().join("   ")
    }
}

fn cell(place: f64) -> usize {
    place.round().max(0.0) as usize
}

/// Every place that a series takes up: lines fill the cells between their points.
fn spread(mark: Mark, places: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let between = |from: (f64, f64), to: (f64, f64)| {
        let cells = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
        (0..=cells as usize).map(move |done| {
            let share = done as f64 / cells;
            (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1))
        })
    };
    match mark {
        Mark::Dots | Mark::Rings => places.to_vec(),
        Mark::Line | Mark::Dashes if places.len() < 2 => places.to_vec(),
        Mark::Line | Mark::Dashes => places.windows(2).flat_map(|pair| between(pair[0], pair[1])).collect(),
        Mark::Spans => {
            let (low, high) = places.split_at(places.len() / 2);
            low.iter().zip(high).flat_map(|(from, to)| between(*from, *to)).collect()
        }
    }
}

/// The marks of the axis across, each under its place, as far as they do not touch.
fn labels(across: &Ruler, width: usize) -> String {
    let mut line = String::new();
    let mut taken = 0;
    for mark in across.marks(width / 12) {
        let text = short(mark);
        let length = text.chars().count();
        let start = cell(across.place(mark)).saturating_sub(length / 2);
        if start >= taken && start + length <= width {
            line += &" ".repeat(start + usize::from(taken > 0) - taken);
            line += &text;
            taken = start + length + 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::{Axis, Spacing};
    use super::*;

    fn series(name: &str, mark: Mark, points: &[(f64, f64)]) -> Series {
        Series { name: name.to_owned(), colour: 0, mark, points: points.to_vec() }
    }

    fn plot(spacing: Spacing, series: Vec<Series>) -> Plot {
        let axis = |label: &str, spacing| Axis { label: label.to_owned(), spacing };
        Plot { title: "title".to_owned(), x: axis("steps", spacing), y: axis("share", Spacing::Linear), series }
    }

    #[test]
    fn points_stand_where_their_values_are() {
        let corners = [(0.0, 0.0), (10.0, 1.0)];
        let drawn = plot(Spacing::Linear, vec![series("corner", Mark::Dots, &corners)]).text(40, 11);
        let lines: Vec<&str> = drawn.lines().collect();
        let column = |line: &str| line.chars().position(|letter| letter == '●');
        let row = |label: &str| lines.iter().position(|line| line.trim_start().starts_with(label)).unwrap();
        let (low, high) = (column(lines[row("0 ┤")]).unwrap(), column(lines[row("1 ┤")]).unwrap());
        assert!(low < 9 && high > 34 && row("1 ┤") < row("0 ┤"), "\n{drawn}");
        assert_eq!(drawn.matches('●').count(), 3, "two points and the key\n{drawn}");
        assert!(drawn.contains("across: steps; up: share") && drawn.contains("● corner"), "\n{drawn}");
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "\n{drawn}");
        let ends = lines.iter().find(|line| line.trim_start().starts_with("0  ")).unwrap();
        assert_eq!(ends.chars().position(|letter| letter == '0'), Some(low), "under its point\n{drawn}");
    }

    #[test]
    fn lines_are_whole_and_signs_tell_series_apart() {
        let rise = [(1.0, 0.0), (1000.0, 1.0)];
        let series =
            vec![series("", Mark::Line, &rise), series("a", Mark::Rings, &rise), series("b", Mark::Dashes, &rise)];
        let drawn = plot(Spacing::Log, series).text(50, 12);
        let frame: Vec<&str> = drawn.lines().filter(|line| line.contains(['│', '┤'])).collect();
        assert_eq!(frame.len(), 12);
        let rows = frame.iter().filter(|line| line.contains(['●', '◎', '◉'])).count();
        assert!(rows >= 11, "no row between is left out\n{drawn}");
        assert!(drawn.contains("◎ a   ● b"), "\n{drawn}");
    }

    #[test]
    fn nothing_to_show_is_nothing_shown() {
        assert_eq!(plot(Spacing::Log, vec![]).text(60, 10), "");
        assert_eq!(plot(Spacing::Log, vec![series("a", Mark::Dots, &[(-1.0, f64::NAN)])]).text(60, 10), "");
        let one = plot(Spacing::Log, vec![series("a", Mark::Line, &[(5.0, 2.0)])]).text(0, 0);
        assert!(one.contains('●'), "\n{one}");
    }
}
