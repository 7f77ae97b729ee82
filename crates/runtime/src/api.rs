//! A connection to the API server.
//!
//! Every request of ours passes one layer ([`layer`]) that bounds how long an answer may take,
//! retries what is safe to retry ([`retry`]), teaches the [`ServerClock`] and counts. It is the
//! only place that retries a request: kube's own policy (15 tries, doubling without a bound in
//! sum) is not in the stack, and callers that must succeed in the end, such as watches, keep
//! loops of their own with longer waits.
//!
//! The stack is put together here rather than by `kube::Client::try_from`, which would add that
//! policy, a span per request, and one more channel between caller and socket.

mod layer;
mod metrics;
mod permit;
mod retry;

use std::{sync::Arc, time::Duration};

use ::http::{Request, Response};
use bytes::Bytes;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::{Body, ConfigExt as _};
use tower::util::option_layer;
use tower::{BoxError, Layer as _, Service, ServiceExt as _};

pub use self::metrics::{Answer, Metrics, Verb};
pub use self::permit::{Permit, Withdrawn};
pub use self::retry::RetryPolicy;
use crate::{Jitter, ServerClock, SharedClock};

/// A client with what it teaches us.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    server_clock: Arc<ServerClock>,
    metrics: Metrics,
}

/// How a connection behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The clock the server's is compared with.
    pub clock: SharedClock,
    /// Spreads retries.
    pub jitter: Jitter,
    /// Which requests are tried again, and how often.
    pub retry: RetryPolicy,
    /// How long the head of an answer may take, and how long its body may be silent. A watch
    /// answers at once and then streams.
    pub timeout: Duration,
    /// How long a watch may be silent before it counts as broken and is begun again. The API
    /// server sends a bookmark each minute and ends every watch of kube's after 290 s.
    pub watch_silence: Duration,
}

impl Options {
    /// The behaviour in production, with `clock` and a jitter of this process's own.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            jitter: Jitter::from_process(),
            retry: RetryPolicy::default(),
            timeout: Duration::from_secs(30),
            watch_silence: Duration::from_secs(305),
        }
    }
}

impl Connection {
    /// Connects as `config` says (kubeconfig or in-cluster), over HTTP/1.1.
    ///
    /// Nothing is sent yet: a server that cannot be reached shows when it is asked.
    ///
    /// # Errors
    /// When the configuration cannot be used: bad certificates or credentials, or a proxy, which
    /// is not supported.
    pub fn from_config(config: &kube::Config, options: Options) -> Result<Self, Error> {
        if let Some(proxy) = &config.proxy_url {
            return Err(Error::Proxy {
                proxy: proxy.to_string(),
            });
        }
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(config.connect_timeout);
        // A peer that vanished without a word is noticed within a minute.
        connector.set_keepalive(Some(Duration::from_secs(30)));
        connector.set_keepalive_interval(Some(Duration::from_secs(10)));
        connector.set_keepalive_retries(Some(3));
        let connector = config
            .rustls_https_connector_with_connector(connector)
            .map_err(Error::config)?;
        let transport = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .build::<_, Body>(connector)
            .map_err(BoxError::from);
        let service = config
            .extra_headers_layer()
            .map_err(Error::config)?
            .layer(transport);
        let service = option_layer(config.auth_layer().map_err(Error::config)?).layer(service);
        let service = config.base_uri_layer().layer(service);
        Ok(Self::from_service(
            service,
            &config.default_namespace,
            options,
        ))
    }

    /// Connects to a server in this process.
    pub fn from_service<S, B>(service: S, default_namespace: &str, options: Options) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let server_clock = Arc::new(ServerClock::new(options.clock));
        let metrics = Metrics::default();
        let service = layer::Attempts::new(
            service,
            layer::Shared {
                server_clock: Arc::clone(&server_clock),
                metrics: metrics.clone(),
                jitter: options.jitter,
                retry: options.retry,
                timeout: options.timeout,
                watch_silence: options.watch_silence,
            },
        );
        Self {
            client: Client::new(service, default_namespace),
            server_clock,
            metrics,
        }
    }

    /// The client all requests go through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The API server's time.
    pub fn server_clock(&self) -> &Arc<ServerClock> {
        &self.server_clock
    }

    /// What was asked and answered.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("server_clock", &self.server_clock)
            .finish_non_exhaustive()
    }
}

/// Why no connection can be made from a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something in the configuration cannot be used.
    #[error("the connection to the API server is configured wrongly")]
    Config {
        /// What exactly.
        #[source]
        source: Box<kube::Error>,
    },

    /// A proxy stands between us and the server.
    #[error("the API server is configured behind proxy {proxy}, which is not supported")]
    Proxy {
        /// The proxy's URL.
        proxy: String,
    },
}

impl Error {
    fn config(source: kube::Error) -> Self {
        Self::Config {
            source: Box::new(source),
        }
    }
}

#[cfg(test)]
mod tests;
