//! The sandbox with the controller in it: both examples over days of virtual time, every peer able to verify every
//! other at every look, over refreshes and a restart of the kubelet.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic in a test is its report"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use podcert_authority::{CaId, CaOptions, Pool};
use podcert_controller::{Config, Controller, PoolSource, Signer};
use podcert_issuance::{NamePolicy, Policy, service_dns, spiffe};
use podcert_pki::verify::{Purpose, verify};
use podcert_pki::{CredentialBundle, DnsName, TrustBundle};
use podcert_runtime::{Jitter, SharedClock, TokioClock, api};
use podcert_sandbox::{Door, Images, Options, Sandbox, User};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const EXAMPLES: [&str; 2] = [
    include_str!("../../../deploy/examples/service-dns-unauth-client.yaml"),
    include_str!("../../../deploy/examples/service-dns-spiffe-client.yaml"),
];
const SPIFFE: &str = "service-dns-spiffe-client";
const UNAUTH: &str = "service-dns-unauth-client";
const RBAC: &str = include_str!("../../../deploy/controller/rbac.yaml");
const CONTROLLER: &str = "system:serviceaccount:podcert:podcert-controller";

/// What the pods of an application hold in a volume.
async fn files(
    sandbox: &Sandbox,
    namespace: &str,
    app: &str,
    volume: &str,
    file: &str,
) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(sandbox.admin(), namespace);
    let pods = pods
        .list(&ListParams::default().labels(&format!("app={app}")))
        .await
        .unwrap();
    let read = |pod: &Pod| {
        let folder = sandbox.volume(&pod.uid().unwrap(), volume).unwrap();
        fs::read_to_string(folder.join(file)).unwrap()
    };
    pods.iter().map(read).collect()
}

/// Checks every pair of peers and answers with the public keys in use.
async fn everybody_trusts_everybody(sandbox: &Sandbox, clock: &SharedClock) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    let now = clock.now();
    let mut check = |credentials: &[String], anchors: &[String], purpose: Purpose<'_>| {
        for credential in credentials {
            let credential = CredentialBundle::from_pem(credential).unwrap();
            keys.insert(credential.key().public_key().spki_der().to_vec());
            for anchors in anchors {
                let anchors = TrustBundle::from_pem(anchors).unwrap();
                verify(credential.chain(), &anchors, purpose, now).unwrap();
            }
        }
    };
    let name: DnsName = format!("server.{UNAUTH}.svc").parse().unwrap();
    let servers = files(sandbox, UNAUTH, "server", "service-tls-creds", "creds.pem").await;
    let clients = files(
        sandbox,
        UNAUTH,
        "client",
        "service-dns-trustbundle",
        "trust.pem",
    )
    .await;
    assert_eq!((servers.len(), clients.len()), (1, 1));
    check(&servers, &clients, Purpose::Server(Some(&name)));

    let name: DnsName = format!("server.{SPIFFE}.svc").parse().unwrap();
    let tls = |app, file| files(sandbox, SPIFFE, app, "tls-config", file);
    let servers = tls("server", "service-dns-cred-bundle.pem").await;
    let clients = tls("client", "service-dns-trust-bundle.pem").await;
    assert_eq!((servers.len(), clients.len()), (3, 3));
    check(&servers, &clients, Purpose::Server(Some(&name)));
    let clients = tls("client", "spiffe-cred-bundle.pem").await;
    let servers = tls("server", "spiffe-trust-bundle.pem").await;
    check(&clients, &servers, Purpose::Client);
    for client in clients {
        let chain = CredentialBundle::from_pem(client).unwrap().chain().clone();
        let uris: Vec<_> = chain.leaf().uris().collect();
        assert_eq!(
            uris,
            [format!("spiffe://cluster.local/ns/{SPIFFE}/sa/default")]
        );
    }
    keys
}

