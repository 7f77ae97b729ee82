//! A request as people ask about it: whose, how old, how it was answered, or what it waits for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::PodCertificateRequest;
use k8s_openapi::api::events::v1::Event;
use podcert_pki::Chain;
use podcert_resources::event::REPORTING_CONTROLLER;

/// A request, in whatever version it was read; both have the same fields where it matters here.
#[derive(Clone, Debug)]
pub struct Request(PodCertificateRequest);

/// How a request was answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With a certificate.
    Issued {
        /// It and what is above it; nothing if it cannot be read.
        chain: Option<Chain>,
        /// When the kubelet begins to ask for the next one.
        begin_refresh_at: Option<Timestamp>,
    },
    /// Denied or Failed: final for the pod.
    Refused {
        /// The condition: `Denied` or `Failed`.
        condition: String,
        /// Its reason.
        reason: String,
        /// Its message.
        message: String,
    },
    /// Not yet.
    None,
}

/// What is known of why a request waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// The reason word.
    pub reason: String,
    /// What was said with it.
    pub message: String,
}

/// What a controller would do with a request, given what the person who asks may see.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expectation {
    /// Answer it with a certificate.
    Issue,
    /// Deny it.
    Deny(Told),
    /// Let it wait.
    Wait(Told),
}

impl From<PodCertificateRequest> for Request {
    fn from(object: PodCertificateRequest) -> Self {
        Self(object)
    }
}

impl Request {
    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.0.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its UID.
    pub fn uid(&self) -> &str {
        self.0.metadata.uid.as_deref().unwrap_or_default()
    }

    /// When it was made.
    pub fn created(&self) -> Option<Timestamp> {
        self.0.metadata.creation_timestamp.as_ref().map(|at| at.0)
    }

    /// The signer it is for.
    pub fn signer(&self) -> &str {
        &self.0.spec.signer_name
    }

    /// The pod it is for.
    pub fn pod(&self) -> &str {
        &self.0.spec.pod_name
    }

    /// That pod's UID.
    pub fn pod_uid(&self) -> &str {
        &self.0.spec.pod_uid
    }

    /// The annotations of the projection it was made for.
    pub fn has_annotations(&self, annotations: Option<&BTreeMap<String, String>>) -> bool {
        let none = BTreeMap::new();
        let own = &self.0.spec.unverified_user_annotations;
        own.as_ref().unwrap_or(&none) == annotations.unwrap_or(&none)
    }

    /// How it was answered.
    pub fn answer(&self) -> Answer {
        let Some(status) = &self.0.status else {
            return Answer::None;
        };
        let conditions = status.conditions.as_deref().unwrap_or_default();
        for condition in conditions {
            match condition.type_.as_str() {
                "Issued" => {
                    let chain = status.certificate_chain.as_deref();
                    return Answer::Issued {
                        chain: chain.and_then(|chain| Chain::from_pem(chain).ok()),
                        begin_refresh_at: status.begin_refresh_at.as_ref().map(|at| at.0),
                    };
                }
                "Denied" | "Failed" => {
                    return Answer::Refused {
                        condition: condition.type_.clone(),
                        reason: condition.reason.clone(),
                        message: condition.message.clone(),
                    };
                }
                _ => {}
            }
        }
        Answer::None
    }

    /// What podcert last said of it in an Event.
    pub fn told(&self, events: &[Event]) -> Option<Told> {
        let about = |event: &&Event| {
            event.reporting_controller.as_deref() == Some(REPORTING_CONTROLLER)
                && event
                    .related
                    .as_ref()
                    .and_then(|related| related.uid.as_deref())
                    == Some(self.uid())
        };
        let last = events
            .iter()
            .filter(about)
            .max_by_key(|event| event.event_time.as_ref().map(|at| at.0))?;
        Some(Told {
            reason: last.reason.clone()?,
            message: last.note.clone().unwrap_or_default(),
        })
    }
}
