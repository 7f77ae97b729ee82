//! A request as people ask about it: whose, how old, how it was answered, or what it waits for.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::PodCertificateRequest;
use k8s_openapi::api::events::v1::Event;
use podcert_pki::{CertificationRequest, Chain, KeyType};
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

    /// The type of its key, as `keyType` of a projection has it. Nothing if the key is not shown.
    pub fn key_type(&self) -> Option<KeyType> {
        let csr = CertificationRequest::from_der(&self.0.spec.stub_pkc_s10_request.0).ok()?;
        Some(csr.public_key().key_type())
    }
}

/// What podcert said of requests in Events.
///
/// An Event is believed about requests of its own namespace: who may write Events in another says nothing of them.
#[derive(Debug, Default)]
pub struct Said<'a>(HashMap<(&'a str, &'a str), &'a Event>);

impl<'a> Said<'a> {
    /// Of each request the newest of `events`.
    pub fn in_events(events: &'a [Event]) -> Self {
        let mut newest: HashMap<(&str, &str), &Event> = HashMap::new();
        for event in events {
            let is_own = event.reporting_controller.as_deref() == Some(REPORTING_CONTROLLER);
            let related = event.related.as_ref();
            let (Some(namespace), Some(uid)) = (
                event.metadata.namespace.as_deref(),
                related.and_then(|related| related.uid.as_deref()),
            ) else {
                continue;
            };
            if !is_own {
                continue;
            }
            let known = newest.entry((namespace, uid)).or_insert(event);
            if known.event_time.as_ref().map(|at| at.0) <= event.event_time.as_ref().map(|at| at.0)
            {
                *known = event;
            }
        }
        Self(newest)
    }

    /// What was said last of `request`.
    pub fn of(&self, request: &Request) -> Option<Told> {
        let last = self.0.get(&(request.namespace(), request.uid()))?;
        Some(Told {
            reason: last.reason.clone()?,
            message: last.note.clone().unwrap_or_default(),
        })
    }
}
