//! Files that say what it cost to win customers.

use anyhow::Result;
use model::Currency;

use crate::amount::AmountColumn;
use crate::header::{Column, Header};
use crate::kind::{Columns, Kind};
use crate::reason::Problem;
use crate::row::Row;

/// What it cost to win a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcquisitionCost {
    /// Who was won.
    pub customer_id: i64,
    /// For how much, in minor units.
    pub cost_minor: i64,
    /// In which currency.
    pub currency: Currency,
}

/// The columns of a file of acquisition costs.
#[derive(Debug)]
pub struct AcquisitionCostColumns {
    customer_id: Column,
    cost: AmountColumn,
    currency: Column,
}

impl Columns for AcquisitionCostColumns {
    const KIND: Kind = Kind::AcquisitionCosts;
    const NEEDED: &'static str = "customer_id, cost (such as 120.00) or cost_minor (such as 12000), currency";

    fn find(header: &Header) -> Result<Self> {
        Ok(Self {
            customer_id: header.needed("customer_id", Self::NEEDED)?,
            cost: AmountColumn::needed(header, "cost_minor", "cost", Self::NEEDED)?,
            currency: header.needed("currency", Self::NEEDED)?,
        })
    }
}

impl AcquisitionCostColumns {
    /// Reads a row as the cost of an acquisition.
    pub fn cost(&self, row: Row<'_>) -> Result<AcquisitionCost, Problem> {
        let customer_id = row.whole(self.customer_id)?;
        let currency = row.currency(self.currency)?;
        let cost_minor = row.price(self.cost, currency)?;
        Ok(AcquisitionCost { customer_id, cost_minor, currency: currency.currency })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use crate::tests::read;

    #[test]
    fn a_cost_is_an_amount_that_is_not_below_nothing() {
        let check = |header: &str, row: &str, expected| {
            let read = read(header, row, |columns: &AcquisitionCostColumns, row, _| {
                columns.cost(row).map(|cost| cost.customer_id)
            });
            assert_eq!(read, expected, "{row}");
        };
        check("customer_id,cost,currency", "7,120.00,USD", Ok(7));
        check("currency,cost_minor,customer_id", "USD,0,7", Ok(7));
        check("customer_id,cost,currency", "7,-0.01,USD", Err(Reason::BadAmount));
        check("customer_id,cost,currency", "7,,USD", Err(Reason::MissingValue));
    }
}
