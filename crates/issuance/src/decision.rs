//! What comes out of a decision.

use std::fmt;

use jiff::Timestamp;
use podcert_pki::LeafSpec;

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Sign this certificate and write the status `Issued`.
    Issue(Plan),
    /// Write the status `Denied`. Final for the pod.
    Deny(Denial),
    /// Write nothing and decide again when the event comes that can cure it.
    Wait(Wait),
}

/// A certificate to be signed, and what to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The certificate, for the authority to sign.
    pub spec: LeafSpec,
    /// `status.beginRefreshAt`: when kubelet begins to ask for the next certificate.
    pub begin_refresh_at: Timestamp,
    /// What the owner of the pod should know although the certificate is issued: one Event each.
    pub notes: Vec<Note>,
}

/// Why a request is denied for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The reason of the `Denied` condition.
    pub reason: DenialReason,
    /// The message of the condition: which field, what was expected.
    pub message: String,
}

/// The reasons the Kubernetes API defines for the condition `Denied`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenialReason {
    /// An annotation of `spec.unverifiedUserAnnotations` the signer cannot honour.
    InvalidUnverifiedUserAnnotations,
    /// A key the signer does not certify.
    UnsupportedKeyType,
}

impl DenialReason {
    /// All of them.
    pub const ALL: [Self; 2] = [
        Self::InvalidUnverifiedUserAnnotations,
        Self::UnsupportedKeyType,
    ];

    /// The word for the condition, the Event and the metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidUnverifiedUserAnnotations => "InvalidUnverifiedUserAnnotations",
            Self::UnsupportedKeyType => "UnsupportedKeyType",
        }
    }
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request is not answered now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The word for the Event and the metric label.
    pub reason: WaitReason,
    /// What is the matter and what would cure it, for the person who reads the Event.
    pub message: String,
    /// Which event can cure it.
    pub wake: Wake,
}

impl Wait {
    pub(crate) fn new(reason: WaitReason, wake: Wake, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            wake,
        }
    }
}

/// What a waiting request waits for.
///
/// A controller that restarts decides everything anew, so no wait outlives the cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A change of the request's pod, by namespace and name.
    Pod,
    /// A change of the request's pod or of any Service of its namespace.
    PodOrServices,
    /// A change of the request's node.
    Node,
    /// A change of the request's service account.
    ServiceAccount,
    /// Another pool of CAs, or a renewed one.
    Authority,
    /// Another version of the API being served, which may show more of the request.
    ApiVersion,
    /// This moment.
    At(Timestamp),
    /// Nothing while this process runs: another configuration or version of podcert.
    Restart,
}

/// Why a request waits, one word each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitReason {
    /// The request's annotations are on no projection of this signer in the pod.
    AnnotationsMismatch,
    /// The signing CA, or a certificate above it, has expired.
    CaExpired,
    /// The signing CA lasts for less than the shortest certificate the API server accepts.
    CaExpiresTooSoon,
    /// The signing CA, or a certificate above it, is not valid yet.
    CaNotYetValid,
    /// The API server's clock stands where no certificate can begin.
    ClockWrong,
    /// The request shows no key in the API version it was read in.
    KeyNotShown,
    /// No certificate of the length the API server accepts fits the request's `maxExpirationSeconds`.
    LifetimeTooShort,
    /// No Service selects the pod.
    NoMatchingService,
    /// The request's node does not exist.
    NodeNotFound,
    /// The request's node has another UID.
    NodeReplaced,
    /// The pod mounts no projection of this signer.
    NoProjection,
    /// The request is for another signer.
    OtherSigner,
    /// The pod is bound to another node than the request says, or to none yet.
    PodNodeMismatch,
    /// There is no such pod.
    PodNotFound,
    /// The pod of that name is another one.
    PodReplaced,
    /// The pod runs as another service account than the request says.
    PodServiceAccountMismatch,
    /// The pod asks for the name of a Service that does not exist or does not select it.
    RequestedServiceNotMatching,
    /// The request's service account does not exist.
    ServiceAccountNotFound,
    /// The request's service account has another UID.
    ServiceAccountReplaced,
    /// The API server would refuse the status (see [`crate::status_rules`]).
    StatusRuleViolation,
    /// More names than fit a certificate.
    TooManyNames,
    /// A UID of a node or service account would go into the certificate, and podcert may not see
    /// such objects.
    UidNotShown,
    /// A name that cannot stand in a certificate.
    UnusableName,
    /// A request the API server accepts and podcert cannot read.
    UnreadableRequest,
}

impl WaitReason {
    /// The word for the Event and the metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnnotationsMismatch => "AnnotationsMismatch",
            Self::CaExpired => "CaExpired",
            Self::CaExpiresTooSoon => "CaExpiresTooSoon",
            Self::CaNotYetValid => "CaNotYetValid",
            Self::ClockWrong => "ClockWrong",
            Self::KeyNotShown => "KeyNotShown",
            Self::LifetimeTooShort => "LifetimeTooShort",
            Self::NoMatchingService => "NoMatchingService",
            Self::NodeNotFound => "NodeNotFound",
            Self::NodeReplaced => "NodeReplaced",
            Self::NoProjection => "NoProjection",
            Self::OtherSigner => "OtherSigner",
            Self::PodNodeMismatch => "PodNodeMismatch",
            Self::PodNotFound => "PodNotFound",
            Self::PodReplaced => "PodReplaced",
            Self::PodServiceAccountMismatch => "PodServiceAccountMismatch",
            Self::RequestedServiceNotMatching => "RequestedServiceNotMatching",
            Self::ServiceAccountNotFound => "ServiceAccountNotFound",
            Self::ServiceAccountReplaced => "ServiceAccountReplaced",
            Self::StatusRuleViolation => "StatusRuleViolation",
            Self::TooManyNames => "TooManyNames",
            Self::UidNotShown => "UidNotShown",
            Self::UnusableName => "UnusableName",
            Self::UnreadableRequest => "UnreadableRequest",
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something the owner of the pod should know although the certificate is issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The reason of the Event.
    pub reason: NoteReason,
    /// The message of the Event.
    pub message: String,
}

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoteReason {
    /// Annotations of the projection that mean nothing to the signer.
    IgnoredAnnotations,
    /// A Service left out of the certificate, as its name cannot stand in one.
    UnusableServiceName,
}

impl NoteReason {
    /// The word for the Event and the metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IgnoredAnnotations => "IgnoredAnnotations",
            Self::UnusableServiceName => "UnusableServiceName",
        }
    }
}

impl fmt::Display for NoteReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
