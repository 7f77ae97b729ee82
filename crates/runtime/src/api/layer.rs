//! The layer each request passes: tries, time limits, the server's `Date`, counts.
//!
//! Two limits: one on the head of an answer, one on how long its body may be silent. Without the
//! second a connection that died unnoticed (a router forgot it, a machine vanished) would leave a
//! watch that is never told anything again, and nobody would know.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ::http::{Request, Response, header};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use kube::client::Body;
use tokio::time::{Instant, sleep, timeout};
use tower::{BoxError, Service, ServiceExt as _};
use tower_http::timeout::TimeoutBody;

use super::metrics::{Answer, Metrics, Verb};
use super::permit::{Permit, Withdrawn};
use super::retry::{Outcome, RetryPolicy, retry_after};
use crate::{Jitter, ServerClock};

/// The service that makes the tries.
#[derive(Clone, Debug)]
pub(super) struct Attempts<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// What all tries have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) server_clock: Arc<ServerClock>,
    pub(super) metrics: Metrics,
    pub(super) jitter: Jitter,
    pub(super) retry: RetryPolicy,
    pub(super) timeout: Duration,
    pub(super) watch_silence: Duration,
}

impl<S> Attempts<S> {
    pub(super) fn new(inner: S, shared: Shared) -> Self {
        Self {
            inner,
            shared: Arc::new(shared),
        }
    }
}

impl<S, B> Service<Request<Body>> for Attempts<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<TimeoutBody<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    // Readiness is awaited per try.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.inner.clone();
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.answer(inner, request).await })
    }
}

impl Shared {
    /// Tries until there is an answer to give back.
    async fn answer<S, B>(
        &self,
        mut inner: S,
        request: Request<Body>,
    ) -> Result<Response<TimeoutBody<B>>, BoxError>
    where
        S: Service<Request<Body>, Response = Response<B>>,
        S::Error: Into<BoxError>,
    {
        let verb = Verb::of(&request);
        let mut request = Some(request);
        let mut tried = 0;
        loop {
            let Some(this_try) = request.take() else {
                // Unreachable: every path below either returns or puts the next try back.
                return Err("the request was sent already".into());
            };
            // A body that streams cannot be sent twice.
            request = again(&this_try);
            if !Permit::allows(&this_try) {
                return Err(Withdrawn.into());
            }
            tried += 1;
            let result = self.attempt(&mut inner, verb, this_try).await;
            if request.is_none() {
                return result;
            }
            let outcome = match &result {
                Ok(response) => Outcome::Answered {
                    status: response.status(),
                    retry_after: retry_after(response.headers()),
                },
                Err(_) => Outcome::Unanswered,
            };
            let Some(wait) = self.retry.next_try(verb, outcome, tried, &self.jitter) else {
                return result;
            };
            tracing::debug!(?verb, ?outcome, tried, ?wait, "trying again");
            drop(result);
            sleep(wait).await;
        }
    }

    /// One try.
    async fn attempt<S, B>(
        &self,
        inner: &mut S,
        verb: Verb,
        request: Request<Body>,
    ) -> Result<Response<TimeoutBody<B>>, BoxError>
    where
        S: Service<Request<Body>, Response = Response<B>>,
        S::Error: Into<BoxError>,
    {
        let started = Instant::now();
        let sent = self.server_clock.local().now();
        let exchange = async {
            let service = inner.ready().await.map_err(Into::into)?;
            service.call(request).await.map_err(Into::into)
        };
        let result = match timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {:?}", self.timeout).into()),
        };
        let answer = result
            .as_ref()
            .map_or(Answer::None, |response| Answer::of(response.status()));
        self.metrics.record(verb, answer, started.elapsed());
        if let Ok(response) = &result
            && let Some(date) = date(response)
        {
            self.server_clock
                .observe(date, sent, self.server_clock.local().now());
        }
        let silence = match verb {
            Verb::Watch => self.watch_silence,
            _ => self.timeout,
        };
        result.map(|response| response.map(|body| TimeoutBody::new(silence, body)))
    }
}

/// The same request once more, if its body can be sent twice.
fn again(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// The `Date` header (RFC 9110 section 6.6.1); its form is one of RFC 2822's.
fn date<B>(response: &Response<B>) -> Option<Timestamp> {
    let value = response.headers().get(header::DATE)?;
    PARSER.parse_timestamp(value.as_bytes()).ok()
}

static PARSER: DateTimeParser = DateTimeParser::new();
