//! What a pod can be told about itself: `fieldRef`, in environments and in files.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::core::v1::Pod;

/// A field of the pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Field {
    Annotation(String),
    Annotations,
    HostIp,
    Label(String),
    Labels,
    Name,
    Namespace,
    NodeName,
    PodIp,
    ServiceAccount,
    Uid,
}

impl Field {
    /// The field of a variable.
    pub(super) fn in_environment(path: &str) -> Result<Self, String> {
        match Self::parse(path) {
            Some(Self::Annotations | Self::Labels) | None => Err(format!(
                "fieldRef {path:?} is none that a variable can have"
            )),
            Some(field) => Ok(field),
        }
    }

    /// The field of a file.
    pub(super) fn in_volume(path: &str) -> Result<Self, String> {
        match Self::parse(path) {
            Some(
                field @ (Self::Annotation(_)
                | Self::Annotations
                | Self::Label(_)
                | Self::Labels
                | Self::Name
                | Self::Namespace
                | Self::Uid),
            ) => Ok(field),
            _ => Err(format!("fieldRef {path:?} is none that a file can have")),
        }
    }

    fn parse(path: &str) -> Option<Self> {
        let quoted = |list: &str| {
            let key = path.strip_prefix(list)?.strip_prefix("['")?;
            Some(key.strip_suffix("']")?.to_owned())
        };
        Some(match path {
            "metadata.annotations" => Self::Annotations,
            "metadata.labels" => Self::Labels,
            "metadata.name" => Self::Name,
            "metadata.namespace" => Self::Namespace,
            "metadata.uid" => Self::Uid,
            "spec.nodeName" => Self::NodeName,
            "spec.serviceAccountName" => Self::ServiceAccount,
            "status.hostIP" | "status.hostIPs" => Self::HostIp,
            "status.podIP" | "status.podIPs" => Self::PodIp,
            _ => match quoted("metadata.labels") {
                Some(key) => Self::Label(key),
                None => Self::Annotation(quoted("metadata.annotations")?),
            },
        })
    }

    /// What it is now; `address` is the pod's.
    pub(crate) fn value(&self, pod: &Pod, address: &str) -> String {
        let (meta, spec) = (&pod.metadata, pod.spec.as_ref());
        let of = |map: Option<&BTreeMap<String, String>>, key: &str| {
            map.and_then(|map| map.get(key)).cloned()
        };
        let value = match self {
            Self::Annotation(key) => of(meta.annotations.as_ref(), key),
            Self::Annotations => meta.annotations.as_ref().map(listed),
            Self::HostIp => Some(crate::kubelet::HOST_ADDRESS.to_owned()),
            Self::Label(key) => of(meta.labels.as_ref(), key),
            Self::Labels => meta.labels.as_ref().map(listed),
            Self::Name => meta.name.clone(),
            Self::Namespace => meta.namespace.clone(),
            Self::NodeName => spec.and_then(|spec| spec.node_name.clone()),
            Self::PodIp => Some(address.to_owned()),
            Self::ServiceAccount => spec.and_then(|spec| spec.service_account_name.clone()),
            Self::Uid => meta.uid.clone(),
        };
        value.unwrap_or_default()
    }
}

/// One `key="value"` per line, as `fieldpath.FormatMap` writes maps: Go's `%q`.
fn listed(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}={}", quoted(value)))
        .collect();
    lines.join("\n")
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if c.is_ascii_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(super) const NO_RESOURCES: &str = "no resourceFieldRef: requests and limits are not kept here";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_written_as_the_kubelet_writes_them() {
        let map = [("b", "two\nlines \"quoted\""), ("a", "1\\\u{1}é")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let expected = "a=\"1\\\\\\x01é\"\nb=\"two\\nlines \\\"quoted\\\"\"";
        assert_eq!(listed(&BTreeMap::from(map)), expected);
    }

    #[test]
    fn files_and_variables_know_different_fields() {
        assert!(Field::in_volume("metadata.labels").is_ok());
        assert!(Field::in_environment("metadata.labels").is_err());
        assert!(Field::in_environment("status.podIP").is_ok());
        assert!(Field::in_volume("status.podIP").is_err());
        assert!(Field::in_environment("spec.restartPolicy").is_err());
        assert_eq!(
            Field::in_volume("metadata.labels['a.b/c']").unwrap(),
            Field::Label("a.b/c".to_owned())
        );
    }
}
