//! The kinds of supplier that there are in a base.

/// A kind of supplier: how many of a hundred are of it, and how it differs from the average.
pub(super) struct Segment {
    pub(super) name: &'static str,
    pub(super) percent: u8,
    /// How many times as often it buys.
    pub(super) rate: f64,
    /// How many times as much it spends.
    pub(super) spend: f64,
}

/// Over all customers, both factors have the mean 1 (a test holds them to it).
pub(super) const SEGMENTS: [Segment; 6] = [
    Segment { name: "photographer", percent: 30, rate: 1.05, spend: 1.00 },
    Segment { name: "venue", percent: 12, rate: 0.85, spend: 1.25 },
    Segment { name: "florist", percent: 18, rate: 1.10, spend: 0.90 },
    Segment { name: "caterer", percent: 15, rate: 1.00, spend: 1.05 },
    Segment { name: "musician", percent: 15, rate: 0.90, spend: 0.85 },
    Segment { name: "planner", percent: 10, rate: 1.00, spend: 1.03 },
];
