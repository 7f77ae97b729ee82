use clap::Parser as _;
use tokio::task::JoinHandle;

use super::*;
use crate::commands::https_client::{self, Outcome, Poll};
use crate::host::fixture::{Ca, Pods, clock, within};

#[derive(Debug, clap::Parser)]
struct CommandLine {
    #[command(flatten)]
    args: Args,
}

fn args(words: &[&str]) -> Args {
    CommandLine::try_parse_from([&["demo-server"], words].concat())
        .unwrap()
        .args
}

/// A server in the pod `web`, started with the words of meshtool's manifest.
fn start(pods: &Pods, shutdown: &CancellationToken) -> JoinHandle<Result<ExitCode>> {
    let (host, shutdown) = (pods.host("web"), shutdown.clone());
    let args = args(&[
        "--listen=0.0.0.0:443",
        "--server-creds=/run/tls-config/service-dns-cred-bundle.pem",
        "--enable-spiffe-client-support=true",
        "--spiffe-trust-bundle=/run/tls-config/spiffe-trust-bundle.pem",
    ]);
    tokio::spawn(async move { run(args, &host, clock(), shutdown).await })
}

async fn listening(pods: &Pods) {
    within(async {
        while !pods.socket("web").exists() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    pods.serve(SERVER, &["web"]);
}

/// What the pod `client` sees of a path, once.
async fn fetch(pods: &Pods, path: &str, credential: &str) -> Outcome {
    let mut polls = https_client::tests::polls(pods, path, credential, 1).await;
    polls.pop().map(|poll: Poll| poll.outcome).unwrap()
}

fn body(outcome: Outcome) -> String {
    match outcome {
        Outcome::Ok { body, .. } => body,
        Outcome::Failed { error } => error,
    }
}

struct World {
    pods: Pods,
    server_ca: Ca,
    client_ca: Ca,
}

impl World {
    fn new() -> Self {
        let world = Self {
            pods: Pods::new(),
            server_ca: Ca::new("servers"),
            client_ca: Ca::new("clients"),
        };
        world.write_server();
        world
            .pods
            .write("web", "spiffe-trust-bundle.pem", &world.client_ca.trust());
        world.pods.write(
            "client",
            "service-dns-trust-bundle.pem",
            &world.server_ca.trust(),
        );
        world.write_client(&world.client_ca.svid(CLIENT));
        world
    }

    fn write_server(&self) {
        let credential = self.server_ca.server(SERVER);
        self.pods
            .write("web", "service-dns-cred-bundle.pem", &credential);
    }

    fn write_client(&self, credential: &str) {
        self.pods
            .write("client", "spiffe-cred-bundle.pem", credential);
    }
}

#[test]
fn the_flags_are_meshtools() {
    let all = args(&["--server-creds=/c"]);
    assert_eq!(
        (all.listen.as_str(), all.spiffe_trust_bundle.as_str()),
        ("", "")
    );
    assert!(!all.enable_spiffe_client_support);
    for (word, value) in [("", true), ("=true", true), ("=T", true), ("=0", false)] {
        let flag = format!("--enable-spiffe-client-support{word}");
        assert_eq!(
            args(&["--server-creds=/c", &flag]).enable_spiffe_client_support,
            value
        );
    }
    let bad = CommandLine::try_parse_from(["demo-server"])
        .unwrap_err()
        .to_string();
    assert!(bad.contains("--server-creds <FILE>"), "{bad}");
}

#[tokio::test]
async fn each_client_gets_its_answer() {
    let world = World::new();
    let shutdown = CancellationToken::new();
    let server = start(&world.pods, &shutdown);
    listening(&world.pods).await;

    assert_eq!(body(fetch(&world.pods, "/healthz", "").await), "OK");
    assert_eq!(body(fetch(&world.pods, "/healthz", CREDENTIAL).await), "OK");
    assert_eq!(
        body(fetch(&world.pods, "/spiffe-echo", CREDENTIAL).await),
        format!("Client Identity: {CLIENT}")
    );
    let required = "non-2xx status 401 \"SPIFFE client certificate authentication required\"";
    assert_eq!(body(fetch(&world.pods, "/spiffe-echo", "").await), required);
    world.write_client(&Ca::new("stranger").svid(CLIENT));
    assert_eq!(
        body(fetch(&world.pods, "/spiffe-echo", CREDENTIAL).await),
        required
    );
    world.write_client(&world.client_ca.server("client.demo.svc"));
    assert_eq!(
        body(fetch(&world.pods, "/spiffe-echo", CREDENTIAL).await),
        "non-2xx status 401 \"Malformed SPIFFE certificate\""
    );
    assert_eq!(
        body(fetch(&world.pods, "/nowhere", "").await),
        "non-2xx status 404 \"404 page not found\""
    );

    shutdown.cancel();
    assert_eq!(within(server).await.unwrap().unwrap(), ExitCode::SUCCESS);
    assert!(!world.pods.socket("web").exists());
}

#[tokio::test]
async fn new_files_serve_without_a_restart() {
    let world = World::new();
    let shutdown = CancellationToken::new();
    let server = start(&world.pods, &shutdown);
    listening(&world.pods).await;
    let serial = |outcome: Outcome| match outcome {
        Outcome::Ok { serial, .. } => serial,
        Outcome::Failed { error } => panic!("{error}"),
    };
    let first = serial(fetch(&world.pods, "/spiffe-echo", CREDENTIAL).await);
    world.write_server();
    within(async {
        while serial(fetch(&world.pods, "/spiffe-echo", CREDENTIAL).await) == first {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;

    // The clients' authority is replaced: the old one's are refused, the new one's known.
    let newer = Ca::new("newer clients");
    world
        .pods
        .write("web", "spiffe-trust-bundle.pem", &newer.trust());
    within(async {
        while matches!(
            fetch(&world.pods, "/spiffe-echo", CREDENTIAL).await,
            Outcome::Ok { .. }
        ) {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    world.write_client(&newer.svid(CLIENT));
    serial(fetch(&world.pods, "/spiffe-echo", CREDENTIAL).await);

    // A bad bundle keeps the last good one.
    world
        .pods
        .write("web", "spiffe-trust-bundle.pem", "-----BEGIN CERT");
    sleep(Duration::from_millis(300)).await;
    serial(fetch(&world.pods, "/spiffe-echo", CREDENTIAL).await);
    shutdown.cancel();
    within(server).await.unwrap().unwrap();
}

#[tokio::test]
async fn it_waits_for_its_credential_and_serves_without_a_bundle() {
    let pods = Pods::new();
    let (server_ca, client_ca) = (Ca::new("servers"), Ca::new("clients"));
    pods.write("client", "service-dns-trust-bundle.pem", &server_ca.trust());
    pods.write("client", "spiffe-cred-bundle.pem", &client_ca.svid(CLIENT));
    let shutdown = CancellationToken::new();
    let server = start(&pods, &shutdown);
    sleep(Duration::from_millis(100)).await;
    assert!(!pods.socket("web").exists() && !server.is_finished());
    pods.write(
        "web",
        "service-dns-cred-bundle.pem",
        &server_ca.server(SERVER),
    );
    listening(&pods).await;
    assert_eq!(body(fetch(&pods, "/healthz", "").await), "OK");
    assert_eq!(
        body(fetch(&pods, "/spiffe-echo", CREDENTIAL).await),
        "non-2xx status 500 \"Internal Error\""
    );
    shutdown.cancel();
    within(server).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_signal_ends_the_wait_for_a_credential() {
    let pods = Pods::new();
    let shutdown = CancellationToken::new();
    let server = start(&pods, &shutdown);
    shutdown.cancel();
    assert_eq!(within(server).await.unwrap().unwrap(), ExitCode::SUCCESS);
}

#[tokio::test]
async fn a_client_that_says_nothing_delays_no_shutdown_beyond_the_drain() {
    let world = World::new();
    let shutdown = CancellationToken::new();
    let server = start(&world.pods, &shutdown);
    listening(&world.pods).await;
    let client = world.pods.host("client");
    let _silent = client.connect(SERVER, 443).await.unwrap();
    assert_eq!(
        body(fetch(&world.pods, "/healthz", "").await),
        "OK",
        "others are served"
    );
    shutdown.cancel();
    assert_eq!(within(server).await.unwrap().unwrap(), ExitCode::SUCCESS);
}

#[test]
fn other_methods_and_paths_are_refused() {
    let answer = |method: &str, path: &str| {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap();
        let presented: &[Vec<u8>] = &[];
        answer::answer(&request, presented, None, crate::host::fixture::start())
    };
    assert_eq!(answer("GET", "/healthz").status(), 200);
    assert_eq!(answer("HEAD", "/healthz?x=1").status(), 200);
    assert_eq!(answer("GET", "/").status(), 404);
    let refused = answer("POST", "/healthz");
    assert_eq!(refused.status(), 405);
    assert_eq!(refused.headers()["allow"], "GET, HEAD");
    assert_eq!(answer("DELETE", "/spiffe-echo").status(), 405);
}

const SERVER: &str = "server.demo.svc";
const CLIENT: &str = "spiffe://cluster.local/ns/demo/sa/default";
const CREDENTIAL: &str = "/run/tls-config/spiffe-cred-bundle.pem";
