//! One answer given: signed, checked against the API server's rules, written.
//!
//! The write is the whole cost of a certificate at the API server, so it is made by hand: a body
//! with nothing the server ignores, an answer of metadata alone, of which only the status code is
//! looked at unless it is an error.

use std::sync::Arc;

use http::{Method, Request as HttpRequest, StatusCode, header};
use kube::client::Body;
use kube::core::Status;
use podcert_authority::Authority;
use podcert_issuance::{Denial, Plan, Request, status_rules};
use podcert_resources::event::Severity;
use podcert_resources::{
    ApiVersion, Condition, ConditionType, IssuedStatus, RequestRef, StatusUpdate, status_path,
};
use podcert_runtime::Clock as _;
use podcert_runtime::api::{Permit, Withdrawn};
use tokio::time::Instant;

use super::queue::{Answer, Done, Outcome, RetryWhen, Tell, Work};
use super::signing::sign;
use crate::reasons::{API_UNAVAILABLE, FORBIDDEN, ISSUED, STATUS_REFUSED};
use crate::versions::{Spoken, is_unserved};
use crate::{Context, metrics::Outcome as Counted, pools::with_sources};

/// Gives the answer `work` asks for, while `permit` holds.
///
/// # Cancel safety
/// When dropped, the write may or may not have happened; the watch shows which.
pub(super) async fn execute(context: Arc<Context>, work: Work, permit: Permit) -> Done {
    let Work {
        uid,
        signer,
        authority,
        request,
        version,
        answer,
    } = work;
    let to = Addressee {
        request: &request,
        version: &version,
        permit,
    };
    let outcome = match answer {
        Answer::Deny(denial) => deny(&context, to, &denial).await,
        Answer::Issue(plan) => issue(&context, &authority, signer, to, plan).await,
    };
    Done {
        uid,
        version,
        outcome,
    }
}

/// The request an answer is for, in the version it is conditional on, and while what it may be
/// written.
struct Addressee<'a> {
    request: &'a Request,
    version: &'a str,
    permit: Permit,
}

async fn issue(
    context: &Context,
    authority: &Arc<Authority>,
    signer: usize,
    to: Addressee<'_>,
    plan: Plan,
) -> Outcome {
    let request = to.request;
    let Plan {
        spec,
        begin_refresh_at,
        notes,
    } = plan;
    let validity = spec.validity();
    let begun = Instant::now();
    let chain = match sign(authority, spec, &context.signing).await {
        Ok(chain) => chain,
        Err(outcome) => return outcome,
    };
    let certificate_chain = chain.to_pem();
    context.metrics.signed(signer, begun.elapsed());

    let now = context.connection.server_clock().now();
    let (not_before, not_after) = (validity.not_before(), validity.not_after());
    let status = status_rules::IssuedStatus {
        certificate_chain: &certificate_chain,
        not_before,
        begin_refresh_at,
        not_after,
    };
    if let Err(violation) = status_rules::check(&status, request, now) {
        return Outcome::Wait(violation.into_wait(now));
    }
    let condition = Condition {
        type_: ConditionType::Issued,
        reason: ISSUED,
        message: "certificate issued",
        last_transition_time: now,
    };
    let issued = IssuedStatus {
        certificate_chain: &certificate_chain,
        not_before,
        begin_refresh_at,
        not_after,
    };
    let spoken = spoken(context);
    let body = StatusUpdate::new(spoken, reference(&to), condition, Some(issued)).to_json();
    let tell = notes.into_iter().map(|note| Tell {
        severity: Severity::Normal,
        reason: note.reason.as_str(),
        message: note.message,
    });
    let outcome = write(
        context,
        spoken,
        to,
        body,
        Counted::Issued,
        ISSUED,
        tell.collect(),
    )
    .await;
    if matches!(outcome, Outcome::Written { .. }) {
        // Who got what, for whoever has to tell one day. It costs a seventh of a certificate's CPU.
        tracing::info!(
            namespace = request.namespace,
            pod = request.pod_name,
            service_account = request.service_account_name,
            request = request.name,
            signer = %request.signer,
            ca = %authority.ca_id(),
            %not_after,
            "issued"
        );
    }
    outcome
}

