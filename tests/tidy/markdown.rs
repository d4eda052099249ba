//! What stands in the Markdown files as code: in backticks, in blocks, in links.

use crate::{files, has_extension, text};

/// The files that people read, with their texts. Where data came from is told in the words of others.
pub(crate) fn pages() -> Vec<(String, String)> {
    all_pages().into_iter().filter(|(file, _)| !file.ends_with("PROVENANCE.md")).collect()
}

/// All Markdown files, with their texts.
pub(crate) fn all_pages() -> Vec<(String, String)> {
    let is_page = |file: &String| has_extension(file, &["md"]);
    files().into_iter().filter(is_page).map(|file| (file.clone(), text(&file))).collect()
}

/// What stands in backticks.
pub(crate) fn backticked(page: &str) -> Vec<String> {
    pieces(page).into_iter().skip(1).step_by(2).collect()
}

/// What is said to stand in a file: `file`: `what`.
pub(crate) fn places(page: &str) -> Vec<(String, String)> {
    let pieces = pieces(page);
    let named = pieces.windows(3).skip(1).step_by(2).filter(|around| around[1] == ": ");
    named.map(|around| (around[0].clone(), around[2].clone())).collect()
}

/// Prose and what stands in backticks, in turns.
fn pieces(page: &str) -> Vec<String> {
    let prose: Vec<&str> = page.lines().filter(|line| !is_code(line)).map(str::trim).collect();
    prose.join("\n").split('`').map(|piece| piece.replace('\n', " ")).collect()
}

/// The lines of indented blocks, without what explains them to the right. A line that goes on with the options of the
/// one before is added to it.
pub(crate) fn block_lines(page: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in page.lines().filter(|line| is_code(line)) {
        let code = line.trim_start();
        let code = code.split("  ").next().unwrap_or_default();
        match lines.last_mut() {
            Some(before) if code.starts_with('[') || code.starts_with("--") => before.extend([" ", code]),
            _ => lines.push(code.to_owned()),
        }
    }
    lines
}

/// Where its links lead, those to the web excepted.
pub(crate) fn links(page: &str) -> Vec<&str> {
    let after = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    after.filter(|target| !target.contains("://")).collect()
}

/// The names that links to its headings have, as GitHub and others make them.
pub(crate) fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || "-_ ".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

fn is_code(line: &str) -> bool {
    line.starts_with("    ")
}

#[test]
fn code_is_told_from_prose() {
    let page = "# A, b and `c`\n\nUse `ltv fit\n--json` here.\n\n    ltv load --customers C.csv   loads `it`\n             [--json]\n";

    assert_eq!(backticked(page), ["c", "ltv fit --json"]);
    assert_eq!(block_lines(page), ["ltv load --customers C.csv [--json]"]);
    assert_eq!(anchors(page), ["a-b-and-c"]);
    assert_eq!(places("It is `a.rs`: `b`, or `c`."), [("a.rs".to_owned(), "b".to_owned())]);
    assert_eq!(links("[a](b.md#c), [d](https://e)"), ["b.md#c"]);
}
