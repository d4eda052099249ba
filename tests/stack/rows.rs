//! Rows that the database fails over, in relations that are not ours: each is its customer's rejection, in the whole
//! night as in one read, and everybody else's values are what they would have been.

use std::collections::BTreeMap;

use batch::{CustomerId, RunId};
use model::{ContractModels, Currency, Rejection};
use store::postgres::Postgres;
use store::{Error, History, Reading, Requests, Values};
use tests::{Database, FIRST_CUSTOMER, Fleet, Process, Stack};

use crate::store::program;

/// Two hundred customers with two purchases, a subscription and a cost each; the source shows them as they are.
const SHOP: &str = "
    create schema shop;
    alter table source.transactions set schema shop;
    alter table source.subscriptions set schema shop;
    alter table source.acquisition_costs set schema shop;
    insert into shop.transactions
    select 2 * id + part, id, timestamptz '2026-01-01' + part * interval '9 days', 500 + id, 'EUR'
      from generate_series(1, 200) id, generate_series(0, 1) part;
    insert into shop.subscriptions
    select id, 'pro', 1, '2026-01-15', '2026-04-15', 900, 'EUR' from generate_series(1, 200) id;
    insert into shop.acquisition_costs select id, 100, 'EUR' from generate_series(1, 200) id;
    create function shop.refuse(state text) returns bigint language plpgsql as $$
    begin
        raise exception 'this customer is refused' using errcode = state;
    end $$;
    create function shop.for_ever(number bigint) returns bigint language plpgsql as $$
    begin
        return shop.for_ever(number + 1);
    end $$;
    create domain shop.price as bigint check (value < 1000000);
    create domain shop.name as text not null;";

/// The relations with their columns as they are.
const TRANSACTIONS: (&str, &[&str]) = (
    "transactions",
    &["transaction_id", "customer_id", "occurred_at", "amount_minor", "currency::text as currency"],
);
const SUBSCRIPTIONS: (&str, &[&str]) = (
    "subscriptions",
    &[
        "customer_id",
        "plan",
        "period_months",
        "started_at",
        "ended_at",
        "price_minor",
        "currency::text as currency",
    ],
);
const COSTS: (&str, &[&str]) =
    ("acquisition_costs", &["customer_id", "cost_minor", "currency::text as currency"]);
const RELATIONS: [(&str, &[&str]); 3] = [TRANSACTIONS, SUBSCRIPTIONS, COSTS];

