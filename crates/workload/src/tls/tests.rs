use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use podcert_pki::CredentialBundle;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;
use crate::fixtures::{
    AnchorFile, CLIENT, Ca, CredentialFile, SERVER, SetClock, hours, serial, start, within,
};
use crate::peer::{self, Presented as _};

/// What a call over a fresh connection saw.
#[derive(Debug)]
struct Seen {
    /// The serial of the server's leaf, as the client saw it.
    server: Vec<u8>,
    /// The client's certificates, as the server saw them.
    client: Vec<CertificateDer<'static>>,
    kind: HandshakeKind,
}

/// One connection with a byte each way; both sides' errors in words.
async fn call(server: &ServerTls, client: &ClientTls) -> Result<Seen, (String, String)> {
    let (near, far) = duplex(16 << 10);
    let serve = async {
        let mut stream = server
            .accept(far)
            .await
            .map_err(|error| error.to_string())?;
        let byte = stream.read_u8().await.map_err(|error| error.to_string())?;
        stream
            .write_u8(byte + 1)
            .await
            .map_err(|error| error.to_string())?;
        stream.shutdown().await.map_err(|error| error.to_string())?;
        Ok::<_, String>(stream.presented().to_vec())
    };
    let ask = async {
        let mut stream = client
            .connect(SERVER, near)
            .await
            .map_err(|error| error.to_string())?;
        stream
            .write_u8(41)
            .await
            .map_err(|error| error.to_string())?;
        let answer = stream.read_u8().await.map_err(|error| error.to_string())?;
        assert_eq!(answer, 42);
        let leaf = stream.presented().first().unwrap().clone();
        let leaf = podcert_pki::Certificate::from_der(leaf.to_vec()).unwrap();
        let kind = stream.get_ref().1.handshake_kind().unwrap();
        Ok::<_, String>((leaf.serial().to_vec(), kind))
    };
    match within(async { tokio::join!(serve, ask) }).await {
        (Ok(client), Ok((server, kind))) => Ok(Seen {
            server,
            client,
            kind,
        }),
        (serve, ask) => {
            let words = |result: Option<String>| result.unwrap_or_default();
            Err((words(serve.err()), words(ask.err())))
        }
    }
}

struct World {
    clock: SetClock,
    server_ca: Ca,
    client_ca: Ca,
    server_credential: CredentialFile,
    server_anchors: AnchorFile,
    client_credential: CredentialFile,
    client_anchors: AnchorFile,
}

impl World {
    async fn new() -> Self {
        let (server_ca, client_ca) = (Ca::new("servers"), Ca::new("clients"));
        Self {
            clock: SetClock::new(),
            server_credential: CredentialFile::new(&server_ca.server()).await,
            server_anchors: AnchorFile::new(&[&client_ca]).await,
            client_credential: CredentialFile::new(&client_ca.client()).await,
            client_anchors: AnchorFile::new(&[&server_ca]).await,
            server_ca,
            client_ca,
        }
    }

    fn server(&self, client_auth: ClientAuth) -> ServerTls {
        ServerTls::new(
            self.server_credential.source.clone(),
            client_auth,
            self.clock.clock(),
        )
    }

    fn mutual(&self) -> ClientAuth {
        ClientAuth::Required(self.server_anchors.source.clone())
    }

    fn anonymous(&self, resumption: Resumption) -> ClientTls {
        ClientTls::new(
            self.client_anchors.source.clone(),
            None,
            resumption,
            self.clock.clock(),
        )
    }

    fn client(&self) -> ClientTls {
        ClientTls::new(
            self.client_anchors.source.clone(),
            Some(self.client_credential.source.clone()),
            Resumption::WithinGeneration,
            self.clock.clock(),
        )
    }
}

#[tokio::test]
async fn the_next_handshake_presents_the_new_certificate() {
    let mut world = World::new().await;
    let (server, client) = (
        world.server(ClientAuth::None),
        world.anonymous(Resumption::Never),
    );
    let before = server.current().unwrap();
    assert!(
        Arc::ptr_eq(&before, &server.current().unwrap()),
        "one configuration per generation"
    );
    call(&server, &client).await.unwrap();

    let newer = world.server_ca.server();
    world.server_credential.replace(&newer).await;
    assert!(!Arc::ptr_eq(&before, &server.current().unwrap()));
    assert_eq!(call(&server, &client).await.unwrap().server, serial(&newer));
}

