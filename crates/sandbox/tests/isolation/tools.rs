//! A sandbox with programs of this machine as images, and what is asked of it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt};
use podcert_runtime::SystemClock;
use podcert_sandbox::pod_map::Services;
use podcert_sandbox::{Door, Images, Options, Sandbox, exec_pod};
use tempfile::TempDir;
use tokio::time::sleep;

/// A program of this machine by its name.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    // Not along PATH: what lies in a home folder may be a script that needs more of that folder than a pod has.
    ["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}

/// Whether the programs are there. Without them tests are left out, unless the caller demands them.
pub(crate) fn needed(names: &[&str]) -> bool {
    let missing: Vec<_> = names.iter().filter(|name| tool(name).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    let demanded = std::env::var_os("PODCERT_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!demanded, "{missing:?} not installed");
    println!("left out: {missing:?} not installed");
    false
}

/// A pod of one container, to which more of its spec can be added.
pub(crate) fn pod(name: &str, app: &str, image: &str, command: &[&str]) -> String {
    let command = serde_json::to_string(command).unwrap();
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {app}}}}}
spec:
  terminationGracePeriodSeconds: 5
  restartPolicy: Never
  containers:
  - name: main
    image: {image}
    command: {command}"
    )
}

/// A Service for the pods of the app of that name.
pub(crate) fn service(app: &str, port: u16) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {app}}}
spec: {{selector: {{app: {app}}}, ports: [{{port: {port}}}]}}"
    )
}

/// A sandbox.
pub(crate) struct Cluster {
    sandbox: Sandbox,
    _folder: Option<TempDir>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let cluster = Self::start_in(folder.path()).await;
        Self {
            _folder: Some(folder),
            ..cluster
        }
    }

    /// One with a listener.
    pub(crate) async fn start_with_door() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let cluster = Self::open(folder.path(), Door::Loopback).await;
        Self {
            _folder: Some(folder),
            ..cluster
        }
    }

    pub(crate) async fn start_in(parent: &Path) -> Self {
        Self::open(parent, Door::Closed).await
    }

    async fn open(parent: &Path, door: Door) -> Self {
        let us = std::env::current_exe().unwrap();
        let mut images = Images::new().with("podcert", &us);
        for (image, name) in [("python", "python3"), ("sh", "sh"), ("curl", "curl")] {
            images = images.with_isolated(image, tool(name).unwrap(), &us);
        }
        let mut options = Options::new(Arc::new(SystemClock), images);
        options.door = door;
        options.state_parent = Some(parent.to_owned());
        Self {
            sandbox: Sandbox::start(options).await.unwrap(),
            _folder: None,
        }
    }

    pub(crate) async fn shutdown(self) {
        self.sandbox.shutdown().await.unwrap();
    }

    pub(crate) fn admin(&self) -> Client {
        self.sandbox.admin()
    }

    pub(crate) fn state_dir(&self) -> &Path {
        self.sandbox.state_dir()
    }

    pub(crate) async fn apply(&self, yaml: &str) {
        self.sandbox.apply(yaml).await.unwrap();
    }

    /// What the pod's first line with the prefix says after it.
    pub(crate) async fn line(&self, pod: &str, prefix: &str) -> String {
        self.lines(pod, prefix, 1).await.remove(0)
    }

    pub(crate) async fn lines(&self, pod: &str, prefix: &str, count: usize) -> Vec<String> {
        for _ in 0..PATIENCE {
            let logs = self.sandbox.logs().lines();
            let of = logs.iter().filter(|line| line.pod == pod);
            let found = of.filter_map(|line| line.text.strip_prefix(prefix).map(str::to_owned));
            let found: Vec<_> = found.collect();
            if found.len() >= count {
                return found;
            }
            sleep(TICK).await;
        }
        let logs = self.sandbox.logs().lines();
        panic!("no line {prefix:?} of {pod}: {logs:#?}");
    }

    pub(crate) async fn pod(&self, name: &str) -> Pod {
        let pods: Api<Pod> = Api::default_namespaced(self.admin());
        pods.get(name).await.unwrap()
    }

    pub(crate) async fn address(&self, name: &str) -> String {
        for _ in 0..PATIENCE {
            let status = self.pod(name).await.status;
            if let Some(address) = status.and_then(|status| status.pod_ip) {
                return address;
            }
            sleep(TICK).await;
        }
        panic!("{name} has no address");
    }

    pub(crate) async fn volume(&self, pod: &str, volume: &str) -> PathBuf {
        let uid = self.pod(pod).await.uid().unwrap();
        for _ in 0..PATIENCE {
            if let Some(path) = self.sandbox.volume(&uid, volume) {
                return path;
            }
            sleep(TICK).await;
        }
        panic!("{pod} has no volume {volume}");
    }

    /// How the pod's container ended.
    pub(crate) async fn exit_code(&self, name: &str) -> i32 {
        for _ in 0..PATIENCE {
            let statuses = self
                .pod(name)
                .await
                .status
                .and_then(|s| s.container_statuses);
            let state = statuses.and_then(|all| all.into_iter().next()?.state);
            if let Some(ended) = state.and_then(|state| state.terminated) {
                return ended.exit_code;
            }
            sleep(TICK).await;
        }
        panic!("{name} does not end");
    }

    pub(crate) async fn is_ready(&self, name: &str) -> bool {
        let conditions = self.pod(name).await.status.and_then(|s| s.conditions);
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }

    /// Waits until the startup probe has succeeded.
    pub(crate) async fn until_started(&self, name: &str) {
        for _ in 0..PATIENCE {
            let statuses = self.pod(name).await.status;
            let statuses = statuses.and_then(|status| status.container_statuses);
            if statuses.is_some_and(|all| all.iter().all(|one| one.started == Some(true))) {
                return;
            }
            sleep(TICK).await;
        }
        panic!("{name} does not start");
    }

    pub(crate) async fn until_endpoints(&self, host: &str, port: u16, count: usize) {
        let file = self.state_dir().join("services.json");
        until("endpoints", || {
            let text = fs::read(&file).unwrap_or_default();
            let services: Services = serde_json::from_slice(&text).unwrap_or_default();
            services
                .resolve(host, port)
                .is_some_and(|s| s.len() == count)
        })
        .await;
    }
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..PATIENCE {
        if holds() {
            return;
        }
        sleep(TICK).await;
    }
    panic!("{what} did not happen");
}

/// A number of seconds that no other process sleeps.
pub(crate) fn mark() -> String {
    format!("98{}.25", std::process::id())
}

/// The command lines of the living processes of this machine that hold the word, but for this one's.
pub(crate) fn processes(word: &str) -> Vec<String> {
    let ids = fs::read_dir("/proc").unwrap().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| *id != std::process::id())
        .filter_map(|id| {
            let line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(word).then_some(format!("{id}: {line}"))
        })
        .collect()
}

/// A program that knows the sandbox: asks `host` at port 80 and prints what it says.
pub(crate) fn get(map: &Path, host: &str) -> ExitCode {
    let map = exec_pod::enter(map).unwrap();
    let services = map.services().unwrap();
    let name = if host.contains('.') {
        host.to_owned()
    } else {
        format!("{host}.{}", map.pod.namespace)
    };
    let Some([socket, ..]) = services.resolve(&name, 80) else {
        println!("got no {host}");
        return ExitCode::SUCCESS;
    };
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .write_all(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    println!("got {}", answer.lines().last().unwrap());
    ExitCode::SUCCESS
}

const TICK: Duration = Duration::from_millis(50);
/// Ticks until something that should happen is given up: 30 s.
const PATIENCE: u32 = 600;
