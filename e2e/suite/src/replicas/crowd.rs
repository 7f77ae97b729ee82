//! Replicas on a stage, and who of them answered what.
//!
//! Each has a CA of its own, with which it signs, and those of all others in its pool, so that all publish
//! the same anchors: a certificate says by whom it was issued.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod as PodObject;
use kube::api::{Api, DeleteParams};
use podcert_cases::material::KeyType;
use podcert_pki::Chain;
use rustix::process::{Signal, kill_process};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::PACE;
use crate::harness::rendezvous::owner;
use crate::harness::{
    Answers, Ask, CaKind, CaPool, Kubelet, PATIENCE, Plan, Pod, Population, Program, RequestId,
    Setup, Source, Stage, Status, WorkloadKey,
};
use crate::release::Skew;
use crate::run::Context;

/// Replicas of one application, and pods that ask them.
pub(super) struct Crowd {
    pub(super) stage: Arc<Stage>,
    /// Of the pods that ask.
    pub(super) namespace: String,
    /// How each is started, but for what is its own.
    pub(super) setup: Setup,
    population: Population,
    kubelet: Kubelet,
    answers: Arc<Answers>,
    key: Arc<WorkloadKey>,
    /// Everybody's, by the name of the replica.
    cas: BTreeMap<&'static str, CaPool>,
}

/// A replica that was started.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) name: &'static str,
    pub(super) program: Program,
    pub(super) log: PathBuf,
}

/// A request that was answered with a certificate for its key.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) id: RequestId,
    /// When it was there.
    pub(super) made: Instant,
    /// When its answer was seen.
    pub(super) seen: Instant,
    /// Who answered.
    pub(super) by: &'static str,
    /// The names in the certificate, sorted.
    pub(super) names: Vec<String>,
}

/// Requests under way.
pub(super) struct Asking(JoinSet<Result<Issued>>);

/// A request, when it was there, when its answer was, and that.
type Issued = (RequestId, Instant, Instant, Status);

