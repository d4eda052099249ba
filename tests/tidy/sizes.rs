//! A function is a paragraph, and a file is a noun: neither is longer than can be read at a sitting.

use std::collections::BTreeMap;

use crate::{assert_none, files, has_extension, text};

/// Lines of a file.
const LONGEST_FILE: usize = 500;

/// Lines of code of a function; what stands in a text, as SQL does, is not counted.
const LONGEST_FUNCTION: usize = 60;

/// Files that are longer, and why.
const LONG_FILES: [(&str, &str); 1] =
    [("scripts/stack", "a program that runs before anything is built, and leans on nothing but bash")];

/// Functions that are longer, and why.
const LONG_FUNCTIONS: [(&str, &str); 0] = [];

#[test]
fn no_file_is_longer_than_500_lines() {
    let lengths = sources().into_iter().map(|(file, text)| (file, text.lines().count()));

    check(&lengths.collect(), LONGEST_FILE, &LONG_FILES);
}

#[test]
fn no_function_is_longer_than_60_lines() {
    let mut lengths = BTreeMap::new();
    for (file, text) in sources().into_iter().filter(|(file, _)| has_extension(file, &["rs"])) {
        for (name, length) in functions(&text) {
            let longest = lengths.entry(format!("{file}: {name}")).or_insert(0);
            *longest = length.max(*longest);
        }
    }

    check(&lengths, LONGEST_FUNCTION, &LONG_FUNCTIONS);
}

fn check(lengths: &BTreeMap<String, usize>, longest: usize, exceptions: &[(&str, &str)]) {
    let long: BTreeMap<&str, usize> = lengths
        .iter()
        .filter(|(_, length)| **length > longest)
        .map(|(name, length)| (name.as_str(), *length))
        .collect();
    let mut violations: Vec<String> = long
        .iter()
        .filter(|(name, _)| exceptions.iter().all(|(exception, _)| exception != *name))
        .map(|(name, length)| format!("{name}: {length} lines, cut it where a block wants a heading"))
        .collect();
    let is_needless = |exception: &&(&str, &str)| !long.contains_key(exception.0);
    let needless = exceptions.iter().filter(is_needless);
    violations
        .extend(needless.map(|(name, _)| format!("{name}: no longer too long, take the exception away")));

    assert_none(&violations, &format!("more than {longest} lines are too many"));
}

/// What people write: Rust and scripts.
fn sources() -> BTreeMap<String, String> {
    let is_source = |file: &String| has_extension(file, &["rs", "py"]) || file.starts_with("scripts/");
    files().into_iter().filter(is_source).map(|file| (file.clone(), text(&file))).collect()
}

/// The functions of a file that is formatted, with their lines of code: no comments, no empty lines, no texts.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines = code_lines(text);
    let mut functions = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.and_then(name_of_function) else { continue };
        let indent = indent(line.unwrap_or_default());
        let mut length = 0;
        for line in lines[at..].iter().filter_map(|line| *line) {
            length += usize::from(!line.trim().is_empty() && !line.trim_start().starts_with("//"));
            let is_at_its_side = self::indent(line) == indent;
            // A declaration, a function in one line, or the end of a longer one.
            if is_at_its_side && line.trim_end().ends_with(['}', ';']) {
                break;
            }
        }
        functions.push((name, length));
    }
    functions
}

fn name_of_function(line: &str) -> Option<String> {
    let mut rest = line.trim_start();
    while let Some((word, after)) = rest.split_once(' ') {
        if word == "fn" {
            return Some(after.split(['(', '<']).next().unwrap_or_default().to_owned());
        }
        if !["pub", "pub(crate)", "pub(super)", "async", "const"].contains(&word) {
            return None;
        }
        rest = after;
    }
    None
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The lines of a text, but for those that begin inside a string literal.
fn code_lines(text: &str) -> Vec<Option<&str>> {
    let mut lines = Vec::new();
    let mut within: Option<String> = None;
    for line in text.lines() {
        lines.push(within.is_none().then_some(line));
        let mut rest = line;
        loop {
            match &within {
                Some(end) if end == "\"" => match end_of_string(rest) {
                    Some(at) => (rest, within) = (&rest[at..], None),
                    None => break,
                },
                Some(end) => match rest.find(end.as_str()) {
                    Some(at) => (rest, within) = (&rest[at + end.len()..], None),
                    None => break,
                },
                None => match begin_of_string(rest) {
                    Some((at, end)) => (rest, within) = (&rest[at..], Some(end)),
                    None => break,
                },
            }
        }
    }
    lines
}

/// Behind the quotation mark that ends a string.
fn end_of_string(rest: &str) -> Option<usize> {
    let mut letters = rest.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Behind the quotation mark that begins a string, and what ends it.
fn begin_of_string(rest: &str) -> Option<(usize, String)> {
    let comment = rest.find("//").unwrap_or(rest.len());
    let mut from = 0;
    loop {
        let at = from + rest[from..].find('"')?;
        if at > comment && !rest[..comment].contains('"') {
            return None;
        }
        // The letter '"' is none, nor is its escape.
        if rest[..at].ends_with('\'') && rest[at + 1..].starts_with('\'') {
            from = at + 1;
            continue;
        }
        let marks = rest[..at].chars().rev().take_while(|letter| *letter == '#').count();
        let is_raw = rest[..at - marks].ends_with('r');
        let end = if is_raw { format!("\"{}", "#".repeat(marks)) } else { "\"".to_owned() };
        // A raw string without marks ends like any other, but for escapes, which it has not.
        return Some((at + 1, end));
    }
}

#[test]
fn functions_are_measured_without_comments_and_texts() {
    let text = "\
impl It {
    /// Says it.
    pub(crate) async fn say(&self) -> Result<()> {
        const SQL: &str = \"
            select 1
              from it\";
        // Why.

        self.run(SQL, '\"').await
    }
}

fn one() {}

trait Other {
    fn declared(
        &self,
    ) -> u32;
}
";

    let expected = [("say", 4), ("one", 1), ("declared", 3)].map(|(name, length)| (name.to_owned(), length));
    assert_eq!(functions(text), expected);
}
