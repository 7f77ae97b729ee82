//! `podcert inspect` and `podcert verify` as their users run them: each kind of source, the exit
//! codes, golden output, and never a private key in it.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test a panic is the report"
)]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{PodCertificateRequest, PodCertificateRequestStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Api;
use kube::api::{ListParams, PostParams};
use podcert_authority::{CaId, CaOptions, Pool};
use podcert_pki::ca::{self, CaSpec, SubjectName};
use podcert_pki::{
    Certificate, CertificationRequest, Chain, CredentialBundle, ExtKeyUsages, IssuerContext,
    KeyType, LeafNames, LeafSpec, PrivateKey, Serial, Validity,
};
use podcert_runtime::{Clock as _, SystemClock};
use podcert_sandbox::{Images, Options, Sandbox, User};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};

/// Judged at this time.
const AT: &str = "--at=2026-11-21T12:00:00Z";

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// The files the tests look at, made once, and what must never be told of them.
struct World {
    folder: tempfile::TempDir,
    secrets: Vec<String>,
}

impl World {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }
}

fn fixed_key(name: &str) -> PrivateKey {
    // An Ed25519 key is any 32 bytes; fixed ones keep key identifiers as golden output has them.
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend([*name.as_bytes().first().unwrap(); 32]);
    PrivateKey::from_pkcs8_der(&der).unwrap()
}

fn validity(hours: i64) -> Validity {
    let from = now() - SignedDuration::from_hours(3);
    Validity::new(from, from + SignedDuration::from_hours(hours)).unwrap()
}

fn root(key: &PrivateKey, name: &str) -> Certificate {
    let spec = CaSpec {
        subject: SubjectName::new(name, Some("podcert tests")).unwrap(),
        validity: validity(24 * 365),
        serial: Serial::random().unwrap(),
    };
    ca::new_root(key, &spec).unwrap()
}

fn leaf(
    key: &PrivateKey,
    issuer_key: &PrivateKey,
    issuer: &Certificate,
    names: LeafNames,
) -> Certificate {
    let usages = match names {
        LeafNames::Dns(_) => ExtKeyUsages::SERVER,
        _ => ExtKeyUsages::SERVER_AND_CLIENT,
    };
    let spec = LeafSpec::new(key.public_key().clone(), names, usages, validity(24)).unwrap();
    signed(&spec, issuer_key, issuer)
}

