//! Reads typed rows from the fields of a record, or says what is wrong with it.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use model::LONGEST_PERIOD;
use store::postgres::source::{
    AcquisitionCost, Batch, Conflict, Customer, Relation, Subscription, Transaction,
};

use super::currency;
use super::records::Fields;

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
    /// At odds with another row.
    Conflict(Conflict),
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
            Self::Conflict(conflict) => conflict.code(),
        }
    }
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: Reason,
    /// The same for a person to read.
    pub(super) detail: String,
}

impl Problem {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// A header that lacks a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MissingColumn {
    pub(super) wanted: &'static str,
    pub(super) appears_twice: bool,
}

/// The names in a header line.
#[derive(Debug)]
pub(super) struct Header(Vec<String>);

impl Header {
    pub(super) fn read(fields: &Fields<'_>) -> Self {
        let name = |index| String::from_utf8_lossy(&fields.get(index)).trim().to_ascii_lowercase();
        Self((0..fields.len()).map(name).collect())
    }

    pub(super) fn columns(&self) -> usize {
        self.0.len()
    }

    fn find(&self, wanted: &'static str) -> Result<usize, MissingColumn> {
        let mut found = self.0.iter().enumerate().filter(|(_, name)| *name == wanted);
        let first = found.next().ok_or(MissingColumn { wanted, appears_twice: false })?;
        match found.next() {
            None => Ok(first.0),
            Some(_) => Err(MissingColumn { wanted, appears_twice: true }),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|column| column == name)
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Where the columns of one kind of file are: how to read its rows and send them on.
pub(super) trait Columns: Sized + Send + 'static {
    /// What the file fills.
    const RELATION: Relation;
    /// What it must hold.
    const NEEDED: &'static str;

    fn find(header: &Header) -> Result<Self, MissingColumn>;

    /// Reads a row, adds it to the batch and returns its number.
    fn read(&self, row: &Row<'_>, batch: &mut Batch) -> Result<i64, Problem>;
}

/// The fields of a row, and what is needed to judge them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) line: u64,
    pub(super) fields: Fields<'a>,
    /// The clock, the database's where there is one: what is later has not happened.
    pub(super) now: Timestamp,
}

/// The columns of a customers file.
#[derive(Debug)]
pub(super) struct CustomerColumns {
    customer_id: usize,
    external_id: usize,
    segment: usize,
    acquired_at: usize,
}

impl Columns for CustomerColumns {
    const RELATION: Relation = Relation::Customers;
    const NEEDED: &'static str = "customer_id, external_id, segment, acquired_at";

    fn find(header: &Header) -> Result<Self, MissingColumn> {
        Ok(Self {
            customer_id: header.find("customer_id")?,
            external_id: header.find("external_id")?,
            segment: header.find("segment")?,
            acquired_at: header.find("acquired_at")?,
        })
    }

