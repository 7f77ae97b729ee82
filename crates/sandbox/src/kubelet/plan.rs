//! What the sandbox will do for a pod, or why it will not.
//!
//! A pod spec asks for much that a process without privileges cannot have. [`parse`] goes through every field of it
//! (the structs are taken apart without `..`, so a field that a new Kubernetes version adds does not compile until
//! somebody decided about it) and sorts: what is honoured ends in the [`PodPlan`]; what only hardens or places the pod
//! becomes a note, since the pod does the same without it; everything else is refused with a sentence that names
//! field and limit.

mod environment;
mod security;
mod volumes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, VolumeMount};

use self::environment::{TOO_LONG, expand};
pub(crate) use self::volumes::{CertificatePlan, Source, VolumePlan};
use crate::images::Images;

/// A pod the sandbox can run.
#[derive(Clone, Debug)]
pub(crate) struct PodPlan {
    /// The one container's name.
    pub(crate) container: String,
    /// The container's image reference.
    pub(crate) image: String,
    /// The program that plays the image.
    pub(crate) program: PathBuf,
    /// `command` and `args`, with `$(NAME)` expanded.
    pub(crate) argv: Vec<String>,
    /// The container's environment, complete: nothing is inherited.
    pub(crate) environment: BTreeMap<String, String>,
    /// Where the container wants which volume.
    pub(crate) mounts: Vec<MountPlan>,
    /// The volumes, by their names.
    pub(crate) volumes: BTreeMap<String, VolumePlan>,
    /// What happens when the process ends.
    pub(crate) restart: RestartPolicy,
    /// From SIGTERM to SIGKILL.
    pub(crate) grace: Duration,
    /// What is not enforced here, as sentences.
    pub(crate) notes: Vec<String>,
}

/// One volume mount of the container.
#[derive(Clone, Debug)]
pub(crate) struct MountPlan {
    /// The absolute path the container sees.
    pub(crate) path: PathBuf,
    /// The volume's name; [`PodPlan::volumes`] has it.
    pub(crate) volume: String,
}

/// `restartPolicy`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RestartPolicy {
    Always,
    Never,
    OnFailure,
}

/// What a field is for, when asking about it: a collector of sentences.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    refused: Vec<String>,
    notes: Vec<String>,
}

/// Reads the pod's spec.
///
/// # Errors
/// Everything that cannot be honoured, one sentence each.
pub(crate) fn parse(pod: &Pod, images: &Images) -> Result<PodPlan, Vec<String>> {
    let Some(spec) = &pod.spec else {
        return Err(vec!["spec is missing".to_owned()]);
    };
    let mut verdict = Verdict::default();
    let plan = parse_spec(pod, spec, images, &mut verdict);
    match plan {
        Some(mut plan) if verdict.refused.is_empty() => {
            plan.notes = verdict.notes;
            Ok(plan)
        }
        _ => Err(verdict.refused),
    }
}

impl Verdict {
    fn refuse(&mut self, sentence: impl Into<String>) {
        self.refused.push(sentence.into());
    }

    /// Refuses the field when it is there.
    fn refuse_some<T>(&mut self, value: Option<&T>, field: &str, limit: &str) {
        if value.is_some() {
            self.refuse(format!("{field}: {limit}"));
        }
    }

    /// Refuses the list when it has elements.
    fn refuse_any<T>(&mut self, list: Option<&Vec<T>>, field: &str, limit: &str) {
        if list.is_some_and(|list| !list.is_empty()) {
            self.refuse(format!("{field}: {limit}"));
        }
    }

    /// Refuses the switch when it is on.
    fn refuse_true(&mut self, value: Option<bool>, field: &str, limit: &str) {
        if value == Some(true) {
            self.refuse(format!("{field}: {limit}"));
        }
    }

    fn note<T>(&mut self, value: Option<&T>, field: &str, consequence: &str) {
        if value.is_some() {
            self.notes.push(format!("{field}: {consequence}"));
        }
    }
}

