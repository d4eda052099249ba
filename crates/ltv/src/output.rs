//! What a person reads: numbers with separators, money, durations, tables, a progress bar.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use batch::{Forecast, Outlook, Progress};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use crate::load;

/// Writes a count as people do: `1,234,567`.
pub(crate) fn count(number: impl TryInto<i128>) -> String {
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
pub(crate) fn money(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let minor = minor.unsigned_abs();
    format!("{sign}{}.{:02}", count(i128::from(minor / 100)), minor % 100)
}

/// Writes a duration as people say it: `1 h 2 min`, `3 min 4 s`, `5.6 s`, `78 ms`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        3_600.. => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        60.. => format!("{} min {} s", seconds / 60, seconds % 60),
        1.. => format!("{:.1} s", duration.as_secs_f64()),
        0 => format!("{} ms", duration.as_millis()),
    }
}

/// Lays rows out in columns, the first to the left and the others to the right unless `left` names them.
pub(crate) fn table(heads: &[&str], left: &[usize], rows: &[Vec<String>]) -> String {
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

/// Shows how far a run is: a bar on a terminal, plain lines elsewhere.
pub(crate) struct RunBar {
    bar: Option<ProgressBar>,
    told: u64,
}

impl RunBar {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("  {bar:40.cyan/dim} {percent:>3} %  {msg}")
                .expect("the template is a constant")
                .progress_chars("━╸─");
            ProgressBar::new(1_000).with_style(style)
        });
        Self { bar, told: 0 }
    }

    /// Shows a state of the run.
    pub(crate) fn show(&mut self, progress: &Progress, seen: &Forecast, now: Timestamp, elapsed: Duration) {
        let settled = progress.values + progress.rejections;
        let rate = settled as f64 / elapsed.as_secs_f64().max(0.001);
        let left = seen
            .finish_at
            .map(|end| format!(", {} left", duration(end.duration_since(now).unsigned_abs())))
            .unwrap_or_default();
        let mut message = format!(
            "{} of {} customers, {}/s{left}",
            count(settled),
            count(progress.customers),
            count(rate as u64)
        );
        if seen.outlook != Outlook::OnTrack {
            let _ = write!(message, ", {}", seen.outlook.as_str());
        }
        let share = (1_000.0 * progress.share()) as u64;
        match &self.bar {
            Some(bar) => {
                bar.set_position(share);
                bar.set_message(message);
            }
            None if share / 100 > self.told => {
                self.told = share / 100;
                eprintln!("  {:>3} %  {message}", share / 10);
            }
            None => {}
        }
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows how far the reading of files is: a bar over the bytes on a terminal, a line for each stage elsewhere.
#[derive(Default)]
pub(crate) struct FileBar {
    bar: Option<ProgressBar>,
    stage: Option<load::Stage>,
}

impl FileBar {
    /// Shows how far it is.
    pub(crate) fn show(&mut self, progress: load::Progress) {
        let is_new = self.stage != Some(progress.stage);
        self.stage = Some(progress.stage);
        if !std::io::stderr().is_terminal() {
            if is_new {
                eprintln!("  {}", progress.stage);
            }
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("  {msg:28} {bar:40.cyan/dim} {prefix}")
                .expect("the template is a constant");
            ProgressBar::new(1).with_style(style.progress_chars("━╸─"))
        });
        bar.set_length(progress.total_bytes.max(1));
        bar.set_position(progress.bytes);
        bar.set_message(progress.stage.to_string());
        bar.set_prefix(if progress.rows > 0 { count(progress.rows) } else { String::new() });
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
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
    fn durations_are_said_in_the_unit_that_matters() {
        assert_eq!(duration(Duration::from_millis(78)), "78 ms");
        assert_eq!(duration(Duration::from_millis(5_600)), "5.6 s");
        assert_eq!(duration(Duration::from_secs(184)), "3 min 4 s");
        assert_eq!(duration(Duration::from_mins(62)), "1 h 2 min");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "1".into()], vec!["bcd".into(), "22".into()]];

        assert_eq!(table(&["name", "n"], &[], &rows), "  name   n\n  a      1\n  bcd   22\n");
    }
}
