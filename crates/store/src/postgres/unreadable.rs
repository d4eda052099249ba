//! Customers whose rows the database fails over: found among a chunk's, and rejected.
//!
//! The source may be a view over anybody's tables. A number beyond `bigint`, a NaN, a text that is no date, a function
//! that raises an exception or divides by zero for one customer fails the whole COPY, and the server does not say over
//! whom. Then [`batch::Isolation`] says which customers to read next, until those are found; all others are read as if
//! nothing had been. Each part is a read like a whole one: all three relations over one snapshot, with a permit of the
//! breaker and the time limit of a chunk. A chunk without such a customer is read by exactly one, and pays nothing.
//!
//! # Failure by failure
//!
//! * **A few customers cannot be read.** Each is a rejection that names the relation. A warning per relation and
//!   column names them, with what the server said. That costs at most `1 + 2 k ⌈log2 n⌉` reads for `k` of `n`
//!   customers, and a few short statements for each that look for the column.
//! * **More than [`MOST_UNREADABLE`] in one chunk.** [`Error::Invalid`]: the chunk fails with the reason, also where a
//!   view raises exceptions for everybody, so that the run has an end.
//! * **Something else goes wrong meanwhile**: no connection, no answer in time, a right that was taken away. Its error,
//!   as of any read; what was found is forgotten, and found again.
//! * **The column cannot be found**: the view fails whatever is asked of it, or the row only cannot be sent. The
//!   warning goes without it.
//! * **A relation is missing, a right is, a page is corrupt** (`XX`), **or the server is out of something.** Nobody's
//!   row: not looked into.

use batch::{CustomerId, Finding, Isolation};
use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use model::Rejection;

use super::accounts::read_accounts;
use super::connect::BEGIN_IN_UTC;
use super::elsewhere::Needed;
use super::{Fault, Postgres, is_transient, with_causes};
use crate::record::{History, Reading};
use crate::{Error, Result, metrics};

/// How many customers of a chunk may be rejected because their rows cannot be read. Where there are more, something
/// else is wrong than a few rows.
pub(super) const MOST_UNREADABLE: usize = 64;

const READ: &str = "read histories";

/// What a chunk is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Transactions,
    Subscriptions,
    Costs,
}

/// A read that failed over the rows of a relation.
#[derive(Debug)]
pub(super) struct Unreadable {
    relation: Relation,
    reason: String,
}

/// A customer who was found.
#[derive(Debug)]
struct Culprit {
    customer: CustomerId,
    column: Option<&'static str>,
    unreadable: Unreadable,
}

impl Postgres {
    /// Reads histories, observed until a moment, and rejects those customers whose rows cannot be read.
    pub(super) async fn read_or_reject(
        &self,
        reading: &Reading<'_>,
        observed_until: Timestamp,
    ) -> Result<Vec<History>> {
        let needed = reading.run.map_or(Needed::Now, Needed::Run);
        let mut isolation = Isolation::among(reading.customers, MOST_UNREADABLE);
        let mut histories = Vec::new();
        let mut culprits = Vec::new();
        while let Some(customers) = isolation.next_set() {
            let part = Reading { customers, ..*reading };
            let read = self
                .read_source_by_itself(READ, needed, || {
                    async |client: &ClientWrapper| {
                        let beginning = self.source().beginning(BEGIN_IN_UTC);
                        read_accounts(client, &beginning, &part, observed_until).await
                    }
                })
                .await?;
            let unreadable = match read {
                Ok(read) if histories.is_empty() => {
                    histories = read;
                    continue;
                }
                Ok(read) => {
                    histories.extend(read);
                    continue;
                }
                Err(unreadable) => unreadable,
            };
            match isolation.failed(customers) {
                Finding::Divided => {}
                Finding::Culprit(customer) => {
                    let rejection = unreadable.relation.rejection();
                    histories.push(History { customer, account: Err(rejection), transactions: 0 });
                    culprits.push(Culprit { customer, column: None, unreadable });
                }
                Finding::GivenUp => return Err(too_many(customers[0], &unreadable)),
            }
        }
        self.find_columns(&mut culprits, reading.as_of).await;
        tell(&culprits);
        Ok(histories)
    }

