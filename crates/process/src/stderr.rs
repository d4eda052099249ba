//! Standard error, on which nobody is waited for for long.
//!
//! # Failure by failure
//!
//! * **Nobody reads it** (a log shipper hangs, a terminal is held by Ctrl-S). A pipe that is full would stop the thread
//!   that logs, and with it a worker that drains. So the first line that finds no room waits for it, for
//!   [`PATIENCE`], and lines are lost from then on until there is room again. `ltv_log_lines_lost_total` counts them.
//! * **Others write to it too,** and take the room between the look for it and the write. The write itself does not wait:
//!   pipes and terminals are opened anew, for this process alone, so that such a write is refused instead. What cannot be
//!   opened anew (a socket, whose buffer takes many lines; another user's pipe) is written to when there is room.
//! * **It is closed, or its disk is full.** Lines are lost, and counted.
//!
//! A line that is longer than a pipe takes at once may be cut off; the next one begins on a line of its own.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, describe_counter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};

/// How long a line waits for room.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// What a pipe takes without making the writer wait, if it takes anything: POSIX's least `PIPE_BUF` on Linux.
const AT_ONCE: usize = 4096;

const LOST: &str = "ltv_log_lines_lost_total";

/// What became of the lines before, for all of this process's writers to it.
static PACE: Mutex<Pace> = Mutex::new(Pace { is_stuck: false, is_torn: false });

/// Standard error, opened anew, where it can be.
static UNWAITING: OnceLock<Option<File>> = OnceLock::new();

/// Describes its metric.
pub(crate) fn describe_metrics() {
    describe_counter!(LOST, "log lines that nobody read in time");
}

/// Writes a line to standard error. It waits for room for so long at most; a line without room is lost.
pub fn write_line(line: &[u8], patience: Duration) {
    // What a panicking thread left behind is still right: two flags.
    let mut pace = PACE.lock().unwrap_or_else(PoisonError::into_inner);
    let is_written = match UNWAITING.get_or_init(|| unwaiting(&io::stderr())) {
        Some(out) => pace.write(&mut &*out, line, patience),
        None => pace.write(&mut io::stderr().lock(), line, patience),
    };
    if !is_written {
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
        let patience = if self.is_stuck { Duration::ZERO } else { patience };
        let until = now() + patience;
        let pieces = self.is_torn.then_some(&b"\n"[..]).into_iter().chain(line.chunks(AT_ONCE));
        for piece in pieces {
            let mut rest = piece;
            while !rest.is_empty() {
                let left = until.saturating_duration_since(now());
                match self.write_some(out, rest, left) {
                    Ok(written) => rest = &rest[written..],
                    // Somebody else took the room.
                    Err(error) if error.kind() == ErrorKind::WouldBlock && !left.is_zero() => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return false,
                }
            }
        }
        self.is_torn = false;
        true
    }

    /// Writes as much as there is room for within some time.
    fn write_some(
        &mut self,
        out: &mut (impl Write + AsFd),
        piece: &[u8],
        patience: Duration,
    ) -> io::Result<usize> {
        let written =
            if has_room(out, patience) { out.write(piece) } else { Err(ErrorKind::WouldBlock.into()) };
        self.is_stuck = written.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        match written {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                self.is_torn = true;
                Ok(written)
            }
            Err(error) => Err(error),
        }
    }
}

/// Opens a pipe or a terminal anew so that writing never waits. On the one that was inherited that cannot be asked for:
/// it is shared with others, who may not expect it.
fn unwaiting(out: &impl AsFd) -> Option<File> {
    let out = out.as_fd();
    let kind = FileType::from_raw_mode(rustix::fs::fstat(out).ok()?.st_mode);
    if !matches!(kind, FileType::Fifo | FileType::CharacterDevice) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", out.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok().map(File::from)
}

/// The clock that the kernel waits by.
#[expect(
    clippy::disallowed_methods,
    reason = "this thread waits in the kernel, whatever a test does to tokio's clock"
)]
fn now() -> Instant {
    Instant::now()
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

    /// Looked for by us, and taken by another process before we write.
    struct Rival {
        ours: File,
        theirs: File,
    }

    impl AsFd for Rival {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.ours.as_fd()
        }
    }

    impl Write for Rival {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            while self.theirs.write(&[b'y'; AT_ONCE]).is_ok() {}
            self.ours.write(piece)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn room_that_another_process_takes_first_costs_the_line_and_no_waiting() {
        let (_reader, writer) = io::pipe().unwrap();
        let (ours, theirs) = (unwaiting(&writer).unwrap(), unwaiting(&writer).unwrap());
        let (tell, told) = std::sync::mpsc::channel();

        std::thread::spawn(move || {
            let mut pace = Pace { is_stuck: false, is_torn: false };
            let is_written = pace.write(&mut Rival { ours, theirs }, b"line\n", NO_PATIENCE);
            let _ = tell.send((is_written, pace.is_stuck));
        });

        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok((false, true)));
    }

    #[test]
    fn a_closed_pipe_is_no_panic() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let mut pace = Pace { is_stuck: false, is_torn: false };

        assert!(!pace.write(&mut writer, b"line\n", NO_PATIENCE));
    }
}
