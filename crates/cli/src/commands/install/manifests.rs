//! The manifests of `deploy/controller` and `deploy/admission`, and what flags change of them.

use anyhow::{Context as _, Result, ensure};
use podcert_issuance::SignerName;
use podcert_pki::TrustDomain;
use serde_json::{Value, json};

use crate::commands::controller;

/// What may be otherwise than in `deploy/`.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Of the controller.
    pub(super) namespace: String,
    /// The one of `deploy/` if none is given.
    pub(super) image: Option<String>,
    /// How many share the work.
    pub(super) replicas: u32,
    /// Of the SPIFFE IDs.
    pub(super) trust_domain: TrustDomain,
    /// All if there are none.
    pub(super) signers: Vec<SignerKind>,
    /// Whether the admission policy is among them.
    pub(super) admission_policy: bool,
    /// Whether the network policy is among them.
    pub(super) network_policy: bool,
    /// Where the network policy lets the controller reach the API server, besides the usual ones.
    pub(super) api_server_ports: Vec<u16>,
    /// More of the controller's flags.
    pub(super) controller: Vec<String>,
}

/// A signer that can be enabled.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum SignerKind {
    /// Serving certificates named after Services
    ServiceDns,
    /// X.509-SVIDs of service accounts
    Spiffe,
    /// X.509-SVIDs of pods
    PodIdentity,
}

/// Objects in the order in which they are to be applied.
#[derive(Debug)]
pub(super) struct Manifests {
    objects: Vec<Value>,
    signers: Vec<SignerKind>,
}

impl SignerKind {
    /// As flags and files name it.
    fn name(self) -> &'static str {
        match self {
            Self::ServiceDns => "service-dns",
            Self::Spiffe => "spiffe",
            Self::PodIdentity => "pod-identity",
        }
    }

    /// The Secret with its CA pool.
    pub(super) fn pool(self) -> String {
        format!("{}-ca-pool", self.name())
    }

    /// Whether a flag is this signer's.
    fn has_flag(self, flag: &str) -> bool {
        let name = self.name();
        flag.starts_with(&format!("--enable-{name}-signer"))
            || flag.starts_with(&format!("--{name}-"))
    }
}

impl Manifests {
    /// Reads and changes them.
    ///
    /// # Errors
    /// The controller would not start with these flags.
    pub(super) fn new(options: &Options) -> Result<Self> {
        let mut signers = options.signers.clone();
        if signers.is_empty() {
            signers = ALL.to_vec();
        }
        let mut objects = Vec::new();
        for (file, text) in FILES {
            let wanted = match file {
                ADMISSION => options.admission_policy,
                NETWORK => options.network_policy,
                _ => true,
            };
            if !wanted {
                continue;
            }
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(text).with_context(|| format!("{file} is no YAML"))?;
            objects.extend(documents);
        }
        let mut names = Vec::new();
        for object in &mut objects {
            move_to(object, &options.namespace);
            if is(object, "Deployment") {
                names.extend(set_up(object, options, &signers)?);
            }
            if is(object, "NetworkPolicy") {
                let_out(object, &options.api_server_ports)?;
            }
        }
        for role in objects
            .iter_mut()
            .filter(|object| is(object, "ClusterRole"))
        {
            entitle(role, &names);
        }
        Ok(Self { objects, signers })
    }

    pub(super) fn objects(&self) -> &[Value] {
        &self.objects
    }

    pub(super) fn signers(&self) -> &[SignerKind] {
        &self.signers
    }
}

fn is(object: &Value, kind: &str) -> bool {
    object.get("kind").is_some_and(|found| found == kind)
}

/// Puts an object of the controller's namespace into another.
fn move_to(object: &mut Value, namespace: &str) {
    let mut names = Vec::new();
    if is(object, "Namespace") {
        names.push("/metadata/name".to_owned());
    }
    names.push("/metadata/namespace".to_owned());
    let subjects = object.get("subjects").and_then(Value::as_array);
    let subjects = subjects.map_or(0, Vec::len);
    names.extend((0..subjects).map(|number| format!("/subjects/{number}/namespace")));
    for name in names {
        if let Some(found) = object.pointer_mut(&name)
            && found == NAMESPACE
        {
            *found = namespace.into();
        }
    }
}

