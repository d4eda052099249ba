//! What is counted of comparisons.

use metrics::{counter, describe_counter};

use crate::comparison::End;

const COMPARISONS: &str = "ltv_movements_comparisons_total";
const CUSTOMERS: &str = "ltv_movements_customers_total";

/// Says what the metrics mean.
pub fn describe() {
    describe_counter!(COMPARISONS, "Comparisons of a run with the run before, by how work on them ended");
    describe_counter!(CUSTOMERS, "Customers compared, by whether the source was asked about them");
}

pub(crate) fn ended(end: &End) {
    let end = match end {
        End::Complete { .. } => "complete",
        End::Impossible(_) => "impossible",
        End::Later => "later",
        End::Lost => "lost",
    };
    counter!(COMPARISONS, "end" => end).increment(1);
}

pub(crate) fn compared(customers: usize, asked: usize) {
    counter!(CUSTOMERS, "source" => "asked").increment(asked as u64);
    counter!(CUSTOMERS, "source" => "not_asked").increment((customers - asked) as u64);
}
