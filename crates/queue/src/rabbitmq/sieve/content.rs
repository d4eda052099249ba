//! What of a message lapin can read, and what it gets instead.

/// The header that says why a message came without its properties or its body.
pub(in super::super) const UNREADABLE: &str = "ltv-unreadable";

/// A trace context and the broker's own history of a dead letter (`x-death`) are two deep.
pub(super) const DEEPEST: u32 = 8;
/// A reason of a dead letter has a thousand bytes, a trace context about six hundred.
pub(super) const LARGEST_PROPERTIES: usize = 32 * 1024;

/// Asks the parser that lapin will use.
pub(super) fn can_be_read(frame: &[u8]) -> bool {
    amq_protocol::frame::parse_frame(frame).is_ok_and(|(rest, _)| rest.is_empty())
}

/// What is wrong with the properties of a message, if anything is.
pub(super) fn fault_of(frame: &[u8], properties: &[u8]) -> Option<String> {
    // In this order: the parser goes as deep as the headers do.
    match Reader(properties).headers() {
        Err(Odd::Deep) => Some(format!("its headers are nested more than {DEEPEST} deep")),
        Ok(()) if can_be_read(frame) => None,
        Ok(()) | Err(Odd::Malformed) => Some("its properties are not well-formed AMQP".to_owned()),
    }
}

/// A content header with one property, the headers, of which there is one.
pub(super) fn header_saying(class_and_weight: [u8; 4], body: u64, fault: &str) -> Vec<u8> {
    const HEADERS: u16 = 1 << 13;
    let mut table = vec![length(UNREADABLE.as_bytes()) as u8];
    table.extend_from_slice(UNREADABLE.as_bytes());
    table.push(b'S');
    table.extend_from_slice(&length(fault.as_bytes()).to_be_bytes());
    table.extend_from_slice(fault.as_bytes());

    let mut payload = class_and_weight.to_vec();
    payload.extend_from_slice(&body.to_be_bytes());
    payload.extend_from_slice(&HEADERS.to_be_bytes());
    payload.extend_from_slice(&length(&table).to_be_bytes());
    payload.extend_from_slice(&table);
    payload
}

/// The method with every name left out that is no UTF-8, if it is one whose names others may choose: that brings a
/// message, or says why something ends (RabbitMQ cuts a long reason anywhere).
pub(super) fn without_bad_names(payload: &[u8]) -> Option<Vec<u8>> {
    enum Field {
        Name,
        Fixed(usize),
    }
    use Field::{Fixed, Name};
    let fields = match *payload.first_chunk::<4>()? {
        [0, 60, 0, 50] => [Fixed(2), Name, Name, Name], // basic.return
        [0, 60, 0, 60] => [Name, Fixed(9), Name, Name], // basic.deliver
        [0, 60, 0, 71] => [Fixed(9), Name, Name, Fixed(4)], // basic.get-ok
        [0, 10, 0, 50] | [0, 20, 0, 40] => [Fixed(2), Name, Fixed(2), Fixed(2)], // connection.close, channel.close
        _ => return None,
    };
    let mut cleaned = payload[..4].to_vec();
    let mut reader = Reader(&payload[4..]);
    for field in fields {
        match field {
            Fixed(count) => cleaned.extend_from_slice(reader.take(count).ok()?),
            Name => {
                let name = reader.short().ok()?;
                let name = if str::from_utf8(name).is_ok() { name } else { &[] };
                cleaned.push(length(name) as u8);
                cleaned.extend_from_slice(name);
            }
        }
    }
    Some(cleaned)
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("it is a name, or a sentence of ours")
}

/// Why a list of properties was not read to its end.
enum Odd {
    Deep,
    Malformed,
}

/// Reads what lapin's parser reads, without going deeper than [`DEEPEST`]. The types are those of RabbitMQ.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Goes through the headers, which follow at most two names.
    fn headers(mut self) -> Result<(), Odd> {
        let flags = self.number::<2>()?;
        for name in [1 << 15, 1 << 14] {
            if flags & name != 0 {
                self.short()?;
            }
        }
        if flags & (1 << 13) != 0 {
            let inner = self.long()?;
            Reader(inner).table(DEEPEST)?;
        }
        Ok(())
    }

    fn table(mut self, deeper: u32) -> Result<(), Odd> {
        while !self.0.is_empty() {
            self.short()?;
            self.value(deeper)?;
        }
        Ok(())
    }

    fn array(mut self, deeper: u32) -> Result<(), Odd> {
        while !self.0.is_empty() {
            self.value(deeper)?;
        }
        Ok(())
    }

    fn value(&mut self, deeper: u32) -> Result<(), Odd> {
        match self.take(1)?[0] {
            b'V' => {}
            b't' | b'b' | b'B' => drop(self.take(1)?),
            b's' | b'U' | b'u' => drop(self.take(2)?),
            b'I' | b'i' | b'f' => drop(self.take(4)?),
            b'D' => drop(self.take(5)?),
            b'L' | b'l' | b'd' | b'T' => drop(self.take(8)?),
            b'S' | b'x' => drop(self.long()?),
            kind @ (b'F' | b'A') => {
                let inner = Reader(self.long()?);
                let deeper = deeper.checked_sub(1).ok_or(Odd::Deep)?;
                if kind == b'F' { inner.table(deeper)? } else { inner.array(deeper)? }
            }
            _ => return Err(Odd::Malformed),
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Odd> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Odd::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const BYTES: usize>(&mut self) -> Result<usize, Odd> {
        Ok(self.take(BYTES)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    fn short(&mut self) -> Result<&'a [u8], Odd> {
        let count = self.number::<1>()?;
        self.take(count)
    }

    fn long(&mut self) -> Result<&'a [u8], Odd> {
        let count = self.number::<4>()?;
        self.take(count)
    }
}
