//! The currencies of ISO 4217, and how many decimal places their amounts have.

use model::Currency;

/// A currency and its minor unit: one `10^-exponent`th of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) currency: Currency,
    pub(crate) exponent: u32,
}

impl Known {
    /// What is known of a currency; one that is not of ISO 4217 is taken to have hundredths.
    pub(crate) fn of(currency: Currency) -> Self {
        find(&currency.to_string()).unwrap_or(Self { currency, exponent: 2 })
    }
}

/// Finds a currency by its code. Metals, accounting units and test codes (`XAU`, `XDR`, `XTS`) are none:
/// nobody pays with them, and they have no minor unit.
pub(crate) fn find(code: &str) -> Option<Known> {
    let [a, b, c] = *code.as_bytes() else { return None };
    let exponent = BY_EXPONENT
        .iter()
        .find(|(_, codes)| codes.binary_search(&[a, b, c]).is_ok())
        .map(|(exponent, _)| *exponent)?;
    let currency = Currency::parse(code).expect("the codes of the table are three capital letters");
    Some(Known { currency, exponent })
}

/// ISO 4217 list one as of November 2026, each group in order. Six that left the list in recent years
/// (`ANG BGN CUC HRK SLL ZWL`) stay known, because a purchase history reaches back beyond that.
const BY_EXPONENT: [(u32, &[[u8; 3]]); 4] = [
    (0, ZERO),
    (2, TWO),
    (3, &[*b"BHD", *b"IQD", *b"JOD", *b"KWD", *b"LYD", *b"OMR", *b"TND"]),
    (4, &[*b"CLF", *b"UYW"]),
];

/// Without a minor unit.
#[rustfmt::skip]
const ZERO: &[[u8; 3]] = &[
    *b"BIF", *b"CLP", *b"DJF", *b"GNF", *b"ISK", *b"JPY", *b"KMF", *b"KRW", *b"PYG", *b"RWF", *b"UGX",
    *b"UYI", *b"VND", *b"VUV", *b"XAF", *b"XOF", *b"XPF",
];

/// With a hundredth.
#[rustfmt::skip]
const TWO: &[[u8; 3]] = &[
    *b"AED", *b"AFN", *b"ALL", *b"AMD", *b"ANG", *b"AOA", *b"ARS", *b"AUD", *b"AWG", *b"AZN", *b"BAM",
    *b"BBD", *b"BDT", *b"BGN", *b"BMD", *b"BND", *b"BOB", *b"BOV", *b"BRL", *b"BSD", *b"BTN", *b"BWP",
    *b"BYN", *b"BZD", *b"CAD", *b"CDF", *b"CHE", *b"CHF", *b"CHW", *b"CNY", *b"COP", *b"COU", *b"CRC",
    *b"CUC", *b"CUP", *b"CVE", *b"CZK", *b"DKK", *b"DOP", *b"DZD", *b"EGP", *b"ERN", *b"ETB", *b"EUR",
    *b"FJD", *b"FKP", *b"GBP", *b"GEL", *b"GHS", *b"GIP", *b"GMD", *b"GTQ", *b"GYD", *b"HKD", *b"HNL",
    *b"HRK", *b"HTG", *b"HUF", *b"IDR", *b"ILS", *b"INR", *b"IRR", *b"JMD", *b"KES", *b"KGS", *b"KHR",
    *b"KPW", *b"KYD", *b"KZT", *b"LAK", *b"LBP", *b"LKR", *b"LRD", *b"LSL", *b"MAD", *b"MDL", *b"MGA",
    *b"MKD", *b"MMK", *b"MNT", *b"MOP", *b"MRU", *b"MUR", *b"MVR", *b"MWK", *b"MXN", *b"MXV", *b"MYR",
    *b"MZN", *b"NAD", *b"NGN", *b"NIO", *b"NOK", *b"NPR", *b"NZD", *b"PAB", *b"PEN", *b"PGK", *b"PHP",
    *b"PKR", *b"PLN", *b"QAR", *b"RON", *b"RSD", *b"RUB", *b"SAR", *b"SBD", *b"SCR", *b"SDG", *b"SEK",
    *b"SGD", *b"SHP", *b"SLE", *b"SLL", *b"SOS", *b"SRD", *b"SSP", *b"STN", *b"SVC", *b"SYP", *b"SZL",
    *b"THB", *b"TJS", *b"TMT", *b"TOP", *b"TRY", *b"TTD", *b"TWD", *b"TZS", *b"UAH", *b"USD", *b"USN",
    *b"UYU", *b"UZS", *b"VED", *b"VES", *b"WST", *b"XCD", *b"XCG", *b"YER", *b"ZAR", *b"ZMW", *b"ZWG",
    *b"ZWL",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_currency_stands_once_and_in_order() {
        let mut codes: Vec<_> = BY_EXPONENT.iter().flat_map(|(_, codes)| codes.iter()).collect();
        assert!(BY_EXPONENT.iter().all(|(_, codes)| codes.is_sorted()));
        codes.sort();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn the_exponents_are_those_of_the_standard() {
        for (code, expected) in
            [("USD", 2), ("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("MGA", 2), ("XOF", 0), ("ZWG", 2)]
        {
            assert_eq!(find(code).unwrap().exponent, expected, "{code}");
        }
        for unknown in ["XXX", "XAU", "usd", "US", "USDT", ""] {
            assert_eq!(find(unknown), None, "{unknown}");
        }
    }
}
