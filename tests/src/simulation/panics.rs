//! Panics, heard by whom they concern.
//!
//! A night runs on one thread, and so does everything in it: a panic of a slot, of a heartbeat or of the harness is
//! noted for the night of that thread, whoever drops the result of its task.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// Those of this thread's night, while there is one.
    static HEARD: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Does something, and listens to the panics of this thread meanwhile; `None` if it panicked itself.
pub(super) fn listening<T>(work: impl FnOnce() -> T) -> Option<T> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| hear(panic, &*before)));
    });
    HEARD.set(Some(Vec::new()));
    panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

/// The panics since they were last asked for.
pub(super) fn heard() -> Vec<String> {
    HEARD.with_borrow_mut(|heard| heard.as_mut().map(std::mem::take)).unwrap_or_default()
}

fn hear(panic: &PanicHookInfo<'_>, before: &(dyn Fn(&PanicHookInfo<'_>) + Send + Sync)) {
    // A customer's mathematics that panic on purpose fail his chunk, and need not be told of a thousand times.
    if panic.payload_as_str().is_some_and(|text| text.ends_with("on purpose")) {
        return;
    }
    HEARD.with_borrow_mut(|heard| heard.iter_mut().for_each(|heard| heard.push(panic.to_string())));
    before(panic);
}
