//! A night always has one before it: a run over everybody that was finished when it begins.

use batch::{Attempt, AttemptId, ChunkRef, CustomerId, PlanPolicy, Priority, RunId, WorkSample, plan};
use cache::Cache;
use model::ValueTerms;
use store::memory::{Base, Memory};
use store::{
    Assignment, Attempts, Begin, CommitOutcome, NewRun, Planning, Publishing, Rejected, ResultRows,
    Selection, Supervision, Valued, Values,
};

use super::base::{Customers, Ordered};
use super::scene::LEASE;

const THERE: &str = "the store itself is never away";

/// Records the run of the night before as it was ordered, with nothing going wrong.
pub(super) async fn finish(store: &Memory, base: &Customers, ordered: &Ordered, terms: ValueTerms) -> RunId {
    let customers: Vec<CustomerId> = ordered.customers.keys().copied().collect();
    let plan =
        plan(&customers, &WorkSample::none(), &PlanPolicy::default()).expect("everybody can be planned");
    let new = NewRun {
        night: Some("the night before".into()),
        selection: Selection::All,
        priority: Priority::Normal,
        as_of: ordered.as_of,
        deadline: LEASE,
        model_version: store.model_version_to_pin(None).await.expect(THERE).expect("a model is in force"),
        terms,
        plan,
        trace: Vec::new(),
        limits: None,
    };
    let created = store.create_run(&new).await.expect(THERE);
    let untried = |&chunk| AttemptId { chunk: ChunkRef { run: created.run, chunk }, attempt: Attempt(0) };
    let published: Vec<AttemptId> = created.unpublished.iter().map(untried).collect();
    store.mark_published(created.run, &published).await.expect(THERE);
    for chunk in created.unpublished {
        let chunk = ChunkRef { run: created.run, chunk };
        let begun = store.begin_attempt(chunk, "the worker of the night before", LEASE, false).await;
        let Begin::Assigned(assignment) = begun.expect(THERE) else { panic!("{chunk} is nobody else's") };
        let rows = rows(base, ordered, &assignment);
        let committed = store.commit_attempt(assignment.attempt, &rows).await.expect(THERE);
        assert_eq!(committed, CommitOutcome::Committed);
    }

    let leader = "the coordinator of the night before";
    let term = store.lead(leader, LEASE).await.expect(THERE).expect("nobody else leads");
    store.finish_run(term, created.run).await.expect(THERE).expect("every chunk is done");
    store.abdicate(leader, term).await.expect(THERE);
    created.run
}

fn rows(base: &Customers, ordered: &Ordered, assignment: &Assignment) -> ResultRows {
    let mut rows = ResultRows::default();
    for &customer in &assignment.customers {
        match ordered.customers[&customer] {
            Ok(value) => {
                let place = base.place(customer).expect("who was ordered is there");
                let account = base.account(place).expect("who has a value has an account");
                rows.values.push(Valued { customer, value, account });
            }
            Err(reason) => rows.rejections.push(Rejected { customer, reason }),
        }
    }
    rows
}

/// Has the cache know of it, as the night before would have left it.
pub(super) async fn tell(store: &Memory, cache: &cache::Memory, run: RunId, ordered: &Ordered) {
    let values = ordered
        .customers
        .iter()
        .filter_map(|(&customer, outcome)| Some(cache::Valued::of(customer, outcome.as_ref().ok()?)));
    let values: Vec<cache::Valued> = values.collect();
    cache.put_values(run, &values).await.expect("the cache itself is never away");
    let visible = store.visible_runs().await.expect(THERE);
    let visible = cache::VisibleRuns { version: visible.version, runs: visible.runs };
    cache.put_visible(&visible).await.expect("the cache itself is never away");
}
