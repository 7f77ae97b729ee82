//! The server itself: what it is made of and how it is built.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::authorization::NodeAndRbac;
use crate::faults::{Faults, Matching, Rig};
use crate::kinds::{self, KINDS};
use crate::logs::PodLogSource;
use crate::object::text;
use crate::random::Randomness;
use crate::rbac;
use crate::service::ApiService;
use crate::stats::{Counters, Stats};
use crate::store::{Expect, Key, Store};
use crate::tokens::Issuer;
use crate::user::{AllowAll, Authorizer, User};
use crate::versions::Versions;

/// Where the server's dates come from.
pub type ServerClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// An embedded Kubernetes API server. Clones share everything.
///
/// Callers take a service for a user and hand it to a client:
///
/// ```
/// # use std::sync::Arc;
/// # use podcert_apiserver::{ApiServer, User};
/// let api = ApiServer::builder()
///     .clock(Arc::new(|| jiff::Timestamp::UNIX_EPOCH))
///     .seed(7)
///     .build();
/// let service = api.as_user(User::admin());
/// // kube::Client::new(service, "default")
/// ```
#[derive(Clone, Debug)]
pub struct ApiServer {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<Store>,
    pub(crate) clock: ServerClock,
    pub(crate) random: Randomness,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) admission: Admission,
    pub(crate) rig: Arc<Rig>,
    pub(crate) tokens: Issuer,
    pub(crate) pod_logs: Option<Arc<dyn PodLogSource>>,
    pub(crate) token_volumes: bool,
    pub(crate) counters: Counters,
    pub(crate) bookmark_interval: Duration,
    pub(crate) watch_timeout: Option<Duration>,
    certificates: RwLock<Versions>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer")
            .field("revision", &self.store.revision())
            .finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Begins to build a server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A service that speaks for this user: give it to `kube::Client::new`, or put a listener that
    /// has authenticated the user in front of it.
    pub fn as_user(&self, user: User) -> ApiService {
        ApiService::new(self.clone(), user)
    }

    /// The handle that makes things go wrong.
    pub fn faults(&self) -> Faults {
        Faults::new(self.inner.rig.clone(), self.inner.store.clone())
    }

    /// How often the server was asked for what since it was built (or since
    /// [`ApiServer::reset_stats`]).
    pub fn stats(&self) -> Stats {
        self.inner.counters.snapshot()
    }

    /// Sets all counters to zero.
    pub fn reset_stats(&self) {
        self.inner.counters.reset();
    }

    /// The newest resource version.
    pub fn resource_version(&self) -> u64 {
        self.inner.store.revision()
    }

    /// Changes under which versions the certificates API is served, as an upgrade of the server
    /// does: all open watches end. Objects stay.
    pub fn serve_certificates(&self, versions: Versions) {
        *self
            .inner
            .certificates
            .write()
            .unwrap_or_else(PoisonError::into_inner) = versions;
        self.faults().drop_watches(&Matching::any());
    }

    pub(crate) fn certificates(&self) -> Versions {
        *self
            .inner
            .certificates
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How many watches are open.
    pub fn open_watches(&self) -> usize {
        self.inner.rig.open_watches()
    }

    /// The server's current date, in whole seconds as the API shows dates.
    pub(crate) fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }
}

/// Which admission plugins run beside those that are always on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Admission {
    Default,
    NodeRestriction,
}

enum Authorization {
    By(Arc<dyn Authorizer>),
    NodeAndRbac,
}

/// Builds an [`ApiServer`].
pub struct Builder {
    clock: Option<ServerClock>,
    seed: Option<u64>,
    authorization: Authorization,
    history: usize,
    bookmark_interval: Duration,
    watch_timeout: Option<Duration>,
    certificates: Versions,
    issuer: String,
    pod_logs: Option<Arc<dyn PodLogSource>>,
    token_volumes: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            clock: None,
            seed: None,
            authorization: Authorization::By(Arc::new(AllowAll)),
            history: DEFAULT_HISTORY,
            bookmark_interval: DEFAULT_BOOKMARK_INTERVAL,
            watch_timeout: Some(DEFAULT_WATCH_TIMEOUT),
            certificates: Versions::default(),
            issuer: DEFAULT_ISSUER.into(),
            pod_logs: None,
            token_volumes: false,
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("seed", &self.seed)
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Where dates come from: creation timestamps, the `Date` header, the five-minute rule for
    /// issued certificates. Without one, dates follow tokio's clock from 2026-01-01T00:00:00Z, so
    /// that virtual time works; a server for people needs the real clock.
    #[must_use]
    pub fn clock(mut self, clock: ServerClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Makes UIDs, generated names and faults drawn by chance repeat from run to run. Without a
    /// seed they come from the operating system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Who may do what; [`AllowAll`] without one.
    #[must_use]
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorization = Authorization::By(authorizer);
        self
    }

    /// Users may do what kubeadm's clusters let them: the authorizers Node and RBAC decide, over
    /// the roles and bindings in the server, and the admission plugin NodeRestriction keeps
    /// kubelets to their own node. The default roles for discovery and trust bundles are there.
    #[must_use]
    pub fn rbac(mut self) -> Self {
        self.authorization = Authorization::NodeAndRbac;
        self
    }

