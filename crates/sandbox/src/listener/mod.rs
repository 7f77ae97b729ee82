//! The door to the sandbox for other processes: TLS on a port of the loopback interface that the system picks.
//!
//! Every process of every user of the machine can reach that port, and so can a web page in a browser. So: nobody is
//! anybody without a client certificate of this sandbox, which lies in a 0600 file in the sandbox's 0700 folder, or a
//! service account's token in a pod's volume (401); a request that carries an `Origin` is a web page's and is refused; so is one whose host is not the loopback address
//! it was sent to, since that is how a foreign name that resolves to 127.0.0.1 looks.
//!
//! Pods come through a second door, the UNIX socket [`SOCKET`] in the sandbox's folder, with the same TLS: there the
//! folder's mode keeps others out, and hosts may be called what the cluster calls them.
//!
//! Its certificates follow the system's clock, whatever the sandbox's shows: so do kubectl and every Kubernetes client.

mod credentials;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use podcert_apiserver::{ApiServer, User};
use podcert_runtime::{Clock, SystemClock};
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use zeroize::Zeroizing;

use self::credentials::Ca;
use crate::state_dir::{make_private, write_private};

/// A listener that serves until it is stopped.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    ca: Ca,
    folder: PathBuf,
    /// Who has a kubeconfig; its file is named after the place here.
    users: Mutex<Vec<User>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listener {
    /// Opens the port. Credentials will lie in `<state>/credentials`.
    pub(crate) async fn open(api: ApiServer, state: &Path) -> anyhow::Result<Self> {
        let folder = state.join("credentials");
        make_private(&folder)?;
        let ca = Ca::create(SystemClock.now())?;
        let tls = TlsAcceptor::from(tls(&ca)?);
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        let inside = UnixListener::bind(state.join(SOCKET))?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let hall = |port| Hall {
            tls: tls.clone(),
            door: Arc::new(Door {
                api: api.clone(),
                port,
            }),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(hall(Some(address.port())).receive(async move || Ok(socket.accept().await?.0)));
        tasks.spawn(hall(None).receive(async move || Ok(inside.accept().await?.0)));
        Ok(Self {
            address,
            ca,
            folder,
            users: Mutex::default(),
            stop,
            tasks,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate, as PEM, by which callers verify it.
    pub(crate) fn ca(&self) -> String {
        self.ca.certificate().to_pem()
    }

    /// A kubeconfig for the user, with a client certificate of their own; written 0600.
    pub(crate) fn kubeconfig(&self, user: &User) -> anyhow::Result<PathBuf> {
        let credential = self.ca.client(user)?;
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        let key = credential.key.to_pkcs8_pem()?;
        let (authority, certificate, key) = (
            encode(&self.ca.certificate().to_pem()),
            encode(&credential.certificate.to_pem()),
            Zeroizing::new(encode(&key)),
        );
        // Base64 and addresses are plain scalars: nothing here needs YAML's quoting.
        let text = Zeroizing::new(format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: sandbox\n\
             clusters:\n- name: sandbox\n  cluster:\n    server: https://{address}\n    \
             tls-server-name: localhost\n    certificate-authority-data: {authority}\n\
             contexts:\n- name: sandbox\n  context: {{cluster: sandbox, user: sandbox}}\n\
             users:\n- name: sandbox\n  user:\n    client-certificate-data: {certificate}\n    \
             client-key-data: {key}\n",
            address = self.address,
            key = *key,
        ));
        let name: String = user
            .name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '-'
                }
            })
            .take(100)
            .collect();
        // Other users may look the same there, and must not get each other's.
        let number = {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let known = users.iter().position(|known| known == user);
            known.unwrap_or_else(|| {
                users.push(user.clone());
                users.len() - 1
            })
        };
        let path = self.folder.join(format!("{number}-{name}.kubeconfig"));
        write_private(&path, text.as_bytes())?;
        Ok(path)
    }

    /// Closes the port and every connection.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What stands between a connection and the API server.
#[derive(Debug)]
struct Door {
    api: ApiServer,
    /// The port of the loopback interface; none for the pods' door, which no web page finds.
    port: Option<u16>,
}

type Answer = Response<Either<podcert_apiserver::ApiBody, Full<Bytes>>>;

impl Door {
    /// Answers one request of a connection whose certificate, if any, names `shown`.
    async fn answer(
        &self,
        shown: Option<&User>,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Answer {
        if request.headers().contains_key(ORIGIN) {
            return refusal(StatusCode::FORBIDDEN, "web pages may not call the sandbox");
        }
        if !self.is_meant(&request) {
            return refusal(
                StatusCode::MISDIRECTED_REQUEST,
                "the sandbox is not that host",
            );
        }
        // As upstream: the certificate first, then the token.
        let user = match shown {
            Some(user) => Some(user.clone()),
            None => bearer(&request).and_then(|token| self.api.authenticate(token)),
        };
        let Some(user) = user else {
            return refusal(
                StatusCode::UNAUTHORIZED,
                "a client certificate or a service account's token is required",
            );
        };
        caller.is_somebody();
        match self.api.as_user(user).oneshot(request).await {
            Ok(response) => response.map(Either::Left),
            Err(never) => match never {},
        }
    }

    /// Whether every host the request names is this listener.
    fn is_meant(&self, request: &Request<Incoming>) -> bool {
        let Some(port) = self.port else {
            return true;
        };
        let ours = |host: &str| {
            let (name, named) = host.rsplit_once(':').unwrap_or((host, ""));
            (name == "127.0.0.1" || name.eq_ignore_ascii_case("localhost"))
                && named.parse() == Ok(port)
        };
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        let hosts = request
            .headers()
            .get_all(HOST)
            .iter()
            .map(|host| host.to_str().unwrap_or(""));
        let mut named = hosts.chain(authority).peekable();
        named.peek().is_some() && named.all(ours)
    }
}

/// Whether anybody has come over a connection yet.
#[derive(Debug, Default)]
struct Caller {
    known: AtomicBool,
    /// Its place is needed.
    sent_away: CancellationToken,
}

impl Caller {
    fn is_somebody(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1).
fn bearer(request: &Request<Incoming>) -> Option<&str> {
    let (scheme, token) = request
        .headers()
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

fn refusal(code: StatusCode, message: &str) -> Answer {
    let status = serde_json::json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": match code {
            StatusCode::UNAUTHORIZED => "Unauthorized",
            StatusCode::FORBIDDEN => "Forbidden",
            // No reason of Kubernetes' says that a host is another one.
            _ => "",
        },
        "code": code.as_u16(),
    });
    let mut response = Response::new(Either::Right(Full::from(status.to_string())));
    *response.status_mut() = code;
    response.headers_mut().insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

/// TLS as the listener speaks it: its own certificate, and client certificates of its own CA or none.
fn tls(ca: &Ca) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca.certificate().der().to_vec()))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let (certificate, key) = ca.server(NAMES)?.into_rustls()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Where connections of one door are received.
struct Hall {
    tls: TlsAcceptor,
    door: Arc<Door>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Hall {
    async fn receive<S>(self, accept: impl AsyncFn() -> std::io::Result<S>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut strangers = VecDeque::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = accept() => accepted,
            };
            let Ok(stream) = accepted else {
                // Out of file descriptors, most likely: give others the time to close theirs.
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            };
            strangers
                .retain(|caller: &Arc<Caller>| Arc::strong_count(caller) > 1 && !caller.is_known());
            // When the house is full, whoever has been a stranger for longest goes: any user of the machine can open
            // connections and say nothing, and must not keep the owner out.
            let place = match self.places.clone().try_acquire_owned() {
                Ok(place) => place,
                Err(_full) => {
                    let Some(oldest) = strangers.pop_front() else {
                        continue;
                    };
                    oldest.sent_away.cancel();
                    let Ok(Ok(place)) =
                        timeout(MAKING_ROOM, self.places.clone().acquire_owned()).await
                    else {
                        continue;
                    };
                    place
                }
            };
            let caller = Arc::new(Caller::default());
            strangers.push_back(caller.clone());
            let (tls, door, stop) = (self.tls.clone(), self.door.clone(), self.stop.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = caller.sent_away.cancelled() => {}
                    () = serve(stream, tls, door, caller.clone()) => {}
                }
                drop(place);
            });
        }
    }
}

