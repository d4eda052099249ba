//! A gate between a cache and the server, which spoils the connection.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::server::Server;

/// Stands between a cache and the server, and spoils the connection.
pub(super) struct Gate {
    pub(super) address: String,
    mode: watch::Sender<Mode>,
    listener: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// Connections pass.
    Pass,
    /// Connections are closed, new ones at once.
    Cut,
    /// Connections are open, but nobody reads or writes; they stay so when the mode changes to `Pass`.
    Hang,
}

impl Gate {
    pub(super) async fn new(server: &Server, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (mode, modes) = watch::channel(mode);
        let target = server.address();
        let accept = async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                connections.spawn(carry(near, target.clone(), modes.clone()));
            }
        };
        Self { address, mode, listener: tokio::spawn(accept) }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

pub(super) async fn carry(mut near: TcpStream, target: String, mut modes: watch::Receiver<Mode>) {
    let mut far = TcpStream::connect(target).await.unwrap();
    let spoilt = async { *modes.wait_for(|mode| *mode != Mode::Pass).await.unwrap() };
    let mode = tokio::select! {
        biased;
        mode = spoilt => mode,
        _ = copy_bidirectional(&mut near, &mut far) => return,
    };
    if mode == Mode::Hang {
        let _ = modes.wait_for(|mode| *mode == Mode::Cut).await;
    }
}
