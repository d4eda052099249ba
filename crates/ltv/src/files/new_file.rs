//! A file that appears under its name when it is complete, and not before.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Written beside its name; left alone, it is taken away again.
pub(crate) struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    writer: BufWriter<File>,
    is_finished: bool,
}

impl NewFile {
    /// Begins the file. What stands under its name stays there until [`finish`](Self::finish).
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut name = OsString::from(".");
        name.push(path.file_name().with_context(|| format!("{}: not a file name", path.display()))?);
        // Two commands that write the same name do not write into each other's file.
        name.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(name);
        let file = File::create(&partial).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path: path.to_owned(), partial, writer: BufWriter::new(file), is_finished: false })
    }

    /// Gives the file its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        let name = self.path.display();
        self.writer.flush().with_context(|| format!("write {name}"))?;
        self.writer.get_ref().sync_all().with_context(|| format!("write {name}"))?;
        fs::rename(&self.partial, &self.path).with_context(|| format!("write {name}"))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // The command has failed already; a leftover under a hidden name harms nobody.
            let _ = fs::remove_file(&self.partial);
        }
    }
}
