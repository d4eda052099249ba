//! Fields of rows that nobody vouches for: each is read, or there is a problem with its row.

use std::borrow::Cow;
use std::fmt::Display;

use jiff::Timestamp;
use model::LONGEST_PERIOD;

use crate::amount::{self, AmountColumn};
use crate::header::Column;
use crate::reason::{Problem, Reason};
use crate::row::Row;
use crate::{currency, time};

/// An index on each text column must hold it, and no name of a customer is longer.
const LONGEST_TEXT: usize = 255;

impl<'a> Row<'a> {
    /// A field that must not be empty, without the blanks around it.
    fn value(&self, column: Column) -> Result<Cow<'a, str>, Problem> {
        let value = match self.fields.get(column.0) {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(|text| Cow::Borrowed(text.trim_ascii())),
            Cow::Owned(bytes) => {
                std::str::from_utf8(&bytes).map(|text| Cow::Owned(text.trim_ascii().to_owned()))
            }
        };
        let value = value.map_err(|error| {
            let place = error.valid_up_to() + 1;
            self.problem(column, Reason::InvalidUtf8, format_args!("is not UTF-8 from its byte {place} on"))
        })?;
        if value.is_empty() {
            return Err(self.problem(column, Reason::MissingValue, "is empty"));
        }
        Ok(value)
    }

    /// A text that may be the name of something.
    pub(crate) fn label(&self, column: Column) -> Result<Cow<'a, str>, Problem> {
        let text = self.value(column)?;
        if text.len() > LONGEST_TEXT {
            let what = format_args!("has {} bytes, more than {LONGEST_TEXT}", text.len());
            return Err(self.problem(column, Reason::BadText, what));
        }
        if text.contains('\0') {
            return Err(self.problem(column, Reason::BadText, "holds a NUL, which no text may"));
        }
        Ok(text)
    }

    /// A whole number.
    pub(crate) fn whole(&self, column: Column) -> Result<i64, Problem> {
        let text = self.value(column)?;
        text.parse().map_err(|_| {
            let what = format_args!("{text:?} is not a whole number of at most 64 bits");
            self.problem(column, Reason::BadNumber, what)
        })
    }

    /// Reads a field that may be empty.
    pub(crate) fn unless_empty<T>(
        &self,
        column: Column,
        read: impl FnOnce(&Self) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        let is_empty = self.fields.get(column.0).trim_ascii().is_empty();
        if is_empty { Ok(None) } else { read(self).map(Some) }
    }

    /// Months that something is paid for at a time.
    pub(crate) fn period(&self, column: Column) -> Result<i32, Problem> {
        let months = self.whole(column)?;
        let believed =
            i32::try_from(months).ok().filter(|months| (1..=LONGEST_PERIOD.into()).contains(months));
        believed.ok_or_else(|| {
            let what = format_args!("{months} is not from 1 to {LONGEST_PERIOD}");
            self.problem(column, Reason::BadPeriod, what)
        })
    }

    /// A time that must have been, when the clock shows `now`.
    pub(crate) fn past_time(&self, column: Column, now: Timestamp) -> Result<Timestamp, Problem> {
        let time = self.time(column)?;
        if time > now {
            let now = now.round(jiff::Unit::Second).unwrap_or(now);
            let text = self.value(column)?;
            let what = format_args!("{text} is in the future: the clock says {now}");
            return Err(self.problem(column, Reason::FutureTime, what));
        }
        Ok(time)
    }

    /// A time that may still be to come.
    pub(crate) fn time(&self, column: Column) -> Result<Timestamp, Problem> {
        let text = self.value(column)?;
        let time = time::read(&text).ok_or_else(|| {
            self.problem(column, Reason::BadTime, format_args!("{text:?} is {}", time::NEITHER))
        })?;
        if time < Timestamp::UNIX_EPOCH {
            return Err(self.problem(column, Reason::ImpossibleTime, format_args!("{text} is before 1970")));
        }
        Ok(time)
    }

    /// A currency of ISO 4217.
    pub(crate) fn currency(&self, column: Column) -> Result<currency::Known, Problem> {
        let code = self.value(column)?;
        currency::find(&code).ok_or_else(|| {
            let what = format_args!("{code:?} is not a currency of ISO 4217, such as USD");
            self.problem(column, Reason::UnknownCurrency, what)
        })
    }

    /// An amount that can be believed, in minor units.
    pub(crate) fn amount(&self, column: AmountColumn, currency: currency::Known) -> Result<i64, Problem> {
        match column {
            AmountColumn::Minor(column) => self.minor_units(column),
            AmountColumn::Major(column) => self.major_units(column, currency),
        }
    }

    /// An amount that is not below nothing.
    pub(crate) fn price(&self, column: AmountColumn, currency: currency::Known) -> Result<i64, Problem> {
        let amount_minor = self.amount(column, currency)?;
        if amount_minor < 0 {
            return Err(self.problem(column.column(), Reason::BadAmount, "is below nothing"));
        }
        Ok(amount_minor)
    }

    fn minor_units(&self, column: Column) -> Result<i64, Problem> {
        let amount = self.whole(column)?;
        amount::believed(amount).ok_or_else(|| {
            let what = format_args!("{amount} is beyond 2^53 minor units");
            self.problem(column, Reason::BadAmount, what)
        })
    }

    fn major_units(&self, column: Column, currency: currency::Known) -> Result<i64, Problem> {
        let text = self.value(column)?;
        amount::read(&text, currency.exponent).and_then(amount::believed).ok_or_else(|| {
            let (code, places) = (currency.currency, currency.exponent);
            let what = format_args!(
                "{text:?} is not an amount of {code}: digits, a point and at most {places} decimal places, below \
                 2^53 minor units"
            );
            self.problem(column, Reason::BadAmount, what)
        })
    }

    /// What is wrong with a field, after its column's name.
    fn problem(&self, column: Column, reason: Reason, what: impl Display) -> Problem {
        Problem::new(reason, format!("{} {what}", self.header.name(column)))
    }
}
