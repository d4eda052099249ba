//! Asks the dependencies, each within its limit, and says what that means.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a dependency may take to answer its check.
pub const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// Asks a dependency whether it works. The error says why not.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A dependency, and how to ask it.
#[derive(Clone)]
pub struct Check {
    /// The dependency, as `postgres`.
    pub name: &'static str,
    /// Whether the process is not ready without it.
    pub required: bool,
    /// Asks it. Dropped after [`CHECK_LIMIT`].
    pub probe: Probe,
}

impl Check {
    /// Checks what the process cannot work without.
    pub fn required<F>(name: &'static str, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, required: true, probe: Arc::new(move || Box::pin(probe())) }
    }

    /// Checks what the process works without, if worse.
    pub fn optional<F>(name: &'static str, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { required: false, ..Self::required(name, probe) }
    }

    async fn run(&self) -> Dependency {
        let state = match timeout(CHECK_LIMIT, (self.probe)()).await {
            Ok(Ok(())) => DependencyState::Ok,
            Ok(Err(reason)) => DependencyState::Failed { reason },
            Err(_) => {
                DependencyState::Failed { reason: format!("no answer within {} s", CHECK_LIMIT.as_secs()) }
            }
        };
        Dependency { name: self.name, required: self.required, state }
    }
}

/// The body of `/readyz`.
#[derive(Serialize)]
pub struct Readiness {
    /// Whether nothing stands in the way of work.
    pub ready: bool,
    draining: bool,
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
struct Dependency {
    name: &'static str,
    required: bool,
    #[serde(flatten)]
    state: DependencyState,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum DependencyState {
    Ok,
    Failed { reason: String },
}

impl Readiness {
    /// Asks all dependencies at once.
    pub async fn look(checks: &[Check], draining: &CancellationToken) -> Self {
        let dependencies = join_all(checks.iter().map(Check::run)).await;
        let draining = draining.is_cancelled();
        let blocks = |dependency: &Dependency| {
            dependency.required && matches!(dependency.state, DependencyState::Failed { .. })
        };
        Self { ready: !draining && !dependencies.iter().any(blocks), draining, dependencies }
    }
}
