//! Who gets through the sandbox's door, and who does not.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic in a test is its report"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use podcert_runtime::SystemClock;
use podcert_sandbox::{Door, Error, Images, Options, Sandbox, User};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

async fn sandbox() -> Sandbox {
    Sandbox::start(Options::new(Arc::new(SystemClock), Images::new()))
        .await
        .unwrap()
}

/// What a kubeconfig holds.
struct Credential {
    authority: String,
    certificate: String,
    key: String,
}

impl Credential {
    fn read(kubeconfig: &Path) -> Self {
        let text = fs::read_to_string(kubeconfig).unwrap();
        let config: Value = serde_saphyr::from_str(&text).unwrap();
        let decode = |pointer: &str| {
            let text = config.pointer(pointer).and_then(Value::as_str).unwrap();
            String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap()
        };
        assert_eq!(
            config
                .pointer("/clusters/0/cluster/tls-server-name")
                .unwrap(),
            "localhost"
        );
        Self {
            authority: decode("/clusters/0/cluster/certificate-authority-data"),
            certificate: decode("/users/0/user/client-certificate-data"),
            key: decode("/users/0/user/client-key-data"),
        }
    }

    /// A client that trusts the sandbox and, perhaps, shows this credential.
    fn client(&self, shown: Option<&Self>) -> TlsConnector {
        TlsConnector::from(Arc::new(self.config(shown)))
    }

    fn config(&self, shown: Option<&Self>) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap())
            .unwrap();
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match shown {
            None => config.with_no_client_auth(),
            Some(shown) => config
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        }
    }
}

/// Sends `request` as it is and answers with status line and body; `None` if there was no answer.
async fn ask(sandbox: &Sandbox, client: &TlsConnector, request: &str) -> Option<(u16, String)> {
    let address = sandbox.address().unwrap();
    let request = request.replace("{HOST}", &address.to_string());
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = client.connect(name, stream).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // A peer that closes without farewell still may have answered.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let code = answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((code, answer))
}

fn get(host: &str, more: &str) -> String {
    format!("GET /api/v1/namespaces HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n")
}

