//! The kubelet's Events about pods. One that says the same as the last of its reason is not repeated: where the real
//! kubelet counts repetitions up with a PATCH, a sandbox has no use for the count.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use podcert_runtime::SharedClock;

use super::Node;

/// Writes Events.
pub(super) struct Events {
    client: Client,
    clock: SharedClock,
    node: String,
    /// The last message by pod UID and reason.
    last: Mutex<HashMap<(String, &'static str), String>>,
}

/// An Event's `type`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Severity {
    Normal,
    Warning,
}

impl Events {
    pub(super) fn new(node: &Node) -> Self {
        Self {
            client: node.client.clone(),
            clock: node.clock.clone(),
            node: node.name.clone(),
            last: Mutex::default(),
        }
    }

    /// Tells about the pod. An Event that cannot be written is only logged: nothing waits for it.
    pub(super) async fn emit(
        &self,
        pod: &Pod,
        severity: Severity,
        reason: &'static str,
        message: &str,
    ) {
        let key = (pod.uid().unwrap_or_default(), reason);
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.get(&key).is_some_and(|last| last == message) {
                return;
            }
            last.insert(key, message.to_owned());
        }
        let now = Some(Time(self.clock.now()));
        let namespace = pod.namespace().unwrap_or_default();
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", pod.name_any())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                namespace: pod.metadata.namespace.clone(),
                resource_version: pod.metadata.resource_version.clone(),
                uid: pod.metadata.uid.clone(),
                field_path: None,
            },
            count: Some(1),
            first_timestamp: now.clone(),
            last_timestamp: now,
            message: Some(message.to_owned()),
            reason: Some(reason.to_owned()),
            reporting_component: Some(COMPONENT.to_owned()),
            reporting_instance: Some(self.node.clone()),
            source: Some(EventSource {
                component: Some(COMPONENT.to_owned()),
                host: Some(self.node.clone()),
            }),
            type_: Some(format!("{severity:?}")),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            tracing::debug!(%error, reason, "an Event could not be written");
        }
    }

    /// Forgets a pod that is gone.
    pub(super) fn forget(&self, uid: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|(pod, _), _| pod != uid);
    }
}

const COMPONENT: &str = "kubelet";
