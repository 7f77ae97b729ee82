//! Events, `events.k8s.io/v1`, written by create alone.
//!
//! meshtool's RBAC allows `create` and nothing else, so a repeated Event is not counted up by a
//! patch: whoever records decides how often it is worth another object.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::ApiVersion;

/// How much an Event matters.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Severity {
    /// For information.
    Normal,
    /// Somebody may have to act.
    Warning,
}

/// What an Event says; [`Notice::to_event`] makes the object.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The object it is about, where `kubectl describe` will show it.
    pub regarding: ObjectReference,
    /// A second object concerned.
    pub related: Option<ObjectReference>,
    /// How much it matters.
    pub severity: Severity,
    /// One CamelCase word: the same as in a condition and in the metrics.
    pub reason: &'static str,
    /// What was being done, CamelCase.
    pub action: &'static str,
    /// A sentence; cut to what Kubernetes allows (1 KiB).
    pub note: String,
}

impl Notice {
    /// The object to create, in the namespace of what it regards.
    ///
    /// `instance` tells one replica from another (at most 128 characters are kept).
    pub fn to_event(&self, instance: &str, at: Timestamp) -> Event {
        let namespace = self
            .regarding
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let name = self.regarding.name.as_deref().unwrap_or("podcert");
        Event {
            action: Some(self.action.to_owned()),
            event_time: Some(MicroTime(at)),
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", clip(name, MAX_NAME_PREFIX))),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            note: Some(clip(&self.note, MAX_NOTE).to_owned()),
            reason: Some(self.reason.to_owned()),
            regarding: Some(self.regarding.clone()),
            related: self.related.clone(),
            reporting_controller: Some(REPORTING_CONTROLLER.to_owned()),
            reporting_instance: Some(clip(instance, MAX_INSTANCE).to_owned()),
            type_: Some(match self.severity {
                Severity::Normal => "Normal".to_owned(),
                Severity::Warning => "Warning".to_owned(),
            }),
            ..Event::default()
        }
    }
}

/// A pod as an Event's subject.
pub fn pod_reference(namespace: &str, name: &str, uid: &str) -> ObjectReference {
    reference("v1", "Pod", Some(namespace), name, uid)
}

/// A request as an Event's subject, in the version it is spoken in.
pub fn request_reference(
    version: ApiVersion,
    namespace: &str,
    name: &str,
    uid: &str,
) -> ObjectReference {
    reference(
        version.group_version(),
        "PodCertificateRequest",
        Some(namespace),
        name,
        uid,
    )
}

fn reference(
    api_version: &str,
    kind: &str,
    namespace: Option<&str>,
    name: &str,
    uid: &str,
) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        uid: Some(uid.to_owned()).filter(|uid| !uid.is_empty()),
        ..ObjectReference::default()
    }
}

/// The longest prefix of `text` of at most `max` bytes that does not split a character.
fn clip(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max)
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Who reports: a qualified name, as the API asks.
pub const REPORTING_CONTROLLER: &str = "podcert.dev/controller";

const MAX_NOTE: usize = 1024;
const MAX_INSTANCE: usize = 128;
// A name has 253 characters; the server appends five to a generateName, we a dash (with a dot at
// its end the server refuses it).
const MAX_NAME_PREFIX: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_every_field_the_api_requires() {
        let notice = Notice {
            regarding: pod_reference("shop", "web", "p"),
            related: Some(request_reference(ApiVersion::V1, "shop", "req-1", "r")),
            severity: Severity::Warning,
            reason: "NoMatchingService",
            action: "Issue",
            note: "é".repeat(600),
        };
        let event = notice.to_event(&"x".repeat(200), Timestamp::UNIX_EPOCH);
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(event.metadata.generate_name.as_deref(), Some("web-"));
        assert_eq!(event.note.unwrap().len(), 1024);
        assert_eq!(event.reporting_instance.unwrap().len(), 128);
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.regarding.unwrap().kind.as_deref(), Some("Pod"));
        assert!(event.event_time.is_some());
    }
}
