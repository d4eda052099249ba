//! What the fits of purchases look at: customers with the same purchases.

/// Customers with the same purchases; times in weeks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PurchaseRow {
    /// Repeat purchases.
    pub x: u32,
    /// Time of the last one, from the first purchase; 0 when `x = 0`.
    pub t_x: f64,
    /// Age: time from the first purchase to the end of the observation (`T`).
    pub age: f64,
    /// How many customers are like this.
    pub customers: u64,
}

impl PurchaseRow {
    pub(super) fn is_possible(&self) -> bool {
        let ordered = 0.0 <= self.t_x && self.t_x <= self.age && self.age.is_finite();
        ordered && (self.x > 0 || self.t_x == 0.0)
    }
}
