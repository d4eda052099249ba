//! The rules that the compiler does not hold: who may depend on whom, where SQL, AMQP and Redis live, how long a function
//! may be, and that what the documents name exists.
//!
//! Needs no server. Each rule is one test; its message says what to do.

mod commands;
mod documents;
mod layers;
mod markdown;
mod sizes;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's folder.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("the tests have a folder of their own").to_owned()
}

/// Every file that is in the repository or about to be, relative to it.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .expect("git is installed");
    assert!(
        output.status.success(),
        "this is not a git repository: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).expect("file names are text");
    // What was deleted and not yet committed is still listed.
    names
        .split('\0')
        .filter(|name| !name.is_empty() && root().join(name).is_file())
        .map(str::to_owned)
        .collect()
}

/// The text of a file; nothing if it is not text.
fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_default()
}

/// Whether a file's name ends in one of them.
fn has_extension(file: &str, extensions: &[&str]) -> bool {
    let found = Path::new(file).extension().and_then(|extension| extension.to_str());
    found.is_some_and(|found| extensions.contains(&found))
}

/// Asserts that there are no violations, or lists them under what to do about it.
fn assert_none(violations: &[String], what_to_do: &str) {
    assert!(violations.is_empty(), "{what_to_do}:\n  {}", violations.join("\n  "));
}
