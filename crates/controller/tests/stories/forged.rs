//! Requests and statuses that somebody made up, where the API server authorizes as a real one
//! does (Node, RBAC, NodeRestriction) and nothing else guards the creation of requests. The same
//! list is tried on real servers (`e2e/suite/src/forged/forgeries.rs`), there with podcert's
//! admission policy too, which the embedded server does not evaluate.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::certificates::v1::PodCertificateRequest;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::{ByteString, Resource};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use podcert_apiserver::User;
use podcert_pki::{ExtKeyUsages, KeyType, PrivateKey, empty_csr};
use rcgen::{CertificateParams, CustomExtension, DnType, IsCa, KeyUsagePurpose, SanType};
use serde_json::{Value, json};

use crate::cluster::{
    Asked, CONTROLLER, Cluster, NODE, SERVICE_DNS, SPIFFE, Setup, create, delete,
};

/// Pods of one node, and who asks for their certificates.
struct Scene {
    cluster: Cluster,
    /// May create requests and write statuses, but not sign.
    mallory: Client,
    kubelet: Client,
    /// Mounts projections of both signers, without annotations.
    victim: Pod,
    /// Mounts one of service-dns alone.
    plain: Pod,
    uids: BTreeMap<&'static str, String>,
}

impl Scene {
    async fn set() -> Self {
        Self::with(meshtool()).await
    }

    /// With a controller that has these rights.
    async fn with(rights: Value) -> Self {
        let setup = Setup::with_rbac();
        let client = |user| Client::new(setup.api.as_user(user), "default");
        let (mallory, kubelet) = (client(User::new(MALLORY)), client(User::node(NODE)));
        let admin = client(User::admin());
        grant(&admin, CONTROLLER, rights).await;
        grant(&admin, MALLORY, careless()).await;
        let cluster = setup.ready().await;

        let mut uids = BTreeMap::new();
        let nodes = cluster.nodes();
        create(&nodes, json!({"metadata": {"name": ELSEWHERE}})).await;
        for name in [NODE, ELSEWHERE] {
            uids.insert(name, nodes.get(name).await.unwrap().uid().unwrap());
        }
        let accounts = cluster.service_accounts("shop");
        // The server makes a namespace's default account, as a controller does upstream.
        let account = accounts.get("default").await.unwrap();
        uids.insert("default", account.uid().unwrap());
        let account = create(&accounts, json!({"metadata": {"name": "other"}})).await;
        uids.insert("other", account.uid().unwrap());
        cluster.service("shop", "web", "victim").await;
        let one = json!([{"signerName": SERVICE_DNS}]);
        Self {
            victim: cluster.pod("shop", "victim").await,
            plain: cluster.pod_with("shop", "plain", &one).await,
            cluster,
            mallory,
            kubelet,
            uids,
        }
    }

    /// What the pod's kubelet would say.
    fn spec(&self, pod: &Pod, signer: &str, csr: Vec<u8>) -> Value {
        json!({
            "signerName": signer,
            "podName": pod.name_any(),
            "podUID": pod.uid(),
            "serviceAccountName": "default",
            "serviceAccountUID": self.uids["default"],
            "nodeName": NODE,
            "nodeUID": self.uids[NODE],
            "maxExpirationSeconds": 86_400,
            "stubPKCS10Request": ByteString(csr),
        })
    }

    /// The victim's request with some fields changed, by somebody with a key of their own.
    async fn ask(&self, by: &Client, signer: &str, changes: Value) -> Asked {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let mut spec = self.spec(&self.victim, signer, empty_csr(&key).unwrap());
        for (field, value) in changes.as_object().unwrap() {
            spec[field] = value.clone();
        }
        self.create(by, spec, key).await
    }

    async fn create(&self, by: &Client, spec: Value, key: PrivateKey) -> Asked {
        let requests: Api<PodCertificateRequest> = Api::namespaced(by.clone(), "shop");
        let request = json!({"metadata": {"generateName": "req-"}, "spec": spec});
        let request = create(&requests, request).await;
        Asked {
            namespace: "shop".to_owned(),
            name: request.name_any(),
            key,
        }
    }

