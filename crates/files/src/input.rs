//! Opens a file that may be compressed, and counts how much of it has been read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// A file as text, whether it is compressed or not.
#[derive(Debug)]
pub(crate) struct Input {
    content: Content,
    total_bytes: u64,
}

#[derive(Debug)]
enum Content {
    Plain(BufReader<Counted>),
    Gzip(MultiGzDecoder<BufReader<Counted>>),
}

/// A file that knows how much of it was read.
#[derive(Debug)]
struct Counted {
    file: File,
    bytes_read: u64,
}

impl Input {
    /// Opens a file. Whether it is compressed is told by its first bytes, never by its name.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let mut reader = BufReader::with_capacity(64 * 1024, Counted { file, bytes_read: 0 });
        let content = if reader.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            Content::Gzip(MultiGzDecoder::new(reader))
        } else {
            Content::Plain(reader)
        };
        Ok(Self { content, total_bytes: metadata.len() })
    }

    /// How much of the file, as it is on disk, has been read.
    pub(crate) fn bytes_read(&self) -> u64 {
        match &self.content {
            Content::Plain(reader) => reader.get_ref().bytes_read,
            Content::Gzip(decoder) => decoder.get_ref().get_ref().bytes_read,
        }
    }

    /// How large the file is on disk.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Whether the file is compressed.
    pub(crate) fn is_gzip(&self) -> bool {
        matches!(self.content, Content::Gzip(_))
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.content {
            Content::Plain(reader) => reader.read(buffer),
            Content::Gzip(decoder) => decoder.read(buffer),
        }
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes_read += read as u64;
        Ok(read)
    }
}