fn signed(spec: &LeafSpec, issuer_key: &PrivateKey, issuer: &Certificate) -> Certificate {
    let context = IssuerContext::new(issuer, issuer_key.signature_algorithm()).unwrap();
    let tbs = context.leaf_tbs(spec, &Serial::random().unwrap()).unwrap();
    let der = tbs
        .assemble(&issuer_key.sign(tbs.to_be_signed()).unwrap())
        .unwrap();
    Certificate::from_der(der).unwrap()
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut world = World {
            folder: tempfile::tempdir().unwrap(),
            secrets: Vec::new(),
        };
        let (a, b, own, other) = (fixed_key("a"), fixed_key("b"), fixed_key("c"), fixed_key("d"));
        let (root_a, root_b) = (root(&a, "root a"), root(&b, "root b"));
        let spiffe = LeafNames::Spiffe("spiffe://cluster.local/ns/shop/sa/web".parse().unwrap());
        let server = LeafNames::Dns(vec!["server.shop.svc".parse().unwrap()]);
        let svid = leaf(&own, &a, &root_a, spiffe);
        let server = leaf(&own, &a, &root_a, server);
        let credential = |key: &PrivateKey| {
            let pem = key.to_pkcs8_pem().unwrap();
            format!("{}{}", *pem, Chain::new(svid.clone(), vec![]).to_pem())
        };
        CredentialBundle::from_pem(credential(&own)).unwrap();
        world.write("root-a.pem", root_a.to_pem());
        world.write("root-a.der", root_a.der());
        world.write("root-b.pem", root_b.to_pem());
        world.write("bundle.pem", root_b.to_pem() + &root_a.to_pem());
        world.write("twice.pem", root_a.to_pem() + &root_a.to_pem());
        world.write("leaf.pem", svid.to_pem());
        world.write("server.pem", server.to_pem());
        world.write("chain.pem", svid.to_pem() + &root_a.to_pem());
        world.write("credential.pem", credential(&own));
        world.write("mixed.pem", credential(&other));
        world.write("renewed.pem", root(&b, "root a").to_pem());
        let options = CaOptions {
            key_type: KeyType::EcdsaP256,
            lifetime: Duration::from_secs(86_400 * 365),
            ..CaOptions::new(CaId::new("1"))
        };
        let pool = Pool::generate(&options, now()).unwrap();
        world.write("pool.json", &*pool.to_json());
        let text = String::from_utf8(pool.to_json().to_vec()).unwrap();
        let mut fields: Value = serde_json::from_str(&text).unwrap();
        let key = fields["CAs"][0]["SigningKeyPKCS8"].as_str().unwrap().to_owned();
        let intermediates = json!([k8s_openapi::ByteString(root_b.der().to_vec())]);
        fields["CAs"][0]["IntermediateCertificatesDER"] = intermediates;
        world.write("unused.json", fields.to_string());
        fields["CAs"][0]["RootCertificateDER"] = json!(k8s_openapi::ByteString(root_b.der().to_vec()));
        world.write("broken.json", fields.to_string());
        let data = json!({"pool": k8s_openapi::ByteString(pool.to_json().to_vec())});
        let secret = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "ca-pool", "namespace": "mesh"}, "data": data});
        world.write("secret.json", secret.to_string());
        world.write("secret.yaml", serde_saphyr::to_string(&secret).unwrap());
        let tls = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"},
            "data": {"tls.key": k8s_openapi::ByteString(own.to_pkcs8_pem().unwrap().as_bytes().to_vec()),
                     "tls.crt": k8s_openapi::ByteString(svid.to_pem().into_bytes())}});
        world.write("tls.json", tls.to_string());
        let bundles = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"kind": "ClusterTrustBundle", "metadata": {"name": "one"}, "spec": {"trustBundle": root_a.to_pem()}},
            {"kind": "ConfigMap", "metadata": {"name": "two", "namespace": "n"},
             "data": {"ca.crt": root_b.to_pem(), "note": "hello"}}]});
        world.write("list.json", bundles.to_string());
        let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "PodCertificateRequest", "metadata": {"name": "r", "namespace": "shop"},
            "spec": {"signerName": "a/b"},
            "status": {"certificateChain": svid.to_pem(), "beginRefreshAt": "2026-11-21T11:00:00Z"}});
        world.write("request.json", request.to_string());
        let x5c = |c: &Certificate| json!([k8s_openapi::ByteString(c.der().to_vec())]);
        let jwks = |second: Value| json!({"spiffe_sequence": 1, "keys": [
            {"use": "x509-svid", "kty": "OKP", "x5c": x5c(&root_a)},
            {"use": "jwt-svid", "kty": "EC", "kid": "k"},
            {"use": "x509-svid", "kty": "OKP", "x5c": second}]}).to_string();
        world.write("spiffe.json", jwks(x5c(&root_b)));
        world.write("spiffe-bad.json", jwks(json!([])));
        world.write("text.txt", "hello");
        world.write("cut.pem", svid.to_pem().get(..200).unwrap());
        for key in [&own, &other] {
            let pem = key.to_pkcs8_pem().unwrap();
            world.secrets.push(pem.lines().nth(1).unwrap().to_owned());
        }
        world.secrets.push(key.get(..40).unwrap().to_owned());
        world.secrets.push(key.get(key.len() - 40..).unwrap().to_owned());
        world
    })
}

