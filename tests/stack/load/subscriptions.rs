//! Subscriptions and acquisition costs: loaded, rejected, ended, and nobody charged twice.

use super::*;

/// Two customers, and files of what else is known of them.
fn subscribed(folder: &Folder) -> LoadInput {
    LoadInput {
        customers: Some(folder.write(
            "customers.csv",
            "customer_id,external_id,segment,acquired_at\n\
             1,one,venue,2020-01-01\n\
             2,two,venue,2020-01-01\n",
        )),
        subscriptions: Some(folder.write(
            "subscriptions.csv",
            "customer_id,plan,period_months,started_at,ended_at,price,currency,end_reason\n\
             1,basic,1,2020-01-31,2020-06-30T10:00:00Z,29.00,USD,plan_changed\n\
             1,pro,12,2020-06-30T10:00:00Z,,790,USD,\n\
             2,pro,1,2020-02-01,2999-01-01,0.00,USD,cancelled\n\
             99,pro,1,2020-02-01,,79.00,USD,\n\
             2,pro,1,2020-02-01,,79.00,USD,\n\
             2,pro,1,2020-02-03,2020-02-02,79.00,USD,\n\
             2,pro,0,2020-02-03,,79.00,USD,\n\
             2,pro,1,2020-02-03,,-79.00,USD,\n",
        )),
        acquisition_costs: Some(folder.write(
            "acquisition_costs.csv",
            "customer_id,cost_minor,currency\n\
             1,12000,USD\n\
             2,-1,USD\n\
             1,100,USD\n\
             99,100,USD\n",
        )),
        ..folder.nothing()
    }
}

#[tokio::test]
async fn subscriptions_and_acquisition_costs_are_loaded_with_their_own_rejects() {
    let (database, client) = database().await;
    let folder = Folder::new("subscribed");

    let report = load_quietly(&database, &subscribed(&folder)).await.unwrap();

    assert_eq!(report.subscriptions.unwrap().loaded, 3);
    assert_eq!(report.acquisition_costs.unwrap().loaded, 1);
    let rejects: Vec<_> =
        folder.rejects().into_iter().map(|(file, line, reason, _)| (file, line, reason)).collect();
    let expected = [
        ("subscriptions.csv", 5, "unknown_customer"),
        ("subscriptions.csv", 6, "duplicate_subscription"),
        ("subscriptions.csv", 7, "end_before_start"),
        ("subscriptions.csv", 8, "bad_period"),
        ("subscriptions.csv", 9, "bad_amount"),
        ("acquisition_costs.csv", 3, "bad_amount"),
        ("acquisition_costs.csv", 4, "duplicate_acquisition_cost"),
        ("acquisition_costs.csv", 5, "unknown_customer"),
    ];
    assert_eq!(rejects, expected.map(|(file, line, reason)| (file.to_owned(), line, reason.to_owned())));
    let sql = "
        select string_agg(concat_ws(' ', customer_id, plan, period_months, ended_at, price_minor, end_reason), '; '
                          order by started_at)
        from source.subscriptions";
    let found: String = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(
        found,
        "1 basic 1 2020-06-30 10:00:00+00 2900 plan_changed; 2 pro 1 2999-01-01 00:00:00+00 0 cancelled; \
         1 pro 12 79000"
    );
}

#[tokio::test]
async fn loading_the_same_subscriptions_twice_charges_nobody_twice() {
    let (database, client) = database().await;
    let folder = Folder::new("subscribed-twice");
    load_quietly(&database, &subscribed(&folder)).await.unwrap();
    let before = fingerprint(&client).await;

    let report = load_quietly(&database, &subscribed(&folder)).await.unwrap();

    assert_eq!(report.subscriptions.unwrap().rejected["duplicate_subscription"], 4);
    assert_eq!(report.acquisition_costs.unwrap().rejected["duplicate_acquisition_cost"], 2);
    assert_eq!(fingerprint(&client).await, before);
}

#[tokio::test]
async fn a_subscription_that_is_there_without_an_end_gets_the_one_of_the_file_and_nothing_else() {
    const HEADER: &str = "customer_id,plan,period_months,started_at,ended_at,price,currency,end_reason\n";
    let (database, client) = database().await;
    let folder = Folder::new("subscribed-and-ended");
    let first = "\
        1,pro,1,2020-01-31,,29.00,USD,\n\
        1,pro,12,2020-01-31,,290,USD,\n\
        2,pro,1,2020-02-01,,29.00,USD,\n\
        2,pro,1,2020-02-02,2020-06-01,29.00,USD,cancelled\n\
        2,pro,1,2020-02-03,,29.00,USD,\n";
    let subscriptions = Some(folder.write("first.csv", [HEADER, first].concat()));
    load_quietly(&database, &LoadInput { subscriptions, ..subscribed(&folder) }).await.unwrap();

    let second = "\
        1,pro,1,2020-01-31,2020-06-30,29.00,USD,cancelled\n\
        1,pro,12,2020-01-31,2021-01-31,300,USD,cancelled\n\
        2,pro,1,2020-02-01,,29.00,USD,\n\
        2,pro,1,2020-02-02,2020-07-01,29.00,USD,cancelled\n\
        2,pro,1,2020-02-03,2020-07-01,29.00,USD,\n\
        2,pro,1,2020-02-03,2020-08-01,29.00,USD,\n\
        2,pro,1,2020-02-04,2020-08-01,29.00,USD,moved\n";
    let subscriptions = Some(folder.write("second.csv", [HEADER, second].concat()));
    let input = LoadInput { subscriptions, ..folder.nothing() };
    let report = load_quietly(&database, &input).await.unwrap().subscriptions.unwrap();

    assert_eq!((report.loaded, report.rejected), (3, counts(&[("duplicate_subscription", 4)])));
    let mut reader = csv::Reader::from_path(folder.path("rejects.csv")).unwrap();
    let details: Vec<_> = reader.records().map(|record| record.unwrap()[3].to_owned()).collect();
    let expected = [
        "with period_months 12, in the database already: price_minor is 29000 there and 30000 here, ended_at is empty",
        "with period_months 1, in the database already: it is the same",
        "ended_at is 2020-06-01 00:00:00+00 there and 2020-07-01 00:00:00+00 here",
        "with period_months 1, in line 6 already",
    ];
    assert_eq!(details.len(), expected.len());
    for (detail, expected) in details.iter().zip(expected) {
        assert!(detail.contains(expected), "{detail}");
    }
    let sql = "
        select string_agg(concat_ws(' ', customer_id, period_months, started_at::date, ended_at::date, end_reason), '; '
                          order by started_at, period_months)
        from source.subscriptions";
    let found: String = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(
        found,
        "1 1 2020-01-31 2020-06-30 cancelled; 1 12 2020-01-31; 2 1 2020-02-01; \
         2 1 2020-02-02 2020-06-01 cancelled; 2 1 2020-02-03 2020-07-01; 2 1 2020-02-04 2020-08-01 moved"
    );
}

#[tokio::test]
async fn a_view_of_subscriptions_keeps_nobody_from_loading_transactions() {
    let (database, client) = database().await;
    let folder = Folder::new("subscription-view");
    let sql = "
        alter table source.subscriptions rename to elsewhere;
        create view source.subscriptions as select * from source.elsewhere";
    client.batch_execute(sql).await.unwrap();
    let (customers, transactions) = cdnow();

    load_quietly(&database, &folder.input(&customers, &transactions)).await.unwrap();
    let text = load_quietly(&database, &subscribed(&folder)).await.unwrap_err();

    assert!(text.contains("write to source.subscriptions: it is not a table but a view"), "{text}");
}
