//! The way to the server: secured or not, and the login that is made on it.
//!
//! Every connection is made here, those of the pool, those outside of it, and those that cancel a statement, so that
//! none of them is made in the clear by oversight. What may change while we run, certificates and the password, is read
//! anew for each.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use resilience::Password;
use resilience::trouble::{Kind, Trouble};
use tls::Tls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Socket};

use super::with_causes;

/// What TLS has to say about an error that it caused.
pub(super) fn meaning(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    tls::explain(error)
}

/// What to do about a refusal of the server's that is about the way to it.
pub(super) fn mend(refusal: &str) -> Option<&'static str> {
    const MENDS: [(&str, &str); 4] = [
        (
            "server does not support TLS",
            "have it set up (ssl = on), or say that plaintext is meant, sslmode=disable",
        ),
        ("no encryption", "it wants the way secured, sslmode=verify-full"),
        ("SSL off", "it wants the way secured, sslmode=verify-full"),
        ("requires a valid client certificate", "name one of ours, sslcert=FILE and sslkey=FILE"),
    ];
    MENDS.iter().find(|(said, _)| refusal.contains(said)).map(|(_, mend)| *mend)
}

/// Secures a connection, if the URL asks for it.
#[derive(Clone, Debug)]
pub(super) struct Secure(pub(super) Option<Tls>);

/// Connects with the password as it is now.
#[derive(Clone, Debug)]
pub(super) struct Door {
    secure: Secure,
    password: Option<Password>,
    /// That a password cannot be read is told once, however many connections are tried.
    reading: Trouble,
}

impl Door {
    pub(super) fn new(secure: Secure, password: Option<Password>) -> Self {
        Self { secure, password, reading: Trouble::new("read the password of PostgreSQL") }
    }

    /// How connections are secured.
    pub(super) fn secure(&self) -> Secure {
        self.secure.clone()
    }

    /// Connects, and keeps the connection going.
    pub(super) async fn open(
        &self,
        driver: &Config,
    ) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let mut driver = driver.clone();
        match self.password.as_ref().map(Password::read) {
            None => {}
            Some(Ok(password)) => {
                self.reading.over();
                driver.password(password);
            }
            // Tried without one: the server asks for it, or does not need it.
            Some(Err(problem)) => self.reading.met(problem, Kind::Passing),
        }
        let (client, connection) = driver.connect(self.secure.clone()).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %with_causes(&error), "database connection ended");
            }
        });
        Ok((client, task))
    }
}

impl MakeTlsConnect<Socket> for Secure {
    type Stream = Secured;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        Ok(Handshake { tls: self.0.clone(), host: host.to_owned() })
    }
}

/// One connection that is about to be secured.
pub(super) struct Handshake {
    tls: Option<Tls>,
    host: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Secured;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Secured>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let tls =
                self.tls.ok_or_else(|| io::Error::other("a connection in the clear was to be secured"))?;
            tls.connect(&self.host, socket).await.map(Secured)
        })
    }
}

/// A connection that is secured.
pub(super) struct Secured(tls::Stream<Socket>);

impl TlsStream for Secured {
    fn channel_binding(&self) -> ChannelBinding {
        tls::end_point(&self.0).map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_that_cannot_be_read_is_in_the_way_until_it_can() {
        let file = std::env::temp_dir().join(format!("ltv-door-{}", std::process::id()));
        let door = Door::new(Secure(None), Some(Password::InFile(file.clone())));
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut driver = Config::new();
        driver.host("127.0.0.1").port(nobody.port()).user("ltv");

        assert!(door.open(&driver).await.is_err());
        let unread = door.reading.reason();
        std::fs::write(&file, "secret").unwrap();
        assert!(door.clone().open(&driver).await.is_err());
        let read = door.reading.reason();
        std::fs::remove_file(&file).unwrap();

        assert!(unread.is_some_and(|reason| reason.contains("cannot be read")));
        assert_eq!(read, None);
    }

    #[test]
    fn a_refusal_that_is_about_the_way_says_what_to_write() {
        let refused = r#"db error: FATAL: no pg_hba.conf entry for host "10.0.0.1", user "ltv", database "ltv", no encryption"#;

        assert_eq!(mend(refused), Some("it wants the way secured, sslmode=verify-full"));
        assert_eq!(mend("db error: FATAL: password authentication failed"), None);
    }
}