impl Crowd {
    /// A stage for replicas of these names, of which none runs yet.
    pub(super) async fn open(
        context: &Context,
        label: &str,
        names: &[&'static str],
    ) -> Result<Self> {
        let file = context.cluster.kubeconfig();
        let stage = Stage::open(&file, Skew::none(context.release), label).await?;
        let sources = POLICIES.map(|policy| Source::of(stage.signer(policy)));
        let plan = Plan {
            namespaces: 1,
            pods_per_namespace: PODS,
            sources: sources.into(),
        };
        let population = Population::create(&stage, &plan).await?;
        let cas = names
            .iter()
            .map(|name| Ok((*name, CaPool::new(CaKind::USUAL)?)));
        Ok(Self {
            kubelet: Kubelet::of(&stage, &population.node)?,
            answers: Arc::new(Answers::watch(&stage).await?),
            key: WorkloadKey::of(KeyType::P256)?,
            setup: Setup::all(&stage, &CaPool::of(CaKind::USUAL)?).await?,
            namespace: stage.scoped("0"),
            cas: cas.collect::<Result<_>>()?,
            population,
            stage,
        })
    }

    /// Makes the pod of a replica, and its pool, in which its own CA is followed by everybody's and then by
    /// `more`. Gives the pod, and how a podcert there is started.
    pub(super) async fn place(
        &self,
        name: &'static str,
        more: &CaPool,
    ) -> Result<(Arc<Pod>, Setup)> {
        let namespace = self.stage.controller_namespace();
        let node = Arc::clone(&self.population.node);
        let pod = self
            .stage
            .pod(&namespace, name, ("controller", ""), node, &[])
            .await?;
        let pool = self.pool_file(name);
        std::fs::create_dir_all(pool.parent().context("a pool in no folder")?)?;
        self.write_pool(name, more)?;
        let mut setup = self.setup.clone();
        setup.flags = vec![
            format!("--sharding-pod-namespace={namespace}"),
            format!("--sharding-pod-name={name}"),
            format!("--sharding-pod-uid={}", pod.uid),
            format!("--sharding-application-name={APPLICATION}"),
        ];
        setup.pool = pool;
        setup.log = self.stage.folder.join(format!("{name}.log"));
        Ok((pod, setup))
    }

    /// Starts podcert as the replica of this name, for which there is no pod yet.
    pub(super) async fn start(&self, name: &'static str, more: &CaPool) -> Result<Replica> {
        let (_, setup) = self.place(name, more).await?;
        Replica::start(name, &setup).await
    }

    /// Everybody's pool with `more` behind it.
    pub(super) fn rotate(&self, more: &CaPool) -> Result<()> {
        self.cas
            .keys()
            .filter(|name| self.pool_file(name).exists())
            .try_for_each(|name| self.write_pool(name, more))
    }

    fn write_pool(&self, name: &str, more: &CaPool) -> Result<()> {
        let own = self.cas.get(name).context("a replica without a CA")?;
        let others = self.cas.iter().filter(|(other, _)| **other != name);
        let others = others.map(|(_, ca)| ca).chain([more]);
        own.followed_by(others)?.write(&self.pool_file(name))
    }

    pub(super) fn pool_file(&self, name: &str) -> PathBuf {
        self.stage.folder.join(name).join("pool.json")
    }

    /// Begins to make requests, by turns for each of the policies' signers and for all pods.
    pub(super) fn ask(&self, policies: &[&str], count: usize, pace: Duration) -> Asking {
        let signers: Vec<_> = policies
            .iter()
            .map(|policy| self.stage.signer(policy))
            .collect();
        let asks = self
            .population
            .pods
            .iter()
            .cycle()
            .zip(signers.iter().cycle());
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for (number, (pod, signer)) in (0_u32..).zip(asks.take(count)) {
            let ask = Ask::new(pod, signer, &self.key);
            let (kubelet, answers) = (self.kubelet.clone(), Arc::clone(&self.answers));
            let at_once = Arc::clone(&at_once);
            tasks.spawn(async move {
                tokio::time::sleep_until(begun + pace * number).await;
                let turn = at_once.acquire().await?;
                let id = kubelet.ask(&ask).await?;
                drop(turn);
                let made = Instant::now();
                let outcome = answers.of(&id, PATIENCE).await?;
                let status = outcome.issued().with_context(|| id.to_string())?.clone();
                Ok((id, made, Instant::now(), status))
            });
        }
        Asking(tasks)
    }

    /// All of them, answered.
    ///
    /// # Errors
    /// When one is not issued, or for another key, or by nobody of this crowd.
    pub(super) async fn answered(&self, asking: Asking) -> Result<Vec<Answer>> {
        let Asking(mut tasks) = asking;
        let mut answers = Vec::new();
        while let Some(answered) = tasks.join_next().await {
            let (id, made, seen, status) = answered??;
            let chain = status.certificate_chain.as_deref().unwrap_or_default();
            let chain = Chain::from_pem(chain).with_context(|| format!("the chain of {id}"))?;
            let leaf = chain.leaf();
            ensure!(
                leaf.public_key()? == self.key.public,
                "{id} is certified for another key"
            );
            let mut names: Vec<_> = leaf
                .dns_names()
                .chain(leaf.uris())
                .map(str::to_owned)
                .collect();
            names.sort_unstable();
            answers.push(Answer {
                by: self.issuer(&chain).with_context(|| id.to_string())?,
                id,
                made,
                seen,
                names,
            });
        }
        Ok(answers)
    }

    /// Makes requests one after the other until this replica answered one. All that were answered.
    pub(super) async fn until_answered_by(&self, name: &str) -> Result<Vec<Answer>> {
        let deadline = Instant::now() + PATIENCE;
        let mut answers = Vec::new();
        while !answers.iter().any(|answer: &Answer| answer.by == name) {
            ensure!(Instant::now() < deadline, "{name} answers nothing");
            let asking = self.ask(&POLICIES, 25, PACE);
            answers.extend(self.answered(asking).await?);
        }
        Ok(answers)
    }

    /// Makes requests at once, waits for all answers, and holds each against its owner among `live`.
    pub(super) async fn divided(
        &self,
        policies: &[&str],
        count: usize,
        live: &[&'static str],
    ) -> Result<Vec<Answer>> {
        let answers = self
            .answered(self.ask(policies, count, Duration::ZERO))
            .await?;
        for answer in &answers {
            let owner = answer.owner(live);
            ensure!(
                answer.by == owner,
                "{} is {owner}'s among {live:?}, and was answered by {}",
                answer.id,
                answer.by
            );
        }
        for name in live {
            ensure!(
                answers.iter().any(|answer| answer.by == *name),
                "of {count} requests none was {name}'s: this proves nothing"
            );
        }
        Ok(answers)
    }

    /// Whose CA signed.
    pub(super) fn issuer(&self, chain: &Chain) -> Result<&'static str> {
        let key = chain.leaf().authority_key_id();
        let mut cas = self.cas.iter();
        let found = cas.find(|(_, ca)| key.is_some() && ca.root.subject_key_id() == key);
        found
            .map(|(name, _)| *name)
            .context("issued by nobody's CA")
    }

    /// Waits until each of `replicas` shares the work with so many.
    pub(super) async fn share(&self, replicas: &[&Replica], live: usize) -> Result<()> {
        let wanted = live as f64;
        for replica in replicas {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let metrics = replica.program.metrics().await?;
                let seen = metrics.sum("podcert_replicas_live", &[]);
                if (seen - wanted).abs() < 0.5 {
                    break;
                }
                let late = format!("{} sees {seen} replicas, not {live}", replica.name);
                ensure!(
                    Instant::now() < deadline,
                    replica.program.blame(anyhow::Error::msg(late))
                );
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Waits until a bundle has the anchor of `with` and not that of `without`; how long that took.
    pub(super) async fn published<'a>(
        &self,
        policy: &str,
        with: &CaPool,
        without: impl Into<Option<&'a CaPool>>,
    ) -> Result<Duration> {
        let without = without.into();
        let begun = Instant::now();
        loop {
            let bundle = self.stage.bundle(policy).await.unwrap_or_default();
            if has(&bundle, with) && without.is_none_or(|without| !has(&bundle, without)) {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > PATIENCE {
                bail!("the bundle of {policy} does not follow the pool: {bundle}");
            }
            sleep(LOOK).await;
        }
    }

    /// The Lease of a replica, if it is there.
    pub(super) async fn lease(&self, name: &str) -> Result<Option<Lease>> {
        let namespace = self.stage.controller_namespace();
        let leases: Api<Lease> = Api::namespaced(self.stage.admin.clone(), &namespace);
        Ok(leases.get_opt(name).await?)
    }

    /// When a replica that starts has its Lease.
    pub(super) async fn leased(&self, name: &str) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        while self.lease(name).await?.is_none() {
            ensure!(Instant::now() < deadline, "{name} makes no Lease");
            sleep(LOOK).await;
        }
        Ok(Instant::now())
    }

    /// Takes the pod of a replica away, and waits until its Lease is collected.
    pub(super) async fn remove_pod(&self, name: &str) -> Result<()> {
        let namespace = self.stage.controller_namespace();
        let pods: Api<PodObject> = Api::namespaced(self.stage.admin.clone(), &namespace);
        pods.delete(name, &DeleteParams::default().grace_period(0))
            .await?;
        let deadline = Instant::now() + PATIENCE;
        while self.lease(name).await?.is_some() {
            ensure!(
                Instant::now() < deadline,
                "the Lease of {name} is not collected with its pod"
            );
            sleep(LOOK).await;
        }
        Ok(())
    }
}

impl Replica {
    /// Starts podcert in its place.
    pub(super) async fn start(name: &'static str, setup: &Setup) -> Result<Self> {
        Ok(Self {
            name,
            program: Program::start(setup).await?,
            log: setup.log.clone(),
        })
    }

    /// Sends a signal to its process.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.program.pid()?, signal)?)
    }

    /// How many bundles it wrote.
    pub(super) async fn bundle_writes(&self) -> Result<f64> {
        let metrics = self.program.metrics().await?;
        let count = |outcome| metrics.sum("podcert_bundle_writes_total", &[("outcome", outcome)]);
        Ok(count("created") + count("updated"))
    }

    /// One of the numbers it serves, summed over labels.
    pub(super) async fn count(&self, name: &str) -> Result<f64> {
        Ok(self.program.metrics().await?.sum(name, &[]))
    }
}

impl Answer {
    /// Whose it is, among these.
    pub(super) fn owner(&self, live: &[&'static str]) -> &'static str {
        owner(&self.id.to_string(), live)
    }

    /// How long it waited, from when it was there.
    pub(super) fn waited(&self) -> Duration {
        self.seen - self.made
    }
}

/// Whether a bundle has the root of this pool's first CA.
pub(super) fn has(bundle: &str, pool: &CaPool) -> bool {
    podcert_pki::Certificate::from_pem_many(bundle)
        .is_ok_and(|anchors| anchors.contains(&pool.root))
}

/// The longest wait, in seconds.
pub(super) fn longest(answers: &[Answer]) -> f64 {
    let longest = answers.iter().map(Answer::waited).max();
    longest.unwrap_or_default().as_secs_f64()
}

/// That of meshtool's manifests.
pub(super) const APPLICATION: &str = "mesh-controller";
/// Whose signers are asked.
pub(super) const POLICIES: [&str; 2] = ["service-dns", "spiffe"];
/// Between two looks at what is to change.
pub(super) const LOOK: Duration = Duration::from_millis(50);
const PODS: usize = 10;
const AT_ONCE: usize = 32;
