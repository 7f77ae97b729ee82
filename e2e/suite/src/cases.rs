//! Runs the behaviour cases side by side, each in a namespace of its own.

use std::sync::Arc;

use futures::StreamExt as _;
use podcert_cases::{Server, Target, World};

use crate::say;

/// How many cases of a target did what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

/// Runs every case that holds for `target` and whose name contains `filter`.
pub(crate) async fn run(server: Arc<dyn Server>, target: Target, filter: Option<&str>) -> Tally {
    let chosen = podcert_cases::all().into_iter().filter(|case| {
        case.holds_for(target) && filter.is_none_or(|filter| case.name.contains(filter))
    });
    let prefix = format!("case-{:x}", server.now().as_millisecond());
    let results = futures::stream::iter(chosen.enumerate().map(|(number, case)| {
        let server = Arc::clone(&server);
        let namespace = format!("{prefix}-{number}");
        async move {
            let name = case.name;
            let run = tokio::spawn(async move {
                let world = World::create(server, target, namespace).await;
                case.run(world.clone()).await;
                world.remove().await;
            });
            (name, run.await.is_ok())
        }
    }));
    let mut tally = Tally::default();
    let mut results = results.buffer_unordered(AT_ONCE);
    while let Some((name, passed)) = results.next().await {
        if passed {
            tally.passed += 1;
        } else {
            tally.failed += 1;
            say(&format!(
                "FAILED {} {} {name}",
                target.release.as_str(),
                target.api.as_str()
            ));
        }
    }
    say(&format!(
        "kubernetes {} {}: {} cases passed, {} failed",
        target.release.as_str(),
        target.api.as_str(),
        tally.passed,
        tally.failed
    ));
    tally
}

const AT_ONCE: usize = 8;