#[tokio::test]
async fn a_requested_certificate_is_verified_per_request() {
    let world = World::new().await;
    let server = world.server(ClientAuth::Requested);
    let seen = call(&server, &world.anonymous(Resumption::Never))
        .await
        .unwrap();
    assert!(seen.client.is_empty());

    let seen = call(&server, &world.client()).await.unwrap();
    let anchors = world.server_anchors.source.current().unwrap();
    let id = peer::spiffe_id(&seen.client, &anchors, start()).unwrap();
    assert_eq!(id.as_str(), CLIENT);

    // The handshake takes a stranger's certificate; the verification does not.
    let mut stranger = world;
    stranger
        .client_credential
        .replace(&Ca::new("stranger").client())
        .await;
    let seen = call(&server, &stranger.client()).await.unwrap();
    assert!(peer::spiffe_id(&seen.client, &anchors, start()).is_err());
}

#[tokio::test]
async fn a_required_certificate_is_verified_by_the_handshake() {
    let mut world = World::new().await;
    let server = world.server(world.mutual());
    assert_eq!(
        call(&server, &world.client()).await.unwrap().client.len(),
        1
    );

    let (serve, _ask) = call(&server, &world.anonymous(Resumption::Never))
        .await
        .unwrap_err();
    assert!(serve.contains("presented no certificate"), "{serve}");

    world
        .client_credential
        .replace(&Ca::new("stranger").client())
        .await;
    let (serve, ask) = call(&server, &world.client()).await.unwrap_err();
    assert!(
        serve.contains("not issued under any of our trust anchors"),
        "{serve}"
    );
    assert!(ask.contains("UnknownCA"), "{ask}");

    // A certificate for servers alone authenticates no client.
    world
        .client_credential
        .replace(&world.client_ca.server())
        .await;
    call(&server, &world.client()).await.unwrap_err();
}

#[tokio::test]
async fn a_removed_anchor_is_refused_and_nothing_resumes_past_it() {
    let mut world = World::new().await;
    let server = world.server(ClientAuth::None);
    let client = world.anonymous(Resumption::WithinGeneration);
    assert_eq!(
        call(&server, &client).await.unwrap().kind,
        HandshakeKind::Full
    );
    assert_eq!(
        call(&server, &client).await.unwrap().kind,
        HandshakeKind::Resumed
    );

    let other = Ca::new("other");
    world.client_anchors.replace(&[&other]).await;
    let (_serve, ask) = call(&server, &client).await.unwrap_err();
    assert!(
        ask.contains("not issued under any of our trust anchors"),
        "{ask}"
    );

    // The anchor returns: what was resumable before the removal is not.
    world
        .client_anchors
        .replace(&[&other, &world.server_ca])
        .await;
    assert_eq!(
        call(&server, &client).await.unwrap().kind,
        HandshakeKind::Full
    );
}

#[tokio::test]
async fn a_client_whose_ca_was_removed_is_refused_and_cannot_resume() {
    let mut world = World::new().await;
    let (server, client) = (world.server(world.mutual()), world.client());
    for _ in 0..2 {
        assert_eq!(
            call(&server, &client).await.unwrap().kind,
            HandshakeKind::Full
        );
    }
    world.server_anchors.replace(&[&Ca::new("other")]).await;
    let (serve, _ask) = call(&server, &client).await.unwrap_err();
    assert!(
        serve.contains("not issued under any of our trust anchors"),
        "{serve}"
    );
}

#[tokio::test]
async fn the_clock_decides_what_has_expired() {
    let world = World::new().await;
    let (server, client) = (world.server(world.mutual()), world.client());
    call(&server, &client).await.unwrap();
    world.clock.set(start() + hours(25));
    let (_serve, ask) = call(&server, &client).await.unwrap_err();
    assert!(ask.contains("xpired"), "{ask}");
    assert!(!world.server_credential.source.is_ready(start() + hours(25)));
}

#[tokio::test]
async fn another_name_is_refused() {
    let world = World::new().await;
    let (server, client) = (
        world.server(ClientAuth::None),
        world.anonymous(Resumption::Never),
    );
    let (near, far) = duplex(16 << 10);
    let name = "other.demo.svc";
    let (_, ask) =
        within(async { tokio::join!(server.accept(far), client.connect(name, near)) }).await;
    let ask = ask.unwrap_err().to_string();
    assert!(
        ask.contains("other.demo.svc") && ask.contains(SERVER),
        "{ask}"
    );
}

