//! A row of `fleet.values`, written and read in COPY's binary format: the one place that knows its columns.
//!
//! Whatever is written reads back to the same bits. What is null together is told by the migration that made the
//! columns (`V4__subscriptions.sql`).

use batch::{CustomerId, RunId};
use deadpool_postgres::ClientWrapper;
use model::{Account, Between, Confidence, Contracts, Grade, Horizons, Payback, Summary, Value};

use super::Fault;
use super::copy::{Fields, Malformed, RowWriter, read_rows};
use crate::encoding::contracts;
use crate::record::Valued;

/// The columns in the order in which they are written and read. Named, so that their order in a table is its own
/// affair.
pub(super) const COLUMNS: &str = "run_id, customer_id, value_minor, value_24_minor, value_36_minor, \
     value_for_ever_minor, purchases_for_ever_minor, contract_12_minor, contract_24_minor, contract_36_minor, \
     contract_for_ever_minor, historic_minor, lower_80_minor, upper_80_minor, lower_90_minor, upper_90_minor, \
     expected_purchases, p_alive, grade, own_rate, own_spend, relative_width, payback_months, payback_probability, \
     frequency, recency_days, age_days, repeat_spend_minor, spend_minor, paid_minor, acquisition_cost_minor, contracts";

const COLUMN_COUNT: i16 = 32;

/// The types of the columns that follow the run and the customer, which are a value's figures.
pub(super) const FIGURE_TYPES: [&str; 30] = {
    let money = "bigint";
    let (count, share, float) = ("integer", "real", "double precision");
    [
        money, money, money, money, money, money, money, money, money, money, money, money, money, money,
        float, float, "\"char\"", share, share, share, "smallint", float, count, count, count, money, money,
        money, money, "bytea",
    ]
};

/// The names of those columns.
pub(super) fn figures() -> &'static str {
    COLUMNS.strip_prefix("run_id, customer_id, ").expect("that is what the columns begin with")
}

/// What is expected from the contracts of somebody who has none.
const NO_CONTRACTS: Horizons = Horizons { months_12: 0, months_24: 0, months_36: 0, for_ever: Some(0) };

/// The statement that copies rows into a table.
pub(super) fn copy_into(table: &str) -> String {
    format!("copy {table} ({COLUMNS}) from stdin (format binary)")
}

/// Writes a row.
pub(super) fn write_value(rows: &mut RowWriter, run: RunId, valued: &Valued) {
    rows.row(COLUMN_COUNT).int8(run.0).int8(valued.customer.0);
    write_figures(rows, valued);
}

/// Writes what follows the run and the customer.
pub(super) fn write_figures(rows: &mut RowWriter, Valued { value, account, .. }: &Valued) {
    write_horizons(rows, value);
    rows.int8(value.historic_minor);
    match value.intervals {
        Some(intervals) => {
            for Between { lower_minor, upper_minor } in intervals {
                rows.int8(lower_minor).int8(upper_minor);
            }
        }
        None => _ = rows.nulls(4),
    }
    rows.float8(value.expected_purchases).optional(value.p_alive, RowWriter::float8);
    let Confidence { grade, own_rate, own_spend, relative_width } = value.confidence;
    rows.bytes(&[grade.letter()]).float4(own_rate).float4(own_spend);
    rows.optional(relative_width, RowWriter::float4);
    match value.payback {
        Some(Payback { months, probability }) => {
            rows.optional(months.map(i16::from), RowWriter::int2).float8(probability);
        }
        None => _ = rows.nulls(2),
    }
    write_account(rows, account);
}

fn write_horizons(rows: &mut RowWriter, value: &Value) {
    let (all, contracts) = (value.future(), &value.contracts);
    let untold = value.purchases.for_ever.filter(|_| contracts.for_ever.is_none());
    rows.int8(all.months_12).int8(all.months_24).int8(all.months_36);
    rows.optional(all.for_ever, RowWriter::int8).optional(untold, RowWriter::int8);
    if *contracts == NO_CONTRACTS {
        rows.nulls(4);
    } else {
        rows.int8(contracts.months_12).int8(contracts.months_24).int8(contracts.months_36);
        rows.optional(contracts.for_ever, RowWriter::int8);
    }
}