async fn serve<S>(stream: S, tls: TlsAcceptor, door: Arc<Door>, caller: Arc<Caller>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await else {
        return;
    };
    let presented = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    // A certificate that TLS has verified and that names nobody is as good as none.
    let user = presented.and_then(|certificate| credentials::user(certificate).ok());
    if user.is_some() {
        caller.is_somebody();
    }
    let service = {
        let caller = caller.clone();
        service_fn(move |request| {
            let (door, user, caller) = (door.clone(), user.clone(), caller.clone());
            async move {
                let answer = door.answer(user.as_ref(), &caller, request).await;
                Ok::<_, std::convert::Infallible>(answer)
            }
        })
    };
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE);
    http.http2().timer(TokioTimer::new());
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // There are only so many places, and every local user can take one: who is nobody may hear that, not stay.
    let served = match timeout(HANDSHAKE, connection.as_mut()).await {
        Ok(served) => served,
        Err(_elapsed) if caller.is_known() => connection.await,
        Err(_elapsed) => return,
    };
    if let Err(error) = served {
        tracing::debug!(error, "a connection to the sandbox ended early");
    }
}

/// The door of the pods, in the sandbox's folder.
pub(crate) const SOCKET: &str = "api.sock";
/// What callers may take the server for: kubectl on the port, and pods.
const NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
const CONNECTIONS: usize = 512;
/// How long it may take until who was sent away has gone.
const MAKING_ROOM: Duration = Duration::from_millis(500);
const HANDSHAKE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use rustls::ClientConfig;
    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use super::*;

    /// A connection that is made and then says nothing.
    async fn silent(user: Option<&User>) -> TlsStream<tokio::io::DuplexStream> {
        let ca = Ca::create(SystemClock.now()).unwrap();
        let mut roots = RootCertStore::empty();
        let anchor = CertificateDer::from(ca.certificate().der().to_vec());
        roots.add(anchor).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots);
        let client = match user {
            Some(user) => {
                let (certificate, key) = ca.client(user).unwrap().into_rustls().unwrap();
                client
                    .with_client_auth_cert(vec![certificate], key)
                    .unwrap()
            }
            None => client.with_no_client_auth(),
        };
        let door = Arc::new(Door {
            api: ApiServer::builder().build(),
            port: Some(1),
        });
        let (near, far) = duplex(64 * 1024);
        tokio::spawn(serve(
            near,
            TlsAcceptor::from(tls(&ca).unwrap()),
            door,
            Arc::default(),
        ));
        TlsConnector::from(Arc::new(client))
            .connect(ServerName::try_from("localhost").unwrap(), far)
            .await
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_shows_no_certificate_cannot_hold_a_place() {
        let mut stranger = silent(None).await;
        let ended = timeout(2 * HANDSHAKE, stranger.read(&mut [0; 64])).await;
        assert!(!matches!(ended, Ok(Ok(1..)) | Err(_)), "{ended:?}");

        let mut known = silent(Some(&User::admin())).await;
        for _ in 0..6 {
            tokio::time::sleep(HANDSHAKE / 2).await;
            let ask = b"GET /version HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n";
            known.write_all(ask).await.unwrap();
            let mut answer = [0; 4096];
            let read = timeout(HANDSHAKE, known.read(&mut answer)).await;
            assert!(matches!(read, Ok(Ok(1..))), "{read:?}");
            assert!(answer.starts_with(b"HTTP/1.1 200"));
        }
    }
}
