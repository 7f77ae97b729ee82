//! Panics as messages: kept with the case that panicked, not printed among those of others.

use std::cell::RefCell;
use std::panic;

use futures::FutureExt as _;

/// From now on, panics inside [`caught`] are not printed.
pub(crate) fn keep() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let kept = MESSAGE.try_with(|message| {
            let text = panic.payload_as_str().unwrap_or("no message");
            let place = panic.location();
            let place = place.map_or_else(String::new, |place| format!(" ({place})"));
            *message.borrow_mut() = format!("{text}{place}");
        });
        if kept.is_err() {
            usual(panic);
        }
    }));
}

/// Runs it; an error is the message of its panic.
pub(crate) async fn caught<T>(run: impl Future<Output = T>) -> Result<T, String> {
    let run = async {
        let outcome = panic::AssertUnwindSafe(run).catch_unwind().await;
        outcome.map_err(|_| MESSAGE.with(RefCell::take))
    };
    MESSAGE.scope(RefCell::default(), run).await
}

/// The same in a task of its own.
pub(crate) async fn caught_aside<T: Send + 'static>(
    run: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    match tokio::spawn(caught(run)).await {
        Ok(outcome) => outcome,
        Err(ended) => Err(ended.to_string()),
    }
}

tokio::task_local! {
    static MESSAGE: RefCell<String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_panic_is_its_own_tasks() {
        keep();
        let one = caught(async {
            tokio::task::yield_now().await;
            panic!("one of {}", 2);
        });
        let two = caught_aside(async { 2 });
        let three = caught_aside(async { panic!("three") });
        let (one, two, three): (Result<(), _>, _, Result<(), _>) = tokio::join!(one, two, three);
        assert!(one.unwrap_err().starts_with("one of 2 ("));
        assert_eq!(two.unwrap(), 2);
        assert!(three.unwrap_err().contains("failures.rs"));
    }
}
