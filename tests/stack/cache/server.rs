//! The Redis of the stack, for a test alone or for many at once.

use std::fs::File;

use tests::Stack;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;

/// The Redis of the stack, shared with other tests or alone.
pub(super) struct Server {
    pub(super) stack: Stack,
    _lock: File,
}

impl Server {
    pub(super) fn shared() -> Self {
        Self::locked(File::lock_shared)
    }

    pub(super) fn alone() -> Self {
        Self::locked(File::lock)
    }

    fn locked(lock: fn(&File) -> std::io::Result<()>) -> Self {
        let stack = Stack::from_env();
        let port = address(stack.redis_url()).replace([':', '/'], "-");
        let path = std::env::temp_dir().join(format!("ltv-tests-redis-{port}.lock"));
        let file = File::options().create(true).append(true).open(path).unwrap();
        lock(&file).unwrap();
        Self { stack, _lock: file }
    }

    /// `host:port`
    pub(super) fn address(&self) -> String {
        address(self.stack.redis_url())
    }

    /// Speaks to the server as `redis-cli` would.
    pub(super) async fn raw(&self) -> Raw {
        let mut raw = Raw { stream: BufStream::new(TcpStream::connect(self.address()).await.unwrap()) };
        let url = self.stack.redis_url();
        if let Some((login, _)) = url.trim_start_matches("redis://").split_once('@') {
            assert_eq!(raw.ask(&format!("AUTH {}", login.replace(':', " ").trim())).await, "+OK");
        }
        if let Some(database) =
            url.trim_start_matches("redis://").split('/').nth(1).filter(|it| !it.is_empty())
        {
            assert_eq!(raw.ask(&format!("SELECT {database}")).await, "+OK");
        }
        raw
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed with the server away must not fail the others with it.
        if std::thread::panicking() {
            self.stack.service("start", "redis");
        }
    }
}

fn address(url: impl Into<String>) -> String {
    let url = url.into();
    let place = url.trim_start_matches("redis://").split('/').next().unwrap_or_default();
    place.rsplit('@').next().unwrap_or_default().to_owned()
}

/// Sends inline commands, and reads answers of one line or one string.
pub(super) struct Raw {
    stream: BufStream<TcpStream>,
}

impl Raw {
    pub(super) async fn ask(&mut self, command: &str) -> String {
        self.stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        let Some(length) = line.trim_end().strip_prefix('$') else {
            return line.trim_end().to_owned();
        };
        let mut text = vec![0; length.parse::<usize>().unwrap() + 2];
        self.stream.read_exact(&mut text).await.unwrap();
        String::from_utf8(text).unwrap().trim_end().to_owned()
    }

    pub(super) async fn number(&mut self, command: &str) -> i64 {
        let answer = self.ask(command).await;
        answer.strip_prefix(':').and_then(|number| number.parse().ok()).expect(&answer)
    }
}