/// Changes what flags change of the Deployment; answers with the signers' names.
fn set_up(
    deployment: &mut Value,
    options: &Options,
    signers: &[SignerKind],
) -> Result<Vec<SignerName>> {
    let gone: Vec<SignerKind> = ALL
        .into_iter()
        .filter(|signer| !signers.contains(signer))
        .collect();
    let set = |object: &mut Value, path: &str, value: Value| -> Result<()> {
        *object
            .pointer_mut(path)
            .with_context(|| format!("the Deployment has no {path}"))? = value;
        Ok(())
    };
    set(deployment, "/spec/replicas", options.replicas.into())?;
    if let Some(image) = &options.image {
        set(
            deployment,
            &format!("{CONTAINER}/image"),
            image.as_str().into(),
        )?;
    }

    let command = format!("{CONTAINER}/command");
    let words = deployment.pointer(&command).and_then(Value::as_array);
    let mut words: Vec<String> = words
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter_map(|word| {
            // It is pod-identity's as well.
            if word.starts_with(TRUST_DOMAIN) {
                return (signers != [SignerKind::ServiceDns])
                    .then(|| format!("{TRUST_DOMAIN}{}", options.trust_domain));
            }
            let stays = !gone.iter().any(|signer| signer.has_flag(word));
            stays.then(|| word.to_owned())
        })
        .collect();
    words.extend(options.controller.iter().cloned());
    let names = check(words.get(2..).unwrap_or_default())?;
    set(deployment, &command, json!(words))?;

    let pools = deployment.pointer_mut(POOLS).and_then(Value::as_array_mut);
    let pools = pools.with_context(|| format!("the Deployment has no {POOLS}"))?;
    pools.retain(|source| {
        let name = source.pointer("/secret/name").and_then(Value::as_str);
        !gone
            .iter()
            .any(|signer| name == Some(signer.pool().as_str()))
    });
    Ok(names)
}

/// Whether the controller starts with these flags, better told here than by a pod that crashes; and if it does, the
/// names of its signers.
fn check(flags: &[String]) -> Result<Vec<SignerName>> {
    let args = controller::read(flags).context("podcert controller would not take these flags")?;
    let policies = controller::check(&args).and_then(|()| controller::policies(&args));
    let policies = policies.context("podcert controller would not start with these flags")?;
    ensure!(
        controller::serves(&args, PORT),
        "--listen must leave port {PORT} of all addresses, which the probes of the Deployment ask for"
    );
    Ok(policies.into_iter().map(|policy| policy.signer).collect())
}

/// Gives the rights to sign for these signers, if those of `deploy/` are for others.
fn entitle(role: &mut Value, signers: &[SignerName]) {
    let rules = role.get_mut("rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        if rule.get("resources") != Some(&json!(["signers"])) {
            continue;
        }
        let names = rule.get("resourceNames").and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        // As the API server reads them: a name, or all of a domain.
        let all = signers.iter().all(|signer| {
            names.clone().any(|name| {
                name == signer.as_str() || name.strip_suffix("/*") == Some(signer.domain())
            })
        });
        if !all {
            let names: Vec<&str> = signers.iter().map(SignerName::as_str).collect();
            rule["resourceNames"] = json!(names);
        }
    }
}

/// Lets the controller reach these ports too.
fn let_out(policy: &mut Value, ports: &[u16]) -> Result<()> {
    let known = policy.pointer_mut(EGRESS).and_then(Value::as_array_mut);
    let known = known.with_context(|| format!("the NetworkPolicy has no {EGRESS}"))?;
    for port in ports {
        let port = json!({"protocol": "TCP", "port": port});
        if !known.contains(&port) {
            known.push(port);
        }
    }
    Ok(())
}

