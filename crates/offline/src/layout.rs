//! Numbers and tables, laid out for a person.

use std::fmt::Write as _;

/// Writes a count as people do: `1,234,567`.
pub fn count(number: impl TryInto<i128>) -> String {
    let number: i128 = number.try_into().unwrap_or_default();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes minor units of a currency with two decimals: `12,345.67`.
pub fn money(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let minor = minor.unsigned_abs();
    format!("{sign}{}.{:02}", count(i128::from(minor / 100)), minor % 100)
}

/// Lays rows out in columns, the first to the left and the others to the right unless `left` names them.
pub fn table(heads: &[&str], left: &[usize], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(heads[column].chars().count())
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[&str]| {
        let mut whole = String::from("  ");
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            let written = if column == 0 || left.contains(&column) {
                write!(whole, "{cell:<width$}  ")
            } else {
                write!(whole, "{cell:>width$}  ")
            };
            written.expect("writing to a string cannot fail");
        }
        text.push_str(whole.trim_end());
        text.push('\n');
    };
    line(heads);
    for row in rows {
        line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(-1_234_567_i64), "-1,234,567");
        assert_eq!(money(-5), "-0.05");
        assert_eq!(money(123_456_789), "1,234,567.89");
        assert_eq!(money(i64::MIN), "-92,233,720,368,547,758.08");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "1".into()], vec!["bcd".into(), "22".into()]];

        assert_eq!(table(&["name", "n"], &[], &rows), "  name   n\n  a      1\n  bcd   22\n");
    }
}
