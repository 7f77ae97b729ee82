//! Our certificates before other people's verifiers.
//!
//! The same table of cases, good and bad, goes to rustls-webpki, to `openssl verify
//! -x509_strict` and to Go's crypto/x509: every type of CA key with every type of leaf key,
//! signed by a root and by an intermediate, for both profiles. Then keys and requests are
//! exchanged with both programs, in both directions.
//!
//! Where `openssl` or `go` is not installed, its tests print why they do nothing and pass;
//! with `PODCERT_REQUIRE_TOOLS=1` (as `.ci/run` sets it) they fail instead.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "all of this is test code: a panic is the report"
)]

mod cases;
mod go;
mod openssl;
mod tools;

use podcert_pki::verify::verify;

use crate::cases::{Case, table};

#[test]
fn webpki_agrees() {
    for case in table() {
        let Case {
            chain, anchors, at, ..
        } = case;
        case.assert(verify(chain, anchors, case.purpose(), *at).map_err(|e| e.to_string()));
    }
}
