use clap::Parser as _;

use super::*;
use crate::commands::demo_server;
use crate::host::fixture::{Ca, Pods, clock, within};

#[derive(Debug, clap::Parser)]
struct CommandLine {
    #[command(flatten)]
    args: Args,
}

fn parse(words: &[&str]) -> Result<Args, clap::Error> {
    CommandLine::try_parse_from([&["https-client"], words].concat()).map(|line| line.args)
}

async fn collect(words: &[&str], host: &Host) -> Vec<Poll> {
    let mut polls = Vec::new();
    let tell = |poll: &Poll| {
        polls.push(poll.clone());
        Ok(())
    };
    let shutdown = CancellationToken::new();
    let failures = within(poll_all(
        parse(words).unwrap(),
        host,
        clock(),
        shutdown,
        tell,
    ))
    .await;
    let last = polls.last().map_or(0, |poll| poll.failures);
    assert_eq!(failures.unwrap(), last);
    polls
}

/// The polls of the pod `client`, started with the words of meshtool's manifest.
pub(crate) async fn polls(pods: &Pods, path: &str, credential: &str, count: u64) -> Vec<Poll> {
    let words = [
        format!("--fetch-url=https://server.demo.svc{path}"),
        "--server-trust-bundle=/run/tls-config/service-dns-trust-bundle.pem".to_owned(),
        format!("--client-cred-bundle={credential}"),
        "--interval=20ms".to_owned(),
        format!("--count={count}"),
    ];
    collect(&words.each_ref().map(String::as_str), &pods.host("client")).await
}

fn only_error(polls: &[Poll]) -> &str {
    match polls {
        [
            Poll {
                number: 1,
                failures: 1,
                outcome: Outcome::Failed { error },
            },
        ] => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_flags_are_meshtools_and_ours() {
    let minimal = [
        "--fetch-url=https://server.demo.svc/healthz",
        "--server-trust-bundle=/t",
    ];
    let args = parse(&minimal).unwrap();
    assert_eq!(
        (args.interval, args.timeout),
        (Duration::from_secs(10), Duration::from_secs(10))
    );
    assert_eq!((args.count, args.client_cred_bundle.as_str()), (None, ""));
    let with = |word| parse(&[minimal[0], minimal[1], word]);
    assert_eq!(
        with("--interval=500ms").unwrap().interval,
        Duration::from_millis(500)
    );
    assert_eq!(
        with("--interval=1m30s").unwrap().interval,
        Duration::from_secs(90)
    );
    for bad in [
        "--interval=0s",
        "--interval=-1s",
        "--interval=10",
        "--interval=48h",
        "--count=0",
    ] {
        let error = with(bad).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{bad}: {error}");
    }
    let error = parse(&["--fetch-url=http://x/", "--server-trust-bundle=/t"]).unwrap_err();
    assert!(
        error.to_string().contains("expected an https URL"),
        "{error}"
    );
}

/// A server on loopback and one in a pod are told alike.
#[tokio::test]
async fn each_poll_proves_a_handshake_over_tcp_too() {
    let ca = Ca::new("servers");
    let folder = tempfile::tempdir().unwrap();
    let (creds, trust) = (
        folder.path().join("creds.pem"),
        folder.path().join("trust.pem"),
    );
    std::fs::write(&creds, ca.server("localhost")).unwrap();
    std::fs::write(&trust, ca.trust()).unwrap();
    let shutdown = CancellationToken::new();
    let listener = Host::Real.listen("127.0.0.1:0").await.unwrap();
    let port = listener.to_string().rsplit_once(':').unwrap().1.to_owned();
    let server = tokio::spawn({
        let (creds, shutdown) = (creds.clone(), shutdown.clone());
        async move { demo_server::serve_for_tests(creds, &listener, clock(), shutdown).await }
    });
    let words = [
        format!("--fetch-url=https://localhost:{port}/healthz"),
        format!("--server-trust-bundle={}", trust.display()),
        "--interval=10ms".to_owned(),
        "--count=3".to_owned(),
    ];
    let polls = collect(&words.each_ref().map(String::as_str), &Host::Real).await;
    assert_eq!(polls.len(), 3);
    for (number, poll) in (1..).zip(&polls) {
        assert_eq!((poll.number, poll.failures), (number, 0));
        let Outcome::Ok {
            status,
            body,
            names,
            not_after,
            own_serial,
            serial,
        } = &poll.outcome
        else {
            panic!("{poll}");
        };
        assert_eq!((*status, body.as_str()), (200, "OK"));
        assert_eq!(*names, ["DNS:localhost"]);
        assert_eq!(not_after.to_string(), "2026-06-02T12:00:00Z");
        assert_eq!(serial.len(), 40);
        assert_eq!(*own_serial, None);
    }
    shutdown.cancel();
    within(server).await.unwrap();
}

#[tokio::test]
async fn failures_say_why_and_are_counted() {
    let pods = Pods::new();
    let ca = Ca::new("servers");
    let words = "/run/tls-config/spiffe-cred-bundle.pem";
    let error = only_error(&polls(&pods, "/healthz", "", 1).await).to_owned();
    assert!(error.contains("no pod of the Service is ready"), "{error}");

    let web = pods.host("web");
    let listener = web.listen(":443").await.unwrap();
    pods.serve("server.demo.svc", &["web"]);
    let error = only_error(&polls(&pods, "/healthz", "", 1).await).to_owned();
    assert!(
        error.contains("trust anchors not ready") && error.contains("does not exist"),
        "{error}"
    );

    pods.write("client", "service-dns-trust-bundle.pem", &ca.trust());
    pods.write("client", "spiffe-cred-bundle.pem", &ca.trust());
    let polls_of = async || only_error(&polls(&pods, "/healthz", words, 1).await).to_owned();
    assert_eq!(
        polls_of().await,
        "client credential bundle had no private key"
    );
    let key = ca.svid("spiffe://a/b");
    let key = &key[..key.find("-----BEGIN CERT").unwrap()];
    pods.write("client", "spiffe-cred-bundle.pem", key);
    assert_eq!(
        polls_of().await,
        "client credential bundle had no certificates"
    );

    // A server of another authority.
    let shutdown = CancellationToken::new();
    let creds = pods.map("web").mounts[0].host_path.join("creds.pem");
    std::fs::write(&creds, Ca::new("others").server("server.demo.svc")).unwrap();
    let server = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { demo_server::serve_for_tests(creds, &listener, clock(), shutdown).await }
    });
    let told = polls(&pods, "/healthz", "", 3).await;
    let failures: Vec<_> = told.iter().map(|poll| poll.failures).collect();
    assert_eq!(failures, [1, 2, 3]);
    let Outcome::Failed { error } = &told[2].outcome else {
        panic!("{told:?}")
    };
    assert!(
        error.contains("not issued under any of our trust anchors"),
        "{error}"
    );
    shutdown.cancel();
    within(server).await.unwrap();
}

