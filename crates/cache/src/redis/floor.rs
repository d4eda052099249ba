//! What writing a chunk costs at least: the same hashes as [`put_values`](crate::Cache::put_values), as RESP that
//! was encoded beforehand, on a plain connection. For benchmarks, which compare with it; nothing else uses it.
//!
//! Protocol: Redis documentation, "Redis serialization protocol specification", RESP2.

use std::io::{self, Write as _};

use batch::RunId;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::keys::Keys;
use crate::Valued;
use crate::packed::{BUCKET_SIZE, VALUE_LEN, put_value};

/// The commands that write a chunk.
#[derive(Clone, Debug)]
pub struct EncodedChunk {
    commands: Bytes,
    count: usize,
}

/// A connection that writes encoded chunks and does nothing else.
#[derive(Debug)]
pub struct FloorLane {
    stream: TcpStream,
    answer: Vec<u8>,
}

/// Encodes the commands that write the values of a chunk, in the order of the customers.
pub fn encode_chunk(prefix: &str, run: RunId, values: &[Valued]) -> EncodedChunk {
    let mut commands = Vec::with_capacity(values.len() * (VALUE_LEN + 16));
    let mut count = 0;
    let key_start = Keys::new(prefix).values_of(run);
    let bucket = |valued: &Valued| valued.customer.0.div_euclid(BUCKET_SIZE);
    for hash in values.chunk_by(|left, right| bucket(left) == bucket(right)) {
        let key = format!("{key_start}{}", bucket(&hash[0]));
        write!(commands, "*{}\r\n$4\r\nHSET\r\n${}\r\n{key}\r\n", 2 + 2 * hash.len(), key.len())
            .expect("writing to memory cannot fail");
        for Valued { customer, value } in hash {
            commands.extend_from_slice(b"$1\r\n");
            commands.push(customer.0.rem_euclid(BUCKET_SIZE) as u8);
            write!(commands, "\r\n${VALUE_LEN}\r\n").expect("writing to memory cannot fail");
            let mut packed = bytes::BytesMut::with_capacity(VALUE_LEN);
            put_value(&mut packed, run, *customer, value);
            commands.extend_from_slice(&packed);
            commands.extend_from_slice(b"\r\n");
        }
        write!(commands, "*3\r\n$6\r\nEXPIRE\r\n${}\r\n{key}\r\n$6\r\n259200\r\n", key.len())
            .expect("writing to memory cannot fail");
        count += 2;
    }
    EncodedChunk { commands: commands.into(), count }
}

impl FloorLane {
    /// Connects to `host:port`.
    pub async fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: vec![0; 64 * 1024] })
    }

    /// Writes a chunk and waits for the answers.
    pub async fn write(&mut self, chunk: &EncodedChunk) -> io::Result<()> {
        self.stream.write_all(&chunk.commands).await?;
        let mut answered = 0;
        while answered < chunk.count {
            let length = self.stream.read(&mut self.answer).await?;
            let answer = &self.answer[..length];
            if length == 0 || answer.contains(&b'-') {
                return Err(io::Error::other("redis refused a command or hung up"));
            }
            answered += answer.split(|byte| *byte == b'\n').count() - 1;
        }
        Ok(())
    }
}
