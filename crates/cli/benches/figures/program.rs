//! The binary itself: its size.

use anyhow::Result;

use crate::{Figure, Goal};

/// The program under measurement, built with the release profile.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_podcert");

/// Its size in MB (10^6 bytes).
pub(crate) fn figures() -> Result<Vec<Figure>> {
    let bytes = std::fs::metadata(PROGRAM)?.len();
    #[expect(
        clippy::cast_precision_loss,
        reason = "a file of 2^53 bytes would be off by one"
    )]
    let megabytes = bytes as f64 / 1e6;
    Ok(vec![Figure {
        name: "binary_mb",
        value: megabytes,
        goal: Goal::AtMost(20.0),
    }])
}
