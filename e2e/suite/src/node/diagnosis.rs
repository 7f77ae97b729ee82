//! `podcert status` and `podcert explain pod` on pods that a kubelet runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt as _};
use podcert_pki::Chain;
use podcert_pki::inspect::describe;
use serde_json::{Value, json};

use super::polls::Clients;
use super::replicas::requests;
use super::world::{Example, IMAGE, NAMESPACE, World};
use super::{own_serials, run_examples};
use crate::diagnosis::asker::Asker;
use crate::harness::{bundle_name, until};
use crate::run::{Context, Outcome};

/// The examples have all they want; one more pod wants what nobody signs.
pub(super) async fn step(context: Context) -> Result<Outcome> {
    let world = World::on(Arc::clone(&context.cluster), &context).await?;
    run_examples(&world).await?;
    let asker = world.asker();
    status(&world, &asker).await.context("status")?;
    let mut explained = 0;
    for example in Example::ALL {
        explained += examples(&world, &asker, example).await?;
    }
    let pod = unserved(&world.client).await?;
    let waits = waits(&asker).await.context("a signer nobody serves");
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), OTHERS);
    pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
        .await?;
    waits?;
    Ok(Outcome::of(format!(
        "{explained} pods with their certificates and one without"
    )))
}

/// All is well.
async fn status(world: &World, asker: &Asker) -> Result<()> {
    let controllers = world.controllers().await?;
    ensure!(controllers.len() == 1, "{} controllers", controllers.len());
    let controller = controllers.first().context("no controller")?;
    let node = controller
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_ref());
    let said = asker.status().await?;
    said.ends_with(0)?;
    said.hides(&[])?;
    said.has(&[
        ("/version", json!("certificates.k8s.io/v1")),
        ("/controllers/0/namespace", json!(NAMESPACE)),
        ("/controllers/0/application", json!("podcert-controller")),
        (
            "/controllers/0/replicas/0/name",
            json!(controller.name_any()),
        ),
        ("/controllers/0/replicas/0/lease/state", json!("held")),
        ("/controllers/0/replicas/0/hasPod", json!(true)),
        ("/controllers/0/replicas/0/ready", json!(true)),
        ("/controllers/0/replicas/0/node", json!(node)),
        ("/controllers/0/replicas/0/image", json!(IMAGE)),
        ("/controllers/0/replicas/0/restarts", json!(0)),
        ("/controllers/0/replicas/1", Value::Null),
        ("/controllers/1", Value::Null),
        ("/waiting", json!([])),
        ("/findings", json!([])),
    ])?;
    for (number, signer) in ["row-major.net/service-dns", "row-major.net/spiffe"]
        .iter()
        .enumerate()
    {
        let at = |field: &str| format!("/signers/{number}/{field}");
        let bundle = bundle_name(signer);
        said.has(&[
            (&at("name"), json!(signer)),
            (&at("answered"), json!(true)),
            (&at("bundle/name"), json!(bundle)),
            (&at("bundle/anchors/0/signs"), json!(true)),
            (&at("bundle/anchors/1"), Value::Null),
            (
                &at("signingExpires"),
                said.at(&at("bundle/anchors/0/notAfter")).clone(),
            ),
            (&at("waiting"), json!(0)),
            (&at("refused"), json!(0)),
        ])?;
        ensure!(said.at(&at("issued")).as_u64() > Some(0), "{said:?}");
    }
    let page = asker.page(&["status"]).await?;
    page.says(0, &["ready", "Lease renewed", "nothing wants attention"])
}

/// All pods of an example; how many they are.
async fn examples(world: &World, asker: &Asker, example: Example) -> Result<usize> {
    let namespace = example.namespace();
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), namespace);
    let mut shown = BTreeSet::new();
    let mut count = 0;
    for pod in pods.list(&ListParams::default()).await? {
        if pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let name = format!("{namespace}/{}", pod.name_any());
        let serials = explained(world, asker, &pod, &name).await;
        let serials = serials.with_context(|| format!("pod {name}"))?;
        count += 1;
        if pod.labels().get("app").is_some_and(|app| app == "client") {
            shown.extend(serials);
        }
    }
    // What the clients say they show is what they are told to have.
    let clients = Clients::of(&world.client, namespace);
    let mut own = own_serials(&clients.settled(example.clients()).await?);
    own.remove("");
    ensure!(
        own == shown,
        "clients show {own:?}, and explained are {shown:?}"
    );
    Ok(count)
}

