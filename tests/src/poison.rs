//! Messages that lapin cannot read, or must not: which kinds there are, and what is wrong with one.
//!
//! [`kinds`] are those that RabbitMQ takes. `tests/stack` `unreadable::what_rabbitmq_takes_ends_no_connection` draws
//! properties at random and fails on one that is taken, that lapin cannot read, and whose [`fault`] is none of theirs: so
//! what it finds belongs here, and into the night of `tests/faults` `poison`.

use std::io;

use crate::raw_amqp::{RawAmqp, copy_to, headers, nested_arrays, nested_headers, text_entry};

/// The properties of AMQP that are short texts, by their place in the flags.
const TEXTS: [(u32, &str); 10] = [
    (0, "content-type"),
    (1, "content-encoding"),
    (5, "correlation-id"),
    (6, "reply-to"),
    (7, "expiration"),
    (8, "message-id"),
    (10, "type"),
    (11, "user-id"),
    (12, "app-id"),
    (13, "cluster-id"),
];
/// What the broker reads itself, and refuses if it is not as it should be.
const READ_BY_THE_BROKER: [&str; 2] = ["expiration", "user-id"];
const HEADERS: u32 = 2;
/// Delivery mode, priority and timestamp, and their sizes.
const NUMBERS: [(u32, usize); 3] = [(3, 1), (4, 1), (9, 8)];
/// Deeper than the fleet takes.
const DEEP: u32 = 8;
/// Larger than the fleet takes.
const LARGE: usize = 32 * 1024;

/// One kind of message.
#[derive(Clone, Debug)]
pub struct Poison {
    /// What is wrong with it.
    pub name: String,
    /// Where it is sent: to the queue, or to a key of its own with a copy to the queue.
    pub key: Option<Vec<u8>>,
    /// The flags, and what follows them.
    pub properties: Vec<u8>,
    /// How many bytes its body has; `None` for a body that makes sense.
    pub body: Option<usize>,
    /// What the fleet says of it.
    pub reason: &'static str,
}

impl Poison {
    /// Publishes so many of it by this way, or by its own if it has one, with this body, or its own.
    pub fn publish(
        &self,
        raw: &mut RawAmqp,
        count: u64,
        (exchange, key): (&str, &str),
        body: &[u8],
    ) -> io::Result<()> {
        let (exchange, key) = self.key.as_deref().map_or((exchange, key.as_bytes()), |key| ("", key));
        let own = self.body.map(|size| vec![b' '; size]);
        raw.publish_often(count, exchange, key, &self.properties, own.as_deref().unwrap_or(body))
    }
}

/// Every kind that RabbitMQ takes, for a queue of this name.
pub fn kinds(queue: &str) -> Vec<Poison> {
    const NOT_READ: &str = "not well-formed AMQP";
    let texts = TEXTS.into_iter().filter(|(_, name)| !READ_BY_THE_BROKER.contains(name)).map(|(place, _)| {
        let flags = 1_u16 << (15 - place);
        (NOT_READ, [&flags.to_be_bytes()[..], &[2, 0xFF, 0xFE]].concat())
    });
    let others = [
        (NOT_READ, headers(b"\x02\xFF\xFEV")),
        (NOT_READ, headers(b"\x01kF\0\0\0\x03\x01\xFFV")),
        // Deeper ones cost RabbitMQ itself a second each.
        ("nested more than 8 deep", nested_headers(2_000)),
        ("nested more than 8 deep", nested_arrays(2_000)),
        ("its properties are too large", headers(&large_text())),
    ];
    let by_properties = texts.chain(others).map(|(reason, properties)| Poison {
        name: fault(&properties).expect("each has one"),
        key: None,
        properties,
        body: None,
        reason,
    });
    let by_others = [
        Poison {
            name: "routing-key is no text".to_owned(),
            key: Some(b"\xFF\xFE".to_vec()),
            properties: copy_to(queue),
            body: None,
            reason: "its routing key is not text",
        },
        Poison {
            name: "a large body".to_owned(),
            key: None,
            properties: vec![0, 0],
            body: Some(70_000),
            reason: "its body of 70000 bytes was left out",
        },
        // lapin reads it, and as text it is three times as large.
        Poison {
            name: "a trace that is no text".to_owned(),
            key: None,
            properties: headers(&text_entry("traceparent", [0xFF; 11_000])),
            body: Some(1),
            reason: "EOF while parsing a value",
        },
    ];
    by_properties.chain(by_others).collect()
}

fn large_text() -> Vec<u8> {
    text_entry("k", "v".repeat(40_000))
}

/// The first thing that is wrong with properties, in a few words; the same for all of a kind. Not asked of lapin nor of
/// the fleet.
pub fn fault(properties: &[u8]) -> Option<String> {
    if properties.len() > LARGE {
        return Some(format!("more than {LARGE} bytes"));
    }
    let mut rest = properties;
    read_properties(&mut rest).err().or_else(|| (!rest.is_empty()).then(|| "bytes are left over".to_owned()))
}

fn read_properties(rest: &mut &[u8]) -> Result<(), String> {
    let [a, b] = *take(rest, 2, "flags")? else { unreachable!("it has two bytes") };
    let flags = u16::from_be_bytes([a, b]);
    for place in (0..14).filter(|place| flags & (1 << (15 - place)) != 0) {
        if let Some((_, name)) = TEXTS.iter().find(|(at, _)| *at == place) {
            read_short(rest, name)?;
        } else if let Some((_, size)) = NUMBERS.iter().find(|(at, _)| *at == place) {
            take(rest, *size, "a number")?;
        } else if place == HEADERS {
            read_table(read_long(rest, "headers")?, DEEP)?;
        }
    }
    Ok(())
}

fn read_table(mut rest: &[u8], deeper: u32) -> Result<(), String> {
    while !rest.is_empty() {
        read_short(&mut rest, "a header's key")?;
        read_value(&mut rest, deeper)?;
    }
    Ok(())
}

fn read_value(rest: &mut &[u8], deeper: u32) -> Result<(), String> {
    let kind = take(rest, 1, "a header's type")?[0];
    let what = format!("a header of type {:?}", char::from(kind));
    let size = match kind {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'U' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'L' | b'l' | b'd' | b'T' => 8,
        b'S' | b'x' => return read_long(rest, &what).map(drop),
        b'F' | b'A' => {
            let mut inner = read_long(rest, &what)?;
            let deeper = deeper.checked_sub(1).ok_or_else(|| format!("{what}, nested"))?;
            if kind == b'F' {
                return read_table(inner, deeper);
            }
            while !inner.is_empty() {
                read_value(&mut inner, deeper)?;
            }
            return Ok(());
        }
        _ => return Err("a header of no known type".to_owned()),
    };
    take(rest, size, &what).map(drop)
}

fn read_short<'a>(rest: &mut &'a [u8], what: &str) -> Result<&'a [u8], String> {
    let size = take(rest, 1, what)?[0].into();
    let text = take(rest, size, what)?;
    if str::from_utf8(text).is_err() { Err(format!("{what} is no text")) } else { Ok(text) }
}

fn read_long<'a>(rest: &mut &'a [u8], what: &str) -> Result<&'a [u8], String> {
    let [a, b, c, d] = *take(rest, 4, what)? else { unreachable!("it has four bytes") };
    take(rest, u32::from_be_bytes([a, b, c, d]) as usize, what)
}

fn take<'a>(rest: &mut &'a [u8], size: usize, what: &str) -> Result<&'a [u8], String> {
    let (taken, after) = rest.split_at_checked(size).ok_or_else(|| format!("{what} is cut off"))?;
    *rest = after;
    Ok(taken)
}
