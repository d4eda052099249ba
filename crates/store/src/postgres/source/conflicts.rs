//! What may be wrong with a row that can be read, and the statements that find it.
//!
//! Each statement looks at what is staged and what is there, and records at most one conflict for each line. A number,
//! or whatever else must be there only once, belongs to whoever has it in the database, else to the first line that
//! names it.

use super::Fault;

/// Why a row that can be read still cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conflict {
    /// Another customer has this number.
    DuplicateCustomerId,
    /// Another customer has this external id.
    DuplicateExternalId,
    /// Another transaction has this number.
    DuplicateTransactionId,
    /// The customer has a subscription to this plan, paid as often, that began at the same moment; and this is not
    /// the same one with the end that was not known yet.
    DuplicateSubscription,
    /// The customer has an acquisition cost already.
    DuplicateAcquisitionCost,
    /// There is no customer of this number.
    UnknownCustomer,
}

impl Conflict {
    const ALL: [Self; 6] = [
        Self::DuplicateCustomerId,
        Self::DuplicateExternalId,
        Self::DuplicateTransactionId,
        Self::DuplicateSubscription,
        Self::DuplicateAcquisitionCost,
        Self::UnknownCustomer,
    ];

    /// The name under which the conflict is reported and counted.
    pub fn code(self) -> &'static str {
        match self {
            Self::DuplicateCustomerId => "duplicate_customer_id",
            Self::DuplicateExternalId => "duplicate_external_id",
            Self::DuplicateTransactionId => "duplicate_transaction_id",
            Self::DuplicateSubscription => "duplicate_subscription",
            Self::DuplicateAcquisitionCost => "duplicate_acquisition_cost",
            Self::UnknownCustomer => "unknown_customer",
        }
    }

    pub(super) fn from_code(code: &str) -> Result<Self, Fault> {
        let known = Self::ALL.into_iter().find(|conflict| conflict.code() == code);
        known.ok_or_else(|| Fault::Nonsense(format!("{code:?} is no conflict")))
    }
}

/// A staged row that was not inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictingRow {
    /// Its line.
    pub line: u64,
    /// What is wrong with it.
    pub conflict: Conflict,
    /// The same for a person to read, with the value and where else it stands.
    pub detail: String,
}

/// Customers by number and by external id.
pub(super) const OF_CUSTOMERS: &str = "
        insert into pg_temp.conflicting_customers (line, conflict, detail)
        select distinct on (line) line, conflict, detail
        from (
            select staged.line, 1 as rank, 'duplicate_customer_id' as conflict,
                   format('customer_id %s is in the database already', staged.customer_id) as detail
            from pg_temp.staged_customers staged
            join source.customers present using (customer_id)
            union all
            select staged.line, 2, 'duplicate_external_id',
                   format('external_id %s belongs to customer %s in the database',
                          staged.external_id, present.customer_id)
            from pg_temp.staged_customers staged
            join source.customers present on present.external_id = staged.external_id
            union all
            select line, 3, 'duplicate_customer_id',
                   format('customer_id %s is in line %s already', customer_id, first_line)
            from (
                select line, customer_id, min(line) over (partition by customer_id) as first_line
                from pg_temp.staged_customers
            ) numbered
            where line > first_line
            union all
            select line, 4, 'duplicate_external_id',
                   format('external_id %s is in line %s already', external_id, first_line)
            from (
                select line, external_id, min(line) over (partition by external_id) as first_line
                from pg_temp.staged_customers
            ) numbered
            where line > first_line
        ) found
        order by line, rank";

/// Transactions by number; `$1` says whether numbers of the file may repeat.
pub(super) const OF_TRANSACTIONS: &str = "
        insert into pg_temp.conflicting_transactions (line, conflict, detail)
        select distinct on (line) line, conflict, detail
        from (
            select staged.line, 1 as rank, 'unknown_customer' as conflict,
                   format('customer_id %s is not among the customers', staged.customer_id) as detail
            from pg_temp.staged_transactions staged
            where not exists (
                select from source.customers present where present.customer_id = staged.customer_id
            )
            union all
            select staged.line, 2, 'duplicate_transaction_id',
                   format('transaction_id %s is in the database already', staged.transaction_id)
            from pg_temp.staged_transactions staged
            join source.transactions present using (transaction_id)
            union all
            select line, 3, 'duplicate_transaction_id',
                   format('transaction_id %s is in line %s already', transaction_id, first_line)
            from (
                select line, transaction_id, min(line) over (partition by transaction_id) as first_line
                from pg_temp.staged_transactions
                where $1
            ) numbered
            where line > first_line
        ) found
        order by line, rank";

