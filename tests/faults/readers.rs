//! What readers see: whole runs, the newest first, and why a value is what it is.

use std::collections::HashMap;

use batch::{CustomerId, RunId};
use cache::{Cache, CachedValue, Holds};
use model::{
    Account, HistoryFold, Models, Observation, Rejection, Subscribed, Subscription, SubscriptionFold, Value,
    Valuer,
};
use store::{Archive, Supervision, Values};
use tests::{AS_OF, BAD_CUSTOMERS, FIRST_CUSTOMER, Fleet, PATIENCE, eventually};

use crate::{SMALL, fleet};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_becomes_visible_all_at_once() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let _coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&[]);
    let all = 20_000 - BAD_CUSTOMERS.len() as i64;
    let client = fleet.sql().await;
    let cache = fleet.cache().await;

    let (mut before, mut after) = (0, 0);
    while after < 20 {
        let told = cache.visible().await.unwrap();
        let visible = fleet.store().visible_runs().await.unwrap();
        let count = "select count(*) from fleet.values where run_id = $1";
        let seen: i64 = client.query_one(count, &[&run.0]).await.unwrap().get(0);
        if visible.runs[0] == run {
            assert_eq!(seen, all, "a run that is visible is whole");
            after += 1;
        } else {
            // It may have become visible between the two looks.
            assert!(seen == 0 || seen == all, "{seen} of {all} values are visible");
            assert!(told.is_none_or(|told| !told.runs.contains(&run)), "the cache is told afterwards");
            before += 1;
        }
    }

    assert!(before > 20, "{before} looks before it was visible");
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_partial_run_wins_over_an_older_run_and_never_the_reverse() {
    let fleet = fleet().await;
    let night = fleet.dispatch(&SMALL).await;
    let _coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&["--fault", "slow=50"]);
    fleet.reached(night, 10).await;
    let asked: Vec<CustomerId> = [1, 777, 7_777, 19_998].map(|at| CustomerId(FIRST_CUSTOMER + at)).into();

    // Other terms, so that the values differ.
    let terms = ["--priority", "critical", "--take-rate", "0.13"];
    let partial = fleet.dispatch_customers(&asked, &terms).await;
    fleet.finished(partial).await;

    assert!(!fleet.is_finished(night).await, "the urgent run overtakes the night");
    let theirs = fleet.values(partial).await;
    assert_eq!(theirs.len(), asked.len());
    let cache = fleet.cache().await;
    fleet.cache_sees_what_the_store_says().await;
    // From now on, while the older run finishes and after it, nobody ever reads its values for these customers.
    eventually(PATIENCE, "the night is finished, and the cache knows", async || {
        assert_reads(&cache, &theirs, partial).await;
        cache.visible().await.unwrap()?.runs.contains(&night).then_some(())
    })
    .await;
    assert_reads(&cache, &theirs, partial).await;
    assert_eq!(fleet.store().visible_runs().await.unwrap().runs, [partial, night]);
    let other = CustomerId(FIRST_CUSTOMER + 2);
    assert_eq!(cache.value(other).await.unwrap().unwrap().0, night);
    fleet.assert_exact(night).await;

    // A cache that forgot everything says nothing rather than the older value.
    fleet.stack().flush_redis();
    fleet.cache_sees_what_the_store_says().await;
    assert_reads(&cache, &theirs, partial).await;
    assert_eq!(cache.value(other).await, Ok(None), "readers ask the store");

    // A run for a later moment wins; one for an earlier moment does not, though it is planned later.
    let tomorrow = fleet.dispatch(&["--as-of", "1998-07-02", "--chunk-customers", "1000"]).await;
    fleet.finished(tomorrow).await;
    let late = fleet.dispatch_customers(&asked, &["--again"]).await;
    fleet.finished(late).await;
    fleet.cache_sees_what_the_store_says().await;
    assert_eq!(fleet.store().visible_runs().await.unwrap().runs, [tomorrow]);
    assert_eq!(cache.value(asked[0]).await.unwrap().unwrap().0, tomorrow);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_evicts_or_is_flushed_twice_or_written_over_never_shows_an_older_value() {
    let fleet = fleet().await;
    let coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&[]);
    let night = fleet.dispatch(&SMALL).await;
    fleet.finished(night).await;
    let asked: Vec<CustomerId> = (0..100).map(|at| CustomerId(FIRST_CUSTOMER + 150 * at)).collect();
    let partial = fleet.dispatch_customers(&asked, &["--take-rate", "0.13"]).await;
    fleet.finished(partial).await;
    fleet.cache_sees_what_the_store_says().await;
    let (cache, values) = (fleet.cache().await, fleet.values(partial).await);
    let names = fleet.cache_config().await.names();
    let (list, members) = (format!("{names}:visible"), format!("{names}:members:{partial}"));
    let theirs = format!("{names}:values:{partial}:*");
    let redis = |command: &[&str]| fleet.stack().redis_cli(command);
    // Reads everybody again and again, until all of them are told of the newer run.
    let heals = async |after: &str| {
        eventually(PATIENCE, after, async || {
            let mut hits = 0;
            for (&customer, value) in &values {
                let read = cache.value(customer).await.unwrap();
                let right = Some((partial, CachedValue::from(value)));
                assert!(read.is_none() || read == right, "{after}: customer {customer} reads {read:?}");
                hits += usize::from(read.is_some());
            }
            (hits == values.len()).then_some(())
        })
        .await;
    };
    heals("at first").await;
    let other = CustomerId(FIRST_CUSTOMER + 1);
    assert_eq!(cache.value(other).await.unwrap().unwrap().0, night, "the older run shows where it may");

    let keys = redis(&["--raw", "keys", &theirs]);
    let evict: Vec<&str> = ["del"].into_iter().chain(keys.lines()).collect();
    assert_eq!(redis(&evict), values.len().to_string(), "each has a bucket of his own");
    heals("all values are evicted").await;

    redis(&[&evict[..2], &[&members]].concat());
    heals("the directory is evicted, and values").await;
    eventually(PATIENCE, "it is written again", async || {
        (cache.holds_all(partial).await.unwrap() == Holds::All).then_some(())
    })
    .await;
    assert_eq!(cache.value(other).await.unwrap().unwrap().0, night);

    // Nobody reads it meanwhile.
    let (bucket, slot) = typed(&asked);
    let bucket = format!("{names}:values:{partial}:{bucket}");
    assert_eq!(redis(&["hset", &bucket, &slot.to_string(), "gibberish"]), "0");
    coordinator.says("stood under its names in redis, and was replaced", PATIENCE).await;
    assert_eq!(cache.holds_all(partial).await, Ok(Holds::All));

    for garbage in ["gibberish", ""] {
        redis(&["set", &list, garbage]);
        heals("the list is written over").await;
    }

    fleet.stack().flush_redis();
    eventually(PATIENCE, "it is written anew", async || {
        (!redis(&["--raw", "keys", &theirs]).is_empty()).then_some(())
    })
    .await;
    fleet.stack().flush_redis();
    heals("it is flushed twice").await;
}

