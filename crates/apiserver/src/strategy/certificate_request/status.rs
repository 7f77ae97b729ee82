//! What may be written into the status of a PodCertificateRequest: once, by whoever may `sign` for
//! its signer, and then never again (`ValidatePodCertificateRequestStatusUpdate`).
//!
//! ```text
//! (empty) ──▶ Issued   chain, notBefore, notAfter, beginRefreshAt agree with leaf, key and clock
//!         ──▶ Denied   nothing but the condition
//!         ──▶ Failed   nothing but the condition
//! ```

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DEFAULT_MAX_EXPIRATION, PKIX, STUB, Spec, decode, encode};
use crate::certs::{self, Certificate, Depth};
use crate::field::FieldError;
use crate::status::Failure;
use crate::strategy::{Context, names};
use crate::user::may_use_signer;
use crate::verbs::rfc3339;

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "String::is_empty")]
    certificate_chain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    begin_refresh_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_transition_time: Option<Timestamp>,
    reason: String,
    message: String,
}

impl Status {
    fn has(&self, kind: &str) -> bool {
        self.conditions
            .iter()
            .any(|condition| condition.kind == kind && condition.status == "True")
    }

    fn is_terminal(&self) -> bool {
        CONDITION_TYPES.iter().any(|kind| self.has(kind))
    }
}

/// Reduces a status to the fields its type has.
pub(in crate::strategy) fn shape(object: &mut Value) -> Result<(), Failure> {
    let mut status: Status = decode(object, "status")?;
    for condition in &mut status.conditions {
        condition.observed_generation = condition.observed_generation.filter(|it| *it != 0);
    }
    encode(object, "status", &status);
    Ok(())
}

/// Cuts dates to whole seconds, as they are stored. Rules have seen their fractions before.
pub(in crate::strategy) fn settle(object: &mut Value) {
    let Ok(mut status) = decode::<Status>(object, "status") else {
        return;
    };
    for condition in &mut status.conditions {
        condition.last_transition_time = condition.last_transition_time.map(whole_seconds);
    }
    status.begin_refresh_at = status.begin_refresh_at.map(whole_seconds);
    // The leaf's notBefore and notAfter have no fraction, and these are the same.
    encode(object, "status", &status);
}

/// Checks a status about to be written.
pub(in crate::strategy) fn check(
    object: &Value,
    old: &Value,
    context: &Context<'_>,
) -> Vec<FieldError> {
    let (Ok(new_status), Ok(old_status), Ok(spec)) = (
        decode::<Status>(object, "status"),
        decode::<Status>(old, "status"),
        decode::<Spec>(old, "spec"),
    ) else {
        return vec![FieldError::required("status", "")];
    };
    let errors = check_transition(&new_status, &old_status, &spec, context.now);
    if !errors.is_empty() || new_status == old_status {
        return errors;
    }
    let user = context.user;
    if may_use_signer(context.authorizer, user, "sign", &spec.signer_name) {
        return Vec::new();
    }
    // Not a 403: the strategy upstream reports it as an error of the field.
    vec![FieldError::forbidden(
        "spec.signerName",
        format!(
            "User {:?} is not permitted to \"sign\" for signer {:?}",
            user.name, spec.signer_name
        ),
    )]
}

fn check_transition(new: &Status, old: &Status, spec: &Spec, now: Timestamp) -> Vec<FieldError> {
    let errors = check_conditions(&new.conditions);
    if !errors.is_empty() {
        return errors;
    }
    if old.is_terminal() {
        return unless(
            new == old,
            "immutable after PodCertificateRequest is issued, denied, or failed",
        );
    }
    if new.has("Denied") || new.has("Failed") {
        let bare = Status {
            conditions: new.conditions.clone(),
            ..Status::default()
        };
        return unless(
            *new == bare,
            "non-condition status fields must be empty when denying or failing the PodCertificateRequest",
        );
    }
    if new.has("Issued") {
        return check_issued(new, spec, now).err().unwrap_or_default();
    }
    unless(
        new == old,
        "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"",
    )
}

fn unless(holds: bool, why: &str) -> Vec<FieldError> {
    if holds {
        Vec::new()
    } else {
        vec![FieldError::invalid_omitted("status", why)]
    }
}

fn check_conditions(conditions: &[Condition]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut known = 0;
    for (index, condition) in conditions.iter().enumerate() {
        // The stray dot before the index is upstream's.
        let path = format!("status.conditions.[{index}]");
        if !CONDITION_TYPES.contains(&condition.kind.as_str()) {
            errors.push(FieldError::not_supported(
                &format!("{path}.type"),
                &condition.kind,
                CONDITION_TYPES,
            ));
            continue;
        }
        known += 1;
        if known > 1 {
            errors.push(FieldError::invalid(
                &format!("{path}.type"),
                &condition.kind,
                "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"",
            ));
        }
        if condition.status != "True" {
            errors.push(FieldError::not_supported(
                &format!("{path}.status"),
                &condition.status,
                &["True"],
            ));
        }
    }
    let mut types: Vec<&str> = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = format!("status.conditions[{index}]");
        if types.contains(&condition.kind.as_str()) {
            errors.push(FieldError::duplicate(&path, &condition.kind));
        }
        types.push(&condition.kind);
        errors.extend(check_condition(condition, &path));
    }
    errors
}

