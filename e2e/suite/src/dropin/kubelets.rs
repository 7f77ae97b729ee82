//! What kubelets ask for, and what becomes of it: names, chains, and what verifiers say of them.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use jiff::SignedDuration;
use kube::api::{Api, ListParams};
use podcert_pki::{Chain, TrustBundle};
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use super::place::TRUST_DOMAIN;
use super::{Kind, bundle};
use crate::harness::{Ask, CaKind, Kubelet, PATIENCE, Request, RequestId, Source, Stage};
use crate::matrix::verifiers::Verifiers;
use crate::matrix::{Issued, keys};

/// Pods of one namespace, each with another type of key, and their kubelet.
pub(super) struct Kubelets {
    stage: Arc<Stage>,
    namespace: String,
    kubelet: Kubelet,
    asks: Vec<(Kind, Ask)>,
}

/// A request that was made.
pub(super) struct Made {
    pub(super) kind: Kind,
    pub(super) ask: Ask,
    pub(super) id: RequestId,
}

/// All certificates, each with the bundle that was published when it was issued.
pub(super) struct Tally {
    verifiers: Verifiers,
    /// Below meshtool's root, whose subject is empty.
    nameless: Vec<Issued>,
    /// Below a root of podcert's.
    named: Vec<Issued>,
    verdicts: usize,
}

