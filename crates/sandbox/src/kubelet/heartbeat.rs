//! What a kubelet says about its node: that it is there, what it is, and that it lives.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node as NodeObject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{HOST_ADDRESS, Node};

/// Creates the Node, as its kubelet does, and answers with its UID.
pub(crate) async fn register(client: &Client, name: &str) -> kube::Result<String> {
    let nodes: Api<NodeObject> = Api::all(client.clone());
    let labels = [
        ("beta.kubernetes.io/arch", arch()),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch()),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let node = NodeObject {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        ..NodeObject::default()
    };
    let made = nodes.create(&PostParams::default(), &node).await?;
    Ok(made.uid().unwrap_or_default())
}

/// Reports the node's status, and renews its Lease in between.
pub(super) async fn run(node: &Node) {
    let mut next_status = Instant::now();
    loop {
        if Instant::now() >= next_status {
            match report(node).await {
                Ok(()) => next_status = Instant::now() + node.timing.node_report,
                Err(error) => tracing::debug!(%error, "the node's status is written again"),
            }
        }
        if let Err(error) = renew(node).await {
            tracing::debug!(%error, "the node's Lease is renewed later");
        }
        sleep(node.timing.lease_renewal).await;
    }
}

async fn report(node: &Node) -> kube::Result<()> {
    let nodes: Api<NodeObject> = Api::all(node.client.clone());
    let now = node.clock.now();
    let there = nodes.get(&node.name).await?.status.unwrap_or_default();
    let conditions: Vec<Value> = CONDITIONS
        .iter()
        .map(|(type_, status, reason, message)| {
            let mut held = there.conditions.iter().flatten();
            let held = held.find(|c| c.type_ == *type_ && c.status == *status);
            let since = held
                .and_then(|held| held.last_transition_time.as_ref())
                .map_or(now, |time| time.0);
            json!({
                "type": type_, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": seconds(now), "lastTransitionTime": seconds(since),
            })
        })
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    let status = json!({
        "addresses": [
            {"$patch": "replace"},
            {"type": "InternalIP", "address": HOST_ADDRESS},
            {"type": "Hostname", "address": node.name},
        ],
        "capacity": {"pods": PODS},
        "allocatable": {"pods": PODS},
        "conditions": conditions,
        "nodeInfo": {
            "architecture": arch(),
            "bootID": "", "machineID": "", "systemUUID": "", "kernelVersion": "",
            "containerRuntimeVersion": format!("podcert-sandbox://{version}"),
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.37.0",
            "operatingSystem": "linux",
            "osImage": "a process of this machine",
        },
    });
    // As the real one does: conditions of types that it does not know are somebody else's, and stay.
    let patch = Patch::Strategic(json!({ "status": status }));
    nodes
        .patch_status(&node.name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn renew(node: &Node) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(node.client.clone(), LEASES);
    let now = MicroTime(node.clock.now());
    let Some(mut lease) = leases.get_opt(&node.name).await? else {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(node.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(node.name.clone()),
                lease_duration_seconds: Some(40),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        };
        leases.create(&PostParams::default(), &lease).await?;
        return Ok(());
    };
    lease.spec.get_or_insert_default().renew_time = Some(now);
    leases
        .replace(&node.name, &PostParams::default(), &lease)
        .await?;
    Ok(())
}

fn seconds(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The architecture as Go names it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86_64" => "amd64",
        other => other,
    }
}

const CONDITIONS: [(&str, &str, &str, &str); 4] = [
    (
        "MemoryPressure",
        "False",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    (
        "DiskPressure",
        "False",
        "KubeletHasNoDiskPressure",
        "kubelet has no disk pressure",
    ),
    (
        "PIDPressure",
        "False",
        "KubeletHasSufficientPID",
        "kubelet has sufficient PID available",
    ),
    (
        "Ready",
        "True",
        "KubeletReady",
        "kubelet is posting ready status",
    ),
];
/// Where kubelets have their Leases.
pub(crate) const LEASES: &str = "kube-node-lease";
const PODS: &str = "110";
