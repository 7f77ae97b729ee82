//! The listener for `/livez`, `/readyz` and `/metrics`: plain HTTP/1.1, GET and HEAD.
//!
//! It tells nothing secret and takes no input but the path, so it has no authentication; a
//! cluster's network policy, or a loopback address, decides who may ask.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ::http::{Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::Health;

/// A bound listener, not yet served.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`; port 0 takes any free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address really bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`, then waits a little for the answers under way.
    pub async fn serve(self, health: Health, registry: Arc<Registry>, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let mut open = Open::default();
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
                    Err(error) => {
                        // Out of file descriptors, most likely: let some be given back.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            open.make_room(peer);
            let (health, registry) = (health.clone(), Arc::clone(&registry));
            let shutdown = shutdown.clone();
            let connection = connections.spawn(async move {
                serve_connection(stream, &health, &registry, shutdown).await;
            });
            open.0.push_back((peer, connection.abort_handle()));
        }
        connections.close();
        // Whoever asks and does not read the answer does not hold up the end.
        if timeout(LAST_ANSWERS, connections.wait()).await.is_err() {
            tracing::debug!("a health or metrics connection was still open at the end");
        }
    }
}

/// The connections under way and who asks over them, oldest first.
#[derive(Debug, Default)]
struct Open(VecDeque<(IpAddr, AbortHandle)>);

impl Open {
    /// Closes what is one too many once `peer` has another.
    fn make_room(&mut self, peer: IpAddr) {
        self.0.retain(|(_, connection)| !connection.is_finished());
        let crowded = one_too_many(self.0.iter().map(|(peer, _)| *peer), peer);
        if let Some((_, connection)) = crowded.and_then(|index| self.0.remove(index)) {
            connection.abort();
        }
    }
}

/// Which of the connections of `peers`, oldest first, goes for one more of `newcomer`, if one must.
///
/// Probes and scrapers need few. Whoever holds many loses its own, and never the one of a kubelet,
/// whose liveness probe would end us.
fn one_too_many(peers: impl Iterator<Item = IpAddr>, newcomer: IpAddr) -> Option<usize> {
    // Of each address its oldest connection, and how many it has.
    let mut held: BTreeMap<IpAddr, (usize, usize)> = BTreeMap::new();
    let mut all = 0;
    for (index, peer) in peers.enumerate() {
        held.entry(peer).or_insert((index, 0)).1 += 1;
        all += 1;
    }
    match held.get(&newcomer) {
        Some(&(oldest, count)) if count >= MAX_OF_ONE_PEER => return Some(oldest),
        _ if all < MAX_CONNECTIONS => return None,
        _ => {}
    }
    held.into_values()
        .max_by_key(|&(oldest, count)| (count, std::cmp::Reverse(oldest)))
        .map(|(oldest, _)| oldest)
}

async fn serve_connection(
    stream: TcpStream,
    health: &Health,
    registry: &Registry,
    shutdown: CancellationToken,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), health, registry);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // One answer each: who asks seldom holds nothing open in between.
        .keep_alive(false)
        .header_read_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a health or metrics connection broke");
    }
}

