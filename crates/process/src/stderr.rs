//! Standard error, on which nobody is waited for for long.
//!
//! # Failure by failure
//!
//! * **Nobody reads it** (a log shipper hangs, a terminal is held by Ctrl-S). A pipe that is full would stop the thread
//!   that logs, and with it a worker that drains. So the first line that finds no room waits for it, for
//!   [`PATIENCE`], and lines are lost from then on until there is room again. `ltv_log_lines_lost_total` counts them.
//! * **It is closed, or its disk is full.** Lines are lost, and counted.
//!
//! A line that is longer than a pipe takes at once may be cut off; the next one begins on a line of its own.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, describe_counter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a line waits for room.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// What a pipe takes without making the writer wait, if it takes anything: POSIX's least `PIPE_BUF` on Linux.
const AT_ONCE: usize = 4096;

const LOST: &str = "ltv_log_lines_lost_total";

/// What became of the lines before, for all of this process's writers to it.
static PACE: Mutex<Pace> = Mutex::new(Pace { is_stuck: false, is_torn: false });

/// Describes its metric.
pub(crate) fn describe_metrics() {
    describe_counter!(LOST, "log lines that nobody read in time");
}

/// Writes a line to standard error. It waits for room for so long at most; a line without room is lost.
pub fn write_line(line: &[u8], patience: Duration) {
    // What a panicking thread left behind is still right: two flags.
    let mut pace = PACE.lock().unwrap_or_else(PoisonError::into_inner);
    if !pace.write(&mut io::stderr().lock(), line, patience) {
        counter!(LOST).increment(1);
    }
}

/// Standard error as a log's writer: each write is a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write_line(line, PATIENCE);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How the reader keeps up.
#[derive(Debug)]
struct Pace {
    /// There was no room for the line before.
    is_stuck: bool,
    /// The line before was cut off.
    is_torn: bool,
}

impl Pace {
    /// Returns whether all of the line was written.
    fn write(&mut self, out: &mut (impl Write + AsFd), line: &[u8], patience: Duration) -> bool {
        let is_torn = std::mem::take(&mut self.is_torn);
        let patience = if self.is_stuck { Duration::ZERO } else { patience };
        let pieces = is_torn.then_some(&b"\n"[..]).into_iter().chain(line.chunks(AT_ONCE));
        for (index, piece) in pieces.enumerate() {
            self.is_stuck = !has_room(out, patience);
            if self.is_stuck || out.write_all(piece).is_err() {
                self.is_torn = is_torn || index > 0;
                return false;
            }
        }
        true
    }
}

/// Whether a piece can be written now, or within some time. What cannot be asked is written to.
fn has_room(out: &impl AsFd, patience: Duration) -> bool {
    let Ok(patience) = Timespec::try_from(patience) else { return true };
    let mut asked = [PollFd::new(out, PollFlags::OUT)];
    // A signal in between counts as no room: the line waited.
    match poll(&mut asked, Some(&patience)) {
        Ok(ready) => ready > 0,
        Err(error) => error != rustix::io::Errno::INTR,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const NO_PATIENCE: Duration = Duration::ZERO;

    #[test]
    fn a_pipe_that_nobody_reads_costs_lines_and_no_waiting_and_the_next_line_begins_anew() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let mut pace = Pace { is_stuck: false, is_torn: false };
        let long = [&[b'x'; 3 * AT_ONCE][..], b"\n"].concat();

        let written = (0..1_000).take_while(|_| pace.write(&mut writer, &long, NO_PATIENCE)).count();
        let before = pace.write(&mut writer, b"lost\n", NO_PATIENCE);
        let mut read = vec![0; 1 << 20];
        let drained = reader.read(&mut read).unwrap();
        let after = pace.write(&mut writer, b"heard\n", NO_PATIENCE);
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();

        assert!(written > 0 && written < 1_000);
        assert!(!before);
        assert!(after);
        let heard = [&read[..drained], rest.as_bytes()].concat();
        assert!(heard.ends_with(b"x\nheard\n"), "{:?}", String::from_utf8_lossy(&heard[heard.len() - 20..]));
    }

    #[test]
    fn a_closed_pipe_is_no_panic() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let mut pace = Pace { is_stuck: false, is_torn: false };

        assert!(!pace.write(&mut writer, b"line\n", NO_PATIENCE));
    }
}
