//! What the server does to an object before it stores it: defaults, rules, and what an update may
//! not touch.
//!
//! The verbs ([`crate::verbs`]) know nothing of single kinds; they call the four functions here.
//! Rules that need more than the object (the caller, the clock, the authorizer) get a [`Context`].

pub(crate) mod admission;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod signer;
pub(crate) mod trust_bundle;
pub(crate) mod types;

mod certificate_request;
mod core;
mod defaults;
mod event;
mod pod;
mod workload;

use jiff::Timestamp;
use serde_json::Value;

use crate::field::FieldError;
use crate::kinds::{Feature, Kind, Rules};
use crate::object::{as_map_mut, at, copy_key, map_mut, metadata_mut};
use crate::request::Part;
use crate::status::Failure;
use crate::user::{Authorizer, User};

/// What rules may ask beside the object itself.
pub(crate) struct Context<'a> {
    pub(crate) user: &'a User,
    pub(crate) authorizer: &'a dyn Authorizer,
    pub(crate) now: Timestamp,
}

/// Fills in defaults and drops what clients may not set. The object has a name by now.
pub(crate) fn prepare_create(kind: &Kind, object: &mut Value) -> Result<(), Failure> {
    if kind.has(Feature::Status) {
        as_map_mut(object).remove("status");
    }
    if kind.has(Feature::Generation) {
        metadata_mut(object).insert("generation".into(), 1.into());
    }
    metadata::prepare_create(object);
    match kind.rules {
        Rules::PodCertificateRequest => certificate_request::prepare_create(object)?,
        Rules::ClusterTrustBundle => trust_bundle::shape(object)?,
        _ => {}
    }
    default_for(kind, object);
    if kind.rules == Rules::Pod {
        let class = pod::quality_of_service(object);
        let gated = pod::gated_condition(object);
        let status = map_mut(object, "status");
        status.insert("qosClass".into(), class.into());
        if let Some(condition) = gated {
            status.insert("conditions".into(), serde_json::json!([condition]));
        }
    }
    Ok(())
}

/// Checks an object about to be created.
pub(crate) fn check_create(
    kind: &Kind,
    object: &Value,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let mut errors = metadata::check_create(kind, object);
    match kind.rules {
        Rules::PodCertificateRequest => errors.extend(certificate_request::check_create(object)),
        Rules::ClusterTrustBundle => {
            errors.extend(trust_bundle::check(object, None));
        }
        Rules::DaemonSet | Rules::Workload => errors.extend(workload::check(kind, object)),
        Rules::Pod => {
            errors.extend(pod::check(object));
            errors.extend(pod::check_create(object));
        }
        Rules::Event => errors.extend(event::check(kind, object)),
        _ => errors.extend(core::check(kind.rules, object)),
    }
    refuse(kind, object, &errors)?;
    if kind.rules == Rules::ClusterTrustBundle {
        trust_bundle::check_attest(kind, object, None, context)?;
    }
    Ok(())
}

/// The object to store in place of `old`: what `new` may not change is taken from `old`.
pub(crate) fn prepare_update(
    kind: &Kind,
    part: Part,
    new: Value,
    old: &Value,
) -> Result<Value, Failure> {
    let mut object = match part {
        Part::Main => {
            let mut object = new;
            if kind.has(Feature::Status) {
                copy_key(Some(old), as_map_mut(&mut object), "status");
            }
            let before = old.get("metadata");
            let metadata = metadata_mut(&mut object);
            for key in ["creationTimestamp", "generation"] {
                copy_key(before, metadata, key);
            }
            // What is given here, the rules compare.
            if before.is_some_and(|before| before.get("deletionTimestamp").is_some()) {
                copy_key(before, metadata, "deletionTimestamp");
            }
            for key in ["uid", "deletionGracePeriodSeconds"] {
                if !metadata.contains_key(key) {
                    copy_key(before, metadata, key);
                }
            }
            object
        }
        // Bindings, logs and tokens are no updates; a scale is one of the whole.
        Part::Binding | Part::Log | Part::Scale | Part::Token => new,
        Part::Status => {
            let mut object = old.clone();
            copy_key(Some(&new), as_map_mut(&mut object), "status");
            // Another UID is an error, and is told as one.
            if let Some(uid) = at(&new, &["metadata", "uid"]) {
                metadata_mut(&mut object).insert("uid".into(), uid.clone());
            }
            if kind.rules == Rules::Pod {
                keep_quality_of_service(&mut object, old);
            }
            if kind.has(Feature::StatusTouchesMetadata) {
                for key in ["labels", "annotations"] {
                    copy_key(new.get("metadata"), metadata_mut(&mut object), key);
                }
            }
            object
        }
    };
    match (kind.rules, part) {
        (Rules::PodCertificateRequest, Part::Main) => certificate_request::shape(&mut object)?,
        (Rules::PodCertificateRequest, Part::Status) => {
            certificate_request::status::shape(&mut object)?;
        }
        (Rules::ClusterTrustBundle, Part::Main) => trust_bundle::shape(&mut object)?,
        (rules, Part::Main) => {
            core::keep(rules, &mut object, old);
            default_for(kind, &mut object);
        }
        _ => {}
    }
    if part == Part::Main && kind.has(Feature::Generation) && object.get("spec") != old.get("spec")
    {
        let generation = at(old, &["metadata", "generation"])
            .and_then(Value::as_i64)
            .unwrap_or(0);
        metadata_mut(&mut object).insert("generation".into(), (generation + 1).into());
    }
    Ok(object)
}

