//! `podcert install`: the controller's manifests, printed or applied.
//!
//! They are those of `deploy/`, as this program was built with them ([`manifests`]); flags change what
//! most clusters need otherwise. What is printed is what would be applied. CA pools are no part of it:
//! they are keys, and made once.

mod manifests;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use podcert_pki::TrustDomain;
use podcert_runtime::SharedClock;
use serde_json::{Value, json};

use self::manifests::{Manifests, Options, SignerKind};
use crate::kubeconfig;
use crate::output::{self, Format};

/// Install the controller on a cluster, or print its manifests.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Install the controller on a cluster, or print its manifests: namespace, rights, two \
        replicas, disruption budget, network policy, and the admission policy that lets nobody but \
        nodes ask for certificates.\n\n\
        Objects are applied server-side as podcert-install: what is there already is brought up to \
        date, and what somebody else has changed since is a conflict, not overwritten. CA pools are not \
        made: podcert make-ca-pool-secret does that, once. Until they are there the controller is not ready.\n\n\
        A cluster has one installation: another namespace than that of the one that is there is refused.",
    after_long_help = "EXAMPLES\n  \
        podcert install --dry-run | kubectl apply -f -\n  \
        podcert install --trust-domain prod.example.com\n  \
        podcert install --dry-run --signer service-dns -- --max-lifetime=12h\n\n\
        EXIT CODES\n  0  applied (or printed)\n  1  not applied, or not all of it; the message says why\n  2  wrong usage"
)]
pub(crate) struct Args {
    /// Print the manifests and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Kubeconfig of the cluster [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,

    /// Namespace of the controller; it is made
    #[arg(long, default_value = manifests::NAMESPACE, value_name = "NAME", value_parser = label)]
    namespace: String,

    /// Image to run [default: the one of this version]
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,

    /// How many replicas share the work
    #[arg(long, default_value = "2", value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=100))]
    replicas: u32,

    /// Trust domain of the SPIFFE IDs
    #[arg(long, default_value = "cluster.local", value_name = "TRUST DOMAIN")]
    trust_domain: TrustDomain,

    /// Signer to enable; repeatable [default: all]
    #[arg(long = "signer", value_enum, value_name = "SIGNER")]
    signers: Vec<SignerKind>,

    /// Leave the admission policy out; docs/admission.md says what holds without it
    #[arg(long)]
    without_admission_policy: bool,

    /// Leave the network policy out; one that was applied before stays
    #[arg(long)]
    without_network_policy: bool,

    /// Port of the API server that the network policy lets the controller reach, besides 443 and 6443; repeatable
    #[arg(long = "api-server-port", value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "without_network_policy")]
    api_server_ports: Vec<u16>,

    /// How to print the manifests, or what was applied [default: text; with --dry-run: yaml]
    #[arg(long, value_enum)]
    output: Option<Format>,

    /// More flags for `podcert controller`
    #[arg(last = true, value_name = "CONTROLLER FLAGS")]
    controller: Vec<String>,
}

