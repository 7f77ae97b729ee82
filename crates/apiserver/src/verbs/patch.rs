//! PATCH: JSON patch (RFC 6902) and merge patch (RFC 7386).
//!
//! Strategic merge and server-side apply are refused with 415: they need the schema of each kind.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::object::normalize;
use crate::request::{Query, Target};
use crate::server::ApiServer;
use crate::status::Failure;
use crate::store::Stored;
use crate::user::User;

impl ApiServer {
    pub(super) fn patch(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Arc<Stored>, Failure> {
        let patch = Patch::parse(super::media_type(headers), body)?;
        self.update(user, target, query, |old| {
            let mut object = old.value.clone();
            patch.apply(&mut object)?;
            super::check_type(target, &object)?;
            normalize(&mut object);
            check_identity(target, &object)?;
            Ok(object)
        })
    }
}

enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
}

impl Patch {
    fn parse(media_type: &str, body: &[u8]) -> Result<Self, Failure> {
        let malformed = |error: serde_json::Error| {
            Failure::bad_request(format!("error decoding patch: {error}"))
        };
        match media_type {
            JSON_PATCH => {
                let patch: json_patch::Patch = serde_json::from_slice(body).map_err(malformed)?;
                if patch.0.len() > OPERATIONS_LIMIT {
                    return Err(Failure::new(
                        413,
                        "RequestEntityTooLarge",
                        format!(
                            "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {}",
                            patch.0.len()
                        ),
                    ));
                }
                Ok(Self::Json(patch))
            }
            MERGE_PATCH => {
                let patch: Value = serde_json::from_slice(body).map_err(malformed)?;
                if !patch.is_object() {
                    return Err(Failure::bad_request(
                        "error decoding patch: a merge patch must be a JSON object",
                    ));
                }
                Ok(Self::Merge(patch))
            }
            _ => Err(Failure::unsupported_media_type(&[JSON_PATCH, MERGE_PATCH])),
        }
    }

    fn apply(&self, object: &mut Value) -> Result<(), Failure> {
        match self {
            Self::Json(patch) => {
                json_patch::patch(object, patch).map_err(|_| Failure::patch_does_not_apply())
            }
            Self::Merge(patch) => {
                json_patch::merge(object, patch);
                Ok(())
            }
        }
    }
}

/// A patch cannot move an object.
fn check_identity(target: &Target, object: &Value) -> Result<(), Failure> {
    let name = crate::object::text(object, &["metadata", "name"]);
    if name != target.name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    let namespace = crate::object::text(object, &["metadata", "namespace"]);
    if !namespace.is_empty() && namespace != target.namespace {
        return Err(Failure::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the request ({})",
            target.namespace
        )));
    }
    Ok(())
}

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const OPERATIONS_LIMIT: usize = 10_000;
