use std::{
    convert::Infallible,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use ::http::{HeaderValue, StatusCode, header};
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{Clock as _, TokioClock};

/// A server that gives the answers of a script, one per try, then 200.
fn connection(
    script: impl IntoIterator<Item = (u16, Option<u64>)>,
    skew: SignedDuration,
) -> (Connection, Arc<AtomicUsize>) {
    let clock = Arc::new(TokioClock::starting_at(
        Timestamp::from_second(1_800_000_000).unwrap(),
    ));
    let script = Arc::new(Mutex::new(
        script
            .into_iter()
            .collect::<std::collections::VecDeque<_>>(),
    ));
    let tries = Arc::new(AtomicUsize::new(0));
    let service = tower::service_fn({
        let (clock, tries) = (Arc::clone(&clock), Arc::clone(&tries));
        move |_: Request<Body>| {
            tries.fetch_add(1, Ordering::Relaxed);
            let (status, retry_after) = script.lock().unwrap().pop_front().unwrap_or((200, None));
            let date = clock.now() + skew;
            async move {
                if status == 0 {
                    return std::future::pending().await;
                }
                let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                let text = jiff::fmt::rfc2822::DateTimePrinter::new()
                    .timestamp_to_rfc9110_string(&date)
                    .unwrap();
                response
                    .headers_mut()
                    .insert(header::DATE, HeaderValue::try_from(text).unwrap());
                if let Some(seconds) = retry_after {
                    response
                        .headers_mut()
                        .insert(header::RETRY_AFTER, seconds.into());
                }
                Ok::<_, Infallible>(response)
            }
        }
    });
    let options = Options {
        jitter: Jitter::seeded(1),
        ..Options::new(clock)
    };
    (Connection::from_service(service, "default", options), tries)
}

async fn send(connection: &Connection, method: &str) -> Result<StatusCode, kube::Error> {
    let request = Request::builder()
        .method(method)
        .uri("/apis/x")
        .body(Body::from(b"{}".to_vec()))
        .unwrap();
    connection
        .client()
        .send(request)
        .await
        .map(|response| response.status())
}

#[tokio::test(start_paused = true)]
async fn an_update_is_tried_again_until_it_is_answered() {
    let (connection, tries) = connection(
        [(503, None), (429, Some(5)), (500, None)],
        SignedDuration::ZERO,
    );
    assert_eq!(send(&connection, "PUT").await.unwrap(), StatusCode::OK);
    assert_eq!(tries.load(Ordering::Relaxed), 4);
    assert_eq!(connection.metrics().total(Verb::Update), 4);
    assert_eq!(
        connection
            .metrics()
            .count(Verb::Update, Answer::ServerError),
        2
    );
    assert_eq!(connection.metrics().count(Verb::Update, Answer::Ok), 1);
}

#[tokio::test(start_paused = true)]
async fn tries_are_bounded_and_the_last_answer_is_given_back() {
    let (connection, tries) = connection([(503, None); 10], SignedDuration::ZERO);
    assert_eq!(
        send(&connection, "GET").await.unwrap(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(tries.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_create_is_not_repeated_unless_the_server_did_not_look() {
    let (connection, tries) = connection([(503, None)], SignedDuration::ZERO);
    assert_eq!(
        send(&connection, "POST").await.unwrap(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(tries.load(Ordering::Relaxed), 1);
    let (connection, tries) = self::connection([(429, None)], SignedDuration::ZERO);
    assert_eq!(send(&connection, "POST").await.unwrap(), StatusCode::OK);
    assert_eq!(tries.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_given_up() {
    let (connection, tries) = connection([(0, None)], SignedDuration::ZERO);
    assert_eq!(send(&connection, "GET").await.unwrap(), StatusCode::OK);
    assert_eq!(tries.load(Ordering::Relaxed), 2);
    assert_eq!(connection.metrics().count(Verb::Read, Answer::None), 1);
    let (connection, _) = self::connection([(0, None)], SignedDuration::ZERO);
    let error = send(&connection, "POST").await.unwrap_err();
    assert!(
        error.to_string().contains("no answer within 30s"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn each_answer_teaches_the_servers_clock() {
    let skew = SignedDuration::from_mins(-7);
    let (connection, _) = connection([(409, None)], skew);
    assert_eq!(connection.server_clock().offset(), SignedDuration::ZERO);
    send(&connection, "PUT").await.unwrap();
    let error = (connection.server_clock().offset() - skew).abs();
    assert!(error <= SignedDuration::from_secs(1), "{error:?}");
}

#[tokio::test]
async fn a_proxy_is_refused_in_words() {
    let mut config = kube::Config::new("https://127.0.0.1:6443".parse().unwrap());
    config.proxy_url = Some("http://proxy.example:3128".parse().unwrap());
    let options = Options::new(Arc::new(crate::SystemClock));
    let error = Connection::from_config(&config, options).unwrap_err();
    assert!(
        error.to_string().contains("http://proxy.example:3128"),
        "{error}"
    );
}

#[tokio::test]
async fn a_plain_configuration_connects_lazily() {
    let config = kube::Config::new("https://127.0.0.1:6443".parse().unwrap());
    let options = Options::new(Arc::new(crate::SystemClock));
    Connection::from_config(&config, options).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_is_given_up() {
    let clock = Arc::new(TokioClock::starting_at(
        Timestamp::from_second(1_800_000_000).unwrap(),
    ));
    let service =
        tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Silent)) });
    let connection = Connection::from_service(service, "default", Options::new(clock));
    for (uri, limit) in [("/apis/x", 30), ("/apis/x?watch=true", 305)] {
        let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        let begun = tokio::time::Instant::now();
        let answer = connection.client().send(request).await.unwrap();
        assert!(answer.into_body().collect_bytes().await.is_err(), "{uri}");
        assert_eq!(begun.elapsed().as_secs(), limit, "{uri}");
    }
}

/// A body whose sender is there and says nothing.
struct Silent;

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_asked_before_each_try() {
    let (connection, tries) = connection([(503, None), (503, None)], SignedDuration::ZERO);
    let send = |permit: Permit| {
        let mut request = Request::put("/apis/x").body(Body::from(b"{}".to_vec()));
        permit.bind(request.as_mut().unwrap());
        connection.client().send(request.unwrap())
    };
    let once = AtomicUsize::new(0);
    let first_try_alone = Permit::new(move || once.fetch_add(1, Ordering::Relaxed) == 0);
    let withdrawn = send(first_try_alone).await.unwrap_err();
    assert!(Withdrawn::is(&withdrawn), "{withdrawn:?}");
    assert_eq!(tries.load(Ordering::Relaxed), 1);

    let withdrawn = send(Permit::new(|| false)).await.unwrap_err();
    assert!(Withdrawn::is(&withdrawn), "{withdrawn:?}");
    assert_eq!(tries.load(Ordering::Relaxed), 1);

    assert_eq!(send(Permit::new(|| true)).await.unwrap().status(), 200);
    assert_eq!(tries.load(Ordering::Relaxed), 3);
}