/// The class of a pod stays what it was when the pod was made.
fn keep_quality_of_service(pod: &mut Value, old: &Value) {
    if crate::object::text(pod, &["status", "qosClass"]).is_empty() {
        copy_key(old.get("status"), map_mut(pod, "status"), "qosClass");
    }
}

/// Brings an object that passed all rules into the form in which it is stored.
pub(crate) fn settle(kind: &Kind, part: Part, object: &mut Value) {
    if (kind.rules, part) == (Rules::PodCertificateRequest, Part::Status) {
        certificate_request::status::settle(object);
    }
}

/// Checks an object that is about to replace `old`.
pub(crate) fn check_update(
    kind: &Kind,
    part: Part,
    object: &Value,
    old: &Value,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let mut errors = metadata::check_update(object, old);
    match (kind.rules, part) {
        (Rules::PodCertificateRequest, Part::Main) => {
            errors.extend(certificate_request::check_update(object, old));
        }
        (Rules::PodCertificateRequest, Part::Status) if errors.is_empty() => {
            errors.extend(certificate_request::status::check(object, old, context));
        }
        (Rules::ClusterTrustBundle, _) => {
            errors.extend(trust_bundle::check_name(object));
            errors.extend(trust_bundle::check(object, Some(old)));
        }
        (Rules::DaemonSet | Rules::Workload, Part::Main) => {
            errors.extend(workload::check(kind, object));
            errors.extend(workload::check_update(object, old));
        }
        (Rules::Pod, Part::Main) => {
            errors.extend(pod::check(object));
            errors.extend(pod::check_update(object, old));
        }
        (Rules::Event, _) => {
            errors.extend(event::check(kind, object));
            errors.extend(event::check_update(kind, object, old));
        }
        (Rules::ConfigMap, _) => {
            errors.extend(core::check(kind.rules, object));
            errors.extend(core::check_immutable(object, old));
        }
        (Rules::Secret, _) => {
            errors.extend(core::check(kind.rules, object));
            errors.extend(core::check_secret_update(object, old));
        }
        (Rules::Service, Part::Main) => {
            errors.extend(core::check(kind.rules, object));
            errors.extend(core::check_service_update(object, old));
        }
        (rules, Part::Main) => errors.extend(core::check(rules, object)),
        _ => {}
    }
    refuse(kind, object, &errors)?;
    if kind.rules == Rules::ClusterTrustBundle {
        trust_bundle::check_attest(kind, object, Some(old), context)?;
    }
    Ok(())
}

fn refuse(kind: &Kind, object: &Value, errors: &[FieldError]) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    let name = crate::object::text(object, &["metadata", "name"]);
    Err(match kind.rules {
        // Both groups' Events are the core group's inside.
        Rules::Event => Failure::invalid_as("", kind.kind, name, errors),
        _ => Failure::invalid(kind, name, errors),
    })
}

/// The defaults of a kind alone, for objects the server makes itself.
pub(crate) fn default_for(kind: &Kind, object: &mut Value) {
    core::default(kind.rules, object);
    defaults::complete(kind, object);
}
