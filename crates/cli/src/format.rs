//! Numbers as people read them.

use luban_model::Spec;
use luban_model::spec::Experts;

/// Size of a chart in letters.
pub const CHART_COLUMNS: usize = 96;
/// See [`CHART_COLUMNS`].
pub const CHART_ROWS: usize = 12;

/// The feed-forward parts of a model with experts.
pub fn experts(spec: &Spec) -> Option<String> {
    let Experts { count, per_token, width, .. } = spec.experts.as_ref()?;
    Some(format!("{per_token} of {count} experts of {}", grouped(*width as u64)))
}

/// `1,234,567`.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three figures and a decimal prefix: `12.0 MB`.
pub fn bytes(value: f64) -> String {
    let (number, prefix) = scaled(value);
    format!("{number} {prefix}B")
}

/// Three figures and a decimal prefix: `2.20 M`, `175 G`, `512`.
pub fn count(value: f64) -> String {
    let (number, prefix) = scaled(value);
    format!("{number} {prefix}").trim_end().to_owned()
}

fn scaled(value: f64) -> (String, &'static str) {
    const PREFIXES: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let mut scaled = value;
    let mut prefix = 0;
    // 999.5 would be shown as 1000.
    while scaled.abs() >= 999.5 && prefix + 1 < PREFIXES.len() {
        scaled /= 1000.0;
        prefix += 1;
    }
    let decimals = match scaled.abs() {
        _ if prefix == 0 && scaled.fract() == 0.0 => 0,
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    (format!("{scaled:.decimals$}"), PREFIXES[prefix])
}

/// `45 s`, `3 min 05 s`, `2 h 04 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `1.37e21` as people write it.
pub fn scientific(value: f64) -> String {
    format!("{value:.2e}")
}

/// Lines of columns; `alignment` has a letter for each: `l` stands left, `r` right. The last letter goes for all
/// columns after it too.
pub fn table(alignment: &str, rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths = (0..columns).map(width).collect::<Vec<_>>();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            let gap = if column == 0 { "" } else { "  " };
            let left = alignment.as_bytes().get(column).or(alignment.as_bytes().last()) == Some(&b'l');
            line += &if left { format!("{gap}{cell}{padding}") } else { format!("{gap}{padding}{cell}") };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A number of bytes as people type it: `80GB`, `24GiB`, `512M`, `1000`.
///
/// # Errors
/// Says what was expected.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => f64::from(1u32 << 20),
        "gib" => f64::from(1u32 << 30),
        "tib" => f64::from(1u32 << 30) * 1024.0,
        _ => return Err(format!("'{unit}' is no unit of memory: B, kB, MB, GB, TB, KiB, MiB, GiB or TiB")),
    };
    match number.parse::<f64>() {
        Ok(number) if number > 0.0 && number * scale < 1e18 => Ok((number * scale) as u64),
        _ => Err(format!("'{text}' is not an amount of memory such as 80GB")),
    }
}

/// A count as people type it: `300e9`, `1_000_000`, `20000`.
///
/// # Errors
/// Says what was expected.
pub fn parse_count(text: &str) -> Result<f64, String> {
    match text.replace('_', "").parse::<f64>() {
        Ok(count) if count > 0.0 && count < 1e30 => Ok(count),
        _ => Err(format!("'{text}' is not a count such as 300e9")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(count(2_200_000.0), "2.20 M");
        assert_eq!(count(999_950.0), "1.00 M");
        assert_eq!(count(174.6e9), "175 G");
        assert_eq!(bytes(12e6), "12.0 MB");
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(duration(59.6), "1 min 00 s");
        assert_eq!(duration(7440.0), "2 h 04 min");
        assert_eq!(scientific(3.143e23), "3.14e23");
    }

    #[test]
    fn memory_and_counts_are_understood_or_refused() {
        assert_eq!(parse_bytes("80GB"), Ok(80_000_000_000));
        assert_eq!(parse_bytes("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("1000"), Ok(1000));
        for bad in ["", "GB", "80 apples", "-1GB", "0", "1e99GB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_count("300e9"), Ok(300e9));
        assert!(parse_count("many").is_err() && parse_count("-3").is_err() && parse_count("nan").is_err());
    }

    #[test]
    fn tables_line_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["bcd".to_owned(), "234".to_owned()]];
        assert_eq!(table("lr", &rows), "a      1\nbcd  234\n");
        assert_eq!(table("rl", &rows), "  a  1\nbcd  234\n");
    }
}
