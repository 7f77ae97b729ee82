//! meshtool's place taken: podcert under meshtool's name, flags, roles, service account, pools, labels
//! and Leases, on a real server.
//!
//! ```text
//!   what meshtool left: roles, Secrets, bundles, a Lease that ran out, a replica that lives
//!     ─▶ podcert joins, the work is shared ─▶ the replica dies ─▶ podcert does it all
//!     ─▶ the CA is replaced by a better one ─▶ podcert is killed, comes back, and is stopped
//!     ─▶ what is left is what meshtool knows, and nothing was asked for beside its roles
//! ```
//!
//! meshtool itself knows v1beta1 alone; its pools are made, and read, by a Go program with its structs.

pub(crate) mod audit;
mod kubelets;
pub(crate) mod place;
mod replica;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod as PodObject, Service};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use podcert_pki::{Certificate, TrustBundle};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::audit::Asked;
use self::kubelets::{Kubelets, Tally};
use self::place::{ACCOUNT, NAMESPACE, Place, TRUST_DOMAIN};
use self::replica::{GO_SAYS, GoReplica, condition};
use crate::harness::rendezvous::owner;
use crate::harness::{Ask, Kubelet, Pod, Program, Source, Stage, WorkloadKey, now, until};
use crate::matrix::Policy;
use crate::release::Skew;
use crate::report::{Figure, Goal};
use crate::run::{Context, Outcome};

/// A signer of meshtool's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    ServiceDns,
    Spiffe,
}

/// The step.
///
/// # Errors
/// What is not as meshtool has it.
pub(crate) async fn step(context: Context) -> Result<Outcome> {
    let file = context.cluster.kubeconfig();
    let stage = Stage::open(&file, Skew::none(context.release), "dropin").await?;
    let place = Place::install(&stage).await?;
    let stranger = left_by_meshtool(&place).await?;
    let story = Story {
        stage: &stage,
        place: &place,
        pod: place.pod(US).await?,
        stranger,
    };
    let account_uid = stage
        .service_account(&stage.namespace("shop").await?, "web")
        .await?;
    let shop = stage.scoped("shop");
    let kubelets = Kubelets::begin(&stage, &shop, ("web", &account_uid)).await?;
    let mut tally = Tally::new().await?;

    let go = GoReplica::begin(&stage, &*place.pod(GO).await?, &[GO, US], &shop).await?;
    let program = place.start(&story.pod).await?;
    let told = async {
        let taken_over = story.shared(go, &program, &kubelets, &mut tally).await?;
        for older in Skew::all(context.release).skip(1) {
            older_kubelets(
                &Stage::open(&file, older, "dropin-older").await?,
                &mut tally,
            )
            .await?;
        }
        story.in_default(&mut tally).await?;
        story.waiting().await?;
        story.deleted_bundle().await?;
        story.new_ca(&program, &kubelets, &mut tally).await?;
        Ok(taken_over)
    };
    let taken_over = told.await.map_err(|error| program.blame(error))?;
    story.gone(program, &kubelets).await?;

    let tally = tally.verify().await?;
    let asked = Asked::read(&context.cluster.audit_log())?;
    asked.check()?;
    place.remove().await?;
    stage.close().await?;
    Ok(Outcome {
        summary: format!("{tally}, {} calls within meshtool's roles", asked.events),
        figures: vec![Figure {
            name: "dropin_takeover_seconds".to_owned(),
            value: taken_over.as_secs_f64(),
            goal: Goal::AtMost(30.0),
        }],
    })
}

/// The bundles, one with an anchor that is in no pool, and the Lease of a replica that died; the anchor.
async fn left_by_meshtool(place: &Place) -> Result<Certificate> {
    let stage = &place.stage;
    let stranger = anchors(&place.gos_pool("0").await?)?.remove(0);
    for kind in Kind::ALL {
        let mut roots = anchors(&place.pool(kind.secret()).await?)?;
        if kind == Kind::Spiffe {
            roots.push(stranger.clone());
        }
        let bundle = json!({
            "apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle",
            "metadata": {"name": kind.bundle(), "labels": kind.labels()},
            "spec": {"signerName": kind.signer(), "trustBundle": TrustBundle::new(roots)?.to_pem()},
        });
        let bundle = serde_json::from_value(bundle)?;
        bundles(stage)
            .create(&PostParams::default(), &bundle)
            .await?;
    }
    let dead = place.pod(DEAD).await?;
    let long_ago = now() - SignedDuration::from_mins(10);
    let lease = serde_json::from_value(replica::lease(&dead, long_ago))?;
    leases(stage).create(&PostParams::default(), &lease).await?;
    Ok(stranger)
}

