//! What a controller would do with requests that nobody has told anything about.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use podcert_controller::Trial;
use podcert_diagnosis::{Expectation, Request, Shown, Told};
use podcert_issuance::{Decision, NamePolicy, Policy, pod_identity, service_dns, spiffe};
use podcert_pki::{TrustBundle, Validity};
use podcert_resources::{
    ApiVersion, CERTIFICATES_GROUP, ClusterTrustBundle, Identity, Pod, PodCertificateRequest,
    Service, bundle, signers,
};

use super::{Reader, Requests};

/// By the UID of the request, what is to be expected, or in words why nothing can be said.
#[derive(Debug, Default)]
pub(crate) struct Expectations(HashMap<String, Result<Expectation, String>>);

impl Expectations {
    /// Works them out for at most [`MOST`] of `requests`, the oldest, reading the objects they depend on.
    ///
    /// # Errors
    /// When the server does not answer, or with something else.
    pub(crate) async fn of(
        reader: &Reader,
        requests: &Requests,
        about: impl Fn(&Request) -> bool,
        policies: &[Policy],
        bundles: &Shown<Vec<ClusterTrustBundle>>,
    ) -> Result<Self> {
        let mut open: Vec<&Request> = requests.all.iter().flatten().collect();
        open.retain(|request| requests.open.contains_key(request.uid()) && about(request));
        open.sort_by_key(|request| request.created());
        open.truncate(MOST);
        let namespaces: BTreeSet<&str> = open.iter().map(|request| request.namespace()).collect();
        let near: BTreeMap<&str, Services> = stream::iter(namespaces)
            .map(async |namespace| anyhow::Ok((namespace, services(reader, namespace).await?)))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let near = &near;
        let expectations = stream::iter(open)
            .map(async |request| {
                let (Some(lean), Some(services)) = (
                    requests.open.get(request.uid()),
                    near.get(request.namespace()),
                ) else {
                    return Ok(None);
                };
                let named = Named::read(reader, lean).await?;
                let lean = with_key(reader, requests, lean).await?;
                let expected = expect(&lean, services, named, policies, bundles, reader.now());
                anyhow::Ok(Some((request.uid().to_owned(), expected)))
            })
            .buffer_unordered(AT_ONCE)
            .try_filter_map(async |found| Ok(found))
            .try_collect()
            .await?;
        Ok(Self(expectations))
    }

    /// What is to be expected of `request`.
    pub(crate) fn get(&self, request: &Request) -> Result<Expectation, String> {
        self.0
            .get(request.uid())
            .cloned()
            .unwrap_or_else(|| Err("why it waits was not looked into".to_owned()))
    }
}

/// `request` as the controller reads it: v1 does not show the key of a kubelet of 1.35, v1beta1 does.
async fn with_key(
    reader: &Reader,
    requests: &Requests,
    request: &PodCertificateRequest,
) -> Result<PodCertificateRequest> {
    let is_shown = request.spec.csr_der().is_ok_and(|der| !der.is_empty());
    let metadata = &request.metadata;
    if let (false, Some(ApiVersion::V1), Some(namespace), Some(name)) = (
        is_shown,
        requests.version,
        &metadata.namespace,
        &metadata.name,
    ) {
        let version = ApiVersion::V1Beta1.as_str();
        let path = format!(
            "/apis/{CERTIFICATES_GROUP}/{version}/namespaces/{namespace}/podcertificaterequests/{name}"
        );
        if let Ok(Some(shown)) = reader.object(&path, "its request").await? {
            return Ok(shown);
        }
    }
    Ok(request.clone())
}

/// A namespace's Services, or why they may not be looked at.
type Services = Result<Vec<Service>, String>;

async fn services(reader: &Reader, namespace: &str) -> Result<Services> {
    let path = format!("/api/v1/namespaces/{namespace}/services");
    let what = format!("Services in namespace {namespace}");
    let services = reader.list(&path, "", &what).await?;
    Ok(services.map_err(|not_shown| not_shown.to_string()))
}

/// What a request names, if that may be looked at.
struct Named {
    pod: Result<Option<Pod>, String>,
    node: Option<Vec<Identity<Node>>>,
    account: Option<Vec<Identity<ServiceAccount>>>,
}

