#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::must_use_candidate)]
extern crate self as tests;
mod own;
#[path = "../../../tests/stack/queue.rs"]
mod queue;
pub struct Stack;
impl Stack {
    pub fn from_env() -> Self {
        Self
    }
    pub fn amqp_url(&self) -> String {
        std::env::var("LTV_AMQP_URL").unwrap()
    }
    pub fn service(&self, action: &str, service: &str) {
        let out = std::process::Command::new("/work/main/scripts/stack")
            .args(["--name", "q", action, service])
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
    }
}
pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static N: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed))
}
