//! Events about pods. One that says the same as the last of its reason is not repeated: where the real components
//! count repetitions up with a PATCH, a sandbox has no use for the count.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use podcert_runtime::SharedClock;

/// Writes Events.
pub(crate) struct Events {
    client: Client,
    clock: SharedClock,
    component: &'static str,
    host: String,
    /// The last message by pod UID and reason.
    last: Mutex<HashMap<(String, &'static str), String>>,
}

/// An Event's `type`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

impl Events {
    /// Of this component, on this host if it has one.
    pub(crate) fn new(
        client: Client,
        clock: SharedClock,
        component: &'static str,
        host: String,
    ) -> Self {
        Self {
            client,
            clock,
            component,
            host,
            last: Mutex::default(),
        }
    }

    /// The date that an Event has now.
    pub(crate) fn now(&self) -> Time {
        Time(self.clock.now())
    }

    /// Tells about the pod. An Event that cannot be written is only logged: nothing waits for it.
    pub(crate) async fn emit(
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
        let now = Some(self.now());
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
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: Some(self.host.clone()),
            source: Some(EventSource {
                component: Some(self.component.to_owned()),
                host: Some(self.host.clone()).filter(|host| !host.is_empty()),
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
    pub(crate) fn forget(&self, uid: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|(pod, _), _| pod != uid);
    }
}
