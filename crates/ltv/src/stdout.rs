//! What is printed: the answer on standard output, remarks on standard error.
//!
//! # Failure by failure
//!
//! * **Nobody reads any more** (`ltv runs list | head -1`). The command ends quietly, with the exit code that a shell
//!   gives to a program that SIGPIPE has ended. What it did before it spoke is done.
//! * **The answer cannot be written** (a full disk). The command fails, with the reason.
//! * **A remark cannot be written**, or nobody reads it within [`PATIENCE`]. It is lost; the work goes on.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::Duration;

/// How long a remark waits to be read: people page through what a command says, and a role must end all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why an answer did not get out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsaid {
    /// Nobody reads it any more.
    #[error("nobody reads standard output any more")]
    Closed,
    /// It cannot be written.
    #[error("cannot write to standard output")]
    Failed(#[source] io::Error),
}

impl From<io::Error> for Unsaid {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

/// Prints a line of the answer, as `println!` would if it could fail.
macro_rules! say {
    ($($line:tt)*) => { $crate::stdout::line(format_args!($($line)*)) };
}

/// Prints a remark, as `eprintln!` would if it could not panic.
macro_rules! note {
    ($($line:tt)*) => { $crate::stdout::remark(format_args!($($line)*)) };
}

pub(crate) use {note, say};

pub(crate) fn line(line: fmt::Arguments<'_>) -> Result<(), Unsaid> {
    put(format_args!("{line}\n"))
}

/// Prints a text that brings its own line ends.
pub(crate) fn put(text: impl Display) -> Result<(), Unsaid> {
    write_to(&mut io::stdout().lock(), text)
}

pub(crate) fn remark(line: fmt::Arguments<'_>) {
    process::stderr::write_line(format!("{line}\n").as_bytes(), PATIENCE);
}

fn write_to(out: &mut impl Write, text: impl Display) -> Result<(), Unsaid> {
    write!(out, "{text}")?;
    // Text that ends without a line end would otherwise be written when nobody can be told any more.
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_and_a_full_disk_are_told_apart() {
        let closed = write_to(&mut Refusing(io::ErrorKind::BrokenPipe), "line");
        let full = write_to(&mut Refusing(io::ErrorKind::StorageFull), "line");

        assert!(matches!(closed, Err(Unsaid::Closed)), "{closed:?}");
        assert!(matches!(full, Err(Unsaid::Failed(_))), "{full:?}");
    }
}
