//! Runs the behaviour cases side by side, each in a namespace of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use podcert_cases::{Case, Server, Target, World};

use crate::cluster::progress::Progress;
use crate::failures;
use crate::report::{CaseReport, CasesReport};

/// Cases to run on one target.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) target: Target,
    pub(crate) cases: Vec<Case>,
}

/// What becomes of the cases' namespaces.
///
/// The controller manager takes a namespace away with some hundred requests and 400 requests a second:
/// it is busy for minutes after all the cases, and whoever waits for the end of a namespace of its own
/// stands behind them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Namespaces {
    /// They are taken away: the cluster stays.
    Removed,
    /// They end with the cluster.
    Left,
}

impl Chosen {
    /// Every case that holds for the target.
    pub(crate) fn all(target: Target) -> Self {
        let mut cases = podcert_cases::all();
        cases.retain(|case| case.holds_for(target));
        Self { target, cases }
    }

    /// Runs them.
    pub(crate) async fn run(
        self,
        server: Arc<dyn Server>,
        namespaces: Namespaces,
        progress: &Progress,
    ) -> CasesReport {
        let target = self.target;
        let (release, api) = (target.release.as_str(), target.api.as_str());
        progress.begin(format!("cases on {release} with {api}"));
        let began = Instant::now();
        let all = self.cases.len();
        let prefix = format!("case-{:x}", server.now().as_millisecond());
        let results =
            futures::stream::iter(self.cases.into_iter().enumerate().map(|(number, case)| {
                run_one(
                    case,
                    target,
                    Arc::clone(&server),
                    format!("{prefix}-{number}"),
                    namespaces,
                )
            }));
        let mut results = results.buffer_unordered(AT_ONCE);
        let mut cases: Vec<CaseReport> = Vec::with_capacity(all);
        while let Some(case) = results.next().await {
            cases.push(case);
            let failed = cases.iter().filter(|case| case.failure.is_some()).count();
            progress.detail(format!("{} of {all} done, {failed} failed", cases.len()));
        }
        progress.end();
        cases.sort_by_key(|case| case.name);
        CasesReport {
            api: target.api,
            seconds: began.elapsed().as_secs_f64(),
            cases,
        }
    }
}

async fn run_one(
    case: Case,
    target: Target,
    server: Arc<dyn Server>,
    namespace: String,
    namespaces: Namespaces,
) -> CaseReport {
    let name = case.name;
    let began = Instant::now();
    let outcome = failures::caught_aside(async move {
        let run = async {
            let world = World::create(server, target, namespace).await;
            case.run(world.clone()).await;
            if namespaces == Namespaces::Removed {
                world.remove().await;
            }
        };
        tokio::time::timeout(PATIENCE, run).await
    });
    let failure = match outcome.await {
        Ok(Ok(())) => None,
        Ok(Err(_)) => Some(format!("no end after {} s", PATIENCE.as_secs())),
        Err(panic) => Some(panic),
    };
    CaseReport {
        name,
        seconds: began.elapsed().as_secs_f64(),
        failure,
    }
}

const AT_ONCE: usize = 8;

/// A case takes seconds; one that waits for what never comes must not stop the run.
const PATIENCE: Duration = Duration::from_secs(180);