/// What kubelets of an earlier release ask.
async fn older_kubelets(stage: &Arc<Stage>, tally: &mut Tally) -> Result<()> {
    let shop = stage.namespace("shop").await?;
    let account_uid = stage.service_account(&shop, "web").await?;
    let kubelets = Kubelets::begin(stage, &shop, ("web", &account_uid)).await?;
    kubelets
        .issue(tally)
        .await
        .with_context(|| stage.skew.to_string())?;
    stage.close().await
}

/// What happens, in chapters.
struct Story<'a> {
    stage: &'a Arc<Stage>,
    place: &'a Place,
    /// podcert's.
    pod: Arc<Pod>,
    /// In the bundle of spiffe, and in no pool.
    stranger: Certificate,
}

impl Story<'_> {
    /// Beside a replica of meshtool's, and after it: how long its share lay.
    async fn shared(
        &self,
        go: GoReplica,
        program: &Program,
        kubelets: &Kubelets,
        tally: &mut Tally,
    ) -> Result<Duration> {
        self.check_lease().await?;
        let live = program.metrics().await?.sum("podcert_replicas_live", &[]);
        ensure!(live == 2.0, "{live} replicas live, and not 2");
        let mut gos = 0;
        for _ in 0..2 {
            let made = kubelets.ask().await?;
            for (made, request) in kubelets.answered(made).await? {
                if owner(&made.id.to_string(), &[GO, US]) == GO {
                    gos += 1;
                    let answer = condition(&request);
                    ensure!(
                        answer == Some(("Denied", GO_SAYS)),
                        "{}: {answer:?}",
                        made.id
                    );
                } else {
                    tally.count(self.stage, made, &request).await?;
                }
            }
        }
        ensure!(gos > 0, "no request was meshtool's");
        let twice = program
            .metrics()
            .await?
            .sum("podcert_double_writes_total", &[]);
        ensure!(twice == 0.0, "{twice} requests were answered twice");
        for kind in Kind::ALL {
            self.check_bundle(kind).await?;
        }
        // Each release has names of its own, so one run in a thousand has none for the dead.
        go.die().await?;
        let died = Instant::now();
        kubelets.issue(tally).await?;
        let taken_over = died.elapsed();
        self.told(NAMESPACE, "UnknownAnchors").await?;
        Ok(taken_over)
    }

    /// The namespace with the Service `kubernetes`, which selects nothing.
    async fn in_default(&self, tally: &mut Tally) -> Result<()> {
        let account_uid = place::account_uid(&self.stage.admin, "default").await?;
        let kubelets = Kubelets::begin(self.stage, "default", (ACCOUNT, &account_uid)).await?;
        kubelets.issue(tally).await?;
        let now = DeleteParams::default().grace_period(0);
        let mine = self.stage.own();
        let pods: Api<PodObject> = Api::namespaced(self.stage.admin.clone(), "default");
        pods.delete_collection(&now, &mine).await?;
        let services: Api<Service> = Api::namespaced(self.stage.admin.clone(), "default");
        for service in services.list(&mine).await? {
            services.delete(&service.name_any(), &now).await?;
        }
        Ok(())
    }

    /// A request that cannot be answered is left alone, and its pod is told why.
    async fn waiting(&self) -> Result<()> {
        let stage = self.stage;
        let lonely = stage.namespace("lonely").await?;
        let account_uid = stage.service_account(&lonely, "web").await?;
        let node = stage.node("of-lonely").await?;
        let signer = Kind::ServiceDns.signer();
        let sources = [Source::of(signer.clone())];
        let pod = stage
            .pod(
                &lonely,
                "web",
                ("web", &account_uid),
                Arc::clone(&node),
                &sources,
            )
            .await?;
        let key = WorkloadKey::of(podcert_cases::material::KeyType::P256)?;
        let kubelet = Kubelet::of(stage, &node)?;
        let id = kubelet.ask(&Ask::new(&pod, &signer, &key)).await?;
        self.told(&lonely, "NoMatchingService").await?;
        let requests = stage.requests(stage.admin.clone(), &lonely);
        let request = requests.get(&id.name).await?;
        ensure!(condition(&request).is_none(), "{:?}", request.status);
        Ok(())
    }

    /// A bundle that somebody deletes comes back.
    async fn deleted_bundle(&self) -> Result<()> {
        let name = Kind::ServiceDns.bundle();
        bundles(self.stage)
            .delete(&name, &DeleteParams::default())
            .await?;
        until(|| self.check_bundle(Kind::ServiceDns)).await
    }

    /// meshtool's CA makes room for one that `make-ca-pool-secret` makes: behind it, before it, alone.
    async fn new_ca(
        &self,
        program: &Program,
        kubelets: &Kubelets,
        tally: &mut Tally,
    ) -> Result<()> {
        let (place, kind) = (self.place, Kind::Spiffe);
        let old = place.pool(kind.secret()).await?;
        let new = place.make_pool("2", "spiffe-ca-pool-next").await?;
        let signer = kind.signer();
        for pool in [joined(&old, &new)?, joined(&new, &old)?, new] {
            let loads = async || {
                let metrics = program.metrics().await?;
                let labels = [("signer", signer.as_str()), ("outcome", "loaded")];
                anyhow::Ok(metrics.sum("podcert_pool_loads_total", &labels))
            };
            let before = loads().await?;
            place.set_pool(kind, &pool).await?;
            until(|| async {
                let loaded = loads().await? - before;
                ensure!(loaded == 1.0, "the new pool was loaded {loaded} times");
                self.check_bundle(kind).await
            })
            .await?;
            kubelets.issue(tally).await?;
        }
        Ok(())
    }

    /// Killed, started again and stopped: what is left of it, and that meshtool can go on from there.
    async fn gone(&self, program: Program, kubelets: &Kubelets) -> Result<()> {
        program.kill().await?;
        self.check_lease().await?;
        let program = self.place.start(&self.pod).await?;
        // A right is asked for twice before it counts as missing.
        until(async || self.check_log()).await?;
        program.stop().await?;
        let left = leases(self.stage).get_opt(US).await?;
        ensure!(left.is_none(), "its Lease is left: {left:?}");
        for kind in Kind::ALL {
            self.check_bundle(kind).await?;
        }
        self.check_log()?;

        let made = kubelets.ask().await?;
        let namespace = self.stage.scoped("shop");
        let pod = self.place.pod(BACK).await?;
        let go = GoReplica::begin(self.stage, &pod, &[BACK], &namespace).await?;
        for (made, request) in kubelets.answered(made).await? {
            let answer = condition(&request);
            ensure!(
                answer == Some(("Denied", GO_SAYS)),
                "{}: {answer:?}",
                made.id
            );
        }
        go.die().await
    }

    /// Our Lease is what meshtool writes, and so what it reads.
    async fn check_lease(&self) -> Result<()> {
        let lease = serde_json::to_value(leases(self.stage).get(US).await?)?;
        let mut meshtools = replica::lease(&self.pod, now());
        for time in ["acquireTime", "renewTime"] {
            let text = lease["spec"][time].as_str().unwrap_or_default();
            let age = now().duration_since(text.parse()?);
            ensure!(age < SignedDuration::from_mins(10), "{time}: {text}");
            meshtools["spec"][time] = lease["spec"][time].clone();
        }
        let written = json!({
            "metadata": {
                "name": lease["metadata"]["name"],
                "labels": lease["metadata"]["labels"],
                "ownerReferences": lease["metadata"]["ownerReferences"],
            },
            "spec": lease["spec"],
        });
        ensure!(
            written == meshtools,
            "{written}\nis not meshtool's {meshtools}"
        );
        Ok(())
    }

    /// The bundle has meshtool's name and labels, the pool's roots in their order, and behind them
    /// what is not ours.
    async fn check_bundle(&self, kind: Kind) -> Result<()> {
        let mut pool = anchors(&self.place.pool(kind.secret()).await?)?;
        let (labels, text) = bundle(self.stage, kind).await?;
        ensure!(labels == kind.labels(), "{kind:?}: {labels}");
        let published = TrustBundle::from_pem(&text)?;
        if kind == Kind::Spiffe {
            pool.push(self.stranger.clone());
        }
        // Where a CA only changed its place nothing is written: kubelets read a set.
        let same = published.same_anchors(&TrustBundle::new(pool.clone())?);
        let names = |anchors: &[Certificate]| -> Vec<String> {
            anchors.iter().map(|it| it.subject().to_string()).collect()
        };
        ensure!(
            same && (published.anchors() == pool || pool.len() == 3),
            "{kind:?}: published are {:?}, and should be {:?}",
            names(published.anchors()),
            names(&pool)
        );
        Ok(())
    }

    /// What is missing is said once in each of both lives.
    fn check_log(&self) -> Result<()> {
        let log = std::fs::read_to_string(&self.place.log)?;
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
        for (words, times) in [
            ("their UIDs in requests are not compared", 4),
            ("pod-identity is not signed for", 2),
            ("holds anchors that are in no CA pool", 2),
        ] {
            let found = warnings.iter().filter(|line| line.contains(words)).count();
            ensure!(
                found == times,
                "`{words}` is logged {found} times, not {times}"
            );
        }
        Ok(())
    }

    /// Waits for an Event, which is one of events.k8s.io.
    async fn told(&self, namespace: &str, reason: &str) -> Result<()> {
        let events: Api<Event> = Api::namespaced(self.stage.admin.clone(), namespace);
        until(|| async {
            let mut events = events.list(&ListParams::default()).await?.items.into_iter();
            let event = events.find(|event| event.reason.as_deref() == Some(reason));
            let event = event.with_context(|| format!("no Event {reason} in {namespace}"))?;
            ensure!(
                event.event_time.is_some() && event.reporting_instance.as_deref() == Some(US),
                "not as events.k8s.io has it: {event:?}"
            );
            Ok(())
        })
        .await
    }
}