    fn read(&self, row: &Row<'_>, batch: &mut Batch) -> Result<i64, Problem> {
        self.customer(row, |customer| {
            batch.push_staged_customer(row.line, customer);
            customer.customer_id
        })
    }
}

impl CustomerColumns {
    /// Reads a row as a customer, and hands it on.
    pub(super) fn customer<T>(
        &self,
        row: &Row<'_>,
        with: impl FnOnce(&Customer<'_>) -> T,
    ) -> Result<T, Problem> {
        Ok(with(&Customer {
            customer_id: row.number("customer_id", self.customer_id)?,
            external_id: &row.text("external_id", self.external_id)?,
            segment: &row.text("segment", self.segment)?,
            acquired_at: row.time("acquired_at", self.acquired_at)?,
        }))
    }

    /// Reads from a row whose segment it is.
    pub(super) fn segment(&self, row: &Row<'_>) -> Result<(i64, String), Problem> {
        let customer_id = row.number("customer_id", self.customer_id)?;
        Ok((customer_id, row.text("segment", self.segment)?.into_owned()))
    }
}

/// The columns of a transactions file.
#[derive(Debug)]
pub(super) struct TransactionColumns {
    transaction_id: usize,
    customer_id: usize,
    occurred_at: usize,
    amount: AmountColumn,
    currency: usize,
}

/// Where an amount stands, and under which name.
#[derive(Debug)]
enum AmountColumn {
    /// Such as `amount_minor`, a whole number. Taken where a file has both, because nothing can be lost in it.
    Minor(&'static str, usize),
    /// Such as `amount`, a decimal number of major units.
    Major(&'static str, usize),
}

impl AmountColumn {
    fn find(header: &Header, minor: &'static str, major: &'static str) -> Result<Self, MissingColumn> {
        if header.has(minor) {
            Ok(Self::Minor(minor, header.find(minor)?))
        } else {
            Ok(Self::Major(major, header.find(major)?))
        }
    }
}

impl Columns for TransactionColumns {
    const RELATION: Relation = Relation::Transactions;
    const NEEDED: &'static str = "transaction_id, customer_id, occurred_at, amount (such as 29.33) or \
         amount_minor (such as 2933), currency";

    fn find(header: &Header) -> Result<Self, MissingColumn> {
        Ok(Self {
            transaction_id: header.find("transaction_id")?,
            customer_id: header.find("customer_id")?,
            occurred_at: header.find("occurred_at")?,
            amount: AmountColumn::find(header, "amount_minor", "amount")?,
            currency: header.find("currency")?,
        })
    }

    fn read(&self, row: &Row<'_>, batch: &mut Batch) -> Result<i64, Problem> {
        let transaction = self.transaction(row)?;
        batch.push_staged_transaction(row.line, &transaction);
        Ok(transaction.transaction_id)
    }
}

impl TransactionColumns {
    /// Reads a row as a transaction.
    pub(super) fn transaction(&self, row: &Row<'_>) -> Result<Transaction, Problem> {
        let transaction_id = row.number("transaction_id", self.transaction_id)?;
        let currency = row.currency("currency", self.currency)?;
        Ok(Transaction {
            transaction_id,
            customer_id: row.number("customer_id", self.customer_id)?,
            occurred_at: row.time("occurred_at", self.occurred_at)?,
            amount_minor: row.amount(&self.amount, currency)?,
            currency: currency.currency,
        })
    }
}

/// The columns of a subscriptions file.
#[derive(Debug)]
pub(super) struct SubscriptionColumns {
    customer_id: usize,
    plan: usize,
    period_months: usize,
    started_at: usize,
    ended_at: usize,
    price: AmountColumn,
    currency: usize,
    end_reason: usize,
}

impl Columns for SubscriptionColumns {
    const RELATION: Relation = Relation::Subscriptions;
    const NEEDED: &'static str = "customer_id, plan, period_months, started_at, ended_at, price (such as 29.00) or \
         price_minor (such as 2900), currency, end_reason";

    fn find(header: &Header) -> Result<Self, MissingColumn> {
        Ok(Self {
            customer_id: header.find("customer_id")?,
            plan: header.find("plan")?,
            period_months: header.find("period_months")?,
            started_at: header.find("started_at")?,
            ended_at: header.find("ended_at")?,
            price: AmountColumn::find(header, "price_minor", "price")?,
            currency: header.find("currency")?,
            end_reason: header.find("end_reason")?,
        })
    }

    fn read(&self, row: &Row<'_>, batch: &mut Batch) -> Result<i64, Problem> {
        self.subscription(row, |subscription| {
            batch.push_staged_subscription(row.line, subscription);
            subscription.customer_id
        })
    }
}

impl SubscriptionColumns {
    /// Reads a row as a subscription, and hands it on.
    pub(super) fn subscription<T>(
        &self,
        row: &Row<'_>,
        with: impl FnOnce(&Subscription<'_>) -> T,
    ) -> Result<T, Problem> {
        let customer_id = row.number("customer_id", self.customer_id)?;
        let started_at = row.time("started_at", self.started_at)?;
        let ended_at = row.optional(self.ended_at, |row| row.any_time("ended_at", self.ended_at))?;
        if let Some(ended_at) = ended_at.filter(|&ended_at| ended_at < started_at) {
            let detail = format!("ended_at {ended_at} is before started_at {started_at}");
            return Err(Problem::new(Reason::EndBeforeStart, detail));
        }
        let currency = row.currency("currency", self.currency)?;
        let end_reason = row.optional(self.end_reason, |row| row.text("end_reason", self.end_reason))?;
        if let Some(end_reason) = end_reason.as_ref().filter(|_| ended_at.is_none()) {
            let detail = format!("end_reason is {end_reason}, and ended_at is empty");
            return Err(Problem::new(Reason::ReasonWithoutEnd, detail));
        }
        Ok(with(&Subscription {
            customer_id,
            plan: &row.text("plan", self.plan)?,
            period_months: row.period("period_months", self.period_months)?,
            started_at,
            ended_at,
            price_minor: row.price(&self.price, currency)?,
            currency: currency.currency,
            end_reason: end_reason.as_deref(),
        }))
    }
}

/// The columns of an acquisition costs file.
#[derive(Debug)]
pub(super) struct AcquisitionCostColumns {
    customer_id: usize,
    cost: AmountColumn,
    currency: usize,
}

impl Columns for AcquisitionCostColumns {
    const RELATION: Relation = Relation::AcquisitionCosts;
    const NEEDED: &'static str = "customer_id, cost (such as 120.00) or cost_minor (such as 12000), currency";

    fn find(header: &Header) -> Result<Self, MissingColumn> {
        Ok(Self {
            customer_id: header.find("customer_id")?,
            cost: AmountColumn::find(header, "cost_minor", "cost")?,
            currency: header.find("currency")?,
        })
    }

    fn read(&self, row: &Row<'_>, batch: &mut Batch) -> Result<i64, Problem> {
        let cost = self.cost(row)?;
        batch.push_staged_acquisition_cost(row.line, &cost);
        Ok(cost.customer_id)
    }
}

impl AcquisitionCostColumns {
    /// Reads a row as the cost of an acquisition.
    pub(super) fn cost(&self, row: &Row<'_>) -> Result<AcquisitionCost, Problem> {
        let customer_id = row.number("customer_id", self.customer_id)?;
        let currency = row.currency("currency", self.currency)?;
        let cost_minor = row.price(&self.cost, currency)?;
        Ok(AcquisitionCost { customer_id, cost_minor, currency: currency.currency })
    }
}

/// An index on each text column must hold it, and no name of a customer is longer.
const LONGEST_TEXT: usize = 255;

/// The largest amount that is believed, in minor units: beyond it a float no longer holds every integer.
const LARGEST_AMOUNT_MINOR: i64 = 1 << 53;

impl<'a> Row<'a> {
    /// A field that must not be empty, without the blanks around it.
    fn value(&self, name: &str, column: usize) -> Result<Cow<'a, str>, Problem> {
        let value = match self.fields.get(column) {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(|text| Cow::Borrowed(text.trim_ascii())),
            Cow::Owned(bytes) => {
                std::str::from_utf8(&bytes).map(|text| Cow::Owned(text.trim_ascii().to_owned()))
            }
        };
        let value = value.map_err(|error| {
            let place = error.valid_up_to() + 1;
            Problem::new(Reason::InvalidUtf8, format!("{name} is not UTF-8 from its byte {place} on"))
        })?;
        if value.is_empty() {
            return Err(Problem::new(Reason::MissingValue, format!("{name} is empty")));
        }
        Ok(value)
    }

    fn text(&self, name: &str, column: usize) -> Result<Cow<'a, str>, Problem> {
        let text = self.value(name, column)?;
        if text.len() > LONGEST_TEXT {
            let detail = format!("{name} has {} bytes, more than {LONGEST_TEXT}", text.len());
            return Err(Problem::new(Reason::BadText, detail));
        }
        if text.contains('\0') {
            return Err(Problem::new(Reason::BadText, format!("{name} holds a NUL, which no text may")));
        }
        Ok(text)
    }

    fn number(&self, name: &str, column: usize) -> Result<i64, Problem> {
        let text = self.value(name, column)?;
        text.parse().map_err(|_| {
            let detail = format!("{name} {text:?} is not a whole number of at most 64 bits");
            Problem::new(Reason::BadNumber, detail)
        })
    }

    /// Reads a field that may be empty.
    fn optional<T>(
        &self,
        column: usize,
        read: impl FnOnce(&Self) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        let is_empty = self.fields.get(column).trim_ascii().is_empty();
        if is_empty { Ok(None) } else { read(self).map(Some) }
    }

    fn period(&self, name: &str, column: usize) -> Result<i32, Problem> {
        let months = self.number(name, column)?;
        let believed =
            i32::try_from(months).ok().filter(|months| (1..=LONGEST_PERIOD.into()).contains(months));
        believed.ok_or_else(|| {
            let detail = format!("{name} {months} is not from 1 to {LONGEST_PERIOD}");
            Problem::new(Reason::BadPeriod, detail)
        })
    }

    /// Reads a time that must have been.
    fn time(&self, name: &str, column: usize) -> Result<Timestamp, Problem> {
        let time = self.any_time(name, column)?;
        if time > self.now {
            let now = self.now.round(jiff::Unit::Second).unwrap_or(self.now);
            let text = self.value(name, column)?;
            let detail = format!("{name} {text} is in the future: the clock says {now}");
            return Err(Problem::new(Reason::FutureTime, detail));
        }
        Ok(time)
    }

    /// Reads a time that may still be to come.
    fn any_time(&self, name: &str, column: usize) -> Result<Timestamp, Problem> {
        let text = self.value(name, column)?;
        let time = read_time(&text).ok_or_else(|| {
            let detail = format!(
                "{name} {text:?} is neither a time with an offset, such as 1997-01-18T14:05:00Z, nor a date \
                 such as 1997-01-18"
            );
            Problem::new(Reason::BadTime, detail)
        })?;
        if time < Timestamp::UNIX_EPOCH {
            let detail = format!("{name} {text} is before 1970");
            return Err(Problem::new(Reason::ImpossibleTime, detail));
        }
        Ok(time)
    }

    fn currency(&self, name: &str, column: usize) -> Result<currency::Known, Problem> {
        let code = self.value(name, column)?;
        currency::find(&code).ok_or_else(|| {
            let detail = format!("{name} {code:?} is not a currency of ISO 4217, such as USD");
            Problem::new(Reason::UnknownCurrency, detail)
        })
    }

    fn amount(&self, column: &AmountColumn, currency: currency::Known) -> Result<i64, Problem> {
        match *column {
            AmountColumn::Minor(name, column) => self.minor_units(name, column),
            AmountColumn::Major(name, column) => self.major_units(name, column, currency),
        }
    }

    /// Reads an amount that is not below nothing.
    fn price(&self, column: &AmountColumn, currency: currency::Known) -> Result<i64, Problem> {
        let amount_minor = self.amount(column, currency)?;
        if amount_minor < 0 {
            let (AmountColumn::Minor(name, _) | AmountColumn::Major(name, _)) = column;
            return Err(Problem::new(Reason::BadAmount, format!("{name} is below nothing")));
        }
        Ok(amount_minor)
    }

    fn minor_units(&self, name: &str, column: usize) -> Result<i64, Problem> {
        let amount = self.number(name, column)?;
        believe(amount).ok_or_else(|| {
            let detail = format!("{name} {amount} is beyond 2^53 minor units");
            Problem::new(Reason::BadAmount, detail)
        })
    }

    fn major_units(&self, name: &str, column: usize, currency: currency::Known) -> Result<i64, Problem> {
        let text = self.value(name, column)?;
        read_amount(&text, currency.exponent).and_then(believe).ok_or_else(|| {
            let (code, places) = (currency.currency, currency.exponent);
            let detail = format!(
                "{name} {text:?} is not an amount of {code}: digits, a point and at most {places} decimal \
                 places, below 2^53 minor units"
            );
            Problem::new(Reason::BadAmount, detail)
        })
    }
}

pub(crate) fn believe(amount_minor: i64) -> Option<i64> {
    (-LARGEST_AMOUNT_MINOR..=LARGEST_AMOUNT_MINOR).contains(&amount_minor).then_some(amount_minor)
}

/// Reads an RFC 3339 time, or a date as its midnight in UTC.
pub(crate) fn read_time(text: &str) -> Option<Timestamp> {
    // A `Date` would also be read from the front of a time without an offset.
    if let &[_, _, _, _, b'-', _, _, b'-', _, _] = text.as_bytes() {
        let date: Date = text.parse().ok()?;
        return date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|midnight| midnight.timestamp());
    }
    text.parse().ok()
}

/// Reads a decimal number of major units as minor units, exactly. Places beyond the currency's must be zeros.
pub(crate) fn read_amount(text: &str, exponent: u32) -> Option<i64> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] | digits => (1, digits),
    };
    let point = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let (major, fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    if major.is_empty() && fraction.is_empty() {
        return None;
    }
    let places = fraction.len().min(exponent as usize);
    let (minor, beyond) = fraction.split_at(places);
    if beyond.iter().any(|&digit| digit != b'0') {
        return None;
    }
    let mut amount: i64 = 0;
    for &digit in major.iter().chain(minor) {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        amount = amount.checked_mul(10)?.checked_add(digit)?;
    }
    let missing_places = exponent - places as u32;
    Some(sign * amount.checked_mul(10_i64.pow(missing_places))?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::records::FieldEnds;
    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        let check =
            |text: &str, exponent, expected| assert_eq!(read_amount(text, exponent), expected, "{text}");
        check("29.33", 2, Some(2933));
        check("29.3", 2, Some(2930));
        check("29", 2, Some(2900));
        check("29.", 2, Some(2900));
        check(".5", 2, Some(50));
        check("-0.01", 2, Some(-1));
        check("+7", 0, Some(7));
        check("29.3300", 2, Some(2933));
        check("1200", 0, Some(1200));
        check("1.234", 3, Some(1234));
        check("90071992547409.93", 2, Some((1 << 53) + 1));
        check("92233720368547758.07", 2, Some(i64::MAX));
        check("92233720368547758.08", 2, None);
        for wrong in
            ["", "-", ".", "+.", "1,234", "1e3", "29.335", "0x10", "--1", "1.2.3", "$5", "NaN", "1 000"]
        {
            check(wrong, 2, None);
        }
        check("29.5", 0, None);
    }

    #[test]
    fn times_are_rfc_3339_or_dates() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(read_time(text), expected.map(|time| time.parse().unwrap()), "{text}");
        };
        check("1997-01-18", Some("1997-01-18T00:00:00Z"));
        check("1997-01-18T14:05:00Z", Some("1997-01-18T14:05:00Z"));
        check("1997-01-18T14:05:00.123456+02:00", Some("1997-01-18T12:05:00.123456Z"));
        check("1997-01-18 14:05:00+00", Some("1997-01-18T14:05:00Z"));
        check("1997-02-30", None);
        check("1997-01-18T14:05:00", None);
        check("19970118", None);
        check("18.01.1997", None);
        check("yesterday", None);
    }

    fn read<C: Columns>(header: &str, row: &str) -> Result<i64, Reason> {
        let now = "2026-11-23T00:00:00Z".parse().unwrap();
        let mut ends = FieldEnds::default();
        let columns = C::find(&Header::read(&ends.split(header.as_bytes()))).unwrap();
        let row = Row { line: 2, fields: ends.split(row.as_bytes()), now };
        columns.read(&row, &mut Batch::default()).map_err(|problem| problem.reason)
    }

    #[test]
    fn each_mistake_has_its_reason() {
        let header = "transaction_id,customer_id,occurred_at,amount,currency";
        let check = |row: &str, expected| {
            assert_eq!(read::<TransactionColumns>(header, row), Err(expected), "{row}");
        };
        check("x,2,1997-01-18,29.33,USD", Reason::BadNumber);
        check("1,,1997-01-18,29.33,USD", Reason::MissingValue);
        check("1,2,1997-1-18,29.33,USD", Reason::BadTime);
        check("1,2,1969-12-31,29.33,USD", Reason::ImpossibleTime);
        check("1,2,2026-11-24,29.33,USD", Reason::FutureTime);
        check("1,2,1997-01-18,29.333,USD", Reason::BadAmount);
        check("1,2,1997-01-18,29.33,JPY", Reason::BadAmount);
        check("1,2,1997-01-18,90071992547409.93,USD", Reason::BadAmount);
        check("1,2,1997-01-18,29.33,usd", Reason::UnknownCurrency);
        check("99999999999999999999,2,1997-01-18,29.33,USD", Reason::BadNumber);
    }
    #[test]
    fn a_subscription_may_go_on_and_may_end_in_the_future() {
        let header = "customer_id,plan,period_months,started_at,ended_at,price,currency,end_reason";
        let check = |row: &str, expected| {
            assert_eq!(read::<SubscriptionColumns>(header, row), expected, "{row}");
        };
        check("7,pro,1,2026-01-31,,29.00,USD,", Ok(7));
        check("7,pro,1,2026-01-31,2026-01-31,0,USD,cancelled", Ok(7));
        check("7,pro,12,2026-01-31,2027-01-31,29.00,USD,cancelled", Ok(7));
        check("7,pro,1,2026-11-24,,29.00,USD,", Err(Reason::FutureTime));
        check("7,pro,1,2026-01-31,2026-01-30,29.00,USD,", Err(Reason::EndBeforeStart));
        check("7,pro,1,2026-01-31,,29.00,USD,cancelled", Err(Reason::ReasonWithoutEnd));
        check("7,pro,1,2026-01-31,later,29.00,USD,", Err(Reason::BadTime));
        check("7,pro,0,2026-01-31,,29.00,USD,", Err(Reason::BadPeriod));
        check("7,pro,121,2026-01-31,,29.00,USD,", Err(Reason::BadPeriod));
        check("7,pro,1,2026-01-31,,-1.00,USD,", Err(Reason::BadAmount));
        check("7,,1,2026-01-31,,29.00,USD,", Err(Reason::MissingValue));
    }

    #[test]
    fn a_cost_is_an_amount_that_is_not_below_nothing() {
        let check = |header: &str, row: &str, expected| {
            assert_eq!(read::<AcquisitionCostColumns>(header, row), expected, "{row}");
        };
        check("customer_id,cost,currency", "7,120.00,USD", Ok(7));
        check("currency,cost_minor,customer_id", "USD,0,7", Ok(7));
        check("customer_id,cost,currency", "7,-0.01,USD", Err(Reason::BadAmount));
        check("customer_id,cost,currency", "7,,USD", Err(Reason::MissingValue));
    }

    proptest! {
        #[test]
        fn any_text_is_an_amount_or_none(text in "\\PC{0,12}|[-+.0-9]{0,25}", exponent in 0..=4_u32) {
            if let Some(amount) = read_amount(&text, exponent) {
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte)));
                prop_assert_eq!(amount < 0, text.starts_with('-') && amount != 0);
            }
        }

        #[test]
        fn every_amount_is_read_to_the_minor_unit(amount: i64, exponent in 0..=4_u32) {
            prop_assume!(amount != i64::MIN);
            let (unit, places) = (10_u64.pow(exponent), exponent as usize);
            let (sign, size) = (if amount < 0 { "-" } else { "" }, amount.unsigned_abs());
            let text = match exponent {
                0 => format!("{sign}{size}"),
                _ => format!("{sign}{}.{:0places$}", size / unit, size % unit),
            };

            prop_assert_eq!(read_amount(&text, exponent), Some(amount), "{}", text);
        }

        #[test]
        fn any_text_is_a_time_or_none(
            text in "\\PC{0,12}|[-+:.TZ0-9]{0,30}|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]{0,12}(Z|[-+][0-9:]{0,6}))?",
        ) {
            let _ = read_time(&text);
        }

        #[test]
        fn any_row_is_a_transaction_that_can_be_believed_or_a_problem(
            row in prop::collection::vec(
                prop_oneof![
                    4 => "[0-9]{1,20}",
                    2 => "[0-9]{4}-[0-9]{2}-[0-9]{2}",
                    2 => "[-+]?[0-9]{1,17}\\.[0-9]{0,5}",
                    2 => prop::sample::select(vec!["EUR", "JPY", "KWD", "XXX"]).prop_map(str::to_owned),
                    1 => "\\PC{0,9}",
                ].prop_map(String::into_bytes),
                5,
            ),
            junk in prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let now = "2026-11-23T00:00:00Z".parse().unwrap();
            let mut text = row.join(&b',');
            if let Some((at, byte)) = junk {
                let at = at.index(text.len() + 1);
                text.insert(at, byte);
            }
            let header = b"transaction_id,customer_id,occurred_at,amount,currency";
            let mut ends = FieldEnds::default();
            let columns = TransactionColumns::find(&Header::read(&ends.split(header))).unwrap();
            let fields = ends.split(&text);
            prop_assume!(fields.len() == 5);

            match columns.transaction(&Row { line: 2, fields, now }) {
                Ok(transaction) => {
                    prop_assert!(transaction.amount_minor.abs() <= LARGEST_AMOUNT_MINOR);
                    prop_assert!((Timestamp::UNIX_EPOCH..=now).contains(&transaction.occurred_at));
                }
                Err(problem) => prop_assert!(!problem.detail.is_empty()),
            }
        }

        #[test]
        fn any_line_is_a_header_or_lacks_a_column(
            line in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\",;amount_minor"[..])], 0..60),
        ) {
            let mut ends = FieldEnds::default();
            let header = Header::read(&ends.split(&line));

            prop_assert!(TransactionColumns::find(&header).is_err());
            prop_assert!(CustomerColumns::find(&header).is_err());
        }
    }
}
