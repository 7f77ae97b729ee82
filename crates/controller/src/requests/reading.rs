//! One request read once more, at v1beta1, because v1 does not show its key.
//!
//! A kubelet of 1.35 sends a public key with a proof of possession, for which v1 has no field: the
//! watch shows such a request with an empty stub. The object is the same one, so nothing but its
//! key is taken from this reading.

use std::sync::Arc;

use kube::api::Api;
use podcert_issuance::RequestedKey;
use podcert_resources::{ApiVersion, PodCertificateRequest};

use super::convert;
use super::queue::{Done, Outcome, RetryWhen, Unread};
use crate::reasons::{API_UNAVAILABLE, FORBIDDEN};
use crate::versions::{Spoken, is_unserved};
use crate::{Context, pools::with_sources};

/// Reads the request `unread` names.
///
/// # Cancel safety
/// When dropped, nothing was changed.
pub(super) async fn read(context: Arc<Context>, unread: Unread) -> Done {
    let Unread {
        uid,
        signer,
        request,
    } = unread;
    let client = context.connection.client().clone();
    let api =
        Api::<PodCertificateRequest>::all_with(client, &VERSION).constrain(&request.namespace);
    let read = api.get(&request.name).await;
    let (counted, outcome) = match read {
        // Another one of the same name: the watch is about to say so.
        Ok(object) if object.metadata.uid.as_deref() != Some(&uid) => ("gone", Outcome::Gone),
        Ok(object) => match convert::key(&object.spec) {
            RequestedKey::NotShown => ("hidden", Outcome::Shown(RequestedKey::NotShown)),
            key => ("shown", Outcome::Shown(key)),
        },
        Err(kube::Error::Api(status)) if is_unserved(&status) => {
            context.versions.unserved(Spoken::Requests, VERSION);
            ("unserved", Outcome::Unserved(VERSION))
        }
        Err(kube::Error::Api(status)) if status.code == 404 => ("gone", Outcome::Gone),
        Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
            let message = format!(
                "the request must be read at v1beta1, as v1 does not show its key: {} ({})",
                status.message, status.code
            );
            let refused = Outcome::Retry {
                reason: FORBIDDEN,
                message,
                when: RetryWhen::Refused,
            };
            ("refused", refused)
        }
        Err(error) => {
            let failed = Outcome::Retry {
                reason: API_UNAVAILABLE,
                message: with_sources(&error),
                when: RetryWhen::Soon,
            };
            ("failed", failed)
        }
    };
    context.metrics.read_again(signer, counted);
    Done {
        uid,
        version: String::new(),
        outcome,
    }
}

const VERSION: ApiVersion = ApiVersion::V1Beta1;