/// In the order in which they are to be applied.
const FILES: [(&str, &str); 5] = [
    (
        "deploy/controller/rbac.yaml",
        include_str!("../../../../../deploy/controller/rbac.yaml"),
    ),
    (
        ADMISSION,
        include_str!("../../../../../deploy/admission/own-node.yaml"),
    ),
    (
        NETWORK,
        include_str!("../../../../../deploy/controller/network.yaml"),
    ),
    (
        "deploy/controller/disruption.yaml",
        include_str!("../../../../../deploy/controller/disruption.yaml"),
    ),
    (
        "deploy/controller/deployment.yaml",
        include_str!("../../../../../deploy/controller/deployment.yaml"),
    ),
];
const ALL: [SignerKind; 3] = [
    SignerKind::ServiceDns,
    SignerKind::Spiffe,
    SignerKind::PodIdentity,
];
const ADMISSION: &str = "deploy/admission/own-node.yaml";
const NETWORK: &str = "deploy/controller/network.yaml";
const EGRESS: &str = "/spec/egress/0/ports";
const CONTAINER: &str = "/spec/template/spec/containers/0";
const POOLS: &str = "/spec/template/spec/volumes/0/projected/sources";
const TRUST_DOMAIN: &str = "--spiffe-trust-domain=";
/// Of the Deployment's container: health and metrics.
const PORT: u16 = 8080;
/// As in `deploy/`.
pub(super) const NAMESPACE: &str = "podcert";
/// The Deployment.
pub(super) const CONTROLLER: &str = "podcert-controller";

#[cfg(test)]
mod tests {
    use kube::core::GroupVersionKind;

    use super::*;

    fn options() -> Options {
        Options {
            namespace: NAMESPACE.to_owned(),
            image: None,
            replicas: 2,
            trust_domain: "cluster.local".parse().unwrap(),
            signers: Vec::new(),
            admission_policy: true,
            network_policy: true,
            api_server_ports: Vec::new(),
            controller: Vec::new(),
        }
    }

