//! Stopping on request.

use std::io;

use tokio::signal::unix::{self, SignalKind};
use tokio_util::sync::CancellationToken;

/// A token cancelled by the first SIGTERM or SIGINT.
///
/// What runs watches the token and returns; nothing is torn down by force. Call inside a tokio
/// runtime. From then on both signals are ours: a second one changes nothing.
///
/// # Errors
/// When the signals cannot be listened for.
pub fn signal() -> io::Result<CancellationToken> {
    let mut terminate = unix::signal(SignalKind::terminate())?;
    let mut interrupt = unix::signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        cancelled.cancel();
    });
    Ok(token)
}
