//! Requests and statuses that somebody made up, on a real server.
//!
//! Two principals make them. Mallory is a service account that may create requests and write
//! statuses, but may not sign: what a careless RBAC rule gives away. The node is one whose kubelet
//! sends more than its key. Everything is made twice: without the admission policy that podcert
//! ships, where only a request that names a pod by its true UIDs is issued, and with it, where
//! nobody but the pod's node makes any request at all.

mod forgeries;
mod policy;
mod rights;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use jiff::SignedDuration;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use podcert_cases::material::{self, KeyType};
use podcert_cases::{Release, User};
use podcert_pki::{Chain, TrustBundle};
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use self::forgeries::{Becomes, Forgery};
use self::rights::{grant, show_uids};
use crate::cluster::checkout;
use crate::harness::{
    Answers, Ask, CaKind, CaPool, Kubelet, Outcome, PATIENCE, Pod, Program, Request, RequestId,
    Setup, Source, Stage, WorkloadKey, now, until,
};
use crate::matrix::{Issued, Policy};
use crate::release::Skew;
use crate::run::{self, Context};

/// How it went.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Attempts, each of which came out as it must or is in `wrong`.
    pub(crate) attempts: usize,
    /// What came out otherwise.
    pub(crate) wrong: Vec<String>,
}

/// The objects that requests are made about.
struct Scene {
    stage: Arc<Stage>,
    namespace: String,
    /// Mounts projections of both signers, without annotations.
    victim: Arc<Pod>,
    /// Mounts one of service-dns alone.
    plain: Arc<Pod>,
    /// Another pod's node, and a service account of no pod.
    elsewhere: Arc<crate::harness::Node>,
    other_account_uid: String,
    kubelet: Kubelet,
    key: Arc<WorkloadKey>,
    mallory: Client,
}

/// All forgeries on the step's cluster, with the policy of this checkout.
///
/// # Errors
/// What came out wrong, or why it could not be tried.
pub(crate) async fn step(context: Context) -> Result<run::Outcome> {
    let kubeconfig = context.cluster.kubeconfig();
    let admission = checkout().join("deploy/admission");
    let mut attempts = 0;
    for skew in Skew::all(context.release) {
        let tally = forge(&kubeconfig, skew, &admission).await?;
        ensure!(
            tally.wrong.is_empty(),
            "{skew}: {} of {} attempts came out wrong: {}",
            tally.wrong.len(),
            tally.attempts,
            tally.wrong.join("\n")
        );
        attempts += tally.attempts;
    }
    Ok(run::Outcome::of(format!("{attempts} attempts")))
}

/// Makes all forgeries on the server of an administrator's kubeconfig; `admission` is the folder
/// of the policy's manifests. Nobody else may make requests on that server meanwhile.
///
/// # Errors
/// When it could not be tried.
pub(crate) async fn forge(kubeconfig: &Path, skew: Skew, admission: &Path) -> Result<Tally> {
    let stage = Stage::open(kubeconfig, skew, "forged").await?;
    let scene = Scene::set(&stage).await?;
    let pool = tokio::task::spawn_blocking(|| CaPool::of(CaKind::USUAL)).await??;
    let answers = Answers::watch(&stage).await?;
    let setup = Setup::all(&stage, &pool).await?;
    show_uids(&stage).await?;
    let program = Program::start(&setup).await?;
    let mut tally = Tally {
        attempts: 0,
        wrong: Vec::new(),
    };
    let tried = scene
        .both_ways(&program, &answers, admission, &mut tally)
        .await;
    tried.map_err(|error| program.blame(error))?;
    program.stop().await?;
    stage.close().await?;
    Ok(tally)
}

