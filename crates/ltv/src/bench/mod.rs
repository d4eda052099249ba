//! Measures a night against the floor under it, in one run on one stack.
//!
//! The floor is the same server work with nothing on top: the same ranges read by COPY over the same index, the
//! same bytes written by COPY and given a primary key, the same packed hashes written to Redis, by as many lanes
//! at once as there are workers. Floors and nights take turns, so that what the machine does besides falls on
//! both, and the medians are compared. What the server does behind a run, in the minute after it, is done before the
//! next measurement begins.

mod account;
mod floor;
mod night;

use std::time::Duration;

use anyhow::Context;
use fitter::FitData;
use jiff::Timestamp;
use model::ValueTerms;
use serde::Serialize;
use store::postgres::{Postgres, SourceSize};
use store::{ModelVersions, NewModelVersion, NewPromotion, Planning, Selection};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::BenchNightArgs;
use crate::config;
use crate::generate::{GenerateSpec, generate_into};
use crate::output::{count, duration, table};
use crate::stdout::{Unsaid, note, put, say};

use account::{Accounts, Spent};
use floor::Floor;
use night::{Fleet, Night};

/// The moment that the generated base ends at.
const AS_OF: &str = "2026-07-01T00:00:00Z";

/// The weeks that it reaches back.
const WEEKS: u32 = 104;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    customers: u64,
    transactions: u64,
    subscriptions: u64,
    acquisition_costs: u64,
    workers: u16,
    slots: u16,
    chunks: u64,
    /// Customers of a night by its median time, from the order to the visible run.
    customers_per_s: f64,
    /// Customers of the floor by its median time.
    floor_customers_per_s: f64,
    /// Floor time by night time.
    efficiency: f64,
    /// Plan and publish, confirmed, of the median night.
    dispatch_s: f64,
    /// The mathematics alone, on one thread with cold tables.
    mathematics_customers_per_s: f64,
    night_s: Vec<f64>,
    floor_s: Vec<f64>,
    /// Bytes of histories read by the floor, and so by a night.
    bytes_read: u64,
    /// CPU seconds of the median night and floor, and peak memory over everything, by process.
    processes: Vec<Process>,
}

/// What a process cost.
#[derive(Debug, Serialize)]
struct Process {
    name: String,
    night_cpu_s: f64,
    floor_cpu_s: f64,
    peak_memory_bytes: u64,
}

/// What floors and nights gave, each with what it cost.
struct Measured {
    floor: Floor,
    accounts: Accounts,
    nights: Vec<(Night, Spent)>,
    floors: Vec<(Duration, Spent)>,
    mathematics: f64,
}

/// Measures as ordered.
pub(crate) async fn measure(args: &BenchNightArgs) -> anyhow::Result<Report> {
    let store = config::store_without_schema(&args.database, "bench").await?;
    store.migrate().await?;
    let size = prepare(args, &store).await?;
    let mut fleet = Fleet::start(args, &store).await?;
    let measured = tokio::select! {
        measured = take_turns(args, &store, &mut fleet) => measured,
        signal = asked_to_stop() => Err(signal),
    };
    // Whatever came of it, nobody of the fleet is left behind.
    let stopped = fleet.stop().await;
    let measured = measured?;
    stopped?;
    measured.floor.clean_up(&store).await?;
    Ok(report(args, &size, &measured))
}

/// Lets floors and nights take turns.
async fn take_turns(args: &BenchNightArgs, store: &Postgres, fleet: &mut Fleet) -> anyhow::Result<Measured> {
    let mut accounts = Accounts::new(&args.server);
    accounts.add("this process (dispatch, floor lanes)", std::process::id());
    for (name, pid) in fleet.processes() {
        accounts.add(&name, pid);
    }
    let sampler = accounts.sample_memory(Duration::from_millis(200));

    note("warming up");
    let warm = fleet.night(store, args).await?;
    fleet.figured(store, warm.run).await?;
    store.tidy_up(warm.run).await?;
    let floor = Floor::prepare(store, args, warm.run).await?;
    let (mut nights, mut floors) = (Vec::new(), Vec::new());
    for number in 1..=args.nights {
        note(&format!("floor and night {number} of {}", args.nights));
        let before = accounts.spent();
        let took = floor.run().await?;
        floors.push((took, accounts.spent().since(&before)));
        let before = accounts.spent();
        let night = fleet.night(store, args).await?;
        let spent = accounts.spent().since(&before);
        fleet.figured(store, night.run).await?;
        store.tidy_up(night.run).await?;
        nights.push((night, spent));
    }
    let mathematics = floor.mathematics(store, warm.run).await?;
    sampler.stop().await;
    Ok(Measured { floor, accounts, nights, floors, mathematics })
}