/// Prints or applies.
///
/// # Errors
/// The flags make a controller that would not start, or the API server does not take an object.
pub(crate) async fn run(args: Args, clock: SharedClock) -> Result<ExitCode> {
    let manifests = Manifests::new(&Options {
        namespace: args.namespace.clone(),
        image: args.image.clone(),
        replicas: args.replicas,
        trust_domain: args.trust_domain.clone(),
        signers: args.signers.clone(),
        admission_policy: !args.without_admission_policy,
        network_policy: !args.without_network_policy,
        api_server_ports: args.api_server_ports.clone(),
        controller: args.controller.clone(),
    })?;
    if args.dry_run {
        match args.output.unwrap_or(Format::Yaml) {
            Format::Json => output::object(
                Format::Json,
                &json!({"apiVersion": "v1", "kind": "List", "items": manifests.objects()}),
            )?,
            Format::Text | Format::Yaml => {
                for (number, object) in manifests.objects().iter().enumerate() {
                    if number > 0 {
                        output::text("---")?;
                    }
                    output::object(Format::Yaml, object)?;
                }
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let client = kubeconfig::client(args.kubeconfig.as_deref(), clock).await?;
    refuse_second(&client, &args.namespace).await?;
    let format = args.output.unwrap_or(Format::Text);
    let mut applied = Vec::new();
    for object in manifests.objects() {
        let done = apply(&client, object).await?;
        if format == Format::Text {
            output::text(&format!("{done} applied"))?;
        }
        applied.push(done);
    }
    match format {
        Format::Text => output::text(&next_steps(&args.namespace, manifests.signers())),
        format => output::object(format, &json!({"applied": applied})),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses to take the rights from a controller in another namespace. The binding is the cluster's, and to apply it
/// again as the same manager is no conflict.
async fn refuse_second(client: &kube::Client, namespace: &str) -> Result<()> {
    let name = manifests::CONTROLLER;
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let binding = bindings.get_opt(name).await.with_context(|| {
        format!("nothing was applied: the ClusterRoleBinding {name} cannot be read")
    })?;
    if let Some(other) = binding.as_ref().and_then(|found| other(found, namespace)) {
        bail!(
            "nothing was applied: the ClusterRoleBinding {name} is that of a controller in the namespace {other}, \
             which would lose its rights.\n\
             To bring that one up to date: podcert install --namespace {other}\n\
             To have one here instead: kubectl delete clusterrolebinding {name}, and install again\n\
             To have both: the Helm chart, with another nameOverride"
        );
    }
    Ok(())
}

/// A namespace that a binding gives rights to and that is not this one.
fn other<'a>(binding: &'a ClusterRoleBinding, namespace: &str) -> Option<&'a str> {
    let subjects = binding.subjects.iter().flatten();
    let mut namespaces = subjects.filter_map(|subject| subject.namespace.as_deref());
    namespaces.find(|found| *found != namespace)
}

/// Applies an object; answers with its name, as people write it.
async fn apply(client: &kube::Client, object: &Value) -> Result<String> {
    let object: DynamicObject =
        serde_json::from_value(object.clone()).context("a manifest is no object")?;
    let types = object.types.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let (group, version) = types
        .api_version
        .split_once('/')
        .unwrap_or(("", &types.api_version));
    // The plurals of these kinds are as kube guesses them; a test holds that.
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    let (api, said): (Api<DynamicObject>, String) = match &object.metadata.namespace {
        Some(namespace) => (
            Api::namespaced_with(client.clone(), namespace, &resource),
            format!("{} {namespace}/{name}", types.kind),
        ),
        None => (
            Api::all_with(client.clone(), &resource),
            format!("{} {name}", types.kind),
        ),
    };
    let patch = Patch::Apply(&object);
    match api.patch(&name, &PatchParams::apply(MANAGER), &patch).await {
        Ok(_) => Ok(said),
        Err(kube::Error::Api(status)) => bail!(
            "{said} was not applied, what stands before it was: {}\n\
             To decide by yourself: podcert install --dry-run | kubectl apply -f -",
            status.message
        ),
        Err(error) => {
            Err(error).with_context(|| format!("{said} was not applied, what stands before it was"))
        }
    }
}

/// What is left to do: pools are keys, and no manifest has keys.
fn next_steps(namespace: &str, signers: &[SignerKind]) -> String {
    let mut text = "\nmake the CA pools that are not there yet:\n".to_owned();
    for signer in signers {
        text.push_str(&format!(
            "  podcert make-ca-pool-secret --namespace {namespace} --name {} --ca-id 1\n",
            signer.pool()
        ));
    }
    text.push_str(&format!(
        "then the controller becomes ready within two minutes:\n  kubectl -n {namespace} rollout status deployment/{}",
        manifests::CONTROLLER
    ));
    text
}

/// A namespace's name: a DNS label (RFC 1123).
fn label(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    good.then(|| text.to_owned()).ok_or_else(|| {
        "expected 1 to 63 lower-case letters, digits and inner hyphens (RFC 1123)".to_owned()
    })
}

const MANAGER: &str = "podcert-install";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_tells_of_another_installation() {
        let with = |subjects: Value| -> ClusterRoleBinding {
            serde_json::from_value(json!({
                "roleRef": {"apiGroup": "", "kind": "ClusterRole", "name": manifests::CONTROLLER},
                "subjects": subjects,
            }))
            .unwrap()
        };
        let account = |namespace: &str| json!({"kind": "ServiceAccount", "name": "x", "namespace": namespace});
        assert_eq!(other(&with(json!([account("a")])), "a"), None);
        assert_eq!(other(&with(json!([account("a")])), "b"), Some("a"));
        let both = with(json!([account("b"), account("a")]));
        assert_eq!(other(&both, "b"), Some("a"));
        assert_eq!(other(&with(json!(null)), "b"), None);
    }
}
