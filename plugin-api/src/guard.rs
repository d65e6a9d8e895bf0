//! Panics stop here: one that crossed the boundary would end the process with targets still stopped.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs code of a plugin; a panic becomes its message and place.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(install_hook);
    DEPTH.set(DEPTH.get() + 1);
    // What the kind was in the middle of changing is not seen again: the host calls a plugin that
    // panicked no more.
    let result = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|payload| {
        let place = PLACE.take().unwrap_or_else(|| "an unknown place".to_owned());
        let text = message(payload.as_ref());
        // Dropping what was thrown may panic again; leak it.
        std::mem::forget(payload);
        format!("it panicked at {place}: {text}")
    })
}

/// Keeps the default report (which would go to the standard error of whoever runs the host) for
/// panics outside of [`guarded`].
fn install_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if DEPTH.get() == 0 {
            return before(info);
        }
        let place = info.location().map(ToString::to_string);
        PLACE.with(|cell| {
            if let Ok(mut cell) = cell.try_borrow_mut() {
                *cell = place;
            }
        });
    }));
}

fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_place_and_message() {
        let text = guarded(|| panic!("no such {}", "thing")).unwrap_err();
        assert!(
            text.contains("guard.rs:") && text.ends_with("no such thing"),
            "{text}"
        );
        assert_eq!(guarded(|| 3), Ok(3));
    }
}
