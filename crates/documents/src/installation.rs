//! Which installation a database is.

use jiff::Timestamp;
use serde::Serialize;

/// An identity that an installation has, or had.
#[derive(Clone, Debug, Serialize)]
pub struct Installation {
    /// The identity: 16 hexadecimal digits.
    pub installation: String,
    /// Since when.
    pub since: Timestamp,
    /// Who made it.
    pub made_by: String,
    /// Why.
    pub reason: String,
}

/// The identity in force, and what is named by it.
#[derive(Clone, Debug, Serialize)]
pub struct ShownInstallation {
    /// The identity in force.
    pub now: Installation,
    /// Its queues, all that there are.
    pub queues: Vec<String>,
    /// Its exchanges.
    pub exchanges: Vec<String>,
    /// What its keys in the cache begin with, before a colon.
    pub keys: String,
    /// The identities before, the latest first.
    pub former: Vec<Installation>,
}
