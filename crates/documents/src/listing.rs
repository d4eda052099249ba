//! Pages of what is listed.

use batch::{CustomerId, RunId};
use jiff::Timestamp;
use serde::Serialize;
use store::{ModelVersionId, Named, RunRecord, Valued};
use utoipa::ToSchema;

use crate::{Digits, Run, Value};

/// A page of runs, the newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<Run>,
    /// Where the next page begins: the `cursor` to ask with; `null` if this is the last.
    pub next: Option<String>,
}

/// A page of a run's customers, the most valuable first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TopPage {
    /// The run that all pages are of.
    #[schema(value_type = Digits)]
    pub run: RunId,
    /// The moment that it values the customers for.
    #[schema(value_type = String, format = DateTime)]
    pub as_of: Timestamp,
    /// The model version that it pins.
    #[schema(value_type = Digits)]
    pub model_version: ModelVersionId,
    /// The currency of all money in it.
    #[schema(example = "EUR")]
    pub currency: String,
    /// The customers.
    pub customers: Vec<RankedCustomer>,
    /// Where the next page begins: the `cursor` to ask with; `null` if this is the last.
    pub next: Option<String>,
}

/// One of the most valuable customers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RankedCustomer {
    /// His number.
    #[schema(value_type = Digits)]
    pub customer: CustomerId,
    /// His name in the business's own books; `null` if he stands there no more.
    pub external_id: Option<String>,
    /// His segment; `null` if he stands there no more.
    pub segment: Option<String>,
    /// What he is worth.
    #[serde(flatten)]
    pub value: Value,
}

impl TopPage {
    /// Puts a page together. The names are in the order of their customers.
    pub fn new(
        run: &RunRecord,
        model: &store::ModelVersion,
        ranked: &[Valued],
        names: &[Named],
        next: Option<String>,
    ) -> Self {
        let customer = |valued: &Valued| {
            let place = names.binary_search_by_key(&valued.customer, |named| named.customer);
            let named = place.ok().map(|place| &names[place]);
            RankedCustomer {
                customer: valued.customer,
                external_id: named.map(|named| named.external_id.clone()),
                segment: named.map(|named| named.segment.clone()),
                value: Value::new(&valued.value, &valued.account),
            }
        };
        Self {
            run: run.run,
            as_of: run.as_of,
            model_version: run.model_version,
            currency: model.currency.to_string(),
            customers: ranked.iter().map(customer).collect(),
            next,
        }
    }
}
