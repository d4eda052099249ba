//! What a model is asked for and does not have.

/// Why a quantity does not exist under the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undefined {
    /// Without a discount, and with customers who never leave, the purchases for ever add up without bound.
    #[error("the undiscounted sum is infinite")]
    InfiniteSum,
    /// The sum has an end, but no number can hold it, or the terms that decide it.
    #[error("the sum is beyond the range of numbers")]
    SumOutOfRange,
    /// The distribution's tail is too heavy for a mean.
    #[error("the mean is infinite")]
    InfiniteMean,
    /// The distribution's tail is too heavy for a variance.
    #[error("the variance is infinite")]
    InfiniteVariance,
}
