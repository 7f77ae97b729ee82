//! `podcert status` and `podcert explain pod` say what is so, on a cluster of their own.
//!
//! It begins without podcert, gets an installation whose pod nobody runs, then a process that does what that
//! pod says, pods whose certificates are issued, awaited, refused and asked of nobody, people who may not see
//! all of it, and at last the death of that process. The reports are compared field by field; the pages for people by the words
//! that matter.

mod asked;
pub(crate) mod asker;
mod hidden;
mod place;

use anyhow::{Context as _, Result, ensure};
use podcert_cases::ApiVersion;
use serde_json::{Value, json};

use self::asked::Pods;
use self::asker::Asker;
use self::place::{CONTROLLER, NAMESPACE, Place};
use crate::cluster::Cluster;
use crate::harness::{Stage, bundle_name, until};
use crate::release::Skew;
use crate::run::{Context, Outcome};

/// The step of a whole run.
///
/// # Errors
/// What was told otherwise than it is.
pub(crate) async fn step(context: Context) -> Result<Outcome> {
    let cluster = Cluster::start(&context.options()).await?;
    let skew = Skew::none(context.release);
    let stage = Stage::open(&cluster.kubeconfig(), skew, "diagnosis").await?;
    let mut place = Place::new(&stage).await?;
    let asker = Asker::new(&place.program, stage.administrator()?);
    let version = skew.api();

    nothing(&asker, version).await.context("without podcert")?;
    let controller = place.install().await?;
    let name = controller.metadata.name.clone().unwrap_or_default();
    nobody_runs(&asker, &name)
        .await
        .context("installed, and nobody runs it")?;
    let program = place.run(&controller).await?;
    let told = async {
        runs(&asker, &name, place.node())
            .await
            .context("it runs, and nobody asks")?;
        let pods = Pods::create(&mut place).await?;
        pods.are_explained(&place, &asker).await?;
        pods.are_in_the_status(&asker)
            .await
            .context("the status of a cluster where some wait")?;
        let people = hidden::all(&place, &asker, &pods).await?;
        pods.cure(&place, &asker)
            .await
            .context("the waiting pod got its Service")?;
        anyhow::Ok(people)
    };
    let people = told.await.map_err(|error| program.blame(error))?;
    program.kill().await?;
    died(&asker, &name).await.context("it died")?;
    stage.close().await?;
    cluster.remove().await?;
    Ok(Outcome::of(format!(
        "{} pods and the cluster explained to {people} users",
        asked::COUNT
    )))
}

/// No podcert, and nobody who wants it.
async fn nothing(asker: &Asker, version: ApiVersion) -> Result<()> {
    let title = format!("certificates.k8s.io/{}", version.as_str());
    let said = asker.status().await?;
    said.ends_with(0)?;
    said.hides(&[])?;
    said.has(&[
        ("/version", json!(title)),
        ("/controllers", json!([])),
        ("/signers", json!([])),
        ("/waiting", json!([])),
        ("/findings", json!([])),
    ])?;
    let page = asker.page(&["status"]).await?;
    page.says(
        0,
        &[
            &title,
            "no controller shows itself",
            "nothing wants attention",
        ],
    )
}

/// The manifests are there and the pod runs nowhere.
async fn nobody_runs(asker: &Asker, name: &str) -> Result<()> {
    let said = asker.status().await?;
    said.ends_with(3)?;
    said.hides(&[])?;
    ensure!(said.count("/controllers") == 1, "{said:?}");
    said.has(&[
        ("/controllers/0/namespace", json!(NAMESPACE)),
        ("/controllers/0/application", json!(CONTROLLER)),
        ("/controllers/0/signers", json!(SIGNERS)),
        ("/controllers/0/replicas/0/name", json!(name)),
        ("/controllers/0/replicas/0/lease/state", json!("none")),
        ("/controllers/0/replicas/0/hasPod", json!(true)),
        ("/controllers/0/replicas/0/ready", json!(false)),
        ("/controllers/0/replicas/0/node", Value::Null),
        ("/controllers/0/replicas/1", Value::Null),
        ("/waiting", json!([])),
    ])?;
    for (number, signer) in SIGNERS.iter().enumerate() {
        said.has(&[
            (&format!("/signers/{number}/name"), json!(signer)),
            (&format!("/signers/{number}/answered"), json!(false)),
            (&format!("/signers/{number}/bundle"), Value::Null),
            (&format!("/signers/{number}/issued"), json!(0)),
        ])?;
        said.tells("/findings", &["error", signer, "no bundle"])?;
    }
    let who = format!("{NAMESPACE}/{CONTROLLER}");
    said.tells("/findings", &["error", &who, "no replica that lives"])?;
    ensure!(said.count("/findings") == 1 + SIGNERS.len(), "{said:?}");
    let page = asker.page(&["status"]).await?;
    page.says(
        3,
        &[
            &who,
            "not ready",
            "no Lease",
            "which no controller above answers for",
            "error",
            "nobody answers",
        ],
    )
}

/// All is well.
async fn runs(asker: &Asker, name: &str, node: &str) -> Result<()> {
    let said = asker.status().await?;
    said.ends_with(0)?;
    said.hides(&[])?;
    said.has(&[
        ("/controllers/0/application", json!(CONTROLLER)),
        ("/controllers/0/replicas/0/name", json!(name)),
        ("/controllers/0/replicas/0/lease/state", json!("held")),
        ("/controllers/0/replicas/0/hasPod", json!(true)),
        ("/controllers/0/replicas/0/ready", json!(true)),
        ("/controllers/0/replicas/0/node", json!(node)),
        ("/controllers/1", Value::Null),
        ("/waiting", json!([])),
        ("/findings", json!([])),
    ])?;
    for (number, signer) in SIGNERS.iter().enumerate() {
        let bundle = bundle_name(signer);
        said.has(&[
            (&format!("/signers/{number}/name"), json!(signer)),
            (&format!("/signers/{number}/answered"), json!(true)),
            (&format!("/signers/{number}/bundle/name"), json!(bundle)),
        ])?;
        let anchors = said.count(&format!("/signers/{number}/bundle/anchors"));
        ensure!(anchors == 1, "{anchors} anchors: {said:?}");
    }
    let page = asker.page(&["status"]).await?;
    page.says(
        0,
        &[
            "ready",
            name,
            "Lease renewed",
            node,
            "nothing wants attention",
        ],
    )
}

/// It renews its Lease no more.
async fn died(asker: &Asker, name: &str) -> Result<()> {
    until(|| async {
        let said = asker.status().await?;
        said.has(&[
            ("/controllers/0/replicas/0/name", json!(name)),
            ("/controllers/0/replicas/0/lease/state", json!("ranOut")),
            ("/signers/0/answered", json!(false)),
        ])?;
        said.ends_with(3)?;
        let who = format!("{NAMESPACE}/{CONTROLLER}");
        said.tells("/findings", &["error", &who, "no replica that lives"])
    })
    .await?;
    let page = asker.page(&["status"]).await?;
    page.says(3, &["Lease ran out", "nobody answers"])
}

/// Of an installation without flags, by name.
const SIGNERS: [&str; 3] = [
    "row-major.net/pod-identity",
    "row-major.net/service-dns",
    "row-major.net/spiffe",
];
