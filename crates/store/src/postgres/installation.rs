//! Which installation a database is: an identity, and the history of those it had.
//!
//! An **installation** is a database and all that works for it. Its **identity** is 64 random bits, written as 16
//! hexadecimal digits. It is in each message, in the names of queues and exchanges and in the keys of the cache, so that
//! two installations that share a broker or a Redis never meet. `ltv migrate` makes the first identity, of new databases
//! and of those that had none; the last row of `fleet.installations` is in force, and no row ever changes.
//!
//! Only here, and not in memory: a store in memory has nobody whom it could be taken for.
//!
//! # Failure by failure
//!
//! * **The database is a copy** (a dump that was loaded elsewhere, a template, an upgraded cluster). Each row says at
//!   which place it was made: which cluster, which database in it. Whoever asks first at another place has a new one
//!   made; a lock lets the others wait and find it. A standby that is promoted stands at the same place.
//! * **The database goes back in place** (a restored snapshot, recovery to a point in time). Nothing in it shows that:
//!   `ltv installation renew` has to be said. Until then the coordinator finds out where the cache knows more than the
//!   database, and replaces what is named there.
//! * **It is renewed while roles work.** Each asks every few seconds, and ends with a word when the answer is another
//!   one (`crates/ltv/src/command/role.rs`). What it publishes until then lies in queues that nobody reads, and counts as
//!   lost; what it commits is as good as any other commit: the fence does not depend on identities.
//! * **The database is away when a role starts.** There are no names without an identity: it waits.
//! * **Queues and keys of a former identity stay behind.** Keys expire. Queues stay until a person deletes them: where
//!   the database is a copy they are those of the installation that it was copied from, and at work.

use batch::InstallationId;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::row::{get, word};
use super::{Fault, Postgres};
use crate::Result;

/// An identity that a database has, or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The identity.
    pub id: InstallationId,
    /// Since when.
    pub since: Timestamp,
    /// Who made it.
    pub made_by: String,
    /// Why.
    pub reason: String,
}

impl Postgres {
    /// The identity in force; that of a copy is made now, if nobody has asked it before.
    pub async fn installation(&self) -> Result<InstallationId> {
        self.short("ask which installation this is", async |client| {
            word(&client.query_one("select fleet.installation() as installation", &[]).await?, "installation")
        })
        .await
    }

    /// The identities that this database had, that in force first.
    pub async fn installations(&self) -> Result<Vec<Installation>> {
        const HISTORY: &str = "select * from fleet.installations order by number desc";
        self.installation().await?;
        self.short("list the installation's identities", async |client| {
            client.query(HISTORY, &[]).await?.iter().map(installation).collect()
        })
        .await
    }

    /// Gives the installation another identity: what is in queues and caches under the one before is not read again.
    pub async fn renew_installation(&self, by: Option<&str>, reason: &str) -> Result<InstallationId> {
        const RENEW: &str =
            "select fleet.new_installation(coalesce($1, session_user::text), $2) as installation";
        self.short("renew the installation's identity", async |client| {
            word(&client.query_one(RENEW, &[&by, &reason]).await?, "installation")
        })
        .await
    }
}

fn installation(row: &Row) -> Result<Installation, Fault> {
    Ok(Installation {
        id: word(row, "installation")?,
        since: get(row, "since")?,
        made_by: get(row, "made_by")?,
        reason: get(row, "reason")?,
    })
}
