//! One container of a pod.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, PodSecurityContext, VolumeMount};

use super::environment::{self, EnvironmentPlan};
use super::probes::{self, ProbesPlan};
use super::{NO_LIMITS, RestartPolicy, Stage, Verdict, security};
use crate::images::{Images, Program};
use crate::pod_map::RunAs;

/// A container the sandbox can run.
#[derive(Clone, Debug)]
pub(crate) struct ContainerPlan {
    /// Its name.
    pub(crate) name: String,
    /// Its image reference.
    pub(crate) image: String,
    /// The program that plays the image.
    pub(crate) program: Program,
    /// `command` and `args`, with `$(NAME)` still in them.
    pub(crate) words: Vec<String>,
    /// Its variables.
    pub(crate) environment: EnvironmentPlan,
    /// Whom it was promised to run as.
    pub(crate) run_as: RunAs,
    /// Where it wants which volume.
    pub(crate) mounts: Vec<MountPlan>,
    /// What happens when it ends.
    pub(crate) restart: RestartPolicy,
    /// What the others wait for.
    pub(crate) role: Role,
    /// Its probes.
    pub(crate) probes: ProbesPlan,
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// The next container starts when this one has succeeded.
    Init,
    /// One of those the pod is there for.
    Main,
    /// The next container starts when this one has, and it runs until those of the pod have ended.
    Sidecar,
}

/// One volume mount of a container.
#[derive(Clone, Debug)]
pub(crate) struct MountPlan {
    /// The absolute path the container sees.
    pub(crate) path: PathBuf,
    /// The volume's name; [`super::PodPlan::volumes`] has it.
    pub(crate) volume: String,
    /// Whether it only reads there.
    pub(crate) read_only: bool,
}

pub(super) fn parse(
    container: &Container,
    stage: Stage,
    pods_restart: RestartPolicy,
    service_links: bool,
    pods_context: Option<&PodSecurityContext>,
    images: &Images,
    v: &mut Verdict,
) -> Option<ContainerPlan> {
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

    v.refuse_some(lifecycle.as_ref(), &at("lifecycle"), "no hooks are run");
    v.note(resources.as_ref(), &at("resources"), NO_LIMITS);
    v.refuse_any(
        restart_policy_rules.as_ref(),
        &at("restartPolicyRules"),
        "restartPolicy alone decides",
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
    let (role, restart) = role(stage, pods_restart, restart_policy.as_deref(), &at, v);
    if role == Role::Init {
        for (field, probe) in [
            ("livenessProbe", liveness_probe),
            ("readinessProbe", readiness_probe),
            ("startupProbe", startup_probe),
        ] {
            let limit = "an init container that ends is not probed";
            v.refuse_some(probe.as_ref(), &at(field), limit);
        }
    }
    let probes = probes::parse(container, &at, v);
    let environment = environment::parse(
        env_from.as_deref().unwrap_or_default(),
        env.as_deref().unwrap_or_default(),
        service_links,
        &at,
        v,
    );
    let mounts = volume_mounts
        .iter()
        .flatten()
        .map(|mount| parse_mount(mount, &at, v))
        .collect();
    let image = image.clone().unwrap_or_default();
    let program = match images.program(&image) {
        Ok(program) => program.clone(),
        Err(sentence) => {
            v.refuse(format!("{} {image:?}: {sentence}", at("image")));
            return None;
        }
    };
    let own = security_context.as_ref();
    let run_as = security::run_as(pods_context, own, &program, &at, v);
    let mut entry_point = None;
    if command.as_ref().is_none_or(Vec::is_empty) {
        match &program {
            Program::Isolated { program, .. } => entry_point = program.to_str().map(str::to_owned),
            Program::Mapped(_) => {
                let limit =
                    "must be set: the sandbox cannot look into images for their entry point";
                v.refuse(format!("{}: {limit}", at("command")));
            }
        }
    }
    let command = command.iter().flatten();
    let words = entry_point
        .iter()
        .chain(command)
        .chain(args.iter().flatten());
    Some(ContainerPlan {
        name: name.clone(),
        program,
        image,
        words: words.cloned().collect(),
        environment,
        run_as,
        mounts,
        restart,
        role,
        probes,
    })
}

/// An init container with `restartPolicy: Always` is a sidecar; another one is run again while it fails, unless the pod
/// is never to be.
fn role(
    stage: Stage,
    pods: RestartPolicy,
    own: Option<&str>,
    at: &dyn Fn(&str) -> String,
    v: &mut Verdict,
) -> (Role, RestartPolicy) {
    let own = own.and_then(|own| match own {
        "Always" => Some(RestartPolicy::Always),
        "Never" => Some(RestartPolicy::Never),
        "OnFailure" => Some(RestartPolicy::OnFailure),
        other => {
            v.refuse(format!("{}: {other:?} is none", at("restartPolicy")));
            None
        }
    });
    match (stage, own.unwrap_or(pods)) {
        (Stage::Main, policy) => (Role::Main, policy),
        (Stage::Init, RestartPolicy::Always) if own.is_some() => {
            (Role::Sidecar, RestartPolicy::Always)
        }
        (Stage::Init, RestartPolicy::Never) => (Role::Init, RestartPolicy::Never),
        (Stage::Init, _) => (Role::Init, RestartPolicy::OnFailure),
    }
}

fn parse_mount(mount: &VolumeMount, at: &dyn Fn(&str) -> String, v: &mut Verdict) -> MountPlan {
    let VolumeMount {
        bind_mount_options,
        mount_path,
        mount_propagation,
        name,
        read_only,
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
        read_only: *read_only == Some(true),
    }
}

const NO_SUB_PATH: &str = "no subPath: it would hide every change of the volume";
