//! What the sandbox will do for a pod, or why it will not.
//!
//! A pod spec asks for much that a process without privileges cannot have. [`parse`] goes through every field of it
//! (the structs are taken apart without `..`, so a field that a new Kubernetes version adds does not compile until
//! somebody decided about it) and sorts: what is honoured ends in the [`PodPlan`]; what only hardens or places the pod
//! becomes a note, since the pod does the same without it; everything else is refused with a sentence that names
//! field and limit.

mod container;
mod environment;
mod fields;
mod probes;
mod security;
mod sources;
mod volumes;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

pub(crate) use self::container::{ContainerPlan, Role};
pub(crate) use self::environment::{EnvironmentPlan, Value, is_name};
pub(crate) use self::probes::{Action, ProbePlan};
pub(crate) use self::sources::{CertificatePlan, ObjectPlan, Source, TokenPlan};
pub(crate) use self::volumes::VolumePlan;
use crate::images::{Images, Program};

/// A pod the sandbox can run.
#[derive(Clone, Debug)]
pub(crate) struct PodPlan {
    /// The containers: those that run before the others first, in their order.
    pub(crate) containers: Vec<ContainerPlan>,
    /// The volumes, by their names.
    pub(crate) volumes: BTreeMap<String, VolumePlan>,
    /// From SIGTERM to SIGKILL.
    pub(crate) grace: Duration,
    /// What is not enforced here, as sentences.
    pub(crate) notes: Vec<String>,
}

/// `restartPolicy`, of the pod or of a container.
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
    let mut plan = parse_spec(spec, images, &mut verdict);
    if !verdict.refused.is_empty() {
        return Err(verdict.refused);
    }
    plan.notes = verdict.notes;
    Ok(plan)
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

fn parse_spec(spec: &PodSpec, images: &Images, v: &mut Verdict) -> PodPlan {
    let PodSpec {
        active_deadline_seconds,
        affinity,
        // The API server has added the token's volume, or has not.
        automount_service_account_token: _,
        containers,
        dns_config,
        dns_policy,
        enable_service_links,
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
        // The scheduler's business, as are the other names that begin so.
        node_selector: _,
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
    v.refuse_some(affinity.as_ref(), "spec.affinity", SELECTOR);
    v.refuse_some(dns_config.as_ref(), "spec.dnsConfig", NAMES);
    if dns_policy.as_deref() == Some("None") {
        v.refuse(format!("spec.dnsPolicy None: {NAMES}"));
    }
    v.refuse_any(
        ephemeral_containers.as_ref(),
        "spec.ephemeralContainers",
        "nothing is added to a pod that runs",
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
    if os.as_ref().is_some_and(|os| os.name != "linux") {
        v.refuse("spec.os: programs of this machine are run as if they were linux images");
    }
    v.refuse_any(
        readiness_gates.as_ref(),
        "spec.readinessGates",
        "only its containers decide whether a pod is Ready",
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
        "containers are processes of this machine",
    );
    v.refuse_any(
        scheduling_gates.as_ref(),
        "spec.schedulingGates",
        "nobody would open them",
    );
    v.refuse_some(scheduling_group.as_ref(), "spec.schedulingGroup", SELECTOR);
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
        SELECTOR,
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

    if containers.is_empty() {
        v.refuse("spec.containers: a pod has at least one container");
    }
    let links = enable_service_links.unwrap_or(true);
    let init = init_containers.iter().flatten();
    let all = init
        .map(|container| (container, Stage::Init))
        .chain(containers.iter().map(|container| (container, Stage::Main)));
    let mut plans: Vec<ContainerPlan> = Vec::new();
    for (container, stage) in all {
        if plans.iter().any(|plan| plan.name == container.name) {
            v.refuse(format!("container {:?}: the name is taken", container.name));
        }
        let plan = container::parse(
            container,
            stage,
            restart,
            links,
            security_context.as_ref(),
            images,
            v,
        );
        for mount in plan.iter().flat_map(|plan| &plan.mounts) {
            if !volumes.contains_key(&mount.volume) && v.refused.is_empty() {
                v.refuse(format!(
                    "volumeMounts: there is no volume {:?}",
                    mount.volume
                ));
            }
        }
        plans.extend(plan);
    }
    // What mapped programs make of localhost is the pod's sockets, which they share.
    let isolated = |plan: &ContainerPlan| matches!(plan.program, Program::Isolated { .. });
    let together = plans.iter().filter(|plan| plan.role != Role::Init);
    let alone = (together.count() > 1 && plans.iter().any(isolated)).then_some(());
    v.note(alone.as_ref(), "spec.containers", NOT_SHARED);
    // Only the kubelet writes there, in a real pod too.
    for mount in plans.iter_mut().flat_map(|plan| &mut plan.mounts) {
        let files = matches!(volumes.get(&mount.volume), Some(VolumePlan::Files { .. }));
        mount.read_only |= files;
    }
    PodPlan {
        containers: plans,
        volumes,
        grace,
        notes: Vec::new(),
    }
}

/// Which list of the pod's spec a container is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Init,
    Main,
}

/// Kubernetes' default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
const NOT_SHARED: &str = "containers that run in namespaces have a network of their own each: they reach their \
                          neighbours through a Service, not under localhost";
const NAMES: &str = "names resolve through the sandbox's list of Services alone";
const NAMESPACES: &str = "processes run without namespaces of their own";
const NO_LIMITS: &str = "requests and limits are not enforced";
const SELECTOR: &str = "the sandbox's scheduler knows nodeName and nodeSelector alone";

#[cfg(test)]
mod tests;
