//! Rules of ClusterTrustBundle, v1 and v1beta1 (`ValidateClusterTrustBundle`, `ClusterTrustBundleAttest`).
//!
//! A bundle that belongs to a signer is named after it and may be written only by who may `attest`
//! for that signer; its content is nothing but CA certificates. Expired ones are fine.

use serde_json::{Map, Value};

use super::names::{NameRule, Prefix, name as check_dns};
use super::{Context, signer};
use crate::certs::{self, Authority, Headers};
use crate::field::FieldError;
use crate::kinds::Kind;
use crate::object::{as_map_mut, text};
use crate::status::Failure;
use crate::user::may_use_signer;

/// Reduces a bundle to the fields its type has.
pub(crate) fn shape(object: &mut Value) -> Result<(), Failure> {
    let api_version = text(object, &["apiVersion"]);
    let version = api_version
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    let map = as_map_mut(object);
    map.retain(|key, _| matches!(key.as_str(), "kind" | "apiVersion" | "metadata" | "spec"));
    let mut spec = Map::new();
    for field in ["signerName", "trustBundle"] {
        match map
            .get_mut("spec")
            .and_then(|spec| spec.get_mut(field))
            .map(Value::take)
        {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.is_empty() && field == "signerName" => {}
            Some(Value::String(text)) => {
                spec.insert(field.to_owned(), text.into());
            }
            Some(_) => {
                return Err(Failure::bad_request(format!(
                    "ClusterTrustBundle in version {version:?} cannot be handled as a ClusterTrustBundle: spec.{field} must be a string"
                )));
            }
        }
    }
    map.insert("spec".into(), spec.into());
    Ok(())
}

/// The name of a bundle follows from its signer.
pub(crate) fn check_name(object: &Value) -> Vec<FieldError> {
    let signer = text(object, &["spec", "signerName"]);
    let mut errors = Vec::new();
    let generate_name = text(object, &["metadata", "generateName"]);
    if !generate_name.is_empty() {
        errors.extend(
            complaints(generate_name, signer, Prefix::ToBeExtended)
                .into_iter()
                .map(|why| FieldError::invalid("metadata.generateName", generate_name, why)),
        );
    }
    let name = text(object, &["metadata", "name"]);
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        errors.extend(
            complaints(name, signer, Prefix::Complete)
                .into_iter()
                .map(|why| FieldError::invalid("metadata.name", name, why)),
        );
    }
    errors
}

/// Checks the spec; the bundle itself only if it changes.
pub(crate) fn check(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    const SIGNER: &str = "spec.signerName";
    let mut errors = Vec::new();
    let signer_name = text(object, &["spec", "signerName"]);
    if !signer_name.is_empty() {
        errors.extend(signer::check(SIGNER, signer_name));
    }
    let bundle = text(object, &["spec", "trustBundle"]);
    let before = old.map(|old| text(old, &["spec", "trustBundle"]));
    if before != Some(bundle) {
        errors.extend(check_bundle(bundle));
    }
    if old.is_some_and(|old| text(old, &["spec", "signerName"]) != signer_name) {
        errors.push(FieldError::invalid(
            SIGNER,
            signer_name,
            "field is immutable",
        ));
    }
    errors
}

/// Whether the caller may vouch for the signer's anchors.
pub(crate) fn check_attest(
    kind: &Kind,
    object: &Value,
    old: Option<&Value>,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let signer_name = text(object, &["spec", "signerName"]);
    if signer_name.is_empty()
        || old.is_some_and(|old| without_gc_fields(old) == without_gc_fields(object))
        || may_use_signer(context.authorizer, context.user, "attest", signer_name)
    {
        return Ok(());
    }
    Err(Failure::forbidden(
        kind,
        text(object, &["metadata", "name"]),
        &format!("user not permitted to attest for signerName {signer_name:?}"),
    ))
}

fn complaints(name: &str, signer: &str, prefix: Prefix) -> Vec<String> {
    if signer.is_empty() {
        if name.contains(':') {
            return vec![
                "ClusterTrustBundle without signer name must not have \":\" in its name".into(),
            ];
        }
        return check_dns(NameRule::Subdomain, name, prefix);
    }
    let required = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&required) {
        Some(suffix) => check_dns(NameRule::Subdomain, suffix, prefix),
        None => vec![format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {required}"
        )],
    }
}

fn check_bundle(bundle: &str) -> Vec<FieldError> {
    if bundle.len() > BUNDLE_LIMIT {
        return vec![FieldError::too_long(BUNDLE, BUNDLE_LIMIT)];
    }
    let mut errors = Vec::new();
    let mut complain =
        |why: String| errors.push(FieldError::invalid(BUNDLE, "<value omitted>", why));
    let mut anchors: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
    let mut rest = bundle;
    let mut index = 0;
    while let Some((block, after)) = certs::next_pem(rest) {
        rest = after;
        let entry = index;
        index += 1;
        if block.label != "CERTIFICATE" {
            complain(format!("entry {entry} has bad block type: {}", block.label));
        } else if block.headers == Headers::Some {
            complain(format!("entry {entry} has PEM block headers"));
        } else {
            match certs::read_certificate(&block.der).map(|certificate| certificate.authority) {
                None => complain(format!("entry {entry} does not parse as X.509")),
                Some(Authority::EndEntity) => {
                    complain(format!("entry {entry} does not have the CA bit set"));
                }
                Some(Authority::Ca) => {
                    match anchors.iter_mut().find(|(der, _)| *der == block.der) {
                        Some((_, indices)) => indices.push(entry),
                        None => anchors.push((block.der, vec![entry])),
                    }
                }
            }
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    if anchors.is_empty() {
        errors.push(FieldError::invalid(
            BUNDLE,
            "<value omitted>",
            "at least one trust anchor must be provided",
        ));
    }
    for (_, indices) in anchors.iter().filter(|(_, indices)| indices.len() > 1) {
        let indices: Vec<String> = indices.iter().map(ToString::to_string).collect();
        errors.push(FieldError::invalid(
            BUNDLE,
            "<value omitted>",
            format!("duplicate trust anchor (indices [{}])", indices.join(" ")),
        ));
    }
    errors
}

/// The object without what the garbage collector changes.
fn without_gc_fields(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = crate::object::metadata_mut(&mut object);
    for field in ["finalizers", "ownerReferences", "resourceVersion"] {
        metadata.remove(field);
    }
    object
}

const BUNDLE: &str = "spec.trustBundle";
const BUNDLE_LIMIT: usize = 1024 * 1024;
