//! All values of a run, as streams that are not read to their end, or have none.

use std::time::Duration;

use batch::{CustomerId, RunId};
use futures_util::{StreamExt, TryStreamExt};
use store::promises::{Ground, chunk, done, published};
use store::{Exports, Supervision};
use tests::{PATIENCE, eventually};
use tokio_postgres::Client;

use crate::store::Moved;

/// A finished run over the customers of the promises.
async fn finished(ground: &Moved) -> RunId {
    let run = published(ground).await;
    for number in 1..=3 {
        done(ground, chunk(run, number)).await;
    }
    let lease = Duration::from_hours(1);
    let term = ground.store().lead("a test", lease).await.expect("the database answers");
    let term = term.expect("nobody else leads");
    ground.store().finish_run(term, run).await.expect("the database answers").expect("it is settled");
    run
}

/// More than fits the sockets and buffers between the two.
const MANY: i64 = 300_000;

/// Gives a run so many more values, all like that of one customer.
async fn multiply(client: &Client, run: RunId) {
    let like = format!(
        "create temporary table one as select * from fleet.values_{run} limit 1;
         insert into fleet.values_{run}
         select (jsonb_populate_record(one, jsonb_build_object('customer_id', 1000 + number))).*
           from one, generate_series(1, {MANY}) as number;
         update fleet.chunks set value_count = value_count + {MANY} where run_id = {run} and chunk_id = 1"
    );
    client.batch_execute(&like).await.expect("the database answers");
}

async fn statements(client: &Client, wait: &str) -> i64 {
    let count = "
        select count(*) from pg_stat_activity
         where query like 'copy (select%' and datname = current_database() and coalesce(wait_event, '') like $1";
    client.query_one(count, &[&wait]).await.expect("the database answers").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_takes_his_time_stops_the_server_and_one_who_leaves_ends_its_statement() {
    let ground = Moved::fresh().await;
    let run = finished(&ground).await;
    let client = ground.database.client().await;
    multiply(&client, run).await;
    let store = ground.store();
    let mut values = store.export_values(run).await.unwrap().expect("it is finished");
    let mut csv = store.export_csv(run).await.unwrap().expect("it is finished");
    assert_eq!(csv.customers, 8 + MANY as u64);

    let first = values.pieces.next().await.expect("there are some").expect("nothing is in the way");
    csv.pieces.next().await.expect("there are some").expect("nothing is in the way");

    assert!(first.iter().all(|valued| valued.customer > CustomerId(0)));
    let stopped = async || (statements(&client, "ClientWrite").await == 2).then_some(());
    eventually(PATIENCE, "both statements wait for their readers", stopped).await;
    drop((values, csv));
    let gone = async || (statements(&client, "%").await == 0).then_some(());
    eventually(PATIENCE, "both statements have ended", gone).await;
}

/// A stream that broke off is not taken for all.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_not_whole_ends_with_an_error() {
    let ground = Moved::fresh().await;
    let run = finished(&ground).await;
    let client = ground.database.client().await;
    let one_more = "update fleet.chunks set value_count = value_count + 1 where run_id = $1 and chunk_id = 1";
    client.execute(one_more, &[&run.0]).await.expect("the database answers");

    let values = ground.store().export_values(run).await.unwrap().expect("it is finished");
    let csv = ground.store().export_csv(run).await.unwrap().expect("it is finished");

    let values = values.pieces.try_collect::<Vec<_>>().await.expect_err("one is missing");
    let csv = csv.pieces.try_collect::<Vec<_>>().await.expect_err("one is missing");
    for error in [values, csv] {
        assert!(error.to_string().contains("another number of values"), "{error}");
    }
}
