//! What has to hold after every night, whatever was done to it.

use std::collections::HashMap;

use batch::{CustomerId, RunId};
use cache::{Cache, CachedValue, VisibleRuns};
use model::Value;
use queue::{Chunks as _, Connection as _, DeadLetters as _};
use store::{Archive, Supervision};
use tokio::task::JoinSet;

use crate::{Fleet, PATIENCE, eventually};

/// The run that nobody disturbed.
const REFERENCE: RunId = RunId(1);

/// A rule about run `$1`, as the number of its violations. Each looks at the rows themselves, and none at a sum that
/// the product keeps, unless to compare the two.
const RULES: [(&str, &str); 9] = [
    (
        "values and rejections are the planned customers, each once",
        "with settled as (
             select customer_id from fleet.values_{run}
             union all
             select customer_id from fleet.rejections where run_id = $1)
         select abs(count(*) - r.customers) + (count(*) - count(distinct customer_id))
           from settled, (select customers from fleet.runs where run_id = $1) r
          group by r.customers",
    ),
    (
        "the chunks are the planned customers",
        "select abs(sum(c.customers) - r.customers)::bigint
           from fleet.chunks c join fleet.runs r using (run_id)
          where run_id = $1
          group by r.customers",
    ),
    (
        "every chunk is done or dead",
        "select count(*) from fleet.chunks where run_id = $1 and state not in ('done', 'dead')",
    ),
    (
        "a chunk counts the values that are there",
        "select count(*)
           from fleet.chunks c
          where run_id = $1
            and exists (select from fleet.runs where run_id = $1 and is_whole)
            and value_count <> (select count(*) from fleet.values_{run} v
                                 where v.customer_id between c.first_customer and c.last_customer)",
    ),
    (
        "a chunk counts the rejections that are there",
        "select count(*)
           from fleet.chunks c
          where run_id = $1
            and rejection_count <> (select count(*) from fleet.rejections r
                                     where r.run_id = c.run_id and r.chunk_id = c.chunk_id)",
    ),
    (
        "every attempt has an outcome",
        "select count(*) from fleet.attempts where run_id = $1 and outcome is null",
    ),
    (
        "attempts are numbered from 1 without a gap, and the chunk has the last number",
        "select count(*)
           from fleet.chunks c
           left join (select run_id, chunk_id, count(*) as attempts, max(attempt) as last
                        from fleet.attempts group by 1, 2) a using (run_id, chunk_id)
          where run_id = $1
            and (c.attempt <> coalesce(attempts, 0) or c.attempt <> coalesce(last, 0))",
    ),
    (
        "a done chunk has one attempt that did it, the last one",
        "select count(*)
           from fleet.chunks c
          where run_id = $1
            and state = 'done'
            and array[c.attempt] is distinct from
                (select array_agg(a.attempt) from fleet.attempts a
                  where a.run_id = c.run_id and a.chunk_id = c.chunk_id and a.outcome = 'done')",
    ),
    (
        "the run is finished and visible",
        "select count(*) from fleet.runs
          where run_id = $1 and (state <> 'finished' or visible_version is null or finished_at is null)",
    ),
];

/// Values and rejections that are in one of two runs only, to the bit, for the customers in `$3`, or all but those
/// in `$4` if there is no `$3`. Rows are compared as JSON, which writes each number so that it reads back to its bits.
const DIFFERENCES: &str = "
    with chosen as (
        select customer_id from source.customers
         where case when $3::bigint[] is null then customer_id <> all($4) else customer_id = any($3) end
    ), expected as (
        select customer_id, to_jsonb(v) - 'run_id' as value, null as rejection
          from fleet.values v join chosen using (customer_id)
         where run_id = $1
         union all
        select customer_id, null, reason
          from fleet.rejections join chosen using (customer_id)
         where run_id = $1
    ), found as (
        select customer_id, to_jsonb(v) - 'run_id' as value, null as rejection
          from fleet.values_{run} v
         where customer_id <> all($4)
         union all
        select customer_id, null, reason
          from fleet.rejections
         where run_id = $2
           and customer_id <> all($4)
    )
    select (select count(*) from expected),
           (select count(*) from (table expected except all table found) missing),
           (select count(*) from (table found except all table expected) surplus)";

impl Fleet {
    /// Asserts that a run over the whole base has every value of the reference run, and nothing else.
    pub async fn assert_exact(&self, run: RunId) {
        self.assert_settled(run).await;
        assert_eq!(self.violations(run, None).await, [""; 0], "run {run}");
    }

    /// The same for a run over some customers.
    pub async fn assert_exact_for(&self, run: RunId, customers: &[CustomerId]) {
        self.assert_settled(run).await;
        assert_eq!(self.violations(run, Some(customers)).await, [""; 0], "run {run}");
    }

    /// What is wrong with a run, rule by rule; nothing if all is well. `customers` are those it was planned for,
    /// unless that was the whole base. Customers of dead chunks must be rejections for that reason.
    pub async fn violations(&self, run: RunId, customers: Option<&[CustomerId]>) -> Vec<String> {
        let client = self.sql().await;
        let mut violations = Vec::new();
        for (rule, query) in RULES {
            let query = query.replace("{run}", &run.to_string());
            let count: i64 = match client.query_opt(&query, &[&run.0]).await {
                Ok(row) => row.map_or(0, |row| row.get(0)),
                Err(error) => panic!("{rule}: {error:?}"),
            };
            if count != 0 {
                violations.push(format!("{rule}: {count} violations"));
            }
        }
        violations.extend(self.differences(run, customers).await);
        violations.extend(self.miscounted(run).await);
        violations
    }