/// `metav1validation.ValidateCondition`.
fn check_condition(condition: &Condition, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let field = |name: &str| format!("{path}.{name}");
    if condition.kind.is_empty() {
        errors.push(FieldError::required(&field("type"), "is required"));
    } else {
        errors.extend(
            names::label_key(&condition.kind)
                .into_iter()
                .map(|why| FieldError::invalid(&field("type"), &condition.kind, why)),
        );
    }
    match condition.status.as_str() {
        "" => errors.push(FieldError::required(&field("status"), "")),
        "True" | "False" | "Unknown" => {}
        other => errors.push(FieldError::not_supported(
            &field("status"),
            other,
            &["False", "True", "Unknown"],
        )),
    }
    if let Some(generation) = condition.observed_generation.filter(|it| *it < 0) {
        errors.push(FieldError::invalid_raw(
            &field("observedGeneration"),
            generation,
            "must be greater than or equal to zero",
        ));
    }
    if condition.last_transition_time.is_none() {
        errors.push(FieldError::required(&field("lastTransitionTime"), ""));
    }
    if condition.reason.is_empty() {
        errors.push(FieldError::required(&field("reason"), ""));
    } else {
        if !is_condition_reason(&condition.reason) {
            errors.push(FieldError::invalid(
                &field("reason"),
                &condition.reason,
                "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
            ));
        }
        if condition.reason.len() > REASON_LIMIT {
            errors.push(FieldError::too_long(&field("reason"), REASON_LIMIT));
        }
    }
    if condition.message.len() > MESSAGE_LIMIT {
        errors.push(FieldError::too_long(&field("message"), MESSAGE_LIMIT));
    }
    errors
}

fn is_condition_reason(reason: &str) -> bool {
    let last = |c: char| c.is_ascii_alphanumeric() || c == '_';
    reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.ends_with(last)
        && reason.chars().all(|c| last(c) || matches!(c, ',' | ':'))
}

/// The rules of an issued certificate. Upstream stops at most of the first errors; so do we.
fn check_issued(status: &Status, spec: &Spec, now: Timestamp) -> Result<(), Vec<FieldError>> {
    let chain = status.certificate_chain.as_str();
    let about_chain = |why: &str| vec![FieldError::invalid(CHAIN, chain, why)];
    if chain.len() > CHAIN_LIMIT {
        return Err(vec![FieldError::too_long(CHAIN, CHAIN_LIMIT)]);
    }
    let Some((block, mut rest)) = certs::next_pem(chain) else {
        return Err(about_chain(
            "issued certificate chain must contain at least one certificate",
        ));
    };
    if block.label != "CERTIFICATE" {
        return Err(about_chain(
            "issued certificate chain must consist entirely of CERTIFICATE PEM blocks",
        ));
    }
    let Some(leaf) = certs::read_certificate(&block.der) else {
        return Err(about_chain(
            "leaf certificate does not parse as valid X.509",
        ));
    };
    let mut errors = check_names(&leaf);
    let bytes = |base64: &str| STANDARD.decode(base64).unwrap_or_default();
    let requested = if spec.stub_pkcs10_request.is_empty() {
        certs::read_public_key(&bytes(&spec.pkix_public_key))
            .ok_or((PKIX, "must be a valid PKIX-serialized public key"))
    } else {
        certs::read_request(&bytes(&spec.stub_pkcs10_request), Depth::KeyOnly)
            .map(|request| request.key)
            .ok_or((STUB, "must be a valid PKCS#10 CSR"))
    };
    let requested = match requested {
        Ok(key) => key,
        Err((field, why)) => {
            errors.push(FieldError::invalid_omitted(field, why));
            return Err(errors);
        }
    };
    if requested != leaf.key {
        errors.extend(about_chain(
            "leaf certificate was not issued to the requested public key",
        ));
        return Err(errors);
    }
    for (field, date, why) in [
        (NOT_BEFORE, status.not_before, CONSISTENT),
        (NOT_AFTER, status.not_after, CONSISTENT),
        (
            BEGIN_REFRESH,
            status.begin_refresh_at,
            "must be present and in the range [notbefore+10min, notafter-10min]",
        ),
    ] {
        if date.is_none() {
            errors.push(FieldError::required(field, why));
        }
    }
    let (Some(not_before), Some(not_after), Some(begin_refresh), []) = (
        status.not_before,
        status.not_after,
        status.begin_refresh_at,
        errors.as_slice(),
    ) else {
        return Err(errors);
    };
    check_dates(&leaf, not_before, not_after, begin_refresh, spec, now)?;
    while let Some((block, after)) = certs::next_pem(rest) {
        if block.label != "CERTIFICATE" {
            // Upstream misspells it here, and only here.
            return Err(about_chain(
                "issued certificate chain must consist entirely of CERTFICATE PEM blocks",
            ));
        }
        if certs::read_certificate(&block.der).is_none() {
            return Err(about_chain(
                "intermediate certificate does not parse as valid X.509",
            ));
        }
        rest = after;
    }
    Ok(())
}

