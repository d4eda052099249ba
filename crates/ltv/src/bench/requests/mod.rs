//! How soon an api answers, and how much: fresh values and known ones, each at its rate, and many at once.
//!
//! The load does not wait for answers (`load.rs`), and asks for some customers again and again (`demand.rs`). Every
//! answer is compared with what the store holds when all is over: one that is wrong, or that never came, fails the
//! measurement. What an api sheds is asked again after as long as it said, and counted.

mod client;
mod demand;
mod load;
mod truth;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use batch::CustomerId;
use serde::Serialize;
use store::postgres::Postgres;
use tokio::time::{Instant, sleep};

use super::account::Accounts;
use super::base::prepare;
use super::fleet::Fleet;
use super::{asked_to_stop, note};
use crate::cli::BenchRequestsArgs;
use crate::config;
use crate::output::{count, table};
use crate::stdout::{Unsaid, put, say};

use client::Client;
use demand::Demand;
use load::{Quantiles, Times, open_loop};
use truth::{Told, Truth};

/// What an answer may take at the 99th percentile for a rate to count as kept up with.
const KEPT_UP: f64 = 5.0;

/// Rates are tried until the one that is kept up with and the one that is not are as near to each other.
const NEAR: f64 = 1.2;

/// How long a rate is tried.
const TRIAL: Duration = Duration::from_secs(5);

/// How often a question that was shed is asked again.
const TRIES: u32 = 120;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    customers: u64,
    workers: u16,
    slots: u16,
    /// Whether nights followed each other while fresh values were asked for.
    during_night: bool,
    fresh: Phase,
    known: Phase,
    /// The highest rate that was tried at which 99 of 100 known values came within 5 ms.
    highest_known_rate: u32,
    at_once: Phase,
    /// Seconds that nights took with nobody asking, and while fresh values were asked for.
    night_s: Option<Nights>,
    processes: Vec<Process>,
}

/// Nights with and without questions.
#[derive(Debug, Serialize)]
struct Nights {
    alone: Vec<f64>,
    asked: Vec<f64>,
    /// By how much the median night became longer.
    slowed: f64,
}

/// A load and what became of it.
#[derive(Debug, Serialize)]
struct Phase {
    /// Questions a second; none where all were asked at once.
    rate: Option<u32>,
    asked: u64,
    /// How often a question was shed and asked again.
    shed: u64,
    /// Where answers came from.
    served: BTreeMap<String, u64>,
    times: Quantiles,
}

/// What a process held at the most.
#[derive(Debug, Serialize)]
struct Process {
    name: String,
    peak_memory_bytes: u64,
}

/// A question.
#[derive(Clone, Copy, Debug)]
struct Question {
    customer: CustomerId,
    is_fresh: bool,
}

/// What became of a question, in the end.
struct Outcome {
    shed: u64,
    told: Told,
}

/// Measures as ordered.
pub(crate) async fn measure(args: &BenchRequestsArgs) -> anyhow::Result<Report> {
    let store = config::store_without_schema(&args.fleet.database, "bench").await?;
    store.migrate().await?;
    prepare(&args.fleet, &store).await?;
    let mut fleet = Fleet::start(&args.fleet, &store).await?;
    let measured = tokio::select! {
        measured = all_phases(args, &store, &mut fleet) => measured,
        signal = asked_to_stop() => Err(signal),
    };
    // Whatever came of it, nobody of the fleet is left behind.
    let stopped = fleet.stop().await;
    let report = measured?;
    stopped?;
    Ok(report)
}

async fn all_phases(args: &BenchRequestsArgs, store: &Postgres, fleet: &mut Fleet) -> anyhow::Result<Report> {
    let address = fleet.start_api(&args.fleet).await?;
    let mut accounts = Accounts::new(&args.fleet.server);
    for (name, pid) in fleet.processes() {
        accounts.add(&name, pid);
    }
    let sampler = accounts.sample_memory(Duration::from_millis(200));
    note("a night, whose values are asked for");
    let warm = fleet.night(store, &args.fleet).await?;
    fleet.figured(store, warm.run).await?;
    store.tidy_up(warm.run).await?;

    let mut bench = Bench::new(args, address)?;
    let alone = if args.during_night { bench.nights(store, fleet, args).await? } else { Vec::new() };
    note(&format!("fresh values, {} a second", args.rate));
    let (fresh, asked) = bench.fresh(store, fleet, args).await?;
    note(&format!("known values, {} a second", args.cached_rate));
    let known = bench.phase(args.cached_rate, false, args.lasting).await?;
    let highest_known_rate = bench.highest_rate(args.cached_rate).await?;
    note(&format!("{} at once, every second one fresh", count(u64::from(args.at_once))));
    let at_once = bench.at_once(args.at_once).await?;
    note("comparing what was told with what the store holds");
    bench.truth.check(store).await?;
    sampler.stop().await;

    let processes = accounts.names().enumerate();
    let processes = processes
        .map(|(index, name)| Process { name: name.into(), peak_memory_bytes: accounts.peak_memory(index) })
        .collect();
    Ok(Report {
        customers: args.fleet.customers.into(),
        workers: args.fleet.workers,
        slots: args.fleet.slots,
        during_night: args.during_night,
        fresh,
        known,
        highest_known_rate,
        at_once,
        night_s: args.during_night.then(|| Nights::compare(alone, asked)),
        processes,
    })
}

