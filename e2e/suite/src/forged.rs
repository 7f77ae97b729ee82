//! Requests and statuses that somebody made up, on a real server.
//!
//! Two principals make them. Mallory is a service account that may create requests and write
//! statuses, but may not sign: what a careless RBAC rule gives away. The node is one whose kubelet
//! sends more than its key. Everything is made twice: without the admission policy that podcert
//! ships, where only a request that names a pod by its true UIDs is issued, and with it, where
//! nobody but the pod's node makes any request at all.

mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use podcert_cases::material::{self, KeyType};
use podcert_cases::{Release, User};
use podcert_pki::{Chain, TrustBundle};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::cluster::checkout;
use crate::harness::{
    Answers, Ask, CaKind, CaPool, Kubelet, Outcome, PATIENCE, Pod, Program, Request, RequestId,
    Setup, Source, Spec, Stage, WorkloadKey, now,
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

/// A request that is not what it says.
struct Forgery {
    name: &'static str,
    spec: Spec,
    becomes: Becomes,
}

/// What becomes of a request where nothing guards creation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Becomes {
    /// A certificate with the names of the pod, and nothing else.
    Issued,
    /// Nothing, for this reason, as long as it is there.
    Waits(&'static str),
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
    let setup = Setup::both(&stage, &pool).await?;
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
        let both = Policy::ALL.map(|policy| Source::of(stage.signer(policy.as_str())));
        let victim = stage
            .pod(&namespace, "victim", account, Arc::clone(&node), &both)
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

    /// What Mallory makes.
    fn forgeries(&self) -> Result<Vec<Forgery>> {
        let honest = |change: &dyn Fn(&mut Spec)| {
            let mut spec = self.ask(&self.victim, Policy::Spiffe).spec(self.release());
            change(&mut spec);
            // The proof of possession is over the UID that the request names.
            self.key.show(self.release(), &mut spec);
            spec
        };
        let forgery = |name, becomes, change: &dyn Fn(&mut Spec)| Forgery {
            name,
            spec: honest(change),
            becomes,
        };
        let not_mounted = Forgery {
            name: "a signer the pod does not mount",
            spec: self.ask(&self.plain, Policy::Spiffe).spec(self.release()),
            becomes: Becomes::Waits("NoProjection"),
        };
        let mut forgeries = vec![
            forgery("no such pod", Becomes::Waits("PodNotFound"), &|spec| {
                spec.pod_name = "nobody".into();
            }),
            forgery("another pod UID", Becomes::Waits("PodReplaced"), &|spec| {
                spec.pod_uid = WRONG_UID.into();
            }),
            forgery("all UIDs wrong", Becomes::Waits("PodReplaced"), &|spec| {
                spec.pod_uid = WRONG_UID.into();
                spec.service_account_uid = WRONG_UID.into();
                spec.node_uid = WRONG_UID.into();
            }),
            forgery("another node", Becomes::Waits("PodNodeMismatch"), &|spec| {
                spec.node_name.clone_from(&self.elsewhere.name);
                spec.node_uid.clone_from(&self.elsewhere.uid);
            }),
            forgery(
                "another service account",
                Becomes::Waits("PodServiceAccountMismatch"),
                &|spec| {
                    spec.service_account_name = "other".into();
                    spec.service_account_uid.clone_from(&self.other_account_uid);
                },
            ),
            not_mounted,
            forgery(
                "annotations the pod does not have",
                Becomes::Waits("AnnotationsMismatch"),
                &|spec| {
                    let annotation = ("service-dns.row-major.net/services", "web");
                    spec.unverified_user_annotations =
                        BTreeMap::from([(annotation.0.to_owned(), annotation.1.to_owned())]);
                },
            ),
            forgery("the pod's true UIDs", Becomes::Issued, &|_| {}),
            // The program is shown nodes and service accounts; under meshtool's RBAC, which shows
            // neither, these three would be issued.
            forgery(
                "the pod's true UID alone",
                Becomes::Waits("NodeReplaced"),
                &|spec| {
                    spec.service_account_uid = WRONG_UID.into();
                    spec.node_uid = WRONG_UID.into();
                },
            ),
            forgery(
                "another node UID",
                Becomes::Waits("NodeReplaced"),
                &|spec| spec.node_uid = WRONG_UID.into(),
            ),
            forgery(
                "another service account UID",
                Becomes::Waits("ServiceAccountReplaced"),
                &|spec| spec.service_account_uid = WRONG_UID.into(),
            ),
        ];
        if let Some(csr) = self.boastful_csr()? {
            let mut spec = honest(&|_| {});
            spec.stub_pkcs10_request = Some(csr);
            forgeries.push(Forgery {
                name: "true UIDs and a CSR with names",
                spec,
                becomes: Becomes::Issued,
            });
        }
        Ok(forgeries)
    }

    /// A CSR that asks for everything; there is none where requests have a bare key.
    fn boastful_csr(&self) -> Result<Option<String>> {
        if self.release() < Release::V1_36 {
            return Ok(None);
        }
        let mut params = CertificateParams::new([format!("{BOAST}.example.com")])?;
        params.distinguished_name.push(DnType::CommonName, BOAST);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        params.subject_alt_names.extend([
            SanType::URI(format!("spiffe://cluster.local/ns/{BOAST}/sa/{BOAST}").try_into()?),
            SanType::Rfc822Name(format!("{BOAST}@example.com").try_into()?),
            SanType::IpAddress([10, 0, 0, 1].into()),
        ]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.custom_extensions = vec![CustomExtension::from_oid_content(
            &[1, 3, 6, 1, 4, 1, 57683, 1],
            BOAST.as_bytes().to_vec(),
        )];
        let csr = params.serialize_request(self.key.pair())?;
        Ok(Some(STANDARD.encode(csr.der())))
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
        let policy = if ask.signer == self.stage.signer("spiffe") {
            Policy::Spiffe
        } else {
            Policy::ServiceDns
        };
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

/// Waits until `holds` does.
async fn until<F, R>(holds: F) -> Result<()>
where
    F: Fn() -> R,
    R: Future<Output = Result<()>>,
{
    let started = Instant::now();
    loop {
        match holds().await {
            Err(_) if started.elapsed() < PATIENCE => sleep(Duration::from_millis(50)).await,
            other => return other,
        }
    }
}

/// Lets a user create requests and write statuses, in all namespaces, and waits until it is so.
async fn grant(stage: &Stage, name: &str, user: &User) -> Result<()> {
    let rules = json!([
        {"apiGroups": [CERTIFICATES], "resources": ["podcertificaterequests"],
         "verbs": ["create", "get"]},
        {"apiGroups": [CERTIFICATES], "resources": ["podcertificaterequests/status"],
         "verbs": ["update"]},
    ]);
    bind(stage, name, user, rules).await?;
    let attributes = json!({
        "group": CERTIFICATES, "resource": "podcertificaterequests", "verb": "create",
        "namespace": "default",
    });
    stage.wait_for_rights(user, &attributes).await
}

/// Shows the program nodes and service accounts, which meshtool's RBAC does not.
async fn show_uids(stage: &Stage) -> Result<()> {
    let controller = stage.controller();
    let resources = ["nodes", "serviceaccounts"];
    let rules = json!([
        {"apiGroups": [""], "resources": resources, "verbs": ["list", "watch"]},
    ]);
    bind(stage, "uids", &controller, rules).await?;
    for resource in resources {
        let attributes = json!({"group": "", "resource": resource, "verb": "watch"});
        stage.wait_for_rights(&controller, &attributes).await?;
    }
    Ok(())
}

/// Gives a user rights in all namespaces.
async fn bind(stage: &Stage, name: &str, user: &User, rules: Value) -> Result<()> {
    let name = stage.scoped(name);
    stage
        .create(
            &Api::<ClusterRole>::all(stage.admin.clone()),
            json!({"metadata": {"name": name}, "rules": rules}),
        )
        .await?;
    stage
        .create(
            &Api::<ClusterRoleBinding>::all(stage.admin.clone()),
            json!({
                "metadata": {"name": name},
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
                // A service account is a user too.
                "subjects": [{"kind": "User", "apiGroup": RBAC, "name": user.name}],
            }),
        )
        .await?;
    Ok(())
}

const CERTIFICATES: &str = "certificates.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const MALLORY: &str = "mallory";
/// Stands in everything a CSR asks for.
const BOAST: &str = "i-am-the-boss";
const WRONG_UID: &str = "99999999-9999-9999-9999-999999999999";
