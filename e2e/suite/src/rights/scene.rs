//! One controller with an account of its own, and what it does.

mod looks;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, ensure};
use kube::Client;
use podcert_cases::Release;
use podcert_cases::material::KeyType;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::rules::{Pair, Roles};
use super::table::{Becomes, Expected, Row};
use crate::harness::{
    Answers, Ask, CaPool, Kubelet, PATIENCE, Pod, Program, RequestId, Setup, Source, Stage,
    WorkloadKey,
};
use crate::release::Skew;
use crate::run::Context;

/// What is played.
pub(super) struct Play {
    pub(super) number: usize,
    pub(super) roles: Roles,
    /// What is missing, if anything is.
    pub(super) row: Option<&'static Row>,
    pub(super) expected: Expected,
}

impl Play {
    /// For messages.
    pub(super) fn name(&self) -> String {
        self.row.map_or_else(
            || "with all rights".to_owned(),
            |row| {
                let Pair { resource, verb } = row.pair();
                format!("without {verb} on {resource}")
            },
        )
    }

    fn is_about_leases(&self) -> bool {
        self.row.is_none_or(|row| row.pair().resource == "leases")
    }
}

/// Plays it on the step's cluster; `pools` are the first pool and the next.
///
/// # Errors
/// What was otherwise than expected, or why it could not be played.
pub(super) async fn play(context: &Context, pools: &[CaPool; 2], play: Play) -> Result<()> {
    let skew = Skew::none(context.release);
    let label = format!("rights-{}", play.number);
    let stage = Stage::open(&context.cluster.kubeconfig(), skew, &label).await?;
    let scene = Scene::set(&stage, play, pools[0].clone(), pools[1].clone()).await?;
    scene.play().await?;
    stage.close().await
}

struct Scene {
    stage: Arc<Stage>,
    play: Play,
    answers: Answers,
    kubelet: Kubelet,
    old_kubelet: Kubelet,
    key: Arc<WorkloadKey>,
    /// Where pods are, and their service account.
    namespace: String,
    account: (String, String),
    node: Arc<crate::harness::Node>,
    pods: BTreeMap<&'static str, Arc<Pod>>,
    setups: Vec<Setup>,
    pool: CaPool,
    next: CaPool,
}

/// A request and what is to become of it.
struct Fact {
    name: &'static str,
    /// Of the pod and signer.
    pod: String,
    signer: String,
    id: RequestId,
    becomes: Becomes,
}

impl Scene {
    async fn set(stage: &Arc<Stage>, play: Play, pool: CaPool, next: CaPool) -> Result<Self> {
        let roles = play.roles.clone().for_signers_of(&stage.signer_domain());
        let own = json!(roles.own);
        let kubeconfig = stage.account(json!(roles.cluster), Some(own)).await?;
        let own_namespace = stage.controller_namespace();
        for sample in roles.samples(&own_namespace) {
            stage.wait_for_rights(&stage.controller(), &sample).await?;
        }
        let node = stage.node("node").await?;
        let namespace = stage.namespace("shop").await?;
        let account = (
            "web".to_owned(),
            stage.service_account(&namespace, "web").await?,
        );
        let mut scene = Self {
            answers: Answers::watch(stage).await?,
            kubelet: Kubelet::of(stage, &node)?,
            old_kubelet: Kubelet::of(&stage.for_kubelets(Release::V1_35), &node)?,
            key: WorkloadKey::of(KeyType::P256)?,
            stage: Arc::clone(stage),
            play,
            namespace,
            account,
            node,
            pods: BTreeMap::new(),
            setups: Vec::new(),
            pool,
            next,
        };
        for name in [EARLY, OLD, WRONG_NODE, WRONG_ACCOUNT] {
            scene.pod(name).await?;
        }
        let replicas = if scene.play.is_about_leases() { 2 } else { 1 };
        for number in 0..replicas {
            let setup = scene.replica(&kubeconfig, &own_namespace, number).await?;
            scene.setups.push(setup);
        }
        Ok(scene)
    }

