//! What needs sockets and processes, so the real clock: probes that reach a pod where it really listens, commands in
//! containers, and what containers print.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic in a test is its report"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{ListParams, LogParams};
use podcert_runtime::{SharedClock, SystemClock};
use podcert_sandbox::{
    Door, Exit, Images, Launch, Options, PodRunner, Runner, Sandbox, StopSignal,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// Pods that answer on port 80 with a status, and on port 443 with the same over TLS.
#[derive(Debug)]
struct Servers {
    status: Arc<AtomicU16>,
    tls: Arc<ServerConfig>,
}

impl PodRunner for Servers {
    fn start(
        &self,
        launch: Launch,
        mut stop: StopSignal,
    ) -> Result<BoxFuture<'static, Exit>, String> {
        let plain = UnixListener::bind(launch.map.socket(80)).map_err(|e| e.to_string())?;
        let secure = UnixListener::bind(launch.map.socket(443)).map_err(|e| e.to_string())?;
        let tls = TlsAcceptor::from(self.tls.clone());
        let status = self.status.clone();
        Ok(async move {
            loop {
                tokio::select! {
                    _ = stop.requested() => return Exit::Code(0),
                    Ok((stream, _)) = plain.accept() => {
                        tokio::spawn(answer(stream, status.load(Ordering::SeqCst)));
                    }
                    Ok((stream, _)) = secure.accept() => {
                        let (tls, status) = (tls.clone(), status.load(Ordering::SeqCst));
                        tokio::spawn(async move {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, status).await;
                            }
                        });
                    }
                }
            }
        }
        .boxed())
    }

    fn exec(&self, _: &Launch, _: Vec<String>) -> Result<BoxFuture<'static, Exit>, String> {
        Err("nothing can be run here".to_owned())
    }
}

/// Answers `GET /healthz` of the kubelet with the status, and everything else with 404.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, status: u16) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(1) => request.extend(byte),
            _ => return,
        }
    }
    let text = String::from_utf8(request).unwrap().to_lowercase();
    let known = text.starts_with("get /healthz http/1.1\r\n")
        && text.contains("\r\nuser-agent: kube-probe/")
        && text.contains("\r\nx-test: yes\r\n");
    let status = if known { status } else { 404 };
    let text = format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\nok");
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let mut conditions = conditions.filter(|c| c.type_ == "Ready");
    conditions.any(|c| c.status == "True")
}

async fn until(pods: &Api<Pod>, what: &str, holds: impl Fn(&Pod) -> bool) {
    for _ in 0..200 {
        if holds(&pods.get("web").await.unwrap()) {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("not {what}: {:#?}", pods.get("web").await.unwrap().status);
}

#[tokio::test]
async fn pods_are_asked_where_they_listen() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["somebody.else".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    let status = Arc::new(AtomicU16::new(503));
    let clock: SharedClock = Arc::new(SystemClock);
    let mut options = Options::new(clock, Images::new().with("img", "/none"));
    options.door = Door::Closed;
    options.runner = Runner::Custom(Arc::new(Servers {
        status: status.clone(),
        tls: Arc::new(tls),
    }));
    let sandbox = Sandbox::start(options).await.unwrap();
    let probe = |port: &str, scheme: &str| {
        format!(
            "{{periodSeconds: 1, failureThreshold: 1, httpGet: {{port: {port}, path: healthz, \
             scheme: {scheme}, httpHeaders: [{{name: x-test, value: 'yes'}}]}}}}"
        )
    };
    let yaml = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: web}}, spec: {{containers: [\
           {{name: main, image: img, command: [serve], ports: [{{name: tls, containerPort: 443}}], \
             startupProbe: {{periodSeconds: 1, tcpSocket: {{port: 80}}}}, \
             readinessProbe: {}, livenessProbe: {}}}]}}}}",
        probe("80", "HTTP"),
        probe("tls", "HTTPS").replace("failureThreshold: 1", "failureThreshold: 30"),
    );
    sandbox.apply(&yaml).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(sandbox.admin());
    let started = |pod: &Pod| {
        let statuses = pod
            .status
            .iter()
            .flat_map(|s| s.container_statuses.iter().flatten());
        statuses.into_iter().any(|s| s.started == Some(true))
    };
    until(&pods, "started", started).await;
    sleep(Duration::from_millis(1500)).await;
    assert!(!ready(&pods.get("web").await.unwrap()));
    let events: Api<Event> = Api::all(sandbox.admin());
    let events = events.list(&ListParams::default()).await.unwrap();
    let messages: Vec<_> = events
        .into_iter()
        .filter_map(|event| event.message)
        .collect();
    for expected in [
        "Readiness probe failed: HTTP probe failed with statuscode: 503",
        "Liveness probe failed: HTTP probe failed with statuscode: 503",
    ] {
        assert!(
            messages.iter().any(|m| m == expected),
            "{expected}: {messages:?}"
        );
    }
    status.store(204, Ordering::SeqCst);
    until(&pods, "ready", ready).await;
    sandbox.shutdown().await.unwrap();
}