#[tokio::test]
async fn the_users_of_the_sandbox_get_through_as_themselves() {
    let sandbox = sandbox().await;
    sandbox.apply(READERS).await.unwrap();
    let path = sandbox
        .kubeconfig(&User::service_account("mesh", "controller"))
        .unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let credential = Credential::read(&path);
    let client = credential.client(Some(&credential));
    for host in [
        "{HOST}",
        &format!("localhost:{}", sandbox.address().unwrap().port()),
    ] {
        let (code, body) = ask(&sandbox, &client, &get(host, "")).await.unwrap();
        assert_eq!(code, 200, "{body}");
        assert!(body.contains("NamespaceList"), "{body}");
    }
    // One whose name looks the same in a file's name is another one.
    let other = sandbox
        .kubeconfig(&User::service_account("mesh-controller", "x"))
        .unwrap();
    let alike = sandbox
        .kubeconfig(&User::service_account("mesh", "controller:x"))
        .unwrap();
    assert_ne!(other, alike);
    let again = sandbox.kubeconfig(&User::service_account("mesh", "controller"));
    assert_eq!(again.unwrap(), path);
    let stats = format!("{:?}", sandbox.api().stats());
    assert!(
        stats.contains("system:serviceaccount:mesh:controller"),
        "{stats}"
    );
    sandbox.shutdown().await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn without_a_certificate_of_this_sandbox_there_is_nothing() {
    let (sandbox, other) = (sandbox().await, self::sandbox().await);
    let ours = Credential::read(&sandbox.kubeconfig(&User::admin()).unwrap());
    let theirs = Credential::read(&other.kubeconfig(&User::admin()).unwrap());

    let (code, body) = ask(&sandbox, &ours.client(None), &get("{HOST}", ""))
        .await
        .unwrap();
    assert_eq!(code, 401);
    assert!(
        body.contains("Unauthorized") && !body.contains("NamespaceList"),
        "{body}"
    );
    // A bearer token, a proxy's header or a certificate in a header are nothing.
    let more = "Authorization: Bearer admin\r\nX-Remote-User: admin\r\nImpersonate-User: admin\r\n";
    let (code, _) = ask(&sandbox, &ours.client(None), &get("{HOST}", more))
        .await
        .unwrap();
    assert_eq!(code, 401);

    let answer = ask(&sandbox, &ours.client(Some(&theirs)), &get("{HOST}", "")).await;
    assert_eq!(answer, None, "another CA's certificate ends the handshake");

    let mut plain = TcpStream::connect(sandbox.address().unwrap())
        .await
        .unwrap();
    plain
        .write_all(get("localhost", "").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(
        !answer.starts_with(b"HTTP"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    sandbox.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
}

#[tokio::test]
async fn pods_have_a_door_of_their_own_with_the_same_rules() {
    let sandbox = sandbox().await;
    let path = sandbox.kubeconfig(&User::admin()).unwrap();
    let credential = Credential::read(&path);
    let socket = sandbox.state_dir().join("api.sock");
    for (shown, expected) in [(Some(&credential), 200), (None, 401)] {
        let stream = UnixStream::connect(&socket).await.unwrap();
        let name = ServerName::try_from("kubernetes.default.svc").unwrap();
        let mut stream = credential
            .client(shown)
            .connect(name, stream)
            .await
            .unwrap();
        let request = get("kubernetes.default.svc:443", "");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{answer}"
        );
    }
    sandbox.shutdown().await.unwrap();
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_service_accounts_token_is_as_good_as_a_certificate() {
    let sandbox = sandbox().await;
    let credential = Credential::read(&sandbox.kubeconfig(&User::admin()).unwrap());
    let accounts: Api<ServiceAccount> = Api::namespaced(sandbox.admin(), "default");
    let wanted: TokenRequest =
        serde_json::from_value(serde_json::json!({"spec": {"audiences": []}})).unwrap();
    let token = accounts
        .create_token_request("default", &PostParams::default(), &wanted)
        .await
        .unwrap();
    let token = token.status.unwrap().token.unwrap();
    let stranger = credential.client(None);
    let forged = format!("{token}x");
    for (header, expected) in [
        (format!("Authorization: Bearer {token}\r\n"), 200),
        (format!("Authorization: bearer  {token}\r\n"), 200),
        (format!("Authorization: Basic {token}\r\n"), 401),
        (format!("Authorization: Bearer {forged}\r\n"), 401),
        ("Authorization: Bearer\r\n".to_owned(), 401),
    ] {
        let request =
            format!("GET /api HTTP/1.1\r\nHost: {{HOST}}\r\nConnection: close\r\n{header}\r\n");
        let (code, body) = ask(&sandbox, &stranger, &request).await.unwrap();
        assert_eq!(code, expected, "{header}{body}");
    }
    // It is that account and no more.
    let header = format!("Authorization: Bearer {token}\r\n");
    let (code, body) = ask(&sandbox, &stranger, &get("{HOST}", &header))
        .await
        .unwrap();
    assert_eq!(code, 403, "{body}");
    assert!(
        body.contains("system:serviceaccount:default:default"),
        "{body}"
    );
    sandbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn strangers_cannot_keep_the_owner_out() {
    let sandbox = sandbox().await;
    let credential = Credential::read(&sandbox.kubeconfig(&User::admin()).unwrap());
    let client = credential.client(Some(&credential));
    let address = sandbox.address().unwrap();
    let mut silent = Vec::new();
    for _ in 0..700 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..3 {
        let (code, body) = ask(&sandbox, &client, &get("{HOST}", "")).await.unwrap();
        assert_eq!(code, 200, "{body}");
    }
    sandbox.shutdown().await.unwrap();
}

/// Runs a program as somebody else and answers whether it succeeded, with what it said.
fn as_nobody(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = std::process::Command::new(program)
        .args(arguments)
        .uid(65_534)
        .gid(65_534)
        .current_dir("/")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

#[tokio::test]
async fn another_user_of_the_machine_sees_nothing() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can act as another user");
        return;
    }
    let sandbox = sandbox().await;
    let kubeconfig = sandbox.kubeconfig(&User::admin()).unwrap();
    let state = sandbox.state_dir();
    let (there, said) = as_nobody("cat", &["/etc/passwd"]);
    assert!(there, "nobody is somebody who can read files: {said}");
    let secrets = [kubeconfig.as_path(), state, &state.join("credentials")];
    for path in secrets {
        let path = path.to_str().unwrap();
        for reading in [["cat", path], ["ls", path]] {
            let (read, said) = as_nobody(reading[0], &reading[1..]);
            assert!(!read && said.contains("ermission denied"), "{said}");
        }
    }
    let socket = state.join("api.sock");
    let (found, _) = as_nobody("test", &["-S", socket.to_str().unwrap()]);
    assert!(!found, "the pods' door can be reached");
    sandbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn web_pages_and_foreign_hosts_are_refused_even_with_a_certificate() {
    let sandbox = sandbox().await;
    let credential = Credential::read(&sandbox.kubeconfig(&User::admin()).unwrap());
    let client = credential.client(Some(&credential));
    let port = sandbox.address().unwrap().port();
    let page = get("{HOST}", "Origin: https://evil.example\r\n");
    assert_eq!(ask(&sandbox, &client, &page).await.unwrap().0, 403);
    let page = get("{HOST}", "Origin: null\r\n");
    assert_eq!(ask(&sandbox, &client, &page).await.unwrap().0, 403);
    for host in [
        format!("evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        "127.0.0.1".to_owned(),
        format!("127.0.0.1:{}", port ^ 1),
        format!("localhost@evil.example:{port}"),
        String::new(),
    ] {
        let answer = ask(&sandbox, &client, &get(&host, "")).await;
        let code = answer.map(|(code, _)| code);
        assert!(matches!(code, Some(400 | 421)), "{host:?}: {code:?}");
    }
    let absolute = "GET https://evil.example/api/v1/namespaces HTTP/1.1\r\nHost: {HOST}\r\n\
                    Connection: close\r\n\r\n";
    assert_eq!(ask(&sandbox, &client, absolute).await.unwrap().0, 421);
    let hostless = "GET /api/v1/namespaces HTTP/1.0\r\n\r\n";
    assert!(
        ask(&sandbox, &client, hostless)
            .await
            .is_none_or(|(code, _)| code != 200)
    );
    sandbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn over_http2_the_same_rules_hold() {
    let sandbox = sandbox().await;
    let credential = Credential::read(&sandbox.kubeconfig(&User::admin()).unwrap());
    let address = sandbox.address().unwrap();
    let port = address.port();
    for (shown, authority, origin, expected) in [
        (Some(&credential), format!("127.0.0.1:{port}"), None, 200),
        (None, format!("127.0.0.1:{port}"), None, 401),
        (Some(&credential), format!("evil.example:{port}"), None, 421),
        (
            Some(&credential),
            format!("127.0.0.1:{port}"),
            Some("https://evil.example"),
            403,
        ),
    ] {
        let mut config = credential.config(shown);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        let mut request = http::Request::get(format!("https://{authority}/api/v1/namespaces"));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status(), expected, "{authority} {origin:?}");
        connection.abort();
    }
    sandbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_closed_sandbox_has_no_door_and_a_shut_one_closes_it() {
    let mut options = Options::new(Arc::new(SystemClock), Images::new());
    options.door = Door::Closed;
    let closed = Sandbox::start(options).await.unwrap();
    assert_eq!(closed.address(), None);
    assert!(matches!(
        closed.kubeconfig(&User::admin()),
        Err(Error::Closed)
    ));
    closed.shutdown().await.unwrap();

    let open = sandbox().await;
    let address = open.address().unwrap();
    assert!(address.ip().is_loopback());
    // A connection that says nothing does not keep the sandbox from ending.
    let _idle = TcpStream::connect(address).await.unwrap();
    open.shutdown().await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// The service accounts of namespace `mesh` may list namespaces.
const READERS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: readers}
rules:
- {apiGroups: [''], resources: [namespaces], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: readers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: readers}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:serviceaccounts:mesh'}
";