    /// Finds the columns that fail, for the people who mend them. Nothing depends on it: at the first sign that the
    /// store has other worries the rest goes without.
    async fn find_columns(&self, culprits: &mut [Culprit], as_of: Timestamp) {
        for Culprit { customer, column, unreadable } in culprits {
            for probe in unreadable.relation.probes(*customer, as_of) {
                let failed = self.source().short("find a column", async |client| {
                    match client.batch_execute(&probe.statement).await {
                        Err(error) if is_over_a_row(&error) => Ok(true),
                        done => Ok(done.map(|()| false)?),
                    }
                });
                match failed.await {
                    Ok(false) => {}
                    Ok(true) => {
                        *column = probe.column;
                        break;
                    }
                    Err(error) => return tracing::debug!(%error, "columns that fail are not looked for"),
                }
            }
        }
    }
}

/// Says of each relation and column who could not be read.
fn tell(culprits: &[Culprit]) {
    let mut told: Vec<(Relation, Option<&str>)> = Vec::new();
    for Culprit { column, unreadable, .. } in culprits {
        let place = (unreadable.relation, *column);
        if told.contains(&place) {
            continue;
        }
        told.push(place);
        let those = culprits.iter().filter(|other| (other.unreadable.relation, other.column) == place);
        let customers: Vec<i64> = those.map(|culprit| culprit.customer.0).collect();
        tracing::warn!(
            ?customers,
            table = place.0.name(),
            column = place.1.unwrap_or("unknown"),
            reason = unreadable.reason,
            "customers are rejected because their rows cannot be read"
        );
    }
}

fn too_many(customer: CustomerId, unreadable: &Unreadable) -> Error {
    let Unreadable { relation, reason } = unreadable;
    let error = Error::Invalid {
        what: READ.into(),
        reason: format!(
            "the rows of more than {MOST_UNREADABLE} customers cannot be read, such as those of customer {customer} \
             in {}: {reason}",
            relation.name()
        ),
    };
    metrics::failed(READ, &error);
    error
}

impl Unreadable {
    /// Says that it was over a row, or gives back a fault that has nothing to do with any.
    pub(super) fn of(relation: Relation, fault: Fault) -> Result<Self, Fault> {
        let reason = match fault {
            Fault::Driver(error) if is_over_a_row(&error) => told(&error),
            Fault::Nonsense(reason) => reason,
            other @ (Fault::Driver(_) | Fault::Blocked(_) | Fault::Superseded(_)) => return Err(other),
        };
        Ok(Self { relation, reason })
    }
}

/// What the server said, and in which of the source's own functions.
fn told(error: &tokio_postgres::Error) -> String {
    let mut text = with_causes(error);
    if let Some(error) = error.as_db_error() {
        text = format!("{text} ({})", error.code().code());
        if let Some(place) = error.where_() {
            text = format!("{text}, at {}", place.replace('\n', "; "));
        }
    }
    text
}

/// Whether an error of a read is about a row, or raised by the source's own code.
fn is_over_a_row(error: &tokio_postgres::Error) -> bool {
    !is_transient(error) && error.code().is_some_and(|state| is_state_of_a_row(state.code()))
}

/// Data exceptions (`22`) and what is not supported of them (`0A`: a NaN as a `bigint`), the constraints of domains
/// (`23`), a subquery of more than one row (`21`), a value too large or a recursion too deep (`54`); and what the
/// source's own code raises: exceptions (`P0`), those of other languages (`2F`, `38`, `39`), and states of its own
/// invention, which begin with a letter that the server's do not.
fn is_state_of_a_row(state: &str) -> bool {
    const CLASSES: [&str; 8] = ["0A", "21", "22", "23", "2F", "38", "39", "54"];
    /// Configuration files, foreign servers, the server's own errors.
    const SERVERS: [&str; 3] = ["F0", "HV", "XX"];
    let is_of = |class: &&str| state.starts_with(*class);
    CLASSES.iter().any(is_of)
        || state.starts_with(|first: char| first.is_ascii_alphabetic()) && !SERVERS.iter().any(is_of)
}