fn write_account(rows: &mut RowWriter, account: &Account) {
    match account.purchases {
        Some(Summary { frequency, recency_days, age_days, repeat_spend_minor }) => {
            rows.int4(frequency as i32)
                .int4(recency_days as i32)
                .int4(age_days as i32)
                .int8(repeat_spend_minor);
        }
        None => _ = rows.nulls(4),
    }
    rows.int8(account.spend_minor).int8(account.paid_minor);
    rows.optional(account.acquisition_cost_minor, RowWriter::int8);
    if account.contracts.is_empty() {
        rows.nulls(1);
    } else {
        rows.bytes_by(|bytes| contracts::encode(&account.contracts, bytes));
    }
}

/// Reads a row. One that a release before wrote holds less than a value.
pub(super) fn read_value(fields: &mut Fields<'_>) -> Result<Valued, Malformed> {
    let _run = there(fields.int8()?)?;
    let customer = CustomerId(there(fields.int8()?)?);
    read_figures(customer, fields)
}

/// Reads what follows the run and the customer.
pub(super) fn read_figures(customer: CustomerId, fields: &mut Fields<'_>) -> Result<Valued, Malformed> {
    let months_12 = there(fields.int8()?)?;
    let months_24 = fields.int8()?.ok_or(Malformed(
        "it was written by the release before, which valued 12 months of purchases and nothing else",
    ))?;
    let all = Horizons { months_12, months_24, months_36: there(fields.int8()?)?, for_ever: fields.int8()? };
    let untold = fields.int8()?;
    let contracts = read_contracts(fields)?;
    let without = |all: i64, contracts: i64| {
        all.checked_sub(contracts).ok_or(Malformed("a value beyond what a number holds"))
    };
    let for_ever = all.for_ever.zip(contracts.for_ever);
    let for_ever = for_ever.map(|(all, contracts)| without(all, contracts)).transpose()?;
    let purchases = Horizons {
        months_12: without(all.months_12, contracts.months_12)?,
        months_24: without(all.months_24, contracts.months_24)?,
        months_36: without(all.months_36, contracts.months_36)?,
        for_ever: for_ever.or(untold),
    };
    let value = Value {
        purchases,
        contracts,
        historic_minor: there(fields.int8()?)?,
        intervals: read_intervals(fields)?,
        expected_purchases: there(fields.float8()?)?,
        p_alive: fields.float8()?,
        confidence: read_confidence(fields)?,
        payback: read_payback(fields)?,
    };
    Ok(Valued { customer, value, account: read_account(fields)? })
}

fn read_contracts(fields: &mut Fields<'_>) -> Result<Horizons, Malformed> {
    let months = [fields.int8()?, fields.int8()?, fields.int8()?];
    let for_ever = fields.int8()?;
    let [Some(months_12), Some(months_24), Some(months_36)] = months else { return Ok(NO_CONTRACTS) };
    Ok(Horizons { months_12, months_24, months_36, for_ever })
}

fn read_intervals(fields: &mut Fields<'_>) -> Result<Option<[Between; 2]>, Malformed> {
    let mut between = || {
        let ends = fields.int8()?.zip(fields.int8()?);
        Ok(ends.map(|(lower_minor, upper_minor)| Between { lower_minor, upper_minor }))
    };
    let (narrow, wide) = (between()?, between()?);
    Ok(narrow.zip(wide).map(|(narrow, wide)| [narrow, wide]))
}

fn read_confidence(fields: &mut Fields<'_>) -> Result<Confidence, Malformed> {
    let grade = match there(fields.next()?)? {
        &[letter] => Grade::from_letter(letter),
        _ => None,
    };
    Ok(Confidence {
        grade: grade.ok_or(Malformed("an unknown grade"))?,
        own_rate: there(fields.float4()?)?,
        own_spend: there(fields.float4()?)?,
        relative_width: fields.float4()?,
    })
}