    async fn differences(&self, run: RunId, customers: Option<&[CustomerId]>) -> Vec<String> {
        let client = self.sql().await;
        let dead = numbers(&self.store().dead_customers(run).await.expect("the store answers"));
        let chosen = customers.map(numbers);
        let query = DIFFERENCES.replace("{run}", &run.to_string());
        let row = client.query_one(&query, &[&REFERENCE.0, &run.0, &chosen, &dead]).await;
        let row = row.unwrap_or_else(|error| panic!("the runs can be compared: {error:?}"));
        let (expected, missing, surplus): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        assert!(expected > 0, "the reference holds something to compare with");
        let mut violations = Vec::new();
        if (missing, surplus) != (0, 0) {
            violations
                .push(format!("of {expected} reference rows {missing} are missing, {surplus} are surplus"));
        }
        let count = "select count(*) from fleet.rejections
                      where run_id = $1 and (reason = 'dead_chunk') <> (customer_id = any($2))";
        let wrong: i64 =
            client.query_one(count, &[&run.0, &dead]).await.expect("rejections are there").get(0);
        if wrong != 0 {
            violations.push(format!(
                "{wrong} rejections say dead_chunk without a dead chunk, or the other way round"
            ));
        }
        violations
    }

    /// Whether the progress that the product shows is the sum of the rows.
    async fn miscounted(&self, run: RunId) -> Option<String> {
        let shown =
            self.store().run(run).await.expect("the store answers").expect("the run is there").progress;
        let values: i64 =
            self.ask(&format!("select count(*) from fleet.values_{run} where run_id = $1"), run).await;
        let rejections: i64 = self.ask("select count(*) from fleet.rejections where run_id = $1", run).await;
        let is_right = (shown.values, shown.rejections) == (values as u64, rejections as u64)
            && shown.values + shown.rejections == shown.customers
            && shown.done + shown.dead == shown.chunks;
        (!is_right)
            .then(|| format!("{values} values and {rejections} rejections are there, but shown is {shown:?}"))
    }

    /// Waits for what follows a run's end: messages that had nothing left to do are gone, late workers have said so,
    /// and readers of the cache see what readers of the store see.
    async fn assert_settled(&self, run: RunId) {
        let queue = self.queue().await;
        eventually(PATIENCE, "no message waits", async || {
            let waiting = queue.waiting().await;
            batch::Priority::ALL.iter().all(|&priority| waiting[priority] == Some(0)).then_some(())
        })
        .await;
        // A broker that was killed takes its time over the first look into a queue.
        let dead = eventually(PATIENCE, "the dead letters", async || queue.dead_letters(10).await.ok()).await;
        assert!(dead.is_empty(), "no message makes no sense: {dead:?}");
        queue.close().await;
        eventually(PATIENCE, "every attempt has an outcome", async || {
            let open: i64 = self
                .ask("select count(*) from fleet.attempts where run_id = $1 and outcome is null", run)
                .await;
            (open == 0).then_some(())
        })
        .await;
        self.cache_sees_what_the_store_says().await;
    }

    /// Waits until the cache names the runs that the store says readers see.
    pub async fn cache_sees_what_the_store_says(&self) -> VisibleRuns {
        let cache = self.cache().await;
        eventually(PATIENCE, "the cache names the visible runs", async || {
            let known = cache.visible().await.ok()??;
            let visible = self.store().visible_runs().await.ok()?;
            ((known.version, &known.runs) == (visible.version, &visible.runs)).then_some(known)
        })
        .await
    }

    /// Asserts that wherever the cache has a value it is the run's, to the bit; returns how many it has.
    pub async fn assert_cache_agrees(&self, run: RunId) -> usize {
        let stored = self.values(run).await;
        let cache = self.cache().await;
        let mut asking = JoinSet::new();
        let all: Vec<(CustomerId, Value)> = stored.into_iter().collect();
        for part in all.chunks(all.len().div_ceil(8)) {
            let (part, cache) = (part.to_vec(), cache.clone());
            asking.spawn(async move {
                let mut cached = 0;
                for (customer, value) in part {
                    let Some((from, read)) = cache.value(customer).await.expect("the cache answers") else {
                        continue;
                    };
                    assert_eq!((from, read), (run, CachedValue::from(&value)), "customer {customer}");
                    cached += 1;
                }
                cached
            });
        }
        asking.join_all().await.into_iter().sum()
    }

    /// The values of a finished run.
    pub async fn values(&self, run: RunId) -> HashMap<CustomerId, Value> {
        const ALL: u32 = 1_000_000;
        let values = self.store().values_after(run, None, ALL).await.expect("values can be read");
        values.into_iter().map(|valued| (valued.customer, valued.value)).collect()
    }

    /// The values of the reference run.
    pub async fn reference(&self) -> HashMap<CustomerId, Value> {
        self.values(REFERENCE).await
    }
}

fn numbers(customers: &[CustomerId]) -> Vec<i64> {
    customers.iter().map(|customer| customer.0).collect()
}