fn check_dates(
    leaf: &Certificate,
    not_before: Timestamp,
    not_after: Timestamp,
    begin_refresh: Timestamp,
    spec: &Spec,
    now: Timestamp,
) -> Result<(), Vec<FieldError>> {
    let about = |field: &str, date: Timestamp, why: &str| {
        Err(vec![FieldError::invalid(field, &date.to_string(), why)])
    };
    if not_before != leaf.not_before {
        return about(
            NOT_BEFORE,
            not_before,
            "must be set to the NotBefore time encoded in the leaf certificate",
        );
    }
    if !is_near(not_before, now) {
        return about(
            NOT_BEFORE,
            not_before,
            "must be set to within 5 minutes of kube-apiserver's current time",
        );
    }
    if not_after != leaf.not_after {
        return about(
            NOT_AFTER,
            not_after,
            "must be set to the NotAfter time encoded in the leaf certificate",
        );
    }
    let lifetime = leaf.not_after.duration_since(leaf.not_before);
    let longest = spec
        .max_expiration_seconds
        .unwrap_or(DEFAULT_MAX_EXPIRATION);
    if lifetime.as_secs() < 3600 {
        return Err(vec![FieldError::invalid_raw(
            CHAIN,
            lifetime.as_nanos(),
            "leaf certificate lifetime must be >= 1 hour",
        )]);
    }
    if lifetime.as_secs() > i64::from(longest) {
        return Err(vec![FieldError::invalid_raw(
            CHAIN,
            lifetime.as_nanos(),
            format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({longest})"),
        )]);
    }
    if begin_refresh.duration_since(not_before).as_secs() < REFRESH_MARGIN {
        return about(
            BEGIN_REFRESH,
            begin_refresh,
            "must be at least 10 minutes after status.notBefore",
        );
    }
    if not_after.duration_since(begin_refresh).as_secs() < REFRESH_MARGIN {
        return about(
            BEGIN_REFRESH,
            begin_refresh,
            "must be at least 10 minutes before status.notAfter",
        );
    }
    Ok(())
}

fn check_names(leaf: &Certificate) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for name in &leaf.dns_names {
        if name.is_empty() {
            errors.push(FieldError::invalid(
                CHAIN,
                name,
                "leaf certificate should not contain empty DNSName",
            ));
        }
        if name.contains("..") {
            errors.push(FieldError::invalid(
                CHAIN,
                name,
                "leaf certificate's DNSName should not contain '..'",
            ));
        }
        if name.starts_with('.') || name.ends_with('.') {
            errors.push(FieldError::invalid(
                CHAIN,
                name,
                "leaf certificate's DNSName should not start or end with '.'",
            ));
        }
    }
    for email in &leaf.emails {
        if !certs::is_mailbox(email) {
            errors.push(FieldError::invalid(
                CHAIN,
                email,
                "leaf certificate should not contain invalid EmailAddress",
            ));
        }
    }
    errors
}

/// Less than five minutes from the server's time; five minutes are too far.
fn is_near(date: Timestamp, now: Timestamp) -> bool {
    date.duration_since(now).unsigned_abs() < MAX_SKEW
}

fn whole_seconds(timestamp: Timestamp) -> Timestamp {
    rfc3339(timestamp).parse().unwrap_or(timestamp)
}

const CONDITION_TYPES: &[&str] = &["Issued", "Denied", "Failed"];
const CHAIN: &str = "status.certificateChain";
const NOT_BEFORE: &str = "status.notBefore";
const NOT_AFTER: &str = "status.notAfter";
const BEGIN_REFRESH: &str = "status.beginRefreshAt";
const CONSISTENT: &str = "must be present and consistent with the issued certificate";
const CHAIN_LIMIT: usize = 100 * 1024;
const REASON_LIMIT: usize = 1024;
const MESSAGE_LIMIT: usize = 32 * 1024;
const MAX_SKEW: Duration = Duration::from_secs(300);
/// Seconds between notBefore, beginRefreshAt and notAfter.
const REFRESH_MARGIN: i64 = 600;

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn five_minutes_are_too_far() {
        let now: Timestamp = "2026-11-21T12:00:00.25Z".parse().expect("a date");
        let after = |nanos| now + SignedDuration::from_nanos(nanos);
        let five_minutes = 300_000_000_000;
        for (nanos, near) in [
            (0, true),
            (five_minutes - 1, true),
            (five_minutes, false),
            (1 - five_minutes, true),
            (-five_minutes, false),
            (-2 * five_minutes, false),
        ] {
            assert_eq!(is_near(after(nanos), now), near, "{nanos}");
        }
    }
}