fn read_payback(fields: &mut Fields<'_>) -> Result<Option<Payback>, Malformed> {
    let months = fields.int2()?.map(u8::try_from).transpose();
    let months = months.map_err(|_| Malformed("a payback of impossibly many months"))?;
    Ok(fields.float8()?.map(|probability| Payback { months, probability }))
}

fn read_account(fields: &mut Fields<'_>) -> Result<Account, Malformed> {
    let counts = [fields.int4()?, fields.int4()?, fields.int4()?];
    let purchases = match (counts, fields.int8()?) {
        ([Some(frequency), Some(recency_days), Some(age_days)], Some(repeat_spend_minor)) => Some(Summary {
            frequency: frequency as u32,
            recency_days: recency_days as u32,
            age_days: age_days as u32,
            repeat_spend_minor,
        }),
        _ => None,
    };
    Ok(Account {
        purchases,
        spend_minor: there(fields.int8()?)?,
        paid_minor: there(fields.int8()?)?,
        acquisition_cost_minor: fields.int8()?,
        contracts: match fields.next()? {
            Some(bytes) => {
                contracts::decode(bytes).map_err(|_| Malformed("contracts that cannot be read"))?
            }
            None => Contracts::new(),
        },
    })
}

/// Lets a field pass that is never null.
fn there<T>(field: Option<T>) -> Result<T, Malformed> {
    field.ok_or(Malformed("a null where a value has none"))
}

