//! Events, as the real components write them: one that is said again is counted up in the Event that is there.

mod correlator;

use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Event, EventSource, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use podcert_runtime::SharedClock;
use serde_json::json;

use self::correlator::{Correlator, Told};

/// Writes Events.
pub(crate) struct Events {
    client: Client,
    clock: SharedClock,
    component: &'static str,
    host: String,
    correlator: Mutex<Correlator>,
}

/// An Event's `type`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
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
            correlator: Mutex::default(),
        }
    }

    /// The date that an Event has now.
    pub(crate) fn now(&self) -> Time {
        Time(self.clock.now())
    }

    /// Tells about the pod; see [`Events::emit_about`].
    pub(crate) async fn emit(
        &self,
        pod: &Pod,
        severity: Severity,
        reason: &'static str,
        message: &str,
    ) {
        self.emit_about(pod, severity, reason, message).await;
    }

    /// Tells about the object of a namespace. An Event that cannot be written is only logged: nothing waits for it.
    pub(crate) async fn emit_about<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        severity: Severity,
        reason: &'static str,
        message: &str,
    ) {
        let (uid, now) = (object.uid().unwrap_or_default(), self.clock.now());
        let told = self
            .correlator()
            .observe(&uid, severity, reason, message, now);
        let Some(told) = told else { return };
        if let Err(error) = self.write(object, severity, reason, &told).await {
            tracing::debug!(%error, reason, "an Event could not be written");
        }
    }

    async fn write<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        severity: Severity,
        reason: &'static str,
        told: &Told,
    ) -> kube::Result<()> {
        let namespace = object.namespace().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if let Some(name) = &told.name {
            let patch = json!({
                "count": told.count, "lastTimestamp": Time(told.last), "message": told.message,
            });
            let patched = events
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await;
            match patched {
                // It has expired.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                patched => return patched.map(drop),
            }
        }
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", object.name_any())),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            involved_object: object.object_ref(&()),
            count: Some(told.count),
            first_timestamp: Some(Time(told.first)),
            last_timestamp: Some(Time(told.last)),
            message: Some(told.message.clone()),
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
        let created = events.create(&PostParams::default(), &event).await;
        let name = created.as_ref().ok().map(ResourceExt::name_any);
        self.correlator().created(&told.key, name);
        created.map(drop)
    }

    /// Forgets an object that is gone, by its UID.
    pub(crate) fn forget(&self, uid: &str) {
        self.correlator().forget(uid);
    }

    fn correlator(&self) -> MutexGuard<'_, Correlator> {
        self.correlator
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
