//! Numbers as text.

/// Writes the shortest text that reads back to the same bits: `0.25`, `1e-300`, `-inf`.
pub(crate) fn text(number: f64) -> String {
    // Unlike `{}`, which would write 1e-300 with its three hundred zeros.
    // And zero has no sign to anybody who reads it.
    format!("{:?}", number + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_to_the_same_bits() {
        for number in
            [0.1 + 0.2, 1.0 / 3.0, 1e-300, 5e-324, 1e300, 0.0, f64::MAX, f64::INFINITY, f64::NEG_INFINITY]
        {
            assert_eq!(text(number).parse::<f64>().unwrap().to_bits(), number.to_bits());
        }
        assert_eq!(text(1e-300), "1e-300");
        assert_eq!(text(-0.0), "0.0");
    }
}