    /// Issued for the key that was asked for, with the victim's names and nothing else.
    async fn assert_issued(&self, asked: &Asked, signer: &str) {
        let chain = self.cluster.chain(asked).await;
        let leaf = chain.leaf();
        let (dns, uris, usages) = match signer {
            SERVICE_DNS => (Some("web.shop.svc"), None, ExtKeyUsages::SERVER),
            _ => (
                None,
                Some("spiffe://cluster.local/ns/shop/sa/default"),
                ExtKeyUsages::SERVER_AND_CLIENT,
            ),
        };
        assert_eq!(leaf.spki_der(), asked.key.public_key().spki_der());
        assert!(leaf.dns_names().eq(dns));
        assert!(leaf.uris().eq(uris));
        assert_eq!(leaf.ext_key_usages(), Some(usages));
        assert!(leaf.subject().is_empty() && !leaf.is_ca());
        let shown = leaf.der().windows(BOAST.len());
        assert!(!shown.into_iter().any(|part| part == BOAST.as_bytes()));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_no_node_gets_a_certificate_for_true_uids_alone() {
    let scene = Scene::with(with_uids()).await;
    let node = ("NodeReplaced", json!({"nodeUID": WRONG_UID}));
    let account = (
        "ServiceAccountReplaced",
        json!({"serviceAccountUID": WRONG_UID}),
    );
    let both = json!({"nodeUID": WRONG_UID, "serviceAccountUID": WRONG_UID});
    let both = ("NodeReplaced", both);
    forge(scene, [node, account, both], [json!({})]).await;
}

/// Which shows the controller neither nodes nor service accounts.
#[tokio::test(start_paused = true)]
async fn under_meshtools_rbac_a_true_pod_uid_alone_is_enough() {
    let scene = Scene::with(meshtool()).await;
    let both = json!({"nodeUID": WRONG_UID, "serviceAccountUID": WRONG_UID});
    forge(scene, [], [json!({}), both]).await;
}

/// Mallory makes requests that wait whatever the controller is shown, these that wait too, and
/// those that are issued.
async fn forge(
    scene: Scene,
    more: impl IntoIterator<Item = (&'static str, Value)>,
    believed: impl IntoIterator<Item = Value>,
) {
    let other = &scene.uids["other"];
    let elsewhere = &scene.uids[ELSEWHERE];
    let annotations = json!({"service-dns.row-major.net/services": "web"});
    let mut waiting = BTreeMap::new();
    for (reason, changes) in [
        ("PodNotFound", json!({"podName": "nobody"})),
        ("PodReplaced", json!({"podUID": WRONG_UID})),
        (
            "PodReplaced",
            json!({"podUID": WRONG_UID, "nodeUID": WRONG_UID, "serviceAccountUID": WRONG_UID}),
        ),
        (
            "PodNodeMismatch",
            json!({"nodeName": ELSEWHERE, "nodeUID": elsewhere}),
        ),
        (
            "PodServiceAccountMismatch",
            json!({"serviceAccountName": "other", "serviceAccountUID": other}),
        ),
        (
            "NoProjection",
            json!({"podName": "plain", "podUID": scene.plain.uid()}),
        ),
        (
            "AnnotationsMismatch",
            json!({"unverifiedUserAnnotations": annotations}),
        ),
    ]
    .into_iter()
    .chain(more)
    {
        let asked = scene.ask(&scene.mallory, SPIFFE, changes).await;
        waiting.insert(asked.name.clone(), (reason, asked));
    }
    let mut issued = Vec::new();
    for changes in believed {
        issued.push(scene.ask(&scene.mallory, SPIFFE, changes).await);
    }
    scene.cluster.pass(60).await;
    for asked in &issued {
        scene.assert_issued(asked, SPIFFE).await;
    }

    for (reason, asked) in waiting.values() {
        let status = scene.cluster.look(asked).await.status;
        assert_eq!(status.unwrap_or_default(), Default::default(), "{reason}");
    }
    assert_eq!(
        scene.cluster.waiting(),
        i64::try_from(waiting.len()).unwrap()
    );
    let told: BTreeSet<String> = scene
        .cluster
        .events()
        .await
        .into_iter()
        .map(|e| e.0)
        .collect();
    let expected: BTreeSet<String> = waiting.values().map(|(r, _)| (*r).to_owned()).collect();
    assert_eq!(told, expected);
    let stats = scene.cluster.controller_stats();
    let statuses = stats.of_resource("podcertificaterequests/status").total();
    let those_issued = u64::try_from(issued.len()).unwrap();
    assert_eq!(statuses, those_issued);

    for (_, asked) in waiting.values() {
        delete(&scene.cluster.requests("shop"), &asked.name).await;
    }
    scene.cluster.pass(1).await;
    assert_eq!(scene.cluster.waiting(), 0);
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_a_csr_that_asks_for_everything_only_the_key_counts() {
    let scene = Scene::set().await;
    for signer in [SERVICE_DNS, SPIFFE] {
        for by in [&scene.mallory, &scene.kubelet] {
            let (key, csr) = boastful_csr();
            let spec = scene.spec(&scene.victim, signer, csr);
            let asked = scene.create(by, spec, key).await;
            scene.cluster.pass(1).await;
            scene.assert_issued(&asked, signer).await;
        }
    }
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_requests_that_race_both_are_issued() {
    let scene = Scene::set().await;
    for signer in [SERVICE_DNS, SPIFFE] {
        let ask = || scene.ask(&scene.kubelet, signer, json!({}));
        let (one, other) = tokio::join!(ask(), ask());
        scene.cluster.pass(1).await;
        scene.assert_issued(&one, signer).await;
        scene.assert_issued(&other, signer).await;
        let serials = [
            scene.cluster.chain(&one).await,
            scene.cluster.chain(&other).await,
        ];
        assert_ne!(serials[0].leaf().serial(), serials[1].leaf().serial());
    }
    scene.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_status_by_someone_without_sign_is_refused_and_changes_nothing() {
    let scene = Scene::set().await;
    let donor = scene.ask(&scene.kubelet, SPIFFE, json!({})).await;
    scene.cluster.pass(1).await;
    let issued = scene.cluster.look(&donor).await.status.unwrap();
    // For the same key, so that nothing else is wrong with the status; and nobody else answers it.
    let csr = empty_csr(&donor.key).unwrap();
    let mut spec = scene.spec(&scene.victim, SPIFFE, csr);
    spec["podName"] = json!("nobody");
    let asked = scene.create(&scene.mallory, spec, donor.key).await;
    let before = scene.cluster.look(&asked).await;

    let requests: Api<PodCertificateRequest> = Api::namespaced(scene.mallory.clone(), "shop");
    for kind in ["Issued", "Denied", "Failed"] {
        let mut status = if kind == "Issued" {
            serde_json::to_value(&issued).unwrap()
        } else {
            json!({"conditions": serde_json::to_value(&issued.conditions).unwrap()})
        };
        status["conditions"][0]["type"] = json!(kind);
        let mut forged = before.clone();
        forged.status = Some(serde_json::from_value(status).unwrap());
        let written = requests
            .replace_status(&asked.name, &PostParams::default(), &forged)
            .await;
        let Err(kube::Error::Api(refusal)) = written else {
            panic!("a status without sign was written");
        };
        assert_eq!(refusal.code, 422);
        let right = "is not permitted to \"sign\" for signer \"row-major.net/spiffe\"";
        assert!(refusal.message.contains(right), "{}", refusal.message);
    }
    assert_eq!(scene.cluster.look(&asked).await, before);
    scene.cluster.stop().await;
}

/// A key, and a CSR of it that asks for names, a CA, and an extension.
fn boastful_csr() -> (PrivateKey, Vec<u8>) {
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([format!("{BOAST}.example.com")]).unwrap();
    params.distinguished_name.push(DnType::CommonName, BOAST);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:masters");
    let id = format!("spiffe://cluster.local/ns/{BOAST}/sa/{BOAST}");
    params.subject_alt_names.extend([
        SanType::URI(id.try_into().unwrap()),
        SanType::IpAddress([10, 0, 0, 1].into()),
    ]);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.custom_extensions = vec![CustomExtension::from_oid_content(
        &[1, 3, 6, 1, 4, 1, 57683, 1],
        BOAST.as_bytes().to_vec(),
    )];
    let csr = params.serialize_request(&pair).unwrap();
    let key = PrivateKey::from_pkcs8_der(&pair.serialize_der()).unwrap();
    (key, csr.der().to_vec())
}

/// Gives a user rights in all namespaces.
pub(crate) async fn grant(admin: &Client, user: &str, rules: Value) {
    let name = user.replace(':', "-");
    let roles: Api<ClusterRole> = Api::all(admin.clone());
    create(&roles, json!({"metadata": {"name": name}, "rules": rules})).await;
    let bindings: Api<ClusterRoleBinding> = Api::all(admin.clone());
    let group = ClusterRole::GROUP;
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "apiGroup": group, "name": user}],
    });
    create(&bindings, binding).await;
}

/// What meshtool's manifests give its controller, and what lets it compare all UIDs.
pub(crate) fn with_uids() -> Value {
    let mut rights = meshtool();
    rights.as_array_mut().unwrap().push(json!(
        {"apiGroups": [""], "resources": ["nodes", "serviceaccounts"], "verbs": ["list", "watch"]}
    ));
    rights
}

/// What meshtool's manifests give its controller.
pub(crate) fn meshtool() -> Value {
    json!([
        {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["podcertificaterequests"],
         "verbs": ["get", "list", "watch", "update"]},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["clustertrustbundles"],
         "verbs": ["create", "get", "list", "watch", "update", "delete"]},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["podcertificaterequests/status"],
         "verbs": ["update"]},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
         "resourceNames": ["row-major.net/*"], "verbs": ["sign", "attest"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
    ])
}

/// What nobody but nodes and signers should have.
fn careless() -> Value {
    json!([
        {"apiGroups": ["certificates.k8s.io"], "resources": ["podcertificaterequests"],
         "verbs": ["create"]},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["podcertificaterequests/status"],
         "verbs": ["update"]},
    ])
}

const MALLORY: &str = "system:serviceaccount:shop:mallory";
const ELSEWHERE: &str = "node-2";
const WRONG_UID: &str = "99999999-9999-9999-9999-999999999999";
/// Stands in everything a CSR asks for.
const BOAST: &str = "i-am-the-boss";
