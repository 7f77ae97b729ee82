//! `podcert demo-server`: an HTTPS server that shows what certificates are for.
//!
//! A drop-in for meshtool's command of this name. `GET /healthz` answers `OK` to anybody;
//! `GET /spiffe-echo` tells clients with a SPIFFE certificate who they are. The handshake asks for
//! a client certificate and takes any; each request is verified against the trust bundle of its
//! moment. Both files are followed, so the server never needs a restart.

mod answer;
mod write_limit;

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use podcert_runtime::SharedClock;
use podcert_workload::files::Options;
use podcert_workload::peer::Presented as _;
use podcert_workload::{AnchorSource, ClientAuth, Clock, CredentialSource, ServerTls, in_words};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::write_limit::WriteLimit;
use crate::go_flags::parse_bool;
use crate::host::{Host, Listener, Stream};

/// The flags of `demo-server`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Where to listen, as address:port; without address on all, empty for port 443
    #[arg(long, default_value = "", value_name = "ADDRESS:PORT")]
    listen: String,

    /// Credential bundle with the server key and certificate chain
    ///
    /// One PEM file: the PKCS #8 key, then the chain, the leaf first. If it is not there yet, or
    /// not usable, the server waits for it, says so every 10 seconds, and listens only then.
    #[arg(long, value_name = "FILE")]
    server_creds: PathBuf,

    /// Support client certificates issued by row-major.net/spiffe
    ///
    /// As in meshtool it changes nothing: what counts is --spiffe-trust-bundle.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_name = "BOOL",
          value_parser = parse_bool)]
    enable_spiffe_client_support: bool,

    /// Trust bundle for verifying certificates issued by row-major.net/spiffe
    ///
    /// One PEM file of CA certificates. Without it, or before it holds any, /spiffe-echo answers
    /// 500 to clients with a certificate.
    #[arg(long, default_value = "", value_name = "FILE")]
    spiffe_trust_bundle: String,
}

/// Serves until `shutdown`.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) async fn run(
    args: Args,
    host: &Host,
    clock: SharedClock,
    shutdown: CancellationToken,
) -> Result<ExitCode> {
    let credential = CredentialSource::from_bundle_file(
        host.path(&args.server_creds),
        Options::default(),
        shutdown.clone(),
    )
    .await;
    let anchors = match host.optional_path(&args.spiffe_trust_bundle) {
        Some(path) => {
            let paths = [path];
            let source =
                AnchorSource::from_anchor_files(paths, Options::default(), shutdown.clone());
            Some(source.await)
        }
        None => None,
    };
    if args.enable_spiffe_client_support && anchors.is_none() {
        tracing::warn!("no --spiffe-trust-bundle: /spiffe-echo will not know any client");
    }
    if !usable(credential.clone(), &shutdown).await {
        return Ok(ExitCode::SUCCESS);
    }
    let listener = host.listen(&args.listen).await?;
    tracing::info!(address = %listener, "listening");
    Server::new(credential, anchors, clock)
        .serve(&listener, shutdown)
        .await;
    Ok(ExitCode::SUCCESS)
}

/// What every connection is served with.
struct Server {
    tls: ServerTls,
    anchors: Option<AnchorSource>,
    clock: SharedClock,
}

impl Server {
    fn new(
        credential: CredentialSource,
        anchors: Option<AnchorSource>,
        clock: SharedClock,
    ) -> Self {
        let dates = Arc::clone(&clock);
        let tls = ServerTls::new(
            credential,
            ClientAuth::Requested,
            Clock::new(move || dates.now()),
        );
        Self {
            tls,
            anchors,
            clock,
        }
    }

    /// Accepts connections until `shutdown`, then lets those at work finish.
    async fn serve(self, listener: &Listener, shutdown: CancellationToken) {
        let server = Arc::new(self);
        let connections = TaskTracker::new();
        loop {
            // Cancel safe: `accept` loses no connection.
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(stream) => {
                    let (server, shutdown) = (Arc::clone(&server), shutdown.clone());
                    connections.spawn(async move { server.connection(stream, shutdown).await });
                }
                Err(error) => {
                    // Most likely out of file descriptors: some will be free again.
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        connections.close();
        if timeout(DRAIN, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "closed while at work");
        }
    }

    async fn connection(&self, stream: Stream, shutdown: CancellationToken) {
        // A client at work on its handshake may finish it when we stop, a silent one not delay us.
        let stopping = async {
            shutdown.cancelled().await;
            sleep(HANDSHAKE_GRACE).await;
        };
        let stream = tokio::select! {
            biased;
            accepted = self.tls.accept(stream) => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::info!(%error, "connection refused");
                    return;
                }
            },
            () = sleep(IO_TIMEOUT) => {
                tracing::info!("connection refused: no TLS handshake in time");
                return;
            }
            () = stopping => return,
        };
        let presented = stream.presented().to_vec();
        let service = service_fn(|request| {
            let anchors = self.anchors.as_ref().and_then(AnchorSource::current);
            let anchors = anchors.as_deref().map(podcert_workload::Snapshot::value);
            let answer = answer::answer(&request, &presented, anchors, self.clock.now());
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IO_TIMEOUT)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(WriteLimit::new(stream, IO_TIMEOUT)), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            () = shutdown.cancelled() => None,
            // Clients meet the newest certificate at least this often.
            () = sleep(MAX_AGE) => None,
        };
        let ended = match ended {
            Some(ended) => Ok(ended),
            None => {
                connection.as_mut().graceful_shutdown();
                timeout(IO_TIMEOUT, connection).await
            }
        };
        if let Ok(Err(error)) = ended {
            tracing::debug!(%error, "connection broken");
        }
    }
}

/// Waits for a credential to serve with; `false` when shut down before.
async fn usable(mut credential: CredentialSource, shutdown: &CancellationToken) -> bool {
    loop {
        let waiting = credential.last_error();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return false,
            ready = credential.ready() => return ready.is_some(),
            () = sleep(WAITING_LOG) => {
                if let Some(error) = waiting {
                    tracing::warn!(error = %in_words(&error), "waiting for the server credential");
                }
            }
        }
    }
}

const AFTER_HELP: &str = "\
Endpoints:
  GET /healthz      200 \"OK\"
  GET /spiffe-echo  200 \"Client Identity: spiffe://...\"
                    401 without a client certificate that the trust bundle verifies
                    401 when the certificate is no SPIFFE identity (exactly one spiffe:// URI)
                    500 while no trust bundle is usable

Both files are followed: the next handshake presents the newest certificate, the next request is
verified by the newest trust bundle. A new file that is not usable is logged, the last good one
stays.

Exit codes: 0 stopped by SIGTERM or SIGINT; 1 the address cannot be listened on; 2 the command line
is wrong.";

/// For a handshake, for the head of a request, and for each write of an answer.
const IO_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);
const MAX_HEADER_BYTES: usize = 1 << 20;
const MAX_AGE: Duration = Duration::from_secs(600);
const DRAIN: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const WAITING_LOG: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;

/// Serves without flags, on a listener of the test's own.
#[cfg(test)]
pub(crate) async fn serve_for_tests(
    creds: PathBuf,
    listener: &Listener,
    clock: SharedClock,
    shutdown: CancellationToken,
) {
    let credential =
        CredentialSource::from_bundle_file(creds, Options::default(), shutdown.clone());
    Server::new(credential.await, None, clock)
        .serve(listener, shutdown)
        .await;
}
