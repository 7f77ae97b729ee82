//! `podcert status` and `podcert explain` as people run them, against `podcert sandbox`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the report"
)]

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A sandbox of this test's own.
struct Sandbox {
    home: TempDir,
    kubeconfig: String,
}

impl Sandbox {
    fn up() -> Self {
        // Short: UNIX sockets lie below it.
        let home = tempfile::tempdir_in("/tmp").unwrap();
        let mut sandbox = Self {
            home,
            kubeconfig: String::new(),
        };
        let up = sandbox.run(&["sandbox", "up", "--output=json"]);
        assert_eq!(up.status.code(), Some(0), "{}", text(&up));
        let up: Value = serde_json::from_slice(&up.stdout).unwrap();
        up["kubeconfig"]
            .as_str()
            .unwrap()
            .clone_into(&mut sandbox.kubeconfig);
        sandbox
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_podcert"))
            .args(arguments)
            .env_clear()
            .env("XDG_RUNTIME_DIR", self.home.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    async fn client(&self) -> Client {
        let file = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(file, &options);
        Client::try_from(config.await.unwrap()).unwrap()
    }

    /// What `podcert explain` says of pod shop/web once `is_it` holds, and its exit code.
    fn explained(&self, is_it: impl Fn(&Value) -> bool) -> (Value, Option<i32>) {
        let began = Instant::now();
        loop {
            let output = self.run(&["explain", "pod", "shop/web", "--output=json"]);
            let report: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|_| panic!("{}", text(&output)));
            if is_it(&report) {
                return (report, output.status.code());
            }
            assert!(began.elapsed() < PATIENCE, "still {report:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.run(&["sandbox", "down"]);
    }
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(both).unwrap()
}

async fn create<K>(api: Api<K>, object: Value)
where
    K: kube::Resource + serde::Serialize + serde::de::DeserializeOwned + Clone + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

fn pod() -> Value {
    json!({
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "containers": [{
                "name": "server", "image": "ghcr.io/podcert/podcert:0.1.0",
                "command": ["/podcert", "demo-server", "--listen=0.0.0.0:443",
                            "--server-creds=/tls/creds.pem"],
                "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
            }],
            "volumes": [{"name": "tls", "projected": {"sources": [
                {"podCertificate": {
                    "signerName": "row-major.net/service-dns", "keyType": "ECDSAP256",
                    "credentialBundlePath": "creds.pem",
                }},
                {"clusterTrustBundle": {
                    "signerName": "row-major.net/spiffe", "path": "trust.pem",
                    "labelSelector": {"matchLabels": {"spiffe.row-major.net/canarying": "live"}},
                }},
            ]}}],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_waits_is_explained_until_it_has_its_certificate() {
    let sandbox = Sandbox::up();
    let well = sandbox.run(&["status"]);
    assert_eq!(well.status.code(), Some(0), "{}", text(&well));
    assert!(
        text(&well).contains("nothing wants attention"),
        "{}",
        text(&well)
    );

    let nobody = sandbox.run(&["explain", "pod", "shop/web"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        text(&nobody).contains("there is no pod shop/web"),
        "{}",
        text(&nobody)
    );

    let client = sandbox.client().await;
    let namespace = json!({"metadata": {"name": "shop"}});
    create::<Namespace>(Api::all(client.clone()), namespace).await;
    create::<Pod>(Api::namespaced(client.clone(), "shop"), pod()).await;

    // Before any Event: what the objects say.
    let (report, code) =
        sandbox.explained(|report| report["sources"][0]["reason"] == "NoMatchingService");
    assert_eq!(code, Some(3), "{report:#}");
    assert_eq!(report["sources"][0]["state"], "waiting", "{report:#}");
    assert_eq!(report["sources"][1]["state"], "present", "{report:#}");
    // Then what the controller told.
    let by_event = |report: &Value| {
        let details = report["sources"][0]["details"].as_array().unwrap();
        !details
            .iter()
            .any(|detail| detail.as_str().unwrap().contains("no Event"))
    };
    sandbox.explained(by_event);

    let page = sandbox.run(&["explain", "pod", "web", "--kubeconfig", &sandbox.kubeconfig]);
    assert!(
        text(&page).contains("there is no pod default/web"),
        "{}",
        text(&page)
    );
    let page = sandbox.run(&["explain", "pod", "pod/shop/web"]);
    assert_eq!(page.status.code(), Some(3));
    let page = text(&page);
    for words in [
        "waits",
        "tls: creds.pem, certificate of row-major.net/service-dns",
        "NoMatchingService",
        "-> a Service whose selector matches its labels",
        "there    tls: trust.pem",
    ] {
        assert!(page.contains(words), "no {words:?} in\n{page}");
    }
    let status = sandbox.run(&["status", "--output=json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["waiting"][0]["pod"], "web", "{status:#}");
    assert_eq!(
        status["waiting"][0]["reason"], "NoMatchingService",
        "{status:#}"
    );

    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 443}]},
    });
    create::<Service>(Api::namespaced(client, "shop"), service).await;
    let (report, code) = sandbox.explained(|report| report["sources"][0]["state"] == "present");
    assert_eq!(code, Some(0), "{report:#}");
    let summary = report["sources"][0]["summary"].as_str().unwrap();
    assert!(
        summary.contains("for web.shop.svc, expires in"),
        "{summary}"
    );
    let well = sandbox.run(&["status"]);
    assert_eq!(well.status.code(), Some(0), "{}", text(&well));
}

/// Creates what no type of ours can hold.
async fn post(client: &Client, path: &str, object: &Value) {
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    client.request::<Value>(request).await.unwrap();
}

/// A pod of a tenant's that plays a controller.
fn forged() -> Value {
    json!({
        "metadata": {"name": "evil", "labels": {
            "app.kubernetes.io/name": "podcert", "app.kubernetes.io/component": "controller",
        }},
        "spec": {
            // No node runs it.
            "schedulerName": "nobody",
            "containers": [{
                "name": "x", "image": "x",
                "command": ["x", "controller", "--enable-spiffe-signer=true",
                            "--spiffe-signer-name=evil.example/ids",
                            "--spiffe-trust-domain=evil.example", "--spiffe-ca-pool=/x"],
            }],
        },
    })
}

fn findings(status: &Value) -> Vec<String> {
    let findings = status["findings"].as_array().unwrap().iter();
    findings.map(Value::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_writes_hides_nothing_and_makes_no_controller() {
    let sandbox = Sandbox::up();
    let client = sandbox.client().await;
    let namespace = json!({"metadata": {"name": "shop"}});
    create::<Namespace>(Api::all(client.clone()), namespace).await;
    let status = || {
        let output = sandbox.run(&["status", "--output=json"]);
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        (report, output)
    };
    let (before, _) = status();

    // Dates that are beyond ours.
    let never = "9999-12-31T23:59:59.000000Z";
    let lease = json!({
        "metadata": {"name": "old", "labels": {
            "rendezvous.row-major.net/application": "podcert-controller",
        }},
        "spec": {"holderIdentity": "old", "leaseDurationSeconds": 15, "renewTime": never},
    });
    let leases = "/apis/coordination.k8s.io/v1/namespaces/shop/leases";
    post(&client, leases, &lease).await;
    let event = json!({
        "metadata": {"name": "old"}, "eventTime": never, "reason": "CaPoolRefused", "type": "Warning",
        "action": "x", "note": "\u{202e}delete your pool",
        "reportingController": "podcert.dev/controller", "reportingInstance": "x",
        "regarding": {"kind": "Pod", "namespace": "shop", "name": "evil", "apiVersion": "v1"},
    });
    let events = "/apis/events.k8s.io/v1/namespaces/shop/events";
    post(&client, events, &event).await;
    let (report, output) = status();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert_eq!(report["signers"], before["signers"], "{report:#}");
    let told = findings(&report);
    let says = |told: &[String], words: &[&str]| {
        let mut told = told.iter();
        told.any(|one| words.iter().all(|word| one.contains(word)))
    };
    let unread = ["warning", "one of Events cannot be read", "shop/old"];
    assert!(says(&told, &unread), "{report:#}");
    let ran_out = ["warning", "shop/podcert-controller ran out"];
    assert!(says(&told, &ran_out), "{report:#}");
    assert_eq!(told.len(), 2, "{report:#}");
    assert!(
        !text(&output).contains("delete your pool"),
        "{}",
        text(&output)
    );

    // A pod that plays a controller.
    create::<Pod>(Api::namespaced(client.clone(), "shop"), forged()).await;
    let (report, output) = status();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert_eq!(report["notShown"], json!([]), "{report:#}");
    let played = ["warning", "may not sign", "shop/evil"];
    assert!(says(&findings(&report), &played), "{report:#}");
    assert!(!text(&output).contains("evil.example"), "{}", text(&output));

    // To who may not ask about others' rights it is what it says, which is said.
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let rules = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}]);
    let metadata = json!({"name": "reader"});
    post(
        &client,
        roles,
        &json!({"metadata": metadata, "rules": rules}),
    )
    .await;
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "reader"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "reader"}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    post(&client, bindings, &binding).await;
    let mut kubeconfig =
        serde_json::to_value(Kubeconfig::read_from(&sandbox.kubeconfig).unwrap()).unwrap();
    for user in kubeconfig["users"].as_array_mut().unwrap() {
        user["user"]["as"] = json!("reader");
    }
    let file = sandbox.home.path().join("reader.kubeconfig");
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let output = sandbox.run(&["status", "--output=json", "--kubeconfig", file]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hidden = report["notShown"].as_array().unwrap();
    assert_eq!(hidden.len(), 1, "{report:#}");
    assert_eq!(
        hidden[0]["what"], "whether pods that say they are controllers may sign",
        "{report:#}"
    );
    let why = hidden[0]["why"].as_str().unwrap();
    assert!(why.contains("taken at their word"), "{report:#}");
    assert!(text(&output).contains("evil.example/ids"), "{report:#}");
    let page = sandbox.run(&["status", "--kubeconfig", file]);
    let words = text(&page).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("may sign cannot be looked at"), "{words}");

    // One that may sign is a controller.
    let rules = json!([{
        "apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["sign"],
        "resourceNames": ["evil.example/*"],
    }]);
    let metadata = json!({"name": "evil-signer"});
    post(
        &client,
        roles,
        &json!({"metadata": metadata, "rules": rules}),
    )
    .await;
    let binding = json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "evil-signer"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "shop", "name": "default"}],
    });
    post(&client, bindings, &binding).await;
    let (report, _) = status();
    assert!(!says(&findings(&report), &["may not sign"]), "{report:#}");
    let controllers = report["controllers"].as_array().unwrap();
    assert!(
        controllers
            .iter()
            .any(|one| one["signers"] == json!(["evil.example/ids"])),
        "{report:#}"
    );
}

const PATIENCE: Duration = Duration::from_secs(60);