/// The questions, and what was told.
struct Bench {
    client: Arc<Client>,
    customers: NonZeroU32,
    /// Each load draws others.
    seed: u64,
    truth: Truth,
}

impl Bench {
    fn new(args: &BenchRequestsArgs, address: SocketAddr) -> anyhow::Result<Self> {
        let customers = NonZeroU32::new(args.fleet.customers).context("a base has customers")?;
        Ok(Self { client: Arc::new(Client::new(address)), customers, seed: 0, truth: Truth::default() })
    }

    fn demand(&mut self) -> Demand {
        self.seed += 1;
        Demand::new(self.customers, self.seed)
    }

    /// Nights that follow each other for as long as a load lasts, with nobody asking.
    async fn nights(
        &mut self,
        store: &Postgres,
        fleet: &mut Fleet,
        args: &BenchRequestsArgs,
    ) -> anyhow::Result<Vec<f64>> {
        note("nights with nobody asking");
        let begin = Instant::now();
        let mut took = Vec::new();
        while took.is_empty() || begin.elapsed() < args.lasting {
            took.push(one_night(store, fleet, args).await?);
        }
        Ok(took)
    }

    /// Fresh values; beside nights if that was ordered, which it then gives.
    async fn fresh(
        &mut self,
        store: &Postgres,
        fleet: &mut Fleet,
        args: &BenchRequestsArgs,
    ) -> anyhow::Result<(Phase, Vec<f64>)> {
        if !args.during_night {
            return Ok((self.phase(args.rate, true, args.lasting).await?, Vec::new()));
        }
        let (over, begin) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let nights = async {
            let mut took = Vec::new();
            while took.is_empty() || begin.elapsed() < args.lasting {
                took.push(one_night(store, fleet, args).await?);
            }
            over.store(true, Ordering::Relaxed);
            anyhow::Ok(took)
        };
        let is_over = Arc::clone(&over);
        let load = self.load(args.rate, true, move |_| is_over.load(Ordering::Relaxed));
        let (phase, nights) = tokio::try_join!(load, nights)?;
        Ok((phase, nights))
    }

    async fn phase(&mut self, rate: u32, is_fresh: bool, lasting: Duration) -> anyhow::Result<Phase> {
        self.load(rate, is_fresh, move |offset| offset >= lasting).await
    }

    async fn load(
        &mut self,
        rate: u32,
        is_fresh: bool,
        stop: impl Fn(Duration) -> bool + Send + 'static,
    ) -> anyhow::Result<Phase> {
        let questions = self.demand().map(move |customer| Question { customer, is_fresh });
        let client = Arc::clone(&self.client);
        let ask = move |question| ask(Arc::clone(&client), question);
        let answered = open_loop(rate, questions, stop, ask).await?;
        self.account(Some(rate), answered)
    }

    /// Doubles the rate until it is not kept up with, and then goes nearer from both sides.
    async fn highest_rate(&mut self, first: u32) -> anyhow::Result<u32> {
        let (mut kept, mut lost) = (0, None::<u32>);
        let mut rate = first;
        while rate > 0 && lost.is_none_or(|lost| f64::from(lost) > f64::from(kept.max(1)) * NEAR) {
            note(&format!("known values, {} a second", count(u64::from(rate))));
            let phase = self.phase(rate, false, TRIAL).await?;
            let is_kept_up_with = phase.times.p99_ms <= KEPT_UP && phase.shed == 0;
            if is_kept_up_with {
                kept = rate;
            } else {
                lost = Some(rate);
            }
            rate = match lost {
                None => rate * 2,
                Some(lost) if kept == 0 => lost / 2,
                Some(lost) => kept.midpoint(lost),
            };
        }
        Ok(kept)
    }

    /// All at once: every second one fresh.
    async fn at_once(&mut self, questions: u32) -> anyhow::Result<Phase> {
        let demand = self.demand().zip([true, false].into_iter().cycle()).take(questions as usize);
        let begin = Instant::now();
        let mut asked = tokio::task::JoinSet::new();
        for (customer, is_fresh) in demand {
            let client = Arc::clone(&self.client);
            asked.spawn(async move {
                let outcome = ask(client, Question { customer, is_fresh }).await;
                (begin.elapsed(), outcome)
            });
        }
        let answered = asked.join_all().await;
        self.account(None, answered)
    }