async fn deny(context: &Context, to: Addressee<'_>, denial: &Denial) -> Outcome {
    let request = to.request;
    let reason = denial.reason.as_str();
    let condition = Condition {
        type_: ConditionType::Denied,
        reason,
        message: &denial.message,
        last_transition_time: context.connection.server_clock().now(),
    };
    let spoken = spoken(context);
    let body = StatusUpdate::new(spoken, reference(&to), condition, None).to_json();
    let tell = vec![Tell {
        severity: Severity::Warning,
        reason,
        message: format!("denied for good: {}", denial.message),
    }];
    let counted = Counted::Denied;
    let outcome = write(context, spoken, to, body, counted, reason, tell).await;
    if matches!(outcome, Outcome::Written { .. }) {
        tracing::warn!(
            namespace = request.namespace,
            pod = request.pod_name,
            signer = %request.signer,
            reason,
            why = denial.message,
            "denied"
        );
    }
    outcome
}

/// The version to write at. It is known, as the request was seen.
fn spoken(context: &Context) -> ApiVersion {
    context.versions.now().requests.unwrap_or_default()
}

async fn write(
    context: &Context,
    spoken: ApiVersion,
    to: Addressee<'_>,
    body: Vec<u8>,
    counted: Counted,
    reason: &'static str,
    tell: Vec<Tell>,
) -> Outcome {
    let Addressee {
        request, permit, ..
    } = to;
    let built = HttpRequest::builder()
        .method(Method::PUT)
        .uri(status_path(spoken, &request.namespace, &request.name) + UNCHECKED)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, METADATA_ALONE)
        .body(Body::from(body));
    let mut built = match built {
        Ok(built) => built,
        // A namespace or name that cannot stand in a path: no API server has such an object.
        Err(error) => {
            let message = format!("the request cannot be addressed: {error}");
            return Outcome::Retry {
                reason: STATUS_REFUSED,
                message,
                when: RetryWhen::Refused,
            };
        }
    };
    permit.bind(&mut built);
    let answered = async {
        let response = context.connection.client().send(built).await?;
        let status = response.status();
        // Read to its end, so that the connection can be used again.
        Ok::<_, kube::Error>((status, response.into_body().collect_bytes().await))
    };
    let soon = |message| Outcome::Retry {
        reason: API_UNAVAILABLE,
        message,
        when: RetryWhen::Soon,
    };
    let (status, body) = match answered.await {
        Ok(answer) => answer,
        Err(error) if Withdrawn::is(&error) => return Outcome::Withdrawn,
        Err(error) => return soon(with_sources(&error)),
    };
    if status.is_success() {
        return Outcome::Written {
            counted,
            reason,
            tell,
        };
    }
    let said = body
        .ok()
        .and_then(|body| serde_json::from_slice::<Status>(&body).ok());
    if status == StatusCode::NOT_FOUND && said.as_ref().is_none_or(is_unserved) {
        context.versions.unserved(Spoken::Requests, spoken);
        return Outcome::Unserved(spoken);
    }
    let message = match said {
        Some(Status { message, .. }) if !message.is_empty() => format!("{message} ({status})"),
        _ => format!("the API server answered {status}"),
    };
    match status {
        StatusCode::NOT_FOUND => Outcome::Gone,
        StatusCode::CONFLICT => Outcome::Conflict,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::Retry {
            reason: FORBIDDEN,
            message,
            when: RetryWhen::Refused,
        },
        StatusCode::TOO_MANY_REQUESTS => soon(message),
        status if status.is_server_error() => soon(message),
        _ => Outcome::Retry {
            reason: STATUS_REFUSED,
            message,
            when: RetryWhen::Refused,
        },
    }
}

fn reference<'a>(to: &Addressee<'a>) -> RequestRef<'a> {
    let Addressee {
        request, version, ..
    } = *to;
    RequestRef {
        namespace: &request.namespace,
        name: &request.name,
        uid: &request.uid,
        resource_version: version,
    }
}

/// Spares the API server looking for fields it does not know, for warnings that nobody reads.
const UNCHECKED: &str = "?fieldValidation=Ignore";
/// The answer to a write holds the object. Little of it is enough, for a server that can do so.
const METADATA_ALONE: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json";