/// A sandbox whose image is a script that becomes the container's command.
async fn processes() -> (Sandbox, tempfile::TempDir) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    let script = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
    let clock: SharedClock = Arc::new(SystemClock);
    let mut options = Options::new(clock, Images::new().with("img", &program));
    options.door = Door::Closed;
    (Sandbox::start(options).await.unwrap(), folder)
}

#[tokio::test]
async fn commands_in_a_container_decide_whether_it_is_ready() {
    let (sandbox, folder) = processes().await;
    let flag = folder.path().join("flag");
    let yaml = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: web}}, spec: {{\
           terminationGracePeriodSeconds: 0, containers: [\
           {{name: main, image: img, command: [sleep, '1000'], env: [{{name: FLAG, value: '{}'}}], \
             readinessProbe: {{periodSeconds: 1, failureThreshold: 1, \
               exec: {{command: [sh, -c, 'test -e \"$FLAG\"']}}}}}}]}}}}",
        flag.display(),
    );
    sandbox.apply(&yaml).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(sandbox.admin());
    let running = |pod: &Pod| {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        phase == Some("Running")
    };
    until(&pods, "running", running).await;
    sleep(Duration::from_millis(1500)).await;
    assert!(!ready(&pods.get("web").await.unwrap()));
    std::fs::write(&flag, "").unwrap();
    until(&pods, "ready", ready).await;
    std::fs::remove_file(&flag).unwrap();
    until(&pods, "unready", |pod| !ready(pod)).await;
    sandbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn logs_are_read_by_container_and_run_and_followed_to_the_end() {
    let (sandbox, folder) = processes().await;
    let count = folder.path().join("count");
    let script = format!(
        "echo x >> {0}; echo run $(wc -l < {0}); if [ $(wc -l < {0}) = 2 ]; then sleep 1; echo \
         later; fi; exit 1",
        count.display()
    );
    let yaml = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: web}}, spec: {{\
           terminationGracePeriodSeconds: 0, \
           initContainers: [{{name: first, image: img, command: [echo, prepared]}}], \
           containers: [\
             {{name: quiet, image: img, command: [sleep, '1000']}}, \
             {{name: main, image: img, command: [sh, -c, '{script}']}}]}}}}",
    );
    sandbox.apply(&yaml).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(sandbox.admin());
    let restarted = |pod: &Pod| {
        let statuses = pod
            .status
            .iter()
            .flat_map(|s| s.container_statuses.iter().flatten());
        statuses
            .into_iter()
            .any(|s| s.name == "main" && s.restart_count == 1)
    };
    until(&pods, "restarted", restarted).await;
    let read = |container: &str, previous: bool, follow: bool| {
        let params = LogParams {
            container: Some(container.to_owned()),
            previous,
            follow,
            ..LogParams::default()
        };
        let pods = pods.clone();
        async move { pods.logs("web", &params).await.unwrap() }
    };
    assert_eq!(read("first", false, false).await, "prepared\n");
    assert_eq!(read("quiet", false, false).await, "");
    assert_eq!(read("main", true, false).await, "run 1\n");
    assert_eq!(
        read("main", false, true).await,
        "run 2\nlater\n",
        "to the container's end"
    );
    sandbox.shutdown().await.unwrap();
}