impl Scene {
    async fn set(stage: &Arc<Stage>) -> Result<Self> {
        let node = stage.node("node").await?;
        let elsewhere = stage.node("elsewhere").await?;
        let namespace = stage.namespace("shop").await?;
        let account_uid = stage.service_account(&namespace, "web").await?;
        let other_account_uid = stage.service_account(&namespace, "other").await?;
        stage.service_account(&namespace, MALLORY).await?;
        stage.service(&namespace, "web", "web").await?;
        let account = ("web", account_uid.as_str());
        let all = Policy::ALL.map(|policy| Source::of(stage.signer(policy.as_str())));
        let victim = stage
            .pod(&namespace, "victim", account, Arc::clone(&node), &all)
            .await?;
        let one = [Source::of(stage.signer("service-dns"))];
        let plain = stage
            .pod(&namespace, "plain", account, Arc::clone(&node), &one)
            .await?;
        let mallory = User::service_account(&namespace, MALLORY);
        grant(stage, MALLORY, &mallory).await?;
        Ok(Self {
            kubelet: Kubelet::of(stage, &node)?,
            key: WorkloadKey::of(KeyType::P256)?,
            mallory: stage.client(&mallory)?,
            stage: Arc::clone(stage),
            namespace,
            victim,
            plain,
            elsewhere,
            other_account_uid,
        })
    }

    /// Without the policy, and with it.
    async fn both_ways(
        &self,
        program: &Program,
        answers: &Answers,
        admission: &Path,
        tally: &mut Tally,
    ) -> Result<()> {
        self.unguarded(program, answers, tally).await?;
        let policy = policy::apply(&self.stage, admission).await?;
        let guarded = self.guarded(answers, tally).await;
        policy.remove().await?;
        guarded
    }

    /// Of the kubelets that are played.
    fn release(&self) -> Release {
        self.stage.skew.kubelets
    }

    fn ask(&self, pod: &Arc<Pod>, policy: Policy) -> Ask {
        Ask::new(pod, &self.stage.signer(policy.as_str()), &self.key)
    }

    /// Where nothing guards creation: true UIDs are believed, everything else waits.
    async fn unguarded(
        &self,
        program: &Program,
        answers: &Answers,
        tally: &mut Tally,
    ) -> Result<()> {
        let mut waiting: Vec<(&str, &str, Request)> = Vec::new();
        let mut expected = BTreeMap::<&str, f64>::new();
        for Forgery {
            name,
            spec,
            becomes,
        } in self.forgeries()?
        {
            tally.attempts += 1;
            let id = self
                .stage
                .request(&self.mallory, &self.namespace, spec)
                .await
                .with_context(|| format!("forged request: {name}"))?;
            match becomes {
                Becomes::Issued => {
                    let outcome = answers.of(&id, PATIENCE).await?;
                    let ask = self.ask(&self.victim, Policy::Spiffe);
                    tally.note(name, self.issued(ask, &outcome).await);
                }
                Becomes::Waits(reason) => {
                    waiting.push((name, reason, self.look(&id).await?));
                    *expected.entry(reason).or_default() += 1.0;
                }
            }
        }
        self.by_the_node(answers, tally).await?;

        // The program says of each what it waits for, then on the pod too.
        until(|| async {
            let metrics = program.metrics().await?;
            let found = metrics.sums_by("podcert_requests_waiting", &[], ["reason"]);
            let found = found.into_iter().filter(|(_, count)| *count > 0.0);
            let found: BTreeMap<String, f64> =
                found.map(|([reason], count)| (reason, count)).collect();
            let same = found.len() == expected.len()
                && expected
                    .iter()
                    .all(|(reason, count)| found.get(*reason) == Some(count));
            ensure!(same, "waiting: {found:?}, and should be {expected:?}");
            Ok(())
        })
        .await?;
        until(|| async {
            let told = self.told().await?;
            let untold = expected.keys().find(|reason| !told.contains(**reason));
            ensure!(
                untold.is_none(),
                "no Event says {untold:?}; there are {told:?}"
            );
            Ok(())
        })
        .await?;
        if let Some((.., request)) = waiting.first() {
            self.written_without_sign(request, tally).await?;
        }
        for (name, reason, before) in &waiting {
            let after = self.look(&RequestId::of(before)).await?;
            let untouched = before.metadata.resource_version == after.metadata.resource_version
                && after
                    .status
                    .as_ref()
                    .is_none_or(|status| status.conditions.is_empty());
            if !untouched {
                tally.wrong.push(format!(
                    "{name}: not left alone, {reason}: {:?}",
                    after.status
                ));
            }
        }

        // Gone, they hold up nothing more.
        let requests = self
            .stage
            .requests(self.stage.admin.clone(), &self.namespace);
        for (.., request) in &waiting {
            let name = RequestId::of(request).name;
            requests.delete(&name, &DeleteParams::default()).await?;
        }
        until(|| async {
            let waiting = program
                .metrics()
                .await?
                .sum("podcert_requests_waiting", &[]);
            ensure!(
                waiting == 0.0,
                "{waiting} requests wait though all were deleted"
            );
            Ok(())
        })
        .await
    }

