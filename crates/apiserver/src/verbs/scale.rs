//! The scale of a workload: `…/deployments/{name}/scale`, an `autoscaling/v1` `Scale` made of the
//! workload's own fields, so that scalers need to know one type only.
//!
//! Writing it writes the workload's `spec.replicas`. Apply patches of it are refused.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::patch::{Patch, check_identity, ill_made};
use super::write::check_same_namespace;
use super::{APPLY_PATCH, media_type};
use crate::field::FieldError;
use crate::object::{at, copy_key, map_mut, metadata_mut, text};
use crate::request::{Part, Query, Target, Verb};
use crate::reviews;
use crate::schema::schemas;
use crate::server::ApiServer;
use crate::service::{ApiBody, json_response};
use crate::status::Failure;
use crate::store::Stored;
use crate::table::selector;
use crate::user::User;

impl ApiServer {
    /// Serves a request for a scale.
    pub(super) fn scale(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<http::Response<ApiBody>, Failure> {
        let workload = Target {
            part: Part::Main,
            ..target.clone()
        };
        let stored = match target.verb {
            Verb::Update => {
                query.check_write("UpdateOptions")?;
                let wanted = reviews::parse(body, KIND, API_VERSION)?;
                let name = text(&wanted, &["metadata", "name"]);
                if name != target.name {
                    return Err(Failure::bad_request(format!(
                        "the name of the object ({name}) does not match the name on the URL ({})",
                        target.name
                    )));
                }
                check_same_namespace(&workload, &wanted)?;
                self.update(user, &workload, query, |old| rescaled(target, old, &wanted))?
            }
            Verb::Patch => {
                let media_type = media_type(headers);
                if media_type == APPLY_PATCH {
                    return Err(Failure::bad_request(
                        "this server does not apply patches to a scale: use a merge patch",
                    ));
                }
                let patch = Patch::parse(media_type, body)?;
                query.check_write("PatchOptions")?;
                query.refuse_force()?;
                self.update(user, &workload, query, |old| {
                    let mut wanted = scale_of(&old.value);
                    patch.apply(TYPE, &mut wanted)?;
                    if let Some(why) = schemas().misfit_of(TYPE, &wanted) {
                        return Err(ill_made(&wanted, &why));
                    }
                    check_identity(&workload, &wanted)?;
                    rescaled(target, old, &wanted)
                })?
            }
            _ => self.existing(&workload)?,
        };
        let scale = scale_of(&stored.value);
        Ok(json_response(StatusCode::OK, scale.to_string()))
    }
}

/// What a workload says about its scale.
fn scale_of(workload: &Value) -> Value {
    let mut metadata = json!({});
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(map) = metadata.as_object_mut() {
            copy_key(workload.get("metadata"), map, field);
        }
    }
    let mut spec = json!({});
    // Zero is left out, as Go leaves it out.
    if let (Some(map), Some(replicas)) = (spec.as_object_mut(), replicas(workload))
        && replicas != 0
    {
        map.insert("replicas".into(), replicas.into());
    }
    json!({
        "kind": KIND,
        "apiVersion": API_VERSION,
        "metadata": metadata,
        "spec": spec,
        "status": {
            "replicas": at(workload, &["status", "replicas"]).and_then(Value::as_i64).unwrap_or(0),
            "selector": selector(at(workload, &["spec", "selector"])),
        },
    })
}

/// The workload with the replicas that a scale names, and its version as a condition.
fn rescaled(target: &Target, old: &Stored, scale: &Value) -> Result<Value, Failure> {
    let kind = target.kind;
    let wanted = at(scale, &["spec", "replicas"])
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if wanted < 0 {
        let why = "must be greater than or equal to 0";
        let error = FieldError::invalid_raw("spec.replicas", wanted, why);
        return Err(Failure::invalid_as(
            "autoscaling",
            KIND,
            &target.name,
            &[error],
        ));
    }
    let (uid, current) = (
        text(scale, &["metadata", "uid"]),
        text(&old.value, &["metadata", "uid"]),
    );
    if !uid.is_empty() && uid != current {
        return Err(Failure::conflict_of(
            &format!("{}/scale.{}", kind.plural, kind.group),
            &target.name,
            &format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {current}"
            ),
        ));
    }
    let mut workload = old.value.clone();
    map_mut(&mut workload, "spec").insert("replicas".into(), wanted.into());
    copy_key(
        scale.get("metadata"),
        metadata_mut(&mut workload),
        "resourceVersion",
    );
    Ok(workload)
}

fn replicas(workload: &Value) -> Option<i64> {
    at(workload, &["spec", "replicas"]).and_then(Value::as_i64)
}

const KIND: &str = "Scale";
const API_VERSION: &str = "autoscaling/v1";
const TYPE: &str = "io.k8s.api.autoscaling.v1.Scale";