    /// Sums up a load, and keeps what was told for the comparison.
    fn account(
        &mut self,
        rate: Option<u32>,
        answered: Vec<(Duration, anyhow::Result<Outcome>)>,
    ) -> anyhow::Result<Phase> {
        let asked = answered.len() as u64;
        let (mut times, mut shed, mut served) = (Times::new(), 0, BTreeMap::new());
        for (took, outcome) in answered {
            let outcome = outcome?;
            times.record(took);
            shed += outcome.shed;
            self.truth.keep(&outcome.told)?;
            *served.entry(outcome.told.from).or_default() += 1;
        }
        Ok(Phase { rate, asked, shed, served, times: times.quantiles() })
    }
}

/// Asks until there is an answer. What is shed, or accepted for later, is asked again after as long as the api said.
async fn ask(client: Arc<Client>, question: Question) -> anyhow::Result<Outcome> {
    let Question { customer, is_fresh } = question;
    let path = format!("/api/ltv/customers/{customer}{}", if is_fresh { "?fresh=true" } else { "" });
    for shed in 0..u64::from(TRIES) {
        let answer = client.get(&path).await?;
        match answer.status.as_u16() {
            200 => return Ok(Outcome { shed, told: Told::read(customer, &answer.body)? }),
            202 | 503 => sleep(Duration::from_secs(answer.retry_after.unwrap_or(1))).await,
            status => {
                let body = String::from_utf8_lossy(&answer.body);
                anyhow::bail!("GET {path} was answered with {status}: {body}")
            }
        }
    }
    anyhow::bail!("GET {path} was shed {TRIES} times")
}

async fn one_night(store: &Postgres, fleet: &mut Fleet, args: &BenchRequestsArgs) -> anyhow::Result<f64> {
    let night = fleet.night(store, &args.fleet).await?;
    fleet.figured(store, night.run).await?;
    store.tidy_up(night.run).await?;
    Ok(night.took.as_secs_f64())
}

impl Nights {
    fn compare(alone: Vec<f64>, asked: Vec<f64>) -> Self {
        let slowed = median(&asked) / median(&alone) - 1.0;
        Self { alone, asked, slowed }
    }
}

fn median(all: &[f64]) -> f64 {
    let mut all = all.to_vec();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Lays a report out for a person.
pub(crate) fn tell(report: &Report) -> Result<(), Unsaid> {
    say!(
        "\n{} customers, asked for by a Zipf distribution with exponent 1; {} workers with {} slots, one api\n",
        count(report.customers),
        report.workers,
        report.slots
    )?;
    let beside = if report.during_night { "fresh, in a night" } else { "fresh" };
    let rows = [(beside, &report.fresh), ("known", &report.known), ("at once", &report.at_once)];
    let rows: Vec<_> = rows.into_iter().map(|(name, phase)| phase.row(name)).collect();
    put(table(&["values", "rate", "asked", "shed", "p50 ms", "p99 ms", "longest", "served"], &[], &rows))?;
    say!("\nknown values within 5 ms at p99: up to {}/s", count(u64::from(report.highest_known_rate)))?;
    if let Some(nights) = &report.night_s {
        say!(
            "a night took {:.2} s alone and {:.2} s while fresh values were asked for ({:+.1} %)",
            median(&nights.alone),
            median(&nights.asked),
            nights.slowed * 100.0
        )?;
    }
    say!("every answer was compared with the store: none is wrong, none is missing\n")?;
    let rows: Vec<_> = report
        .processes
        .iter()
        .map(|process| {
            vec![
                process.name.clone(),
                format!("{:.0} MiB", process.peak_memory_bytes as f64 / f64::from(1 << 20)),
            ]
        })
        .collect();
    put(table(&["process", "peak memory"], &[], &rows))
}

impl Phase {
    fn row(&self, name: &str) -> Vec<String> {
        let served: Vec<_> = self
            .served
            .iter()
            .map(|(from, times)| format!("{from} {:.1} %", *times as f64 * 100.0 / self.asked as f64))
            .collect();
        vec![
            name.to_owned(),
            self.rate.map_or_else(|| "-".into(), |rate| format!("{}/s", count(u64::from(rate)))),
            count(self.asked),
            count(self.shed),
            format!("{:.2}", self.times.p50_ms),
            format!("{:.2}", self.times.p99_ms),
            format!("{:.1}", self.times.max_ms),
            served.join(", "),
        ]
    }
}
