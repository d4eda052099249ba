//! Keys, and what came of the calls under them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::rows::Rows;
use super::{Memory, later};
use crate::keys::{Claim, Claimed, Effect, KEPT, KeyedCall};
use crate::{Error, Result};

/// The keys by who called, and the last claim that was issued.
#[derive(Debug, Default)]
pub(super) struct Keys {
    last: i64,
    rows: BTreeMap<(String, String), Row>,
}

#[derive(Debug)]
struct Row {
    fingerprint: Vec<u8>,
    claim: i64,
    claimed_until: Timestamp,
    effect: Option<Effect>,
    made_at: Timestamp,
}

impl crate::Keys for Memory {
    async fn claim(&self, call: &KeyedCall<'_>, lease: Duration) -> Result<Claimed> {
        self.call(|rows, now| Ok(rows.keys.claim(call, later(now, lease), now))).await
    }

    async fn renew_claim(&self, claim: &Claim, lease: Duration) -> Result<bool> {
        self.call(|rows, now| {
            let held = rows.keys.held(claim);
            Ok(held.map(|row| row.claimed_until = later(now, lease)).is_some())
        })
        .await
    }

    fn under(&self, claim: &Claim) -> Self {
        Self { claim: Some(claim.clone().into()), ..self.clone() }
    }

    async fn keep(&self, claim: &Claim, effect: &Effect) -> Result<bool> {
        self.call(|rows, _| {
            let held = rows.keys.held(claim);
            Ok(held.map(|row| row.effect = Some(effect.clone())).is_some())
        })
        .await
    }

    async fn let_go(&self, claim: &Claim) -> Result<()> {
        self.call(|rows, _| {
            if rows.keys.held(claim).is_some() {
                rows.keys.rows.remove(&(claim.principal.clone(), claim.key.clone()));
            }
            Ok(())
        })
        .await
    }
}

impl Memory {
    /// Does one call whose effect is kept with it, where it is done under a claim; nothing, where the claim is not the
    /// latest any more.
    pub(super) async fn call_once<T>(
        &self,
        what: &str,
        work: impl FnOnce(&mut Rows, Timestamp) -> Result<(T, Option<Effect>)>,
    ) -> Result<T> {
        self.call(|rows, now| {
            let Some(claim) = &self.claim else { return Ok(work(rows, now)?.0) };
            if rows.keys.held(claim).is_none() {
                return Err(Error::Superseded { what: what.into(), reason: claim.superseded() });
            }
            let (done, effect) = work(rows, now)?;
            if let Some(effect) = effect {
                rows.keys.held(claim).expect("it was held a moment ago").effect = Some(effect);
            }
            Ok(done)
        })
        .await
    }
}

impl Keys {
    fn claim(&mut self, call: &KeyedCall<'_>, claimed_until: Timestamp, now: Timestamp) -> Claimed {
        self.rows.retain(|_, row| later(row.made_at, KEPT) > now);
        let owner = (call.principal.to_owned(), call.key.to_owned());
        if let Some(row) = self.rows.get(&owner) {
            if row.fingerprint != call.fingerprint {
                return Claimed::KeyReused;
            }
            if let Some(effect) = &row.effect {
                return Claimed::Done(effect.clone());
            }
            if row.claimed_until > now {
                return Claimed::AtWork;
            }
        }
        self.last += 1;
        let (fingerprint, claim) = (call.fingerprint.to_vec(), self.last);
        let row = Row { fingerprint, claim, claimed_until, effect: None, made_at: now };
        self.rows.insert(owner.clone(), row);
        Claimed::Ours(Claim { principal: owner.0, key: owner.1, number: claim })
    }

    /// The row of a claim that is the latest, and under which nothing was kept.
    fn held(&mut self, claim: &Claim) -> Option<&mut Row> {
        let row = self.rows.get_mut(&(claim.principal.clone(), claim.key.clone()))?;
        (row.claim == claim.number && row.effect.is_none()).then_some(row)
    }
}
