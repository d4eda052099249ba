//! Figures of segments: what the rows say, as customers were when the run became visible, and after the night.

use std::collections::BTreeMap;

use batch::{CustomerId, RunId};
use store::{
    Figure, Figured, Figures, FiguresStanding, Figuring, Percentiles, RunFigures, Summaries, Supervision,
};
use tests::{FIRST_CUSTOMER, Fleet, PATIENCE, eventually};
use tokio_postgres::Client;

use crate::store::{older, program};

/// Who is in which segment, kept aside from what happens to the source later.
const KEEP: &str = "create schema aside; create table aside.customers as table source.customers";

/// Names that a business may well have, and some that it would not; and nobody's.
const ODD: [(&str, i64); 4] =
    [("''", 0), ("E'a/b?\\n\\x1b[31m\"漢字\" %00'", 1), ("repeat('x', 5000)", 2), ("null", 3)];

async fn does(client: &Client, statement: &str) {
    client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
}

async fn standing(fleet: &Fleet, run: RunId) -> RunFigures {
    fleet.store().figures(run).await.expect("the store answers").expect("the run is finished")
}

/// What the rows come to by an expression over who is in which segment; nothing of it is asked of the product.
async fn truth(client: &Client, run: RunId, segment: &str) -> BTreeMap<Option<String>, Figures> {
    let settled = format!(
        "with settled as (
             select customer_id, value_minor, contract_12_minor, historic_minor, p_alive, null as reason
               from fleet.values_{run}
              union all
             select customer_id, null, null, null, null, reason from fleet.rejections where run_id = {run}
         ), named as (
             select s.*, {segment} as segment
               from settled s
               left join aside.customers c using (customer_id)
         )"
    );
    let sums = format!(
        "{settled}, ranked as (
             select *,
                    row_number() over (partition by segment order by value_minor) as place,
                    count(value_minor) over (partition by segment) as valued
               from named
         )
         select segment, count(value_minor) as customers, coalesce(sum(value_minor), 0)::bigint as value,
                coalesce(sum(contract_12_minor), 0)::bigint as contracts,
                coalesce(sum(historic_minor), 0)::bigint as historic,
                max(value_minor) filter (where place = (10 * valued + 99) / 100) as p10,
                max(value_minor) filter (where place = (50 * valued + 99) / 100) as p50,
                max(value_minor) filter (where place = (90 * valued + 99) / 100) as p90,
                avg(p_alive) as alive
           from ranked
          group by segment"
    );
    let reasons = format!(
        "{settled} select segment, reason, count(*) from named where reason is not null group by segment, reason"
    );
    let mut all = BTreeMap::new();
    for row in client.query(&sums, &[]).await.expect("the rows can be summed up") {
        let at = |column| row.get::<_, Option<i64>>(column);
        let figures = Figures {
            customers: row.get::<_, i64>("customers") as u64,
            value_minor: row.get("value"),
            contract_minor: row.get("contracts"),
            historic_minor: row.get("historic"),
            percentiles: at("p10").map(|p10_minor| Percentiles {
                p10_minor,
                p50_minor: at("p50").expect("with the first"),
                p90_minor: at("p90").expect("with the first"),
            }),
            share_alive: row.get("alive"),
            rejections: BTreeMap::new(),
        };
        all.insert(row.get("segment"), figures);
    }
    for row in client.query(&reasons, &[]).await.expect("the rejections can be counted") {
        let figures: &mut Figures = all.get_mut(&row.get("segment")).expect("it is there");
        figures.rejections.insert(row.get(1), row.get::<_, i64>(2) as u64);
    }
    all
}

fn assert_same(found: &Figures, expected: &Figures, of: &str) {
    let alive = [found, expected].map(|figures| figures.share_alive);
    match alive {
        [Some(found), Some(expected)] => assert!((found - expected).abs() < 1e-8, "{of}: {alive:?}"),
        _ => assert_eq!(alive[0], alive[1], "{of}"),
    }
    let but_that = |figures: &Figures| Figures { share_alive: None, ..figures.clone() };
    assert_eq!(but_that(found), but_that(expected), "{of}");
}