/// A column that goes wrong for customer 77 and is what it was for all others: column, what it is for him, what it is
/// for others.
type Spoilt = (&'static str, &'static str, &'static str);

const OF_TRANSACTIONS: [(Spoilt, Rejection); 24] = {
    use Rejection::{ForeignCurrency, HistoryOutOfRange, SpendOutOfRange, UnreadableTransaction};
    [
        (("amount_minor", "1e20::numeric", "amount_minor"), UnreadableTransaction),
        (("amount_minor", "'NaN'::numeric", "amount_minor"), UnreadableTransaction),
        (("amount_minor", "'Infinity'::numeric", "amount_minor"), UnreadableTransaction),
        (("amount_minor", "'NaN'::float8", "amount_minor"), UnreadableTransaction),
        (("amount_minor", "'-Infinity'::float8", "amount_minor"), UnreadableTransaction),
        (("amount_minor", "'much'", "amount_minor::text"), UnreadableTransaction),
        (("amount_minor", "''", "amount_minor::text"), UnreadableTransaction),
        (("amount_minor", "amount_minor / (customer_id - 77)", "amount_minor"), UnreadableTransaction),
        (("amount_minor", "shop.refuse('P0001')", "amount_minor"), UnreadableTransaction),
        (("amount_minor", "shop.refuse('P0002')", "amount_minor"), UnreadableTransaction),
        (("amount_minor", "shop.refuse('SHOP1')", "amount_minor"), UnreadableTransaction),
        (("amount_minor", "shop.for_ever(1)", "amount_minor"), UnreadableTransaction),
        (
            ("amount_minor", "(select id from generate_series(customer_id, 99) id)", "amount_minor"),
            UnreadableTransaction,
        ),
        (("amount_minor", "(amount_minor * 1000000)::shop.price", "amount_minor"), UnreadableTransaction),
        (("amount_minor", "null::bigint", "amount_minor"), SpendOutOfRange),
        (("occurred_at", "'yesterday or so'", "occurred_at::text"), UnreadableTransaction),
        (("occurred_at", "'2026-02-30'", "occurred_at::text"), UnreadableTransaction),
        (("occurred_at", "date '5874897-12-31'", "occurred_at::date"), UnreadableTransaction),
        (("occurred_at", "timestamptz '-infinity'", "occurred_at"), HistoryOutOfRange),
        (("occurred_at", "null::timestamptz", "occurred_at"), HistoryOutOfRange),
        (("currency", "null::text", "currency::text"), ForeignCurrency),
        (("currency", "repeat('x', 20000000)", "currency::text"), ForeignCurrency),
        (
            ("currency", r"convert_from('\xff'::bytea || int8send(customer_id), 'UTF8')", "currency::text"),
            UnreadableTransaction,
        ),
        (("currency", "(null::text)::shop.name", "currency::text"), UnreadableTransaction),
    ]
};

const OF_SUBSCRIPTIONS: [(Spoilt, Rejection); 10] = {
    use Rejection::{HistoryOutOfRange, ImpossibleContract, UnreadableSubscription};
    [
        (("price_minor", "1e20::numeric", "price_minor"), UnreadableSubscription),
        (("price_minor", "null::bigint", "price_minor"), ImpossibleContract),
        (("period_months", "3000000000", "period_months"), UnreadableSubscription),
        (("period_months", "'NaN'::numeric", "period_months"), UnreadableSubscription),
        (("period_months", "'monthly'", "period_months::text"), UnreadableSubscription),
        (("started_at", "'once'", "started_at::text"), UnreadableSubscription),
        (("started_at", "null::timestamptz", "started_at"), HistoryOutOfRange),
        (("started_at", "timestamptz '-infinity'", "started_at"), ImpossibleContract),
        (("ended_at", "'never'", "ended_at::text"), UnreadableSubscription),
        (("plan", "shop.refuse('P0001')::text", "plan"), UnreadableSubscription),
    ]
};

const OF_COSTS: [(Spoilt, Rejection); 5] = {
    use Rejection::{SpendOutOfRange, UnreadableCost};
    [
        (("cost_minor", "1e20::numeric", "cost_minor"), UnreadableCost),
        (("cost_minor", "'NaN'::float8", "cost_minor"), UnreadableCost),
        (("cost_minor", "'a lot'", "cost_minor::text"), UnreadableCost),
        (("cost_minor", "cost_minor / (customer_id - 77)", "cost_minor"), UnreadableCost),
        (("cost_minor", "null::bigint", "cost_minor"), SpendOutOfRange),
    ]
};

async fn shop() -> Database {
    let database = Database::create(&Stack::from_env()).await;
    database.client().await.batch_execute(SHOP).await.expect("the shop can be made");
    for relation in RELATIONS {
        show(&database, relation, &[], "false").await;
    }
    database
}

/// Makes the view of a relation anew; those customers for whom `who` is true see some columns spoilt.
async fn show(database: &Database, (table, columns): (&str, &[&str]), spoilt: &[Spoilt], who: &str) {
    let shown: Vec<String> = columns
        .iter()
        .map(|column| {
            let name = column.split("::").next().expect("a column has a name");
            spoilt.iter().find(|spoilt| spoilt.0 == name).map_or_else(
                || (*column).to_owned(),
                |(name, bad, good)| format!("case when {who} then {bad} else {good} end as {name}"),
            )
        })
        .collect();
    let view = format!(
        "drop view if exists source.{table}; create view source.{table} as select {} from shop.{table}",
        shown.join(", ")
    );
    database.client().await.batch_execute(&view).await.unwrap_or_else(|error| panic!("{view}: {error:?}"));
}

async fn read(store: &Postgres, is_whole: bool) -> Result<Vec<History>, Error> {
    let customers: Vec<CustomerId> = (1..=200).map(CustomerId).collect();
    store
        .read_histories(&Reading {
            customers: &customers,
            run: None,
            is_whole,
            as_of: "2026-07-01T00:00:00Z".parse().expect("it is a moment"),
            currency: Currency::parse("EUR").expect("EUR is a currency"),
            contracts: &ContractModels::default(),
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_row_holds_it_rejects_its_customer_and_nobody_else() {
    let database = shop().await;
    let store = database.store();
    let undisturbed = read(&store, true).await.unwrap();
    assert!(undisturbed.iter().all(|history| history.account.is_ok()));

    let kinds = [
        (TRANSACTIONS, &OF_TRANSACTIONS[..]),
        (SUBSCRIPTIONS, &OF_SUBSCRIPTIONS[..]),
        (COSTS, &OF_COSTS[..]),
    ];
    for (relation, kinds) in kinds {
        for (spoilt, rejection) in kinds {
            show(&database, relation, &[*spoilt], "customer_id = 77").await;

            for is_whole in [true, false] {
                let read = read(&store, is_whole).await.unwrap_or_else(|error| panic!("{spoilt:?}: {error}"));

                let mut expected = undisturbed.clone();
                expected[76].account = Err(*rejection);
                assert_eq!(read.len(), 200, "{spoilt:?}");
                for (found, expected) in read.iter().zip(&expected) {
                    assert_eq!(
                        (found.customer, &found.account),
                        (expected.customer, &expected.account),
                        "{spoilt:?}"
                    );
                }
            }
        }
        show(&database, relation, &[], "false").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_at_infinity_has_not_happened_yet() {
    let database = shop().await;
    let spoilt = ("occurred_at", "timestamptz 'infinity'", "occurred_at");
    show(&database, TRANSACTIONS, &[spoilt], "customer_id = 77 and transaction_id % 2 = 1").await;

    let read = read(&database.store(), true).await.unwrap();

    assert_eq!(read[76].account.as_ref().unwrap().spend_minor, 577);
}

/// Each customer's second purchase came since, and a moment that cannot be read is one customer's.
#[tokio::test(flavor = "multi_thread")]
async fn whose_rows_cannot_be_read_keeps_nobody_else_from_being_stale() {
    let database = shop().await;
    let store = database.store();
    let valued_at = "2026-01-05T00:00:00Z".parse().unwrap();
    let valued: Vec<_> = (1..=200).map(|id| (CustomerId(id), valued_at)).collect();
    let spoilt = ("occurred_at", "'yesterday or so'", "occurred_at::text");

    show(&database, TRANSACTIONS, &[spoilt], "customer_id = 77").await;
    let stale = store.stale(&valued).await.unwrap();
    show(&database, TRANSACTIONS, &[spoilt], "true").await;
    let error = store.stale(&valued).await.unwrap_err();

    assert_eq!(stale, (1..=200).filter(|id| *id != 77).map(CustomerId).collect::<Vec<_>>());
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_customers_than_are_looked_for_fail_the_chunk_with_the_reason_and_an_exception_for_all_does_too()
{
    let database = shop().await;
    let store = database.store();
    let spoilt = ("amount_minor", "shop.refuse('P0001')", "amount_minor");

    show(&database, TRANSACTIONS, &[spoilt], "customer_id % 3 = 0 and customer_id <= 192").await;
    let rejected = read(&store, true).await.unwrap();
    let rejected = rejected.iter().filter(|read| read.account == Err(Rejection::UnreadableTransaction));
    assert_eq!(rejected.count(), 64);

    for who in ["customer_id % 3 = 0", "true"] {
        show(&database, TRANSACTIONS, &[spoilt], who).await;
        let error = read(&store, true).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("64 customers") && text.contains("this customer is refused"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_inside_a_view_is_nobodys_row() {
    let database = shop().await;
    let store = database.store();
    for state in ["42501", "42P01", "55000"] {
        let refuse = format!("shop.refuse('{state}')");
        let spoilt = ("amount_minor", &*refuse.leak(), "amount_minor");
        show(&database, TRANSACTIONS, &[spoilt], "customer_id = 77").await;

        let error = read(&store, true).await.unwrap_err();

        assert!(matches!(error, Error::Broken { .. }), "{error:?}");
    }
}

// --- whole nights ---------------------------------------------------------------------------------------------------

/// Somebody in the middle of the base, and his neighbour.
const HE: i64 = FIRST_CUSTOMER + 12_345;
const SHE: i64 = HE + 1;

/// Lets a night go through the base behind a view, and compares it with the reference run: these are rejected, and all
/// others have what they had. Returns what the worker said.
async fn night_with(spoil: &str, unreadable: &[(i64, &str)]) -> String {
    let fleet = Fleet::new(&program()).await;
    fleet.sql().await.batch_execute(spoil).await.expect("the source can be spoilt");

    let run = fleet.dispatch(&["--chunk-customers", "5000"]).await;
    let _coordinator = fleet.coordinator(&[]);
    let worker: Process = fleet.worker(&[]);
    fleet.finished(run).await;

    let (mut values, mut rejections) = (fleet.reference().await, rejections(&fleet, RunId(1)).await);
    let planned = values.len() + rejections.len();
    for (customer, reason) in unreadable {
        assert!(values.remove(&CustomerId(*customer)).is_some(), "{customer} would have a value");
        rejections.insert(*customer, (*reason).to_owned());
    }
    let found = fleet.values(run).await;
    assert_eq!(rejections, self::rejections(&fleet, run).await);
    assert_eq!(found.len() + rejections.len(), planned);
    assert!(found == values, "everybody else has the value that he would have had");
    let chunks: i64 = fleet.ask("select count(*) from fleet.chunks where run_id = $1", run).await;
    assert_eq!(fleet.attempts(run, &["done"]).await, chunks, "nothing was tried twice");
    worker.log()
}

async fn rejections(fleet: &Fleet, run: RunId) -> BTreeMap<i64, String> {
    let query = "select customer_id, reason from fleet.rejections where run_id = $1";
    let rows = fleet.sql().await.query(query, &[&run.0]).await.expect("the database answers");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_beyond_bigint_in_a_view_costs_one_customer_and_the_log_names_the_column() {
    let spoil = format!(
        "create schema shop;
         alter table source.transactions set schema shop;
         create view source.transactions as
         select transaction_id, customer_id, occurred_at,
                case when customer_id = {HE} then 1e20 else amount_minor end as amount_minor, currency
           from shop.transactions"
    );

    let log = night_with(&spoil, &[(HE, "unreadable_transaction")]).await;

    let told = log.lines().find(|line| line.contains("their rows cannot be read")).expect("it is told");
    for part in [&HE.to_string(), "source.transactions", "amount_minor", "bigint out of range", "22003"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_raises_an_exception_for_one_customer_costs_that_one_and_the_run_ends() {
    let spoil = format!(
        "create schema shop;
         alter table source.transactions set schema shop;
         create function shop.amount(customer bigint, amount bigint) returns bigint language plpgsql as $$
         begin
             if customer = {HE} then raise exception 'no amount of customer %', customer; end if;
             return amount;
         end $$;
         create view source.transactions as
         select transaction_id, customer_id, occurred_at, shop.amount(customer_id, amount_minor) as amount_minor,
                currency
           from shop.transactions"
    );

    let log = night_with(&spoil, &[(HE, "unreadable_transaction")]).await;

    let told = log.lines().find(|line| line.contains("their rows cannot be read")).expect("it is told");
    for part in [&format!("no amount of customer {HE}"), "shop.amount(bigint,bigint)", "P0001"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_who_cannot_be_read_in_different_relations_are_both_rejected() {
    let spoil = format!(
        "alter table source.acquisition_costs alter column cost_minor type numeric;
         insert into source.acquisition_costs values ({SHE}, 'NaN', 'USD')
             on conflict (customer_id) do update set cost_minor = 'NaN';
         create schema shop;
         alter table source.subscriptions set schema shop;
         create view source.subscriptions as
         select customer_id, plan, period_months, started_at, ended_at, price_minor, currency from shop.subscriptions
          union all
         select customer, 'basic', 12 / (customer - {HE})::integer, '1998-01-01', null, 4900, 'USD'
           from generate_series({HE}::bigint, {HE}) customer"
    );

    let log = night_with(&spoil, &[(HE, "unreadable_subscription"), (SHE, "unreadable_cost")]).await;

    assert!(log.contains("source.subscriptions") && log.contains("source.acquisition_costs"), "{log}");
}
