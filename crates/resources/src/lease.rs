//! Leases by which the replicas of an application know of each other, in meshtool's format.
//!
//! One Lease a replica, named after its pod and labelled with the application, says who lives: its
//! holder, when it was renewed and how long that is good for. What is read of others is
//! [`ReplicaLease`], which takes anything: a Lease without a date, or with a date that is none, or
//! held by what cannot be a pod, is simply not one of a living replica. What is written is [`Replica::lease`].

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::core::{ObjectMeta, Resource};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{bundle::is_label_value, meta};

/// The label that says which application's replica a Lease is.
pub const APPLICATION_LABEL: &str = "rendezvous.row-major.net/application";

/// How long a renewal is good for.
pub const DURATION: Duration = Duration::from_secs(DURATION_SECONDS as u64);

/// How often a Lease is renewed.
pub const RENEWAL_PERIOD: Duration = Duration::from_secs(10);

const DURATION_SECONDS: u32 = 15;
/// A Lease may claim more; a request lives fifteen minutes and cannot wait for that.
const LONGEST_DURATION: Duration = Duration::from_secs(60);
const MAX_SUBDOMAIN: usize = 253;

/// The name of an application whose replicas share their work: a label value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Application(String);

/// A text that cannot stand in a label.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is no label value (1 to 63 letters, digits, '-', '_' or '.', alphanumeric at both ends)"
)]
pub struct NotAnApplication(String);

impl Application {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What selects the Leases of its replicas.
    pub fn selector(&self) -> String {
        format!("{APPLICATION_LABEL}={}", self.0)
    }
}

impl FromStr for Application {
    type Err = NotAnApplication;

    fn from_str(text: &str) -> Result<Self, NotAnApplication> {
        if is_label_value(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAnApplication(text.to_owned()))
        }
    }
}

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A replica: the pod it runs in, and the application it belongs to.
#[derive(Clone, Debug)]
pub struct Replica {
    /// The pod's namespace, and the Lease's.
    pub namespace: String,
    /// The pod's name, the Lease's, and the holder's identity.
    pub name: String,
    /// The pod's UID. The Lease is collected with the pod; without a UID it has no owner.
    pub uid: String,
    /// Those it shares its work with.
    pub application: Application,
}

impl Replica {
    /// Its Lease, never written yet, held from `now` on.
    pub fn lease(&self, now: Timestamp) -> Lease {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.clone()),
            ..ObjectMeta::default()
        };
        let spec = LeaseSpec {
            acquire_time: Some(MicroTime(now)),
            lease_transitions: Some(1),
            ..LeaseSpec::default()
        };
        let lease = Lease {
            metadata,
            spec: Some(spec),
        };
        self.renewed(lease, now)
    }

    /// `lease`, which bears its name, renewed at `now`. What an earlier process under this name left
    /// there is taken over; labels and annotations of others are kept.
    pub fn renewed(&self, mut lease: Lease, now: Timestamp) -> Lease {
        lease.metadata.labels.get_or_insert_default().insert(
            APPLICATION_LABEL.to_owned(),
            self.application.as_str().to_owned(),
        );
        lease.metadata.owner_references = self.owner().map(|owner| vec![owner]);
        // The server keeps those itself; sending them back is only bytes.
        lease.metadata.managed_fields = None;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.name.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION_SECONDS).ok();
        spec.renew_time = Some(MicroTime(now));
        // There, unless the Lease was made by somebody else.
        spec.acquire_time.get_or_insert(MicroTime(now));
        spec.lease_transitions.get_or_insert(1);
        lease
    }

    fn owner(&self) -> Option<OwnerReference> {
        (!self.uid.is_empty()).then(|| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            ..OwnerReference::default()
        })
    }
}

/// What is read of a replica's Lease.
#[derive(Clone, Debug, Deserialize)]
pub struct ReplicaLease {
    /// Name, namespace, UID, resource version, creation and deletion time.
    #[serde(deserialize_with = "meta::identity")]
    pub metadata: ObjectMeta,

    #[serde(default, deserialize_with = "held", rename = "spec")]
    held: Option<Held>,
}

/// A Lease that says all a living replica's must say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// Who holds it: a DNS subdomain name, as pods have.
    pub holder: String,
    /// When it was renewed, by the holder's clock.
    pub renewed: Timestamp,
    /// How long that is good for; at most a minute, whatever it says.
    pub duration: Duration,
}

impl ReplicaLease {
    /// What it says, if it says who holds it, since when and for how long.
    pub fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }
}

fn held<'de, D>(deserializer: D) -> Result<Option<Held>, D::Error>
where
    D: Deserializer<'de>,
{
    let spec = Value::deserialize(deserializer)?;
    let text = |field: &str| spec.get(field).and_then(Value::as_str);
    let read = || {
        let holder = text("holderIdentity").filter(|holder| is_pod_name(holder))?;
        let seconds = spec.get("leaseDurationSeconds")?.as_u64()?;
        Some(Held {
            holder: holder.to_owned(),
            renewed: text("renewTime")?.parse().ok()?,
            duration: Duration::from_secs(seconds).min(LONGEST_DURATION),
        })
    };
    Ok(read().filter(|held| !held.duration.is_zero()))
}

