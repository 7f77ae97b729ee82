//! What kubelets may do: the Node authorizer, and NodeRestriction for the requests they make.
//!
//! There is no kubelet here: the cases make Node objects and pods bound to them, and call as
//! `system:node:<name>`.

mod authorizer;
mod mounts;
mod objects;
mod place;
mod requests;

pub(crate) use self::place::Place;
use crate::{Case, Release, World};

pub(crate) fn cases() -> Vec<Case> {
    [
        requests::cases(),
        mounts::cases(),
        authorizer::cases(),
        objects::cases(),
    ]
    .concat()
}

/// `why`, as the admission plugin words its refusal of a request with this name.
fn forbidden(name: &str, why: &str) -> String {
    format!("podcertificaterequests.certificates.k8s.io \"{name}\" is forbidden: {why}")
}

/// What the Node authorizer adds to a refusal: from 1.37 on with its name before it.
fn opinion(world: &World, reason: &str) -> String {
    if world.target.release >= Release::V1_37 {
        format!(": node: {reason}")
    } else {
        format!(": {reason}")
    }
}
