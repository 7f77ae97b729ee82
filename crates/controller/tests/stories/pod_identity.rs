//! The signer pod-identity, and what certificates say beside their names.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use podcert_apiserver::{Fault, Matching, Occurrence, User, Verb};
use podcert_issuance::pod_identity::{Encoding, Extensions, IdTemplate, Policy};
use podcert_pki::{ExtKeyUsages, ExtensionOid, verify};
use serde_json::{Value, json};

use crate::cluster::{
    CONTROLLER, Cluster, NODE, POD_IDENTITY, SERVICE_DNS, SPIFFE, Setup, create, delete,
};
use crate::forged::{grant, meshtool, with_uids};

const SUBSTRATE: ExtensionOid = ExtensionOid::SUBSTRATE_POD_IDENTITY;

fn policy(extensions: Extensions) -> Policy {
    let domain = "cluster.local".parse().unwrap();
    Policy::new(domain, IdTemplate::default(), extensions).unwrap()
}

fn plain() -> Policy {
    policy(Extensions::default())
}

fn own() -> ExtensionOid {
    "1.3.6.1.4.1.99999.1".parse().unwrap()
}

async fn ready(policy: Policy) -> Cluster {
    let mut setup = Setup::new();
    setup.pod_identity = Some(policy);
    setup.ready().await
}

