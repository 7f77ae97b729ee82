//! A decision without a controller: what one would answer, given objects that somebody else read.
//!
//! For `podcert explain` and `podcert status`, which say why a request waits when no Event does. It is
//! the code the controller decides with, its index and its conversions included, so the two cannot
//! come to different answers about the same objects.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::runtime::watcher::Event;
use podcert_issuance::{Decision, Policy, decide};
use podcert_pki::Validity;
use podcert_resources::{Identity, Pod, PodCertificateRequest, Service};

use crate::optional::Seen;
use crate::requests::{convert, world::Keep, world::World};

/// What a controller would know, and how it would decide.
#[derive(Debug)]
pub struct Trial {
    policy: Policy,
    world: World,
}

impl Trial {
    /// A controller of one signer that has seen nothing yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let world = World::new(vec![policy.signer.clone()], Keep::All);
        Self { policy, world }
    }

    /// Shows it a pod.
    pub fn see_pod(&mut self, pod: Pod) {
        self.world.observe_pod(Event::Apply(pod));
    }

    /// Shows it a Service.
    pub fn see_service(&mut self, service: Service) {
        self.world.observe_service(Event::Apply(service));
    }

    /// Shows it all nodes there are. Without, what a request says of its node is not compared.
    pub fn see_nodes(&mut self, nodes: impl IntoIterator<Item = Identity<Node>>) {
        let nodes = nodes.into_iter().map(Event::InitApply);
        for event in [Event::Init]
            .into_iter()
            .chain(nodes)
            .chain([Event::InitDone])
        {
            self.world.observe_node(Seen::Event(event));
        }
    }

    /// Shows it all service accounts there are, at least those of the request's namespace. Without,
    /// what a request says of its service account is not compared.
    pub fn see_service_accounts(
        &mut self,
        accounts: impl IntoIterator<Item = Identity<ServiceAccount>>,
    ) {
        let accounts = accounts.into_iter().map(Event::InitApply);
        for event in [Event::Init]
            .into_iter()
            .chain(accounts)
            .chain([Event::InitDone])
        {
            self.world.observe_service_account(Seen::Event(event));
        }
    }

    /// What it would answer `request` at `now` with a CA whose chain is valid for `chain`. Nothing for
    /// an object without name, namespace or UID.
    #[must_use]
    pub fn decide(
        &self,
        request: PodCertificateRequest,
        chain: Validity,
        now: Timestamp,
    ) -> Option<Decision> {
        let request = convert::request(request, &self.policy.signer)?;
        Some(decide(&self.policy, &request, &self.world, chain, now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use podcert_issuance::{NamePolicy, WaitReason, service_dns};
    use podcert_pki::{KeyType, PrivateKey, empty_csr};
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn read<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn now() -> Timestamp {
        "2026-12-01T12:00:00Z".parse().unwrap()
    }

    fn policy() -> Policy {
        let names = NamePolicy::ServiceDns(service_dns::Policy::default());
        Policy::new("row-major.net/service-dns".parse().unwrap(), names)
    }

    fn decision(trial: &Trial) -> Decision {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let request = read(json!({
            "metadata": {"namespace": "shop", "name": "req-1", "uid": "r"},
            "spec": {
                "signerName": "row-major.net/service-dns", "podName": "web", "podUID": "p",
                "serviceAccountName": "default", "serviceAccountUID": "s",
                "nodeName": "n1", "nodeUID": "n",
                "stubPKCS10Request": k8s_openapi::ByteString(empty_csr(&key).unwrap()),
            },
        }));
        let chain = Validity::new(now(), now() + Duration::from_hours(24 * 365)).unwrap();
        trial.decide(request, chain, now()).unwrap()
    }

    fn reason(trial: &Trial) -> Option<WaitReason> {
        match decision(trial) {
            Decision::Wait(wait) => Some(wait.reason),
            Decision::Issue(_) => None,
            Decision::Deny(denial) => panic!("{denial:?}"),
        }
    }

    #[test]
    fn it_decides_from_what_it_was_shown() {
        let mut trial = Trial::new(policy());
        assert_eq!(reason(&trial), Some(WaitReason::PodNotFound));
        trial.see_pod(read(json!({
            "metadata": {
                "namespace": "shop", "name": "web", "uid": "p", "labels": {"app": "web"},
            },
            "spec": {
                "nodeName": "n1", "serviceAccountName": "default",
                "volumes": [{"name": "v", "projected": {"sources": [
                    {"podCertificate": {"signerName": "row-major.net/service-dns"}},
                ]}}],
            },
        })));
        assert_eq!(reason(&trial), Some(WaitReason::NoMatchingService));
        trial.see_service(read(json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"type": "ClusterIP", "selector": {"app": "web"}},
        })));
        assert_eq!(reason(&trial), None);
        // Nobody looked at nodes and accounts so far.
        trial.see_nodes([]);
        assert_eq!(reason(&trial), Some(WaitReason::NodeNotFound));
        trial.see_nodes([read(json!({"metadata": {"name": "n1", "uid": "n"}}))]);
        assert_eq!(reason(&trial), None);
        trial.see_service_accounts([]);
        assert_eq!(reason(&trial), Some(WaitReason::ServiceAccountNotFound));
        trial.see_service_accounts([read(json!({
            "metadata": {"namespace": "shop", "name": "default", "uid": "s"},
        }))]);
        assert_eq!(reason(&trial), None);
    }
}
