//! Keys: claim, renew, keep, let go. Every transition shows its guard.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;

use super::row::{get, json_if_any};
use super::{Fault, Postgres};
use crate::keys::{Claim, Claimed, Effect, KEPT, KeyedCall};
use crate::{Keys, Result};

impl Keys for Postgres {
    async fn claim(&self, call: &KeyedCall<'_>, lease: Duration) -> Result<Claimed> {
        self.short("claim a key", async |client| match claim(client, call, lease).await? {
            Some(claim) => Ok(Claimed::Ours(claim)),
            None => why_not(client, call).await,
        })
        .await
    }

    async fn renew_claim(&self, claim: &Claim, lease: Duration) -> Result<bool> {
        const RENEW: &str = "
            update fleet.idempotency
               set claimed_until = now() + $4::float8 * interval '1 second'
             where principal = $1
               and key = $2
               and claim = $3
               and effect is null";
        let Claim { principal, key, number } = claim;
        self.short("renew the claim of a key", async |client| {
            Ok(client.execute(RENEW, &[principal, key, number, &lease.as_secs_f64()]).await? == 1)
        })
        .await
    }

    fn under(&self, claim: &Claim) -> Self {
        Self { claim: Some(claim.clone().into()), ..self.clone() }
    }

    async fn keep(&self, claim: &Claim, effect: &Effect) -> Result<bool> {
        self.short("keep what came of a call", async |client| settle(client, claim, effect).await).await
    }

    async fn let_go(&self, claim: &Claim) -> Result<()> {
        const LET_GO: &str = "
            delete from fleet.idempotency
             where principal = $1
               and key = $2
               and claim = $3
               and effect is null";
        let Claim { principal, key, number } = claim;
        self.short("let go of a key", async |client| {
            client.execute(LET_GO, &[principal, key, number]).await?;
            Ok(())
        })
        .await
    }
}

impl Postgres {
    /// Keeps what comes of the transaction that is open, if it is done under a claim. Where the claim is not the latest
    /// any more, the transaction is to be rolled back.
    pub(super) async fn keep_in(&self, client: &ClientWrapper, effect: &Effect) -> Result<(), Fault> {
        let Some(claim) = &self.claim else { return Ok(()) };
        if settle(client, claim, effect).await? {
            return Ok(());
        }
        client.batch_execute("rollback").await?;
        Err(Fault::Superseded(claim.superseded()))
    }
}

/// Claims a key that is new, or old, or whose claim has lapsed. Forgets some that are old on the way.
async fn claim(
    client: &ClientWrapper,
    call: &KeyedCall<'_>,
    lease: Duration,
) -> Result<Option<Claim>, Fault> {
    const CLAIM: &str = "
        with forgotten as (
            delete from fleet.idempotency
             where (principal, key) in (select principal, key
                                          from fleet.idempotency
                                         where made_at <= now() - $5::float8 * interval '1 second'
                                           and (principal, key) <> ($1, $2)
                                         order by made_at
                                         limit 10
                                           for update skip locked)
        )
        insert into fleet.idempotency as held (principal, key, fingerprint, claimed_until)
        values ($1, $2, $3, now() + $4::float8 * interval '1 second')
            on conflict (principal, key) do update
           set fingerprint = excluded.fingerprint,
               claim = excluded.claim,
               claimed_until = excluded.claimed_until,
               effect = null,
               made_at = excluded.made_at
         where held.made_at <= now() - $5::float8 * interval '1 second'
            or (    held.effect is null
                and held.claimed_until <= now()
                and held.fingerprint = excluded.fingerprint)
     returning claim";
    let KeyedCall { principal, key, fingerprint } = *call;
    let claim = client.prepare_cached(CLAIM).await?;
    let (lease, kept) = (lease.as_secs_f64(), KEPT.as_secs_f64());
    let row = client.query_opt(&claim, &[&principal, &key, &fingerprint, &lease, &kept]).await?;
    let claim = |row: &Row| {
        Ok(Claim { principal: principal.to_owned(), key: key.to_owned(), number: get(row, "claim")? })
    };
    row.as_ref().map(claim).transpose()
}

/// Why a key could not be claimed. One that is not there was let go of a moment ago.
async fn why_not(client: &ClientWrapper, call: &KeyedCall<'_>) -> Result<Claimed, Fault> {
    const FIND: &str = "
        select fingerprint, effect
          from fleet.idempotency
         where principal = $1
           and key = $2";
    let Some(row) = client.query_opt(FIND, &[&call.principal, &call.key]).await? else {
        return Ok(Claimed::AtWork);
    };
    if get::<&[u8]>(&row, "fingerprint")? != call.fingerprint {
        return Ok(Claimed::KeyReused);
    }
    Ok(json_if_any(&row, "effect")?.map_or(Claimed::AtWork, Claimed::Done))
}

/// Keeps what came of a call; false if the claim is not the latest any more, or something was kept.
async fn settle(client: &ClientWrapper, claim: &Claim, effect: &Effect) -> Result<bool, Fault> {
    const SETTLE: &str = "
        update fleet.idempotency
           set effect = $4
         where principal = $1
           and key = $2
           and claim = $3
           and effect is null";
    let effect = serde_json::to_value(effect).map_err(Fault::nonsense)?;
    let Claim { principal, key, number } = claim;
    Ok(client.execute(SETTLE, &[principal, key, number, &effect]).await? == 1)
}