    /// What a node may do for its own pod: all of it is issued, with the pod's names alone.
    async fn by_the_node(&self, answers: &Answers, tally: &mut Tally) -> Result<()> {
        for policy in Policy::ALL {
            let ask = self.ask(&self.victim, policy);
            let twice = [ask.clone(), ask.clone()];
            for id in self.kubelet.burst(&twice, 2).await? {
                tally.attempts += 1;
                let outcome = answers.of(&id, PATIENCE).await?;
                tally.note(
                    "one of two that race",
                    self.issued(ask.clone(), &outcome).await,
                );
            }
            if let Some(csr) = self.boastful_csr()? {
                tally.attempts += 1;
                let mut spec = ask.spec(self.release());
                spec.stub_pkcs10_request = Some(csr);
                let node = self.kubelet.client();
                let id = self.stage.request(node, &self.namespace, spec).await?;
                let outcome = answers.of(&id, PATIENCE).await?;
                tally.note("a CSR with names", self.issued(ask, &outcome).await);
            }
        }
        Ok(())
    }

    /// Statuses of somebody who may write statuses but not sign.
    async fn written_without_sign(&self, request: &Request, tally: &mut Tally) -> Result<()> {
        let api = self.stage.requests(self.mallory.clone(), &self.namespace);
        let from = now() - SignedDuration::from_secs(60);
        let until = from + SignedDuration::from_hours(12);
        let leaf = material::leaf(
            &material::ca(MALLORY),
            self.key.pair(),
            from,
            until,
            &["a.b"],
        );
        let condition = |kind: &str| {
            json!([{
                "type": kind, "status": "True", "reason": "Forged", "message": "by nobody",
                "lastTransitionTime": material::date(now()),
            }])
        };
        let statuses = [
            json!({
                "conditions": condition("Issued"),
                "certificateChain": leaf,
                "notBefore": material::date(from),
                "beginRefreshAt": material::date(from + SignedDuration::from_hours(6)),
                "notAfter": material::date(until),
            }),
            json!({"conditions": condition("Denied")}),
            json!({"conditions": condition("Failed")}),
        ];
        let name = RequestId::of(request).name;
        for status in statuses {
            tally.attempts += 1;
            let mut forged = request.clone();
            forged.status = Some(serde_json::from_value(status)?);
            let written = api
                .replace_status(&name, &PostParams::default(), &forged)
                .await;
            match written {
                // The rule is part of validation, so it is no 403.
                Err(kube::Error::Api(refusal))
                    if refusal.code == 422
                        && refusal.message.contains("is not permitted to \"sign\"") => {}
                other => tally
                    .wrong
                    .push(format!("a status without sign: {other:?}")),
            }
        }
        Ok(())
    }

    /// With the policy: nobody but the node makes a request, and the node makes all of its own.
    async fn guarded(&self, answers: &Answers, tally: &mut Tally) -> Result<()> {
        let elsewhere = self.stage.client(&User::node(&self.elsewhere.name))?;
        // Who calls himself a node, without the group that authentication gives to nodes.
        let name = self.victim.node.name.as_str();
        let no_group = User::new(User::node(name).name);
        grant(&self.stage, "impostor", &no_group).await?;
        let creators = [
            ("a service account", self.mallory.clone()),
            ("an administrator", self.stage.admin.clone()),
            ("another node", elsewhere),
            (
                "a node without the group of nodes",
                self.stage.client(&no_group)?,
            ),
        ];
        for (who, client) in creators {
            for Forgery { name, spec, .. } in self.forgeries()? {
                tally.attempts += 1;
                let made = self.stage.request(&client, &self.namespace, spec).await;
                let refused = match &made {
                    // NodeRestriction may be faster than the policy.
                    Err(kube::Error::Api(refusal)) => {
                        policy::refused(refusal) || who == "another node"
                    }
                    _ => false,
                };
                if !refused {
                    tally
                        .wrong
                        .push(format!("{who} made a request, {name}: {made:?}"));
                }
            }
        }
        self.by_the_node(answers, tally).await?;
        self.excepted(answers, tally).await
    }