/// A pod that mounts a projection of each signer.
async fn pod(cluster: &Cluster, name: &str) -> Pod {
    let sources = [SERVICE_DNS, SPIFFE, POD_IDENTITY].map(|signer| json!({"signerName": signer}));
    cluster.pod_with("shop", name, &json!(sources)).await
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_pod_gets_a_certificate_of_its_own() {
    let cluster = ready(plain()).await;
    let pods = [pod(&cluster, "web-1").await, pod(&cluster, "web-2").await];
    for pod in &pods {
        let asked = cluster.ask(pod, POD_IDENTITY).await;
        cluster.pass(1).await;
        let chain = cluster.chain(&asked).await;
        let leaf = chain.leaf();
        assert_eq!(leaf.spki_der(), asked.key.public_key().spki_der());
        let (name, uid) = (pod.metadata.name.as_deref().unwrap(), uid(pod));
        let id = format!("spiffe://cluster.local/ns/shop/sa/default/pod/{name}/uid/{uid}");
        assert_eq!(leaf.uris().collect::<Vec<_>>(), [id.as_str()]);
        assert_eq!(verify::spiffe_id(leaf).unwrap().as_str(), id);
        assert_eq!(leaf.dns_names().count(), 0);
        let usages = leaf.ext_key_usages();
        assert_eq!(usages, Some(ExtKeyUsages::SERVER_AND_CLIENT));
        // Nobody asked for an extension.
        assert_eq!(leaf.extension(SUBSTRATE), None);
        assert_eq!(leaf.service_account_issuer(), Ok(None));
        let anchors = cluster.anchors(POD_IDENTITY).await;
        for purpose in [verify::Purpose::Client, verify::Purpose::Server(None)] {
            verify::verify(&chain, &anchors, purpose, cluster.now()).unwrap();
        }
        let spiffe = cluster.anchors(SPIFFE).await;
        let other = verify::verify(&chain, &spiffe, verify::Purpose::Client, cluster.now());
        assert!(other.is_err(), "each signer has a CA of its own");
    }
    let bundles = cluster.bundles();
    let bundle = bundles
        .get("row-major.net:pod-identity:primary-bundle")
        .await;
    let labels = bundle.unwrap().metadata.labels.unwrap();
    let label = |key: &str| {
        labels
            .get(&format!("podidentity.row-major.net/{key}"))
            .cloned()
    };
    assert_eq!(label("canarying").as_deref(), Some("live"));
    assert_eq!(label("trust-domain").as_deref(), Some("cluster.local"));
    let line = r#"podcert_requests_total{signer="row-major.net/pod-identity",outcome="issued",reason="Issued"} 2"#;
    assert!(cluster.metrics().contains(line));
    cluster.stop().await;
}

/// Nothing of the pods comes to the controller until the fault is removed.
fn blind(cluster: &Cluster) -> Fault {
    let watches = Matching::any()
        .user(CONTROLLER)
        .verb(Verb::Watch)
        .resource("pods");
    let away = podcert_apiserver::Effect::error(500, "InternalError", "no watches now");
    let fault = cluster
        .api
        .faults()
        .inject(watches.clone(), Occurrence::Always, away);
    assert_eq!(cluster.api.faults().drop_watches(&watches), 1);
    fault
}

#[tokio::test(start_paused = true)]
async fn the_uid_of_another_pod_waits() {
    let cluster = ready(plain()).await;
    let old = pod(&cluster, "web").await;
    cluster.pass(1).await;
    // Its successor asks before the controller sees it: what is known is the old pod.
    let blind = blind(&cluster);
    delete(&cluster.pods("shop"), "web").await;
    let new = pod(&cluster, "web").await;
    assert_ne!(uid(&old), uid(&new));
    let asked = cluster.ask(&new, POD_IDENTITY).await;
    let late = cluster.ask(&old, POD_IDENTITY).await;
    cluster.pass(30).await;
    assert_eq!(cluster.condition(&asked).await, None);
    assert_eq!(cluster.told("PodReplaced").await, 1);
    blind.remove();
    cluster.pass(60).await;
    // The old pod may have been answered while it was the one that is known; never by the new UID.
    let id = async |asked| {
        let chain = cluster.chain(asked).await;
        chain.leaf().uris().next().unwrap().to_owned()
    };
    assert!(id(&asked).await.ends_with(&format!("/uid/{}", uid(&new))));
    assert!(id(&late).await.ends_with(&format!("/uid/{}", uid(&old))));
    // From now on it is gone for good.
    let never = cluster.ask(&old, POD_IDENTITY).await;
    cluster.pass(600).await;
    assert_eq!(cluster.condition(&never).await, None);
    assert_eq!(cluster.waiting(), 1);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn extensions_say_what_was_compared() {
    let names = policy(Extensions {
        own: Some((own(), Encoding::Asn1DraftA)),
        substrate: true,
    });
    let cluster = ready(names).await;
    let pod = pod(&cluster, "web").await;
    let asked = cluster.ask(&pod, POD_IDENTITY).await;
    cluster.pass(1).await;
    let chain = cluster.chain(&asked).await;
    let identity = chain.leaf().pod_identity_json(SUBSTRATE).unwrap().unwrap();
    let draft_a = chain.leaf().pod_identity_draft_a(own()).unwrap().unwrap();
    assert_eq!(identity.pod, draft_a);
    let node = cluster.nodes().get(NODE).await.unwrap();
    let account = cluster.service_accounts("shop").get("default").await;
    let json = chain.leaf().extension(SUBSTRATE).unwrap();
    let json: Value = serde_json::from_slice(json).unwrap();
    let expected = json!({
        "Namespace": "shop",
        "ServiceAccountName": "default",
        "ServiceAccountUID": account.unwrap().metadata.uid,
        "PodName": "web",
        "PodUID": uid(&pod),
        "NodeName": NODE,
        "NodeUID": node.metadata.uid,
    });
    assert_eq!(json, expected);
    assert!(!cluster.metrics().contains("StatusRuleViolation"));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn uids_that_rbac_does_not_show_are_in_no_certificate() {
    let mut setup = Setup::with_rbac();
    setup.pod_identity = Some(policy(Extensions {
        substrate: true,
        ..Extensions::default()
    }));
    let admin = Client::new(setup.api.as_user(User::admin()), "default");
    grant(&admin, CONTROLLER, meshtool()).await;
    let cluster = setup.ready().await;
    let pod = pod(&cluster, "web").await;
    // Whoever asks may say what they like of node and service account.
    let asked = cluster.ask(&pod, POD_IDENTITY).await;
    let plain = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(60).await;
    assert!(cluster.is_issued(&plain).await);
    assert_eq!(cluster.condition(&asked).await, None);
    assert_eq!(cluster.told("UidNotShown").await, 1);
    // Once they are shown the certificate comes, of its own accord.
    let roles: Api<ClusterRole> = Api::all(admin);
    let patch = Patch::Merge(json!({"rules": with_uids()}));
    let role = CONTROLLER.replace(':', "-");
    let params = PatchParams::default();
    roles.patch(&role, &params, &patch).await.unwrap();
    cluster.pass(610).await;
    assert!(cluster.is_issued(&asked).await);
    assert_eq!(cluster.waiting(), 0);
    // And says what they are at the time.
    let old = cluster.chain(&asked).await;
    delete(&cluster.nodes(), NODE).await;
    create(&cluster.nodes(), json!({"metadata": {"name": NODE}})).await;
    let asked = cluster.ask(&pod, POD_IDENTITY).await;
    cluster.pass(60).await;
    let new = cluster.chain(&asked).await;
    let node_uid = |chain: &podcert_pki::Chain| {
        let identity = chain.leaf().pod_identity_json(SUBSTRATE);
        identity.unwrap().unwrap().node_uid
    };
    assert_ne!(node_uid(&old), node_uid(&new));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_signer_says_the_issuer_of_the_cluster() {
    let mut setup = Setup::new();
    setup.pod_identity = Some(plain());
    let issuer = "https://kubernetes.default.svc.cluster.local";
    setup.service_account_issuer = Some(issuer.parse().unwrap());
    let cluster = setup.ready().await;
    cluster.service("shop", "web", "web").await;
    let pod = pod(&cluster, "web").await;
    for signer in [SERVICE_DNS, SPIFFE, POD_IDENTITY] {
        let asked = cluster.ask(&pod, signer).await;
        cluster.pass(1).await;
        let chain = cluster.chain(&asked).await;
        let said = chain.leaf().service_account_issuer().unwrap().unwrap();
        assert_eq!(said.as_str(), issuer, "{signer}");
        let anchors = cluster.anchors(signer).await;
        let purpose = verify::Purpose::Server(None);
        verify::verify(&chain, &anchors, purpose, cluster.now()).unwrap();
    }
    cluster.stop().await;
}