    fn of_kind<'a>(manifests: &'a Manifests, kind: &str) -> &'a Value {
        let of = |object: &&Value| object["kind"] == kind;
        manifests.objects().iter().find(of).unwrap()
    }

    fn deployment(manifests: &Manifests) -> &Value {
        of_kind(manifests, "Deployment")
    }

    fn command(manifests: &Manifests) -> Vec<String> {
        let command = deployment(manifests).pointer(&format!("{CONTAINER}/command"));
        serde_json::from_value(command.unwrap().clone()).unwrap()
    }

    #[test]
    fn without_flags_they_are_those_of_deploy() {
        let manifests = Manifests::new(&options()).unwrap();
        let files = FILES
            .iter()
            .flat_map(|(_, text)| serde_saphyr::from_multiple::<Value>(text).unwrap());
        assert_eq!(manifests.objects(), files.collect::<Vec<_>>());
    }

    #[test]
    fn a_namespace_is_a_namespace_everywhere() {
        let manifests = Manifests::new(&Options {
            namespace: "certs".to_owned(),
            ..options()
        })
        .unwrap();
        let text = serde_json::to_string(manifests.objects()).unwrap();
        assert!(!text.contains(r#""namespace":"podcert""#), "{text}");
        assert_eq!(manifests.objects()[0]["metadata"]["name"], "certs");
        // The policy's parameter is the cluster's.
        assert!(text.contains(r#""name":"kube-system""#), "{text}");
    }

    #[test]
    fn signers_that_are_not_wanted_leave_nothing() {
        for (wanted, others) in [
            (SignerKind::ServiceDns, ["spiffe", "pod-identity"]),
            (SignerKind::Spiffe, ["service-dns", "pod-identity"]),
            (SignerKind::PodIdentity, ["service-dns", "enable-spiffe"]),
        ] {
            let manifests = Manifests::new(&Options {
                signers: vec![wanted],
                ..options()
            })
            .unwrap();
            let text = deployment(&manifests).to_string();
            for other in others {
                assert!(!text.contains(other), "{wanted:?}: {other} in {text}");
            }
            assert!(text.contains(&wanted.pool()));
        }
    }

    #[test]
    fn a_node_can_be_drained_however_many_replicas_there_are() {
        for replicas in [1, 2, 3] {
            let manifests = Manifests::new(&Options {
                replicas,
                ..options()
            })
            .unwrap();
            let budget = of_kind(&manifests, "PodDisruptionBudget");
            let spec = budget["spec"].as_object().unwrap();
            assert!(
                spec["maxUnavailable"].as_u64() >= Some(1) && !spec.contains_key("minAvailable"),
                "{replicas} replicas: {budget}"
            );
        }
    }

    #[test]
    fn flags_that_the_controller_refuses_are_refused() {
        let with = |flag: &str| {
            let made = Manifests::new(&Options {
                controller: vec![flag.to_owned()],
                ..options()
            });
            made.map(|manifests| command(&manifests).pop().unwrap())
        };
        assert_eq!(with("--max-lifetime=12h").unwrap(), "--max-lifetime=12h");
        let unknown = format!("{:#}", with("--max-lifetimes=12h").unwrap_err());
        assert!(unknown.contains("--max-lifetimes"), "{unknown}");
        let short = format!("{:#}", with("--max-lifetime=1m").unwrap_err());
        assert!(short.contains("1m"), "{short}");
        let twice = with("--spiffe-signer-name=row-major.net/service-dns").unwrap_err();
        assert!(format!("{twice:#}").contains("row-major.net/service-dns"));
    }

    #[test]
    fn of_a_flag_given_twice_the_last_counts_as_in_the_program() {
        let manifests = Manifests::new(&Options {
            controller: vec!["--spiffe-trust-domain=prod.example".to_owned()],
            ..options()
        });
        assert!(manifests.is_ok(), "{manifests:?}");
    }

    #[test]
    fn probes_find_the_port_that_they_ask_for() {
        let with = |flag: &str| {
            Manifests::new(&Options {
                controller: vec![flag.to_owned()],
                ..options()
            })
        };
        for flag in [
            "--listen=:8080",
            "--listen=0.0.0.0:8080",
            "--listen=[::]:8080",
        ] {
            assert!(with(flag).is_ok(), "{flag}");
        }
        for flag in ["--listen=:9090", "--listen=", "--listen=127.0.0.1:8080"] {
            let refused = format!("{:#}", with(flag).unwrap_err());
            assert!(refused.contains("8080"), "{flag}: {refused}");
        }
    }

    #[test]
    fn the_controller_may_sign_for_whom_its_flags_name() {
        let names = |signers: &[SignerKind], flags: &[&str]| {
            let manifests = Manifests::new(&Options {
                signers: signers.to_vec(),
                controller: flags.iter().map(|flag| (*flag).to_owned()).collect(),
                ..options()
            })
            .unwrap();
            let rules = of_kind(&manifests, "ClusterRole")["rules"].clone();
            let mut rules = rules.as_array().unwrap().iter();
            let signs = rules.find(|rule| rule["verbs"] == json!(["sign", "attest"]));
            signs.unwrap()["resourceNames"].clone()
        };
        assert_eq!(names(&[], &[]), json!(["row-major.net/*"]));
        // A name of the domain is one that the rights are for.
        assert_eq!(
            names(&[], &["--spiffe-signer-name=row-major.net/ids"]),
            json!(["row-major.net/*"])
        );
        assert_eq!(
            names(&[], &["--spiffe-signer-name=corp.example/spiffe"]),
            json!([
                "row-major.net/service-dns",
                "corp.example/spiffe",
                "row-major.net/pod-identity"
            ])
        );
        assert_eq!(
            names(
                &[SignerKind::Spiffe],
                &["--spiffe-signer-name=corp.example/spiffe"]
            ),
            json!(["corp.example/spiffe"])
        );
    }

    #[test]
    fn an_api_server_may_have_another_port_or_any() {
        let with = |network_policy: bool, ports: &[u16]| {
            Manifests::new(&Options {
                network_policy,
                api_server_ports: ports.to_vec(),
                ..options()
            })
            .unwrap()
        };
        let manifests = with(true, &[6443, 16443, 16443]);
        let policy = of_kind(&manifests, "NetworkPolicy");
        let ports = policy.pointer(EGRESS).unwrap().as_array().unwrap();
        let numbers: Vec<_> = ports.iter().map(|port| port["port"].clone()).collect();
        assert_eq!(numbers, [443, 6443, 16443]);
        let without = with(false, &[16443]);
        assert!(!without.objects().iter().any(|of| is(of, "NetworkPolicy")));
        assert_eq!(
            without.objects().len() + 1,
            Manifests::new(&options()).unwrap().objects().len()
        );
    }

    #[test]
    fn plurals_are_as_they_are_guessed() {
        let manifests = Manifests::new(&options()).unwrap();
        for object in manifests.objects() {
            let (kind, version) = (
                object["kind"].as_str().unwrap(),
                object["apiVersion"].as_str().unwrap(),
            );
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let gvk = GroupVersionKind::gvk(group, version, kind);
            let guessed = kube::api::ApiResource::from_gvk(&gvk).plural;
            let lower = kind.to_lowercase();
            let right = match lower.strip_suffix('y') {
                Some(stem) => format!("{stem}ies"),
                None => format!("{lower}s"),
            };
            assert_eq!(guessed, right, "{kind}");
        }
    }
}
