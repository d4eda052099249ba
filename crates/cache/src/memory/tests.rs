use super::Memory;
use crate::promises::Subject;

crate::promise_tests! { tokio::test(start_paused = true), Memory::new() }

impl Subject for Memory {
    type Cache = Self;

    async fn connect(&self) -> Self {
        self.clone()
    }

    async fn empty(&self) {
        self.empty();
    }
}
