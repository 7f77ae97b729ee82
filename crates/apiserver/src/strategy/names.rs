//! The grammars of names, labels and annotations, with the real server's explanations.
//!
//! Each check returns the list of complaints, empty when there are none
//! (`apimachinery/pkg/util/validation`).

/// How the names of a kind are checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NameRule {
    /// One DNS label.
    Label,
    /// Anything that can stand in a URL path.
    PathSegment,
    /// A DNS subdomain.
    Subdomain,
    /// What ClusterTrustBundles may be called depends on their signer.
    TrustBundle,
}

/// Complaints about a name. A `prefix` is a `generateName`, which may end in a dash.
pub(crate) fn name(rule: NameRule, name: &str, prefix: Prefix) -> Vec<String> {
    let masked = mask_trailing_dash(name, prefix);
    match rule {
        NameRule::Label => dns_label(&masked),
        NameRule::Subdomain => dns_subdomain(&masked),
        NameRule::PathSegment | NameRule::TrustBundle => path_segment(name, prefix),
    }
}

/// Whether a name is complete or will have a suffix appended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Prefix {
    Complete,
    ToBeExtended,
}

pub(crate) fn mask_trailing_dash(name: &str, prefix: Prefix) -> String {
    match (prefix, name.strip_suffix('-')) {
        (Prefix::ToBeExtended, Some(start)) if !start.is_empty() => {
            // As upstream does it: the last two characters become one letter.
            let mut masked: String = start.to_owned();
            masked.pop();
            masked.push('a');
            masked
        }
        _ => name.to_owned(),
    }
}

/// RFC 1123 label: lower case, digits and dashes, at most 63.
pub(crate) fn dns_label(value: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if value.len() > 63 {
        complaints.push(max_length(63));
    }
    if !is_label(value) {
        if is_subdomain(value) {
            complaints.push("must not contain dots".into());
        } else {
            complaints.push(regex(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            ));
        }
    }
    complaints
}

/// RFC 1123 subdomain: labels joined by dots, at most 253.
pub(crate) fn dns_subdomain(value: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if value.len() > 253 {
        complaints.push(max_length(253));
    }
    if !is_subdomain(value) {
        complaints.push(regex(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN,
            &["example.com"],
        ));
    }
    complaints
}

/// A qualified name: an optional DNS subdomain and `/`, then at most 63 characters.
pub(crate) fn label_key(value: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                complaints.push("prefix part must be non-empty".into());
            } else {
                complaints.extend(dns_subdomain(prefix).into_iter().map(|complaint| {
                    format!(
                        "prefix part {}",
                        complaint.replace("253 characters", "253 bytes")
                    )
                }));
            }
            *name
        }
        _ => {
            let grammar = regex(KEY_RULE, KEY, KEY_EXAMPLES);
            return vec![format!(
                "a valid label key {grammar} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        complaints.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        complaints.push("name part must be no more than 63 bytes".into());
    }
    if !is_key(name) {
        complaints.push(format!("name part {}", regex(KEY_RULE, KEY, KEY_EXAMPLES)));
    }
    complaints
}

/// The name of a port (RFC 6335): at most 15 lower case characters, digits and dashes.
pub(crate) fn port_name(value: &str) -> Vec<String> {
    let mut complaints: Vec<&str> = Vec::new();
    if value.len() > 15 {
        complaints.push("must be no more than 15 characters");
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if value.is_empty() || !value.chars().all(allowed) {
        complaints.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !value.contains(|c: char| c.is_ascii_lowercase()) {
        complaints.push("must contain at least one letter (a-z)");
    }
    if value.contains("--") {
        complaints.push("must not contain consecutive hyphens");
    }
    if value.starts_with('-') || value.ends_with('-') {
        complaints.push("must not begin or end with a hyphen");
    }
    complaints.into_iter().map(str::to_owned).collect()
}

/// A label's value: empty, or like a key's name part.
pub(crate) fn label_value(value: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if value.len() > 63 {
        complaints.push("must be no more than 63 bytes".into());
    }
    if !value.is_empty() && !is_key(value) {
        complaints.push(regex(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            &format!("({KEY})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    complaints
}

/// What can be one element of a URL path.
fn path_segment(value: &str, prefix: Prefix) -> Vec<String> {
    if prefix == Prefix::Complete && matches!(value, "." | "..") {
        return vec![format!("may not be '{value}'")];
    }
    ["/", "%"]
        .into_iter()
        .filter(|illegal| value.contains(illegal))
        .map(|illegal| format!("may not contain '{illegal}'"))
        .collect()
}

fn is_label(value: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    value.starts_with(inner)
        && value.ends_with(inner)
        && value.chars().all(|c| inner(c) || c == '-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_key(value: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    value.starts_with(edge)
        && value.ends_with(edge)
        && value.chars().all(|c| edge(c) || "-_.".contains(c))
}

fn max_length(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

fn regex(rule: &str, expression: &str, examples: &[&str]) -> String {
    let quoted: Vec<String> = examples
        .iter()
        .map(|example| format!("'{example}', "))
        .collect();
    format!(
        "{rule} (e.g. {}regex used for validation is '{expression}')",
        quoted.join(" or ")
    )
}

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const KEY_EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];
