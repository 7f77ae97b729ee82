//! `podcert https-client`: fetches a URL again and again, and says each time what it saw.
//!
//! A drop-in for meshtool's command of this name, without its defects: it polls at once, each
//! poll has a time limit and a connection of its own, so that a successful poll proves a full
//! handshake under the newest files. Each poll is one line on standard output, made to be read by
//! people and by programs: see [`Poll`].

mod poll;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use podcert_pki::Certificate;
use podcert_runtime::SharedClock;
use podcert_workload::files::Options;
use podcert_workload::peer::Presented as _;
use podcert_workload::{
    AnchorSource, ClientTls, Clock, CredentialError, CredentialSource, Resumption, Snapshot,
    SourceError, TlsError,
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::poll::{Outcome, Poll};
use self::target::Target;
use crate::host::Host;
use crate::output;

/// The flags of `https-client`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// URL to poll
    #[arg(long, value_name = "URL", value_parser = |url: &str| url.parse::<Target>())]
    fetch_url: Target,

    /// File with trust anchors to verify the server certificate
    #[arg(long, value_name = "FILE")]
    server_trust_bundle: PathBuf,

    /// File with client key and certificate chain
    ///
    /// Without it the client presents no certificate.
    #[arg(long, default_value = "", value_name = "FILE")]
    client_cred_bundle: String,

    /// Time from one poll to the next, such as 500ms, 10s or 1m; the first is made at once
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    interval: Duration,

    /// Time limit of one poll, from connecting to the end of the body
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    timeout: Duration,

    /// End after this many polls instead of never
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Polls until `shutdown`, or as often as `--count` says.
///
/// # Errors
/// When standard output cannot be written to.
pub(crate) async fn run(
    args: Args,
    host: &Host,
    clock: SharedClock,
    shutdown: CancellationToken,
) -> Result<ExitCode> {
    let tell = |poll: &Poll| output::text(&poll.to_string());
    let failures = poll_all(args, host, clock, shutdown, tell).await?;
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Polls and tells each; answers how many of a counted number of polls failed, and 0 when it was
/// told to stop before.
async fn poll_all(
    args: Args,
    host: &Host,
    clock: SharedClock,
    shutdown: CancellationToken,
    mut tell: impl FnMut(&Poll) -> Result<()>,
) -> Result<u64> {
    let client = Client::new(&args, host, clock, &shutdown).await;
    let mut ticks = interval(args.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = 0;
    for number in 1..=args.count.unwrap_or(u64::MAX) {
        // Cancel safe: a poll that is given up is not told.
        let outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(0),
            outcome = async {
                ticks.tick().await;
                match timeout(args.timeout, client.fetch(&args.fetch_url)).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(error)) => Outcome::Failed { error: format!("{error:#}") },
                    Err(_elapsed) => Outcome::Failed {
                        error: format!("no answer within {:?}", args.timeout),
                    },
                }
            } => outcome,
        };
        if let Outcome::Failed { .. } = outcome {
            failures += 1;
        }
        tell(&Poll {
            number,
            failures,
            outcome,
        })?;
    }
    Ok(failures)
}

/// What polls are made with.
struct Client<'a> {
    host: &'a Host,
    tls: ClientTls,
    credential: Option<CredentialSource>,
}

impl<'a> Client<'a> {
    async fn new(
        args: &Args,
        host: &'a Host,
        clock: SharedClock,
        shutdown: &CancellationToken,
    ) -> Self {
        let options = Options::default();
        let anchors = [host.path(&args.server_trust_bundle)];
        let anchors = AnchorSource::from_anchor_files(anchors, options, shutdown.clone()).await;
        let credential = match host.optional_path(&args.client_cred_bundle) {
            Some(path) => {
                Some(CredentialSource::from_bundle_file(path, options, shutdown.clone()).await)
            }
            None => None,
        };
        let clock = Clock::new(move || clock.now());
        let tls = ClientTls::new(anchors, credential.clone(), Resumption::Never, clock);
        Self {
            host,
            tls,
            credential,
        }
    }

    /// One connection, one handshake, one request.
    async fn fetch(&self, target: &Target) -> Result<Outcome> {
        // Taken first: should it change during the handshake, the older one is told.
        let credential = self.credential.as_ref().and_then(CredentialSource::current);
        let stream = self.host.connect(target.host(), target.port()).await?;
        let stream = self
            .tls
            .connect(target.host(), stream)
            .await
            .map_err(explain)?;
        let Some(leaf) = stream.presented().first() else {
            bail!("server without certificate")
        };
        let leaf = Certificate::from_der(leaf.to_vec()).context("the server's certificate")?;

        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(target.path())
            .header(HOST, target.authority())
            .header(USER_AGENT, concat!("podcert/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        let answer = async move {
            let response = sender
                .send_request(request)
                .await
                .context("no HTTP answer")?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
            let body = body
                .map_err(anyhow::Error::from_boxed)
                .context("body not read")?;
            Ok::<_, anyhow::Error>((status, body.to_bytes()))
        };
        // The connection must be driven while the answer is awaited. It ends by itself once the
        // sender is gone; what goes wrong with it then changes no answer.
        let (answer, _closed) = tokio::join!(answer, connection);
        let (status, body) = answer?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if !status.is_success() {
            let shown: String = body.trim_end().chars().take(SHOWN_BODY).collect();
            bail!("non-2xx status {} {shown:?}", status.as_u16());
        }
        Ok(Outcome::ok(
            status.as_u16(),
            body,
            &leaf,
            credential.as_deref().map(Snapshot::value),
        ))
    }
}

/// Says what meshtool said where it had words for it.
fn explain(error: TlsError) -> anyhow::Error {
    if let TlsError::NotReady {
        what: CLIENT_CREDENTIAL,
        cause: Some(SourceError::Invalid { source, .. }),
    } = &error
        && let Some(what @ (CredentialError::NoPrivateKey | CredentialError::NoCertificates)) =
            source.downcast_ref()
    {
        return anyhow::anyhow!("client {what}");
    }
    error.into()
}

/// A duration such as `500ms`, `10s` or `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text
        .parse::<SignedDuration>()
        .map_err(|error| error.to_string())?;
    let limits = MIN_DURATION..=MAX_DURATION;
    Duration::try_from(parsed)
        .ok()
        .filter(|duration| limits.contains(duration))
        .ok_or_else(|| format!("expected {MIN_DURATION:?} to {MAX_DURATION:?}"))
}

const AFTER_HELP: &str = "\
Output: one line per poll on standard output,
  ok poll=1 failures=0 status=200 body=\"OK\" serial=4f2a... not_after=2026-11-22T10:00:00Z
     names=DNS:server.demo.svc own_serial=51cc...
  failed poll=2 failures=1 error=\"cannot connect to ...\"
where serial, not_after and names are those of the certificate the server presented in this poll,
own_serial is the client's own (absent without --client-cred-bundle), failures counts the failed
polls so far, and body and error are JSON strings.

Both files are followed; each poll is a new connection with a full handshake. Redirects are not
followed: what is not 2xx has failed.

Exit codes: 0 stopped by SIGTERM or SIGINT, or all polls of --count succeeded; 1 one of them failed;
2 the command line is wrong.";

const CLIENT_CREDENTIAL: &str = "client credential";
/// Characters of an error's body that are told.
const SHOWN_BODY: usize = 500;
const MAX_BODY: usize = 1 << 20;
const MIN_DURATION: Duration = Duration::from_millis(10);
const MAX_DURATION: Duration = Duration::from_secs(86_400);

#[cfg(test)]
pub(crate) mod tests;
