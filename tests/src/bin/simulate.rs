//! Simulated nights by the thousand: `scripts/simulate --nights 100000 --first-seed 1`.
//!
//! Ends with 0 and a line that counts the nights and their faults by kind; or with 1, after the story of the first
//! night that went wrong and the seed that tells it again.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use clap::Parser;
use tests::simulation::{Faults, Mutation, Report, nights};

/// Lives through simulated nights in which everything goes wrong, and checks that each ends well.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many nights
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    nights: u64,

    /// The seed of the first; each further night has the next one
    #[arg(long, value_name = "S", default_value_t = 1)]
    first_seed: u64,

    /// Break a rule of the protocol on purpose, to see it caught
    #[arg(long, value_enum)]
    mutation: Option<Mutation>,

    /// Print what happened in each night
    #[arg(long)]
    story: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let told = AtomicU64::new(0);
    let all = Mutex::new(Faults::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let failed = nights(
        arguments.first_seed..arguments.first_seed.saturating_add(arguments.nights),
        arguments.mutation,
        threads,
        |report| {
            let mut all = all.lock().expect("nobody panics while counting");
            report.faults.iter().for_each(|(fault, count)| *all.entry(fault).or_default() += count);
            let nights = told.fetch_add(1, Ordering::Relaxed) + 1;
            if arguments.story {
                report.story.iter().for_each(|event| println!("{event}"));
            }
            if nights.is_multiple_of(10_000) {
                eprintln!("{nights} nights");
            }
        },
    );
    if let Some(report) = failed {
        tell(&report);
        return ExitCode::FAILURE;
    }
    let all = all.into_inner().expect("nobody panicked while counting");
    let faults: Vec<String> = all.iter().map(|(fault, count)| format!("{count} {fault}")).collect();
    println!("{} nights, {} faults: {}", told.into_inner(), all.values().sum::<u64>(), faults.join(", "));
    ExitCode::SUCCESS
}

fn tell(report: &Report) {
    report.story.iter().for_each(|event| println!("{event}"));
    println!("seed {} went wrong:", report.seed);
    report.violations.iter().take(20).for_each(|violation| println!("  {violation}"));
    println!("`scripts/simulate --nights 1 --first-seed {}` tells it again", report.seed);
}
