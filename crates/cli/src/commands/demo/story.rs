//! What the demo prints while it runs: one plain line per event, with the seconds since the start.

use std::io::{self, Write as _};
use std::time::Duration;

use tokio::time::Instant;

use crate::output::Format;

/// Prints the story. Shared by everything that has something to tell.
#[derive(Debug)]
pub(super) struct Story {
    start: Instant,
    to: To,
}

#[derive(Clone, Copy, Debug)]
enum To {
    Stderr,
    Stdout,
}

impl Story {
    /// A story that begins now; where a program reads standard output it goes to standard error.
    pub(super) fn new(summary: Format) -> Self {
        let to = if summary == Format::Text {
            To::Stdout
        } else {
            To::Stderr
        };
        Self {
            start: Instant::now(),
            to,
        }
    }

    /// The time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// A heading with an empty line below.
    pub(super) fn title(&self, text: &str) {
        self.raw(&format!("{text}\n"));
    }

    /// One event: when, who, what.
    pub(super) fn line(&self, who: &str, what: &str) {
        self.raw(&format!(
            "{:5.1}s  {who:<11} {what}",
            self.elapsed().as_secs_f64()
        ));
    }

    /// A line as it is.
    pub(super) fn raw(&self, line: &str) {
        // Whoever closed the pipe has seen enough; the demo still ends in order.
        let _ = match self.to {
            To::Stderr => writeln!(io::stderr().lock(), "{line}"),
            To::Stdout => writeln!(io::stdout().lock(), "{line}"),
        };
    }
}