fn parse_spec(pod: &Pod, spec: &PodSpec, images: &Images, v: &mut Verdict) -> Option<PodPlan> {
    let PodSpec {
        active_deadline_seconds,
        affinity,
        automount_service_account_token,
        containers,
        dns_config,
        dns_policy,
        enable_service_links: _,
        ephemeral_containers,
        eviction_responders,
        host_aliases,
        host_ipc,
        host_network,
        host_pid,
        host_users,
        hostname,
        hostname_override,
        image_pull_secrets: _,
        init_containers,
        node_name: _,
        node_selector,
        os,
        overhead: _,
        preemption_policy: _,
        priority: _,
        priority_class_name: _,
        readiness_gates,
        resource_claims,
        resources,
        restart_policy,
        runtime_class_name,
        scheduler_name: _,
        scheduling_gates,
        scheduling_group,
        security_context,
        service_account: _,
        service_account_name: _,
        set_hostname_as_fqdn,
        share_process_namespace,
        subdomain,
        termination_grace_period_seconds,
        tolerations: _,
        topology_spread_constraints,
        volumes,
    } = spec;

    v.refuse_some(
        active_deadline_seconds.as_ref(),
        "spec.activeDeadlineSeconds",
        "not kept here",
    );
    v.refuse_some(affinity.as_ref(), "spec.affinity", ONE_NODE);
    v.note(
        automount_service_account_token.filter(|on| *on).as_ref(),
        "spec.automountServiceAccountToken",
        "the sandbox has no service account tokens",
    );
    v.refuse_some(dns_config.as_ref(), "spec.dnsConfig", NAMES);
    if dns_policy.as_deref() == Some("None") {
        v.refuse(format!("spec.dnsPolicy None: {NAMES}"));
    }
    v.refuse_any(
        ephemeral_containers.as_ref(),
        "spec.ephemeralContainers",
        ONE_PROCESS,
    );
    v.refuse_any(
        eviction_responders.as_ref(),
        "spec.evictionResponders",
        "nothing is evicted here",
    );
    v.refuse_any(host_aliases.as_ref(), "spec.hostAliases", NAMES);
    v.refuse_true(*host_ipc, "spec.hostIPC", NAMESPACES);
    v.refuse_true(
        *host_network,
        "spec.hostNetwork",
        "pods listen on UNIX sockets, not on the host",
    );
    v.refuse_true(*host_pid, "spec.hostPID", NAMESPACES);
    v.refuse_true(
        host_users.map(|host| !host),
        "spec.hostUsers false",
        NAMESPACES,
    );
    v.refuse_some(hostname.as_ref(), "spec.hostname", NAMES);
    v.refuse_some(hostname_override.as_ref(), "spec.hostnameOverride", NAMES);
    v.refuse_any(init_containers.as_ref(), "spec.initContainers", ONE_PROCESS);
    if node_selector
        .as_ref()
        .is_some_and(|selector| !selector.is_empty())
    {
        v.refuse(format!("spec.nodeSelector: {ONE_NODE}"));
    }
    if os.as_ref().is_some_and(|os| os.name != "linux") {
        v.refuse("spec.os: programs of this machine are run as if they were linux images");
    }
    v.refuse_any(
        readiness_gates.as_ref(),
        "spec.readinessGates",
        "only the process decides here",
    );
    v.refuse_any(
        resource_claims.as_ref(),
        "spec.resourceClaims",
        "the sandbox has no devices",
    );
    v.note(resources.as_ref(), "spec.resources", NO_LIMITS);
    v.refuse_some(
        runtime_class_name.as_ref(),
        "spec.runtimeClassName",
        ONE_PROCESS,
    );
    v.refuse_any(scheduling_gates.as_ref(), "spec.schedulingGates", ONE_NODE);
    v.refuse_some(scheduling_group.as_ref(), "spec.schedulingGroup", ONE_NODE);
    if let Some(context) = security_context {
        security::pod(context, v);
    }
    v.refuse_true(*set_hostname_as_fqdn, "spec.setHostnameAsFQDN", NAMES);
    v.refuse_true(
        *share_process_namespace,
        "spec.shareProcessNamespace",
        NAMESPACES,
    );
    v.refuse_some(subdomain.as_ref(), "spec.subdomain", NAMES);
    v.refuse_any(
        topology_spread_constraints.as_ref(),
        "spec.topologySpreadConstraints",
        ONE_NODE,
    );

    let volumes = volumes::parse(volumes.iter().flatten(), v);
    let restart = match restart_policy.as_deref() {
        None | Some("Always") => RestartPolicy::Always,
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        Some(other) => {
            v.refuse(format!("spec.restartPolicy: {other:?} is none"));
            RestartPolicy::Never
        }
    };
    let grace = termination_grace_period_seconds.map_or(DEFAULT_GRACE, |seconds| {
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    });

    let [container] = containers.as_slice() else {
        v.refuse(format!(
            "spec.containers: {ONE_PROCESS}; this pod has {}",
            containers.len()
        ));
        return None;
    };
    let plan = parse_container(pod, container, images, v)?;
    for mount in &plan.mounts {
        if !volumes.contains_key(&mount.volume) && v.refused.is_empty() {
            v.refuse(format!(
                "volumeMounts: there is no volume {:?}",
                mount.volume
            ));
        }
    }
    Some(PodPlan {
        volumes,
        restart,
        grace,
        ..plan
    })
}

