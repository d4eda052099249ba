//! Why a customer could not be valued.

/// Why a customer could not be valued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The history holds no purchase.
    #[error("the customer never bought anything")]
    NoPurchase,
    /// A line is in another currency than the run.
    #[error("a transaction is in another currency than the run")]
    ForeignCurrency,
    /// The history begins with a refund.
    #[error("a refund comes before the first purchase")]
    RefundBeforePurchase,
    /// Refunds exceed what was spent after the first purchase.
    #[error("more was refunded than was spent after the first purchase")]
    NegativeSpend,
    /// The spend is beyond 2^53 minor units.
    #[error("the amounts add up to more than can be believed")]
    SpendOutOfRange,
    /// The lines did not come in time order.
    #[error("the transactions are not in time order")]
    HistoryOutOfOrder,
    /// A line lies outside the observed period.
    #[error("a transaction lies outside the observed period, or at no moment")]
    HistoryOutOfRange,
    /// The summary contradicts itself; no history leaves such a summary behind.
    #[error("frequency, recency, age and spend contradict each other")]
    InconsistentSummary,
    /// The spend model has no finite mean for this customer (`p x + q <= 1`).
    #[error("the spend model's parameters give this customer no finite mean spend")]
    SpendHasNoMean,
    /// A subscription has a period, a price or an end that cannot be.
    #[error("a subscription has a period, a price or an end that cannot be")]
    ImpossibleContract,
    /// The model version knows nothing of the renewals of a contract, and the customer has never bought anything.
    /// Whoever buys is valued by his purchases, with the grade [`D`](crate::Grade::D).
    #[error("the model version knows nothing of contracts; `ltv fit` once subscriptions have ended")]
    NoContractModel,
    /// The value is beyond 2^53 minor units.
    #[error("the value is larger than can be believed")]
    ValueOutOfRange,
    /// The database fails when it is asked for the customer's transactions.
    #[error("a transaction cannot be read; the worker's log names the column and the reason")]
    UnreadableTransaction,
    /// The database fails when it is asked for the customer's subscriptions.
    #[error("a subscription cannot be read; the worker's log names the column and the reason")]
    UnreadableSubscription,
    /// The database fails when it is asked what it cost to win the customer.
    #[error("a cost of acquisition cannot be read; the worker's log names the column and the reason")]
    UnreadableCost,
}

impl Rejection {
    const ALL: [Self; 15] = [
        Self::NoPurchase,
        Self::ForeignCurrency,
        Self::RefundBeforePurchase,
        Self::NegativeSpend,
        Self::SpendOutOfRange,
        Self::HistoryOutOfOrder,
        Self::HistoryOutOfRange,
        Self::InconsistentSummary,
        Self::SpendHasNoMean,
        Self::ImpossibleContract,
        Self::NoContractModel,
        Self::ValueOutOfRange,
        Self::UnreadableTransaction,
        Self::UnreadableSubscription,
        Self::UnreadableCost,
    ];

    /// The name under which the rejection is stored and counted.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoPurchase => "no_purchase",
            Self::ForeignCurrency => "foreign_currency",
            Self::RefundBeforePurchase => "refund_before_purchase",
            Self::NegativeSpend => "negative_spend",
            Self::SpendOutOfRange => "spend_out_of_range",
            Self::HistoryOutOfOrder => "history_out_of_order",
            Self::HistoryOutOfRange => "history_out_of_range",
            Self::InconsistentSummary => "inconsistent_summary",
            Self::SpendHasNoMean => "spend_has_no_mean",
            Self::ImpossibleContract => "impossible_contract",
            Self::NoContractModel => "no_contract_model",
            Self::ValueOutOfRange => "value_out_of_range",
            Self::UnreadableTransaction => "unreadable_transaction",
            Self::UnreadableSubscription => "unreadable_subscription",
            Self::UnreadableCost => "unreadable_cost",
        }
    }

    /// Finds the rejection of that [`code`](Self::code).
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rejection| rejection.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rejection_is_found_by_its_code() {
        for rejection in Rejection::ALL {
            assert_eq!(Rejection::from_code(rejection.code()), Some(rejection));
        }
        assert_eq!(Rejection::from_code("unheard_of"), None);
    }
}
