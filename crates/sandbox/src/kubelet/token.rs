//! Service account tokens, as the kubelet's token manager keeps them (`pkg/kubelet/token/token_manager.go`): a token is
//! asked for again when less than a fifth of its life is left or it is a day old, and serves on while that fails, until
//! it expires.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use zeroize::Zeroizing;

use super::plan::TokenPlan;
use crate::pod_map::PodName;

/// The tokens of one pod, by audience and asked lifetime.
#[derive(Debug, Default)]
pub(super) struct Tokens(BTreeMap<(String, i64), Held>);

struct Held {
    token: Zeroizing<String>,
    expires: Timestamp,
    refresh_at: Timestamp,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a token until {}", self.expires)
    }
}

impl Tokens {
    /// The token for this plan. `jitter` is drawn from `U(0, 10 s)`.
    pub(super) async fn get(
        &mut self,
        client: &Client,
        pod: &PodName,
        account: &str,
        plan: &TokenPlan,
        now: Timestamp,
        jitter: Duration,
    ) -> Result<Zeroizing<String>, String> {
        let key = (plan.audience.clone(), plan.seconds);
        let held = self.0.get(&key);
        if let Some(held) = held.filter(|held| now < held.refresh_at) {
            return Ok(held.token.clone());
        }
        match request(client, pod, account, plan, jitter).await {
            Ok(fresh) => {
                let token = fresh.token.clone();
                self.0.insert(key, fresh);
                Ok(token)
            }
            Err(error) => match held {
                Some(held) if now < held.expires => Ok(held.token.clone()),
                Some(_) => Err(format!("token expired and refresh failed: {error}")),
                None => Err(format!("failed to fetch token: {error}")),
            },
        }
    }
}

async fn request(
    client: &Client,
    pod: &PodName,
    account: &str,
    plan: &TokenPlan,
    jitter: Duration,
) -> Result<Held, String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &pod.namespace);
    let audience = Some(plan.audience.clone()).filter(|audience| !audience.is_empty());
    let audiences: Vec<String> = audience.into_iter().collect();
    let request = TokenRequest {
        metadata: ObjectMeta::default(),
        spec: Some(TokenRequestSpec {
            audiences: Some(audiences),
            attestations: None,
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod.name.clone()),
                uid: Some(pod.uid.clone()),
            }),
            expiration_seconds: Some(plan.seconds),
        }),
        status: None,
    };
    let answer = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .map_err(|error| error.to_string())?;
    let status = answer.status.unwrap_or_default();
    let expires = status.expiration_timestamp.map(|time| time.0);
    let (Some(token), Some(expires)) = (status.token, expires) else {
        return Err("the answer holds no token".to_owned());
    };
    let seconds = answer.spec.and_then(|spec| spec.expiration_seconds);
    Ok(Held {
        token: Zeroizing::new(token),
        expires,
        refresh_at: refresh_at(expires, seconds.unwrap_or(plan.seconds), jitter),
    })
}

/// When a token that expires then and lives this long is asked for again.
fn refresh_at(expires: Timestamp, seconds: i64, jitter: Duration) -> Timestamp {
    let before = |by: SignedDuration| expires.checked_sub(by).unwrap_or(Timestamp::MIN);
    let life = SignedDuration::from_secs(seconds);
    let last_fifth = before(life / 5);
    let a_day_old = before(life).checked_add(MAX_AGE).unwrap_or(Timestamp::MAX);
    let at = last_fifth.min(a_day_old);
    let jitter = SignedDuration::try_from(jitter).unwrap_or_default();
    at.checked_sub(jitter).unwrap_or(Timestamp::MIN)
}

const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);
/// Jitter is drawn from zero up to this.
pub(super) const JITTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_refreshed_in_its_last_fifth_or_after_a_day() {
        let start = Timestamp::UNIX_EPOCH;
        let at = |hours: i64| {
            let life = SignedDuration::from_hours(hours);
            refresh_at(start + life, life.as_secs(), Duration::from_secs(7))
        };
        let second = SignedDuration::from_secs(1);
        assert_eq!(at(1), start + second * (48 * 60 - 7));
        assert_eq!(at(100), start + second * (24 * 3600 - 7));
    }
}
