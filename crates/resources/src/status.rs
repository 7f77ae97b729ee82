//! The one write a certificate costs: `PUT .../podcertificaterequests/NAME/status`.
//!
//! The API server takes spec and metadata from what it has stored, whatever we send (its status
//! strategy overwrites them), so the body carries only what it compares: name and namespace with
//! the path, UID so that a request deleted and made again under the same name is not answered by
//! mistake, and the resource version without which it refuses a status update.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::{ApiVersion, ConditionType};

/// Which request is answered, as the watch showed it.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRef<'a> {
    /// `metadata.namespace`.
    pub namespace: &'a str,
    /// `metadata.name`.
    pub name: &'a str,
    /// `metadata.uid`.
    pub uid: &'a str,
    /// `metadata.resourceVersion` of the version the decision was made on.
    pub resource_version: &'a str,
}

/// The one condition a settled request carries; its status is always `True`.
#[derive(Clone, Copy, Debug)]
pub struct Condition<'a> {
    /// Issued, Denied or Failed.
    pub type_: ConditionType,
    /// One CamelCase word.
    pub reason: &'a str,
    /// A sentence for people, at most 32 KiB.
    pub message: &'a str,
    /// When it became so; written with second precision.
    pub last_transition_time: Timestamp,
}

/// What an issued request holds beside its condition. The API server compares each time with the
/// leaf, so they must be whole seconds.
#[derive(Clone, Copy, Debug)]
pub struct IssuedStatus<'a> {
    /// PEM, leaf first, root left out.
    pub certificate_chain: &'a str,
    /// The leaf's notBefore.
    pub not_before: Timestamp,
    /// When the kubelet shall ask again.
    pub begin_refresh_at: Timestamp,
    /// The leaf's notAfter.
    pub not_after: Timestamp,
}

/// The body of the status write.
///
/// ```
/// # use podcert_resources::{ApiVersion, Condition, ConditionType, RequestRef, StatusUpdate};
/// let request = RequestRef { namespace: "shop", name: "req-1", uid: "u", resource_version: "7" };
/// let condition = Condition {
///     type_: ConditionType::Denied,
///     reason: "UnsupportedKeyType",
///     message: "no",
///     last_transition_time: jiff::Timestamp::UNIX_EPOCH,
/// };
/// let body = StatusUpdate::new(ApiVersion::V1, request, condition, None).to_json();
/// assert!(body.starts_with(br#"{"apiVersion":"certificates.k8s.io/v1""#));
/// ```
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusUpdate<'a> {
    api_version: ApiVersion,
    kind: &'static str,
    metadata: RequestRef<'a>,
    status: StatusBody<'a>,
}

impl<'a> StatusUpdate<'a> {
    /// Answers `request` with `condition`, and with what was issued if anything was: the API
    /// server refuses any other field beside Denied or Failed. To be sent to [`status_path`] of
    /// the same `version`.
    pub fn new(
        version: ApiVersion,
        request: RequestRef<'a>,
        condition: Condition<'a>,
        issued: Option<IssuedStatus<'a>>,
    ) -> Self {
        Self {
            api_version: version,
            kind: "PodCertificateRequest",
            metadata: request,
            status: StatusBody {
                conditions: [ConditionBody {
                    type_: match condition.type_ {
                        ConditionType::Denied => "Denied",
                        ConditionType::Failed => "Failed",
                        ConditionType::Issued | ConditionType::Other => "Issued",
                    },
                    status: "True",
                    reason: condition.reason,
                    message: condition.message,
                    last_transition_time: Seconds(condition.last_transition_time),
                }],
                certificate_chain: issued.map(|issued| issued.certificate_chain),
                not_before: issued.map(|issued| Seconds(issued.not_before)),
                begin_refresh_at: issued.map(|issued| Seconds(issued.begin_refresh_at)),
                not_after: issued.map(|issued| Seconds(issued.not_after)),
            },
        }
    }

    /// The body's bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let chain = self.status.certificate_chain.map_or(0, str::len);
        let mut body = Vec::with_capacity(chain + chain / 16 + 1024);
        serde_json::to_writer(&mut body, self)
            .expect("invariant: strings and times serialize, and a Vec takes every write");
        body
    }
}

/// The path of a request's status, relative to the server's root.
pub fn status_path(version: ApiVersion, namespace: &str, name: &str) -> String {
    format!(
        "/apis/{}/namespaces/{namespace}/podcertificaterequests/{name}/status",
        version.group_version()
    )
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusBody<'a> {
    conditions: [ConditionBody<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_chain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    begin_refresh_at: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<Seconds>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConditionBody<'a> {
    #[serde(rename = "type")]
    type_: &'static str,
    status: &'static str,
    reason: &'a str,
    message: &'a str,
    last_transition_time: Seconds,
}

/// `metav1.Time`: RFC 3339 with whole seconds.
#[derive(Clone, Copy, Debug)]
struct Seconds(Timestamp);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.0}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: RequestRef<'static> = RequestRef {
        namespace: "shop",
        name: "req-1",
        uid: "u",
        resource_version: "7",
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 999_999_999).unwrap()
    }

    #[test]
    fn issued_carries_everything_the_server_compares() {
        let condition = Condition {
            type_: ConditionType::Issued,
            reason: "Issued",
            message: "signed by CA 1",
            last_transition_time: at(120),
        };
        let issued = IssuedStatus {
            certificate_chain: "PEM\n",
            not_before: at(0),
            begin_refresh_at: at(3600),
            not_after: at(7200),
        };
        let body =
            StatusUpdate::new(ApiVersion::V1Beta1, REQUEST, condition, Some(issued)).to_json();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "apiVersion": "certificates.k8s.io/v1beta1",
                "kind": "PodCertificateRequest",
                "metadata": {"namespace": "shop", "name": "req-1", "uid": "u", "resourceVersion": "7"},
                "status": {
                    "conditions": [{
                        "type": "Issued", "status": "True", "reason": "Issued",
                        "message": "signed by CA 1", "lastTransitionTime": "1970-01-01T00:02:00Z",
                    }],
                    "certificateChain": "PEM\n",
                    "notBefore": "1970-01-01T00:00:00Z",
                    "beginRefreshAt": "1970-01-01T01:00:00Z",
                    "notAfter": "1970-01-01T02:00:00Z",
                },
            })
        );
    }

    #[test]
    fn denied_carries_nothing_else() {
        let condition = Condition {
            type_: ConditionType::Denied,
            reason: "UnsupportedKeyType",
            message: "no",
            last_transition_time: at(0),
        };
        let body = StatusUpdate::new(ApiVersion::V1, REQUEST, condition, None).to_json();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["status"].as_object().unwrap().len(), 1);
    }

    #[test]
    fn the_path_is_the_status_subresource() {
        assert_eq!(
            status_path(ApiVersion::V1Beta1, "shop", "req-1"),
            "/apis/certificates.k8s.io/v1beta1/namespaces/shop/podcertificaterequests/req-1/status"
        );
    }
}