/// A statement that fails if a column does.
struct Probe {
    column: Option<&'static str>,
    statement: String,
}

impl Relation {
    fn name(self) -> &'static str {
        match self {
            Self::Transactions => "source.transactions",
            Self::Subscriptions => "source.subscriptions",
            Self::Costs => "source.acquisition_costs",
        }
    }

    fn rejection(self) -> Rejection {
        match self {
            Self::Transactions => Rejection::UnreadableTransaction,
            Self::Subscriptions => Rejection::UnreadableSubscription,
            Self::Costs => Rejection::UnreadableCost,
        }
    }

    /// When a row is of, if that is asked.
    fn moment(self) -> Option<&'static str> {
        match self {
            Self::Transactions => Some("occurred_at"),
            Self::Subscriptions => Some("started_at"),
            Self::Costs => None,
        }
    }

    /// The other columns, each with the type that it is read as.
    fn columns(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Transactions => &[("amount_minor", "bigint"), ("currency", "text")],
            Self::Subscriptions => &[
                ("plan", "text"),
                ("period_months", "integer"),
                ("ended_at", "timestamptz"),
                ("price_minor", "bigint"),
                ("currency", "text"),
            ],
            Self::Costs => &[("cost_minor", "bigint"), ("currency", "text")],
        }
    }

    /// What to ask about a customer's rows: whether they are there at all, then each column by itself, the moment
    /// before those that are only read up to one.
    fn probes(self, customer: CustomerId, as_of: Timestamp) -> Vec<Probe> {
        let relation = self.name();
        let theirs = format!("customer_id = {customer}");
        let count = |column, counted: &str, rows: &str| Probe {
            column,
            statement: format!("select count({counted}) from {relation} where {rows}"),
        };
        let mut probes = vec![count(None, "*", &theirs)];
        let mut rows = theirs;
        if let Some(moment) = self.moment() {
            let moment_of = format!("{moment}::timestamptz");
            probes.push(count(Some(moment), &moment_of, &rows));
            rows = format!("{rows} and ({moment_of} >= '{as_of}') is not true");
        }
        let columns = self.columns().iter();
        probes
            .extend(columns.map(|(column, kind)| count(Some(*column), &format!("{column}::{kind}"), &rows)));
        probes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_a_row_is_told_from_what_somebody_has_to_mend() {
        for state in [
            "0A000", "21000", "22003", "22012", "22P02", "23514", "38000", "54001", "P0001", "P0002", "SHOP1",
        ] {
            assert!(is_state_of_a_row(state), "{state}");
        }
        for state in
            ["42501", "42P01", "42703", "25P02", "55000", "57014", "F0000", "HV000", "XX001", "08006"]
        {
            assert!(!is_state_of_a_row(state), "{state}");
        }
    }

    #[test]
    fn a_column_is_looked_for_behind_the_rows_and_their_moment() {
        let as_of = "2026-07-01T00:00:00Z".parse().unwrap();

        let probes = Relation::Transactions.probes(CustomerId(7), as_of);

        let statements: Vec<&str> = probes.iter().map(|probe| &probe.statement[..]).collect();
        let until = "(occurred_at::timestamptz >= '2026-07-01T00:00:00Z') is not true";
        assert_eq!(
            statements,
            [
                "select count(*) from source.transactions where customer_id = 7",
                "select count(occurred_at::timestamptz) from source.transactions where customer_id = 7",
                &format!(
                    "select count(amount_minor::bigint) from source.transactions where customer_id = 7 and {until}"
                ),
                &format!(
                    "select count(currency::text) from source.transactions where customer_id = 7 and {until}"
                ),
            ]
        );
    }
}
