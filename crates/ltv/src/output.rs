//! What a person reads: durations, a progress bar; numbers and tables are laid out in `offline`.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use batch::{Forecast, Outlook, Progress};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

pub(crate) use offline::layout::{count, money, table};

use crate::load;
use crate::stdout::note;

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

/// Writes a name that the business chose so that it stays on its line and gives a terminal no orders.
pub(crate) fn plain(name: &str) -> String {
    let written = |letter: char| {
        if letter.is_control() { letter.escape_default().collect() } else { String::from(letter) }
    };
    name.chars().map(written).collect()
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
                note!("  {:>3} %  {message}", share / 10);
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
                note!("  {}", progress.stage);
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
    fn a_name_stays_on_its_line_and_gives_a_terminal_no_orders() {
        assert_eq!(plain("Caf\u{e9} & Bar"), "Caf\u{e9} & Bar");
        assert_eq!(plain("a\nb\u{1b}[2J\u{9b}"), "a\\nb\\u{1b}[2J\\u{9b}");
    }

    #[test]
    fn durations_are_said_in_the_unit_that_matters() {
        assert_eq!(duration(Duration::from_millis(78)), "78 ms");
        assert_eq!(duration(Duration::from_millis(5_600)), "5.6 s");
        assert_eq!(duration(Duration::from_secs(184)), "3 min 4 s");
        assert_eq!(duration(Duration::from_mins(62)), "1 h 2 min");
    }
}