/// Resolves to an error at the first SIGINT or SIGTERM. Later ones are not heard: the fleet is draining.
async fn asked_to_stop() -> anyhow::Error {
    let both = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = both else {
        return anyhow::anyhow!("cannot listen for signals");
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    anyhow::anyhow!("stopped before the measurement was over")
}

fn report(args: &BenchNightArgs, size: &SourceSize, measured: &Measured) -> Report {
    let Measured { floor, accounts, nights, floors, mathematics } = measured;
    let (night, night_spent) = median(nights, |night: &Night| night.took);
    let (floor_took, floor_spent) = median(floors, |took: &Duration| *took);
    let customers = f64::from(args.customers);
    Report {
        customers: args.customers.into(),
        transactions: size.transactions,
        subscriptions: size.subscriptions,
        acquisition_costs: size.acquisition_costs,
        workers: args.workers,
        slots: args.slots,
        chunks: night.chunks,
        customers_per_s: customers / night.took.as_secs_f64(),
        floor_customers_per_s: customers / floor_took.as_secs_f64(),
        efficiency: floor_took.as_secs_f64() / night.took.as_secs_f64(),
        dispatch_s: night.dispatch.as_secs_f64(),
        mathematics_customers_per_s: *mathematics,
        night_s: nights.iter().map(|(night, _)| night.took.as_secs_f64()).collect(),
        floor_s: floors.iter().map(|(took, _)| took.as_secs_f64()).collect(),
        bytes_read: floor.bytes_read(),
        processes: processes(accounts, night_spent, floor_spent),
    }
}

/// Lays a report out for a person.
pub(crate) fn tell(report: &Report) -> Result<(), Unsaid> {
    let seconds = |all: &[f64]| all.iter().map(|s| format!("{s:.2}")).collect::<Vec<_>>().join(", ");
    say!(
        "\n{} customers with {} transactions, {} subscriptions and {} acquisition costs; {} workers with {} slots, \
         {} chunks\n",
        count(report.customers),
        count(report.transactions),
        count(report.subscriptions),
        count(report.acquisition_costs),
        report.workers,
        report.slots,
        count(report.chunks)
    )?;
    let rows = [
        ("night", format!("{}/s", count(report.customers_per_s as u64)), seconds(&report.night_s)),
        ("floor", format!("{}/s", count(report.floor_customers_per_s as u64)), seconds(&report.floor_s)),
        ("efficiency", format!("{:.3}", report.efficiency), "floor time / night time, medians".into()),
        (
            "dispatch",
            duration(Duration::from_secs_f64(report.dispatch_s)),
            "plan and publish, confirmed".into(),
        ),
        (
            "mathematics",
            format!("{}/s", count(report.mathematics_customers_per_s as u64)),
            "alone, one thread, cold tables".into(),
        ),
    ]
    .map(|(name, figure, remark)| vec![name.to_owned(), figure, remark]);
    put(table(&["", "customers", "seconds"], &[2], &rows))?;
    say!("")?;
    let rows: Vec<_> = report
        .processes
        .iter()
        .map(|process| {
            vec![
                process.name.clone(),
                format!("{:.2}", process.night_cpu_s),
                format!("{:.2}", process.floor_cpu_s),
                format!("{:.0} MiB", process.peak_memory_bytes as f64 / f64::from(1 << 20)),
            ]
        })
        .collect();
    put(table(&["process", "night CPU s", "floor CPU s", "peak memory"], &[], &rows))
}

/// Makes sure that the base is the one ordered, and that a model is fitted to it; returns how large it is.
async fn prepare(args: &BenchNightArgs, store: &Postgres) -> anyhow::Result<SourceSize> {
    let found = store.source_size().await?;
    let transactions = (f64::from(args.customers) * args.transactions) as u64;
    let is_same = found.customers == u64::from(args.customers)
        && found.transactions.abs_diff(transactions) < transactions / 10 + 1_000
        && (found.subscriptions == 0) == args.no_subscriptions;
    if found.customers > 0 && !is_same {
        anyhow::bail!(
            "the database holds another base ({} customers, {} transactions, {} subscriptions): empty it with \
             `scripts/stack reset`",
            count(found.customers),
            count(found.transactions),
            count(found.subscriptions)
        );
    }
    if !is_same {
        note("generating the base, its rows in time order");
        let spec = GenerateSpec {
            customers: args.customers,
            transactions_per_customer: Some(args.transactions),
            first_customer_id: 1,
            first_transaction_id: 1,
            seed: 1,
            as_of: as_of(),
            weeks: WEEKS,
            subscriptions: !args.no_subscriptions,
        };
        generate_into(store, &spec, |_| {}).await?;
    }
    if store.model_version_to_pin(None).await?.is_none() {
        note("fitting the model");
        fit(store).await?;
    }
    Ok(store.source_size().await?)
}

/// Fits the models to the first hundred thousand customers, which is plenty for a benchmark.
async fn fit(store: &Postgres) -> anyhow::Result<()> {
    const FITTED: usize = 100_000;
    let currency = model::Currency::parse("USD").context("USD is a currency")?;
    let customers = store.selected(&Selection::All, as_of()).await?;
    let some = &customers[..customers.len().min(FITTED)];
    let data = FitData::read(store, some, as_of(), currency, false).await?;
    let new = NewModelVersion {
        currency,
        models: data.fit(None)?.models,
        fit: serde_json::json!({ "by": "ltv bench" }),
        data_fingerprint: data.fingerprint(),
        code_version: env!("CARGO_PKG_VERSION").into(),
    };
    store.save_model_version(&new, Some(&NewPromotion::default())).await?;
    Ok(())
}

fn as_of() -> Timestamp {
    AS_OF.parse().expect("the constant is a moment")
}

fn terms() -> ValueTerms {
    ValueTerms::default()
}

fn median<T, K: Ord>(measured: &[(T, Spent)], key: impl Fn(&T) -> K) -> (&T, &Spent) {
    let mut order: Vec<_> = measured.iter().collect();
    order.sort_by_key(|(one, _)| key(one));
    let (one, spent) = order[order.len() / 2];
    (one, spent)
}

fn processes(accounts: &Accounts, night: &Spent, floor: &Spent) -> Vec<Process> {
    accounts
        .names()
        .enumerate()
        .map(|(index, name)| Process {
            name: name.to_owned(),
            night_cpu_s: night.cpu_seconds(index),
            floor_cpu_s: floor.cpu_seconds(index),
            peak_memory_bytes: accounts.peak_memory(index),
        })
        .collect()
}

fn note(what: &str) {
    note!("  {what}");
}
