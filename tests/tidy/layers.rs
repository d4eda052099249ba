//! Pure crates decide, seams reach outside, roles do the work, one binary wires them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::{assert_none, root, text};

/// Which crates of ours a crate may depend on, in its tests too. `ltv` and `tests` may on all.
const ALLOWED: [(&str, &[&str]); 19] = [
    ("model", &[]),
    ("batch", &[]),
    ("resilience", &[]),
    ("tls", &["resilience"]),
    ("process", &[]),
    ("files", &["model"]),
    ("store", &["batch", "model", "resilience", "tls"]),
    ("queue", &["batch", "resilience", "tls"]),
    ("cache", &["batch", "model", "resilience", "tls"]),
    ("documents", &["batch", "model", "store"]),
    ("publishing", &["batch", "store", "queue"]),
    ("dispatcher", &["batch", "store", "queue", "publishing"]),
    ("coordinator", &["batch", "resilience", "store", "queue", "cache", "publishing"]),
    ("movements", &["batch", "model", "resilience", "store"]),
    ("valuation", &["batch", "model", "store"]),
    ("worker", &["batch", "model", "resilience", "store", "queue", "cache", "valuation"]),
    ("fitter", &["batch", "model", "store"]),
    (
        "api",
        &[
            "batch",
            "model",
            "resilience",
            "store",
            "queue",
            "cache",
            "documents",
            "process",
            "dispatcher",
            "valuation",
        ],
    ),
    (
        "offline",
        &[
            "batch",
            "model",
            "resilience",
            "store",
            "queue",
            "cache",
            "documents",
            "files",
            "dispatcher",
            "coordinator",
            "worker",
            "fitter",
        ],
    ),
];

/// The only crates that may depend on a driver, beside the tests.
const DRIVERS: [(&str, &[&str]); 9] = [
    ("tokio-postgres", &["store"]),
    ("deadpool-postgres", &["store"]),
    ("refinery", &["store"]),
    ("refinery-core", &["store"]),
    ("lapin", &["queue"]),
    ("fred", &["cache"]),
    ("backoff", &["resilience"]),
    ("rustls", &["tls"]),
    ("rustls-native-certs", &["tls"]),
];

#[test]
fn crates_depend_on_each_other_only_as_the_design_allows() {
    let allowed = BTreeMap::from(ALLOWED);
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(name).collect();

    let mut violations = Vec::new();
    for package in packages.iter().filter(|package| !["ltv", "tests"].contains(&name(package))) {
        let Some(allowed) = allowed.get(name(package)) else {
            violations.push(format!("{} is not in the table of layers", name(package)));
            continue;
        };
        let beyond =
            dependencies(package).into_iter().filter(|on| ours.contains(on) && !allowed.contains(on));
        violations.extend(beyond.map(|on| format!("{} depends on {on}", name(package))));
    }

    assert_none(
        &violations,
        "move the code to where it belongs (ARCHITECTURE.md, the map), or change the design first",
    );
}

#[test]
fn drivers_are_known_to_their_seam_alone() {
    let mut violations = Vec::new();
    for package in packages().iter().filter(|package| name(package) != "tests") {
        for (driver, allowed) in DRIVERS {
            if dependencies(package).contains(driver) && !allowed.contains(&name(package)) {
                violations.push(format!("{} depends on {driver}", name(package)));
            }
        }
    }

    assert_none(&violations, "go through the seam's traits; a missing call is added there");
}

#[test]
fn one_implementation_of_tls_with_one_provider_is_built_in() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "-p", "ltv", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p} {f}"])
        .current_dir(root())
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("cargo writes text");
    let has = |name: &str| tree.lines().any(|line| line.starts_with(&format!("{name} v")));

    assert!(has("rustls") && has("aws-lc-rs"), "{tree}");
    for other in ["ring", "openssl", "openssl-sys", "native-tls", "rustls-post-quantum", "mbedtls", "boring"]
    {
        assert!(!has(other), "{other} is built in: find out for whom with `cargo tree -i {other}`");
    }
    let rustls = tree.lines().find(|line| line.starts_with("rustls v")).expect("it is there");
    assert!(!rustls.split([' ', ',']).any(|feature| feature == "ring"), "{rustls}");
}

#[test]
fn pure_crates_know_no_clock_socket_random_source_or_async() {
    let impure =
        ["tokio", "tokio-util", "futures-util", "rand", "tracing", "metrics", "lapin", "fred", "hyper"];
    let mut violations = Vec::new();
    for package in packages().iter().filter(|package| ["model", "batch"].contains(&name(package))) {
        let found = dependencies(package).into_iter().filter(|on| impure.contains(on));
        violations.extend(found.map(|on| format!("{} depends on {on}", name(package))));
    }

    assert_none(&violations, "take what is needed as a value, and hand out what should happen as one");
}

#[test]
fn only_the_tests_compile_faults_or_promises_in() {
    let mut violations = Vec::new();
    for package in packages().iter().filter(|package| name(package) != "tests") {
        for feature in ["faults", "promises"] {
            // A crate's own tests may hold it to its promises.
            let may_ask = |dependency: &Value| feature == "promises" && dependency["kind"] == "dev";
            let asks = |dependency: &&Value| {
                list(&dependency["features"]).contains(&feature) && !may_ask(dependency)
            };
            let on = dependency_list(package).iter().filter(asks).map(name);
            violations.extend(on.map(|on| format!("{} asks {on} for {feature}", name(package))));
            let features = package["features"].as_object().expect("a package has features");
            let implies = |enabled: &str| enabled.split('/').next_back() == Some(feature);
            let others = features.iter().filter(|(other, enables)| {
                *other != feature && list(enables).iter().any(|enabled| implies(enabled))
            });
            violations
                .extend(others.map(|(other, _)| format!("{}: {other} implies {feature}", name(package))));
        }
    }

    assert_none(&violations, "the product never contains what only tests need; take the feature away from");
    assert!(
        text("Cargo.toml").contains(r#"default-members = ["crates/ltv"]"#),
        "a plain `cargo build` must not build the test package, whose features would leak into the product"
    );
}

#[test]
fn every_crate_takes_version_and_lints_from_the_workspace() {
    let mut violations = Vec::new();
    for package in packages() {
        let manifest = package["manifest_path"].as_str().expect("a package has a manifest");
        let relative = manifest.trim_start_matches(root().to_str().expect("the folder's name is text"));
        let manifest = text(relative.trim_start_matches('/'));
        for line in ["[lints]\nworkspace = true", "version.workspace = true", "edition.workspace = true"] {
            if !manifest.contains(line) {
                violations.push(format!("{relative}: {line:?}"));
            }
        }
    }

    assert_none(&violations, "add the missing lines");
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    metadata["packages"].as_array().expect("a workspace has packages").clone()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().expect("a package has a name")
}

fn dependency_list(package: &Value) -> &[Value] {
    package["dependencies"].as_array().expect("a package has a list of dependencies")
}

fn dependencies(package: &Value) -> BTreeSet<&str> {
    dependency_list(package).iter().map(name).collect()
}

fn list(strings: &Value) -> Vec<&str> {
    strings.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
