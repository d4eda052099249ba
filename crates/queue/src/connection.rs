//! The way to the broker, as the process that opened it sees it. Who only publishes or consumes needs none of it.

/// Is a connection to the broker. A clone is another handle to it.
pub trait Connection: Clone + Send + Sync + 'static {
    /// Why publishing is not possible, or not everything that should be consumed is being consumed, if so.
    fn trouble(&self) -> Option<String>;

    /// Says whether publishing is possible and everything that should be consumed is being consumed.
    fn ready(&self) -> bool {
        self.trouble().is_none()
    }

    /// Confirms what is under way, and hangs up. Afterwards every call is
    /// [`Error::Unavailable`](crate::Error::Unavailable), also those of the clones. Consumers end as by
    /// [`Consumer::stop`](crate::Consumer::stop), a moment later.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
