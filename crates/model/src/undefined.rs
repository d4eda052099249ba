//! What a model's customer does not have.

/// A quantity that does not exist under the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undefined {
    /// Purchases without end, none of them discounted enough.
    #[error("the undiscounted sum is infinite")]
    InfiniteSum,
    /// The distribution's tail is too heavy for a mean.
    #[error("the mean is infinite")]
    InfiniteMean,
    /// The distribution's tail is too heavy for a variance.
    #[error("the variance is infinite")]
    InfiniteVariance,
}
