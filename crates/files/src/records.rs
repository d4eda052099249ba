//! Cuts CSV text into records (RFC 4180, commas); `fields.rs` cuts records into fields.
//!
//! The `csv` crate does this too, and agrees with us on every file without mistakes (a test holds it to
//! that). What it does not give is what a rejected row needs: the text of the row as it stands in the file,
//! its true line number past blank lines, and a way back from a quotation mark that is never closed, which
//! would otherwise swallow the rest of the file as one field.

use std::io::{self, Read};

use crate::fields::Quoting;

/// The longest record that is looked at. Memory is bounded by it, whatever the file holds.
const LONGEST_RECORD: usize = 64 * 1024;

const READ_BYTES: usize = 256 * 1024;

/// A stretch of the file that should be one row.
#[derive(Debug)]
pub(crate) struct Stretch<'a> {
    /// The line on which it begins, from 1.
    pub(crate) line: u64,
    /// Its text, without the line end.
    pub(crate) text: &'a [u8],
    /// Whether it looks like a row.
    pub(crate) form: Form,
}

/// Whether a stretch of the file can be a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// It ends where a row may end.
    Whole,
    /// A quotation mark is not closed before the file ends or the record becomes too long.
    Unclosed,
    /// The line is longer than a row may be; the text is its beginning.
    TooLong,
}

/// Reads records one after the other, with a buffer that does not grow with the file.
#[derive(Debug)]
pub(crate) struct Records<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    source_is_at_end: bool,
    /// The beginning of a line that was too long, the only one that is copied.
    long_line: Vec<u8>,
    /// The line at `start`, from 1.
    line: u64,
    /// What the record that was handed out takes up: consumed when the next one is asked for.
    taken: Taken,
}

/// A stretch of the buffer, from its start.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    bytes: usize,
    lines: u64,
    /// The first line of it.
    first_line_bytes: usize,
    /// Whether it is gone from the buffer already, and its beginning stands in `long_line`.
    is_long: bool,
}

/// How a search for the end of a line ended.
enum LineEnd {
    /// The line ends before this offset, line feed included.
    At(usize),
    /// There is no line feed within the longest record.
    TooFar,
}

