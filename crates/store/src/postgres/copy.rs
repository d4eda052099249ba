//! PostgreSQL's binary COPY format, encoded and decoded by hand.
//!
//! The driver's own reader and writer go through a trait object for each field and allocate for each row. This
//! is the hot path, so rows are written straight into the buffer that is sent, and read where they arrived.
//! Format: PostgreSQL documentation, COPY, "Binary Format".

use std::pin::pin;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::TryStreamExt;
use tokio_postgres::{Client, ToStatement};

use super::Fault;

/// What a stream begins with: the signature, no flags, no extension.
pub(super) const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const SIGNATURE: &[u8] = HEADER.split_at(11).0;

/// What a stream ends with: a row of -1 fields.
pub(super) const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// What is sent at a time. Large enough that sending costs nothing beside encoding, small enough that a few under
/// way cost no memory.
pub(super) const PIECE: usize = 60 * 1024;

/// Room for a piece with the row that fills it; what is longer grows.
pub(super) const BUFFER: usize = 64 * 1024;

/// Microseconds from 1970-01-01, where the fleet counts from, to 2000-01-01, where PostgreSQL does.
pub(super) const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// Why received rows cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("binary COPY: {0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Rows to be sent.
pub(super) struct RowWriter {
    buffer: BytesMut,
}

impl RowWriter {
    /// Starts a stream of rows.
    pub(super) fn new() -> Self {
        let mut buffer = BytesMut::with_capacity(BUFFER);
        buffer.put_slice(&HEADER);
        Self { buffer }
    }

    /// Starts a row.
    pub(super) fn row(&mut self, fields: i16) -> &mut Self {
        self.buffer.put_i16(fields);
        self
    }

    pub(super) fn int8(&mut self, value: i64) -> &mut Self {
        self.buffer.put_i32(8);
        self.buffer.put_i64(value);
        self
    }

    pub(super) fn int4(&mut self, value: i32) -> &mut Self {
        self.buffer.put_i32(4);
        self.buffer.put_i32(value);
        self
    }

    pub(super) fn int2(&mut self, value: i16) -> &mut Self {
        self.buffer.put_i32(2);
        self.buffer.put_i16(value);
        self
    }

    pub(super) fn float8(&mut self, value: f64) -> &mut Self {
        self.buffer.put_i32(8);
        self.buffer.put_f64(value);
        self
    }

    pub(super) fn float4(&mut self, value: f32) -> &mut Self {
        self.buffer.put_i32(4);
        self.buffer.put_f32(value);
        self
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.buffer.put_i32(value.len() as i32);
        self.buffer.put_slice(value);
        self
    }

