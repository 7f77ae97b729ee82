//! Controllers whose clocks are wrong.
//!
//! A process cannot be given another time, so these controllers run in this one, each with a clock
//! that is off and a signer and namespace of its own. They issue all the same, with dates that the
//! server accepts, because they follow the server's clock; and they say that the clocks are apart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use podcert_controller::{Config, Controller, OwnPod, PoolSource, Signer};
use podcert_issuance::{NamePolicy, Policy, spiffe};
use podcert_runtime::api::{Connection, Options};
use podcert_runtime::{Clock, Jitter, SystemClock};
use prometheus_client::registry::Registry;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Scene;
use super::burst::{self, Burst, Meddling};
use crate::harness::{Metrics, Pod, Setup, Stage, now};
use crate::release::Skew;
use crate::run::{Context, Outcome};

/// How far the controllers' clocks are off, each with the name of its signer, and whether somebody
/// is to be told. At four minutes it is told or not, as the last second falls.
const CLOCKS: [(&str, SignedDuration, bool); 4] = [
    ("four-minutes-ahead", SignedDuration::from_mins(4), false),
    ("four-minutes-behind", SignedDuration::from_mins(-4), false),
    ("an-hour-ahead", SignedDuration::from_hours(1), true),
    ("an-hour-behind", SignedDuration::from_hours(-1), true),
];

/// One controller with a wrong clock, and what it is to answer.
struct Skewed {
    name: &'static str,
    ahead: SignedDuration,
    told: bool,
    stage: Arc<Stage>,
    kubeconfig: PathBuf,
    pool: PathBuf,
    own_pod: Arc<Pod>,
    burst: Burst,
}

/// A clock that is off.
#[derive(Debug)]
struct Off(SignedDuration);

impl Clock for Off {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now();
        now.checked_add(self.0).unwrap_or(now)
    }
}

/// Controllers with clocks that are off, all at once.
pub(super) async fn skewed(context: Context) -> Result<Outcome> {
    let names = CLOCKS.map(|(name, ..)| name);
    let scene = Scene::with(
        &context.cluster,
        Skew::none(context.release),
        CLOCKS.len(),
        &names,
    )
    .await?;
    let all = CLOCKS.iter().enumerate();
    let skewed =
        all.map(|(number, (name, ahead, told))| Skewed::new(&scene, number, name, *ahead, *told));
    let runs = skewed.collect::<Result<Vec<_>>>()?;
    let issued = try_join_all(runs.into_iter().map(|skewed| async {
        let name = skewed.name;
        skewed
            .run()
            .await
            .with_context(|| format!("a clock {name}"))
    }));
    let outcome = burst::Outcome {
        issued: issued.await?.iter().sum(),
        deleted: 0,
    };
    scene.close(outcome).await
}

impl Skewed {
    fn new(
        scene: &Scene,
        number: usize,
        name: &'static str,
        ahead: SignedDuration,
        told: bool,
    ) -> Result<Self> {
        let namespace = scene.stage.scoped(&number.to_string());
        let mut pods = scene.population.pods.iter();
        let own_pod = pods.find(|pod| pod.namespace == namespace);
        Ok(Self {
            name,
            ahead,
            told,
            stage: Arc::clone(&scene.stage),
            kubeconfig: scene.setup.kubeconfig.clone(),
            pool: scene.setup.pool.clone(),
            own_pod: Arc::clone(own_pod.context("the namespace has no pod")?),
            burst: scene.burst_in(number, &[name], REQUESTS, Meddling::None),
        })
    }

    /// How many it issued.
    async fn run(self) -> Result<usize> {
        let file = kube::config::Kubeconfig::read_from(&self.kubeconfig)?;
        let cluster = kube::Config::from_custom_kubeconfig(file, &Default::default()).await?;
        let connection =
            Connection::from_config(&cluster, Options::new(Arc::new(Off(self.ahead))))?;
        let names = spiffe::Policy::new(Setup::TRUST_DOMAIN.parse()?, Default::default())?;
        let signer = Signer {
            policy: Policy::new(
                self.stage.signer(self.name).parse()?,
                NamePolicy::Spiffe(names),
            ),
            pool: PoolSource::file(&self.pool),
        };
        let config = Config {
            own_pod: Some(OwnPod {
                namespace: self.own_pod.namespace.clone(),
                name: self.own_pod.name.clone(),
                uid: self.own_pod.uid.clone(),
            }),
            ..Config::new(vec![signer])
        };
        let mut registry = Registry::default();
        let controller =
            Controller::new(config, connection, Jitter::from_process(), &mut registry)?;
        let shutdown = CancellationToken::new();
        // Ends it also when something below fails.
        let _ends = shutdown.clone().drop_guard();
        let running = tokio::spawn(controller.run(shutdown.clone()));

        let began = now();
        let outcome = self.burst.clone().start().end(&self.burst).await?;
        self.dates_are_the_servers(began).await?;
        self.is_noticed(&registry).await?;
        shutdown.cancel();
        running.await??;
        Ok(outcome.issued)
    }

    /// Each certificate begins two minutes before it was issued, by the server's clock.
    async fn dates_are_the_servers(&self, began: Timestamp) -> Result<()> {
        let backdating = SignedDuration::from_mins(2);
        let slack = SignedDuration::from_secs(3);
        let (earliest, latest) = (began - backdating - slack, now() - backdating + slack);
        let namespace = &self.own_pod.namespace;
        let requests = self.stage.requests(self.stage.admin.clone(), namespace);
        for request in requests.list(&ListParams::default()).await? {
            let status = request.status.context("a request without status")?;
            let not_before: Timestamp = status.not_before.context("no notBefore")?.parse()?;
            ensure!(
                earliest <= not_before && not_before <= latest,
                "a certificate begins at {not_before}, not between {earliest} and {latest}"
            );
        }
        Ok(())
    }

    /// The metric shows how far the server's clock is ahead, and an Event tells of an hour.
    async fn is_noticed(&self, registry: &Registry) -> Result<()> {
        let expected = -self.ahead.as_secs_f64();
        let deadline = Instant::now() + NOTICED;
        loop {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry)?;
            let metrics = Metrics::parse(&text)?;
            let offset = metrics.sum("podcert_api_server_clock_offset_seconds", &[]);
            let measured = (offset - expected).abs() < 5.0;
            if measured && (!self.told || self.is_told().await?) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the metric says {offset}, not {expected}, or no Event tells of it"
            );
            sleep(Duration::from_millis(250)).await;
        }
    }

    async fn is_told(&self) -> Result<bool> {
        let events: Api<Event> = Api::namespaced(self.stage.admin.clone(), &self.own_pod.namespace);
        let told = ListParams::default().fields("reason=ClockSkew,type=Warning");
        let events = events.list(&told).await?;
        Ok(events.items.iter().any(|event| {
            let regarding = event.regarding.as_ref();
            regarding.is_some_and(|pod| pod.uid.as_ref() == Some(&self.own_pod.uid))
        }))
    }
}

const REQUESTS: usize = 25;
/// A controller looks at the clocks soon after its start, and then each minute.
const NOTICED: Duration = Duration::from_secs(90);
