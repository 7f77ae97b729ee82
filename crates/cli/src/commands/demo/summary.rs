//! The end of the story: what was asked, issued and called, what failed, where to look closer.

use anyhow::Result;
use podcert_sandbox::Report;
use serde::Serialize;

use super::clients::Clients;
use super::requests::Requests;
use super::story::{Story, printable};
use crate::commands::stage::Calls;
use crate::output::{self, Format};

/// What the demo found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    seconds: f64,
    requests: usize,
    certificates: usize,
    refused: usize,
    waiting: usize,
    clients: usize,
    handshakes: u64,
    failures: u64,
    calls_before_servers_were_up: u64,
    container_restarts: u64,
    kubelet_restarts: u64,
    status_writes: u64,
    reads: u64,
    problems: Vec<String>,
}

impl Summary {
    /// Sums up.
    pub(super) fn new(
        story: &Story,
        requests: &Requests,
        clients: &Clients,
        report: &Report,
        calls: Calls,
        mut problems: Vec<String>,
    ) -> Self {
        let handshakes = clients.handshakes();
        if handshakes.unseen > 0 {
            problems.push(format!(
                "{} lines of the pods were not read",
                handshakes.unseen
            ));
        }
        for refusal in &report.refusals {
            problems.push(format!(
                "pod {}/{} did not run: {}",
                refusal.namespace, refusal.pod, refusal.sentence
            ));
        }
        let (made, issued, refused) = (requests.made(), requests.issued(), requests.refused());
        Self {
            seconds: story.elapsed().as_secs_f64(),
            requests: made,
            certificates: issued,
            refused,
            waiting: made.saturating_sub(issued + refused),
            clients: clients.count(),
            handshakes: handshakes.ok,
            failures: handshakes.failed,
            calls_before_servers_were_up: handshakes.early,
            container_restarts: report.container_restarts,
            kubelet_restarts: report.kubelet_restarts,
            status_writes: calls.status_writes,
            reads: calls.reads,
            problems,
        }
    }

    /// Whether nothing failed.
    pub(super) fn is_success(&self) -> bool {
        self.failures == 0
            && self.refused == 0
            && self.waiting == 0
            && self.container_restarts == 0
            && self.problems.is_empty()
    }

    /// Prints it.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub(super) fn print(&self, story: &Story, format: Format) -> Result<()> {
        if format != Format::Text {
            return output::object(format, self);
        }
        story.raw(&format!("\nsummary after {:.0} s", self.seconds));
        let row = |name: &str, text: String| story.raw(&format!("  {name:<13} {text}"));
        row(
            "requests",
            format!(
                "{} ({} denied or failed, {} waiting)",
                self.requests, self.refused, self.waiting
            ),
        );
        row(
            "certificates",
            format!(
                "{}, by {} status writes and {} reads of the controller",
                self.certificates, self.status_writes, self.reads
            ),
        );
        row(
            "handshakes",
            format!("{} by {} clients", self.handshakes, self.clients),
        );
        row("failures", self.failures.to_string());
        if self.calls_before_servers_were_up > 0 {
            row(
                "not counted",
                format!(
                    "{} calls before a server was up",
                    self.calls_before_servers_were_up
                ),
            );
        }
        if self.container_restarts > 0 {
            row(
                "restarts",
                format!("{} of programs that ended", self.container_restarts),
            );
        }
        for problem in &self.problems {
            row("PROBLEM", printable(problem));
        }
        story.raw(LOOK_CLOSER);
        Ok(())
    }
}

const LOOK_CLOSER: &str = "\nlook closer
  deploy/examples           the two applications, as they were applied
  podcert controller -h     the signers and their flags
  docs/architecture.md      how a request becomes a certificate";

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            seconds: 14.0,
            requests: 14,
            certificates: 14,
            refused: 0,
            waiting: 0,
            clients: 4,
            handshakes: 100,
            failures: 0,
            calls_before_servers_were_up: 2,
            container_restarts: 0,
            kubelet_restarts: 1,
            status_writes: 14,
            reads: 0,
            problems: Vec::new(),
        }
    }

    #[test]
    fn whatever_failed_is_no_success() {
        assert!(summary().is_success());
        for bad in [
            Summary {
                failures: 1,
                ..summary()
            },
            Summary {
                refused: 1,
                ..summary()
            },
            Summary {
                waiting: 1,
                ..summary()
            },
            Summary {
                container_restarts: 1,
                ..summary()
            },
            Summary {
                problems: vec!["a pod did not run".to_owned()],
                ..summary()
            },
        ] {
            assert!(!bad.is_success(), "{bad:?}");
        }
    }
}
