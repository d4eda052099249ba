//! A thousand nights in one process, in which everything goes wrong and nothing is lost.
//!
//! The harness is `tests/src/simulation`. `scripts/simulate` lives through as many more as one likes.

use std::process::Command;
use std::sync::Mutex;
use std::thread;

use tests::simulation::{Call, Deaths, Fault, Faults, Mutation, Report, night, nights};

/// What a night that went wrong tells.
fn story(report: &Report) -> String {
    let Report { seed, violations, story, .. } = report;
    format!("{}\n\nseed {seed} went wrong: {violations:#?}", story.join("\n"))
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[test]
fn a_thousand_nights_end_well_whatever_happens_in_them() {
    let faults = Mutex::new(Faults::new());
    let deaths = Mutex::new(Deaths::new());

    let failed = nights(1..1_001, None, threads(), |report| {
        let mut faults = faults.lock().unwrap();
        report.faults.iter().for_each(|(fault, count)| *faults.entry(fault).or_default() += count);
        let mut deaths = deaths.lock().unwrap();
        report.deaths.iter().for_each(|(&at, count)| *deaths.entry(at).or_default() += count);
    });

    if let Some(report) = failed {
        panic!("{}", story(&report));
    }
    let faults = faults.into_inner().unwrap();
    println!("{faults:?}");
    // Otherwise the nights were quieter than they claim.
    for fault in Fault::ALL {
        let count = faults.get(fault.as_str()).copied().unwrap_or(0);
        assert!(count > 20, "{}: {count}", fault.as_str());
    }
    let deaths = deaths.into_inner().unwrap();
    println!("{deaths:?}");
    let pairs =
        Call::ALL.into_iter().flat_map(|call| [(call, Fault::KilledBefore), (call, Fault::KilledAfter)]);
    let missed: Vec<_> = pairs.filter(|pair| !deaths.contains_key(pair)).collect();
    assert_eq!(missed, [], "nobody died there in a thousand nights");
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in 1..6 {
        let (once, again) = (night(seed, None), night(seed, None));

        let parted = once.story.iter().zip(&again.story).find(|(one, other)| one != other);
        assert_eq!(parted, None, "seed {seed}");
        assert_eq!(once.story.len(), again.story.len(), "seed {seed}");
        assert!(once.story.len() > 10, "there is something to tell: {:?}", once.story);
    }
}

#[test]
fn each_broken_rule_of_the_protocol_is_caught_by_some_seed() {
    for mutation in Mutation::ALL {
        let caught = nights(1..201, Some(mutation), threads(), |_| {});

        let report = caught.unwrap_or_else(|| panic!("{mutation:?} went unnoticed"));
        println!("{mutation:?} is caught by seed {}: {}", report.seed, report.violations[0]);
        assert!(mutation.breaks().contains(&report.violations[0].rule), "{mutation:?}: {}", story(&report));
        // The seed alone did not do it.
        assert_eq!(night(report.seed, None).violations, []);
    }
}

/// Runs `simulate` with these arguments: its exit code, and all that it printed.
fn simulate(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_simulate"))
        .args(arguments)
        .output()
        .expect("it was built for this test");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).expect("it prints text"))
}

#[test]
fn a_night_that_went_wrong_says_how_to_see_it_again_mutation_and_all() {
    let (code, printed) = simulate(&["--nights", "20", "--mutation", "ack-before-commit"]);

    assert_eq!(code, Some(1), "{printed}");
    let last = printed.trim_end().lines().last().unwrap();
    assert!(last.starts_with("`scripts/simulate --nights 1 --first-seed "), "{last}");
    assert!(last.ends_with(" --mutation ack-before-commit` tells it again"), "{last}");
}

#[test]
fn no_nights_and_seeds_beyond_the_last_number_are_wrong_use() {
    for arguments in [["--nights", "0"], ["--first-seed", "18446744073709550616"]] {
        let (code, printed) = simulate(&arguments);

        assert_eq!(code, Some(2), "{printed}");
        assert!(printed.contains("error: "), "{printed}");
    }

    let (code, printed) = simulate(&["--nights", "1", "--first-seed", "18446744073709551614"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.starts_with("1 nights, "), "{printed}");
}
