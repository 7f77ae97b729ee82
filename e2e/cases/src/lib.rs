//! What a Kubernetes API server does, as far as podcert relies on it: one [`Case`] per rule.
//!
//! The cases are written once, over `certificates.k8s.io/v1` and `v1beta1`, and say for which
//! releases they hold. `cargo test` runs them against the embedded server, `cargo xtask e2e`
//! against the real kube-apiservers: where the two answer differently, the embedded one is wrong.
//!
//! A case is an async function that gets a [`World`] (a namespace of its own on some server) and
//! panics when the server does not do what the case says. It names what it checks in its own name,
//! compares status code, reason, field and message, never sleeps for long, and leaves nothing
//! outside its namespace that could disturb another case: cases run side by side.
//!
//! To add one: write it in the module of its subject and add it to that module's `cases()`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a case reports"
)]

mod access;
mod bindings;
mod builtins;
mod bundles;
mod caller;
mod deletion;
mod discovery;
mod events;
mod lists;
mod logs;
pub mod material;
mod merges;
mod meshtool;
mod metadata;
mod nodes;
mod objects;
mod patches;
mod paths;
mod pods;
mod policy;
mod requests;
mod reviews;
mod rights;
mod samples;
mod selectors;
mod signers;
mod tables;
mod tokens;
mod watches;
mod workloads;
mod world;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

pub use crate::caller::{Answer, Caller, Changes};
pub use crate::world::{ApiVersion, Policies, Release, Server, Target, User, World};

/// One thing a server does.
#[derive(Clone)]
pub struct Case {
    /// What it does, as `subject/sentence-in-kebab-case`.
    pub name: &'static str,
    holds: fn(Target) -> bool,
    run: Run,
}

type Run = Arc<dyn Fn(World) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl Case {
    /// A case that holds for every release and API version.
    pub(crate) fn new<F, R>(name: &'static str, run: F) -> Self
    where
        F: Fn(World) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self {
            name,
            holds: |_| true,
            run: Arc::new(move |world| Box::pin(run(world))),
        }
    }

    /// The same case, held to be true only where `holds` says.
    #[must_use]
    pub(crate) fn only(mut self, holds: fn(Target) -> bool) -> Self {
        self.holds = holds;
        self
    }

    /// Whether this release does this under this API version.
    pub fn holds_for(&self, target: Target) -> bool {
        (self.holds)(target)
    }

    /// Runs the case.
    ///
    /// # Panics
    /// When the server does something else.
    pub async fn run(&self, world: World) {
        (self.run)(world).await;
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

/// Every case, in the order of their subjects.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(access::cases());
    cases.extend(meshtool::cases());
    cases.extend(nodes::cases());
    cases.extend(pods::cases());
    cases.extend(policy::cases());
    cases.extend(signers::cases());
    cases.extend(discovery::cases());
    cases.extend(requests::cases());
    cases.extend(bindings::cases());
    cases.extend(builtins::cases());
    cases.extend(bundles::cases());
    cases.extend(deletion::cases());
    cases.extend(events::cases());
    cases.extend(lists::cases());
    cases.extend(logs::cases());
    cases.extend(merges::cases());
    cases.extend(metadata::cases());
    cases.extend(objects::cases());
    cases.extend(patches::cases());
    cases.extend(paths::cases());
    cases.extend(reviews::cases());
    cases.extend(selectors::cases());
    cases.extend(tables::cases());
    cases.extend(tokens::cases());
    cases.extend(watches::cases());
    cases.extend(workloads::cases());
    cases
}