#[tokio::test(start_paused = true)]
async fn both_examples_live_for_days_and_over_a_kubelet_restart() {
    let clock: SharedClock = Arc::new(TokioClock::starting_at(common::START.parse().unwrap()));
    let mut options = Options::new(
        clock.clone(),
        Images::new().with("ghcr.io/podcert/podcert", "/none"),
    );
    options.door = Door::Closed;
    options.runner = common::tasks();
    options.seed = Some(3);
    options.timing.lease_renewal = Duration::from_secs(300);
    let sandbox = Sandbox::start(options).await.unwrap();

    sandbox.apply(RBAC).await.unwrap();
    let (shutdown, controller, _pools) = start_controller(&sandbox, &clock);
    for example in EXAMPLES {
        sandbox.apply(example).await.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    let first = everybody_trusts_everybody(&sandbox, &clock).await;
    assert_eq!(first.len(), 7, "a key for each projection");

    sandbox.restart_kubelet().await;
    sleep(Duration::from_secs(10)).await;
    let second = everybody_trusts_everybody(&sandbox, &clock).await;
    assert!(
        second.is_disjoint(&first),
        "a restarted kubelet makes every key anew"
    );

    let mut seen: BTreeSet<Vec<u8>> = &first | &second;
    for _ in 0..(30 * 2) {
        sleep(Duration::from_secs(30 * 60)).await;
        seen.extend(everybody_trusts_everybody(&sandbox, &clock).await);
    }
    // Twice at the start, then about every half-life of 12 h: twice more within 30 h.
    assert!(seen.len() >= 4 * 7, "{} keys in 30 hours", seen.len());
    let report = sandbox.report();
    assert_eq!(
        report.requests,
        seen.len() as u64,
        "every request became a certificate in use"
    );
    assert_eq!(report.container_starts, 8);
    assert!(report.refusals.is_empty());
    let stats = sandbox.api().stats();
    let statuses = stats
        .of_user(CONTROLLER)
        .of_resource("podcertificaterequests/status");
    assert_eq!(
        statuses.writes(),
        report.requests,
        "one write for each certificate"
    );
    assert_eq!(
        stats
            .of_user(CONTROLLER)
            .of_resource("clustertrustbundles")
            .writes(),
        2
    );

    shutdown.cancel();
    controller.await.unwrap();
    sandbox.shutdown().await.unwrap();
}

type Pools = Vec<watch::Sender<Option<Arc<[u8]>>>>;

fn start_controller(
    sandbox: &Sandbox,
    clock: &SharedClock,
) -> (CancellationToken, tokio::task::JoinHandle<()>, Pools) {
    let mut pools = Pools::new();
    let mut signer = |name: &str, names: NamePolicy| {
        let pool = Pool::generate(&CaOptions::new(CaId::new("1")), clock.now()).unwrap();
        let (sender, pool) = watch::channel(Some(Arc::from(pool.to_json().as_slice())));
        pools.push(sender);
        Signer {
            policy: Policy::new(name.parse().unwrap(), names),
            pool: PoolSource::Memory(pool),
        }
    };
    let spiffe = spiffe::Policy::new(
        "cluster.local".parse().unwrap(),
        spiffe::IdTemplate::default(),
    );
    let config = Config::new(vec![
        signer(
            "row-major.net/service-dns",
            NamePolicy::ServiceDns(service_dns::Policy::default()),
        ),
        signer("row-major.net/spiffe", NamePolicy::Spiffe(spiffe.unwrap())),
    ]);
    let connection = api::Connection::from_service(
        sandbox
            .api()
            .as_user(User::service_account("podcert", "podcert-controller")),
        "default",
        api::Options {
            jitter: Jitter::seeded(1),
            ..api::Options::new(clock.clone())
        },
    );
    let controller = Controller::new(
        config,
        connection,
        Jitter::seeded(2),
        &mut Registry::default(),
    )
    .unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            let _ended = controller.run(shutdown).await;
        }
    });
    (shutdown, running, pools)
}
