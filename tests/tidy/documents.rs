//! What people read first mentions what there is.

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory;

use crate::markdown::{all_pages, anchors, backticked, links, pages, places};
use crate::{assert_none, files, has_extension, root, text};

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
fn every_fault_test_that_a_document_names_is_there() {
    let mut violations = Vec::new();
    for (page, text) in pages() {
        let named = backticked(&text);
        violations.extend(named.iter().filter_map(|code| code.split_once("::")).filter_map(
            |(module, test)| {
                let file = format!("tests/faults/{module}.rs");
                let is_there = || crate::text(&file).contains(&format!("async fn {test}()"));
                (files().contains(&file) && !is_there()).then(|| format!("{page}: {module}::{test}"))
            },
        ));
    }

    assert_none(&violations, "name the test as it is called now in tests/faults");
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

#[test]
fn every_file_that_a_document_names_is_there() {
    let paths: Vec<String> = files().into_iter().chain(folders()).collect();
    let mut violations = Vec::new();
    for (page, text) in pages() {
        let named = backticked(&text).into_iter().filter(|code| is_path(code));
        let unknown = named.filter(|name| paths.iter().all(|path| !is_called(path, name)));
        violations.extend(unknown.map(|name| format!("{page}: {name}")));
    }

    assert_none(&violations, "name the file as it is called now, by its path or the end of it");
}

#[test]
fn every_name_that_a_document_takes_from_the_code_is_there() {
    let code: Vec<Source> = files().into_iter().filter(|file| is_code(file)).map(Source::new).collect();
    let mut violations = Vec::new();
    for (page, text) in pages() {
        let names = backticked(&text).into_iter().filter(|code| is_name(code));
        let unknown = names.filter(|name| !code.iter().any(|source| source.has(name)));
        violations.extend(unknown.map(|name| format!("{page}: {name}")));
        let places = places(&text).into_iter().filter(|(file, name)| is_path(file) && is_name(name));
        let misplaced = places.filter(|(file, name)| {
            !code.iter().any(|source| is_called(&source.file, file) && source.has(name))
        });
        violations.extend(misplaced.map(|(file, name)| format!("{page}: {name} in {file}")));
    }

    assert_none(&violations, "name the thing as it is called now, in the file where it is now");
}

#[test]
fn every_line_that_one_sees_when_something_fails_is_written_by_the_code() {
    let failures = "docs/failures.md";
    let code: String = files().into_iter().filter(|file| is_code(file)).map(|file| text(&file)).collect();
    let is_line = |line: &String| {
        line.contains(' ') && !["ltv ", "scripts/", "on conflict"].iter().any(|begin| line.starts_with(begin))
    };
    let violations: Vec<String> = backticked(&text(failures))
        .into_iter()
        .filter(|line| is_line(line) && !code.contains(line))
        .collect();

    assert_none(
        &violations,
        &format!("{failures} quotes what nobody says: quote what is said now instead of"),
    );
}

#[test]
fn every_link_leads_somewhere() {
    let mut violations = Vec::new();
    for (page, text) in all_pages() {
        let folder = Path::new(&page).parent().expect("a file has a folder");
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { folder.join(file).display().to_string() };
            let leads_to = |anchor: &str| anchors(&crate::text(&target)).iter().any(|known| known == anchor);
            if !root().join(&target).exists() || !(anchor.is_empty() || leads_to(anchor)) {
                violations.push(format!("{page}: {link}"));
            }
        }
    }

    assert_none(&violations, "link to a file that is there, and to a heading that it has");
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

/// The folders of the repository.
fn folders() -> BTreeSet<String> {
    let files = files();
    let parents = files.iter().flat_map(|file| Path::new(file).ancestors().skip(1));
    parents.map(|folder| folder.display().to_string()).collect()
}

/// Whether a path is meant by its end.
fn is_called(path: &str, name: &str) -> bool {
    let before = path.strip_suffix(name.trim_end_matches('/'));
    before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

fn is_code(file: &str) -> bool {
    has_extension(file, &["rs", "sql", "toml", "py"]) || file.starts_with("scripts/")
}

/// A file of code.
struct Source {
    file: String,
    text: String,
    words: BTreeSet<String>,
}

impl Source {
    fn new(file: String) -> Self {
        let text = text(&file);
        // A module has the name of its file.
        let named = format!("{text} {file}");
        let words = named.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let words = words.map(str::to_owned).collect();
        Self { file, text, words }
    }

    /// Whether it has what a name names. What stands behind `::` in lower case is a function, a field or a module, and
    /// declared here.
    fn has(&self, name: &str) -> bool {
        let declares = |member: &str| {
            let is_module = self.file.split(['/', '.']).any(|part| part == member);
            is_module
                || [format!("fn {member}"), format!("{member}: ")].iter().any(|it| self.text.contains(it))
        };
        let member = name.rsplit_once("::").map(|(_, member)| member);
        name.split("::").all(|part| self.words.contains(part))
            && member.is_none_or(|member| member.starts_with(char::is_uppercase) || declares(member))
    }
}

/// A file or a folder of the repository, and no value, route or placeholder.
fn is_path(code: &str) -> bool {
    let is_plain = code.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-./".contains(letter));
    let is_file = has_extension(code, &["rs", "sql", "toml", "md", "sh", "py"]);
    let is_below =
        ["crates", "data", "docs", "scripts", "tests"].iter().any(|top| code.starts_with(&format!("{top}/")));
    is_plain && !code.starts_with(['/', '.', '-']) && (is_file || is_below || code.ends_with('/'))
}

/// A name of Rust or SQL that is more than a word: `Type::method`, `CamelCase`, `snake_case`, `CONSTANT`.
fn is_name(code: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    let is_more_than_a_word = code.contains("::")
        || code.contains('_')
        || code.contains(|letter: char| letter.is_ascii_uppercase());
    code.split("::").all(is_part) && is_more_than_a_word
}
