//! What stands in the sources, and what does not.

use std::path::Path;

use crate::{assert_none, files, has_extension, text};

/// Words that only SQL has in this order.
const SQL: [&str; 12] = [
    "insert into ",
    "delete from ",
    "create table",
    "alter table",
    "drop table",
    "truncate ",
    " from fleet.",
    " from source.",
    " join fleet.",
    "update fleet.",
    "update source.",
    "select count(",
];

/// Where JSON is made by hand, and why.
const JSON_BY_HAND: [(&str, &str); 4] = [
    ("crates/api/src/openapi.rs", "the document of the api, which says what all operations have in common"),
    ("crates/ltv/src/bench/base.rs", "what the model version of a benchmark says of its fit"),
    ("crates/store/src/promises/steps.rs", "what the model version of a promise says of its fit"),
    ("crates/cache/src/packed.rs", "the form in which Redis keeps progress"),
];

#[test]
fn sql_is_written_in_the_stores_postgres_backend_alone() {
    let violations = lines(
        |file| is_product(file) && !file.starts_with("crates/store/src/postgres"),
        |line| SQL.iter().any(|word| line.contains(word)),
    );

    assert_none(&violations, "move the statement into a method in crates/store/src/postgres");
}

#[test]
fn the_postgres_driver_is_named_in_the_stores_postgres_backend_alone() {
    let violations = lines(
        |file| is_product(file) && !file.starts_with("crates/store/src/postgres"),
        |line| line.contains("tokio_postgres") || line.contains("deadpool_postgres"),
    );

    assert_none(&violations, "go through the store's traits");
}

#[test]
fn amqp_is_spoken_in_the_queues_rabbitmq_backend_alone() {
    let violations = lines(
        |file| is_product(file) && !file.starts_with("crates/queue/src/rabbitmq"),
        |line| line.contains("lapin::"),
    );

    assert_none(&violations, "go through the queue's traits");
}

#[test]
fn redis_is_spoken_in_the_caches_redis_backend_alone() {
    let violations = lines(
        |file| is_product(file) && !file.starts_with("crates/cache/src/redis"),
        |line| line.contains("fred::"),
    );

    assert_none(&violations, "go through the cache's trait");
}

#[test]
fn backoff_is_used_in_one_module() {
    let violations = lines(
        |file| is_product(file) && file != "crates/resilience/src/retry.rs",
        |line| line.contains("backoff::"),
    );

    assert_none(&violations, "use resilience::retry or resilience::Delays");
}

#[test]
fn the_environment_is_read_by_the_command_line_alone() {
    let violations = lines(
        |file| {
            is_product(file) && !file.starts_with("crates/ltv/src/cli/") && file != "crates/ltv/src/config.rs"
        },
        |line| line.contains("env::var") || line.contains("env = \"LTV_") || line.contains("env::args"),
    );

    assert_none(&violations, "make it an argument in crates/ltv/src/cli/ and hand it on");
}

#[test]
fn what_a_reader_gets_as_json_is_made_of_documents() {
    let by_hand = lines(
        |file| is_product(file) && !file.starts_with("crates/documents/"),
        |line| line.contains("json!("),
    );
    let stands_in =
        |line: &str, file: &str| line.strip_prefix(file).is_some_and(|rest| rest.starts_with(':'));
    let is_excepted = |line: &str| JSON_BY_HAND.iter().any(|(file, _)| stands_in(line, file));
    let mut violations: Vec<String> = by_hand.iter().filter(|line| !is_excepted(line)).cloned().collect();
    let is_needless = |file: &str| !by_hand.iter().any(|line| stands_in(line, file));
    let needless = JSON_BY_HAND.iter().filter(|(file, _)| is_needless(file));
    violations.extend(needless.map(|(file, _)| format!("{file}: none there, take the exception away")));

    assert_none(&violations, "give it a shape in `documents`, which the api and the webhooks will need too");
}

#[test]
fn nothing_is_left_half_done() {
    // Written in two parts, so that this file does not break its own rule.
    let words = ["tod!o!(", "unimplemen!ted!(", "db!g!(", "#[igno!re", "FIX!ME"]
        .map(|word| word.replacen('!', "", 1));
    let violations = lines(is_rust, |line| words.iter().any(|word| line.contains(word.as_str())));

    assert_none(&violations, "finish it, or take it out");
}

#[test]
fn the_product_does_not_unwrap() {
    let violations = lines(is_product, |line| line.contains(".unwrap()"));

    assert_none(&violations, "say with `expect` which invariant makes it impossible, or return an error");
}

