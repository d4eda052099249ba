//! The cache that keeps nothing: for a night whose readers are no nearer to it than to the store.

use batch::{CustomerId, Progress, RunId};

use crate::{Cache, CachedValue, Error, Holds, Valued, VisibleRuns};

/// Forgets at once what it is told, as any cache may, and answers "ask the store".
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Cache for Nothing {
    async fn put_values(&self, _: RunId, _: &[Valued]) -> Result<(), Error> {
        Ok(())
    }

    async fn put_members(&self, _: RunId, _: &[CustomerId]) -> Result<(), Error> {
        Ok(())
    }

    async fn holds_all(&self, _: RunId) -> Result<Holds, Error> {
        Ok(Holds::All) // What is written here again is lost again.
    }

    async fn put_visible(&self, _: &VisibleRuns) -> Result<bool, Error> {
        Ok(true)
    }

    async fn replace_visible(&self, _: &VisibleRuns, _: &VisibleRuns) -> Result<bool, Error> {
        Ok(false)
    }

    async fn visible(&self) -> Result<Option<VisibleRuns>, Error> {
        Ok(None)
    }

    async fn value(&self, _: CustomerId) -> Result<Option<(RunId, CachedValue)>, Error> {
        Ok(None)
    }

    async fn put_progress(&self, _: RunId, _: &Progress) -> Result<(), Error> {
        Ok(())
    }

    async fn progress(&self, _: RunId) -> Result<Option<Progress>, Error> {
        Ok(None)
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}
