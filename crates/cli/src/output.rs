//! Results on standard output: text for people, JSON or YAML for scripts. Everything else a command
//! has to say (progress, warnings, errors) goes to standard error.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use serde::Serialize;

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
        Format::Json => text(&serde_json::to_string_pretty(object)?),
        Format::Text | Format::Yaml => {
            // Base64 as one plain word, as kubectl prints it.
            let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
            let yaml = serde_saphyr::to_string_with_options(object, options)?;
            text(yaml.trim_end())
        }
    }
}
