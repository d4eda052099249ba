//! Every command that people are told to type exists, with its options.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use clap::CommandFactory;

use crate::markdown::{backticked, block_lines, pages};
use crate::{assert_none, files, root, text};

/// Options of Cargo, and the one that every program of ours has.
const OF_ALL: [&str; 2] = ["--test", "--help"];

#[test]
fn every_script_answers_help_with_0_and_says_how_it_is_used() {
    let violations: Vec<String> = scripts()
        .iter()
        .filter(|script| !help(script).is_some_and(|help| help.contains(&format!("usage: {script}"))))
        .cloned()
        .collect();

    assert_none(&violations, "let `--help` print `usage: scripts/NAME …` and end with exit code 0, in");
}

#[test]
fn every_command_that_is_documented_exists() {
    let commands = Commands::new();
    let mut violations = Vec::new();
    for (page, text) in pages() {
        for code in backticked(&text).into_iter().chain(block_lines(&text)) {
            violations.extend(commands.unknown(&code).map(|what| format!("{page}: {what}, in `{code}`")));
        }
    }

    assert_none(&violations, "correct the document, or make what it promises");
}

#[test]
fn every_variable_that_is_documented_is_read() {
    let mut known = Vec::new();
    variables(&ltv::cli::Cli::command(), &mut known);
    let scripts: String =
        files().iter().filter(|file| file.starts_with("scripts/")).map(|file| text(file)).collect();
    let is_known = |name: &str| known.iter().any(|known| known == name) || scripts.contains(name);
    let mut violations = Vec::new();
    for (page, text) in pages() {
        for code in backticked(&text).into_iter().chain(block_lines(&text)) {
            let words = code.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_');
            let unknown = words.filter(|word| word.starts_with("LTV_") && !is_known(word));
            violations.extend(unknown.map(|name| format!("{page}: {name}")));
        }
    }

    assert_none(&violations, "no option and no script reads");
}

/// What can be typed.
struct Commands {
    ltv: clap::Command,
    scripts: BTreeMap<String, String>,
}

impl Commands {
    fn new() -> Self {
        let scripts = scripts().into_iter().map(|script| (script.clone(), help(&script).unwrap_or_default()));
        Self { ltv: ltv::cli::Cli::command(), scripts: scripts.collect() }
    }

    /// The first thing in a piece of code that cannot be typed.
    fn unknown(&self, code: &str) -> Option<String> {
        let words = words(code);
        if let Some(option) = code.strip_prefix("--") {
            return self.unknown_option(option.split([' ', '=']).next().unwrap_or_default());
        }
        words.iter().enumerate().find_map(|(at, word)| {
            let rest = &words[at + 1..];
            // Up to the next program on the same line.
            let end =
                rest.iter().position(|word| ["&", "&&", "|", "cargo", "-"].contains(word) && !is_usage(code));
            let rest = &rest[..end.unwrap_or(rest.len())];
            if (*word == "ltv" && at == 0) || word.ends_with("/ltv") {
                return unknown_to_ltv(&self.ltv, rest);
            }
            let script = word.strip_prefix("./").unwrap_or(word);
            let is_named = script.starts_with("scripts/") && !script.ends_with(['/', '.']);
            is_named.then(|| self.unknown_to_script(script, rest)).flatten()
        })
    }

    fn unknown_option(&self, option: &str) -> Option<String> {
        let option = format!("--{option}");
        let is_known = OF_ALL.contains(&option.as_str())
            || has_option(&self.ltv, &option)
            || self.scripts.values().any(|help| names(help, &option));
        (!is_known).then(|| format!("nothing takes {option}"))
    }

    fn unknown_to_script(&self, script: &str, words: &[&str]) -> Option<String> {
        let Some(help) = self.scripts.get(script) else {
            let is_file = files().iter().any(|file| file == script);
            return (!is_file).then(|| format!("there is no {script}"));
        };
        // Values of options are anything; what stands before them is a command of the script's.
        let command = words.first().filter(|word| is_command(word));
        let named = words.iter().filter(|word| word.starts_with("--")).chain(command);
        named.copied().find(|word| !names(help, word)).map(|word| format!("{script} does not know {word}"))
    }
}

/// Follows subcommands and options; `|` begins another form of the same.
fn unknown_to_ltv(ltv: &clap::Command, words: &[&str]) -> Option<String> {
    let name = words.first().filter(|word| is_command(word))?;
    let Some(command) = ltv.find_subcommand(name) else { return Some(format!("there is no ltv {name}")) };
    let mut current = command;
    let mut begins = command.has_subcommands();
    for word in &words[1..] {
        if *word == "|" {
            begins = command.has_subcommands();
        } else if begins && is_command(word) {
            let Some(found) = command.find_subcommand(word) else {
                return Some(format!("there is no ltv {name} {word}"));
            };
            (current, begins) = (found, false);
        } else if word.starts_with("--") && *word != "--help" && !has_option(current, word) {
            return Some(format!("ltv {name} has no {word}"));
        }
    }
    None
}

/// The words of a command, without brackets.
fn words(code: &str) -> Vec<&str> {
    code.split([' ', '[', ']', '(', ')', '"', ',', ';']).filter(|word| !word.is_empty()).collect()
}

/// Whether it shows forms to choose from, and not a pipe.
fn is_usage(code: &str) -> bool {
    !code.contains('&')
}

/// A subcommand, and no placeholder, value or path.
fn is_command(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_lowercase())
        && word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
}

fn has_option(command: &clap::Command, option: &str) -> bool {
    let name = option.trim_start_matches("--");
    command.get_arguments().any(|argument| argument.get_long() == Some(name))
        || command.get_subcommands().any(|below| has_option(below, option))
}

/// Whether a help text names a word by itself.
fn names(help: &str, word: &str) -> bool {
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    help.match_indices(word)
        .any(|(at, _)| !help[..at].ends_with(is_of_word) && !help[at + word.len()..].starts_with(is_of_word))
}

fn variables(command: &clap::Command, known: &mut Vec<String>) {
    let named = command.get_arguments().filter_map(|argument| argument.get_env());
    known.extend(named.map(|name| name.to_string_lossy().into_owned()));
    command.get_subcommands().for_each(|below| variables(below, known));
}

/// What can be run of `scripts/`.
fn scripts() -> Vec<String> {
    files().into_iter().filter(|file| file.starts_with("scripts/") && text(file).starts_with("#!")).collect()
}

/// What a script answers to `--help`, if it does.
fn help(script: &str) -> Option<String> {
    let output = Command::new(root().join(script)).arg("--help").stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{script}: {error}"));
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_does_not_exist_is_told_from_what_does() {
    let commands = Commands::new();
    for right in [
        "ltv runs list | show [RUN] [--customer ID] | watch [RUN] | cancel RUN",
        "ltv dispatch --all | --segment NAME [--priority critical|high|normal]",
        "target/release/ltv worker & target/release/ltv coordinator &",
        "scripts/bench night [--customers N]",
        "eval \"$(scripts/stack --name mine env)\"",
        "--take-rate",
        "ltv SUBCOMMAND",
        "scripts/",
    ] {
        assert_eq!(commands.unknown(right), None, "{right}");
    }
    for wrong in [
        "ltv guess",
        "ltv runs list | guess",
        "ltv runs cancel --customer 3",
        "ltv worker & target/release/ltv guess",
        "scripts/guess",
        "scripts/bench guess",
        "scripts/demo --guess 3",
        "--guess",
    ] {
        assert!(commands.unknown(wrong).is_some(), "{wrong}");
    }
}
