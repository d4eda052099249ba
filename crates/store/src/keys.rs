//! Keys: calls that may be made again, and whose effect happens once.
//!
//! A caller who got no answer makes the same call again under the same **key**. Whoever is at work for it has the
//! **claim** of the key, with a number that is never issued twice: a fence, and a lease beside it. What came of the call is
//! its **effect**, which is kept in the very transaction that it tells of: either both are there, or neither is.
//!
//! # Failure by failure
//!
//! * **Whoever works is killed before the effect.** Nothing has happened. Once the lease has expired the next that makes
//!   the call has the claim.
//! * **It is killed between the effect and its answer.** The effect is kept: asked again, it is told, and not done again.
//! * **It was only taken for dead,** and goes on: its claim is not the latest, and what it would do is refused
//!   ([`Error::Blocked`](crate::Error::Blocked)) and leaves nothing behind.
//! * **The call comes twice at once.** One has the claim, the other is told that somebody is at work.
//! * **The call failed, and nothing has happened.** Its claim is let go of, and the next try need not wait for the lease.
//!   If the effect did happen, and only its answer was lost, there is nothing that could be let go of.
//! * **The key is used for another call.** That is told, and nothing happens.
//! * **Nobody ever asks again.** A key is forgotten a day after the first call: some are with each claim.

use std::future::Future;
use std::time::Duration;

use batch::RunId;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::guard::DecisionKind;
use crate::record::{ModelVersionId, NewRun};

/// How long a key is kept from the first call on.
pub const KEPT: Duration = Duration::from_hours(24);

/// Effects under a key, each of which happens once. The side of whoever answers callers that ask again.
pub trait Keys: Clone + Send + Sync + 'static {
    /// Claims the key of a call for so long; or says what came of it, or why there is nothing to do.
    fn claim(&self, call: &KeyedCall<'_>, lease: Duration) -> impl Future<Output = Result<Claimed>> + Send;

    /// Renews the lease of a claim; false if it is not the latest any more, or the effect is there.
    fn renew_claim(&self, claim: &Claim, lease: Duration) -> impl Future<Output = Result<bool>> + Send;

    /// The same store for what is done under a claim: a run that is recorded, cancelled or decided about, dead chunks put
    /// back to work, a model version promoted or rolled back. What comes of it is kept in its own transaction, or it does
    /// not happen. Where there is nothing to do, nothing is kept: the caller says what that means ([`Keys::keep`]).
    #[must_use]
    fn under(&self, claim: &Claim) -> Self;

    /// Keeps what came of a call where there was nothing to do; false if the claim is not the latest any more.
    fn keep(&self, claim: &Claim, effect: &Effect) -> impl Future<Output = Result<bool>> + Send;

    /// Lets go of a claim under which nothing has happened.
    fn let_go(&self, claim: &Claim) -> impl Future<Output = Result<()>> + Send;
}

/// A call that may be made again.
#[derive(Clone, Copy, Debug)]
pub struct KeyedCall<'a> {
    /// Who calls: the owner of the key.
    pub principal: &'a str,
    /// What makes a repeat the same call.
    pub key: &'a str,
    /// Tells what is called, so that the key is not used for something else.
    pub fingerprint: &'a [u8],
}

/// What `claim` answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Claimed {
    /// It is the caller's to do.
    Ours(Claim),
    /// It was done, and this came of it.
    Done(Effect),
    /// Another is believed to be at work on it.
    AtWork,
    /// The key is that of another call.
    KeyReused,
}

/// The right to do what is called under a key, and the fencing token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub(crate) principal: String,
    pub(crate) key: String,
    pub(crate) number: i64,
}

impl Claim {
    /// What the store says of one that is not the latest any more.
    pub(crate) fn superseded(&self) -> String {
        format!("the key {:?} was claimed by another call", self.key)
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// A run was recorded, or found.
    Dispatched {
        /// The run.
        run: RunId,
        /// Whether it was recorded.
        is_new: bool,
        /// Its customers.
        customers: u64,
        /// Its chunks.
        chunks: u64,
    },
    /// A run was cancelled.
    Cancelled {
        /// The run.
        run: RunId,
        /// Whether it was: it may have been over, or held.
        is_new: bool,
    },
    /// A person decided about a run that was held.
    Decided {
        /// The run.
        run: RunId,
        /// What was decided.
        kind: DecisionKind,
        /// Whether it was: it may not have been held.
        is_new: bool,
    },
    /// Dead chunks were put back to work.
    Redriven {
        /// Their run.
        run: RunId,
        /// How many.
        chunks: u64,
    },
    /// A model version was promoted.
    Promoted {
        /// The model version that is in force.
        version: ModelVersionId,
        /// Whether it was not before.
        is_new: bool,
    },
    /// The promotion in force was rolled back.
    RolledBack {
        /// The model version that is in force again; none if there is nothing to go back to.
        version: Option<ModelVersionId>,
    },
}

impl NewRun {
    /// What comes of recording it.
    pub(crate) fn dispatched(&self, run: RunId) -> Effect {
        let customers: usize = self.plan.chunks.iter().map(|chunk| chunk.customers.len()).sum();
        Effect::Dispatched {
            run,
            is_new: true,
            customers: customers as u64,
            chunks: self.plan.chunks.len() as u64,
        }
    }
}
