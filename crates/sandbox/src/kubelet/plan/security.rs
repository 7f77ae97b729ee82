//! Security contexts: what a process of the user who started the sandbox can and cannot be given.

use k8s_openapi::api::core::v1::{PodSecurityContext, SecurityContext};

use super::{NAMESPACES, Verdict};
use crate::images::Program;
use crate::pod_map::RunAs;

pub(super) fn pod(context: &PodSecurityContext, v: &mut Verdict) {
    let PodSecurityContext {
        app_armor_profile,
        fs_group,
        fs_group_change_policy: _,
        run_as_group: _,
        run_as_non_root: _,
        run_as_user: _,
        se_linux_change_policy: _,
        se_linux_options,
        seccomp_profile,
        supplemental_groups,
        supplemental_groups_policy: _,
        sysctls,
        windows_options,
    } = context;
    let at = |field: &str| format!("spec.securityContext.{field}");
    v.note(fs_group.as_ref(), &at("fsGroup"), OUR_FILES);
    v.refuse_any(
        supplemental_groups.as_ref(),
        &at("supplementalGroups"),
        OUR_USER,
    );
    v.refuse_any(sysctls.as_ref(), &at("sysctls"), NAMESPACES);
    v.refuse_some(
        windows_options.as_ref(),
        &at("windowsOptions"),
        "no Windows here",
    );
    v.note(
        app_armor_profile.as_ref(),
        &at("appArmorProfile"),
        NOT_ENFORCED,
    );
    v.note(
        se_linux_options.as_ref(),
        &at("seLinuxOptions"),
        NOT_ENFORCED,
    );
    v.note(
        seccomp_profile.as_ref(),
        &at("seccompProfile"),
        NOT_ENFORCED,
    );
}

pub(super) fn container(context: &SecurityContext, at: &dyn Fn(&str) -> String, v: &mut Verdict) {
    let SecurityContext {
        // Honoured in any case: `sandbox exec-pod` gives up the right to gain privileges.
        allow_privilege_escalation: _,
        app_armor_profile,
        capabilities,
        privileged,
        proc_mount,
        read_only_root_filesystem,
        run_as_group: _,
        run_as_non_root: _,
        run_as_user: _,
        se_linux_options,
        seccomp_profile,
        windows_options,
    } = context;
    let at = |field: &str| at(&format!("securityContext.{field}"));
    v.refuse_true(
        *privileged,
        &at("privileged"),
        "the sandbox has no privileges to give",
    );
    for capability in capabilities.iter().flat_map(|c| c.add.iter().flatten()) {
        // The port below 1024 is granted by the map: listening on it opens a UNIX socket.
        if capability != "NET_BIND_SERVICE" {
            let field = at("capabilities.add");
            v.refuse(format!(
                "{field}: {capability:?} is not the sandbox's to give"
            ));
        }
    }
    v.refuse_some(
        proc_mount.as_ref().filter(|m| *m != "Default"),
        &at("procMount"),
        NAMESPACES,
    );
    v.refuse_some(
        windows_options.as_ref(),
        &at("windowsOptions"),
        "no Windows here",
    );
    let dropped = capabilities.as_ref().and_then(|c| c.drop.as_ref());
    v.note(dropped, &at("capabilities.drop"), NOT_ENFORCED);
    let read_only = read_only_root_filesystem.filter(|on| *on);
    v.note(
        read_only.as_ref(),
        &at("readOnlyRootFilesystem"),
        NOT_ENFORCED,
    );
    v.note(
        app_armor_profile.as_ref(),
        &at("appArmorProfile"),
        NOT_ENFORCED,
    );
    v.note(
        se_linux_options.as_ref(),
        &at("seLinuxOptions"),
        NOT_ENFORCED,
    );
    v.note(
        seccomp_profile.as_ref(),
        &at("seccompProfile"),
        NOT_ENFORCED,
    );
}

/// Whom the container runs as. Outside, processes are the user who started the sandbox; only in namespaces can they be
/// somebody else to themselves.
pub(super) fn run_as(
    pod: Option<&PodSecurityContext>,
    container: Option<&SecurityContext>,
    program: &Program,
    at: &dyn Fn(&str) -> String,
    v: &mut Verdict,
) -> RunAs {
    let user = container.and_then(|context| context.run_as_user);
    let user = user.or_else(|| pod.and_then(|context| context.run_as_user));
    let group = container.and_then(|context| context.run_as_group);
    let group = group.or_else(|| pod.and_then(|context| context.run_as_group));
    let non_root = container.and_then(|context| context.run_as_non_root);
    let non_root = non_root.or_else(|| pod.and_then(|context| context.run_as_non_root));
    let at = |field: &str| at(&format!("securityContext.{field}"));
    let number = |value: Option<i64>, field: &str, v: &mut Verdict| {
        let number = value.map(u32::try_from).transpose().ok().flatten();
        let wrong = value.filter(|_| number.is_none());
        v.refuse_some(wrong.as_ref(), &at(field), "no number that Linux knows");
        number
    };
    let run_as = RunAs {
        user: number(user, "runAsUser", v),
        group: number(group, "runAsGroup", v),
    };
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if matches!(program, Program::Mapped(_)) {
        let other = run_as.user.filter(|user| *user != uid.as_raw());
        v.refuse_some(other.as_ref(), &at("runAsUser"), OUR_USER);
        let other = run_as.group.filter(|group| *group != gid.as_raw());
        v.refuse_some(other.as_ref(), &at("runAsGroup"), OUR_USER);
    }
    match run_as.user {
        Some(0) => v.refuse_true(non_root, &at("runAsNonRoot"), "runAsUser is 0"),
        None if uid.is_root() => v.refuse_true(
            non_root,
            &at("runAsNonRoot"),
            "the sandbox itself runs as root",
        ),
        _ => {}
    }
    run_as
}

const NOT_ENFORCED: &str = "not enforced";
const OUR_FILES: &str =
    "files belong to the user who started the sandbox, as whom the processes run";
const OUR_USER: &str = "processes run as the user who started the sandbox";
