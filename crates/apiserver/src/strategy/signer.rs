//! Signer names: `<domain>/<path>` (`pkg/apis/core/validation/names.go`).

use super::names::{dns_label, dns_subdomain};
use crate::field::FieldError;

/// Checks a signer name in this field.
pub(crate) fn check(field: &str, name: &str) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(field, "")];
    }
    let segments: Vec<&str> = name.split('/').collect();
    let [domain, path] = segments.as_slice() else {
        return vec![FieldError::invalid(
            field,
            name,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        )];
    };
    let mut errors = Vec::new();
    if domain.len() > DOMAIN_LIMIT {
        errors.push(FieldError::too_long(field, DOMAIN_LIMIT));
    }
    errors.extend(first_bad_label(field, domain, dns_label));
    if !domain.contains('.') {
        errors.push(FieldError::invalid(
            field,
            domain,
            "should be a domain with at least two segments separated by dots",
        ));
    }
    errors.extend(first_bad_label(field, path, dns_subdomain));
    if name.len() > NAME_LIMIT {
        errors.push(FieldError::too_long(field, NAME_LIMIT));
    }
    errors
}

/// Whether the signer is one of Kubernetes' own.
pub(crate) fn is_of_kubernetes(name: &str) -> bool {
    let domain = name.split('/').next().unwrap_or_default();
    domain == "kubernetes.io" || domain.ends_with(".kubernetes.io")
}

fn first_bad_label(
    field: &str,
    segment: &str,
    complaints: impl Fn(&str) -> Vec<String>,
) -> Vec<FieldError> {
    segment
        .split('.')
        .map(|label| (label, complaints(label)))
        .find(|(_, complaints)| !complaints.is_empty())
        .map(|(label, complaints)| {
            complaints
                .into_iter()
                .map(|why| {
                    FieldError::invalid(
                        field,
                        segment,
                        format!("validating label {label:?}: {why}"),
                    )
                })
                .collect()
        })
        .unwrap_or_default()
}

const DOMAIN_LIMIT: usize = 253;
/// A domain, a slash, a label, a dot and a subdomain.
const NAME_LIMIT: usize = 253 + 1 + 253 + 63 + 1;
