//! What is known of customers, as it is read from the source's relations, whatever their columns are.

use batch::CustomerId;
use model::{Account, ContractModels, Currency, Rejection};
use store::postgres::Postgres;
use store::{Archive, Planning, Reading, Selection, Values};
use tests::{Database, PATIENCE, Stack, eventually};

/// Reads the accounts of customers 1 to 3 at 1 July 2026, in euros.
async fn first_three(store: &Postgres, is_whole: bool) -> [Result<Account, Rejection>; 3] {
    let histories = store
        .read_histories(&Reading {
            customers: &[1, 2, 3].map(CustomerId),
            run: None,
            is_whole,
            as_of: "2026-07-01T00:00:00Z".parse().expect("it is a moment"),
            currency: Currency::parse("EUR").expect("EUR is a currency"),
            contracts: &ContractModels::default(),
        })
        .await
        .expect("the database answers");
    let accounts: Vec<_> = histories.into_iter().map(|history| history.account).collect();
    accounts.try_into().expect("every planned customer is answered")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_moment_is_a_rejection_of_its_customer_and_not_passed_over() {
    let database = Database::create(&Stack::from_env()).await;
    let fill = "
        alter table source.transactions alter column occurred_at drop not null;
        alter table source.subscriptions alter column started_at drop not null;
        insert into source.transactions values
            (1, 1, '2026-01-01', 500, 'EUR'), (2, 1, null, 700, 'EUR'), (3, 3, '2026-01-01', 500, 'EUR'),
            (4, 3, '2026-07-01', 500, 'EUR');
        insert into source.subscriptions values
            (2, 'pro', 1, '2026-01-15', null, 4900, 'EUR', null), (2, 'pro', 1, null, null, 4900, 'EUR', null);";
    database.client().await.batch_execute(fill).await.unwrap();

    for is_whole in [true, false] {
        let [first, second, third] = first_three(&database.store(), is_whole).await;

        assert_eq!(first, Err(Rejection::HistoryOutOfRange));
        assert_eq!(second, Err(Rejection::HistoryOutOfRange));
        assert_eq!(third.unwrap().spend_minor, 500, "what comes later is not seen");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_other_types_are_read_as_those_they_should_have() {
    let database = Database::create(&Stack::from_env()).await;
    let other_types = "
        drop table source.customers, source.transactions, source.subscriptions, source.acquisition_costs;
        create table source.customers
            (customer_id integer, external_id varchar, segment varchar(9), acquired_at timestamp);
        create table source.transactions
            (customer_id integer, occurred_at timestamp, amount_minor numeric(12, 2), currency text);
        create table source.subscriptions
            (customer_id integer, plan varchar(20), period_months smallint, started_at date, ended_at timestamp,
             price_minor integer, currency varchar, end_reason varchar);
        create table source.acquisition_costs (customer_id smallint, cost_minor smallint, currency text);
        insert into source.customers
        select id, 'c-' || id, 'venues', '2020-01-01' from generate_series(1, 3) id;
        insert into source.transactions values
            (2, '2026-01-01', 500, 'EUR'), (2, '2026-06-30 23:59:59.999999', 700.00, 'EUR'),
            (2, '2026-07-01', 900, 'EUR');
        insert into source.subscriptions values
            (1, 'pro', 1, '2026-01-15', null, 4900, 'EUR', null),
            (2, 'pro', 1, '2026-01-15', '2026-03-15', 900, 'EUR', 'cancelled'),
            (3, 'pro', 1, '2026-07-01', null, 4900, 'EUR', null);
        insert into source.acquisition_costs values (1, 30000, 'EUR'), (3, 100, 'EUR');";
    database.client().await.batch_execute(other_types).await.unwrap();
    let (store, as_of) = (database.store(), "2026-07-01T00:00:00Z".parse().unwrap());

    for selection in [
        Selection::All,
        Selection::Segment("venues".into()),
        Selection::Customers([1, 2, 3].map(CustomerId).into()),
    ] {
        assert_eq!(store.selected(&selection, as_of).await.unwrap(), [1, 2, 3].map(CustomerId));
    }
    assert_eq!(store.customer_named("c-2").await.unwrap(), Some(CustomerId(2)));
    for is_whole in [true, false] {
        let [first, second, third] = first_three(&store, is_whole).await;
        let first = first.unwrap();
        assert_eq!((first.paid_minor, first.acquisition_cost_minor), (6 * 4_900, Some(30_000)));
        let second = second.unwrap();
        assert_eq!((second.spend_minor, second.paid_minor, second.contracts.len()), (1_200, 2 * 900, 0));
        assert_eq!(third, Err(Rejection::NoPurchase));
    }
    let tenures = store.contract_tenures(as_of, Currency::parse("EUR").unwrap()).await.unwrap();
    assert_eq!((tenures.len(), tenures[0].rows.len(), tenures[0].left_out), (1, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_read_as_all_three_relations_were_at_one_moment() {
    const IS_WAITING: &str = "
        select exists (select from pg_stat_activity
                        where datname = current_database()
                          and wait_event_type = 'Lock'
                          and query like '%source.subscriptions%')";
    const IS_IDLE_INSIDE: &str = "
        select exists (select from pg_stat_activity
                        where datname = current_database()
                          and state like 'idle in transaction%')";
    let database = Database::create(&Stack::from_env()).await;
    let (writer, watcher) = (database.client().await, database.client().await);
    let store = database.store();
    let write = "
        begin;
        lock table source.subscriptions in access exclusive mode;
        insert into source.transactions values (1, 1, '2026-01-01', 500, 'EUR');
        insert into source.subscriptions values (1, 'pro', 1, '2026-01-15', null, 4900, 'EUR', null);
        insert into source.acquisition_costs values (1, 30000, 'EUR');";
    writer.batch_execute(write).await.unwrap();

    // The transactions are read, without what is not committed yet; the subscriptions are waited for.
    let reading = tokio::spawn({
        let store = store.clone();
        async move { first_three(&store, true).await }
    });
    eventually(PATIENCE, "the reader to wait", async || {
        watcher.query_one(IS_WAITING, &[]).await.unwrap().get::<_, bool>(0).then_some(())
    })
    .await;
    writer.batch_execute("commit").await.unwrap();

    let [first, ..] = reading.await.unwrap();
    assert_eq!(first, Err(Rejection::NoPurchase), "nor is what was committed since");
    assert!(!watcher.query_one(IS_IDLE_INSIDE, &[]).await.unwrap().get::<_, bool>(0));
    let [first, ..] = first_three(&store, true).await;
    assert_eq!(first.unwrap().acquisition_cost_minor, Some(30_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_read_from_all_three_relations() {
    let database = Database::create(&Stack::from_env()).await;
    let fill = "
        insert into source.transactions values (1, 2, '2026-01-01', 500, 'EUR'), (2, 2, '2026-02-01', 700, 'EUR');
        insert into source.subscriptions values
            (1, 'pro', 1, '2026-01-15', null, 4900, 'EUR', null),
            (2, 'pro', 1, '2026-01-15', '2026-03-15', 900, 'EUR', 'cancelled'),
            (3, 'pro', 1, '2026-07-01', null, 4900, 'EUR', null);
        insert into source.acquisition_costs values (1, 30000, 'EUR'), (3, 100, 'EUR');";
    database.client().await.batch_execute(fill).await.unwrap();

    for is_whole in [true, false] {
        let [first, second, third] = first_three(&database.store(), is_whole).await;

        let first = first.unwrap();
        assert_eq!((first.purchases, first.paid_minor), (None, 6 * 4_900));
        assert_eq!((first.contracts.len(), first.acquisition_cost_minor), (1, Some(30_000)));
        let second = second.unwrap();
        assert_eq!((second.spend_minor, second.paid_minor, second.contracts.len()), (1_200, 2 * 900, 0));
        assert_eq!(third, Err(Rejection::NoPurchase), "his subscription has not begun");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_subscriptions_the_store_is_broken_and_no_chunk_is_to_blame() {
    let database = Database::create(&Stack::from_env()).await;
    database.client().await.batch_execute("drop table source.subscriptions").await.unwrap();

    let error = database
        .store()
        .read_histories(&Reading {
            customers: &[CustomerId(1)],
            run: None,
            is_whole: true,
            as_of: "2026-07-01T00:00:00Z".parse().unwrap(),
            currency: Currency::parse("EUR").unwrap(),
            contracts: &ContractModels::default(),
        })
        .await
        .unwrap_err();

    assert!(matches!(error, store::Error::Broken { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenures_are_counted_over_all_subscriptions_of_a_currency() {
    let database = Database::create(&Stack::from_env()).await;
    let fill = "
        insert into source.subscriptions values
            (1, 'pro', 1, '2026-01-15', null, 4900, 'EUR', null),
            (2, 'pro', 1, '2026-01-15', '2026-03-15', 900, 'EUR', 'cancelled'),
            (2, 'pro', 12, '2026-03-15', null, 900, 'EUR', null),
            (4, 'pro', 1, '2026-01-15', null, 900, 'USD', null),
            (5, 'pro', 1, '2026-07-01', null, 900, 'EUR', null);";
    database.client().await.batch_execute(fill).await.unwrap();

    let as_of = "2026-07-01T00:00:00Z".parse().unwrap();
    let tenures = database.store().contract_tenures(as_of, Currency::parse("EUR").unwrap()).await.unwrap();

    let found: Vec<_> =
        tenures.iter().map(|plan| (&plan.plan[..], plan.period_months, plan.rows.len())).collect();
    assert_eq!(found, [("pro", 1, 2), ("pro", 12, 1)]);
    assert_eq!(tenures[0].ends["cancelled"], 1);
}
