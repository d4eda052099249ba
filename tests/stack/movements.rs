//! What moved since the run before, and why: each cause by itself, and all of them to the minor unit.

use std::collections::BTreeMap;
use std::time::Duration;

use batch::{Cause, Movements, RunId};
use documents::MovementsState;
use store::{Comparison, Comparisons, GoOn, Moves, Span};
use tests::{AS_OF, Fleet, PATIENCE, eventually};

use crate::api::Served;
use crate::store::program;

const LEASE: Duration = Duration::from_secs(30);

/// How many customers are moved by which causes, of all segments together.
type Counts = BTreeMap<Cause, u64>;

/// Nights over a small base, each compared with the one before.
struct Nights {
    fleet: Fleet,
    /// What each segment came to in the last night, by the source of that time.
    sums: BTreeMap<String, i64>,
}

impl Nights {
    async fn new() -> Self {
        let fleet = Fleet::empty(&program()).await;
        let url = fleet.database_url().to_owned();
        let base = ["--customers", "2000", "--first-customer", "1", "--transactions", "4", "--seed", "7"];
        fleet.ltv(&[&["generate", "--into", &url, "--as-of", AS_OF][..], &base].concat());
        fleet.ltv(&["fit", "--as-of", AS_OF]);
        Self { fleet, sums: BTreeMap::new() }
    }

    /// Runs a night that the processes at work finish.
    async fn run(&self, as_of: &str, arguments: &[&str]) -> RunId {
        let run = ["--as-of", as_of, "--again", "--chunk-customers", "150"];
        let run = self.fleet.dispatch(&[&run[..], arguments].concat()).await;
        self.fleet.finished(run).await;
        run
    }

