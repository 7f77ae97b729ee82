//! The HTTP face: a `tower::Service` per user.
//!
//! A request goes: who it speaks for → target → counted → faults → authorizer → body read → verb. The answer gets the
//! `Date` of the server's clock, from which clients learn its time.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use tower::Service;

use crate::authorization::Asked;
use crate::discovery;
use crate::impersonation;
use crate::protobuf;
use crate::request::{Part, Query, Route, route};
use crate::server::ApiServer;
use crate::status::Failure;
use crate::user::{Permission, User};

/// A service that speaks for one user. Never fails; refusals are responses.
#[derive(Clone, Debug)]
pub struct ApiService {
    server: ApiServer,
    user: Arc<User>,
}

impl ApiService {
    pub(crate) fn new(server: ApiServer, user: User) -> Self {
        Self {
            server,
            user: Arc::new(user),
        }
    }

    async fn respond<B>(self, request: Request<B>) -> Response<ApiBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let answered = match self.acting(&parts.headers) {
            Ok(actor) => {
                let body = read_body(body);
                let (method, uri) = (&parts.method, &parts.uri);
                actor.answer(method, uri, &parts.headers, body).await
            }
            Err(failure) => Err(failure),
        };
        let mut response = answered.unwrap_or_else(|failure| refusal(&failure));
        if let Some(date) = http_date(self.server.now()) {
            response.headers_mut().insert(DATE, date);
        }
        response
    }

    /// The service of whom the request speaks for.
    fn acting(&self, headers: &HeaderMap) -> Result<Self, Failure> {
        let actor = impersonation::effective(&self.server, &self.user, headers)?;
        Ok(match actor {
            Some(user) => Self::new(self.server.clone(), user),
            None => self.clone(),
        })
    }

    async fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: impl Future<Output = Result<Bytes, Failure>>,
    ) -> Result<Response<ApiBody>, Failure> {
        let versions = self.server.certificates();
        let asked = Asked::read(method, uri.path(), uri.query().unwrap_or_default());
        let query = match Query::parse(uri.query().unwrap_or_default()) {
            Ok(query) => query,
            Err(failure) => {
                self.authorize(&asked)?;
                return Err(failure);
            }
        };
        let routed = route(method, uri.path(), &query, versions);
        // Whether there is what is asked for is none of the business of who may not ask.
        if !matches!(routed, Ok(Route::Resource(_))) {
            self.authorize(&asked)?;
        }
        let target = match routed? {
            Route::Document(path) => {
                if method != Method::GET {
                    return Err(Failure::no_such_page());
                }
                if let Some(document) = self.server.issuer_document(&path) {
                    return Ok(document);
                }
                return discovery::document(&path, headers, versions);
            }
            Route::Review(review) => {
                let body = protobuf::to_json(headers, body.await?)?;
                let answer = review.answer(&self.server, &self.user, &body)?;
                return Ok(json_response(StatusCode::CREATED, answer.to_string()));
            }
            Route::Resource(target) => target,
        };
        let server = &self.server;
        server
            .inner
            .counters
            .count(target.verb, target.resource(), &self.user.name);
        let lose_reply = server
            .inner
            .rig
            .strike(&server.inner.random, &target, &self.user)
            .await?;
        self.authorize(&asked)?;
        // Nothing is read for those who may not ask.
        let body = protobuf::to_json(headers, body.await?)?;
        let answered = match target.part {
            Part::Log => {
                let query = uri.query().unwrap_or_default();
                server.pod_log(&target, query).await
            }
            _ => server.serve(&self.user, &target, &query, headers, &body),
        };
        match lose_reply {
            // The deed is done (or refused); the client does not get to know.
            Some(failure) => Err(failure),
            None => answered,
        }
    }

    fn authorize(&self, asked: &Asked) -> Result<(), Failure> {
        let authorizer = &self.server.inner.authorizer;
        let attributes = asked.attributes();
        match authorizer.authorize(&self.user, &attributes) {
            Permission::Allowed => Ok(()),
            Permission::Denied => {
                let reason = authorizer.reason(&self.user, &attributes);
                Err(asked.forbidden(&self.user, &reason))
            }
        }
    }
}

impl<B> Service<Request<B>> for ApiService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<ApiBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.respond(request).await) })
    }
}

/// A response's body: one piece of JSON, or the lines of a watch.
pub struct ApiBody(Content);

enum Content {
    Once(Option<Bytes>),
    Watch(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl ApiBody {
    pub(crate) fn once(bytes: impl Into<Bytes>) -> Self {
        Self(Content::Once(
            Some(bytes.into()).filter(|bytes| !bytes.is_empty()),
        ))
    }

    pub(crate) fn watch(lines: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(Content::Watch(Box::pin(lines)))
    }
}

impl fmt::Debug for ApiBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Content::Once(_) => "ApiBody(once)",
            Content::Watch(_) => "ApiBody(watch)",
        })
    }
}

impl Body for ApiBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Content::Once(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Watch(lines) => lines
                .as_mut()
                .poll_next(context)
                .map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Content::Once(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Once(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Watch(_) => SizeHint::default(),
        }
    }
}

/// A JSON response.
pub(crate) fn json_response(status: StatusCode, body: impl Into<Bytes>) -> Response<ApiBody> {
    respond_with(status, JSON, ApiBody::once(body))
}

/// A response with a body of this type.
pub(crate) fn respond_with(
    status: StatusCode,
    content_type: &'static str,
    body: ApiBody,
) -> Response<ApiBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A plain text response.
pub(crate) fn text_response(status: StatusCode, body: impl Into<Bytes>) -> Response<ApiBody> {
    respond_with(status, "text/plain; charset=utf-8", ApiBody::once(body))
}

fn refusal(failure: &Failure) -> Response<ApiBody> {
    let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if failure.plain_text {
        return text_response(status, format!("{}\n", failure.message));
    }
    let mut response = json_response(status, failure.to_json().to_string());
    if status == StatusCode::TOO_MANY_REQUESTS {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

async fn read_body<B>(body: B) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::too_large(BODY_LIMIT)),
        Err(error) => Err(Failure::bad_request(format!(
            "cannot read the body: {error}"
        ))),
    }
}

fn http_date(now: Timestamp) -> Option<HeaderValue> {
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&now)
        .ok()?;
    HeaderValue::try_from(date).ok()
}

/// What etcd and the real server take at most.
const BODY_LIMIT: usize = 3 * 1024 * 1024;
const JSON: &str = "application/json";