    /// A replica in a pod of its own, which owns its Lease and gets its Events.
    async fn replica(&self, kubeconfig: &Path, namespace: &str, number: u8) -> Result<Setup> {
        let stage = &self.stage;
        let name = format!("replica-{number}");
        let uid = stage.account_uid().await?;
        let account = ("controller", uid.as_str());
        let node = Arc::clone(&self.node);
        let pod = stage.pod(namespace, &name, account, node, &[]).await?;
        let mut setup = Setup::with(stage, &self.pool, kubeconfig.to_owned())?;
        setup.log = stage.folder.join(format!("{name}.log"));
        setup.flags.extend([
            format!("--sharding-pod-namespace={namespace}"),
            format!("--sharding-pod-name={name}"),
            format!("--sharding-pod-uid={}", pod.uid),
            format!("--sharding-application-name={}", stage.name),
        ]);
        Ok(setup)
    }

    /// Makes a pod that mounts a projection of each signer that is asked.
    async fn pod(&mut self, name: &'static str) -> Result<()> {
        let sources = [SPIFFE, SERVICE_DNS].map(|policy| Source::of(self.stage.signer(policy)));
        let (account, uid) = &self.account;
        let account = (account.as_str(), uid.as_str());
        let node = Arc::clone(&self.node);
        let made = self
            .stage
            .pod(&self.namespace, name, account, node, &sources);
        let pod = made.await?;
        self.pods.insert(name, pod);
        Ok(())
    }

    async fn play(mut self) -> Result<()> {
        let expected = self.play.expected.clone();
        let early = self
            .ask(EARLY, EARLY, SPIFFE, &self.kubelet, expected.early)
            .await?;
        let mut programs = Vec::new();
        for setup in &self.setups {
            programs.push(Program::spawn(setup).await?);
        }
        let played = self.acts(&programs, early).await;
        if let (Err(error), Some(program)) = (played, programs.first()) {
            return Err(program.blame(error));
        }
        for program in programs {
            program.stop().await?;
        }
        self.look_at_the_lease().await
    }

    /// Everything while it runs.
    async fn acts(&mut self, programs: &[Program], early: Fact) -> Result<()> {
        let expected = self.play.expected.clone();
        let begun = Instant::now();
        if expected.ready {
            for program in programs {
                program.ready(PATIENCE).await?;
            }
        } else {
            // As far as it gets.
            self.first_report().await?;
        }
        let mut facts = vec![early];
        self.pod(LATE).await?;
        self.stage.service(&self.namespace, "web", "web").await?;
        let (kubelet, old) = (&self.kubelet, &self.old_kubelet);
        for (name, pod, signer, kubelet, becomes) in [
            (LATE, LATE, SPIFFE, kubelet, expected.late),
            (
                "new service",
                LATE,
                SERVICE_DNS,
                kubelet,
                expected.new_service,
            ),
            (OLD, OLD, SPIFFE, old, expected.old_kubelet),
        ] {
            facts.push(self.ask(name, pod, signer, kubelet, becomes).await?);
        }
        let another = "99999999-9999-9999-9999-999999999999";
        let admin = self.stage.admin.clone();
        for (name, becomes) in [
            (WRONG_NODE, expected.wrong_node),
            (WRONG_ACCOUNT, expected.wrong_account),
        ] {
            let mut spec = self.request(name, SPIFFE)?.spec(self.stage.skew.kubelets);
            if name == WRONG_NODE {
                spec.node_uid = another.to_owned();
            } else {
                spec.service_account_uid = another.to_owned();
            }
            facts.push(self.made(name, name, SPIFFE, &admin, spec, becomes).await?);
        }
        for fact in &facts {
            self.hold(fact).await.context(fact.name)?;
        }
        if facts.iter().any(|fact| fact.becomes == Becomes::Ignored) {
            // Long enough that it would have been answered or told of.
            sleep(IGNORED.saturating_sub(begun.elapsed())).await;
        }
        for fact in &facts {
            self.stands(fact).await.context(fact.name)?;
        }
        self.look_at_readiness(programs).await?;
        self.look_at_events(&facts).await?;
        self.look_at_the_report().await?;
        self.look_at_the_bundle().await?;
        self.change_the_ca().await
    }

    fn request(&self, pod: &str, policy: &str) -> Result<Ask> {
        let pod = self
            .pods
            .get(pod)
            .with_context(|| format!("no pod {pod}"))?;
        Ok(Ask::new(pod, &self.stage.signer(policy), &self.key))
    }