/// A pod that has what it wants; the serial numbers.
async fn explained(
    world: &World,
    asker: &Asker,
    pod: &Pod,
    name: &str,
) -> Result<BTreeSet<String>> {
    let namespace = pod.namespace().unwrap_or_default();
    let said = asker.explain(name).await?;
    said.ends_with(0)?;
    said.hides(&[])?;
    said.has(&[
        ("/uid", json!(pod.uid())),
        ("/phase", json!("Running")),
        ("/warnings", json!([])),
    ])?;
    ensure!(said.count("/sources") > 0, "{said:?}");
    let mut serials = BTreeSet::new();
    for number in 0..said.count("/sources") {
        let at = |field: &str| format!("/sources/{number}/{field}");
        said.has(&[(&at("state"), json!("present"))])?;
        if said.at(&at("kind")) != "certificate" {
            continue;
        }
        let request = said.at(&at("request")).as_str().unwrap_or_default();
        let request = requests(&world.client, &namespace).get(request).await?;
        let request = request.data;
        let chain = request.pointer("/status/certificateChain");
        let chain = chain.and_then(Value::as_str).unwrap_or_default();
        let serial = describe::hex(Chain::from_pem(chain)?.leaf().serial());
        let of_request = |field: &str| request.pointer(field).cloned().unwrap_or_default();
        said.has(&[
            ("/uid", of_request("/spec/podUID")),
            (&at("signer"), of_request("/spec/signerName")),
            (&at("certificate/serial"), json!(serial)),
            (&at("certificate/notAfter"), of_request("/status/notAfter")),
        ])?;
        serials.insert(serial);
    }
    let page = asker.page(&["explain", "pod", name]).await?;
    page.says(0, &["there"])?;
    if !serials.is_empty() {
        page.says(0, &["issued", "expires in"])?;
    }
    Ok(serials)
}

/// A pod that asks a signer nobody serves.
async fn unserved(client: &Client) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), OTHERS);
    let pod = serde_json::from_value(json!({
        "metadata": {"name": UNSERVED},
        "spec": {
            "containers": [{
                "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
                "command": ["/podcert", "--version"],
                "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
            }],
            "volumes": [{"name": "tls", "projected": {"sources": [{"podCertificate": {
                "signerName": SIGNER, "keyType": "ECDSAP256", "credentialBundlePath": "tls.pem",
            }}]}}],
        },
    }))?;
    Ok(pods.create(&PostParams::default(), &pod).await?)
}

/// Its kubelet has asked, and waits.
async fn waits(asker: &Asker) -> Result<()> {
    let name = format!("{OTHERS}/{UNSERVED}");
    until(|| async {
        let said = asker.explain(&name).await?;
        said.ends_with(3)?;
        said.has(&[
            ("/phase", json!("Pending")),
            ("/sources/0/signer", json!(SIGNER)),
            ("/sources/0/state", json!("waiting")),
            ("/sources/0/reason", Value::Null),
            ("/sources/0/certificate", Value::Null),
        ])?;
        ensure!(said.at("/sources/0/request").is_string(), "{said:?}");
        said.tells("/sources/0/details", &["no controller", "answers"])
    })
    .await?;
    let page = asker.page(&["explain", "pod", &name]).await?;
    page.says(3, &["waits", SIGNER, "no controller"])?;
    // Of podcert nothing is wanted.
    let said = asker.status().await?;
    said.ends_with(0)?;
    said.has(&[("/waiting", json!([]))])
}

/// Where the pod is that is no example's.
const OTHERS: &str = "default";
const UNSERVED: &str = "unserved";
const SIGNER: &str = "nobody.example/ids";
