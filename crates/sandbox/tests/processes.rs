//! Pods as real processes. The programs are shell scripts, and this test binary itself where a script cannot do it.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic in a test is its report"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use podcert_runtime::SystemClock;
use podcert_sandbox::pod_map::{PodMap, Services};
use podcert_sandbox::{Door, Images, LogLine, Options, Sandbox, Stream};
use rustix::process::{Pid, test_kill_process};
use tempfile::TempDir;
use tokio::time::sleep;

/// A sandbox in which the image `img` is the shell script `script`. Its arguments are those of the runner:
/// `sandbox exec-pod --map FILE -- command...`.
async fn sandbox(script: &str) -> (Sandbox, TempDir) {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let program = write_script(folder.path(), script);
    let mut options = Options::new(Arc::new(SystemClock), Images::new().with("img", program));
    options.door = Door::Closed;
    options.state_parent = Some(folder.path().to_path_buf());
    options.timing.restart_backoff = Duration::from_millis(50);
    (Sandbox::start(options).await.unwrap(), folder)
}

fn write_script(folder: &Path, script: &str) -> PathBuf {
    let program = folder.join("program");
    // Written elsewhere and renamed, so that no child of a parallel test holds it open for writing (ETXTBSY).
    let mut file = tempfile::NamedTempFile::new_in(folder).unwrap();
    write!(file, "#!/bin/sh\n{script}\n").unwrap();
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o755))
        .unwrap();
    file.into_temp_path().persist(&program).unwrap();
    program
}

fn deployment(replicas: u32, command: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: main, image: img, command: {command}, env: [{{name: GREETING, value: hello}}],
          volumeMounts: [{{name: scratch, mountPath: /scratch}}]}}
      volumes: [{{name: scratch, emptyDir: {{}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 443}}]}}
"
    )
}

/// The first line that starts with `prefix`, without it.
async fn line(sandbox: &Sandbox, prefix: &str) -> String {
    lines(sandbox, prefix, 1).await.remove(0)
}

async fn lines(sandbox: &Sandbox, prefix: &str, count: usize) -> Vec<String> {
    let mut waited = 0;
    loop {
        let found: Vec<_> = sandbox
            .logs()
            .lines()
            .iter()
            .filter_map(|line| line.text.strip_prefix(prefix).map(str::to_owned))
            .collect();
        if found.len() >= count {
            return found;
        }
        assert!(
            waited < 400,
            "{count} lines {prefix:?} expected: {:#?}",
            sandbox.logs().lines()
        );
        waited += 1;
        sleep(Duration::from_millis(50)).await;
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..400 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not happen in 20 s");
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

fn runs(pid: Pid) -> bool {
    // A process that ended and whose parent has not looked yet is gone for our purposes.
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let zombie =
        state.is_ok_and(|text| text.rsplit(") ").next().is_some_and(|s| s.starts_with('Z')));
    test_kill_process(pid).is_ok() && !zombie
}

async fn pods(sandbox: &Sandbox) -> Vec<Pod> {
    let pods: Api<Pod> = Api::all(sandbox.admin());
    pods.list(&ListParams::default()).await.unwrap().items
}

#[tokio::test]
async fn a_process_gets_its_command_a_clean_environment_and_its_map() {
    let script = r#"
echo "args $*"
echo "map $4"
env | sed 's/^/env /'
echo "oops" >&2
exec sleep 1000"#;
    let (sandbox, folder) = sandbox(script).await;
    sandbox
        .apply(&deployment(1, "[/meshtool, serve, '--name=$(GREETING)']"))
        .await
        .unwrap();
    let map_file = PathBuf::from(line(&sandbox, "map ").await);
    let args = line(&sandbox, "args ").await;
    let expected = format!(
        "sandbox exec-pod --map {} -- /meshtool serve --name=hello",
        map_file.display()
    );
    assert_eq!(args, expected);
    line(&sandbox, "oops").await;
    let lines = sandbox.logs().lines();
    let oops: &LogLine = lines.iter().find(|line| line.text == "oops").unwrap();
    assert_eq!(
        (oops.stream, oops.container.as_str()),
        (Stream::Stderr, "main")
    );

    let mut names: Vec<_> = lines
        .iter()
        .filter_map(|line| line.text.strip_prefix("env ")?.split('=').next())
        .filter(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name))
        // Of the Service, if that was there first.
        .filter(|name| !name.starts_with("WEB_"))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["GREETING", "HOSTNAME", "PATH"],
        "nothing of the sandbox's environment"
    );

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&map_file), 0o600);
    assert_eq!(mode(map_file.parent().unwrap()), 0o700);
    assert_eq!(mode(sandbox.state_dir()), 0o700);
    let map = PodMap::read(&map_file).unwrap();
    assert_eq!(map.pod.name, pods(&sandbox).await[0].name_any());
    assert!(
        map.host_path(Path::new("/scratch/x"))
            .unwrap()
            .starts_with(map_file.parent().unwrap())
    );
    assert!(map.socket(65535).as_os_str().len() < 100);
    sandbox.shutdown().await.unwrap();
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "only the program is left"
    );
}

