//! Results on standard output: text for people, JSON or YAML for scripts. Everything else a command
//! has to say (progress, warnings, errors) goes to standard error.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::page;

/// How a result is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// One YAML document
    Yaml,
}

/// Prints a line of text.
///
/// # Errors
/// When standard output is closed or full.
pub(crate) fn text(line: &str) -> Result<()> {
    writeln!(io::stdout().lock(), "{line}").context("cannot write to standard output")
}

/// Prints an object; text means YAML here, the more readable of the two.
///
/// # Errors
/// When standard output is closed or full.
pub(crate) fn object(format: Format, object: &impl Serialize) -> Result<()> {
    match format {
        Format::Json => text(&json(object)?),
        Format::Text | Format::Yaml => {
            // Base64 as one plain word, as kubectl prints it.
            let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
            let yaml = serde_saphyr::to_string_with_options(object, options)?;
            if yaml.contains(|c| c != '\n' && page::is_hidden(c)) {
                // Which is YAML as well, and can say it without doing it.
                return text(&json(object)?);
            }
            text(yaml.trim_end())
        }
    }
}

/// `object` as JSON, in which nothing stands that a terminal would not just show: names and messages in it come
/// from others.
fn json(object: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string_pretty(object)?;
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // A line break is of the layout; within its texts JSON has all of ASCII escaped already but DEL.
        if c == '\n' || !page::is_hidden(c) {
            shown.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        }
    }
    Ok(shown)
}

/// Log lines go elsewhere while this lives: standard error would destroy a live screen.
#[derive(Debug)]
pub(crate) struct Diverted(());

type Sink = Box<dyn Fn(&str) + Send>;

/// Where log lines go, if not to standard error. One for the process, as standard error is.
static SINK: Mutex<Option<Sink>> = Mutex::new(None);

impl Diverted {
    /// From now on each line is given to `sink`, which may not log itself.
    pub(crate) fn to(sink: impl Fn(&str) + Send + 'static) -> Self {
        *lock() = Some(Box::new(sink));
        Self(())
    }
}

impl Drop for Diverted {
    fn drop(&mut self) {
        *lock() = None;
    }
}

/// Where `tracing` writes: standard error, or to who has [`Diverted`] it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &*lock() {
            None => io::stderr().write(bytes),
            Some(sink) => {
                sink(String::from_utf8_lossy(bytes).trim_end());
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn lock() -> MutexGuard<'static, Option<Sink>> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_what_a_terminal_would_obey_and_does_not_do_it() {
        let words = "a\u{9b}31m\u{7f}\u{1b}[0m\u{202e}\u{61c}\u{2066}\n\"é😀";
        let object = serde_json::json!({words: [words]});
        let written = json(&object).unwrap();
        let hidden = written.chars().find(|c| page::is_hidden(*c) && *c != '\n');
        assert_eq!(hidden, None, "{written}");
        assert!(
            written.contains("a\\u009b31m\\u007f\\u001b[0m\\u202e"),
            "{written}"
        );
        assert!(written.contains("é😀"), "{written}");
        let read: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read, object);
    }
}