    /// How many changes of each resource are kept for watches that resume and lists that continue;
    /// 10 000 if not set. Older ones answer `410 Expired`.
    #[must_use]
    pub fn history(mut self, changes: usize) -> Self {
        self.history = changes;
        self
    }

    /// How often a quiet watch gets a bookmark; a minute, as upstream, if not set. Simulations of
    /// months may want it longer.
    #[must_use]
    pub fn bookmark_interval(mut self, interval: Duration) -> Self {
        self.bookmark_interval = interval;
        self
    }

    /// How long a watch lives whose client names no `timeoutSeconds`: between once and twice this,
    /// as upstream; half an hour if not set. `None` lets such watches live for ever.
    #[must_use]
    pub fn watch_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.watch_timeout = timeout;
        self
    }

    /// Under which versions PodCertificateRequests and ClusterTrustBundles are served; `v1` alone,
    /// as in 1.37, if not set. [`ApiServer::serve_certificates`] changes it later.
    #[must_use]
    pub fn certificates(mut self, versions: Versions) -> Self {
        self.certificates = versions;
        self
    }

    /// Adds to new pods the volume `kube-api-access-…` with a token of their service account, as the
    /// admission plugin ServiceAccount does. Off if not set: somebody has to play the kubelet that
    /// fills it, and the controller that publishes `kube-root-ca.crt`.
    #[must_use]
    pub fn token_volumes(mut self) -> Self {
        self.token_volumes = true;
        self
    }

    /// Who plays the kubelets that have the logs of pods; without one, questions for logs are
    /// answered `501`.
    #[must_use]
    pub fn pod_logs(mut self, source: Arc<dyn PodLogSource>) -> Self {
        self.pod_logs = Some(source);
        self
    }

    /// Who issues the tokens of service accounts: a URL, which is also the audience that means this
    /// API server; `https://kubernetes.default.svc.cluster.local` if not set.
    #[must_use]
    pub fn service_account_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// The server, with the namespaces `default` and `kube-system` in it.
    pub fn build(self) -> ApiServer {
        let random = match self.seed {
            Some(seed) => Randomness::from_seed(seed),
            None => Randomness::from_entropy(),
        };
        let store = Arc::new(Store::new(self.history));
        let (authorizer, admission): (Arc<dyn Authorizer>, _) = match self.authorization {
            Authorization::By(authorizer) => (authorizer, Admission::Default),
            Authorization::NodeAndRbac => (
                Arc::new(NodeAndRbac::new(store.clone())),
                Admission::NodeRestriction,
            ),
        };
        let server = ApiServer {
            inner: Arc::new(Inner {
                store,
                clock: self.clock.unwrap_or_else(virtual_clock),
                rig: Arc::new(Rig::default()),
                random,
                authorizer,
                admission,
                tokens: Issuer::new(self.issuer),
                pod_logs: self.pod_logs,
                token_volumes: self.token_volumes,
                counters: Counters::default(),
                bookmark_interval: self.bookmark_interval,
                watch_timeout: self.watch_timeout,
                certificates: RwLock::new(self.certificates),
            }),
        };
        for name in ["default", "kube-system"] {
            server.seed_namespace(name);
        }
        if admission == Admission::NodeRestriction {
            server.seed_roles();
        }
        server
    }
}

impl ApiServer {
    fn seed_namespace(&self, name: &str) {
        let Some(kind) = KINDS.get(kinds::NAMESPACES) else {
            return;
        };
        let mut object = json!({"metadata": {"name": name}});
        self.fill_system_fields(&mut object);
        crate::strategy::default_for(kind, &mut object);
        // The store is empty: nothing can be in the way.
        let _ = self
            .inner
            .store
            .put(kind, Key::new("", name), object, Expect::Absent);
        self.add_default_service_account(name);
    }

    fn seed_roles(&self) {
        for (row, mut object) in rbac::defaults() {
            let Some(kind) = KINDS.get(row) else {
                continue;
            };
            self.fill_system_fields(&mut object);
            let key = Key::new("", text(&object, &["metadata", "name"]));
            // The store is empty: nothing can be in the way.
            let _ = self.inner.store.put(kind, key, object, Expect::Absent);
        }
    }
}

/// 2026-01-01T00:00:00Z plus the time tokio's clock has run.
fn virtual_clock() -> ServerClock {
    const START: i64 = 1_767_225_600;
    let begin = std::sync::OnceLock::new();
    Arc::new(move || {
        // Begun at the first use: building a server needs no runtime.
        let begin = *begin.get_or_init(tokio::time::Instant::now);
        let elapsed = tokio::time::Instant::now().saturating_duration_since(begin);
        let start = Timestamp::from_second(START).unwrap_or(Timestamp::UNIX_EPOCH);
        start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    })
}

const DEFAULT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const DEFAULT_HISTORY: usize = 10_000;
const DEFAULT_BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
const DEFAULT_WATCH_TIMEOUT: Duration = Duration::from_secs(1_800);
