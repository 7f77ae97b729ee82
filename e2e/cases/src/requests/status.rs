//! The status of a request: how it is written, how it changes, and what may stand in it.

mod chain;
mod change;
mod condition;
mod dates;
mod leaf;
mod write;

use crate::Case;

pub(super) fn cases() -> Vec<Case> {
    [
        write::cases(),
        change::cases(),
        condition::cases(),
        chain::cases(),
        leaf::cases(),
        dates::cases(),
    ]
    .concat()
}

const CHAIN: &str = "status.certificateChain";
const NO_LEAF: &str = "Invalid value: {}: leaf certificate does not parse as valid X.509";
const UNKNOWN_TYPE: &str =
    "Unsupported value: \"Approved\": supported values: \"Issued\", \"Denied\", \"Failed\"";
