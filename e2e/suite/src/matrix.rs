//! Every kind of workload key under every kind of CA, by every signer, on a real server.
//!
//! The certificates count when the server accepted their statuses, and when OpenSSL, Go and webpki
//! accept their chains against the bundle the server shows. Kubelets of the server's release ask,
//! and those of every release before: an older one shows its key in another place. Every certificate
//! says the cluster's issuer, and those of pod-identity their pod, in extensions that are not critical.

pub(crate) mod cost;
pub(crate) mod verifiers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use podcert_cases::material::KUBELET_KEYS;
use podcert_pki::{Chain, ExtKeyUsages, TrustBundle};

use self::verifiers::Verifiers;
use crate::harness::{
    Answered, Answers, Ask, CaKind, CaPool, Kubelet, Program, Setup, Source, Stage, WorkloadKey,
};
use crate::release::Skew;
use crate::run::{Context, Outcome};

/// How the matrix went.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Certificates that were issued and held against every verifier.
    pub(crate) certificates: usize,
    /// Answers that verifiers gave.
    pub(crate) verdicts: usize,
    /// What was wrong.
    pub(crate) wrong: Vec<String>,
}

/// A signer, and what its policy puts into certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Policy {
    /// Services that select the pod.
    ServiceDns,
    /// The pod's service account.
    Spiffe,
    /// The pod itself.
    PodIdentity,
}

/// A certificate, and what it was asked for.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) policy: Policy,
    pub(crate) ca: CaKind,
    pub(crate) asked: Ask,
    pub(crate) chain: Chain,
    pub(crate) bundle: Arc<TrustBundle>,
}

/// The matrix on the step's cluster.
///
/// # Errors
/// What was wrong, or why it could not be run.
pub(crate) async fn step(context: Context) -> Result<Outcome> {
    let (mut certificates, mut verdicts) = (0, 0);
    for skew in Skew::all(context.release) {
        let tally = run(&context.cluster.kubeconfig(), skew).await?;
        ensure!(
            tally.wrong.is_empty(),
            "{skew}: {} certificates, {} wrong: {}",
            tally.certificates,
            tally.wrong.len(),
            tally.wrong.join("\n")
        );
        ensure!(
            tally.certificates == Tally::EXPECTED,
            "{skew}: only {} certificates",
            tally.certificates
        );
        certificates += tally.certificates;
        verdicts += tally.verdicts;
    }
    Ok(Outcome::of(format!(
        "{certificates} certificates, {verdicts} verdicts"
    )))
}

/// Runs the matrix on the server of an administrator's kubeconfig.
///
/// # Errors
/// When it could not be run.
pub(crate) async fn run(kubeconfig: &Path, skew: Skew) -> Result<Tally> {
    let verifiers = tokio::task::spawn_blocking(Verifiers::find);
    let stage = Stage::open(kubeconfig, skew, "matrix").await?;
    let keys = keys().await?;
    let asks = population(&stage, &keys).await?;
    let answers = Answers::watch(&stage).await?;
    let mut setup = None;
    let mut issued = Vec::new();
    for kind in CaKind::all() {
        let pool = tokio::task::spawn_blocking(move || CaPool::of(kind)).await??;
        let setup = match &setup {
            None => setup.insert(Setup::all(&stage, &pool).await?),
            Some(setup) => {
                pool.write(&setup.pool)?;
                setup
            }
        };
        issued.extend(under(&stage, setup, &pool, &answers, &asks).await?);
    }
    let verifiers = verifiers.await??;
    let asked = move || {
        let verdicts = verifiers.verdicts(&issued)?;
        let accepted = verifiers.accepted(&[control(&issued)?])?;
        anyhow::Ok((issued, verdicts, accepted))
    };
    let (issued, verdicts, accepted) = tokio::task::spawn_blocking(asked).await??;
    let mut wrong: Vec<String> = issued.iter().flat_map(Issued::deviations).collect();
    wrong.extend(
        verdicts
            .iter()
            .filter_map(|verdict| verdict.refusal(&issued)),
    );
    wrong.extend(accepted);
    stage.close().await?;
    Ok(Tally {
        certificates: issued.len(),
        verdicts: verdicts.len(),
        wrong,
    })
}

