//! Missing rights, which are said once at the start and nowhere else.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding};
use kube::api::{Api, Patch, PatchParams};
use podcert_apiserver::{Effect, Matching, Occurrence};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::cluster::{Cluster, Gate, SPIFFE, Setup, create};
use crate::forged::{grant, meshtool, with_uids};
use crate::replicas::{Journal, NAMESPACE, Replica, cluster_of, stop_all, user};

const A: &str = "podcert-0";

/// What is logged on this thread, on which a story and its controllers run.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Line>>>);

#[derive(Clone, Debug)]
struct Line {
    level: Level,
    target: &'static str,
    fields: BTreeMap<&'static str, String>,
}

impl Log {
    fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::registry().with(log.clone());
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap().clone()
    }

    /// What somebody should look at.
    fn alarms(&self) -> Vec<Line> {
        let mut lines = self.lines();
        lines.retain(|line| line.level <= Level::WARN);
        lines
    }

    /// What was said to be missing: resource, or signer, and verbs.
    fn missing(&self, level: Level) -> Vec<String> {
        let lines = self.lines().into_iter();
        lines
            .filter(|line| line.target == RIGHTS && line.level == level)
            .filter_map(|line| {
                let verbs = line.fields.get("verbs")?;
                let what = line.fields.get("name").unwrap_or(&line.fields["resource"]);
                Some(format!("{what}: {verbs}"))
            })
            .collect()
    }

    fn said(&self, words: &str) -> usize {
        let says = |line: &Line| line.fields["message"].contains(words);
        self.lines().iter().filter(|line| says(line)).count()
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        if target.starts_with("podcert_controller") {
            self.0.lock().unwrap().push(Line {
                level,
                target,
                fields: fields.0,
            });
        }
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// A cluster without a controller, in which [`A`] may do this.
async fn cluster_with(rules: Value, leases: bool) -> Cluster {
    let cluster = cluster_of(Setup::with_rbac()).await;
    grant(&cluster.client, &user(A), rules).await;
    if leases {
        let group = "rbac.authorization.k8s.io";
        let rules = json!([{
            "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
            "verbs": ["create", "get", "list", "watch", "update", "delete"],
        }]);
        let roles: Api<Role> = Api::namespaced(cluster.client.clone(), NAMESPACE);
        let role = json!({"metadata": {"name": "leases"}, "rules": rules});
        create(&roles, role).await;
        let bindings: Api<RoleBinding> = Api::namespaced(cluster.client.clone(), NAMESPACE);
        let binding = json!({
            "metadata": {"name": "leases"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "leases"},
            "subjects": [{"kind": "User", "apiGroup": group, "name": user(A)}],
        });
        create(&bindings, binding).await;
    }
    // The controller of the setup ends here, and with it what it logs.
    cluster.pass(1).await;
    cluster
}

/// [`A`] under way, what it asks for, and what answers it instead of the API server.
fn join(cluster: &Cluster) -> (Replica, Journal, Gate) {
    let gate = Gate::default();
    let idle = cluster.replica_behind(A, gate.clone());
    let journal = Arc::clone(&idle.journal);
    (idle.start(A), journal, gate)
}

fn is_review(_: &Method, path: &str) -> bool {
    path.ends_with("/selfsubjectaccessreviews")
}

/// How often it was asked what is allowed.
fn reviews(journal: &Journal) -> usize {
    let asked = journal.lock().unwrap();
    let reviews = asked
        .iter()
        .filter(|(_, uri)| uri.contains("accessreviews"));
    reviews.count()
}

async fn is_served(cluster: &Cluster) {
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    assert!(cluster.is_issued(&asked).await);
}

#[tokio::test(start_paused = true)]
async fn under_meshtools_roles_the_optional_ones_alone_are_missing() {
    let cluster = cluster_with(meshtool(), true).await;
    let (log, _guard) = Log::begin();
    let (a, journal, _) = join(&cluster);
    a.health.ready().await;
    is_served(&cluster).await;
    cluster.pass(7200).await;
    let expected = ["nodes: list,watch", "serviceaccounts: list,watch"];
    assert_eq!(log.missing(Level::WARN), expected);
    assert_eq!(log.missing(Level::ERROR), [""; 0]);
    assert_eq!(log.alarms().len(), 2, "{:#?}", log.alarms());
    assert_eq!(cluster.told("RightsMissing").await, 0);
    // A question each and, for what is missing, another one.
    let asked = reviews(&journal);
    assert!((25..=40).contains(&asked), "{asked}");
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn without_any_right_each_is_named_once() {
    let cluster = cluster_with(json!([]), false).await;
    let (log, _guard) = Log::begin();
    let (a, _, _) = join(&cluster);
    cluster.pass(3600).await;
    let required = [
        "pods: list,watch",
        "services: list,watch",
        "podcertificaterequests: list,watch",
        "podcertificaterequests/status: update",
        "clustertrustbundles: list,watch",
        "clustertrustbundles: create",
        "clustertrustbundles: update",
        "row-major.net/service-dns: sign",
        "row-major.net/service-dns: attest",
        "row-major.net/spiffe: sign",
        "row-major.net/spiffe: attest",
    ];
    let optional = [
        "podcertificaterequests: get",
        "events: create",
        "nodes: list,watch",
        "serviceaccounts: list,watch",
        "leases: get,list,watch,create,update",
        "leases: delete",
    ];
    assert_eq!(log.missing(Level::ERROR), required);
    assert_eq!(log.missing(Level::WARN), optional);
    let alarms = log.alarms();
    let others: Vec<_> = alarms.iter().filter(|it| it.target != RIGHTS).collect();
    assert_eq!(alarms.len(), required.len() + optional.len(), "{others:#?}");
    assert!(!a.health.is_ready());
    let report = a.health.report();
    assert!(
        report.contains("cannot list: pods is forbidden"),
        "{report}"
    );
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_needed_is_told_on_the_own_pod_too_and_taken_up_when_granted() {
    let mut rules = with_uids();
    let status = |rule: &Value| rule["resources"] == json!(["podcertificaterequests/status"]);
    rules.as_array_mut().unwrap().retain(|rule| !status(rule));
    let cluster = cluster_with(rules, true).await;
    let (log, _guard) = Log::begin();
    let (a, journal, _) = join(&cluster);
    a.health.ready().await;
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(60).await;
    let expected = ["podcertificaterequests/status: update"];
    assert_eq!(log.missing(Level::ERROR), expected);
    let events = cluster.events().await;
    let told: Vec<_> = events
        .iter()
        .filter(|(reason, _)| reason == "RightsMissing")
        .collect();
    assert_eq!(told.len(), 1);
    let expected = "not allowed to update podcertificaterequests/status";
    assert!(told[0].1.contains(expected), "{told:?}");
    assert!(!cluster.is_issued(&asked).await);

    let roles: Api<ClusterRole> = Api::all(cluster.client.clone());
    let patch = Patch::Merge(json!({"rules": with_uids()}));
    let name = user(A).replace(':', "-");
    let before = reviews(&journal);
    let params = PatchParams::default();
    roles.patch(&name, &params, &patch).await.unwrap();
    cluster.pass(300).await;
    assert!(cluster.is_issued(&asked).await);
    assert_eq!(reviews(&journal), before);
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn a_right_that_was_granted_and_is_taken_away_again_is_told_of() {
    let cluster = cluster_with(meshtool(), true).await;
    let (log, _guard) = Log::begin();
    let (a, _, _) = join(&cluster);
    a.health.ready().await;
    cluster.pass(60).await;
    let roles: Api<ClusterRole> = Api::all(cluster.client.clone());
    let name = user(A).replace(':', "-");
    for (rules, told) in [(with_uids(), 0), (meshtool(), 2)] {
        let patch = Patch::Merge(json!({"rules": rules}));
        let params = PatchParams::default();
        roles.patch(&name, &params, &patch).await.unwrap();
        cluster.pass(1300).await;
        assert_eq!(log.said("are not compared with live objects, as"), told);
    }
    let alarms = log.alarms();
    assert_eq!(alarms.len(), 4, "{alarms:#?}");
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn with_all_rights_nothing_is_said() {
    let cluster = cluster_with(with_uids(), true).await;
    let (log, _guard) = Log::begin();
    let (a, journal, _) = join(&cluster);
    a.health.ready().await;
    is_served(&cluster).await;
    cluster.pass(60).await;
    assert_eq!(log.said("no right is missing"), 1);
    assert_eq!(log.alarms().len(), 0, "{:#?}", log.alarms());
    // And costs nothing more.
    let asked = reviews(&journal);
    assert!(asked > 20, "{asked}");
    cluster.pass(7200).await;
    assert_eq!(reviews(&journal), asked);
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_and_forbids_everything_is_not_believed() {
    let cluster = cluster_with(with_uids(), true).await;
    let (log, _guard) = Log::begin();
    let faults = cluster.api.faults();
    let all = Matching::any().user(user(A));
    let starting = faults.inject(all, Occurrence::Always, forbidden());
    let (a, journal, gate) = join(&cluster);
    gate.close(is_review, 403);
    cluster.pass(20).await;
    let asked = reviews(&journal);
    assert!((3..10).contains(&asked), "{asked}");
    starting.remove();
    gate.open();
    cluster.pass(120).await;
    assert!(starting.hits() > 3);
    assert_eq!(log.said("no right is missing"), 1);
    assert_eq!(log.missing(Level::ERROR), [""; 0]);
    assert_eq!(log.missing(Level::WARN), [""; 0]);
    is_served(&cluster).await;
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_denied_for_a_moment_is_not_missing() {
    let cluster = cluster_with(with_uids(), false).await;
    let (log, _guard) = Log::begin();
    let (a, journal, _) = join(&cluster);
    cluster.pass(3).await;
    // After the first questions.
    assert!(reviews(&journal) > 20);
    let others = "coordination.k8s.io";
    let rules = json!([{"apiGroups": [others], "resources": ["leases"], "verbs": ["*"]}]);
    let mut all = with_uids();
    all.as_array_mut()
        .unwrap()
        .extend(rules.as_array().unwrap().clone());
    let roles: Api<ClusterRole> = Api::all(cluster.client.clone());
    let name = user(A).replace(':', "-");
    let patch = Patch::Merge(json!({"rules": all}));
    let params = PatchParams::default();
    roles.patch(&name, &params, &patch).await.unwrap();
    cluster.pass(30).await;
    assert_eq!(log.said("no right is missing"), 1);
    assert_eq!(log.missing(Level::WARN), [""; 0]);
    // What was refused meanwhile was kept back, and is told by whoever it was refused to.
    assert_eq!(log.said("this replica works alone"), 1);
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn where_it_may_not_be_asked_whoever_is_refused_tells() {
    let cluster = cluster_with(meshtool(), false).await;
    let (log, _guard) = Log::begin();
    let (a, journal, gate) = join(&cluster);
    gate.close(is_review, 403);
    a.health.ready().await;
    is_served(&cluster).await;
    cluster.pass(3600).await;
    assert_eq!(log.said("does not say which rights"), 1);
    let asked = reviews(&journal);
    assert!((2..20).contains(&asked), "{asked}");
    assert_eq!(log.missing(Level::WARN), [""; 0]);
    assert_eq!(log.said("are not compared with live objects"), 2);
    assert_eq!(log.said("this replica works alone"), 1);
    assert_eq!(log.alarms().len(), 3, "{:#?}", log.alarms());
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_say_holds_up_nothing() {
    let cluster = cluster_with(meshtool(), true).await;
    let (log, _guard) = Log::begin();
    let (a, journal, gate) = join(&cluster);
    gate.close(is_review, 503);
    let ready = tokio::time::timeout(Duration::from_secs(2), a.health.ready());
    ready.await.unwrap();
    is_served(&cluster).await;
    cluster.pass(3600).await;
    let asked = reviews(&journal);
    assert!((100..400).contains(&asked), "{asked}");
    assert_eq!(log.alarms().len(), 0, "{:#?}", log.alarms());
    gate.open();
    cluster.pass(60).await;
    let expected = ["nodes: list,watch", "serviceaccounts: list,watch"];
    assert_eq!(log.missing(Level::WARN), expected);
    stop_all(cluster, [a]).await;
}

fn forbidden() -> Effect {
    Effect::error(403, "Forbidden", "not now")
}

const RIGHTS: &str = "podcert_controller::rights";