fn parse_container(
    pod: &Pod,
    container: &Container,
    images: &Images,
    v: &mut Verdict,
) -> Option<PodPlan> {
    let Container {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy: _,
        lifecycle,
        liveness_probe,
        name,
        ports,
        readiness_probe,
        resize_policy: _,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context,
        startup_probe,
        stdin,
        stdin_once: _,
        termination_message_path: _,
        termination_message_policy: _,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
    } = container;
    let at = |field: &str| format!("container {name:?}: {field}");

    v.refuse_any(
        env_from.as_ref(),
        &at("envFrom"),
        "only env with values and fieldRef is read",
    );
    v.refuse_some(lifecycle.as_ref(), &at("lifecycle"), "no hooks are run");
    v.refuse_some(liveness_probe.as_ref(), &at("livenessProbe"), NO_PROBES);
    v.refuse_some(readiness_probe.as_ref(), &at("readinessProbe"), NO_PROBES);
    v.refuse_some(startup_probe.as_ref(), &at("startupProbe"), NO_PROBES);
    v.note(resources.as_ref(), &at("resources"), NO_LIMITS);
    v.refuse_some(
        restart_policy.as_ref(),
        &at("restartPolicy"),
        "the pod's applies",
    );
    v.refuse_any(
        restart_policy_rules.as_ref(),
        &at("restartPolicyRules"),
        "the pod's policy applies",
    );
    if let Some(context) = security_context {
        security::container(context, &at, v);
    }
    v.refuse_true(*stdin, &at("stdin"), "the processes have no input");
    v.refuse_true(*tty, &at("tty"), "the processes have no terminal");
    v.refuse_any(
        volume_devices.as_ref(),
        &at("volumeDevices"),
        "the sandbox has no devices",
    );
    v.refuse_some(
        working_dir.as_ref(),
        &at("workingDir"),
        "there is no image with folders in it",
    );
    for port in ports.iter().flatten() {
        v.refuse_some(
            port.host_port.filter(|port| *port != 0).as_ref(),
            &at("ports"),
            "no hostPort",
        );
        if port
            .protocol
            .as_deref()
            .is_some_and(|protocol| protocol != "TCP")
        {
            v.refuse(format!("{}: only TCP", at("ports")));
        }
    }

    let environment = environment::parse(pod, env.iter().flatten(), &at, v);
    let mounts = volume_mounts
        .iter()
        .flatten()
        .map(|mount| parse_mount(mount, &at, v))
        .collect();
    let words = command.iter().flatten().chain(args.iter().flatten());
    let argv: Option<Vec<String>> = words.map(|word| expand(word, &environment)).collect();
    if argv.is_none() {
        v.refuse(format!("{}: a word is {TOO_LONG}", at("command and args")));
    }
    if command.as_ref().is_none_or(Vec::is_empty) {
        let limit = "must be set: the sandbox cannot look into images for their entry point";
        v.refuse(format!("{}: {limit}", at("command")));
    }

    let image = image.clone().unwrap_or_default();
    let Some(program) = images.program(&image) else {
        let known = "only images named when the sandbox was started run";
        v.refuse(format!("{} {image:?}: {known}", at("image")));
        return None;
    };
    Some(PodPlan {
        container: name.clone(),
        program: program.to_path_buf(),
        image,
        argv: argv.unwrap_or_default(),
        environment,
        mounts,
        volumes: BTreeMap::new(),
        restart: RestartPolicy::Always,
        grace: DEFAULT_GRACE,
        notes: Vec::new(),
    })
}

fn parse_mount(mount: &VolumeMount, at: &dyn Fn(&str) -> String, v: &mut Verdict) -> MountPlan {
    let VolumeMount {
        bind_mount_options,
        mount_path,
        mount_propagation,
        name,
        read_only: _,
        recursive_read_only: _,
        sub_path,
        sub_path_expr,
    } = mount;
    let field = at(&format!("volumeMounts {name:?}"));
    v.refuse_any(
        bind_mount_options.as_ref(),
        &field,
        "no bindMountOptions: nothing is mounted",
    );
    if mount_propagation
        .as_deref()
        .is_some_and(|mode| mode != "None")
    {
        v.refuse(format!("{field}: no mountPropagation: nothing is mounted"));
    }
    v.refuse_some(
        sub_path.as_ref().filter(|path| !path.is_empty()),
        &field,
        NO_SUB_PATH,
    );
    v.refuse_some(
        sub_path_expr.as_ref().filter(|path| !path.is_empty()),
        &field,
        NO_SUB_PATH,
    );
    if !mount_path.starts_with('/') || mount_path.contains(':') {
        v.refuse(format!(
            "{field}: mountPath {mount_path:?} must be absolute and without ':'"
        ));
    }
    MountPlan {
        path: PathBuf::from(mount_path),
        volume: name.clone(),
    }
}

/// Kubernetes' default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
const NAMES: &str = "names resolve through the sandbox's list of Services alone";
const NAMESPACES: &str = "processes run without namespaces of their own";
const NO_LIMITS: &str = "requests and limits are not enforced";
const NO_PROBES: &str = "no probes are made; a pod is Ready while its process runs";
const NO_SUB_PATH: &str = "no subPath: it would hide every change of the volume";
const ONE_NODE: &str = "there is one node and nothing to choose";
const ONE_PROCESS: &str = "a pod is exactly one container, run as one process";

#[cfg(test)]
mod tests;