#[tokio::test]
async fn without_files_there_is_no_handshake_but_a_reason() {
    let clock = SetClock::new().clock();
    let token = tokio_util::sync::CancellationToken::new();
    let options = crate::files::Options::default();
    let credential =
        CredentialSource::from_bundle_file("/nonexistent/creds.pem".into(), options, token).await;
    let server = ServerTls::new(credential, ClientAuth::None, clock);
    assert_eq!(
        server.current().unwrap_err().to_string(),
        "server credential not ready: /nonexistent/creds.pem does not exist"
    );
}

/// Calls without pause while every credential and every anchor is replaced: no call may fail. An
/// authority is replaced in the order that works (its anchor out first, then its leaves, then the
/// old anchor away), the two sides interleaved in each possible way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_handshake_fails_while_everything_rotates() {
    let mut world = World::new().await;
    let (server, client) = (
        Arc::new(world.server(world.mutual())),
        Arc::new(world.client()),
    );
    let stop = Arc::new(AtomicBool::new(false));
    let calls: [Arc<AtomicU64>; 3] = Default::default();
    let callers: Vec<_> = calls
        .iter()
        .map(|calls| {
            let (server, client) = (Arc::clone(&server), Arc::clone(&client));
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(calls));
            tokio::spawn(async move {
                let mut serials = std::collections::BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    serials.insert(call(&server, &client).await.expect("no call fails").server);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                serials
            })
        })
        .collect();

    // Interleavings of three steps for the servers' CA with three for the clients'.
    let orders = interleavings(3, 3);
    assert_eq!(orders.len(), 20);
    for order in &orders {
        let (server_ca, client_ca) = (Ca::new("servers"), Ca::new("clients"));
        let (mut server_step, mut client_step) = (0, 0);
        for side in order {
            match side {
                Side::Server => {
                    world.rotate_server(server_step, &server_ca).await;
                    server_step += 1;
                }
                Side::Client => {
                    world.rotate_client(client_step, &client_ca).await;
                    client_step += 1;
                }
            }
            // A call may begin on one side before a step and on the other after it, so the next
            // step waits, as the kubelet's pace does, until each caller has begun and ended one.
            let seen = calls.each_ref().map(|calls| calls.load(Ordering::Relaxed));
            let done = || {
                let now = calls.iter().map(|calls| calls.load(Ordering::Relaxed));
                now.zip(seen).all(|(now, seen)| now >= seen + 2)
            };
            within(async {
                while !done() {
                    assert!(
                        callers.iter().all(|caller| !caller.is_finished()),
                        "a call failed"
                    );
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
        }
        (world.server_ca, world.client_ca) = (server_ca, client_ca);
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(
            caller.await.unwrap().len() > orders.len() / 2,
            "the new certificates were seen"
        );
    }
}

impl World {
    async fn rotate_server(&mut self, step: usize, new: &Ca) {
        match step {
            0 => self.client_anchors.replace(&[&self.server_ca, new]).await,
            1 => self.server_credential.replace(&new.server()).await,
            _ => self.client_anchors.replace(&[new]).await,
        }
    }

    async fn rotate_client(&mut self, step: usize, new: &Ca) {
        match step {
            0 => self.server_anchors.replace(&[&self.client_ca, new]).await,
            1 => self.client_credential.replace(&new.client()).await,
            _ => self.server_anchors.replace(&[new]).await,
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Server,
    Client,
}

fn interleavings(servers: usize, clients: usize) -> Vec<Vec<Side>> {
    if servers == 0 && clients == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    if servers > 0 {
        for mut rest in interleavings(servers - 1, clients) {
            rest.insert(0, Side::Server);
            all.push(rest);
        }
    }
    if clients > 0 {
        for mut rest in interleavings(servers, clients - 1) {
            rest.insert(0, Side::Client);
            all.push(rest);
        }
    }
    all
}

/// A leaf whose end the server cannot see coming is its own affair: it is presented until it is
/// replaced, and readiness tells.
#[tokio::test]
async fn an_expired_credential_is_still_presented() {
    let mut world = World::new().await;
    let short: CredentialBundle = world.server_ca.server_until(start() + hours(1));
    world.server_credential.replace(&short).await;
    world.clock.set(start() + hours(2));
    assert!(world.server(ClientAuth::None).current().is_ok());
    assert!(!world.server_credential.source.is_ready(start() + hours(2)));
}
