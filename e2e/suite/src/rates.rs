//! How fast podcert's own API server is, beside the real one.
//!
//! Both run as processes of their own behind TLS and client certificates, and the same code asks the
//! same of them, by turns: writes (objects created, replaced, deleted), and events that 1, 10 and
//! 100 watchers get while objects are replaced. Each figure is the median of the turns' quotients,
//! so that what the machine does meanwhile hits both.

mod load;
pub(crate) mod server;

use std::path::Path;

use anyhow::{Context as _, Result};
use futures::future::LocalBoxFuture;

use self::load::Load;
use crate::cluster::process::Process;
use crate::report::Goal;
use crate::run::{Context, Outcome};
use crate::say;

/// What is measured: the name of the figure, what is counted, and how.
struct Rate {
    name: &'static str,
    counted: &'static str,
    measure: for<'a> fn(&'a Load) -> LocalBoxFuture<'a, Result<f64>>,
}

const RATES: [Rate; 4] = [
    Rate {
        name: "e2e_embedded_writes_per_second_vs_kube_apiserver",
        counted: "writes",
        measure: |load| Box::pin(load.writes()),
    },
    Rate {
        name: "e2e_embedded_events_per_second_vs_kube_apiserver_1_watcher",
        counted: "events of 1 watcher",
        measure: |load| Box::pin(load.events(1)),
    },
    Rate {
        name: "e2e_embedded_events_per_second_vs_kube_apiserver_10_watchers",
        counted: "events of 10 watchers",
        measure: |load| Box::pin(load.events(10)),
    },
    Rate {
        name: "e2e_embedded_events_per_second_vs_kube_apiserver_100_watchers",
        counted: "events of 100 watchers",
        measure: |load| Box::pin(load.events(100)),
    },
];

/// The step of a whole run.
pub(crate) async fn step(context: Context) -> Result<Outcome> {
    let real = context.cluster.kubeconfig();
    // Its own threads: one would be the limit of the faster server.
    let measured = tokio::task::spawn_blocking(move || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(measure(&real))
    });
    let mut outcome = Outcome::of(format!("{TURNS} turns"));
    for (rate, turns) in RATES.iter().zip(measured.await??) {
        for (embedded, real) in &turns {
            say(&format!(
                "{} per second: embedded {embedded:.0}, kube-apiserver {real:.0}",
                rate.counted
            ));
        }
        let quotients = turns.iter().map(|(embedded, real)| embedded / real);
        let quotient = crate::figures::median(quotients);
        outcome = outcome.with(rate.name, quotient, Goal::AtLeastWhenQuiet(5.0));
    }
    Ok(outcome)
}

/// Of each rate the turns, each with that of the embedded server and that of the real one.
async fn measure(real: &Path) -> Result<Vec<Vec<(f64, f64)>>> {
    let place = tempfile::tempdir()?;
    let arguments = [
        "embedded-server".to_owned(),
        place.path().display().to_string(),
    ];
    let us = std::env::current_exe()?;
    let log = place.path().join("log");
    let server = Process::spawn("embedded-server", &us, &arguments, &log)?;
    let config = server::kubeconfig(place.path());
    let began = tokio::time::Instant::now();
    while !config.exists() {
        anyhow::ensure!(
            server.is_running() && began.elapsed() < crate::harness::PATIENCE,
            "the embedded server does not start: {}",
            server.log_end()
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let name = format!("rates-{:x}", crate::harness::now().as_millisecond());
    let embedded = Load::open(&config, &name).await?;
    let real = Load::open(real, &name).await.context("the real server")?;
    let all = turns(&embedded, &real).await;
    // Whatever came of it: the real server is others', too.
    let closed = real.close().await;
    server.kill().await;
    let all = all?;
    closed.context("its namespace stays on the real server")?;
    Ok(all)
}

async fn turns(embedded: &Load, real: &Load) -> Result<Vec<Vec<(f64, f64)>>> {
    let mut all = Vec::new();
    for rate in &RATES {
        let mut turns = Vec::new();
        for turn in 0..TURNS {
            // Who comes first changes: what changes steadily meanwhile hits both alike.
            let pair = if turn % 2 == 0 {
                let embedded = (rate.measure)(embedded).await;
                (embedded, (rate.measure)(real).await)
            } else {
                let real = (rate.measure)(real).await;
                ((rate.measure)(embedded).await, real)
            };
            let whose = |who: &'static str| move || format!("{}: {who}", rate.counted);
            turns.push((
                pair.0.with_context(whose("embedded"))?,
                pair.1.with_context(whose("kube-apiserver"))?,
            ));
        }
        all.push(turns);
    }
    Ok(all)
}

const TURNS: usize = 3;
