//! What the demo server answers: a function of the request, the client's certificates, the trust
//! bundle and the time. Texts and codes are meshtool's.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use podcert_workload::{Anchors, PeerError, in_words, peer};

/// Answers one request of a client that presented these certificates.
///
/// `anchors` is the SPIFFE trust bundle, if there is any.
pub(super) fn answer<B>(
    request: &Request<B>,
    presented: &[impl AsRef<[u8]>],
    anchors: Option<&Anchors>,
    now: Timestamp,
) -> Response<Full<Bytes>> {
    let known = matches!(request.uri().path(), HEALTHZ | SPIFFE_ECHO);
    if !known {
        return refusal(StatusCode::NOT_FOUND, "404 page not found");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = refusal(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    if request.uri().path() == HEALTHZ {
        return text(StatusCode::OK, "OK".to_owned());
    }
    if presented.is_empty() {
        return refusal(StatusCode::UNAUTHORIZED, REQUIRED);
    }
    let Some(anchors) = anchors else {
        tracing::warn!("a client presents a certificate and no trust bundle is usable");
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Error");
    };
    match peer::spiffe_id(presented, anchors, now) {
        Ok(id) => text(StatusCode::OK, format!("Client Identity: {id}")),
        Err(error) => {
            tracing::info!(error = %in_words(&error), "client refused");
            match error {
                PeerError::NotSvid(_) => {
                    refusal(StatusCode::UNAUTHORIZED, "Malformed SPIFFE certificate")
                }
                _ => refusal(StatusCode::UNAUTHORIZED, REQUIRED),
            }
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// An error as Go's `http.Error` writes it, with a line end.
fn refusal(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let mut response = text(status, format!("{why}\n"));
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

const HEALTHZ: &str = "/healthz";
const SPIFFE_ECHO: &str = "/spiffe-echo";
const REQUIRED: &str = "SPIFFE client certificate authentication required";
