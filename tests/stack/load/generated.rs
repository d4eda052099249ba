//! Generated bases: through files and straight, and how they lie in their tables.

use super::*;

fn generated_base() -> GenerateSpec {
    GenerateSpec {
        customers: 2_000,
        transactions_per_customer: Some(6.0),
        first_customer_id: 1_000_001,
        first_transaction_id: 5_000_001,
        seed: 42,
        as_of: "2026-06-01T00:00:00Z".parse().unwrap(),
        weeks: 104,
        subscriptions: true,
    }
}

#[tokio::test]
async fn a_generated_base_is_the_same_through_files_and_straight() {
    let (straight_database, straight) = database().await;
    let (plain_database, plain) = database().await;
    let (packed_database, packed) = database().await;
    let folder = Folder::new("generated");
    let spec = generated_base();

    let report = generate_into(&straight_database.store(), &spec, |_| {}).await.unwrap();
    for (database, packing) in [(&plain_database, Packing::Plain), (&packed_database, Packing::Gzip)] {
        let files = generate(&spec).unwrap().write_csv(&folder.0, packing).unwrap();
        let input = LoadInput {
            subscriptions: files.subscriptions,
            acquisition_costs: files.acquisition_costs,
            ..folder.input(&files.customers, &files.transactions)
        };
        let report = load_quietly(database, &input).await.unwrap();
        assert_eq!(report.rejected_rows(), 0, "{report}");
    }

    assert_eq!(report.customers, 2_000);
    assert_eq!(totals(&straight).await.1, report.transactions as i64);
    assert_eq!(fingerprint(&straight).await, fingerprint(&plain).await);
    assert_eq!(fingerprint(&straight).await, fingerprint(&packed).await);
    let sql = "
        select bool_and(occurred_at >= before)
        from (
            select occurred_at, lag(occurred_at, 1, '-infinity') over (order by ctid) as before
            from source.transactions
        ) rows";
    assert!(
        straight.query_one(sql, &[]).await.unwrap().get::<_, bool>(0),
        "the rows lie in the order of time"
    );
}

#[tokio::test]
async fn a_filled_table_is_read_by_its_index_alone() {
    let (database, client) = database().await;

    generate_into(&database.store(), &generated_base(), |_| {}).await.unwrap();

    for table in ["transactions", "subscriptions"] {
        let sql =
            format!("select relpages = relallvisible from pg_class where oid = 'source.{table}'::regclass");
        assert!(client.query_one(&sql, &[]).await.unwrap().get::<_, bool>(0), "every page is all-visible");
        let sql = format!("select to_regclass('source.{table}_history') is not null");
        assert!(client.query_one(&sql, &[]).await.unwrap().get::<_, bool>(0), "the index is there");
    }
}
