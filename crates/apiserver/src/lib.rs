//! An embedded Kubernetes API server.
//!
//! [`ApiServer`] hands out `tower` services that `kube::Client::new` takes as they are: no socket,
//! no threads, no clock of its own. Under tokio's paused time a test may run a year of watches in
//! seconds, and with a seed it runs the same way twice. A listener put in front of
//! [`ApiServer::as_user`] serves other processes.
//!
//! It depends on nothing else of podcert and reads certificates with another library than the rest
//! of it, on purpose: it is what podcert is checked against, and a shared mistake would be
//! invisible.
//!
//! ```text
//! service ─▶ request ─▶ faults ─▶ authorizer ─▶ verbs ─▶ strategy ─▶ store ─▶ watch
//! ```
//!
//! - `request`: method, path and query to a target; `kinds`: the table of what is served.
//! - `versions`: the certificates API as v1 and v1beta1, from one storage.
//! - `authorization`, `rbac`, `node`: who may do what; what kubelets may write. `impersonation`: acting as
//!   somebody else (`kubectl --as`).
//! - `schema`: the types of all kinds, from k8s-openapi: for `openapi`, `protobuf`, unknown fields
//!   and the patches of `strategic` and `verbs::apply`.
//! - `representation`, `table`: objects whole, as metadata, or as the rows that kubectl prints.
//! - `discovery`, `reviews`: what is served, and what callers may do.
//! - `verbs`: get, list, watch, create, update, patch, delete, the same for all kinds; what is
//!   like none of them (`binding`, `scale`).
//! - `logs`: the logs of pods, from a [`PodLogSource`]; `tokens`: service account tokens, their issuer
//!   and who reads them ([`ApiServer::authenticate`]).
//! - `strategy`: admission, defaults and rules per kind, among them all of PodCertificateRequest and
//!   ClusterTrustBundle, worded as kube-apiserver 1.37 words them.
//! - `store`: objects, one revision counter, a bounded log of changes that watches read.
//! - [`Faults`]: errors, conflicts, delays, lost replies, cut watches, lost history.
//!
//! # Where it knowingly differs from kube-apiserver
//!
//! - No custom resources and no `managedFields`: server-side apply merges, but keeps no owners, so
//!   nothing conflicts, and a field left out of a later apply stays. It reads JSON alone.
//! - Answers are JSON; bodies may also be protobuf, which Go's typed clients send. OpenAPI v2 is
//!   there, but has no types: they are in v3 alone. The columns of tables have no descriptions.
//! - Without [`Builder::rbac`] everybody may do everything, or what a plugged-in [`Authorizer`]
//!   lets them. (A refused `sign` is a 422 with a cause of `spec.signerName`, a refused `attest` a
//!   403: that is upstream's doing.)
//! - With it, the authorizers Node and RBAC and the admission plugin NodeRestriction decide, but:
//!   nothing keeps users from granting more than they have (`bind`, `escalate`); nobody fills in
//!   aggregated cluster roles; of the default roles there are those for discovery, trust bundles and
//!   `cluster-admin`; kubelets may create mirror pods that refer to other objects.
//! - Of pods' specs are checked containers, resources, ports, probes, tolerations and names; not
//!   volumes' contents, security contexts, affinity or what is rarer. A refused change of a spec
//!   shows the difference in the API's JSON, not in upstream's internal types. There are no
//!   PriorityClasses but the two of the system, and no `resize` or `ephemeralcontainers`. Fields
//!   given twice are not noticed.
//! - Owner references are kept, but nobody collects orphans, and deletion policies other than
//!   `Background` have no effect. Deleting a namespace deletes its contents in the same request. A
//!   new namespace gets its `default` ServiceAccount from the server itself.
//! - Of the admission plugin ServiceAccount there is the check of the account; its token's volume is
//!   added if [`Builder::token_volumes`] says so, its image pull secrets never.
//! - Events of the core group and of `events.k8s.io` are two resources, not two views of one.
//! - History is counted in changes per resource ([`Builder::history`]), not in minutes.

mod authorization;
mod certs;
mod discovery;
mod faults;
mod field;
mod impersonation;
mod kinds;
mod logs;
mod node;
mod object;
mod openapi;
mod protobuf;
mod quantity;
mod random;
mod rbac;
mod representation;
mod request;
mod reviews;
mod schema;
mod selectors;
mod server;
mod service;
mod stats;
mod status;
mod store;
mod strategic;
mod strategy;
mod table;
mod tokens;
mod user;
mod verbs;
mod versions;
mod watch;

pub use faults::{Effect, Fault, Faults, Matching, Occurrence};
pub use logs::{PodLogQuery, PodLogSource};
pub use request::Verb;
pub use server::{ApiServer, Builder, ServerClock};
pub use service::{ApiBody, ApiService};
pub use stats::{RequestCount, Stats};
pub use user::{AllowAll, Attributes, Authorizer, Permission, User};
pub use versions::Versions;
