//! A small world for tests: one pod, one request for it, and a CA.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use podcert_pki::ca::{CaSpec, SubjectName, new_root};
use podcert_pki::{
    Certificate, Chain, IssuerContext, KeyType, LeafNames, PrivateKey, PublicKey, Serial, Validity,
};

use crate::{
    AnnotationsDigest, Decision, Denial, FactIndex, Labels, NamePolicy, Plan, PodFacts, Policy,
    Projection, Request, RequestedKey, ServiceFacts, ServiceKind, Wait, decide, pod_identity,
    service_dns, spiffe,
};

pub(crate) static LEAF_KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    PrivateKey::generate(KeyType::EcdsaP256)
        .unwrap()
        .public_key()
        .clone()
});

pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) request: Request,
    pub(crate) pod: Option<PodFacts>,
    pub(crate) facts: FactIndex,
    pub(crate) chain: Validity,
    pub(crate) now: Timestamp,
}

impl World {
    /// Pod `web-1` of namespace `shop` with service account `web`, at a spiffe signer.
    pub(crate) fn spiffe() -> Self {
        let domain = "cluster.local".parse().unwrap();
        let names = spiffe::Policy::new(domain, spiffe::IdTemplate::default()).unwrap();
        Self::new("row-major.net/spiffe", NamePolicy::Spiffe(names))
    }

    /// The same pod at a pod-identity signer.
    pub(crate) fn pod_identity() -> Self {
        let domain = "cluster.local".parse().unwrap();
        let names = pod_identity::Policy::new(
            domain,
            pod_identity::IdTemplate::default(),
            pod_identity::Extensions::default(),
        );
        Self::new(
            "row-major.net/pod-identity",
            NamePolicy::PodIdentity(names.unwrap()),
        )
    }

    /// Lets nodes and service accounts be seen, as the request says they are.
    pub(crate) fn show_uids(&mut self) {
        let Request {
            namespace,
            service_account_name,
            service_account_uid,
            node_name,
            node_uid,
            ..
        } = &self.request;
        self.facts.apply_node(node_name, node_uid);
        self.facts
            .apply_service_account(namespace, service_account_name, service_account_uid);
    }

    /// The same pod at a service-dns signer, with no Service yet.
    pub(crate) fn service_dns() -> Self {
        Self::new(
            "row-major.net/service-dns",
            NamePolicy::ServiceDns(service_dns::Policy::default()),
        )
    }

    fn new(signer: &str, names: NamePolicy) -> Self {
        let policy = Policy::new(signer.parse().unwrap(), names);
        let pod = PodFacts {
            uid: "pod-uid".to_owned(),
            node_name: Some("node-a".to_owned()),
            service_account_name: "web".to_owned(),
            labels: labels(&[("app", "web"), ("tier", "front")]),
            projections: vec![Projection {
                signer: policy.signer.clone(),
                annotations: AnnotationsDigest::of(&BTreeMap::new()),
            }],
        };
        let request = Request {
            namespace: "shop".to_owned(),
            name: "req-1".to_owned(),
            uid: "request-uid".to_owned(),
            signer: policy.signer.clone(),
            pod_name: "web-1".to_owned(),
            pod_uid: "pod-uid".to_owned(),
            service_account_name: "web".to_owned(),
            service_account_uid: "account-uid".to_owned(),
            node_name: "node-a".to_owned(),
            node_uid: "node-uid".to_owned(),
            max_expiration: Duration::from_secs(86_400),
            key: RequestedKey::Key(LEAF_KEY.clone()),
            annotations: BTreeMap::new(),
        };
        Self {
            policy,
            request,
            pod: Some(pod),
            facts: FactIndex::new(),
            chain: validity("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            now: at("2026-11-21T12:00:00Z"),
        }
    }

    pub(crate) fn pod(&mut self) -> &mut PodFacts {
        self.pod.as_mut().unwrap()
    }

    /// Puts an annotation on the pod's projection and, as kubelet does, on the request.
    pub(crate) fn annotate(&mut self, key: &str, value: &str) {
        self.request
            .annotations
            .insert(key.to_owned(), value.to_owned());
        let annotations = AnnotationsDigest::of(&self.request.annotations);
        self.pod().projections[0].annotations = annotations;
    }

    pub(crate) fn service(&mut self, name: &str, selector: &[(&str, &str)]) {
        self.service_of(name, ServiceKind::ClusterIp, selector);
    }

    pub(crate) fn service_of(&mut self, name: &str, kind: ServiceKind, selector: &[(&str, &str)]) {
        let service = ServiceFacts {
            name: name.to_owned(),
            kind,
            selector: labels(selector),
        };
        self.facts.apply_service(&self.request.namespace, service);
    }

    pub(crate) fn decide(&mut self) -> Decision {
        if let Some(pod) = &self.pod {
            self.facts
                .apply_pod(&self.request.namespace, &self.request.pod_name, pod.clone());
        }
        decide(
            &self.policy,
            &self.request,
            &self.facts,
            self.chain,
            self.now,
        )
    }

    pub(crate) fn plan(&mut self) -> Plan {
        match self.decide() {
            Decision::Issue(plan) => plan,
            other => panic!("expected a plan, got {other:?}"),
        }
    }

    pub(crate) fn wait(&mut self) -> Wait {
        match self.decide() {
            Decision::Wait(wait) => wait,
            other => panic!("expected to wait, got {other:?}"),
        }
    }

    pub(crate) fn denial(&mut self) -> Denial {
        match self.decide() {
            Decision::Deny(denial) => denial,
            other => panic!("expected a denial, got {other:?}"),
        }
    }

    /// The DNS names of the certificate that would be issued.
    pub(crate) fn dns_names(&mut self) -> Vec<String> {
        match self.plan().spec.names() {
            LeafNames::Dns(names) => names.iter().map(ToString::to_string).collect(),
            LeafNames::Spiffe(id) => panic!("expected DNS names, got {id}"),
        }
    }

    pub(crate) fn spiffe_id(&mut self) -> String {
        match self.plan().spec.names() {
            LeafNames::Spiffe(id) => id.to_string(),
            LeafNames::Dns(names) => panic!("expected a SPIFFE ID, got {names:?}"),
        }
    }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

pub(crate) fn validity(from: &str, to: &str) -> Validity {
    Validity::new(at(from), at(to)).unwrap()
}

/// A CA that signs plans.
pub(crate) struct TestCa {
    key: PrivateKey,
    root: Certificate,
}

impl TestCa {
    pub(crate) fn new() -> Self {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let spec = CaSpec {
            subject: SubjectName::new("test", None).unwrap(),
            validity: validity("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            serial: Serial::from_octets([1; 20]),
        };
        let root = new_root(&key, &spec).unwrap();
        Self { key, root }
    }

    pub(crate) fn sign(&self, plan: &Plan) -> Chain {
        let context = IssuerContext::new(&self.root, self.key.signature_algorithm()).unwrap();
        let tbs = context
            .leaf_tbs(&plan.spec, &Serial::from_octets([2; 20]))
            .unwrap();
        let der = tbs
            .assemble(&self.key.sign(tbs.to_be_signed()).unwrap())
            .unwrap();
        Chain::new(Certificate::from_der(der).unwrap(), Vec::new())
    }

    pub(crate) fn root(&self) -> &Certificate {
        &self.root
    }
}