    /// An exception lets in what it names, and nothing beside it.
    async fn excepted(&self, answers: &Answers, tally: &mut Tally) -> Result<()> {
        let user = User::service_account(&self.namespace, MALLORY).name;
        let signer = self.stage.signer("spiffe");
        let namespace = &self.namespace;
        policy::except(
            &self.stage,
            Some(&format!("{user} {signer} {namespace}/web")),
        )
        .await?;
        let tried = async {
            let spiffe = self.ask(&self.victim, Policy::Spiffe);
            let started = Instant::now();
            // It takes the server a moment to see it.
            let id = loop {
                let spec = spiffe.spec(self.release());
                match self.stage.request(&self.mallory, namespace, spec).await {
                    Err(kube::Error::Api(refusal))
                        if policy::refused(&refusal) && started.elapsed() < PATIENCE =>
                    {
                        sleep(Duration::from_millis(50)).await;
                    }
                    made => break made.context("excepted from the policy")?,
                }
            };
            tally.attempts += 2;
            let outcome = answers.of(&id, PATIENCE).await?;
            tally.note("made by exception", self.issued(spiffe, &outcome).await);
            let another = self
                .ask(&self.victim, Policy::ServiceDns)
                .spec(self.release());
            let made = self.stage.request(&self.mallory, namespace, another).await;
            if !matches!(&made, Err(kube::Error::Api(refusal)) if policy::refused(refusal)) {
                tally
                    .wrong
                    .push(format!("an exception for another signer lets in: {made:?}"));
            }
            Ok(())
        };
        let tried = tried.await;
        policy::except(&self.stage, None).await?;
        tried
    }

    /// What is wrong with a certificate that had to be issued, with the pod's names alone.
    async fn issued(&self, ask: Ask, outcome: &Outcome) -> Result<()> {
        let status = outcome.issued()?;
        let policy = Policy::ALL
            .into_iter()
            .find(|policy| ask.signer == self.stage.signer(policy.as_str()))
            .with_context(|| format!("{} is no signer of the stage", ask.signer))?;
        let chain = Chain::from_pem(status.certificate_chain.clone().unwrap_or_default())?;
        let shown = chain.leaf().der();
        if shown
            .windows(BOAST.len())
            .any(|part| part == BOAST.as_bytes())
        {
            bail!("the certificate shows what the CSR asked for");
        }
        let bundle = TrustBundle::from_pem(self.stage.bundle(policy.as_str()).await?)?;
        let issued = Issued {
            policy,
            ca: CaKind::USUAL,
            asked: ask,
            chain,
            bundle: Arc::new(bundle),
        };
        match issued.deviations().as_slice() {
            [] => Ok(()),
            deviations => bail!("{}", deviations.join(", ")),
        }
    }

    async fn look(&self, id: &RequestId) -> Result<Request> {
        let requests = self.stage.requests(self.stage.admin.clone(), &id.namespace);
        Ok(requests.get(&id.name).await?)
    }

    /// The reasons that Events in the namespace give.
    async fn told(&self) -> Result<BTreeSet<String>> {
        let events: Api<Event> = Api::namespaced(self.stage.admin.clone(), &self.namespace);
        let events = events.list(&ListParams::default()).await?;
        Ok(events
            .into_iter()
            .filter_map(|event| event.reason)
            .collect())
    }
}

impl Tally {
    fn note(&mut self, name: &str, result: Result<()>) {
        if let Err(error) = result {
            self.wrong.push(format!("{name}: {error:#}"));
        }
    }
}

const MALLORY: &str = "mallory";
/// Stands in everything a CSR asks for.
const BOAST: &str = "i-am-the-boss";