#[test]
fn every_crate_and_test_program_says_what_it_is_for() {
    let is_entry = |file: &str| {
        is_rust(file)
            && (file.ends_with("/lib.rs") || file.ends_with("/main.rs") || file.contains("/src/bin/"))
    };
    let violations: Vec<String> =
        files().into_iter().filter(|file| is_entry(file) && !text(file).starts_with("//! ")).collect();

    assert_none(
        &violations,
        "begin with crate docs (`//! …`): what is it for, what does it not know, where to look",
    );
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let paths = ["/wo!rk/", "/ho!me/", "/ro!ot/", "/Us!ers/"].map(|path| path.replacen('!', "", 1));
    let mut violations = Vec::new();
    for file in files().into_iter().filter(|file| !file.starts_with("data/")) {
        for (number, line) in text(&file).lines().enumerate() {
            if paths.iter().any(|path| names_folder(line, path)) {
                violations.push(format!("{file}:{}: {}", number + 1, line.trim()));
            }
        }
    }

    assert_none(&violations, "say it relative to the repository, or take it as an argument");
}

#[test]
fn crates_come_from_crates_io_and_no_mirror_is_configured() {
    let registry = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let mut violations: Vec<String> = text("Cargo.lock")
        .lines()
        .filter(|line| line.starts_with("source = ") && *line != registry)
        .map(|line| format!("Cargo.lock: {line}"))
        .collect();
    let configures = |file: &String| {
        file.starts_with(".cargo/") || ["pip.conf", "npmrc"].iter().any(|name| file.ends_with(name))
    };
    violations.extend(files().into_iter().filter(configures));

    assert_none(&violations, "which mirror a machine uses is that machine's business; take out");
}

#[test]
fn scripts_are_executable_and_stop_at_the_first_error() {
    use std::os::unix::fs::PermissionsExt;

    let is_script = |file: &String| file.starts_with("scripts/") || file.starts_with(".ci/");
    let mut violations = Vec::new();
    for file in files().into_iter().filter(is_script) {
        let text = text(&file);
        if !text.starts_with("#!") {
            continue; // Data beside a script.
        }
        let mode = crate::root().join(&file).metadata().expect("a listed file is there").permissions().mode();
        if mode & 0o111 != 0o111 {
            violations.push(format!("{file}: chmod +x"));
        }
        if text.lines().next().is_some_and(|first| first.contains("bash"))
            && !text.contains("set -euo pipefail")
        {
            violations.push(format!("{file}: set -euo pipefail"));
        }
    }

    assert_none(&violations, "add what is missing");
}

fn is_rust(file: &str) -> bool {
    has_extension(file, &["rs"])
}

/// What is shipped: no tests, no examples. The contracts are held to the same rules.
fn is_product(file: &str) -> bool {
    let parts: Vec<&str> = file.split('/').collect();
    is_rust(file) && parts.len() > 3 && parts[0] == "crates" && parts[2] == "src" && !is_of_tests(file)
}

/// Whether the file is a module that only tests compile, or a part of one.
fn is_of_tests(file: &str) -> bool {
    let module = Path::new(file).with_extension("");
    module.ancestors().any(|module| {
        let (Some(name), Some(folder)) = (module.file_name(), module.parent()) else { return false };
        let declared =
            ["", "pub(crate) "].map(|reach| format!("#[cfg(test)]\n{reach}mod {};", name.display()));
        let homes = ["mod.rs", "lib.rs", "main.rs"]
            .map(|home| folder.join(home))
            .into_iter()
            .chain([folder.with_extension("rs")]);
        homes
            .filter_map(|home| home.to_str().map(text))
            .any(|home| declared.iter().any(|one| home.contains(one)))
    })
}

/// The lines of code that break a rule. Comments, and the tests at the end of a file, are no code of the product.
fn lines(concerns: impl Fn(&str) -> bool, breaks: impl Fn(&str) -> bool) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files().into_iter().filter(|file| is_rust(file) && concerns(file)) {
        let text = text(&file);
        let code = if is_product(&file) { without_tests(&text) } else { &text };
        for (number, line) in code.lines().enumerate() {
            if !line.trim_start().starts_with("//") && breaks(line) {
                violations.push(format!("{file}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    violations
}

/// What stands before the tests at the end of a file. Tests in a file of their own are declared anywhere.
fn without_tests(text: &str) -> &str {
    let is_module = |at: &usize| text[*at..].lines().nth(2).is_some_and(|line| line.ends_with('{'));
    let ends = text.match_indices("\n#[cfg(test)]\n").map(|(at, _)| at).find(is_module);
    &text[..ends.unwrap_or(text.len())]
}

/// Whether the folder is named from the root on, and not as a part of another path.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && !"_-.$}{*".contains(before))
    })
}

#[test]
fn only_tests_at_the_end_of_a_file_are_passed_over() {
    let file = "mod one;\n\n#[cfg(test)]\nmod tests;\n\nfn code() {}\n";
    let ended = format!("{file}\n#[cfg(test)]\nmod more {{\n    use super::*;\n}}\n");

    assert_eq!(without_tests(file), file);
    assert_eq!(without_tests(&ended), file);
    assert!(is_of_tests("crates/store/src/memory/tests.rs"));
    assert!(!is_of_tests("crates/store/src/memory/rows.rs"));
}

#[test]
fn a_folder_is_told_from_a_part_of_a_path() {
    let home = "/ho!me/".replacen('!', "", 1);

    assert!(names_folder(&format!("cd {home}somebody"), &home));
    assert!(!names_folder(&format!("$stack{home}x"), &home));
}
