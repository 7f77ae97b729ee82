//! Stopping on request.

use std::io;

use tokio::signal::unix::{self, SignalKind};
use tokio_util::sync::CancellationToken;

/// A token cancelled by the first SIGTERM, SIGINT or SIGHUP.
///
/// What runs watches the token and returns; nothing is torn down by force. Call inside a tokio
/// runtime. From then on these signals are ours: a second one changes nothing. SIGHUP, which a
/// terminal sends when it is closed, stays ignored for a process that was started so (nohup).
///
/// # Errors
/// When the signals cannot be listened for.
pub fn signal() -> io::Result<CancellationToken> {
    let mut terminate = unix::signal(SignalKind::terminate())?;
    let mut interrupt = unix::signal(SignalKind::interrupt())?;
    let mut hangup = match hangup_is_ignored() {
        true => None,
        false => Some(unix::signal(SignalKind::hangup())?),
    };
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = hung_up(hangup.as_mut()) => "SIGHUP",
        };
        tracing::info!(signal = name, "stopping");
        cancelled.cancel();
    });
    Ok(token)
}

async fn hung_up(hangup: Option<&mut unix::Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether this process was started with SIGHUP ignored, as far as the system tells (Linux does).
fn hangup_is_ignored() -> bool {
    std::fs::read_to_string("/proc/self/status").map_or(true, |status| ignores_hangup(&status))
}

/// Whether proc_pid_status(5) has SIGHUP, the first bit, among what is ignored.
fn ignores_hangup(status: &str) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read() {
        assert!(!ignores_hangup("Name:\tx\nSigIgn:\t0000000000001000\n"));
        assert!(ignores_hangup("SigIgn:\t0000000000001001\n"));
        // Better deaf to a closed terminal than ended by one that nohup was told to ignore.
        assert!(ignores_hangup("Name:\tx\n"));
        assert!(ignores_hangup("SigIgn:\tx\n"));
    }
}