/// One key of each type that kubelets make.
pub(crate) async fn keys() -> Result<Vec<Arc<WorkloadKey>>> {
    let making =
        KUBELET_KEYS.map(|kind| tokio::task::spawn_blocking(move || WorkloadKey::of(kind)));
    let mut keys = Vec::new();
    for key in making {
        keys.push(key.await??);
    }
    Ok(keys)
}

/// A pod for each key, which mounts a projection of each signer with that type of key; what their
/// kubelet asks.
async fn population(stage: &Arc<Stage>, keys: &[Arc<WorkloadKey>]) -> Result<Asks> {
    let node = stage.node("node").await?;
    let namespace = stage.namespace("shop").await?;
    let account_uid = stage.service_account(&namespace, "web").await?;
    stage.service(&namespace, "web", "web").await?;
    let mut asks = Vec::new();
    for key in keys {
        let sources = Policy::ALL.map(|policy| Source {
            key_type: key.public.key_type().as_str(),
            ..Source::of(stage.signer(policy.as_str()))
        });
        let name = format!("web-{}", key.public.key_type()).to_lowercase();
        let account = ("web", account_uid.as_str());
        let pod = stage
            .pod(&namespace, &name, account, Arc::clone(&node), &sources)
            .await?;
        for policy in Policy::ALL {
            let ask = Ask::new(&pod, &stage.signer(policy.as_str()), key);
            asks.push((policy, ask));
        }
    }
    let kubelet = Kubelet::of(stage, &node)?;
    Ok(Asks { kubelet, asks })
}

/// What is asked under each CA.
struct Asks {
    kubelet: Kubelet,
    asks: Vec<(Policy, Ask)>,
}

/// All requests under one CA.
async fn under(
    stage: &Stage,
    setup: &Setup,
    pool: &CaPool,
    answers: &Answers,
    asks: &Asks,
) -> Result<Vec<Issued>> {
    let program = Program::start(setup).await?;
    let mut bundles = BTreeMap::new();
    for policy in Policy::ALL {
        let published = TrustBundle::from_pem(stage.bundle(policy.as_str()).await?)?;
        ensure!(
            published.anchors() == [pool.root.clone()],
            "the bundle of {} is not the pool's root, though the program is ready",
            policy.as_str()
        );
        bundles.insert(stage.signer(policy.as_str()), (policy, Arc::new(published)));
    }
    let wanted = asks.asks.iter().map(|(_, ask)| ask.clone()).collect();
    let answered = asks.kubelet.closed_loop(answers, wanted, AT_ONCE).await;
    let answered = answered.map_err(|error| program.blame(error))?;
    let issued = answered
        .into_iter()
        .map(|Answered { ask, outcome, .. }| {
            let status = outcome.issued()?;
            let (policy, bundle) = bundles
                .get(&ask.signer)
                .cloned()
                .ok_or_else(|| anyhow!("issued by {}", ask.signer))?;
            Ok(Issued {
                policy,
                ca: pool.kind,
                chain: Chain::from_pem(status.certificate_chain.clone().unwrap_or_default())?,
                asked: ask,
                bundle,
            })
        })
        .collect::<Result<_>>()
        .map_err(|error| program.blame(error))?;
    program.stop().await?;
    Ok(issued)
}

/// A certificate with the bundle of another CA: every verifier must refuse it, or would refuse none.
fn control(issued: &[Issued]) -> Result<Issued> {
    let (first, last) = issued
        .first()
        .zip(issued.last())
        .ok_or_else(|| anyhow!("nothing was issued"))?;
    Ok(Issued {
        policy: first.policy,
        ca: first.ca,
        asked: first.asked.clone(),
        chain: first.chain.clone(),
        bundle: Arc::clone(&last.bundle),
    })
}

impl Policy {
    pub(crate) const ALL: [Self; 3] = [Self::ServiceDns, Self::Spiffe, Self::PodIdentity];

