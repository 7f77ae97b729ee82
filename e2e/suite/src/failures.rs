//! Panics as messages: kept with the case that panicked, not printed among those of others.

use std::cell::RefCell;
use std::panic;

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

/// Runs it in a task of its own; an error is the message of its panic.
pub(crate) async fn caught<T: Send + 'static>(
    run: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    let (says, hears) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(MESSAGE.scope(RefCell::default(), async move {
        let outcome = futures::FutureExt::catch_unwind(panic::AssertUnwindSafe(run)).await;
        let _ = says.send(MESSAGE.with(|message| message.take()));
        outcome
    }));
    match task.await {
        Ok(Ok(value)) => Ok(value),
        _ => match hears.await {
            Ok(message) if !message.is_empty() => Err(message),
            _ => Err("it panicked, and said nothing".to_owned()),
        },
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
        let two = caught(async { 2 });
        let three = caught(async { panic!("three") });
        let (one, two, three): (Result<(), _>, _, Result<(), _>) = tokio::join!(one, two, three);
        assert!(one.unwrap_err().starts_with("one of 2 ("));
        assert_eq!(two.unwrap(), 2);
        assert!(three.unwrap_err().contains("failures.rs"));
    }
}
