//! What is fuzzed: one function for each parser that takes bytes from outside.
//!
//! None may panic, and what was read must be written so that it reads the same. The drivers in
//! `fuzz/fuzz_targets` give them to libFuzzer; `cargo test` replays the inputs in `fuzz/corpus`,
//! a folder for each target. A new parser gets a function here, a line in [`TARGETS`], a driver and
//! a corpus; a crash that was found gets its input into the corpus before it is mended.

mod api;
mod names;
mod pki;
mod pool;
mod resources;

pub use api::api;
pub use names::names;
pub use pki::{certificate, csr, extension, pem};
pub use pool::pool;
pub use resources::resources;

/// A target: its name, which is that of its driver and its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 8] = [
    ("api", api),
    ("certificate", certificate),
    ("csr", csr),
    ("extension", extension),
    ("names", names),
    ("pem", pem),
    ("pool", pool),
    ("resources", resources),
];
