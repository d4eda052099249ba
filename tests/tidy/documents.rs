//! What people read first mentions what there is.

use clap::CommandFactory;

use crate::{assert_none, files, text};

#[test]
fn the_architecture_mentions_every_crate() {
    let architecture = text("ARCHITECTURE.md");
    let violations: Vec<String> = files()
        .iter()
        .filter_map(|file| file.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"))
        .filter(|name| {
            !architecture.contains(&format!("`{name}`")) && !architecture.contains(&format!("{name}/"))
        })
        .map(str::to_owned)
        .collect();

    assert_none(&violations, "add to the map in ARCHITECTURE.md");
}

#[test]
fn every_fault_test_that_the_architecture_names_is_there() {
    let architecture = text("ARCHITECTURE.md");
    let named = architecture.split('`').filter_map(|code| code.split_once("::"));
    let violations: Vec<String> = named
        .filter_map(|(module, test)| {
            let file = format!("tests/faults/{module}.rs");
            let is_there = || text(&file).contains(&format!("async fn {test}()"));
            (files().contains(&file) && !is_there()).then(|| format!("{module}::{test}"))
        })
        .collect();

    assert_none(&violations, "ARCHITECTURE.md names tests that are not in tests/faults");
}

#[test]
fn the_readme_mentions_every_command() {
    let readme = text("README.md");
    let mut violations = Vec::new();
    for command in ltv::cli::Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("ltv {}", command.get_name());
        if !readme.contains(&name) {
            violations.push(name);
        }
    }

    assert_none(&violations, "add to the commands in README.md");
}

#[test]
fn every_command_and_option_says_what_it_is_for() {
    let mut violations = Vec::new();
    look_at(&ltv::cli::Cli::command(), "ltv", &mut violations);

    assert_none(&violations, "write a doc comment in crates/ltv/src/cli/ for");
}

#[test]
fn the_readme_mentions_every_script() {
    let readme = text("README.md") + &text("CONTRIBUTING.md");
    let is_script = |file: &String| file.starts_with("scripts/") && text(file).starts_with("#!");
    let violations: Vec<String> =
        files().into_iter().filter(|file| is_script(file) && !readme.contains(file.as_str())).collect();

    assert_none(&violations, "say in README.md or CONTRIBUTING.md what it is for");
}

fn look_at(command: &clap::Command, path: &str, violations: &mut Vec<String>) {
    if command.get_about().is_none() {
        violations.push(path.to_owned());
    }
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        if argument.get_help().is_none() {
            violations.push(format!("{path} {}", argument.get_id()));
        }
    }
    for below in command.get_subcommands() {
        look_at(below, &format!("{path} {}", below.get_name()), violations);
    }
}
