use model::{PlanIndex, Summary};
use proptest::prelude::*;

use super::super::copy::{RowReader, RowWriter};
use super::*;

/// Midnight of 1 January 2000, where PostgreSQL's times begin; a run looks at what came before the 100th day.
const AS_OF_US: i64 = POSTGRES_EPOCH_US + 100 * DAY_US;
const DAY_US: i64 = 86_400_000_000;

fn observation() -> Observation {
    Observation::new(AS_OF_US, Currency::parse("EUR").unwrap())
}

fn until() -> Timestamp {
    Timestamp::from_microsecond(AS_OF_US).unwrap()
}

/// A row of a COPY; a number, a short number, a text, or null.
enum Cell {
    Int8(i64),
    Int4(i32),
    Text(&'static str),
    Null,
}
use Cell::{Int4, Int8, Null, Text};

fn feed(rows: &[Vec<Cell>], mut each: impl FnMut(&mut Fields<'_>) -> Result<(), Malformed>) {
    let mut writer = RowWriter::new();
    for row in rows {
        writer.row(row.len() as i16);
        for cell in row {
            match cell {
                Int8(number) => writer.int8(*number),
                Int4(number) => writer.int4(*number),
                Text(text) => writer.bytes(text.as_bytes()),
                Null => writer.nulls(1),
            };
        }
    }
    let mut reader = RowReader::default();
    reader.feed(&writer.finish(), &mut each).unwrap();
    reader.finish().unwrap();
}

fn purchase(customer: i64, day: i64, amount_minor: i64) -> Vec<Cell> {
    vec![Int8(customer), Int8(day * DAY_US), Int8(amount_minor), Text("EUR")]
}

fn monthly(customer: i64, start_day: i64, price_minor: i64) -> Vec<Cell> {
    let price = Int8(price_minor);
    vec![Int8(customer), Text("pro"), Int4(1), Int8(start_day * DAY_US), Null, price, Text("EUR")]
}

fn cost(customer: i64, cost_minor: i64) -> Vec<Cell> {
    vec![Int8(customer), Int8(cost_minor), Text("EUR")]
}

/// The accounts of customers 1 to 3.
fn accounts(
    transactions: &[Vec<Cell>],
    subscribed: &[Vec<Cell>],
    paid: &[Vec<Cell>],
) -> [Result<Account, Rejection>; 3] {
    let customers = [1, 2, 3].map(CustomerId);
    let models = ContractModels::default();
    let mut purchases = Purchases::new(&customers, observation());
    let mut subscriptions = Subscriptions::new(&models, observation(), until());
    let mut costs = Costs::new(Currency::parse("EUR").unwrap());
    feed(transactions, |fields| purchases.row(fields));
    feed(subscribed, |fields| subscriptions.row(fields));
    feed(paid, |fields| costs.row(fields));
    let histories = merge(purchases.finish(), subscriptions.finish(), costs.costs);
    assert!(histories.iter().map(|history| history.customer).eq(customers));
    histories.into_iter().map(|history| history.account).collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn an_account_holds_what_the_three_relations_know_of_the_customer() {
    let [first, second, third] = accounts(
        &[purchase(2, 0, 500), purchase(2, 9, 700)],
        &[monthly(1, 0, 4_900), monthly(2, 60, 900)],
        &[cost(1, 30_000), cost(2, 100), cost(2, 11), cost(3, 5)],
    );

    let first = first.unwrap();
    assert_eq!((first.purchases, first.spend_minor, first.paid_minor), (None, 0, 4 * 4_900));
    assert_eq!(first.contracts.len(), 1);
    assert_eq!(first.acquisition_cost_minor, Some(30_000));
    let second = second.unwrap();
    let summary = Summary { frequency: 1, recency_days: 9, age_days: 99, repeat_spend_minor: 700 };
    assert_eq!((second.purchases, second.spend_minor), (Some(summary), 1_200));
    assert_eq!(second.paid_minor, 2 * 900);
    assert_eq!(second.acquisition_cost_minor, Some(111), "parts of a cost add up");
    assert_eq!(third, Err(Rejection::NoPurchase), "a cost alone makes nobody a customer");
}

#[test]
fn rows_of_customers_outside_the_plan_are_passed_over() {
    let [first, second, third] = accounts(
        &[purchase(0, 0, 1), purchase(4, 0, 1)],
        &[monthly(0, 0, 1), monthly(2, 0, 7), monthly(4, 0, 1)],
        &[cost(-1, 1), cost(2, 3), cost(9, 1)],
    );

    assert_eq!((first, third), (Err(Rejection::NoPurchase), Err(Rejection::NoPurchase)));
    assert_eq!(second.unwrap().acquisition_cost_minor, Some(3));
}

#[test]
fn the_history_decides_the_reason_before_the_subscription_and_that_before_the_cost() {
    let [first, second, third] = accounts(
        &[purchase(1, 0, -1), purchase(2, 0, 1), purchase(3, 0, 1)],
        &[monthly(1, 0, -1), monthly(2, 0, -1), monthly(3, 0, 1)],
        &[cost(1, -1), cost(2, -1), cost(3, -1)],
    );

    assert_eq!(first, Err(Rejection::RefundBeforePurchase));
    assert_eq!(second, Err(Rejection::ImpossibleContract));
    assert_eq!(third, Err(Rejection::SpendOutOfRange));
}

#[test]
fn a_null_where_a_value_should_be_is_a_rejection() {
    for null in 1..7 {
        let mut line = monthly(1, 0, 4_900);
        line[null] = Null;

        let [account, ..] = accounts(&[], &[line], &[]);

        // A subscription without an end is one that goes on.
        assert_eq!(account.is_err(), null != 4, "column {null}: {account:?}");
    }
    for null in 1..3 {
        let mut line = cost(1, 100);
        line[null] = Null;

        let [account, ..] = accounts(&[purchase(1, 0, 1)], &[], &[line]);

        assert!(account.is_err(), "column {null}: {account:?}");
    }
    let nobody = vec![Null, Int8(1), Text("EUR")];
    let [account, ..] = accounts(&[purchase(1, 0, 1)], &[], &[nobody]);
    assert_eq!(account.unwrap().acquisition_cost_minor, None);
}

#[test]
fn a_cost_in_another_currency_or_beyond_belief_is_a_rejection() {
    let foreign = vec![Int8(1), Int8(100), Text("USD")];

    let [first, second, third] = accounts(
        &[purchase(1, 0, 1), purchase(2, 0, 1), purchase(3, 0, 1)],
        &[],
        &[foreign, cost(2, i64::MAX), cost(3, LARGEST_COST_MINOR), cost(3, 1)],
    );

    assert_eq!(first, Err(Rejection::ForeignCurrency));
    assert_eq!(second, Err(Rejection::SpendOutOfRange));
    assert_eq!(third, Err(Rejection::SpendOutOfRange));
}

#[test]
fn contracts_of_one_instant_give_the_same_account_in_any_order() {
    let lines = [[1, 2, 3], [3, 2, 1], [2, 3, 1]].map(|prices| prices.map(|price| monthly(1, 0, price)));

    let [first, second, third] = lines.map(|lines| accounts(&[], &lines, &[]).map(Result::ok));

    assert_eq!(first, second);
    assert_eq!(first, third);
    let contracts = first[0].clone().unwrap().contracts;
    assert!(contracts.iter().all(|contract| contract.plan == PlanIndex::OTHER));
    assert!(contracts.iter().map(|contract| contract.price_minor).eq([1, 2, 3]));
}

#[test]
fn named_customers_are_asked_for_by_number_and_a_whole_range_by_its_ends() {
    let customers = [3, 5, 9].map(CustomerId);

    assert_eq!(those(&customers, true), "customer_id between 3 and 9");
    assert_eq!(those(&customers, false), "customer_id = any ('{3,5,9}'::bigint[])");
}

/// A field of any kind: often one that makes sense, sometimes null, sometimes of a width that no column has.
fn field() -> impl Strategy<Value = Option<Vec<u8>>> {
    let number = prop_oneof![-3..6_i64, any::<i64>(), (0..90_i64).prop_map(|day| day * DAY_US)];
    prop_oneof![
        5 => number.prop_map(|number| Some(number.to_be_bytes().to_vec())),
        2 => (-1..200_i32).prop_map(|number| Some(number.to_be_bytes().to_vec())),
        2 => Just(Some(b"EUR".to_vec())),
        1 => Just(None),
        1 => prop::collection::vec(any::<u8>(), 0..10).prop_map(Some),
    ]
}

/// Rows whose columns are what they should be, but hold anything.
fn rows(columns: &'static str) -> impl Strategy<Value = Vec<Vec<Option<Vec<u8>>>>> {
    let cell = |kind| match kind {
        'c' => (0..5_i64).prop_map(|customer| Some(customer.to_be_bytes().to_vec())).boxed(),
        'n' => any::<i32>().prop_map(|number| Some((number % 130).to_be_bytes().to_vec())).boxed(),
        'e' => Just(Some(b"EUR".to_vec())).boxed(),
        _ => any::<i64>()
            .prop_flat_map(|any| prop_oneof![Just(any), Just(any % (100 * DAY_US)), Just(any % 10_000)])
            .prop_map(|number| Some(number.to_be_bytes().to_vec()))
            .boxed(),
    };
    let row: Vec<_> =
        columns.chars().map(|kind| prop_oneof![9 => cell(kind), 1 => field()].boxed()).collect();
    prop::collection::vec(row, 0..12)
}

fn stream(rows: Vec<Vec<Option<Vec<u8>>>>) -> bytes::Bytes {
    let mut writer = RowWriter::new();
    for row in rows {
        writer.row(row.len() as i16);
        for cell in row {
            match cell {
                Some(bytes) => writer.bytes(&bytes),
                None => writer.nulls(1),
            };
        }
    }
    writer.finish()
}

proptest! {
    #[test]
    fn whatever_a_view_shows_every_planned_customer_is_answered_once(
        transactions in rows("ciie"),
        subscribed in rows("cenIIie"),
        paid in rows("cie"),
    ) {
        let told_of = [&transactions, &subscribed, &paid].map(|rows| {
            rows.iter().filter_map(|row| row[0].clone()).collect::<Vec<_>>()
        });
        let customers = [1, 2, 3].map(CustomerId);
        let models = ContractModels::default();
        let mut purchases = Purchases::new(&customers, observation());
        let mut subscriptions = Subscriptions::new(&models, observation(), until());
        let mut costs = Costs::new(Currency::parse("EUR").unwrap());

        // A column of a wrong width ends the reading; what was read so far must be sound all the same.
        let _ = RowReader::default().feed(&stream(transactions), |fields| purchases.row(fields));
        let _ = RowReader::default().feed(&stream(subscribed), |fields| subscriptions.row(fields));
        let _ = RowReader::default().feed(&stream(paid), |fields| costs.row(fields));
        let histories = merge(purchases.finish(), subscriptions.finish(), costs.costs);

        prop_assert!(histories.iter().map(|history| history.customer).eq(customers));
        for History { customer, account, .. } in histories {
            let Ok(account) = account else { continue };
            let [has_bought, has_subscribed, has_cost] =
                told_of.each_ref().map(|customers| customers.contains(&customer.0.to_be_bytes().to_vec()));
            let is_known = if account.purchases.is_some() { has_bought } else { has_subscribed };
            prop_assert!(is_known, "{account:?} out of nothing");
            prop_assert!(has_subscribed || (account.paid_minor, account.contracts.len()) == (0, 0));
            prop_assert!(account.acquisition_cost_minor.is_none_or(|cost| has_cost && believed(cost).is_ok()));
            let can_be = |contract: &model::Contract| {
                contract.days_to_renewal > 0 && contract.period_months > 0 && contract.price_minor >= 0
            };
            prop_assert!(account.contracts.iter().all(can_be), "{:?}", account.contracts);
        }
    }
}
