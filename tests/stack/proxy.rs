//! Stands between a client and its server, and takes the way between them away without touching the server.

#![expect(clippy::unwrap_used, reason = "a helper of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes connections on to a server. Dropped, it ends.
pub(crate) struct Proxy {
    address: String,
    way: watch::Sender<Way>,
    round_trips: RoundTrips,
    task: JoinHandle<()>,
}

/// How often clients spoke after their server had.
#[derive(Clone, Default)]
struct RoundTrips(Arc<AtomicU64>);

#[derive(Clone, Copy)]
struct Way {
    mood: Mood,
    /// A connection lives as long as this stays what it was when it was made.
    epoch: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Pass,
    /// What the server says is thrown away.
    Mute,
    /// Connections are hung up on at once.
    Refuse,
}

impl Proxy {
    /// Listens on a port of its own, for a server at `host:port`.
    pub(crate) async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let way = watch::Sender::new(Way { mood: Mood::Pass, epoch: 0 });
        let round_trips = RoundTrips::default();
        let task = tokio::spawn(listen(listener, server.to_owned(), way.clone(), round_trips.clone()));
        Self { address, way, round_trips, task }
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How often clients have waited for their server: what they say while it is silent is one breath.
    pub(crate) fn round_trips(&self) -> u64 {
        self.round_trips.0.load(Ordering::Relaxed)
    }

    /// Cuts every connection, once.
    pub(crate) fn cut(&self) {
        self.way.send_modify(|way| way.epoch += 1);
    }

    /// Cuts every connection, and every new one.
    pub(crate) fn refuse(&self) {
        self.way.send_modify(|way| *way = Way { mood: Mood::Refuse, epoch: way.epoch + 1 });
    }

    /// Lets the client talk and throws the answers away.
    pub(crate) fn mute_the_server(&self) {
        self.way.send_modify(|way| way.mood = Mood::Mute);
    }

    /// Passes everything on again. Connections from before are cut: an answer may be missing in them.
    pub(crate) fn pass(&self) {
        self.way.send_modify(|way| *way = Way { mood: Mood::Pass, epoch: way.epoch + 1 });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn listen(listener: TcpListener, server: String, way: watch::Sender<Way>, round_trips: RoundTrips) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let mut changes = way.subscribe();
        let Way { mood, epoch } = *changes.borrow();
        if mood == Mood::Refuse {
            continue;
        }
        let (server, answers, round_trips) = (server.clone(), way.subscribe(), round_trips.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = changes.wait_for(|way| way.epoch != epoch) => {}
                // However a connection ends is the client's and the server's business.
                _ = connect(client, server, answers, round_trips) => {}
            }
        });
    }
}

async fn connect(
    mut client: TcpStream,
    server: String,
    way: watch::Receiver<Way>,
    round_trips: RoundTrips,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let is_asking = AtomicBool::new(false);
    let ask = async {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let count = from_client.read(&mut bytes).await?;
            if count == 0 {
                return std::io::Result::Ok(());
            }
            let is_first = !is_asking.swap(true, Ordering::Relaxed);
            round_trips.0.fetch_add(u64::from(is_first), Ordering::Relaxed);
            to_server.write_all(&bytes[..count]).await?;
        }
    };
    let answer = async {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let count = from_server.read(&mut bytes).await?;
            if count == 0 {
                return std::io::Result::Ok(());
            }
            is_asking.store(false, Ordering::Relaxed);
            let mood = way.borrow().mood;
            if mood == Mood::Pass {
                to_client.write_all(&bytes[..count]).await?;
            }
        }
    };
    tokio::select! {
        end = ask => end,
        end = answer => end,
    }
}