    async fn change(&self, sql: &str) {
        self.fleet.sql().await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    async fn sums_of(&self, run: RunId) -> BTreeMap<String, i64> {
        let sums = "
            select c.segment, sum(v.value_minor)::bigint
              from fleet.values v
              join source.customers c using (customer_id)
             where v.run_id = $1
             group by c.segment";
        let rows = self.fleet.sql().await.query(sums, &[&run.0]).await.expect("the database answers");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Runs a night and says what moved since the last one, after it has seen that it adds up.
    async fn moved(&mut self, as_of: &str, arguments: &[&str]) -> (RunId, documents::Movements) {
        let run = self.run(as_of, arguments).await;
        let moved = known(&self.fleet, run).await;
        let now = self.sums_of(run).await;
        if moved.state == MovementsState::Complete {
            for segment in &moved.segments {
                let name = segment.segment.as_deref().expect("everybody is in one");
                let sum = |sums: &BTreeMap<String, i64>| sums.get(name).copied().unwrap_or(0);
                let causes: i64 = segment.moved.causes.iter().map(|by| by.value_minor).sum();
                assert_eq!(causes, sum(&now) - sum(&self.sums), "{name}: {segment:?}");
                assert_eq!(causes, segment.moved.difference_minor, "{name}");
            }
            let told: Vec<&str> =
                moved.segments.iter().filter_map(|segment| segment.segment.as_deref()).collect();
            assert!(now.keys().all(|name| told.contains(&name.as_str())), "{told:?}");
        }
        self.sums = now;
        (run, moved)
    }

    /// The same in numbers of customers.
    async fn counts(&mut self, as_of: &str, arguments: &[&str]) -> Counts {
        counts(&self.moved(as_of, arguments).await.1)
    }
}

/// What moved before a run, when that is known.
async fn known(fleet: &Fleet, run: RunId) -> documents::Movements {
    eventually(PATIENCE, &format!("it is known what moved before run {run}"), async || {
        let moved = documents::Movements::from(&fleet.store().movements(run).await.ok()??);
        (moved.state != MovementsState::Due).then_some(moved)
    })
    .await
}

fn counts(moved: &documents::Movements) -> Counts {
    let all = moved.all.as_ref().unwrap_or_else(|| panic!("{moved:?}"));
    all.causes.iter().map(|by| (by.cause, by.customers)).collect()
}

fn only<const N: usize>(causes: [(Cause, u64); N]) -> Counts {
    causes.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moved_adds_up_and_each_cause_is_told_by_itself() {
    let mut nights = Nights::new().await;
    let _worker = nights.fleet.worker(&[]);
    let _coordinator = nights.fleet.coordinator(&[]);

    let (first, none) = nights.moved(AS_OF, &[]).await;
    assert_eq!(none.state, MovementsState::Never);
    assert!(none.reason.is_some_and(|reason| reason.contains("no run before")));
    assert_eq!(nights.fleet.answer(&["runs", "moved", &first.to_string()]).code, Some(1));
    assert_eq!(nights.counts(AS_OF, &[]).await, only([]), "the same night again");

    let enters = "
        insert into source.customers values (9001, 'late', 'venues', '1998-01-01');
        insert into source.transactions values (900001, 9001, '1998-01-01', 5000, 'USD'),
                                               (900002, 9001, '1998-03-01', 7000, 'USD')";
    nights.change(enters).await;
    assert_eq!(nights.counts(AS_OF, &[]).await, only([(Cause::Entered, 1)]));
    nights.change("delete from source.customers where customer_id = 9001").await;
    assert_eq!(nights.counts(AS_OF, &[]).await, only([(Cause::Left, 1)]));

    nights.change("insert into source.transactions values (900003, 7, '1998-02-01', 1, 'XTS')").await;
    assert_eq!(nights.counts(AS_OF, &[]).await, only([(Cause::Rejected, 1)]));
    nights.change("delete from source.transactions where transaction_id = 900003").await;
    assert_eq!(nights.counts(AS_OF, &[]).await, only([(Cause::Recovered, 1)]));

    nights.change("update source.customers set segment = 'elsewhere' where customer_id = 7").await;
    assert_eq!(nights.counts(AS_OF, &[]).await, only([(Cause::MovedIn, 1), (Cause::MovedOut, 1)]));

    // The same models, with their plans in another order: what a plan's place is called is no cause.
    let turned = "
        insert into fleet.model_versions (currency, parameters, fit, data_fingerprint, code_version)
        select currency,
               jsonb_set(parameters, '{contracts,plans}',
                         (select jsonb_agg(plan order by place desc)
                            from jsonb_array_elements(parameters #> '{contracts,plans}')
                                 with ordinality as plans (plan, place))),
               fit, data_fingerprint, code_version
          from fleet.model_versions";
    nights.change(turned).await;
    assert_eq!(nights.counts(AS_OF, &["--model-version", "2"]).await, only([]));
    let terms = nights.counts(AS_OF, &["--model-version", "2", "--discount-rate", "0.3"]).await;
    assert!(terms.len() == 1 && terms[&Cause::Model] > 1_000, "{terms:?}");
    let back = nights.counts(AS_OF, &[]).await;
    assert_eq!(back, terms, "the same customers");

    nights.change("insert into source.transactions values (900004, 9, '1998-05-22', 123456, 'USD')").await;
    assert_eq!(nights.counts(AS_OF, &[]).await, only([(Cause::Corrected, 1)]));

    let time = nights.counts("1998-07-03T06:00:00Z", &[]).await;
    assert!(time.len() == 1 && time[&Cause::Time] > 1_000, "{time:?}");
    nights
        .change("insert into source.transactions values (900005, 9, '1998-07-03 07:00+00', 5000, 'USD')")
        .await;
    let events = nights.counts("1998-07-03T08:00:00Z", &[]).await;
    assert_eq!(events, only([(Cause::Events, 1)]), "on the same day");

    // All at once, over a month in which contracts are renewed.
    let all = "
        update source.customers set segment = 'venues' where customer_id = 7;
        insert into source.customers values (9001, 'late', 'venues', '1998-01-01');
        delete from source.customers where customer_id = 11;
        insert into source.transactions values (900006, 12, '1998-02-01', 1, 'XTS'),
                                               (900007, 13, '1998-02-01', 4400, 'USD'),
                                               (900008, 14, '1998-07-09', 4400, 'USD');
        update source.subscriptions set ended_at = '1998-07-20'
         where customer_id = (select min(customer_id) from source.subscriptions where ended_at is null)";
    nights.change(all).await;
    let (run, moved) = nights.moved("1998-08-03", &["--discount-rate", "0.2"]).await;
    let told = counts(&moved);
    for cause in Cause::ALL.into_iter().filter(|cause| *cause != Cause::Recovered) {
        assert!(told.contains_key(&cause), "{cause}: {told:?}");
    }
    assert!((2..6).contains(&told[&Cause::Events]), "renewals are no events: {told:?}");

    let run = run.to_string();
    let json = nights.fleet.ltv(&["runs", "moved", &run, "--json"]).json();
    assert_eq!(json["state"], "complete");
    assert_eq!(json["all"]["difference_minor"], moved.all.as_ref().unwrap().difference_minor);
    let api = Served::start(&nights.fleet, &[]).await;
    for path in ["/movements".to_owned(), format!("/movements?run={run}")] {
        let mut answered = api.get(&path).await.json();
        assert_eq!(answered["run"], run.as_str());
        answered["run"] = json["run"].clone();
        answered["run_before"] = json["run_before"].clone();
        assert_eq!(answered, json, "{path}");
    }
    let text = nights.fleet.ltv(&["runs", "moved"]).out;
    assert!(text.contains("elsewhere") && text.contains("moved in") && text.contains("corrected"), "{text}");
}

/// Takes what there is to compare once it can be.
async fn taken(fleet: &Fleet, by: &str, lease: Duration) -> Comparison {
    eventually(PATIENCE, "there is something to compare", async || {
        fleet.store().take_comparison(by, lease).await.ok()?
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_whose_worker_dies_is_gone_on_with_and_nothing_is_counted_twice() {
    let nights = Nights::new().await;
    let fleet = &nights.fleet;
    let worker = fleet.worker(&[]);
    let coordinator = fleet.coordinator(&[]);
    let first = nights.run(AS_OF, &[]).await;
    known(fleet, first).await;
    let undisturbed = nights.run("1998-07-09", &[]).await;
    let expected = known(fleet, undisturbed).await;
    drop(coordinator);

    // Begun by somebody who dies behind the third piece.
    nights.change("delete from fleet.comparisons where run_id = 2").await;
    let store = fleet.store();
    let comparison = taken(fleet, "mortal", LEASE).await;
    assert_eq!((comparison.run, comparison.before), (undisturbed, Some(first)));
    assert!(store.take_comparison("another", LEASE).await.expect("the database answers").is_none());
    let mut after = None;
    for _ in 0..3 {
        let piece = store.next_piece(&comparison, after).await.unwrap().expect("there are a dozen");
        let span = Span { after, up_to: piece.up_to, customers: piece.customers.len() as u64 };
        // Nobody moved among them, says the dead.
        let moved = Movements::default();
        assert_eq!(store.add_piece(&comparison, span, &moved, LEASE).await.unwrap(), GoOn::Next);
        assert_eq!(store.add_piece(&comparison, span, &moved, LEASE).await.unwrap(), GoOn::Lost, "once");
        after = Some(span.up_to);
    }

    // What the next one finds does not add up with that, and is not told.
    nights.change("update fleet.comparisons set leased_until = now()").await;
    let coordinator = fleet.coordinator(&[]);
    let wrong = known(fleet, undisturbed).await;
    assert_eq!(wrong.state, MovementsState::Never);
    assert!(wrong.reason.as_ref().is_some_and(|reason| reason.contains("is off by")), "{wrong:?}");
    drop(coordinator);

    // Killed by the clock, again and again: a comparison is taken from whoever was stopped.
    nights.change("delete from fleet.comparisons where run_id = 2").await;
    let mortal = taken(fleet, "mortal", LEASE).await;
    nights.change("update fleet.comparisons set leased_until = now()").await;
    let heir = taken(fleet, "heir", LEASE).await;
    assert!(heir.attempt > mortal.attempt);
    let piece = store.next_piece(&mortal, None).await.unwrap().expect("there are some");
    let span = Span { after: None, up_to: piece.up_to, customers: 1 };
    let late = store.add_piece(&mortal, span, &Movements::default(), LEASE).await.unwrap();
    assert_eq!(late, GoOn::Lost, "the one that was stopped comes back");
    assert!(!store.complete_comparison(&mortal, None).await.unwrap());
    store.put_comparisons_back("heir").await.unwrap();
    let mut coordinator = fleet.coordinator(&[]);
    coordinator.kill();
    let _coordinator = fleet.coordinator(&[]);
    nights.change("update fleet.comparisons set leased_until = null where state = 'open'").await;
    let again = known(fleet, undisturbed).await;
    assert_eq!(documents::line(&again.segments), documents::line(&expected.segments));
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_compared_while_a_run_is_open() {
    let nights = Nights::new().await;
    let fleet = &nights.fleet;
    let store = fleet.store();
    let worker = fleet.worker(&[]);
    let coordinator = fleet.coordinator(&[]);
    let first = nights.run(AS_OF, &[]).await;
    known(fleet, first).await;
    let second = nights.run(AS_OF, &[]).await;
    known(fleet, second).await;
    drop((worker, coordinator));
    nights.change("delete from fleet.comparisons where run_id = 2").await;
    let comparison = taken(fleet, "somebody", LEASE).await;
    let open = fleet.dispatch(&["--again"]).await;

    let piece = store.next_piece(&comparison, None).await.unwrap().expect("there is one");
    let span = Span { after: None, up_to: piece.up_to, customers: piece.customers.len() as u64 };
    let added = store.add_piece(&comparison, span, &Movements::default(), LEASE).await.unwrap();

    assert_eq!(added, GoOn::Later);
    store.put_comparisons_back("somebody").await.unwrap();
    assert!(store.take_comparison("another", LEASE).await.unwrap().is_none());
    fleet.ltv(&["runs", "cancel", &open.to_string()]);
    assert_eq!(taken(fleet, "another", LEASE).await.after, Some(piece.up_to), "where it was left");
}