fn run_with(arguments: &[&str], stdin: Option<&[u8]>) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_podcert"))
        .args(arguments)
        .env_clear()
        .stdin(if stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if let Some(input) = stdin {
        child.stdin.take().unwrap().write_all(input).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
    for secret in &world().secrets {
        assert!(
            !told.contains(secret.as_str()),
            "{arguments:?} told a private key"
        );
    }
    assert!(!told.contains("PRIVATE KEY-----"), "{arguments:?}: {told}");
    assert!(!told.contains('\x1b'), "colours without a terminal");
    output
}

fn run(arguments: &[&str]) -> Output {
    run_with(arguments, None)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Exit code, and the findings of all items as JSON has them.
fn inspect(file: &str, more: &[&str]) -> (Option<i32>, Vec<String>, Value) {
    let path = world().path(file);
    let arguments = [&["inspect", AT, "--output=json", &path][..], more].concat();
    let output = run(&arguments);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let items = answer["items"].as_array().unwrap();
    let findings = items
        .iter()
        .flat_map(|item| item["findings"].as_array().unwrap());
    let ids = findings
        .map(|finding| finding["id"].as_str().unwrap().to_owned())
        .collect();
    (output.status.code(), ids, answer)
}

#[test]
fn each_kind_of_file() {
    for (file, kinds, findings) in [
        ("leaf.pem", &["certificate"][..], &[][..]),
        ("root-a.der", &["certificate"], &[]),
        ("bundle.pem", &["trust-bundle"], &[]),
        ("twice.pem", &["trust-bundle"], &["DuplicateAnchor"]),
        ("chain.pem", &["chain"], &["RootInChain"]),
        ("credential.pem", &["credential-bundle"], &[]),
        ("mixed.pem", &["credential-bundle"], &["KeyMismatch"]),
        ("pool.json", &["ca"], &[]),
        ("unused.json", &["ca"], &["UnusedIntermediate"]),
        ("broken.json", &["ca"], &["PoolUnusable"]),
        ("secret.json", &["ca"], &[]),
        ("secret.yaml", &["ca"], &[]),
        ("tls.json", &["credential-bundle"], &[]),
        ("list.json", &["trust-bundle", "certificate"], &[]),
        ("request.json", &["chain"], &["RefreshOverdue"]),
        ("spiffe.json", &["trust-bundle"], &[]),
        ("spiffe-bad.json", &["trust-bundle"], &["SpiffeBundleKeys"]),
    ] {
        let (code, found, answer) = inspect(file, &[]);
        assert_eq!(found, findings, "{file}");
        assert_eq!(
            code,
            Some(if findings.is_empty() { 0 } else { 3 }),
            "{file}"
        );
        let items = answer["items"].as_array().unwrap();
        let seen: Vec<_> = items
            .iter()
            .map(|item| item["kind"].as_str().unwrap())
            .collect();
        assert_eq!(seen, kinds, "{file}");
    }
    let (_, _, answer) = inspect("credential.pem", &[]);
    let key = &answer["items"][0]["privateKey"];
    assert_eq!(*key, json!({"keyType": "ED25519", "matchesLeaf": true}));
}

/// A pool as meshtool makes it, and one whose chain does not verify.
#[test]
fn pools_of_meshtool() {
    let path = |name: &str| {
        format!(
            "{}/../authority/testdata/{name}",
            env!("CARGO_MANIFEST_DIR")
        )
    };
    let output = run(&["inspect", AT, "--fail-on=error", &path("ecdsap256.json")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    for finding in ["EmptyCaSubject", "CaDigitalSignature"] {
        assert!(
            text(&output.stdout).contains(finding),
            "{}",
            text(&output.stdout)
        );
    }
    let output = run(&["inspect", AT, "--fail-on=error", &path("forged.json")]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains("PoolUnusable"));
}

#[test]
fn kind_time_and_severity_are_the_callers() {
    assert_eq!(
        inspect("leaf.pem", &["--as=trust-bundle"]).1,
        ["NotCa", "AnchorNotSelfSigned"]
    );
    assert_eq!(inspect("root-a.pem", &["--as=chain"]).1, ["CaAsLeaf"]);
    // The last of a repeated flag counts.
    assert_eq!(inspect("leaf.pem", &["--at=2026-11-23"]).1, ["Expired"]);
    assert_eq!(inspect("leaf.pem", &["--at=2026-11-20"]).1, ["NotYetValid"]);
    assert_eq!(inspect("chain.pem", &["--fail-on=error"]).0, Some(0));
    assert_eq!(inspect("mixed.pem", &["--fail-on=error"]).0, Some(3));
    assert_eq!(inspect("mixed.pem", &["--fail-on=never"]).0, Some(0));
}

#[test]
fn what_cannot_be_read_is_exit_code_1() {
    for file in ["text.txt", "cut.pem", "no-such-file"] {
        let path = world().path(file);
        let output = run(&["inspect", &path]);
        assert_eq!(output.status.code(), Some(1), "{file}");
        assert!(output.stdout.is_empty());
        assert!(
            text(&output.stderr).contains(file),
            "{}",
            text(&output.stderr)
        );
    }
    let output = run_with(
        &["inspect", "-"],
        Some(b"{\"CAs\": [{\"SigningKeyPKCS8\": 7}]}"),
    );
    assert_eq!(output.status.code(), Some(1));
    for wrong in [
        &["inspect"][..],
        &["inspect", "x", "--at=soon"],
        &["verify", "x"],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

/// The page with what is random in it (serial numbers, and so hashes) masked.
fn masked(page: &str) -> String {
    let folder = world().folder.path().to_str().unwrap();
    let mut masked = String::new();
    for line in page.replace(folder, "/x").lines() {
        let line = match line.get(..14) {
            Some(label @ ("  serial      " | "  sha256      ")) => format!("{label}..."),
            _ => line.to_owned(),
        };
        masked.push_str(&line);
        masked.push('\n');
    }
    masked
}

#[test]
fn the_page_for_people() {
    let path = world().path("mixed.pem");
    let output = run_with(&["inspect", AT, "-"], Some(&std::fs::read(path).unwrap()));
    assert_eq!(output.status.code(), Some(3));
    let page = masked(text(&output.stdout));
    assert_eq!(page, include_str!("inspect/credential.txt"));
    for file in ["bundle.pem", "pool.json", "request.json", "mixed.pem"] {
        let path = world().path(file);
        let output = run(&["inspect", AT, &path]);
        for line in text(&output.stdout).lines().skip(1) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn the_json_for_scripts() {
    let (_, _, mut answer) = inspect("mixed.pem", &[]);
    answer["items"][0]["source"] = json!("mixed.pem");
    for field in ["serial", "sha256"] {
        let value = &mut answer["items"][0]["certificates"][0][field];
        assert!(value.as_str().unwrap().len() >= 30);
        *value = json!("...");
    }
    let golden: Value = serde_json::from_str(include_str!("inspect/credential.json")).unwrap();
    assert_eq!(answer, golden, "{answer:#}");
}

fn verify(file: &str, bundle: &str, more: &[&str]) -> (Option<i32>, Value) {
    let (chain, bundle) = (world().path(file), world().path(bundle));
    let arguments = ["verify", AT, "--output=json", &chain, "--bundle", &bundle];
    let output = run(&[&arguments[..], more].concat());
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    (
        output.status.code(),
        serde_json::from_slice(&output.stdout).unwrap(),
    )
}

#[test]
fn verify_says_yes() {
    for (chain, bundle, more) in [
        ("credential.pem", "bundle.pem", &[][..]),
        ("leaf.pem", "bundle.pem", &["--client"]),
        ("leaf.pem", "bundle.pem", &["--server"]),
        ("leaf.pem", "spiffe.json", &["--trust-domain=cluster.local"]),
        (
            "leaf.pem",
            "list.json",
            &["--spiffe-id=spiffe://cluster.local/ns/shop/sa/web"],
        ),
        ("chain.pem", "root-a.der", &[]),
        ("server.pem", "bundle.pem", &["--dns=server.shop.svc"]),
        ("request.json", "root-a.pem", &[]),
        ("tls.json", "root-a.pem", &[]),
    ] {
        let (code, answer) = verify(chain, bundle, more);
        assert_eq!(code, Some(0), "{chain} {bundle} {more:?}: {answer:#}");
        assert_eq!(answer["verified"], true);
    }
    let (_, answer) = verify("server.pem", "bundle.pem", &[]);
    let result = &answer["results"][0];
    assert_eq!(result["purposes"], json!(["server"]));
    assert_eq!(result["path"], json!({"certificates": [1], "anchor": 2}));
    assert_eq!(result["validUntil"], "2026-11-22T09:00:00Z");
}

#[test]
fn verify_says_no_and_why() {
    for (chain, bundle, more, check) in [
        ("leaf.pem", "root-b.pem", &[][..], "no-anchor"),
        ("chain.pem", "root-b.pem", &[], "no-anchor"),
        ("leaf.pem", "renewed.pem", &[], "anchor-key"),
        ("mixed.pem", "bundle.pem", &[], "key"),
        ("leaf.pem", "bundle.pem", &["--at=2026-11-23"], "expired"),
        (
            "leaf.pem",
            "bundle.pem",
            &["--at=2026-11-20"],
            "not-yet-valid",
        ),
        ("server.pem", "bundle.pem", &["--client"], "ext-key-usage"),
        ("server.pem", "bundle.pem", &["--dns=a.b"], "name"),
        ("leaf.pem", "bundle.pem", &["--trust-domain=b.org"], "name"),
        (
            "server.pem",
            "bundle.pem",
            &["--trust-domain=b.org"],
            "spiffe-id",
        ),
        ("root-a.pem", "bundle.pem", &[], "ca-as-leaf"),
    ] {
        let (code, answer) = verify(chain, bundle, more);
        assert_eq!(code, Some(3), "{chain} {bundle} {more:?}");
        let refused = &answer["results"][0]["refused"];
        assert_eq!(refused["check"], check, "{answer:#}");
        assert!(!refused["cure"].as_str().unwrap().is_empty());
    }
    let (chain, bundle) = (world().path("leaf.pem"), world().path("renewed.pem"));
    let output = run(&["verify", AT, &chain, "--bundle", &bundle]);
    assert_eq!(
        text(&output.stdout),
        "no, anchor-key\n  the leaf was issued by CN=root a,O=podcert tests; anchor 1 has this name, but\n  \
         another key\n  -> the bundle is of another generation of the CA: fetch the present one, or\n  the \
         certificate anew\n"
    );
    let bad = run(&["verify", &chain, "--bundle", &world().path("text.txt")]);
    assert_eq!(bad.status.code(), Some(1));
}

/// What a server presents, without trusting it, and without the client certificate it may want.
#[tokio::test(flavor = "multi_thread")]
async fn a_tls_server() {
    let pem = std::fs::read(world().path("credential.pem")).unwrap();
    let credential = CredentialBundle::from_pem(pem).unwrap();
    let key = credential.key().to_pkcs8_der().unwrap().to_vec();
    let chain: Vec<_> = credential
        .chain()
        .certificates()
        .map(|c| CertificateDer::from(c.der().to_vec()))
        .collect();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(std::fs::read(world().path("root-a.der")).unwrap().into())
        .unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    for wants_client in [false, true] {
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = if wants_client {
            config.with_client_cert_verifier(clients.clone().build().unwrap())
        } else {
            config.with_no_client_auth()
        };
        let key = PrivatePkcs8KeyDer::from(key.clone()).into();
        let config = config.with_single_cert(chain.clone(), key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            // Its own fault or not: the client has seen what it came for.
            let _ = acceptor.accept(stream).await;
        });
        let client =
            tokio::task::spawn_blocking(move || run(&["inspect", "--output=json", AT, &url]));
        let output = client.await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["items"][0]["kind"], "chain");
        assert_eq!(
            answer["items"][0]["certificates"][0]["uris"],
            json!(["spiffe://cluster.local/ns/shop/sa/web"])
        );
        server.await.unwrap();
    }
    let closed = run(&["inspect", "https://127.0.0.1:1"]);
    assert_eq!(closed.status.code(), Some(1));
    assert!(
        text(&closed.stderr).contains("cannot connect"),
        "{}",
        text(&closed.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_pod() {
    let images = Images::new().with("img", env!("CARGO_BIN_EXE_podcert"));
    let mut options = Options::new(Arc::new(SystemClock), images);
    options.seed = Some(1);
    let sandbox = Sandbox::start(options).await.unwrap();
    let kubeconfig = sandbox.kubeconfig(&User::admin()).unwrap();
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    let inspect = |source: String| {
        let kubeconfig = kubeconfig.clone();
        tokio::task::spawn_blocking(move || {
            run(&["inspect", "--output=json", &source, &kubeconfig])
        })
    };
    let missing = inspect("pod/default/web".to_owned()).await.unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        text(&missing.stderr).contains("there is no pod"),
        "{}",
        text(&missing.stderr)
    );

    sandbox.apply(DEPLOYMENT).await.unwrap();
    let requests: Api<PodCertificateRequest> = Api::namespaced(sandbox.admin(), "default");
    let mut request = loop {
        let list = requests.list(&ListParams::default()).await.unwrap();
        match list.items.into_iter().next() {
            Some(request) => break request,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let pod = format!("pod/default/{}", request.spec.pod_name);
    let waiting = inspect(pod.clone()).await.unwrap();
    assert_eq!(waiting.status.code(), Some(1));
    assert!(
        text(&waiting.stderr).contains("it waits for its signer"),
        "{}",
        text(&waiting.stderr)
    );

    issue(&mut request);
    let name = request.metadata.name.clone().unwrap();
    requests
        .replace_status(&name, &PostParams::default(), &request)
        .await
        .unwrap();
    let issued = inspect(pod).await.unwrap();
    assert_eq!(issued.status.code(), Some(0), "{}", text(&issued.stderr));
    let answer: Value = serde_json::from_slice(&issued.stdout).unwrap();
    let [item] = answer["items"].as_array().unwrap().as_slice() else {
        panic!("{answer:#}")
    };
    assert_eq!(item["name"], format!("test.example/any, request {name}"));
    assert_eq!(
        item["certificates"][0]["dnsNames"],
        json!(["web.default.svc"])
    );
    assert!(item["refreshAt"].is_string());
    sandbox.shutdown().await.unwrap();
}

/// Signs as a signer does.
fn issue(request: &mut PodCertificateRequest) {
    let csr = CertificationRequest::from_der(&request.spec.stub_pkc_s10_request.0).unwrap();
    let now = Timestamp::from_second(SystemClock.now().as_second()).unwrap();
    let hours = |hours| now + SignedDuration::from_hours(hours);
    let validity = Validity::new(now, hours(24)).unwrap();
    let issuer_key = fixed_key("z");
    let spec = CaSpec {
        subject: SubjectName::new("live", None).unwrap(),
        validity: Validity::new(now, hours(48)).unwrap(),
        serial: Serial::random().unwrap(),
    };
    let issuer = ca::new_root(&issuer_key, &spec).unwrap();
    let names = LeafNames::Dns(vec!["web.default.svc".parse().unwrap()]);
    let spec = LeafSpec::new(
        csr.public_key().clone(),
        names,
        ExtKeyUsages::SERVER,
        validity,
    )
    .unwrap();
    request.status = Some(PodCertificateRequestStatus {
        conditions: Some(vec![Condition {
            type_: "Issued".to_owned(),
            status: "True".to_owned(),
            reason: "Test".to_owned(),
            message: "by the test".to_owned(),
            last_transition_time: Time(now),
            observed_generation: None,
        }]),
        certificate_chain: Some(signed(&spec, &issuer_key, &issuer).to_pem()),
        not_before: Some(Time(validity.not_before())),
        begin_refresh_at: Some(Time(hours(12))),
        not_after: Some(Time(validity.not_after())),
    });
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: main
        image: img:1
        command: [/podcert, demo-server, --listen=:8443, --server-cred-bundle=/run/tls/creds.pem]
        volumeMounts: [{name: tls, mountPath: /run/tls}]
      volumes:
      - name: tls
        projected:
          sources:
          - podCertificate: {signerName: test.example/any, keyType: ED25519, credentialBundlePath: creds.pem}
";
