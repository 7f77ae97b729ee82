//! Whether programs can be isolated on this machine, found out by doing it once.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::{Play, Run, Stage};
use crate::pod_map::{PodMap, PodName, RunAs};

/// Sets up everything but a program, below `state`.
///
/// # Errors
/// A sentence that says what failed and what may help.
pub(crate) async fn probe(runner: &Path, state: &Path) -> Result<(), String> {
    let folder = state.join("probe");
    let probed = try_once(runner, state, &folder).await;
    // The sandbox's own folder goes at its end in any case.
    let _ = fs::remove_dir_all(&folder);
    probed.map_err(|failure| {
        let hint = hint(|file| fs::read_to_string(file).ok());
        format!("{failure}; {hint}")
    })
}

async fn try_once(runner: &Path, state: &Path, folder: &Path) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let run = Run {
        map: PodMap {
            pod: PodName {
                namespace: "probe".to_owned(),
                name: "probe".to_owned(),
                uid: String::new(),
            },
            address: std::net::Ipv4Addr::new(10, 0, 0, 1),
            run_as: RunAs::default(),
            mounts: Vec::new(),
            listen_dir: folder.to_owned(),
            services_file: state.join("services.json"),
        },
        play: Play::Nothing,
        environment: Default::default(),
        control: folder.join("exec.sock"),
        folder: folder.to_owned(),
    };
    let file = run.write().map_err(text)?;
    let child = Command::new(runner)
        .args(["sandbox", "exec-pod", "--isolated"])
        .arg(&file)
        .args(["--stage", Stage::Namespaces.name()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", runner.display()))?;
    let output = timeout(PATIENCE, wait(child))
        .await
        .map_err(|_| "setting up namespaces takes too long".to_owned())?
        .map_err(text)?;
    if output.0.success() {
        return Ok(());
    }
    let last = output.1.lines().last().unwrap_or_default().trim();
    let words = last.strip_prefix("podcert: ").unwrap_or(last);
    Err(if words.is_empty() {
        output.0.to_string()
    } else {
        words.to_owned()
    })
}

async fn wait(
    mut child: tokio::process::Child,
) -> std::io::Result<(std::process::ExitStatus, String)> {
    use tokio::io::AsyncReadExt;
    // Open until the end: closing it would end the probe.
    let _guard = child.stdin.take();
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut text).await?;
    }
    Ok((child.wait().await?, text))
}

/// What keeps users without privileges from making namespaces, by the system's settings.
fn hint(read: impl Fn(&str) -> Option<String>) -> &'static str {
    let is = |file: &str, value: &str| read(file).is_some_and(|text| text.trim() == value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        "the sysctl user.max_user_namespaces is 0"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "the sysctl kernel.unprivileged_userns_clone is 0"
    } else if is(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ) {
        "AppArmor restricts user namespaces: give podcert a profile with the rule `userns,`, or set the sysctl \
         kernel.apparmor_restrict_unprivileged_userns to 0"
    } else {
        "this needs unprivileged user namespaces, which containers and some systems forbid"
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_forbids_it_is_named() {
        let with = |name: &'static str, value: &'static str| {
            hint(move |file| file.ends_with(name).then(|| format!("{value}\n")))
        };
        assert!(with("max_user_namespaces", "0").contains("user.max_user_namespaces"));
        assert!(
            with("unprivileged_userns_clone", "0").contains("kernel.unprivileged_userns_clone")
        );
        assert!(with("apparmor_restrict_unprivileged_userns", "1").contains("AppArmor"));
        assert!(with("max_user_namespaces", "96365").contains("containers"));
    }
}
