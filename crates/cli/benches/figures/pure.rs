//! The pure crates alone: a request decided, its leaf built, signed and checked, nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use podcert_authority::{Authority, CaId, CaOptions, Pool};
use podcert_issuance::{
    AnnotationsDigest, Decision, FactIndex, NamePolicy, PodFacts, Policy, Projection, Request,
    RequestedKey, ServiceFacts, ServiceKind, decide, service_dns,
};
use podcert_pki::{KeyType, PrivateKey, empty_csr};

use crate::yardstick::{Yardstick, median, seconds};
use crate::{Figure, Goal};

/// Decide, build, sign and check, divided by one P-256 signature.
pub(crate) fn figure() -> Result<Figure> {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse()?;
    let pool = Pool::generate(&CaOptions::new(CaId::new("1")), now)?;
    let authority = Authority::from_pool(pool);
    let policy = Policy::new(
        "row-major.net/service-dns".parse()?,
        NamePolicy::ServiceDns(service_dns::Policy::default()),
    );
    let facts = facts(&policy)?;
    let request = request(&policy)?;
    let chain = authority.chain_validity();

    let yardstick = Yardstick::new()?;
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let one_signature = yardstick.sign(PER_ROUND)?;
        let one_certificate = seconds(PER_ROUND, || {
            let Decision::Issue(plan) = decide(&policy, &request, &facts, chain, now) else {
                bail!("the request of the benchmark is not issued");
            };
            let issued = authority
                .issue_now(&plan.spec)
                .context("the key is in memory")?;
            std::hint::black_box(issued?);
            Ok(())
        })?;
        ratios.push(one_certificate / one_signature);
    }
    Ok(Figure {
        name: "pure_per_sign",
        value: median(ratios),
        goal: Goal::AtMost(1.6),
    })
}

/// A namespace of some Services, of which one selects the pod.
fn facts(policy: &Policy) -> Result<FactIndex> {
    let mut facts = FactIndex::new();
    let labels = |app: &str| BTreeMap::from([("app".to_owned(), app.to_owned())]);
    for app in ["web", "db", "cache", "queue", "search"] {
        let service = ServiceFacts {
            name: app.to_owned(),
            kind: ServiceKind::ClusterIp,
            selector: labels(app),
        };
        facts.apply_service("shop", service);
    }
    let pod = PodFacts {
        uid: POD_UID.to_owned(),
        node_name: Some("node-1".to_owned()),
        service_account_name: "default".to_owned(),
        labels: labels("web"),
        projections: vec![Projection {
            signer: policy.signer.clone(),
            annotations: AnnotationsDigest::of(&BTreeMap::new()),
        }],
    };
    facts.apply_pod("shop", "web-1", pod);
    Ok(facts)
}

fn request(policy: &Policy) -> Result<Request> {
    let csr = empty_csr(&PrivateKey::generate(KeyType::EcdsaP256)?)?;
    Ok(Request {
        namespace: "shop".to_owned(),
        name: "req-abcde".to_owned(),
        uid: "7f3a1a57-7ad9-4f8d-a4b1-000000000001".to_owned(),
        signer: policy.signer.clone(),
        pod_name: "web-1".to_owned(),
        pod_uid: POD_UID.to_owned(),
        service_account_name: "default".to_owned(),
        service_account_uid: "7f3a1a57-7ad9-4f8d-a4b1-000000000002".to_owned(),
        node_name: "node-1".to_owned(),
        node_uid: "7f3a1a57-7ad9-4f8d-a4b1-000000000003".to_owned(),
        max_expiration: Duration::from_secs(86_400),
        key: RequestedKey::from_stub_pkcs10(&csr),
        annotations: BTreeMap::new(),
    })
}

const POD_UID: &str = "7f3a1a57-7ad9-4f8d-a4b1-000000000004";
const ROUNDS: u32 = 15;
const PER_ROUND: u32 = 2_000;