/// The bucket and the field of one of them whose field can be typed.
fn typed(customers: &[CustomerId]) -> (i64, char) {
    let mut places = customers.iter().map(|customer| {
        let slot = customer.0.rem_euclid(100) as u8;
        (customer.0.div_euclid(100), slot)
    });
    let (bucket, slot) = places.find(|(_, slot)| slot.is_ascii_graphic()).expect("a field that can be typed");
    (bucket, char::from(slot))
}

#[tokio::test(flavor = "multi_thread")]
async fn any_value_is_explained_and_computing_it_again_gives_the_same_bits() {
    let fleet = fleet().await;
    let values = fleet.reference().await;
    let written = |number: f64| serde_json::to_string(&number).unwrap();

    for customer in [0, 1, 500, 9_998, 19_999].map(|at| CustomerId(FIRST_CUSTOMER + at)) {
        let shown = fleet.ltv(&["runs", "show", "1", "--customer", &customer.to_string(), "--json"]);

        let (explained, value) = (shown.json(), values[&customer]);
        assert_eq!(explained["recomputed_to_the_same_bits"], true);
        assert_eq!(explained["customer"], customer.0);
        assert_eq!(explained["value_minor"], value.value_minor());
        assert_eq!(explained["contracts_minor"]["months_36"], value.contracts.months_36);
        // As text, since a parser may round where the bits do not.
        for number in value.p_alive.into_iter().chain([value.expected_purchases]) {
            assert!(shown.out.contains(&written(number)), "{number}: {}", shown.out);
        }
        for field in ["run", "as_of", "currency", "terms", "inputs", "model", "confidence"] {
            assert!(!explained[field].is_null(), "{field}: {explained}");
        }
        for field in
            ["frequency", "recency_days", "age_days", "repeat_spend_minor", "spend_minor", "paid_minor"]
        {
            assert!(explained["inputs"][field].is_i64(), "{field}: {explained}");
        }
        assert!(explained["inputs"]["contracts"].is_array(), "{explained}");
        assert!(explained["model"]["parameters"]["bg_nbd"].is_object(), "{explained}");
    }

    let (customer, _) = BAD_CUSTOMERS[0];
    let rejected = fleet.answer(&["runs", "show", "1", "--customer", &customer.to_string(), "--json"]);
    assert_eq!(rejected.code, Some(1));
    assert!(rejected.err.contains("another currency"), "{}", rejected.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_run_is_what_the_model_says_about_each_history() {
    let fleet = fleet().await;
    let run = fleet.store().run(RunId(1)).await.unwrap().unwrap();
    let model = fleet.store().model_version(run.model_version).await.unwrap().unwrap();
    let as_of: jiff::civil::Date = AS_OF.parse().unwrap();
    let as_of = as_of.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    let observation = Observation::new(as_of.as_microsecond(), model.currency);
    let valuer = Valuer::new(model.models.clone(), run.terms, observation.last_day());

    let mut subscribed = subscriptions(&fleet, &model.models, &observation).await;
    let costs = acquisition_costs(&fleet).await;
    let expected = fold(&fleet, as_of).await.into_iter().map(|(customer, mut history)| {
        let subscribed = subscribed.remove(&customer).unwrap_or_else(|| Ok(Subscribed::default()));
        let account = account(&mut history, &observation, subscribed)
            .map(|account| Account { acquisition_cost_minor: costs.get(&customer).copied(), ..account });
        (customer, account.and_then(|account| valuer.value(&account)))
    });

    let stored = fleet.reference().await;
    let (mut values, mut with_contract, mut rejections) = (0, 0, HashMap::new());
    for (customer, value) in expected {
        match value {
            Ok(value) => {
                assert_eq!(stored[&customer], value, "customer {customer}");
                values += 1;
                with_contract += usize::from(value.contracts.months_12 > 0);
            }
            Err(reason) => drop(rejections.insert(customer.0, Rejection::code(reason))),
        }
    }
    assert_eq!(values, stored.len());
    assert!(with_contract > values / 10, "{with_contract} of {values} have a contract");
    assert_eq!(rejections, HashMap::from(BAD_CUSTOMERS));
}

fn account(
    history: &mut HistoryFold,
    observation: &Observation,
    subscribed: Result<Subscribed, Rejection>,
) -> Result<Account, Rejection> {
    let (purchases, spend_minor) = match history.finish_with_spend(observation) {
        Ok((summary, spend_minor)) => (Some(summary), spend_minor),
        Err(Rejection::NoPurchase) => (None, 0),
        Err(other) => return Err(other),
    };
    let Subscribed { paid_minor, contracts } = subscribed?;
    Ok(Account { purchases, spend_minor, paid_minor, contracts, acquisition_cost_minor: None })
}

/// What every customer's subscriptions come to, read row by row.
async fn subscriptions(
    fleet: &Fleet,
    models: &Models,
    observation: &Observation,
) -> HashMap<CustomerId, Result<Subscribed, Rejection>> {
    let rows = "
        select customer_id, plan, period_months::bigint, price_minor, currency::text,
               (extract(epoch from started_at) * 1000000)::bigint,
               (extract(epoch from ended_at) * 1000000)::bigint
          from source.subscriptions
         where started_at < to_timestamp($1::float8)
         order by customer_id, started_at";
    let until = observation.as_of_us() as f64 / 1e6;
    let mut folds: HashMap<CustomerId, SubscriptionFold> = HashMap::new();
    for row in fleet.sql().await.query(rows, &[&until]).await.unwrap() {
        let line = Subscription {
            plan: row.get(1),
            period_months: row.get(2),
            price_minor: row.get(3),
            currency: row.get::<_, String>(4).as_bytes().try_into().unwrap(),
            started_at_us: row.get(5),
            ended_at_us: row.get(6),
        };
        folds.entry(CustomerId(row.get(0))).or_default().push(&line, &models.contracts, observation);
    }
    folds.into_iter().map(|(customer, mut fold)| (customer, fold.finish())).collect()
}

async fn acquisition_costs(fleet: &Fleet) -> HashMap<CustomerId, i64> {
    let rows = "select customer_id, cost_minor from source.acquisition_costs";
    let rows = fleet.sql().await.query(rows, &[]).await.unwrap();
    rows.iter().map(|row| (CustomerId(row.get(0)), row.get(1))).collect()
}

/// Every customer's history, read row by row.
async fn fold(fleet: &Fleet, as_of: jiff::Timestamp) -> HashMap<CustomerId, HistoryFold> {
    let client = fleet.sql().await;
    let customers = client.query("select customer_id from source.customers", &[]).await.unwrap();
    let mut histories: HashMap<_, _> =
        customers.iter().map(|row| (CustomerId(row.get(0)), HistoryFold::new())).collect();
    let rows = "
        select customer_id, (extract(epoch from occurred_at) * 1000000)::bigint, amount_minor, currency::text
          from source.transactions
         where occurred_at < $1::text::timestamptz
         order by customer_id, occurred_at";
    for row in client.query(rows, &[&as_of.to_string()]).await.unwrap() {
        let currency: [u8; 3] = row.get::<_, String>(3).as_bytes().try_into().unwrap();
        let history = histories.get_mut(&CustomerId(row.get(0))).unwrap();
        history.push(row.get(1), row.get(2), currency);
    }
    histories
}

async fn assert_reads(cache: &impl Cache, values: &HashMap<CustomerId, Value>, from: RunId) {
    for (&customer, &value) in values {
        let cached = CachedValue::from(&value);
        assert_eq!(cache.value(customer).await, Ok(Some((from, cached))), "customer {customer}");
    }
}
