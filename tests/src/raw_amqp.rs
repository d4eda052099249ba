//! An AMQP client that publishes any bytes as the properties of a message: what a library would refuse to write.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;
const CHANNEL: u16 = 1;

/// Is a connection with one channel, whose messages are confirmed.
#[derive(Debug)]
pub struct RawAmqp {
    stream: TcpStream,
    /// How many messages were published; their tags are counted from 1.
    published: u64,
}

impl RawAmqp {
    /// Connects to `amqp://user:password@host:port`, or without a login as guest.
    pub fn connect(url: &str) -> io::Result<Self> {
        let rest = url.strip_prefix("amqp://").unwrap_or(url);
        let (login, place) = rest.rsplit_once('@').unwrap_or(("guest:guest", rest));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let stream = TcpStream::connect(place.split('/').next().unwrap_or_default())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self { stream, published: 0 };

        client.stream.write_all(b"AMQP\0\0\x09\x01")?;
        client.expect(10, 10)?; // start
        let mut start_ok = method(10, 11);
        start_ok.extend_from_slice(&0_u32.to_be_bytes());
        start_ok.extend_from_slice(b"\x05PLAIN");
        long(&mut start_ok, format!("\0{user}\0{password}").as_bytes());
        start_ok.extend_from_slice(b"\x05en_US");
        client.send(METHOD, 0, &start_ok)?;
        let tune = client.expect(10, 30)?;
        let mut tune_ok = method(10, 31);
        tune_ok.extend_from_slice(tune.get(4..10).ok_or(io::ErrorKind::InvalidData)?); // its limits
        tune_ok.extend_from_slice(&[0, 0]); // no heartbeat
        client.send(METHOD, 0, &tune_ok)?;
        client.send(METHOD, 0, &[&method(10, 40)[..], b"\x01/\0\0"].concat())?; // open "/"
        client.expect(10, 41)?;
        client.send(METHOD, CHANNEL, &[&method(20, 10)[..], b"\0"].concat())?;
        client.expect(20, 11)?;
        client.send(METHOD, CHANNEL, &[&method(85, 10)[..], b"\0"].concat())?; // confirm.select
        client.expect(85, 11)?;
        Ok(client)
    }

    /// Publishes, and waits for the confirmation. `properties` are the flags and what follows. An error means that
    /// the broker refused, and has closed the connection or will.
    pub fn publish(
        &mut self,
        exchange: &str,
        routing_key: &[u8],
        properties: &[u8],
        body: &[u8],
    ) -> io::Result<()> {
        self.publish_often(1, exchange, routing_key, properties, body)
    }

    /// Publishes so many of the same message, and waits for the confirmation of all.
    pub fn publish_often(
        &mut self,
        count: u64,
        exchange: &str,
        routing_key: &[u8],
        properties: &[u8],
        body: &[u8],
    ) -> io::Result<()> {
        let mut open = BTreeSet::new();
        for _ in 0..count {
            self.send_message(exchange, routing_key, properties, body)?;
            self.published += 1;
            open.insert(self.published);
        }
        while !open.is_empty() {
            let ack = self.expect(60, 80)?;
            let (tag, after) = ack[4..].split_first_chunk().ok_or(io::ErrorKind::InvalidData)?;
            let tag = u64::from_be_bytes(*tag);
            let is_for_all_before = after[0] != 0;
            open.retain(|&waiting| waiting > tag || (waiting < tag && !is_for_all_before));
        }
        Ok(())
    }

    fn send_message(
        &mut self,
        exchange: &str,
        routing_key: &[u8],
        properties: &[u8],
        body: &[u8],
    ) -> io::Result<()> {
        let mut publish = method(60, 40);
        publish.extend_from_slice(&[0, 0]);
        short(&mut publish, exchange.as_bytes());
        short(&mut publish, routing_key);
        publish.push(0);
        self.send(METHOD, CHANNEL, &publish)?;

        let mut header = method(60, 0);
        header.extend_from_slice(&(body.len() as u64).to_be_bytes());
        header.extend_from_slice(properties);
        self.send(HEADER, CHANNEL, &header)?;
        for part in body.chunks(100_000) {
            self.send(BODY, CHANNEL, part)?;
        }
        Ok(())
    }

    fn send(&mut self, kind: u8, channel: u16, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![kind];
        frame.extend_from_slice(&channel.to_be_bytes());
        frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        frame.extend_from_slice(payload);
        frame.push(FRAME_END);
        self.stream.write_all(&frame)
    }

    /// Reads one frame, which is to be this method.
    fn expect(&mut self, class: u16, index: u16) -> io::Result<Vec<u8>> {
        let mut start = [0; 7];
        self.stream.read_exact(&mut start)?;
        let size = u32::from_be_bytes([start[3], start[4], start[5], start[6]]) as usize;
        let mut payload = vec![0; size + 1];
        self.stream.read_exact(&mut payload)?;
        if payload.starts_with(&method(class, index)) {
            return Ok(payload);
        }
        Err(io::Error::other(format!("not method {class}.{index}: {}", String::from_utf8_lossy(&payload))))
    }
}

/// The property `content_type`, in two bytes that are no UTF-8.
pub fn content_type_that_is_no_text() -> Vec<u8> {
    vec![0x80, 0, 2, 0xFF, 0xFE]
}

/// Headers with one table in another, `depth` of them.
pub fn nested_headers(depth: usize) -> Vec<u8> {
    let mut table = Vec::new();
    // From the outside in: each has an empty key, its type, and the length of all that follows.
    for deeper in (0..depth).rev() {
        table.extend_from_slice(&[0, b'F']);
        table.extend_from_slice(&((deeper * 6) as u32).to_be_bytes());
    }
    headers(&table)
}

/// A header that is an array with one array in another, `depth` of them.
pub fn nested_arrays(depth: usize) -> Vec<u8> {
    let mut table = vec![1, b'k'];
    for deeper in (0..depth).rev() {
        table.push(b'A');
        table.extend_from_slice(&((deeper * 5) as u32).to_be_bytes());
    }
    headers(&table)
}

/// Headers that send a message to a queue whatever its routing key is.
pub fn copy_to(queue: &str) -> Vec<u8> {
    let mut copies = Vec::new();
    copies.push(b'S');
    long(&mut copies, queue.as_bytes());
    let mut table = b"\x02CCA".to_vec();
    long(&mut table, &copies);
    headers(&table)
}

/// An entry of a table: a text.
pub fn text_entry(key: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut entry = Vec::new();
    short(&mut entry, key.as_bytes());
    entry.push(b'S');
    long(&mut entry, value.as_ref());
    entry
}

/// The property `headers`, of these bytes.
pub fn headers(table: &[u8]) -> Vec<u8> {
    let mut properties = vec![0x20, 0];
    long(&mut properties, table);
    properties
}

fn method(class: u16, index: u16) -> Vec<u8> {
    [class.to_be_bytes(), index.to_be_bytes()].concat()
}

fn short(into: &mut Vec<u8>, text: &[u8]) {
    into.push(text.len() as u8);
    into.extend_from_slice(text);
}

fn long(into: &mut Vec<u8>, text: &[u8]) {
    into.extend_from_slice(&(text.len() as u32).to_be_bytes());
    into.extend_from_slice(text);
}