#[tokio::test]
async fn shutdown_stops_what_obeys_what_does_not_and_what_they_left_behind() {
    let script = r#"
case "$7" in
  polite) trap 'echo "bye"; exit 0' TERM ;;
  stubborn) trap '' TERM ;;
esac
sleep 1000 &
echo "child $!"
echo "pid $$"
while :; do wait; done"#;
    let (sandbox, folder) = sandbox(script).await;
    sandbox
        .apply(&deployment(1, "[run, polite]"))
        .await
        .unwrap();
    let stubborn = deployment(1, "[run, stubborn]").replace("web", "mule");
    sandbox.apply(&stubborn).await.unwrap();
    let mut pids = lines(&sandbox, "pid ", 2).await;
    pids.extend(lines(&sandbox, "child ", 2).await);
    let pids: Vec<Pid> = pids.iter().map(|text| pid(text)).collect();
    assert!(pids.iter().all(|pid| runs(*pid)));
    let logs = sandbox.logs().clone();
    sandbox.shutdown().await.unwrap();
    assert!(
        logs.lines().iter().any(|line| line.text == "bye"),
        "SIGTERM came first"
    );
    for pid in pids {
        until("the end of a process", || !runs(pid)).await;
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_process_that_ends_is_restarted_and_its_code_is_told() {
    let (sandbox, _folder) = sandbox("echo \"pid $$\"; [ -f /nonexistent ] || exit 3").await;
    sandbox.apply(&deployment(1, "[run]")).await.unwrap();
    let all = lines(&sandbox, "pid ", 3).await;
    assert_ne!(all[0], all[1]);
    let mut code = None;
    for _ in 0..400 {
        let [pod] = pods(&sandbox).await.try_into().unwrap();
        let statuses = pod.status.and_then(|status| status.container_statuses);
        let last = statuses.and_then(|all| all.into_iter().next()?.last_state?.terminated);
        code = last.map(|ended| ended.exit_code);
        if code.is_some() {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(code, Some(3));
    sandbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_event_not_a_crash() {
    let (sandbox, folder) = sandbox("exit 0").await;
    fs::remove_file(folder.path().join("program")).unwrap();
    sandbox.apply(&deployment(1, "[run]")).await.unwrap();
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::all(sandbox.admin());
    let mut message = None;
    for _ in 0..400 {
        let all = events.list(&ListParams::default()).await.unwrap();
        message = all
            .into_iter()
            .find(|event| event.reason.as_deref() == Some("Failed"));
        if message.is_some() {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(message.unwrap().message.unwrap().contains("cannot start"));
    sandbox.shutdown().await.unwrap();
}

/// The script that plays [`a_guarded_child`].
fn guarded() -> String {
    let binary = std::env::current_exe().unwrap();
    format!(
        "MAP=\"$4\" exec '{}' --exact a_guarded_child --ignored --nocapture --test-threads=1",
        binary.display(),
    )
}

#[test]
#[ignore = "played by other tests as a pod's process"]
fn a_guarded_child() {
    let map = std::env::var_os("MAP").expect("started as a pod");
    let map = podcert_sandbox::exec_pod::enter(Path::new(&map)).unwrap();
    let socket = UnixListener::bind(map.socket(443)).unwrap();
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let bound = status
        .lines()
        .find(|line| line.starts_with("NoNewPrivs:"))
        .unwrap_or("none")
        .to_owned();
    println!("\nguard {}\n{bound}", std::process::id());
    for stream in socket.incoming() {
        stream.unwrap().write_all(map.pod.name.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn services_resolve_to_the_sockets_of_ready_pods() {
    let (sandbox, _folder) = sandbox(&guarded()).await;
    sandbox.apply(&deployment(2, "[run]")).await.unwrap();
    lines(&sandbox, "guard ", 2).await;
    let file = sandbox.state_dir().join("services.json");
    let sockets = || -> Vec<PathBuf> {
        let text = fs::read(&file).unwrap_or_default();
        let services: Services = serde_json::from_slice(&text).unwrap_or_default();
        services
            .resolve("web.default.svc", 443)
            .unwrap_or_default()
            .to_vec()
    };
    until("two endpoints", || sockets().len() == 2).await;
    let mut answers: Vec<String> = sockets()
        .iter()
        .map(|socket| std::io::read_to_string(shut(UnixStream::connect(socket).unwrap())).unwrap())
        .collect();
    answers.sort_unstable();
    // Each connection is answered once and left open; what comes before its end is the pod's name.
    let mut names: Vec<String> = pods(&sandbox)
        .await
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    names.sort_unstable();
    assert_eq!(answers, names);

    sandbox.apply(&deployment(1, "[run]")).await.unwrap();
    until("one endpoint", || sockets().len() == 1).await;
    sandbox.apply(&deployment(0, "[run]")).await.unwrap();
    until("no endpoint", || sockets().is_empty()).await;
    sandbox.shutdown().await.unwrap();
}

fn shut(stream: UnixStream) -> UnixStream {
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream
}

#[tokio::test]
async fn processes_outlive_their_kubelet_and_give_up_privileges() {
    let (sandbox, _folder) = sandbox(&guarded()).await;
    sandbox.apply(&deployment(1, "[run]")).await.unwrap();
    let child = pid(&line(&sandbox, "guard ").await);
    if cfg!(target_os = "linux") {
        assert_eq!(line(&sandbox, "NoNewPrivs:").await.trim(), "1");
    }
    sandbox.restart_kubelet().await;
    // The new kubelet is at work once a change arrives: a second replica.
    sandbox.apply(&deployment(2, "[run]")).await.unwrap();
    lines(&sandbox, "guard ", 2).await;
    assert!(runs(child));
    assert_eq!(sandbox.report().container_starts, 2);
    sandbox.shutdown().await.unwrap();
    until("the end of the process", || !runs(child)).await;
}

#[tokio::test]
async fn a_sandbox_that_is_dropped_takes_its_processes_and_files_along() {
    let (sandbox, folder) =
        sandbox("echo \"pid $$\"; trap '' TERM; while :; do sleep 1; done").await;
    sandbox.apply(&deployment(2, "[run]")).await.unwrap();
    let pids: Vec<Pid> = lines(&sandbox, "pid ", 2)
        .await
        .iter()
        .map(|text| pid(text))
        .collect();
    drop(sandbox);
    for pid in pids {
        until("the end of a process", || !runs(pid)).await;
    }
    let left = || fs::read_dir(folder.path()).unwrap().count();
    until("the end of the folder", || left() == 1).await;
}

#[tokio::test]
#[ignore = "started, and killed, by another test"]
async fn a_sandbox_to_be_killed() {
    let parent = PathBuf::from(std::env::var_os("STATE_PARENT").expect("started by another test"));
    let program = write_script(&parent, &guarded());
    let mut options = Options::new(Arc::new(SystemClock), Images::new().with("img", program));
    options.state_parent = Some(parent);
    let sandbox = Sandbox::start(options).await.unwrap();
    sandbox.apply(&deployment(2, "[run]")).await.unwrap();
    for child in lines(&sandbox, "guard ", 2).await {
        println!("\nguarded {child}");
    }
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn no_process_outlives_a_sandbox_that_was_killed() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let mut sandbox = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_sandbox_to_be_killed",
            "--ignored",
            "--nocapture",
        ])
        .env("STATE_PARENT", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(sandbox.stdout.take().unwrap());
    let texts = output.lines().map(Result::unwrap);
    let children: Vec<Pid> = texts
        .filter_map(|text| text.strip_prefix("guarded ").map(pid))
        .take(2)
        .collect();
    assert_eq!(children.len(), 2);
    assert!(children.iter().all(|child| runs(*child)));
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    for child in children {
        until("the end of an orphan", || !runs(child)).await;
    }
}
