//! TokenRequest: `POST …/serviceaccounts/{name}/token`
//! (`pkg/registry/core/serviceaccount/storage/token.go`).

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::claims::{Claims, Reference};
use crate::field::FieldError;
use crate::kinds::{self, KINDS, Kind};
use crate::node::restriction;
use crate::object::{list, text};
use crate::request::{Query, Target};
use crate::reviews;
use crate::server::{Admission, ApiServer};
use crate::status::Failure;
use crate::store::{Key, Stored};
use crate::user::User;
use crate::verbs::rfc3339;

impl ApiServer {
    /// Answers a TokenRequest with itself and a token.
    pub(crate) fn request_token(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        body: &Bytes,
    ) -> Result<Value, Failure> {
        query.check_write("CreateOptions")?;
        let request = reviews::parse(body, KIND, API_VERSION)?;
        if self.inner.admission == Admission::NodeRestriction {
            restriction::admit_token(
                &self.inner.store,
                self.inner.authorizer.as_ref(),
                user,
                target,
                &request,
            )?;
        }
        check_place(target, &request)?;
        let account = self.existing(target)?;
        let account = Reference::to(&account.value);
        let asked = text(&request, &["metadata", "uid"]);
        if !asked.is_empty() && asked != account.uid {
            return Err(Failure::conflict_of(
                "TokenRequest.authentication.k8s.io",
                &target.name,
                &format!(
                    "the UID in the token request ({asked}) does not match the UID of the service account ({})",
                    account.uid
                ),
            ));
        }
        if let Some(Value::Object(given)) = request.pointer("/spec/attestations")
            && !given.is_empty()
        {
            return Err(Failure::bad_request(
                "this server makes no tokens with attestations",
            ));
        }
        let lifetime = lifetime(&request)?;
        let mut audiences: Vec<String> =
            list(request.get("spec").unwrap_or(&Value::Null), "audiences")
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
        if audiences.is_empty() {
            audiences.push(self.inner.tokens.issuer().to_owned());
        }
        let now = self.now();
        let issued = now.as_second();
        let mut claims = Claims {
            audiences: audiences.clone(),
            issued,
            begins: issued,
            expires: issued + lifetime,
            id: self.inner.random.uid(),
            namespace: target.namespace.clone(),
            account: account.clone(),
            ..Claims::default()
        };
        let bound = request.pointer("/spec/boundObjectRef");
        let bound = bound.filter(|bound| bound.is_object());
        if let Some(bound) = bound {
            self.bind(target, bound, &mut claims)?;
        }
        // Dry runs get one too, as upstream.
        let token = self
            .inner
            .tokens
            .sign(claims.to_json())
            .map_err(|why| Failure::new(500, "InternalError", why))?;
        let expiry = now
            .checked_add(jiff::SignedDuration::from_secs(lifetime))
            .map_err(|_| Failure::new(500, "InternalError", "the token's end is out of range"))?;
        Ok(json!({
            "kind": KIND,
            "apiVersion": API_VERSION,
            "metadata": {
                "name": account.name,
                "namespace": target.namespace,
                "uid": account.uid,
                "creationTimestamp": rfc3339(now),
            },
            "spec": {
                "audiences": audiences,
                "expirationSeconds": lifetime,
                "boundObjectRef": bound,
            },
            "status": {"token": token, "expirationTimestamp": rfc3339(expiry)},
        }))
    }

    /// Ties the token to the object that the request names.
    fn bind(&self, target: &Target, bound: &Value, claims: &mut Claims) -> Result<(), Failure> {
        let (kind, api_version) = (text(bound, &["kind"]), text(bound, &["apiVersion"]));
        let name = text(bound, &["name"]);
        let (group, version) = match api_version.split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", api_version),
        };
        let namespace = target.namespace.as_str();
        let found = match (group, kind) {
            ("", "Pod") => {
                let pod = self.bound(kinds::PODS, namespace, name)?;
                let account = text(&pod.value, &["spec", "serviceAccountName"]);
                if account != target.name {
                    return Err(Failure::bad_request(format!(
                        "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                        target.name
                    )));
                }
                let node = text(&pod.value, &["spec", "nodeName"]);
                if !node.is_empty() {
                    // A node that is not there is named all the same.
                    let live = self.bound(kinds::NODES, "", node);
                    claims.node = Some(live.map_or_else(
                        |_| Reference {
                            name: node.to_owned(),
                            uid: String::new(),
                        },
                        |live| Reference::to(&live.value),
                    ));
                }
                let found = Reference::to(&pod.value);
                claims.pod = Some(found.clone());
                found
            }
            ("", "Node") => {
                let found = Reference::to(&self.bound(kinds::NODES, "", name)?.value);
                claims.node = Some(found.clone());
                found
            }
            ("", "Secret") => {
                let found = Reference::to(&self.bound(kinds::SECRETS, namespace, name)?.value);
                claims.secret = Some(found.clone());
                found
            }
            _ => {
                return Err(Failure::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={kind}"
                )));
            }
        };
        let asked = text(bound, &["uid"]);
        if !asked.is_empty() && asked != found.uid {
            return Err(Failure::conflict_of(
                kind,
                name,
                &format!(
                    "the UID in the bound object reference ({asked}) does not match the UID in record. The object might have been deleted and then recreated"
                ),
            ));
        }
        Ok(())
    }

    fn bound(&self, row: usize, namespace: &str, name: &str) -> Result<Arc<Stored>, Failure> {
        let kind: &Kind = KINDS.get(row).ok_or_else(Failure::no_such_resource)?;
        self.inner
            .store
            .get(kind, &Key::new(namespace, name))
            .ok_or_else(|| Failure::not_found(kind, name))
    }
}

/// Name and namespace in the body, if given, are those of the path.
fn check_place(target: &Target, request: &Value) -> Result<(), Failure> {
    for (field, expected, why) in [
        (
            "name",
            &target.name,
            "must match the service account name if specified",
        ),
        (
            "namespace",
            &target.namespace,
            "must match the service account namespace if specified",
        ),
    ] {
        let given = text(request, &["metadata", field]);
        if !given.is_empty() && given != expected {
            let error = FieldError::invalid(&format!("metadata.{field}"), given, why);
            return Err(Failure::invalid_as(GROUP, KIND, &target.name, &[error]));
        }
    }
    Ok(())
}

/// How long the token is to live, in seconds.
fn lifetime(request: &Value) -> Result<i64, Failure> {
    let seconds = request
        .pointer("/spec/expirationSeconds")
        .and_then(Value::as_i64);
    let seconds = seconds.unwrap_or(DEFAULT_LIFETIME);
    let why = match seconds {
        ..LEAST_LIFETIME => "may not specify a duration less than 10 minutes",
        LEAST_LIFETIME..=LONGEST_LIFETIME => return Ok(seconds),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let error = FieldError::invalid_raw("spec.expirationSeconds", seconds, why);
    Err(Failure::invalid_as(GROUP, KIND, "", &[error]))
}

const GROUP: &str = "authentication.k8s.io";
const API_VERSION: &str = "authentication.k8s.io/v1";
const KIND: &str = "TokenRequest";
const DEFAULT_LIFETIME: i64 = 3_600;
const LEAST_LIFETIME: i64 = 600;
const LONGEST_LIFETIME: i64 = 1 << 32;
