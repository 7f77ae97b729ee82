//! What the demo tells while it runs: one plain line per event, with the seconds since the start, and
//! all of it on the board that the live screen shows. While the screen is up nothing is printed.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::board::{Board, Event};
use crate::output::Format;

/// Prints the story. Shared by everything that has something to tell.
#[derive(Debug)]
pub(super) struct Story {
    start: Instant,
    to: To,
    board: Board,
    live: AtomicBool,
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
            board: Board::default(),
            live: AtomicBool::new(false),
        }
    }

    /// Where everything is shown as it is now.
    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    /// Whether the screen shows the board, so that lines would destroy it.
    pub(super) fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::Relaxed);
    }

    /// A new part of the demo begins.
    pub(super) fn act(&self, what: &str) {
        self.board.update(|view| what.clone_into(&mut view.act));
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
        self.board.tell(Event {
            at: self.elapsed(),
            who: who.to_owned(),
            what: what.to_owned(),
        });
        self.raw(&format!(
            "{:5.1}s  {who:<11} {}",
            self.elapsed().as_secs_f64(),
            printable(what)
        ));
    }

    /// A line as it is.
    pub(super) fn raw(&self, line: &str) {
        if self.live.load(Ordering::Relaxed) {
            return;
        }
        // Whoever closed the pipe has seen enough; the demo still ends in order.
        let _ = match self.to {
            To::Stderr => writeln!(io::stderr().lock(), "{line}"),
            To::Stdout => writeln!(io::stdout().lock(), "{line}"),
        };
    }
}

/// The text on one line, without what a terminal would obey: some of it comes from the pods' programs and their peers.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || BIDI.contains(&c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// These make a terminal show other words than were said.
const BIDI: &[char] = &[
    '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2028}',
    '\u{2029}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_and_obeys_nobody() {
        let hostile = "no\n  0.0s  issued  \u{1b}]0;x\u{7}\u{9b}2J\u{202e}";
        let shown = printable(hostile);
        assert_eq!(
            shown,
            "no\\n  0.0s  issued  \\u{1b}]0;x\\u{7}\\u{9b}2J\\u{202e}"
        );
        assert_eq!(printable("Füße 鍵 \"OK\" …"), "Füße 鍵 \"OK\" …");
    }
}
