//! The three ways to install are one: `podcert install`, kustomize and the Helm chart make the same objects,
//! and the API server takes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use podcert_cases::Release;
use serde_json::Value;
use tokio::process::Command;

use crate::cluster::parts::{Part, Parts, checkout};
use crate::harness::beside_us;
use crate::run::{Context, Outcome};

/// What flags of `podcert install` are which values of the chart.
const VARIANTS: [(&[&str], &[&str]); 11] = [
    (&[], &[]),
    (&["--replicas=1"], &["replicas=1"]),
    (
        &["--trust-domain=prod.example.com"],
        &["trustDomain=prod.example.com"],
    ),
    (
        &["--signer=service-dns", "--replicas=3"],
        &[
            "signers.spiffe.enabled=false",
            "signers.podIdentity.enabled=false",
            "replicas=3",
        ],
    ),
    (
        &["--signer=pod-identity", "--without-admission-policy"],
        &[
            "signers.spiffe.enabled=false",
            "signers.serviceDns.enabled=false",
            "admissionPolicy.enabled=false",
        ],
    ),
    (
        &["--signer=spiffe", "--", "--max-lifetime=12h"],
        &[
            "signers.podIdentity.enabled=false",
            "signers.serviceDns.enabled=false",
            "extraArgs={--max-lifetime=12h}",
        ],
    ),
    (
        &[
            "--signer=spiffe",
            "--",
            "--spiffe-signer-name=corp.example/ids",
        ],
        &[
            "signers.podIdentity.enabled=false",
            "signers.serviceDns.enabled=false",
            "extraArgs={--spiffe-signer-name=corp.example/ids}",
            "signerNames={corp.example/ids}",
        ],
    ),
    (
        &["--without-network-policy"],
        &["networkPolicy.enabled=false"],
    ),
    (
        &["--api-server-port=8443", "--api-server-port=16443"],
        &["networkPolicy.apiServerPorts={443,6443,8443,16443}"],
    ),
    (
        &["--image=registry.example.com/podcert:2.0.1"],
        &[
            "image.repository=registry.example.com/podcert",
            "image.tag=2.0.1",
        ],
    ),
    (
        &[
            "--image=ghcr.io/podcert/podcert@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ],
        &["image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"],
    ),
];

/// Values that the chart's schema, or the chart, refuses.
const REFUSED: [&[&str]; 18] = [
    &["replicas=0"],
    &["trustDomain=spiffe://prod.example.com"],
    &["trustDomain=a..b"],
    &["image.tagg=2"],
    &["image.repository=podcert@sha256:00"],
    &["image.digest=sha256:00"],
    &["priorityClassName=a #b"],
    &["signers.spiffe.caPoolSecret=a\n              optional: false"],
    &["podLabels.app\\.kubernetes\\.io/component=web"],
    &["networkPolicy.apiServerPorts=null"],
    &["networkPolicy.apiServerPorts={65536}"],
    &["extraArgs={max-lifetime}"],
    &["extraArgs={--spiffe-signer-name=corp.example/ids}"],
    &["extraArgs={--spiffe-signer-name,corp.example/ids}"],
    // Which would leave service-dns and pod-identity without rights.
    &[
        "extraArgs={--spiffe-signer-name=corp.example/ids}",
        "signerNames={corp.example/ids}",
    ],
    &["extraArgs={--listen=:9090}"],
    &["monitoring.enabled=true", "monitoring.runbooks=wiki"],
    &[
        "signers.spiffe.enabled=false",
        "signers.serviceDns.enabled=false",
        "signers.podIdentity.enabled=false",
    ],
];

/// Values of the chart that are names, so that any name must do.
const NAMES: [&str; 5] = [
    "nameOverride",
    "priorityClassName",
    "signers.serviceDns.caPoolSecret",
    "signers.spiffe.caPoolSecret",
    "signers.podIdentity.caPoolSecret",
];

/// The folder of the manifests.
const BASE: &str = "deploy/controller";

/// The step of a whole run.
pub(crate) async fn step(context: Context) -> Result<Outcome> {
    let progress = &context.progress;
    let tools = Tools {
        podcert: beside_us()?,
        kubectl: Parts::alone(Part::Kubectl, Release::V1_37, progress)
            .await?
            .program,
        helm: Parts::alone(Part::Helm, Release::V1_37, progress)
            .await?
            .program,
    };
    progress.end();
    tools.lint().await?;
    let installed = tools.install(&[]).await?;
    same(
        "kubectl kustomize",
        &tools.kustomize(BASE).await?,
        "podcert install",
        &installed,
    )?;
    for (flags, values) in VARIANTS {
        let mut installed = tools.install(flags).await?;
        // The release's, made by whoever makes the release.
        installed.retain(|name, _| !name.starts_with("Namespace "));
        let rendered = tools.render(values).await?;
        let (chart, ours) = (format!("helm {values:?}"), format!("podcert {flags:?}"));
        same(&chart, &rendered, &ours, &installed)?;
    }
    // Of the operator, whose kinds no cluster here knows: they are compared, not applied.
    let mut monitored = tools.render(&["monitoring.enabled=true"]).await?;
    let plain = tools.render(&[]).await?;
    monitored.retain(|name, _| !plain.contains_key(name));
    same(
        "kubectl kustomize deploy/monitoring",
        &tools.kustomize("deploy/monitoring").await?,
        "helm monitoring.enabled=true",
        &monitored,
    )?;
    for values in REFUSED {
        ensure!(
            tools.render(values).await.is_err(),
            "the chart takes {values:?}"
        );
    }
    // Names that YAML reads as something else.
    let plain = tools.named("some-name").await?;
    for name in ["123", "true", "null"] {
        let named = tools.named(name).await?;
        ensure!(
            named == plain.replace("some-name", name),
            "the chart with names of {name:?}: {named}"
        );
    }

    // Twice, as who upgrades does, and then as kubectl does.
    let kubeconfig = context.cluster.kubeconfig();
    for _ in 0..2 {
        run(Command::new(&tools.podcert)
            .arg("install")
            .env("KUBECONFIG", &kubeconfig))
        .await?;
    }
    // A second installation takes the rights of the first: the diff below would show it.
    let second = run(Command::new(&tools.podcert)
        .args(["install", "--namespace=elsewhere"])
        .env("KUBECONFIG", &kubeconfig))
    .await;
    let refusal = second.err().context("a second installation is taken")?;
    ensure!(
        refusal.to_string().contains("--namespace podcert"),
        "{refusal}"
    );
    let applied = run(Command::new(&tools.kubectl)
        .args([
            "diff",
            "--server-side",
            "--field-manager=podcert-install",
            "-k",
        ])
        .arg(base())
        .env("KUBECONFIG", &kubeconfig))
    .await
    .context("what is there is not what was installed")?;
    ensure!(applied.is_empty(), "{}", String::from_utf8_lossy(&applied));
    run(Command::new(&tools.kubectl)
        .args(["delete", "--wait=false", "-k"])
        .arg(base())
        .env("KUBECONFIG", &kubeconfig))
    .await?;
    Ok(Outcome::of(format!(
        "{} objects by three ways, {} variants the same, {} refused",
        installed.len(),
        VARIANTS.len(),
        REFUSED.len()
    )))
}

/// Objects by kind, namespace and name.
type Objects = BTreeMap<String, Value>;

struct Tools {
    podcert: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
}

impl Tools {
    async fn lint(&self) -> Result<()> {
        run(Command::new(&self.helm)
            .args(["lint", "--strict", "--quiet"])
            .arg(chart()))
        .await
        .map(drop)
    }

    async fn install(&self, flags: &[&str]) -> Result<Objects> {
        let printed = run(Command::new(&self.podcert)
            .args(["install", "--dry-run", "--output=json"])
            .args(flags))
        .await?;
        let list: Value = serde_json::from_slice(&printed)?;
        let items = list["items"].as_array().context("no list")?;
        objects(items.iter().cloned())
    }

    async fn kustomize(&self, folder: &str) -> Result<Objects> {
        let folder = checkout().join(folder);
        let printed = run(Command::new(&self.kubectl).arg("kustomize").arg(folder)).await?;
        documents(&printed)
    }

    async fn render(&self, values: &[&str]) -> Result<Objects> {
        let values = values.iter().flat_map(|value| ["--set", *value]);
        self.template("podcert", values).await
    }

    /// The chart's objects as JSON, with one name for all that have one.
    async fn named(&self, name: &str) -> Result<String> {
        let values: Vec<String> = NAMES
            .iter()
            .map(|value| format!("--set-string={value}={name}"))
            .collect();
        let objects = self.template(name, values.iter().map(String::as_str));
        // Without their keys, which have an order.
        let objects: Vec<Value> = objects.await?.into_values().collect();
        Ok(serde_json::to_string(&objects)?)
    }

    async fn template(
        &self,
        namespace: &str,
        values: impl Iterator<Item = &str>,
    ) -> Result<Objects> {
        let mut command = Command::new(&self.helm);
        command.args(["template", "podcert"]).arg(chart());
        command.args(["--namespace", namespace, "--kube-version=v1.37.0"]);
        documents(&run(command.args(values)).await?)
    }
}

fn base() -> PathBuf {
    checkout().join(BASE)
}

fn chart() -> PathBuf {
    checkout().join("deploy/helm/podcert")
}

fn documents(text: &[u8]) -> Result<Objects> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(std::str::from_utf8(text)?)?;
    objects(documents.into_iter().filter(Value::is_object))
}

fn objects(documents: impl Iterator<Item = Value>) -> Result<Objects> {
    let mut objects = Objects::new();
    for object in documents {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or("");
        let name = format!(
            "{} {}/{}",
            text("/kind"),
            text("/metadata/namespace"),
            text("/metadata/name")
        );
        ensure!(
            objects.insert(name.clone(), object).is_none(),
            "{name} is there twice"
        );
    }
    Ok(objects)
}

/// An error that names the first object in which two ways differ.
fn same(one_way: &str, one: &Objects, other_way: &str, other: &Objects) -> Result<()> {
    let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    ensure!(
        names(one) == names(other),
        "{one_way} makes {:?}, {other_way} {:?}",
        names(one),
        names(other)
    );
    for (name, object) in one {
        let twin = &other[name];
        ensure!(
            object == twin,
            "{name}\n{one_way}: {object}\n{other_way}: {twin}"
        );
    }
    Ok(())
}

/// What a program prints that must succeed.
///
/// # Errors
/// When it does not; with what it says.
pub(crate) async fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.kill_on_drop(true).output().await;
    let program = Path::new(command.as_std().get_program())
        .display()
        .to_string();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(output.stdout)
}