    async fn ask(
        &self,
        name: &'static str,
        pod: &str,
        policy: &str,
        kubelet: &Kubelet,
        becomes: Becomes,
    ) -> Result<Fact> {
        let id = kubelet.ask(&self.request(pod, policy)?).await?;
        Ok(self.fact(name, pod, policy, id, becomes))
    }

    async fn made(
        &self,
        name: &'static str,
        pod: &str,
        policy: &str,
        client: &Client,
        spec: crate::harness::Spec,
        becomes: Becomes,
    ) -> Result<Fact> {
        let id = self.stage.request(client, &self.namespace, spec).await?;
        Ok(self.fact(name, pod, policy, id, becomes))
    }

    fn fact(
        &self,
        name: &'static str,
        pod: &str,
        policy: &str,
        id: RequestId,
        becomes: Becomes,
    ) -> Fact {
        Fact {
            name,
            pod: pod.to_owned(),
            signer: self.stage.signer(policy),
            id,
            becomes,
        }
    }

    /// Waits until it came as expected.
    async fn hold(&self, fact: &Fact) -> Result<()> {
        match fact.becomes {
            Becomes::Issued => {
                let outcome = self.answers.of(&fact.id, PATIENCE).await?;
                outcome.issued().map(drop)
            }
            Becomes::Waits(reason) => {
                until(async || {
                    let said = self.said_of(fact)?;
                    ensure!(said.contains(reason), "waits for {said:?}, not {reason}");
                    Ok(())
                })
                .await
            }
            Becomes::Ignored => Ok(()),
        }
    }

    /// That it is still so: what waits was not answered after all.
    async fn stands(&self, fact: &Fact) -> Result<()> {
        let answered = self.answers.of(&fact.id, Duration::from_millis(1)).await;
        let said = self.said_of(fact)?;
        match fact.becomes {
            Becomes::Issued => return Ok(()),
            Becomes::Waits(reason) => {
                ensure!(said.len() == 1, "waits for {said:?}, not {reason} alone");
            }
            Becomes::Ignored => ensure!(said.is_empty(), "it waits for {said:?}"),
        }
        ensure!(answered.is_err(), "answered: {answered:?}");
        Ok(())
    }

    /// What the logs say a request waits for.
    fn said_of(&self, fact: &Fact) -> Result<BTreeSet<String>> {
        let about = format!("signer {}:", fact.signer);
        let lines = self.log()?.into_iter();
        let of_it = lines.filter(|line| {
            let note = line.pointer("/fields/note").and_then(Value::as_str);
            line.pointer("/fields/message") == Some(&json!("event"))
                && line.pointer("/fields/object") == Some(&json!(fact.pod))
                && line.pointer("/fields/namespace") == Some(&json!(fact.id.namespace))
                && note.is_some_and(|note| note.starts_with(&about))
        });
        let reasons = of_it.filter_map(|line| {
            let reason = line.pointer("/fields/reason")?.as_str()?;
            Some(reason.to_owned())
        });
        Ok(reasons.collect())
    }

    /// The lines of all replicas.
    fn log(&self) -> Result<Vec<Value>> {
        let mut lines = Vec::new();
        for setup in &self.setups {
            lines.extend(read_log(setup)?);
        }
        Ok(lines)
    }
}

fn read_log(setup: &Setup) -> Result<Vec<Value>> {
    let text = fs::read_to_string(&setup.log)?;
    // The last line may be half written.
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    Ok(lines.collect())
}

/// Waits until `holds` does.
async fn until(holds: impl AsyncFn() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    loop {
        match holds().await {
            Ok(()) => return Ok(()),
            Err(error) if started.elapsed() > PATIENCE => {
                return Err(anyhow!("after {PATIENCE:?}: {error:#}"));
            }
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}

const SPIFFE: &str = "spiffe";
const SERVICE_DNS: &str = "service-dns";
const EARLY: &str = "early";
const LATE: &str = "late";
const OLD: &str = "old-kubelet";
const WRONG_NODE: &str = "wrong-node";
const WRONG_ACCOUNT: &str = "wrong-account";
/// A request is told of after ten seconds.
const IGNORED: Duration = Duration::from_secs(15);