    /// Writes a field of bytes straight into the stream.
    pub(super) fn bytes_by(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let start = self.buffer.len();
        self.buffer.put_i32(0);
        write(&mut self.buffer);
        let length = (self.buffer.len() - start - 4) as i32;
        self.buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Writes a field, or null.
    pub(super) fn optional<T>(
        &mut self,
        value: Option<T>,
        write: fn(&mut Self, T) -> &mut Self,
    ) -> &mut Self {
        match value {
            Some(value) => write(self, value),
            None => self.nulls(1),
        }
    }

    /// Writes so many fields that are null.
    pub(super) fn nulls(&mut self, fields: usize) -> &mut Self {
        self.buffer.put_bytes(0xFF, 4 * fields);
        self
    }

    /// Takes what is written so far, once it fills a piece.
    pub(super) fn full_piece(&mut self) -> Option<Bytes> {
        (self.buffer.len() >= PIECE).then(|| self.buffer.split().freeze())
    }

    /// Ends the stream and takes the rest.
    pub(super) fn finish(mut self) -> Bytes {
        self.buffer.put_slice(&TRAILER);
        self.buffer.freeze()
    }
}

/// Reads a COPY to its end and hands each row to `each`.
///
/// Several at once on one connection cost one wait: the driver sends them all, and the server answers one after the
/// other. Each has to be read to its end for the next to go on, so they are to be joined, not begun in turn.
pub(super) async fn read_rows(
    client: &Client,
    copy: &(impl ToStatement + ?Sized),
    mut each: impl FnMut(&mut Fields<'_>) -> Result<(), Malformed>,
) -> Result<(), Fault> {
    let mut stream = pin!(client.copy_out(copy).await?);
    let mut reader = RowReader::default();
    while let Some(piece) = stream.try_next().await? {
        reader.feed(&piece, &mut each).map_err(Fault::nonsense)?;
    }
    reader.finish().map_err(Fault::nonsense)
}

/// Rows as they arrive. PostgreSQL sends one to a message, but nothing here relies on it.
#[derive(Default)]
pub(super) struct RowReader {
    has_header: bool,
    has_trailer: bool,
    /// The beginning of a row whose rest has not arrived.
    carried: BytesMut,
}

impl RowReader {
    /// Takes the next piece of the stream and hands each complete row in it to `each`.
    pub(super) fn feed(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(&mut Fields<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if self.carried.is_empty() {
            let used = self.rows(piece, &mut each)?;
            self.carried.extend_from_slice(&piece[used..]);
        } else {
            let mut carried = std::mem::take(&mut self.carried);
            carried.extend_from_slice(piece);
            let used = self.rows(&carried, &mut each)?;
            carried.advance(used);
            self.carried = carried;
        }
        Ok(())
    }

    /// Checks that the stream ended where it should.
    pub(super) fn finish(self) -> Result<(), Malformed> {
        if self.has_trailer && self.carried.is_empty() {
            Ok(())
        } else {
            Err(Malformed("the stream broke off"))
        }
    }

    fn rows(
        &mut self,
        piece: &[u8],
        each: &mut impl FnMut(&mut Fields<'_>) -> Result<(), Malformed>,
    ) -> Result<usize, Malformed> {
        let mut rest = piece;
        if !self.has_header {
            let Some(after) = header(rest)? else { return Ok(0) };
            (rest, self.has_header) = (after, true);
        }
        while !rest.is_empty() {
            if self.has_trailer {
                return Err(Malformed("rows after the trailer"));
            }
            let Some(count) = rest.first_chunk().map(|bytes| i16::from_be_bytes(*bytes)) else { break };
            if count.to_be_bytes() == TRAILER {
                self.has_trailer = true;
                rest = &rest[TRAILER.len()..];
                continue;
            }
            let Some(length) = row_length(&rest[2..], count)? else { break };
            each(&mut Fields { rest: &rest[2..2 + length] })?;
            rest = &rest[2 + length..];
        }
        Ok(piece.len() - rest.len())
    }
}

/// The fields of one row, in order.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Fields that were written one after the other, each whole.
    pub(super) fn whole(fields: &'a [u8]) -> Self {
        Self { rest: fields }
    }

    /// The next field; `None` is SQL's null.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let (length, rest) = self.rest.split_first_chunk().ok_or(Malformed("a row has too few fields"))?;
        let length = i32::from_be_bytes(*length);
        let (field, rest) = rest.split_at(length.max(0) as usize); // `row_length` has seen that it is there
        self.rest = rest;
        Ok((length >= 0).then_some(field))
    }

    /// The next field, eight bytes wide.
    #[inline]
    pub(super) fn int8(&mut self) -> Result<Option<i64>, Malformed> {
        Ok(self.wide("a field is not eight bytes wide")?.map(i64::from_be_bytes))
    }

    pub(super) fn int4(&mut self) -> Result<Option<i32>, Malformed> {
        Ok(self.wide("a field is not four bytes wide")?.map(i32::from_be_bytes))
    }

    pub(super) fn int2(&mut self) -> Result<Option<i16>, Malformed> {
        Ok(self.wide("a field is not two bytes wide")?.map(i16::from_be_bytes))
    }

    pub(super) fn float8(&mut self) -> Result<Option<f64>, Malformed> {
        Ok(self.wide("a field is not eight bytes wide")?.map(f64::from_be_bytes))
    }

    pub(super) fn float4(&mut self) -> Result<Option<f32>, Malformed> {
        Ok(self.wide("a field is not four bytes wide")?.map(f32::from_be_bytes))
    }

    /// The next field, which is text; none if it is null, too, or no text.
    #[inline]
    pub(super) fn text(&mut self) -> Result<Option<&'a str>, Malformed> {
        Ok(self.next()?.and_then(|bytes| std::str::from_utf8(bytes).ok()))
    }

    #[inline]
    fn wide<const WIDTH: usize>(
        &mut self,
        otherwise: &'static str,
    ) -> Result<Option<[u8; WIDTH]>, Malformed> {
        let Some(field) = self.next()? else { return Ok(None) };
        field.try_into().map(Some).map_err(|_| Malformed(otherwise))
    }
}

fn header(piece: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let Some((fixed, rest)) = piece.split_at_checked(HEADER.len()) else { return Ok(None) };
    if !fixed.starts_with(SIGNATURE) {
        return Err(Malformed("it does not begin with the signature"));
    }
    let extension = i32::from_be_bytes([fixed[15], fixed[16], fixed[17], fixed[18]]);
    let extension = usize::try_from(extension).map_err(|_| Malformed("a negative header extension"))?;
    Ok(rest.get(extension..))
}

/// The length of a row of `count` fields, or `None` while it has not arrived whole.
#[inline]
fn row_length(bytes: &[u8], count: i16) -> Result<Option<usize>, Malformed> {
    if count < 0 {
        return Err(Malformed("a negative number of fields"));
    }
    let mut length = 0_usize;
    for _ in 0..count {
        let Some(field) = bytes.get(length..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
        let field = i32::from_be_bytes(*field);
        if field < -1 {
            return Err(Malformed("a negative field length"));
        }
        length += 4 + field.max(0) as usize;
    }
    Ok((length <= bytes.len()).then_some(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = (Option<i64>, Option<i64>);

    fn stream(rows: &[(i64, i64)]) -> Bytes {
        let mut writer = RowWriter::new();
        for &(left, right) in rows {
            writer.row(2).int8(left).int8(right);
        }
        writer.finish()
    }

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Row>, Malformed> {
        let mut reader = RowReader::default();
        let mut rows = Vec::new();
        for piece in pieces {
            reader.feed(piece, |fields| {
                rows.push((fields.int8()?, fields.int8()?));
                Ok(())
            })?;
        }
        reader.finish()?;
        Ok(rows)
    }

    #[test]
    fn a_stream_that_breaks_off_is_an_error() {
        let whole = stream(&[(1, 2), (3, 4)]);

        for length in 0..whole.len() {
            assert!(read([&whole[..length]]).is_err(), "{length} bytes of {}", whole.len());
        }
    }

    #[test]
    fn null_is_told_from_zero() {
        let mut bytes = stream(&[]).to_vec();
        bytes.truncate(bytes.len() - 2);
        bytes.extend_from_slice(&[0, 2, 255, 255, 255, 255, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]);

        assert_eq!(read([&bytes[..]]).unwrap(), [(None, Some(0))]);
    }

    proptest! {
        #[test]
        fn rows_survive_any_cutting_of_the_stream(
            rows: Vec<(i64, i64)>,
            size in 1_usize..70,
        ) {
            let bytes = stream(&rows);

            let found = read(bytes.chunks(size)).unwrap();

            let expected: Vec<Row> = rows.into_iter().map(|(l, r)| (Some(l), Some(r))).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_take_no_more_room_than_they_are(
            bytes: Vec<u8>,
            has_header: bool,
            size in 1_usize..30,
        ) {
            let mut all = if has_header { HEADER.to_vec() } else { Vec::new() };
            all.extend(bytes);

            read_anything(&all, size)?;
        }

        #[test]
        fn rows_of_any_counts_and_lengths_never_panic_and_take_no_more_room_than_they_are(
            rows in prop::collection::vec((-2_i16..4, prop::collection::vec(length(), 0..4)), 0..6),
            size in 1_usize..30,
        ) {
            let mut all = HEADER.to_vec();
            for (count, fields) in rows {
                all.put_i16(count);
                for (length, present) in fields {
                    all.put_i32(length);
                    all.put_bytes(0xA5, present);
                }
            }

            read_anything(&all, size)?;
        }

        #[test]
        fn a_stream_that_was_damaged_never_panics(
            rows in prop::collection::vec(any::<(i64, i64)>(), 0..5),
            at: prop::sample::Index,
            removed in 0..9_usize,
            put in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let mut bytes = stream(&rows).to_vec();
            let at = at.index(bytes.len() + 1);
            let end = bytes.len().min(at + removed);
            bytes.splice(at..end, put);

            read_anything(&bytes, 7)?;
        }
    }

    /// A field's length, and how many bytes of it there are: mostly as many as it says.
    fn length() -> impl Strategy<Value = (i32, usize)> {
        prop_oneof![
            4 => (0..20_i32).prop_map(|length| (length, length as usize)),
            1 => Just((-1, 0)),
            1 => (any::<i32>(), 0..20_usize),
            1 => Just((i32::MAX, 5)),
        ]
    }

    /// Asks each row for fields of every kind, one more than it has, and watches what is kept of the stream.
    fn read_anything(bytes: &[u8], size: usize) -> Result<(), TestCaseError> {
        let mut reader = RowReader::default();
        for (index, piece) in bytes.chunks(size).enumerate() {
            let fed = reader.feed(piece, |fields| {
                while !fields.rest.is_empty() {
                    let here = fields.rest;
                    let again = || Fields { rest: here };
                    let _ = (again().int8(), again().int4(), again().int2(), again().text());
                    let _ = (again().float8(), again().float4());
                    fields.next()?;
                }
                if fields.next().is_ok() { Err(Malformed("a field that is not there")) } else { Ok(()) }
            });
            prop_assert_ne!(&fed, &Err(Malformed("a field that is not there")));
            let so_far = ((index + 1) * size).min(bytes.len());
            prop_assert!(reader.carried.len() <= so_far);
            prop_assert!(reader.carried.capacity() <= 2 * so_far + 64, "{}", reader.carried.capacity());
            if fed.is_err() {
                break;
            }
        }
        Ok(())
    }
}