/// A run's figures are what its rows come to, by those who were kept aside.
async fn assert_true(fleet: &Fleet, run: RunId) {
    let (client, figures) = (fleet.sql().await, fleet.figured(run).await);
    let expected = truth(&client, run, "c.segment").await;
    let names: Vec<_> = figures.segments.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(figures.segments.len(), expected.len(), "{names:?}");
    assert!(figures.segments.is_sorted_by_key(|(_, figures)| -figures.value_minor), "{names:?}");
    for (name, found) in &figures.segments {
        assert_same(found, &expected[name], &format!("{name:?}"));
    }
    assert_same(&figures.all, &truth(&client, run, "'all'").await[&Some("all".into())], "all");
}

/// Who is in which segment by the pins of a run.
async fn pinned(fleet: &Fleet, run: RunId) -> BTreeMap<CustomerId, Option<String>> {
    let pinned = fleet.store().pinned_segments(run).await.expect("the store answers").expect("it is pinned");
    let segment = |customer: &CustomerId| {
        pinned.names[pinned.of(*customer).expect("he is in the run") as usize].clone()
    };
    pinned.customers.iter().map(|customer| (*customer, segment(customer))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_of_a_night_are_what_its_rows_come_to_whatever_its_segments_are_called() {
    let fleet = Fleet::new(&program()).await;
    let client = fleet.sql().await;
    does(&client, "alter table source.customers alter column segment drop not null").await;
    for (name, rest) in ODD {
        does(
            &client,
            &format!("update source.customers set segment = {name} where customer_id % 50 = {rest}"),
        )
        .await;
    }
    let run = fleet.dispatch(&["--chunk-customers", "500"]).await;
    does(&client, "delete from source.customers where customer_id % 50 = 4").await;
    does(&client, KEEP).await;
    let (_coordinator, _worker) = (fleet.coordinator(&[]), fleet.worker(&[]));

    fleet.finished(run).await;

    assert_true(&fleet, run).await;
    let figures = standing(&fleet, run).await;
    let FiguresStanding::Computed(computed) = &figures.standing else { panic!("{figures:?}") };
    assert!(computed.is_fresh && figures.newer.is_none() && figures.run.is_whole, "{figures:?}");
    assert!(computed.all.rejections["foreign_currency"] == 3, "{:?}", computed.all.rejections);
    let kept = "select customer_id, segment from fleet.values left join aside.customers using (customer_id)
                 where run_id = $1
                 union all
                select customer_id, segment from fleet.rejections left join aside.customers using (customer_id)
                 where run_id = $1";
    let rows = client.query(kept, &[&run.0]).await.expect("the database answers");
    let kept: BTreeMap<_, _> = rows.iter().map(|row| (CustomerId(row.get(0)), row.get(1))).collect();
    assert_eq!(pinned(&fleet, run).await, kept);

    let document = fleet.ltv(&["segments", "list", "--json"]).json();
    assert_eq!((&document["run"], &document["standing"]), (&run.0.into(), &"computed".into()));
    assert_eq!(document["all"]["value_minor"], computed.all.value_minor);
    assert_eq!(document["segments"].as_array().map(Vec::len), Some(computed.segments.len()));
    let told = fleet.ltv(&["segments", "list"]).out;
    assert!(told.contains("(no segment)") && told.contains("all customers"), "{told}");
    assert!(!told.contains('\u{1b}') && told.contains("a/b?\\n\\u{1b}[31m"), "{told}");
    let odd = "a/b?\n\u{1b}[31m\"漢字\" %00";
    let history = fleet.ltv(&["segments", "history", odd, "--json"]).json();
    assert_eq!((&history["segment"], &history["runs"][0]["run"]), (&odd.into(), &run.0.into()));
    let none = fleet.ltv(&["segments", "history", "--without-segment", "--json"]).json();
    let expected =
        computed.segments.iter().find(|(name, _)| name.is_none()).map(|(_, figures)| figures.value_minor);
    assert_eq!(none["runs"][0]["value_minor"].as_i64(), expected);
    assert_eq!(fleet.answer(&["segments", "history", "nobody"]).code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_moves_later_rewrites_no_history_and_neither_does_a_run_that_is_dropped() {
    const FLORISTS: &str = "florist";
    let fleet = Fleet::new(&program()).await;
    let client = fleet.sql().await;
    let (_coordinator, _worker) = (fleet.coordinator(&[]), fleet.worker(&[]));
    let first = fleet.dispatch(&[]).await;
    fleet.finished(first).await;
    let figures = fleet.figured(first).await;
    let (before, pins) = (fleet.ltv(&["runs", "show", "--json"]).json(), pinned(&fleet, first).await);

    let moved = "customer_id % 2 = 0 and segment = 'florist'";
    let count = client.query_one(&format!("select count(*) from source.customers where {moved}"), &[]).await;
    let count: i64 = count.expect("the database answers").get(0);
    does(&client, &format!("update source.customers set segment = 'venue' where {moved}")).await;
    does(&client, KEEP).await;
    let second = fleet.dispatch(&["--again"]).await;
    fleet.finished(second).await;

    assert_true(&fleet, second).await;
    let name = first.to_string();
    let again = fleet.figured(first).await;
    assert_eq!((&again.all, &again.segments), (&figures.all, &figures.segments));
    let after = fleet.ltv(&["runs", "show", &name, "--json"]).json();
    assert_eq!(after["segments"], before["segments"]);
    let moves = pinned(&fleet, second).await;
    let moves = moves.iter().filter(|(customer, segment)| pins[customer] != **segment).count();
    assert!(count > 1_000 && moves as i64 == count, "{moves} of {count}");
    let history = fleet.ltv(&["segments", "history", FLORISTS, "--json"]).json();
    let runs = history["runs"].as_array().expect("it is a list");
    let run = |run: &serde_json::Value| run["run"].as_i64();
    assert_eq!(runs.iter().filter_map(run).collect::<Vec<_>>(), [second.0, first.0, 1]);
    let customers =
        |place: usize| runs[place]["customers"].as_i64().unwrap() + runs[place]["rejected"].as_i64().unwrap();
    assert_eq!(customers(1) - customers(0), count);

    let dropped = format!(
        "alter table fleet.values detach partition fleet.values_{first};
         drop table fleet.values_{first};
         delete from fleet.runs where run_id = {first}"
    );
    does(&client, &dropped).await;

    assert_eq!(fleet.ltv(&["segments", "history", FLORISTS, "--json"]).json(), history);
    assert_eq!(fleet.ltv(&["segments", "list", "--run", &name, "--json"]).json()["run"], first.0);
    assert_eq!(fleet.store().pinned_segments(first).await.expect("the store answers"), None);
}

/// Nobody may write figures, and everybody may read them.
#[tokio::test(flavor = "multi_thread")]
async fn a_night_is_shown_before_its_figures_and_a_coordinator_killed_over_them_is_followed_by_one_that_begins_anew()
 {
    let fleet = Fleet::new(&program()).await;
    let (client, keeper) = (fleet.sql().await, fleet.sql().await);
    does(&client, KEEP).await;
    does(&keeper, "begin; lock table fleet.segment_figures in exclusive mode").await;
    let mut coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&[]);
    let run = fleet.dispatch(&[]).await;
    let name = run.to_string();
    fleet.finished(run).await;
    let waits = "select exists (select from pg_locks
                                 where not granted and relation = 'fleet.segment_figures'::regclass)";
    eventually(PATIENCE, "figures are about to be written", async || {
        client.query_one(waits, &[]).await.ok()?.get::<_, bool>(0).then_some(())
    })
    .await;

    assert_eq!(fleet.store().visible_runs().await.expect("the store answers").runs, [run]);
    let due = fleet.ltv(&["segments", "list", "--run", &name, "--json"]).json();
    assert_eq!((&due["standing"], due["segments"].as_array().map(Vec::len)), (&"due".into(), Some(0)));
    assert!(fleet.ltv(&["segments", "list", "--run", &name]).out.contains("yet to be worked out"));
    let shown = fleet.ltv(&["segments", "list", "--json"]).json();
    assert_eq!((&shown["run"], &shown["newer_run"]), (&1.into(), &run.0.into()), "those of the run before");

    coordinator.kill();
    does(&keeper, "rollback").await;
    let _next = fleet.coordinator(&[]);

    assert_true(&fleet, run).await;
    assert_eq!(fleet.ask::<i64>("select count(*) from fleet.figures where run_id = $1", run).await, 1);
    let again = fleet.store().compute_figures(run).await.expect("the store answers");
    assert_eq!(again, Figured::Done, "they are worked out once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_of_a_run_over_a_part_of_the_base_are_of_that_part_and_kept_out_of_the_trend() {
    let fleet = Fleet::new(&program()).await;
    does(&fleet.sql().await, KEEP).await;
    let (_coordinator, _worker) = (fleet.coordinator(&[]), fleet.worker(&[]));
    let ordered = fleet.ltv(&["dispatch", "--segment", "venue", "--as-of", tests::AS_OF, "--json"]).json();
    let segment = RunId(ordered["run"].as_i64().expect("it names its run"));
    let named: Vec<CustomerId> = (0..40).map(|step| CustomerId(FIRST_CUSTOMER + 300 * step)).collect();
    let named = fleet.dispatch_customers(&named, &[]).await;

    for run in [segment, named] {
        fleet.finished(run).await;
        assert_true(&fleet, run).await;
        assert!(!standing(&fleet, run).await.run.is_whole);
    }

    let only = fleet.figured(segment).await.segments;
    assert!(only.len() == 1 && only[0].0.as_deref() == Some("venue"), "{only:?}");
    assert_eq!(fleet.ltv(&["segments", "list", "--json"]).json()["run"], 1, "the one over the whole base");
    let runs = |arguments: &[&str]| {
        let told = fleet.ltv(&[&["segments", "history", "venue", "--json"][..], arguments].concat()).json();
        told["runs"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((runs(&[]), runs(&["--partial"]), runs(&["--partial", "--limit", "1"])), (1, 3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_can_have_no_figures_says_why_and_is_not_tried_again() {
    let fleet = Fleet::new(&program()).await;
    let client = fleet.sql().await;
    does(&client, "update source.customers set segment = customer_id::text").await;
    let (coordinator, _worker) = (fleet.coordinator(&[]), fleet.worker(&[]));
    let run = fleet.dispatch(&[]).await;
    let never = async |run: RunId| {
        eventually(PATIENCE, &format!("run {run} never has figures"), async || {
            match fleet.store().figures(run).await.ok()??.standing {
                FiguresStanding::Never(reason) => Some(reason),
                FiguresStanding::Due | FiguresStanding::Computed(_) => None,
            }
        })
        .await
    };

    assert_eq!(never(run).await, "source.customers holds more than 10000 segments");
    coordinator.says("never will", PATIENCE).await;
    let shown = fleet.ltv(&["segments", "list", "--json"]).json();
    assert_eq!((&shown["run"], &shown["newer_run"]), (&1.into(), &run.0.into()));
    let told = fleet.ltv(&["segments", "list", "--run", &run.to_string()]).out;
    assert!(told.contains("it has no figures of its segments"), "{told}");
    assert_eq!(fleet.store().past_figures(&Figure::All, 9, true).await.expect("it answers").len(), 1);

    let dropped = "
        alter table fleet.values detach partition fleet.values_1;
        drop table fleet.values_1;
        delete from fleet.figures where run_id = 1";
    does(&client, dropped).await;

    assert_eq!(never(RunId(1)).await, "its values were dropped before they were summed up");
    assert!(fleet.store().runs_without_figures(9).await.expect("the store answers").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_those_of_the_source_wherever_it_is() {
    let fleet = Fleet::new(&program()).await;
    let shop = fleet.another_base(&program()).await;
    does(&shop.client().await, "update source.customers set segment = 'flowers' where segment = 'florist'")
        .await;
    does(&fleet.sql().await, KEEP).await;
    does(&fleet.sql().await, "update aside.customers set segment = 'flowers' where segment = 'florist'")
        .await;
    let source = ["--source-url", shop.url()];
    let (_coordinator, _worker) = (fleet.coordinator(&source), fleet.worker(&source));

    let run = fleet.dispatch(&source).await;
    fleet.finished(run).await;

    assert_true(&fleet, run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_were_finished_before_segments_were_noted_have_no_figures() {
    let database = older("finished").await;
    let store = database.store();

    store.migrate().await.expect("it can be migrated");

    let figures = store.figures(RunId(1)).await.expect("it answers").expect("it is finished");
    assert!(matches!(figures.standing, FiguresStanding::Never(_)), "{figures:?}");
    assert!(store.runs_without_figures(9).await.expect("it answers").is_empty());
    assert_eq!(store.pinned_segments(RunId(1)).await.expect("it answers"), None);
}