impl Kind {
    const ALL: [Self; 2] = [Self::ServiceDns, Self::Spiffe];

    fn policy(self) -> Policy {
        match self {
            Self::ServiceDns => Policy::ServiceDns,
            Self::Spiffe => Policy::Spiffe,
        }
    }

    fn signer(self) -> String {
        format!("row-major.net/{}", self.policy().as_str())
    }

    fn secret(self) -> &'static str {
        match self {
            Self::ServiceDns => "service-dns-ca-pool",
            Self::Spiffe => "spiffe-ca-pool",
        }
    }

    /// Under which name its pool is mounted.
    fn file(self) -> &'static str {
        match self {
            Self::ServiceDns => "service-dns-pool.json",
            Self::Spiffe => "spiffe-pool.json",
        }
    }

    fn bundle(self) -> String {
        format!("row-major.net:{}:primary-bundle", self.policy().as_str())
    }

    fn labels(self) -> Value {
        match self {
            Self::ServiceDns => json!({"service-dns.row-major.net/canarying": "live"}),
            Self::Spiffe => json!({
                "spiffe.row-major.net/canarying": "live",
                "spiffe.row-major.net/trust-domain": TRUST_DOMAIN,
            }),
        }
    }
}

/// The pool with the CAs of one, and behind them those of the other.
fn joined(first: &str, second: &str) -> Result<String> {
    let cas = |pool: &str| -> Result<String> {
        let cas = pool.trim().strip_prefix(r#"{"CAs":["#);
        let cas = cas.and_then(|cas| cas.strip_suffix("]}"));
        Ok(cas.context("not a pool as Go writes it")?.to_owned())
    };
    Ok(format!(r#"{{"CAs":[{},{}]}}"#, cas(first)?, cas(second)?))
}

/// The roots of a pool, in its order.
fn anchors(pool: &str) -> Result<Vec<Certificate>> {
    use base64::Engine as _;
    let pool: Value = serde_json::from_str(pool)?;
    let cas = pool["CAs"].as_array().context("a pool without CAs")?;
    let root = |ca: &Value| -> Result<Certificate> {
        let text = ca["RootCertificateDER"].as_str().context("no root")?;
        let der = base64::engine::general_purpose::STANDARD.decode(text)?;
        Ok(Certificate::from_der(der)?)
    };
    cas.iter().map(root).collect()
}

/// Labels and anchors of a signer's bundle, as meshtool's API version shows them.
async fn bundle(stage: &Stage, kind: Kind) -> Result<(Value, String)> {
    let bundle = bundles(stage).get(&kind.bundle()).await?;
    let signer = bundle.data["spec"]["signerName"].as_str();
    ensure!(signer == Some(&kind.signer()), "{bundle:?}");
    let text = bundle.data["spec"]["trustBundle"].as_str();
    Ok((
        serde_json::to_value(bundle.labels())?,
        text.context("a bundle without anchors")?.to_owned(),
    ))
}

/// ClusterTrustBundles in meshtool's API version.
fn bundles(stage: &Stage) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "certificates.k8s.io".into(),
        version: "v1beta1".into(),
        api_version: "certificates.k8s.io/v1beta1".into(),
        kind: "ClusterTrustBundle".into(),
        plural: "clustertrustbundles".into(),
    };
    Api::all_with(stage.admin.clone(), &resource)
}

fn leases(stage: &Stage) -> Api<Lease> {
    Api::namespaced(stage.admin.clone(), NAMESPACE)
}

// Pods of the Deployment `mesh-controller`, before and after the image was replaced, and back.
const DEAD: &str = "mesh-controller-58f6c4d5d7-m4vtx";
const GO: &str = "mesh-controller-58f6c4d5d7-zk8lp";
const US: &str = "mesh-controller-6d5f9c7b8-x2k4q";
const BACK: &str = "mesh-controller-58f6c4d5d7-9wq2r";