/// Kubernetes' rule for a pod's name, a DNS subdomain name (RFC 1123).
fn is_pod_name(name: &str) -> bool {
    let alphanumeric =
        |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= MAX_SUBDOMAIN
        && name.split('.').all(|label| {
            let bytes = label.as_bytes();
            alphanumeric(bytes.first())
                && alphanumeric(bytes.last())
                && bytes.iter().all(|b| *b == b'-' || alphanumeric(Some(b)))
        })
}

impl Resource for ReplicaLease {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Lease::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Lease::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Lease::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Lease::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replica(uid: &str) -> Replica {
        Replica {
            namespace: "mesh-controller".into(),
            name: "mesh-controller-0".into(),
            uid: uid.into(),
            application: "mesh-controller".parse().unwrap(),
        }
    }

    fn now() -> Timestamp {
        "2026-11-21T12:00:00.5Z".parse().unwrap()
    }

    #[test]
    fn a_lease_is_meshtools_field_by_field() {
        let written = serde_json::to_value(replica("u").lease(now())).unwrap();
        assert_eq!(
            written,
            json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {
                    "name": "mesh-controller-0",
                    "namespace": "mesh-controller",
                    "labels": {"rendezvous.row-major.net/application": "mesh-controller"},
                    "ownerReferences": [{
                        "apiVersion": "v1", "kind": "Pod", "name": "mesh-controller-0", "uid": "u",
                        "controller": true,
                    }],
                },
                "spec": {
                    "holderIdentity": "mesh-controller-0",
                    "leaseDurationSeconds": 15,
                    "acquireTime": "2026-11-21T12:00:00.500000Z",
                    "renewTime": "2026-11-21T12:00:00.500000Z",
                    "leaseTransitions": 1,
                },
            })
        );
        let ownerless = replica("").lease(now());
        assert_eq!(ownerless.metadata.owner_references, None);
    }

    #[test]
    fn what_an_earlier_process_left_is_taken_over() {
        let mut before = replica("old").lease(now());
        before.metadata.resource_version = Some("7".into());
        let labels = before.metadata.labels.get_or_insert_default();
        labels.insert("team".into(), "mesh".into());
        let later = now() + Duration::from_secs(3600);
        let after = replica("new").renewed(before.clone(), later);
        let spec = after.spec.unwrap();
        assert_eq!(spec.renew_time, Some(MicroTime(later)));
        assert_eq!(spec.acquire_time, before.spec.unwrap().acquire_time);
        assert_eq!(after.metadata.owner_references.unwrap()[0].uid, "new");
        assert_eq!(after.metadata.labels.unwrap().len(), 2);
        assert_eq!(after.metadata.resource_version.as_deref(), Some("7"));
    }

    fn read(spec: &Value) -> Option<Held> {
        let lease = json!({"metadata": {"name": "a"}, "spec": spec});
        let lease: ReplicaLease = serde_json::from_value(lease).unwrap();
        lease.held().cloned()
    }

    #[test]
    fn a_lease_is_read_as_it_was_written() {
        let written = serde_json::to_value(replica("u").lease(now())).unwrap();
        let held = read(&written["spec"]).unwrap();
        assert_eq!(held.holder, "mesh-controller-0");
        assert_eq!((held.renewed, held.duration), (now(), DURATION));
    }

    #[test]
    fn nonsense_is_nobodys_lease() {
        let whole = json!({
            "holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-11-21T12:00:00Z",
        });
        assert!(read(&whole).is_some());
        for field in ["holderIdentity", "leaseDurationSeconds", "renewTime"] {
            for nonsense in [
                Value::Null,
                json!(""),
                json!(0),
                json!(-15),
                json!({}),
                json!("soon"),
                json!("99999-01-01T00:00:00Z"),
            ] {
                // A word may be somebody's name.
                if field == "holderIdentity" && nonsense == "soon" {
                    continue;
                }
                let mut spec = whole.clone();
                spec[field] = nonsense.clone();
                assert_eq!(read(&spec), None, "{field}: {nonsense}");
            }
        }
        let long = format!("a{}", ".a".repeat(127));
        for holder in [
            "x\n[+]pool ok",
            "A",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a b",
            "é",
            &long,
        ] {
            let mut spec = whole.clone();
            spec["holderIdentity"] = json!(holder);
            assert_eq!(read(&spec), None, "{holder}");
        }
        for holder in ["0", "a.b-c", &long[2..]] {
            let mut spec = whole.clone();
            spec["holderIdentity"] = json!(holder);
            assert!(read(&spec).is_some(), "{holder}");
        }
        for spec in [Value::Null, json!([]), json!("x"), json!({})] {
            assert_eq!(read(&spec), None, "{spec}");
        }
        let lease: ReplicaLease = serde_json::from_value(json!({"metadata": {}})).unwrap();
        assert_eq!(lease.held(), None);
        let mut forever = whole;
        forever["leaseDurationSeconds"] = json!(i32::MAX);
        assert_eq!(read(&forever).unwrap().duration, LONGEST_DURATION);
    }

    #[test]
    fn an_application_is_a_label_value() {
        assert_eq!(
            "mesh-controller".parse::<Application>().unwrap().selector(),
            "rendezvous.row-major.net/application=mesh-controller"
        );
        for text in ["", "-a", "a b", "a/b", &"a".repeat(64)] {
            let error = text.parse::<Application>().unwrap_err().to_string();
            assert!(error.contains("label value"), "{error}");
        }
    }
}
