//! Why a row of a file is rejected.

/// Why a row is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// More or fewer fields than the header has columns.
    WrongColumnCount,
    /// A quotation mark that is never closed.
    UnclosedQuote,
    /// Longer than 64 KiB.
    RowTooLong,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// An empty field where there must be something.
    MissingValue,
    /// A text that is too long or holds a NUL.
    BadText,
    /// Not a whole number that fits 64 bits.
    BadNumber,
    /// Not an amount of its currency, or below nothing where a price or cost must be.
    BadAmount,
    /// Not a number of months that a subscription may be paid for at a time.
    BadPeriod,
    /// Neither an RFC 3339 time nor a date.
    BadTime,
    /// Before 1970.
    ImpossibleTime,
    /// Later than the clock.
    FutureTime,
    /// A subscription that ends before it starts.
    EndBeforeStart,
    /// Why a subscription ended that has not.
    ReasonWithoutEnd,
    /// No currency of ISO 4217.
    UnknownCurrency,
}

impl Reason {
    /// The name under which the reason is reported and counted.
    pub fn code(self) -> &'static str {
        match self {
            Self::WrongColumnCount => "wrong_column_count",
            Self::UnclosedQuote => "unclosed_quote",
            Self::RowTooLong => "row_too_long",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::MissingValue => "missing_value",
            Self::BadText => "bad_text",
            Self::BadNumber => "bad_number",
            Self::BadAmount => "bad_amount",
            Self::BadPeriod => "bad_period",
            Self::BadTime => "bad_time",
            Self::ImpossibleTime => "impossible_time",
            Self::FutureTime => "future_time",
            Self::EndBeforeStart => "end_before_start",
            Self::ReasonWithoutEnd => "reason_without_end",
            Self::UnknownCurrency => "unknown_currency",
        }
    }
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its name.
    pub reason: Reason,
    /// The same for a person to read.
    pub detail: String,
}

impl Problem {
    /// Names what is wrong.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}