/// Subscriptions by customer, plan, period and start: a file that is loaded twice does not charge twice. One that is
/// there without an end may be given one, and nothing else.
pub(super) const OF_SUBSCRIPTIONS: &str = "
        insert into pg_temp.conflicting_subscriptions (line, conflict, detail)
        select distinct on (line) line, conflict, detail
        from (
            select staged.line, 1 as rank, 'unknown_customer' as conflict,
                   format('customer_id %s is not among the customers', staged.customer_id) as detail
            from pg_temp.staged_subscriptions staged
            where not exists (
                select from source.customers present where present.customer_id = staged.customer_id
            )
            union all
            select staged.line, 2, 'duplicate_subscription',
                   format('customer %s has a subscription to %s from %s on, with period_months %s, '
                          'in the database already: %s',
                          staged.customer_id, staged.plan, staged.started_at, staged.period_months,
                          coalesce(nullif(concat_ws(', ',
                              case when present.price_minor is distinct from staged.price_minor
                                   then format('price_minor is %s there and %s here',
                                               present.price_minor, staged.price_minor) end,
                              case when present.currency is distinct from staged.currency
                                   then format('currency is %s there and %s here',
                                               present.currency, staged.currency) end,
                              case when present.ended_at is distinct from staged.ended_at
                                   then format('ended_at is %s there and %s here',
                                               coalesce(present.ended_at::text, 'empty'),
                                               coalesce(staged.ended_at::text, 'empty')) end,
                              case when present.end_reason is distinct from staged.end_reason
                                   then format('end_reason is %s there and %s here',
                                               coalesce(present.end_reason, 'empty'),
                                               coalesce(staged.end_reason, 'empty')) end
                          ), ''), 'it is the same'))
            from pg_temp.staged_subscriptions staged
            join source.subscriptions present using (customer_id, started_at, plan, period_months)
            where present.price_minor is distinct from staged.price_minor
               or present.currency is distinct from staged.currency
               or present.ended_at is not null
               or staged.ended_at is null
            union all
            select line, 3, 'duplicate_subscription',
                   format('customer %s has a subscription to %s from %s on, with period_months %s, '
                          'in line %s already',
                          customer_id, plan, started_at, period_months, first_line)
            from (
                select line, customer_id, plan, started_at, period_months,
                       min(line) over (partition by customer_id, started_at, plan, period_months) as first_line
                from pg_temp.staged_subscriptions
            ) numbered
            where line > first_line
        ) found
        order by line, rank";

/// Gives the subscriptions that are there their ends, and takes the lines that tell of them off the stage. What is
/// there under the key of a line without conflict has no end, or it would be one.
pub(super) const ENDS_OF_SUBSCRIPTIONS: &str = "
        with ended as (
            update source.subscriptions present
               set ended_at = staged.ended_at, end_reason = staged.end_reason
              from pg_temp.staged_subscriptions staged
             where present.customer_id = staged.customer_id
               and present.started_at = staged.started_at
               and present.plan = staged.plan
               and present.period_months = staged.period_months
               and present.ended_at is null
               and not exists (
                   select from pg_temp.conflicting_subscriptions conflicting where conflicting.line = staged.line
               )
         returning staged.line
        )
        delete from pg_temp.staged_subscriptions staged
         using ended
         where staged.line = ended.line";

/// Acquisition costs by customer.
pub(super) const OF_ACQUISITION_COSTS: &str = "
        insert into pg_temp.conflicting_acquisition_costs (line, conflict, detail)
        select distinct on (line) line, conflict, detail
        from (
            select staged.line, 1 as rank, 'unknown_customer' as conflict,
                   format('customer_id %s is not among the customers', staged.customer_id) as detail
            from pg_temp.staged_acquisition_costs staged
            where not exists (
                select from source.customers present where present.customer_id = staged.customer_id
            )
            union all
            select staged.line, 2, 'duplicate_acquisition_cost',
                   format('customer %s has an acquisition cost in the database already', staged.customer_id)
            from pg_temp.staged_acquisition_costs staged
            where exists (
                select from source.acquisition_costs present where present.customer_id = staged.customer_id
            )
            union all
            select line, 3, 'duplicate_acquisition_cost',
                   format('customer %s has an acquisition cost in line %s already', customer_id, first_line)
            from (
                select line, customer_id, min(line) over (partition by customer_id) as first_line
                from pg_temp.staged_acquisition_costs
            ) numbered
            where line > first_line
        ) found
        order by line, rank";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_conflict_is_found_by_its_code() {
        for conflict in Conflict::ALL {
            assert_eq!(Conflict::from_code(conflict.code()).unwrap(), conflict);
        }
    }
}