/// Reads values that a clause after `from fleet.values` picks. It is written into a COPY, which takes no parameters:
/// numbers alone may go into it.
pub(super) async fn read_values(client: &ClientWrapper, picked: &str) -> Result<Vec<Valued>, Fault> {
    let copy = format!("copy (select {COLUMNS} from fleet.values {picked}) to stdout (format binary)");
    let mut values = Vec::new();
    read_rows(client, &copy, |fields| {
        values.push(read_value(fields)?);
        Ok(())
    })
    .await?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use model::{Contract, PlanIndex};
    use proptest::option;
    use proptest::prelude::*;

    use super::super::copy::RowReader;
    use super::*;

    const LARGEST: i64 = 1 << 53;

    fn money() -> impl Strategy<Value = i64> {
        -LARGEST..LARGEST
    }

    fn horizons() -> impl Strategy<Value = Horizons> {
        let told = (money(), money(), money(), option::of(money())).prop_map(
            |(months_12, months_24, months_36, for_ever)| Horizons {
                months_12,
                months_24,
                months_36,
                for_ever,
            },
        );
        prop_oneof![3 => told, 1 => Just(NO_CONTRACTS), 1 => Just(Horizons::default())]
    }

    fn between() -> impl Strategy<Value = Between> {
        any::<(i64, i64)>().prop_map(|(lower_minor, upper_minor)| Between { lower_minor, upper_minor })
    }

    fn confidence() -> impl Strategy<Value = Confidence> {
        let grade = prop::sample::select(vec![Grade::A, Grade::B, Grade::C, Grade::D, Grade::PriorOnly]);
        (grade, any::<(f32, f32)>(), option::of(any::<f32>())).prop_map(
            |(grade, (own_rate, own_spend), relative_width)| Confidence {
                grade,
                own_rate,
                own_spend,
                relative_width,
            },
        )
    }

    fn payback() -> impl Strategy<Value = Payback> {
        any::<(Option<u8>, f64)>().prop_map(|(months, probability)| Payback { months, probability })
    }

    prop_compose! {
        fn value()(
            (historic_minor, purchases, contracts) in (any::<i64>(), horizons(), horizons()),
            (expected_purchases, p_alive) in any::<(f64, Option<f64>)>(),
            intervals in option::of([between(), between()]),
            confidence in confidence(),
            payback in option::of(payback()),
        ) -> Value {
            Value { historic_minor, purchases, contracts, expected_purchases, p_alive, intervals, confidence, payback }
        }
    }

    prop_compose! {
        fn account()(
            purchases in any::<Option<(u32, u32, u32, i64)>>(),
            (spend_minor, paid_minor, acquisition_cost_minor) in any::<(i64, i64, Option<i64>)>(),
            contracts in prop::collection::vec(any::<(i64, u32, u32, u16, u16)>(), 0..4),
        ) -> Account {
            let contract = |(price_minor, renewals, days_to_renewal, period_months, plan)| Contract {
                price_minor,
                renewals,
                days_to_renewal,
                period_months,
                plan: PlanIndex(plan),
            };
            Account {
                purchases: purchases.map(|(frequency, recency_days, age_days, repeat_spend_minor)| Summary {
                    frequency,
                    recency_days,
                    age_days,
                    repeat_spend_minor,
                }),
                spend_minor,
                paid_minor,
                contracts: contracts.into_iter().map(contract).collect(),
                acquisition_cost_minor,
            }
        }
    }

    fn read(bytes: &[u8]) -> Result<Vec<Valued>, Malformed> {
        let mut reader = RowReader::default();
        let mut values = Vec::new();
        reader.feed(bytes, |fields| {
            values.push(read_value(fields)?);
            Ok(())
        })?;
        reader.finish()?;
        Ok(values)
    }

    fn written(valued: &Valued) -> bytes::Bytes {
        let mut rows = RowWriter::new();
        write_value(&mut rows, RunId(7), valued);
        rows.finish()
    }

    #[test]
    fn the_columns_are_as_many_as_are_written() {
        assert_eq!(COLUMNS.split(',').count(), COLUMN_COUNT as usize);
    }

    #[test]
    fn a_row_of_the_release_before_is_told_from_a_broken_one() {
        let mut rows = RowWriter::new();
        rows.row(COLUMN_COUNT).int8(7).int8(1).int8(100).nulls(29);

        let error = read(&rows.finish()).unwrap_err();

        assert!(error.to_string().contains("the release before"), "{error}");
    }

    proptest! {
        #[test]
        fn a_value_and_its_account_read_back_to_the_same_bits(
            customer: i64, value in value(), account in account(),
        ) {
            let valued = Valued { customer: CustomerId(customer), value, account };

            let found = read(&written(&valued)).unwrap();

            // Not a number is not equal to itself, and its bits survive all the same.
            prop_assert_eq!(written(&found[0]), written(&valued));
            prop_assert_eq!(format!("{:?}", found[0]), format!("{valued:?}"));
        }

        #[test]
        fn any_numbers_in_the_columns_give_a_value_or_an_error(
            numbers in prop::collection::vec(option::weighted(0.8, any::<i64>()), COLUMN_COUNT as usize),
            grade in prop::sample::select(&b"ABCDPZ"[..]),
            contracts: Vec<u8>,
        ) {
            let mut rows = RowWriter::new();
            rows.row(COLUMN_COUNT);
            for (number, name) in numbers.into_iter().zip(COLUMNS.split(',')) {
                match (name.trim(), number) {
                    ("grade", _) => rows.bytes(&[grade]),
                    ("contracts", _) => rows.bytes(&contracts),
                    (_, None) => rows.nulls(1),
                    ("own_rate" | "own_spend" | "relative_width", Some(it)) => rows.float4(f32::from_bits(it as u32)),
                    ("frequency" | "recency_days" | "age_days", Some(it)) => rows.int4(it as i32),
                    ("payback_months", Some(it)) => rows.int2(it as i16),
                    (_, Some(it)) => rows.int8(it),
                };
            }

            let _ = read(&rows.finish());
        }

        #[test]
        fn a_row_that_was_damaged_gives_a_value_or_an_error(
            value in value(),
            account in account(),
            at: prop::sample::Index,
            put: u8,
        ) {
            let mut bytes = written(&Valued { customer: CustomerId(1), value, account }).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = put;

            let _ = read(&bytes);
        }
    }
}
