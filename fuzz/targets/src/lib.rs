//! What is fuzzed: one function for each parser that takes bytes from outside.
//!
//! None may panic, and what was read must be written so that it reads the same. The drivers in
//! `fuzz/fuzz_targets` give them to libFuzzer; `cargo test` replays the inputs in `fuzz/corpus`,
//! a folder for each target. A new parser gets a function here, a line in [`TARGETS`], a driver and
//! a corpus; a crash that was found gets its input into the corpus before it is mended.

mod api;
mod manifest;
mod names;
mod pki;
mod pool;
mod resources;
mod server;

pub use api::api;
pub use manifest::manifest;
pub use names::names;
pub use pki::{certificate, csr, extension, pem};
pub use pool::pool;
pub use resources::resources;
pub use server::{logs, protobuf, token};

/// A target: its name, which is that of its driver and its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 12] = [
    ("api", api),
    ("certificate", certificate),
    ("csr", csr),
    ("extension", extension),
    ("logs", logs),
    ("manifest", manifest),
    ("names", names),
    ("pem", pem),
    ("pool", pool),
    ("protobuf", protobuf),
    ("resources", resources),
    ("token", token),
];
