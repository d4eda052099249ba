//! How far a contract came, as the models count it.

/// How far a contract came, in renewals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tenure {
    /// It ended at this renewal; the first is 1.
    ChurnedAt(u32),
    /// It goes on, after so many renewals.
    ActiveAfter(u32),
}