impl Kubelets {
    /// Makes the pods, of this service account (name and UID), and a Service that selects them all,
    /// beside one that selects nothing.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn begin(
        stage: &Arc<Stage>,
        namespace: &str,
        account: (&str, &str),
    ) -> Result<Self> {
        let node = stage.node(&format!("of-{namespace}")).await?;
        stage.service(namespace, "web", "web").await?;
        let services: Api<k8s_openapi::api::core::v1::Service> =
            Api::namespaced(stage.admin.clone(), namespace);
        let selects_nothing =
            json!({"metadata": {"name": "outside"}, "spec": {"ports": [{"port": 443}]}});
        stage.create(&services, selects_nothing).await?;
        let mut asks = Vec::new();
        for key in keys().await? {
            let sources = Kind::ALL.map(|kind| Source {
                key_type: key.public.key_type().as_str(),
                ..Source::of(kind.signer())
            });
            let name = format!("web-{}", key.public.key_type()).to_lowercase();
            let pod = stage
                .pod(namespace, &name, account, Arc::clone(&node), &sources)
                .await?;
            let of_pod = |kind: Kind| (kind, Ask::new(&pod, &kind.signer(), &key));
            asks.extend(Kind::ALL.map(of_pod));
        }
        Ok(Self {
            stage: Arc::clone(stage),
            namespace: namespace.to_owned(),
            kubelet: Kubelet::of(stage, &node)?,
            asks,
        })
    }

    /// Asks for a certificate of each signer for each pod.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn ask(&self) -> Result<Vec<Made>> {
        let asks: Vec<Ask> = self.asks.iter().map(|(_, ask)| ask.clone()).collect();
        let ids = self.kubelet.burst(&asks, AT_ONCE).await?;
        let made = self.asks.iter().zip(ids);
        Ok(made
            .map(|((kind, ask), id)| Made {
                kind: *kind,
                ask: ask.clone(),
                id,
            })
            .collect())
    }

    /// Waits until all of these are answered; the requests with their answers.
    ///
    /// # Errors
    /// When they are not.
    pub(super) async fn answered(&self, made: Vec<Made>) -> Result<Vec<(Made, Request)>> {
        let requests = self
            .stage
            .requests(self.stage.admin.clone(), &self.namespace);
        let started = Instant::now();
        loop {
            let all = requests.list(&ListParams::default()).await?.items;
            let answered = |made: &Made| {
                let mine = all.iter().find(|it| RequestId::of(it) == made.id)?;
                super::condition(mine).is_some().then(|| mine.clone())
            };
            let answers: Option<Vec<Request>> = made.iter().map(answered).collect();
            if let Some(answers) = answers {
                return Ok(made.into_iter().zip(answers).collect());
            }
            let open = made.iter().filter(|made| answered(made).is_none());
            ensure!(
                started.elapsed() < PATIENCE,
                "not answered: {:?}",
                open.map(|made| &made.id).collect::<Vec<_>>()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks for all of them, waits, and counts them in.
    ///
    /// # Errors
    /// When one is not issued, or is not as it should be.
    pub(super) async fn issue(&self, tally: &mut Tally) -> Result<()> {
        let made = self.ask().await?;
        for (made, request) in self.answered(made).await? {
            tally.count(&self.stage, made, &request).await?;
        }
        Ok(())
    }
}

impl Tally {
    /// None yet.
    ///
    /// # Errors
    /// When a verifier is missing.
    pub(super) async fn new() -> Result<Self> {
        Ok(Self {
            verifiers: tokio::task::spawn_blocking(Verifiers::find).await??,
            nameless: Vec::new(),
            named: Vec::new(),
            verdicts: 0,
        })
    }

    /// Holds an answer against what it was asked for, and keeps it for the verifiers.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) async fn count(
        &mut self,
        stage: &Stage,
        made: Made,
        request: &Request,
    ) -> Result<()> {
        let status = request.status.as_ref().context("no status")?;
        let condition = status.conditions.first().context("no condition")?;
        let id = &made.id;
        ensure!(condition.type_ == "Issued", "{id}: {condition:?}");
        let chain = Chain::from_pem(status.certificate_chain.clone().unwrap_or_default())?;
        let leaf = chain.leaf();
        let pod = &made.ask.pod;
        let (dns, uri) = match made.kind {
            Kind::ServiceDns => (Some(format!("web.{}.svc", pod.namespace)), None),
            Kind::Spiffe => {
                let (namespace, account) = (&pod.namespace, &pod.service_account);
                let uri = format!("spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{account}");
                (None, Some(uri))
            }
        };
        ensure!(
            leaf.dns_names().eq(dns.as_deref()) && leaf.uris().eq(uri.as_deref()),
            "{id} has other names: {leaf:?}"
        );
        ensure!(
            leaf.spki_der() == made.ask.key.public.spki_der() && leaf.subject().is_empty(),
            "{id} is for another key, or has a subject"
        );
        let lifetime = leaf.not_after().duration_since(leaf.not_before());
        ensure!(
            lifetime <= SignedDuration::from_hours(24),
            "{id}: {lifetime:?}"
        );
        let issued = Issued {
            policy: made.kind.policy(),
            ca: CaKind {
                key: podcert_pki::KeyType::Ed25519,
                intermediate: false,
            },
            bundle: Arc::new(TrustBundle::from_pem(bundle(stage, made.kind).await?.1)?),
            chain,
            asked: made.ask,
        };
        if issued.chain.leaf().issuer().is_empty() {
            self.nameless.push(issued);
        } else {
            self.named.push(issued);
        }
        Ok(())
    }

    /// Asks the verifiers, who are to take everything, OpenSSL below a root without a name as programs
    /// have it by default.
    ///
    /// # Errors
    /// Who refuses what.
    pub(super) async fn verify(mut self) -> Result<Self> {
        tokio::task::spawn_blocking(move || {
            ensure!(
                !self.nameless.is_empty() && !self.named.is_empty(),
                "there are no certificates of both kinds"
            );
            let mut wrong = Vec::new();
            let strict = self.verifiers.verdicts(&self.named)?;
            wrong.extend(strict.iter().filter_map(|it| it.refusal(&self.named)));
            self.verifiers = self.verifiers.lenient();
            let lenient = self.verifiers.verdicts(&self.nameless)?;
            wrong.extend(lenient.iter().filter_map(|it| it.refusal(&self.nameless)));
            ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
            self.verdicts = strict.len() + lenient.len();
            Ok(self)
        })
        .await?
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nameless, named) = (self.nameless.len(), self.named.len());
        let verdicts = self.verdicts;
        write!(
            f,
            "{nameless} certificates below meshtool's roots, {named} below podcert's, {verdicts} verdicts"
        )
    }
}

/// Requests made side by side.
const AT_ONCE: usize = 8;