impl Named {
    async fn read(reader: &Reader, request: &PodCertificateRequest) -> Result<Self> {
        let spec = &request.spec;
        let namespace = request.metadata.namespace.as_deref().unwrap_or_default();
        let near = format!("/api/v1/namespaces/{namespace}");
        let pod = format!("{near}/pods/{}", spec.pod_name);
        let pod: Shown<_> = reader.object(&pod, "its pod").await?;
        let node = format!("/api/v1/nodes/{}", spec.node_name);
        let node: Shown<Option<_>> = reader.object(&node, "its node").await?;
        let account = format!("{near}/serviceaccounts/{}", spec.service_account_name);
        let account: Shown<Option<_>> = reader.object(&account, "its service account").await?;
        Ok(Self {
            pod: pod.map_err(|not_shown| not_shown.to_string()),
            node: node.ok().map(Vec::from_iter),
            account: account.ok().map(Vec::from_iter),
        })
    }
}

fn expect(
    request: &PodCertificateRequest,
    services: &Services,
    named: Named,
    policies: &[Policy],
    bundles: &Shown<Vec<ClusterTrustBundle>>,
    now: Timestamp,
) -> Result<Expectation, String> {
    let signer = request.spec.signer_name.as_str();
    let own = match bundles {
        Ok(bundles) => bundles
            .iter()
            .find(|known| known.metadata.name.as_deref() == Some(&bundle::name(signer))),
        Err(not_shown) => return Err(not_shown.to_string()),
    };
    let configured = policies
        .iter()
        .find(|policy| policy.signer.as_str() == signer);
    let policy = match configured {
        Some(policy) => policy.clone(),
        None => usual(signer, own)
            .ok_or_else(|| format!("no controller that can be seen answers for signer {signer}"))?,
    };
    let chain = own
        .and_then(longest)
        .ok_or_else(|| format!("signer {signer} has no anchors: it may have no CA pool yet"))?;
    let mut trial = Trial::new(policy);
    if let Some(pod) = named.pod? {
        trial.see_pod(pod);
    }
    for service in services.clone()? {
        trial.see_service(service);
    }
    if let Some(nodes) = named.node {
        trial.see_nodes(nodes);
    }
    if let Some(accounts) = named.account {
        trial.see_service_accounts(accounts);
    }
    match trial.decide(request.clone(), chain, now) {
        Some(Decision::Issue(_)) => Ok(Expectation::Issue),
        Some(Decision::Deny(denial)) => Ok(Expectation::Deny(Told {
            reason: denial.reason.to_string(),
            message: denial.message,
        })),
        Some(Decision::Wait(wait)) => Ok(Expectation::Wait(Told {
            reason: wait.reason.to_string(),
            message: wait.message,
        })),
        None => Err("it has no name or UID".to_owned()),
    }
}

/// The policy of a signer of podcert's names with default flags.
fn usual(signer: &str, bundle: Option<&ClusterTrustBundle>) -> Option<Policy> {
    let domain = || {
        let labels = bundle?.metadata.labels.as_ref()?;
        let mut domains = labels
            .iter()
            .filter(|(key, _)| key.ends_with("/trust-domain"));
        domains.next()?.1.parse().ok()
    };
    let names = match signer {
        signers::SERVICE_DNS => NamePolicy::ServiceDns(service_dns::Policy::default()),
        signers::SPIFFE => {
            NamePolicy::Spiffe(spiffe::Policy::new(domain()?, spiffe::IdTemplate::default()).ok()?)
        }
        signers::POD_IDENTITY => NamePolicy::PodIdentity(
            pod_identity::Policy::new(
                domain()?,
                pod_identity::IdTemplate::default(),
                pod_identity::Extensions::default(),
            )
            .ok()?,
        ),
        _ => return None,
    };
    Some(Policy::new(signer.parse().ok()?, names))
}

/// The time in which the longest-lived anchor is valid: of the CA that signs nothing else is public.
fn longest(bundle: &ClusterTrustBundle) -> Option<Validity> {
    let anchors = TrustBundle::from_pem(&bundle.spec.trust_bundle).ok()?;
    let longest = anchors
        .anchors()
        .iter()
        .max_by_key(|anchor| anchor.not_after())?;
    longest.validity()
}

/// A person reads no more, and each costs some requests.
const MOST: usize = 100;
const AT_ONCE: usize = 8;