#[tokio::test]
async fn a_server_that_never_answers_costs_one_time_limit() {
    let pods = Pods::new();
    pods.write(
        "client",
        "service-dns-trust-bundle.pem",
        &Ca::new("servers").trust(),
    );
    let _listener = pods.host("web").listen(":443").await.unwrap();
    pods.serve("server.demo.svc", &["web"]);
    let words = [
        "--fetch-url=https://server.demo.svc/healthz",
        "--server-trust-bundle=/run/tls-config/service-dns-trust-bundle.pem",
        "--timeout=50ms",
        "--count=1",
    ];
    let told = collect(&words, &pods.host("client")).await;
    assert_eq!(only_error(&told), "no answer within 50ms");
}

#[tokio::test]
async fn without_a_count_only_a_signal_ends_it() {
    let pods = Pods::new();
    let shutdown = CancellationToken::new();
    let args = parse(&[
        "--fetch-url=https://server.demo.svc/healthz",
        "--server-trust-bundle=/run/tls-config/trust.pem",
        "--interval=10ms",
    ]);
    let told = std::cell::Cell::new(0);
    let tell = |_: &Poll| {
        told.set(told.get() + 1);
        if told.get() == 5 {
            shutdown.cancel();
        }
        Ok(())
    };
    let host = pods.host("client");
    let ended = poll_all(args.unwrap(), &host, clock(), shutdown.clone(), tell);
    assert_eq!(
        within(ended).await.unwrap(),
        0,
        "being told to stop is no failure"
    );
    assert_eq!(told.get(), 5);
}