    /// As signers are called after it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ServiceDns => "service-dns",
            Self::Spiffe => "spiffe",
            Self::PodIdentity => "pod-identity",
        }
    }
}

impl Issued {
    /// For messages.
    fn name(&self) -> String {
        let (policy, key) = (self.policy.as_str(), self.asked.key.public.key_type());
        format!("{policy} {key} under {}", self.ca)
    }

    /// The DNS name that verifiers ask for, of certificates that have any.
    fn dns_name(&self) -> Option<String> {
        (self.policy == Policy::ServiceDns).then(|| format!("web.{}.svc", self.asked.pod.namespace))
    }

    /// Where the leaf is not what the policy says.
    pub(crate) fn deviations(&self) -> Vec<String> {
        let leaf = self.chain.leaf();
        let pod = &self.asked.pod;
        let uri = format!(
            "spiffe://{}/ns/{}/sa/{}",
            Setup::TRUST_DOMAIN,
            pod.namespace,
            pod.service_account
        );
        let (dns, uris, usages) = match self.policy {
            Policy::ServiceDns => (self.dns_name(), None, ExtKeyUsages::SERVER),
            Policy::Spiffe => (None, Some(uri), ExtKeyUsages::SERVER_AND_CLIENT),
            Policy::PodIdentity => {
                let uri = format!("{uri}/pod/{}/uid/{}", pod.name, pod.uid);
                (None, Some(uri), ExtKeyUsages::SERVER_AND_CLIENT)
            }
        };
        let issuer = leaf.service_account_issuer();
        let usage = leaf.key_usage();
        [
            ("key", leaf.spki_der() == self.asked.key.public.spki_der()),
            ("DNS names", leaf.dns_names().eq(dns.as_deref())),
            ("URIs", leaf.uris().eq(uris.as_deref())),
            ("extended key usages", leaf.ext_key_usages() == Some(usages)),
            (
                "key usage",
                usage.is_some_and(|it| it.digital_signature() && !it.key_cert_sign()),
            ),
            ("basic constraints", !leaf.is_ca()),
            (
                "issuer of the cluster",
                issuer.is_ok_and(|it| it.is_some_and(|it| it.as_str() == Setup::ISSUER)),
            ),
            ("identity of the pod", self.says_its_pod()),
            ("subject", leaf.subject().is_empty()),
            (
                "authority key identifier",
                leaf.authority_key_id().is_some(),
            ),
            (
                "intermediates",
                self.chain.intermediates().len() == usize::from(self.ca.intermediate),
            ),
        ]
        .into_iter()
        .filter(|(_, right)| !right)
        .map(|(what, _)| format!("{}: wrong {what}", self.name()))
        .collect()
    }
}

impl Issued {
    /// Whether the extension of pod-identity says the pod, and no other certificate has it.
    fn says_its_pod(&self) -> bool {
        let Ok(oid) = Setup::POD_IDENTITY_OID.parse() else {
            return false;
        };
        let pod = &self.asked.pod;
        match self.chain.leaf().pod_identity_draft_a(oid) {
            Ok(Some(said)) => {
                let said = [
                    said.namespace.as_str(),
                    said.service_account_name.as_str(),
                    said.pod_name.as_str(),
                    said.pod_uid.as_str(),
                    said.node_name.as_str(),
                ];
                let pod = [
                    &pod.namespace,
                    &pod.service_account,
                    &pod.name,
                    &pod.uid,
                    &pod.node.name,
                ];
                self.policy == Policy::PodIdentity && said == pod.map(String::as_str)
            }
            Ok(None) => self.policy != Policy::PodIdentity,
            Err(_) => false,
        }
    }
}

impl Tally {
    /// How many certificates there must be: with fewer, something was left out.
    pub(crate) const EXPECTED: usize =
        KUBELET_KEYS.len() * CaKind::KEYS.len() * 2 * Policy::ALL.len();
}

/// Requests not answered yet.
const AT_ONCE: usize = 12;
