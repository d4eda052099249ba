//! Simulated nights by the thousand: `scripts/simulate --nights 100000 --first-seed 1`.
//!
//! Ends with 0 and a line that counts the nights and their faults by kind; or with 1, after the story of the first
//! night that went wrong and the seed that tells it again.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use tests::simulation::{Faults, Mutation, Report, nights};

/// Lives through simulated nights in which everything goes wrong, and checks that each ends well.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many nights
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
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
    let seeds = seeds(&arguments);
    let told = AtomicU64::new(0);
    let all = Mutex::new(Faults::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let failed = nights(seeds, arguments.mutation, threads, |report| {
        let mut all = all.lock().expect("nobody panics while counting");
        report.faults.iter().for_each(|(fault, count)| *all.entry(fault).or_default() += count);
        let nights = told.fetch_add(1, Ordering::Relaxed) + 1;
        if arguments.story {
            report.story.iter().for_each(|event| println!("{event}"));
        }
        if nights.is_multiple_of(10_000) {
            eprintln!("{nights} nights");
        }
    });
    if let Some(report) = failed {
        tell(&report, arguments.mutation);
        return ExitCode::FAILURE;
    }
    let all = all.into_inner().expect("nobody panicked while counting");
    let faults: Vec<String> = all.iter().map(|(fault, count)| format!("{count} {fault}")).collect();
    println!("{} nights, {} faults: {}", told.into_inner(), all.values().sum::<u64>(), faults.join(", "));
    ExitCode::SUCCESS
}

/// The seeds that are asked for. There is none after the last number.
fn seeds(arguments: &Arguments) -> Range<u64> {
    let Some(end) = arguments.first_seed.checked_add(arguments.nights) else {
        let latest = u64::MAX - arguments.nights;
        let problem = format!("with {} nights --first-seed can be {latest} at most", arguments.nights);
        Arguments::command().error(ErrorKind::ValueValidation, problem).exit()
    };
    arguments.first_seed..end
}

fn tell(report: &Report, mutation: Option<Mutation>) {
    report.story.iter().for_each(|event| println!("{event}"));
    println!("seed {} went wrong:", report.seed);
    report.violations.iter().take(20).for_each(|violation| println!("  {violation}"));
    let mutation = mutation.and_then(|mutation| mutation.to_possible_value());
    let mutation =
        mutation.map(|mutation| format!(" --mutation {}", mutation.get_name())).unwrap_or_default();
    println!("`scripts/simulate --nights 1 --first-seed {}{mutation}` tells it again", report.seed);
}