/// What `method path` is answered with.
fn answer(
    method: &Method,
    path: &str,
    health: &Health,
    registry: &Registry,
) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD\n".to_owned(),
        );
        response
            .headers_mut()
            .insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        // Whoever answers is alive: nothing here takes a lock that work is done under.
        "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if health.is_ready() => text(StatusCode::OK, health.report()),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, health.report()),
        "/metrics" => {
            let mut body = String::new();
            if prometheus_client::encoding::text::encode(&mut body, registry).is_err() {
                return text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "cannot encode\n".to_owned(),
                );
            }
            let mut response = text(StatusCode::OK, body);
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static(OPENMETRICS),
            );
            response
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "try /livez, /readyz or /metrics\n".to_owned(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

const MAX_CONNECTIONS: usize = 64;
const MAX_OF_ONE_PEER: usize = 8;
const LAST_ANSWERS: Duration = Duration::from_secs(2);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;

    use super::*;

    fn get(path: &str, health: &Health, registry: &Registry) -> StatusCode {
        answer(&Method::GET, path, health, registry).status()
    }

    #[test]
    fn readiness_follows_the_checks() {
        let (health, registry) = (Health::new(), Registry::default());
        let check = health.check("pool");
        assert_eq!(get("/livez", &health, &registry), StatusCode::OK);
        assert_eq!(
            get("/readyz", &health, &registry),
            StatusCode::SERVICE_UNAVAILABLE
        );
        check.pass();
        assert_eq!(get("/readyz", &health, &registry), StatusCode::OK);
        assert_eq!(get("/metrics", &health, &registry), StatusCode::OK);
        assert_eq!(get("/secrets", &health, &registry), StatusCode::NOT_FOUND);
        let refused = answer(&Method::POST, "/livez", &health, &registry);
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn who_holds_most_loses_its_oldest() {
        let address = |number: usize| IpAddr::from([10, 0, 0, u8::try_from(number).unwrap()]);
        let of = |peers: &[usize], newcomer| {
            one_too_many(peers.iter().map(|&peer| address(peer)), address(newcomer))
        };
        assert_eq!(of(&[], 1), None);
        let mut peers = vec![1];
        peers.extend([2; MAX_OF_ONE_PEER]);
        // Nobody has more than its part, wherever there is room.
        assert_eq!(of(&peers, 2), Some(1));
        assert_eq!(of(&peers, 1), None);
        peers.extend((3..).flat_map(|peer| [peer; 5]).take(MAX_CONNECTIONS - 9));
        assert_eq!(peers.len(), MAX_CONNECTIONS);
        assert_eq!(of(&peers, 1), Some(1));
        assert_eq!(of(&peers, 3), Some(1));
        // Of those who hold the same, the oldest.
        let single: Vec<_> = (0..MAX_CONNECTIONS).collect();
        assert_eq!(of(&single, 100), Some(0));
        assert_eq!(of(&single[1..], 100), None);
    }

    #[tokio::test]
    async fn who_keeps_connections_open_keeps_no_probe_out() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = listener.address();
        let shutdown = CancellationToken::new();
        let (health, registry) = (Health::new(), Arc::new(Registry::default()));
        let serving = tokio::spawn(listener.serve(health, registry, shutdown.clone()));

        let connect = async |peer: u8| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, peer], 0).into()).unwrap();
            socket.connect(address).await.unwrap()
        };
        let ask = async |mut stream: TcpStream| {
            let request = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
            stream.write_all(request).await.unwrap();
            // To its end: a connection has one answer.
            let mut answer = String::new();
            let read = stream.read_to_string(&mut answer).await;
            read.is_ok() && answer.starts_with("HTTP/1.1 200")
        };
        let probe = connect(1).await;
        let mut kept = Vec::new();
        // More than there is room for from one address, and then from many.
        for number in 0..u8::try_from(MAX_CONNECTIONS).unwrap() * 3 {
            kept.push(connect(2 + number.saturating_sub(100) / 4).await);
        }
        // They are accepted in their order: when this one is answered, all were.
        assert!(ask(connect(1).await).await);
        assert!(ask(probe).await, "the oldest of all");
        assert!(ask(kept.pop().unwrap()).await);
        assert!(!ask(kept.swap_remove(0)).await, "one of too many");
        shutdown.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn serves_until_told_to_stop() {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        registry.register("made", "Things made", counter.clone());
        counter.inc_by(3);
        let health = Health::new();
        health.check("pool").fail("pool file /x is missing");
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = listener.address();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(health, Arc::new(registry), shutdown.clone()));

        let ask = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let ready = ask("/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
        assert!(
            ready.contains("[-]pool: pool file /x is missing"),
            "{ready}"
        );
        let metrics = ask("/metrics").await;
        assert!(metrics.contains("made_total 3"), "{metrics}");

        // An idle connection does not hold up the end.
        let idle = TcpStream::connect(address).await.unwrap();
        shutdown.cancel();
        serving.await.unwrap();
        drop(idle);
    }
}