impl<R: Read> Records<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; READ_BYTES],
            start: 0,
            end: 0,
            source_is_at_end: false,
            long_line: Vec::new(),
            line: 1,
            taken: Taken::default(),
        }
    }

    /// The line of the record that was handed out last, or of the next one.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// The source, for what it knows about itself.
    pub(crate) fn source(&self) -> &R {
        &self.source
    }

    /// Reads the next record; blank lines are none.
    pub(crate) fn next(&mut self) -> io::Result<Option<Stretch<'_>>> {
        self.consume_taken();
        loop {
            let end = match self.line_end(0)? {
                None => return Ok(None),
                Some(LineEnd::TooFar) => return self.take_long_line().map(Some),
                Some(LineEnd::At(end)) => end,
            };
            self.taken = Taken { bytes: end, lines: 1, first_line_bytes: end, is_long: false };
            if !trim_line_end(&self.buffer[self.start..self.start + end]).is_empty() {
                break;
            }
            self.consume_taken();
        }
        let form = self.take_quoted_lines()?;
        Ok(Some(Stretch { line: self.line, text: self.text(), form }))
    }

    /// The text of the record that was handed out last.
    pub(crate) fn text(&self) -> &[u8] {
        if self.taken.is_long {
            return &self.long_line;
        }
        trim_line_end(&self.buffer[self.start..self.start + self.taken.bytes])
    }

    /// Gives back all but the first line of the record that was handed out: what was taken for one row was
    /// none, and reading goes on with the next line.
    pub(crate) fn keep_first_line(&mut self) {
        self.taken.bytes = self.taken.first_line_bytes;
        self.taken.lines = 1;
    }

    /// Extends the record that was begun while a quotation mark is open at the end of its last line.
    fn take_quoted_lines(&mut self) -> io::Result<Form> {
        let first = &self.buffer[self.start..self.start + self.taken.bytes];
        if !first.contains(&b'"') {
            return Ok(Form::Whole);
        }
        let mut quoting = Quoting::default();
        quoting.read(first);
        while quoting.is_open() {
            let from = self.taken.bytes;
            let Some(LineEnd::At(end)) = self.line_end(from)? else { return Ok(Form::Unclosed) };
            quoting.read(&self.buffer[self.start + from..self.start + end]);
            self.taken.bytes = end;
            self.taken.lines += 1;
        }
        Ok(Form::Whole)
    }

    /// Takes the beginning of a line that is too long, and skips the rest of it.
    fn take_long_line(&mut self) -> io::Result<Stretch<'_>> {
        self.long_line.clear();
        self.long_line.extend_from_slice(&self.buffer[self.start..self.start + LONGEST_RECORD]);
        loop {
            let line_feed = self.buffer[self.start..self.end].iter().position(|&byte| byte == b'\n');
            self.start = line_feed.map_or(self.end, |offset| self.start + offset + 1);
            if line_feed.is_some() || !self.fill()? {
                break;
            }
        }
        self.taken = Taken { bytes: 0, lines: 1, first_line_bytes: 0, is_long: true };
        Ok(Stretch { line: self.line, text: self.text(), form: Form::TooLong })
    }

    fn consume_taken(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.start += taken.bytes;
        self.line += taken.lines;
    }

    /// Finds where the line ends that begins `from` bytes after the start; `None` if the file ends there.
    fn line_end(&mut self, from: usize) -> io::Result<Option<LineEnd>> {
        let mut searched = from;
        loop {
            let waiting = &self.buffer[self.start..self.end];
            if let Some(offset) = waiting[searched..].iter().position(|&byte| byte == b'\n') {
                let end = searched + offset + 1;
                return Ok(Some(if end > LONGEST_RECORD + 2 { LineEnd::TooFar } else { LineEnd::At(end) }));
            }
            searched = waiting.len();
            if searched > LONGEST_RECORD + 2 {
                return Ok(Some(LineEnd::TooFar));
            }
            if !self.fill()? {
                return Ok((searched > from).then_some(LineEnd::At(searched)));
            }
        }
    }

    /// Reads more behind what is waiting; false at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        if self.source_is_at_end {
            return Ok(false);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.buffer.resize(self.buffer.len().max(self.end + READ_BYTES / 2), 0);
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    self.source_is_at_end = read == 0;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fields::FieldEnds;

    /// Hands out a few bytes at a time, so that every boundary falls everywhere.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let step = self.1.min(buffer.len()).min(self.0.len());
            buffer[..step].copy_from_slice(&self.0[..step]);
            self.0 = &self.0[step..];
            Ok(step)
        }
    }

    fn rows(text: &[u8], step: usize) -> Vec<(u64, Vec<String>)> {
        let mut records = Records::new(Trickle(text, step));
        let mut ends = FieldEnds::default();
        let mut rows = Vec::new();
        while let Some(record) = records.next().unwrap() {
            assert_eq!(record.form, Form::Whole, "{record:?}");
            let fields = ends.split(record.text);
            let texts = (0..fields.len()).map(|index| String::from_utf8(fields.get(index).into()).unwrap());
            rows.push((record.line, texts.collect()));
        }
        rows
    }

    fn check(text: &str, expected: &[(u64, &[&str])]) {
        for step in [1, 2, 3, 1_000_000] {
            let rows = rows(text.as_bytes(), step);
            let expected: Vec<_> = expected
                .iter()
                .map(|(line, fields)| (*line, fields.iter().map(ToString::to_string).collect::<Vec<_>>()))
                .collect();
            assert_eq!(rows, expected, "{text:?} in steps of {step}");
        }
    }

    #[test]
    fn lines_are_counted_past_blank_lines_and_both_line_ends() {
        check("a,b\n1,2\n", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("\r\na,b\r\n\r\n\n1,2", &[(2, &["a", "b"]), (5, &["1", "2"])]);
        check("a\n\"x\ny\"\nb\n", &[(1, &["a"]), (2, &["x\ny"]), (4, &["b"])]);
        check("", &[]);
    }

    #[test]
    fn quotation_marks_are_understood() {
        check("\"a,b\",\"\",\"say \"\"yes\"\"\"\n", &[(1, &["a,b", "", "say \"yes\""])]);
        check("6\" wide,b\"c\"\n", &[(1, &["6\" wide", "b\"c\""])]);
        check("\"a\"b,c\n", &[(1, &["ab", "c"])]);
        check(",,\n", &[(1, &["", "", ""])]);
    }

    #[test]
    fn an_unclosed_quotation_mark_costs_one_line() {
        let text = "a,b\n1,\"x\n2,y\n3,z\n";
        let mut records = Records::new(text.as_bytes());

        assert_eq!(records.next().unwrap().unwrap().text, b"a,b");
        assert_eq!(records.next().unwrap().unwrap().form, Form::Unclosed);
        records.keep_first_line();
        assert_eq!(records.text(), b"1,\"x");

        let next = records.next().unwrap().unwrap();
        assert_eq!((next.line, next.text, next.form), (3, &b"2,y"[..], Form::Whole));
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_nothing_else() {
        for length in [LONGEST_RECORD + 3, LONGEST_RECORD * 3, READ_BYTES * 5] {
            for end in ["\n", ""] {
                let text = format!("a\n{}{end}", "x".repeat(length));
                let more = if end.is_empty() { "" } else { "b\n" };
                let mut records = Records::new(Trickle(text.as_bytes(), 70_000).chain(more.as_bytes()));

                assert_eq!(records.next().unwrap().unwrap().text, b"a");
                let long = records.next().unwrap().unwrap();
                assert_eq!((long.line, long.text.len(), long.form), (2, LONGEST_RECORD, Form::TooLong));
                let next = records.next().unwrap().map(|record| (record.line, record.text.to_vec()));
                assert_eq!(next, (!more.is_empty()).then(|| (3, b"b".to_vec())));
            }
        }
    }

    #[test]
    fn a_file_without_mistakes_is_read_as_the_csv_crate_reads_it() {
        // Every text of up to seven of the characters that mean something, and one that does not.
        let alphabet = b"\",\nx";
        for length in 0..=7 {
            for number in 0..4_usize.pow(length) {
                let text: Vec<u8> =
                    (0..length).map(|place| alphabet[number / 4_usize.pow(place) % 4]).collect();
                if is_unclosed(&text) {
                    continue;
                }
                let mut reader =
                    csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&text[..]);
                let expected: Vec<Vec<String>> = reader
                    .records()
                    .map(|record| record.unwrap().iter().map(str::to_owned).collect())
                    .collect();
                let found: Vec<_> = rows(&text, 3).into_iter().map(|(_, fields)| fields).collect();
                assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(&text));
            }
        }
    }

    fn is_unclosed(text: &[u8]) -> bool {
        let mut records = Records::new(text);
        while let Some(record) = records.next().unwrap() {
            if record.form != Form::Whole {
                return true;
            }
        }
        false
    }

    /// Reads everything, and watches the buffer.
    fn stretches(text: &[u8], step: usize) -> Vec<(u64, Vec<u8>, Form)> {
        let mut records = Records::new(Trickle(text, step));
        let mut ends = FieldEnds::default();
        let mut found = Vec::new();
        while let Some(record) = records.next().unwrap() {
            let fields = ends.split(record.text);
            let length: usize = (0..fields.len()).map(|index| fields.get(index).len()).sum();
            assert!(length < record.text.len() + 1 && record.text.len() <= LONGEST_RECORD + 2);
            found.push((record.line, record.text.to_vec(), record.form));
            if record.form == Form::Unclosed {
                records.keep_first_line();
            }
            assert!(records.buffer.len() <= 2 * READ_BYTES, "{} bytes", records.buffer.len());
        }
        found
    }

    proptest! {
        #[test]
        fn any_bytes_are_records_however_they_arrive(
            text in prop::collection::vec(
                prop_oneof![4 => prop::sample::select(&b"\",\n\rx"[..]), 1 => any::<u8>()],
                0..300,
            ),
            step in 1_usize..40,
        ) {
            let found = stretches(&text, step);

            prop_assert!(found.is_sorted_by(|left, right| left.0 < right.0), "lines ascend");
            prop_assert_eq!(found, stretches(&text, usize::MAX));
        }
    }

    proptest! {
        // Megabytes each.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn lines_of_any_length_are_records_within_the_same_memory(
            lines in prop::collection::vec(
                (prop_oneof![0..50_usize, LONGEST_RECORD - 5..LONGEST_RECORD + 5, 0..3 * READ_BYTES], any::<bool>()),
                0..8,
            ),
            step in prop_oneof![Just(4_096_usize), Just(70_000), Just(usize::MAX)],
        ) {
            let mut text = Vec::new();
            for (length, has_mark) in lines {
                text.extend_from_slice(if has_mark { b"\"" } else { b"" });
                text.resize(text.len() + length, b'x');
                text.push(b'\n');
            }

            let found = stretches(&text, step);

            prop_assert_eq!(found, stretches(&text, usize::MAX));
        }
    }

    #[test]
    fn a_compressed_file_of_one_endless_line_takes_no_more_memory_than_any_other() {
        use std::io::Write as _;

        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for _ in 0..32 {
            bomb.write_all(&vec![b'x'; 1 << 20]).unwrap();
        }
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < 1 << 18, "{} bytes", bomb.len());

        let mut records = Records::new(flate2::bufread::MultiGzDecoder::new(&bomb[..]));
        let form = records.next().unwrap().map(|record| record.form);

        assert_eq!(form, Some(Form::TooLong));
        assert!(records.next().unwrap().is_none());
        assert!(records.buffer.len() <= 2 * READ_BYTES, "{} bytes", records.buffer.len());
    }
}
