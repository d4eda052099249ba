//! The rules that the compiler does not hold: who may depend on whom, and where SQL, AMQP and Redis live.
//!
//! Needs no server. Each rule is one test; its message says what to do.

mod documents;
mod layers;
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

/// Asserts that there are no violations, or lists them under what to do about it.
fn assert_none(violations: &[String], what_to_do: &str) {
    assert!(violations.is_empty(), "{what_to_do}:\n  {}", violations.join("\n  "));
}
