//! Sandboxes as processes of their own: one that is killed, one where namespaces are refused, one of a user without
//! privileges.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use tokio::time::sleep;

use super::tools::{self, Cluster, needed, pod, tool};

/// Plays a sandbox that is killed: prints a line once its pods run.
pub(crate) fn a_sandbox_to_be_killed(parent: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let cluster = Cluster::start_in(parent).await;
        let mark = parent.file_name().unwrap().to_str().unwrap().to_owned();
        let script = format!("trap '' TERM; (setsid sh -c 'sleep 1000; : {mark}' &) ; echo up: {mark}; while :; do sleep 1; done");
        for name in ["one", "two"] {
            cluster.apply(&pod(name, name, "sh", &["sh", "-c", &script])).await;
        }
        cluster.line("one", "up: ").await;
        cluster.line("two", "up: ").await;
        println!("up");
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

pub(crate) fn orphans() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let mark = folder.path().file_name().unwrap().to_str().unwrap();
    let mut sandbox = Command::new(std::env::current_exe().unwrap())
        .arg("a-sandbox-to-be-killed")
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(sandbox.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "up");
    // The sandbox, and per pod two of ours and two of its.
    assert!(
        tools::processes(mark).len() >= 9,
        "{:#?}",
        tools::processes(mark)
    );
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    for _ in 0..200 {
        if tools::processes(mark).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("left behind: {:#?}", tools::processes(mark));
}

/// Plays a sandbox in a place where no user namespaces are to be had.
pub(crate) fn a_refused_program() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let cluster = Cluster::start().await;
        cluster
            .apply(&pod("foreign", "foreign", "sh", &["sh", "-c", "exit 0"]))
            .await;
        cluster
            .apply(&pod(
                "ours",
                "ours",
                "podcert",
                &["podcert", "get", "nobody"],
            ))
            .await;
        cluster.line("ours", "got no ").await;
        let events: Api<Event> = Api::default_namespaced(cluster.admin());
        for _ in 0..200 {
            let all = events.list(&ListParams::default()).await.unwrap();
            let of = |event: &Event| {
                let warns = event.type_.as_deref() == Some("Warning");
                warns && event.involved_object.name.as_deref() == Some("foreign")
            };
            if let Some(event) = all.into_iter().find(of) {
                println!("refused: {}", event.message.unwrap_or_default());
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        cluster.shutdown().await;
    });
    ExitCode::SUCCESS
}

pub(crate) fn refusal() {
    if !needed(&["unshare"]) {
        return;
    }
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" a-refused-program";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let refused = text.lines().find_map(|line| line.strip_prefix("refused: "));
    let refused = refused.unwrap_or_else(|| panic!("{text}\n{errors}"));
    for words in [
        "/sh cannot be run as a pod: cannot make namespaces",
        "user.max_user_namespaces",
    ] {
        assert!(refused.contains(words), "{refused}");
    }
}

/// The same tests as user nobody.
pub(crate) fn unprivileged() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open.clone()).unwrap();
    let copy: PathBuf = folder.path().join("isolation");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, open).unwrap();
    let status = Command::new(tool("setpriv").unwrap())
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .arg("a_pod")
        .arg("--test-threads=1")
        .current_dir("/")
        .env_remove("HOME")
        .env_remove("XDG_RUNTIME_DIR")
        .status()
        .unwrap();
    assert!(status.success());
    let status = Command::new(tool("setpriv").unwrap())
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .arg("pods_reach")
        .current_dir("/")
        .env_remove("HOME")
        .env_remove("XDG_RUNTIME_DIR")
        .status()
        .unwrap();
    assert!(status.success());
}
