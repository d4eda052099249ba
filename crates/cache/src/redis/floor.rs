//! What writing a chunk costs at least: the same hashes as [`put_values`](crate::Cache::put_values), as RESP that
//! was encoded beforehand, on a connection of its own that is secured as [`Redis`](super::Redis) secures its own, and
//! with the same login. For benchmarks, which compare with it; nothing else uses it.
//!
//! Protocol: Redis documentation, "Redis serialization protocol specification", RESP2.

use std::fmt::Debug;
use std::io::{self, Write as _};

use batch::RunId;
use bytes::Bytes;
use resilience::ServerUrl;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::keys::Keys;
use super::url::{self, Place};
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
    stream: Box<dyn Way>,
    answer: Vec<u8>,
}

/// Plaintext or TLS.
trait Way: AsyncRead + AsyncWrite + Debug + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Debug + Send + Unpin> Way for S {}

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
    /// Connects as the URL says.
    pub async fn connect(url: &ServerUrl) -> io::Result<Self> {
        let place = url::place(url).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = TcpStream::connect((place.name.as_str(), place.port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Way> = match &place.tls {
            Some(tls) => Box::new(tls.connect(&place.name, stream).await?),
            None => Box::new(stream),
        };
        let mut lane = Self { stream, answer: vec![0; 64 * 1024] };
        lane.write(&greeting(&place)?).await?;
        Ok(lane)
    }

    /// Writes a chunk and waits for the answers.
    pub async fn write(&mut self, chunk: &EncodedChunk) -> io::Result<()> {
        let EncodedChunk { commands, count } = chunk;
        self.stream.write_all(commands).await?;
        // What TLS has taken need not be on its way.
        self.stream.flush().await?;
        let mut answered = 0;
        while answered < *count {
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

/// The login and the database, where the URL names them.
fn greeting(place: &Place) -> io::Result<EncodedChunk> {
    let mut commands = Vec::new();
    if let Some(password) = &place.password {
        let password = password.read().map_err(io::Error::other)?;
        let mut login = vec!["AUTH"];
        login.extend(place.user.as_deref());
        login.push(&password);
        commands.push(command(&login));
    }
    if let Some(database) = place.database {
        commands.push(command(&["SELECT", &database.to_string()]));
    }
    Ok(EncodedChunk { count: commands.len(), commands: commands.concat().into() })
}

fn command(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{}", words.len(), words.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_logs_in_as_its_url_says() {
        let check = |url: &str, expected: &str| {
            let greeting = greeting(&url::place(&url.into()).unwrap()).unwrap();

            assert_eq!(String::from_utf8_lossy(&greeting.commands), expected, "{url}");
            assert_eq!(greeting.count, expected.matches('*').count(), "{url}");
        };

        check("redis://127.0.0.1", "");
        check("redis://:sesame@127.0.0.1", "*2\r\n$4\r\nAUTH\r\n$6\r\nsesame\r\n");
        check(
            "redis://ltv:sesame@127.0.0.1/3",
            "*3\r\n$4\r\nAUTH\r\n$3\r\nltv\r\n$6\r\nsesame\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n",
        );
    }
}
