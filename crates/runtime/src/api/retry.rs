//! Which requests may be tried again, and when. Pure.
//!
//! The question is never whether a retry would be nice but whether the first try may have been
//! carried out. Reads always may be repeated. Our updates carry a resource version, so an update
//! that was carried out after all answers the second try with a conflict, and the watch shows
//! why. A create or delete is repeated only where the server says it has not looked at it (429).

use std::time::Duration;

use ::http::{HeaderMap, StatusCode, header};

use super::metrics::Verb;
use crate::{Backoff, Jitter};

/// How often, and how far apart, a request is tried again.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Tries after the first.
    pub retries: u32,
    /// The waits between tries, where the server names none.
    pub backoff: Backoff,
    /// The longest `Retry-After` that is waited for here; a longer one goes to the caller.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// Three retries within about two seconds: enough for a server that restarts behind a load
    /// balancer; what takes longer is the caller's to wait for.
    fn default() -> Self {
        Self {
            retries: 3,
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(2)),
            longest_wait: Duration::from_secs(30),
        }
    }
}

/// What became of one try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// The server answered.
    Answered {
        status: StatusCode,
        /// What it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The connection failed, or no answer came in time.
    Unanswered,
}

impl RetryPolicy {
    /// How long to wait before trying again; nothing when this outcome is final. `tried` counts
    /// the tries so far.
    pub(super) fn next_try(
        &self,
        verb: Verb,
        outcome: Outcome,
        tried: u32,
        jitter: &Jitter,
    ) -> Option<Duration> {
        if tried > self.retries {
            return None;
        }
        let repeatable = matches!(verb, Verb::Read | Verb::Update | Verb::Watch);
        let retry_after = match outcome {
            Outcome::Unanswered => {
                if !repeatable {
                    return None;
                }
                None
            }
            Outcome::Answered {
                status,
                retry_after,
            } => {
                let passes = match status {
                    StatusCode::TOO_MANY_REQUESTS => true,
                    StatusCode::INTERNAL_SERVER_ERROR
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT => repeatable,
                    _ => false,
                };
                if !passes {
                    return None;
                }
                retry_after
            }
        };
        let wait = self.backoff.delay(tried, jitter);
        match retry_after {
            Some(asked) if asked > self.longest_wait => None,
            Some(asked) => Some(asked.max(wait)),
            None => Some(wait),
        }
    }
}

/// `Retry-After` in seconds, the only form kube-apiserver sends.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(verb: Verb, status: u16, retry_after: Option<u64>, tried: u32) -> Option<Duration> {
        RetryPolicy::default().next_try(
            verb,
            Outcome::Answered {
                status: StatusCode::from_u16(status).unwrap(),
                retry_after: retry_after.map(Duration::from_secs),
            },
            tried,
            &Jitter::seeded(1),
        )
    }

    #[test]
    fn what_may_have_been_carried_out_is_not_repeated() {
        for verb in [Verb::Create, Verb::Delete, Verb::Patch] {
            assert!(next(verb, 429, None, 1).is_some(), "{verb:?}");
            for status in [500, 502, 503, 504] {
                assert_eq!(next(verb, status, None, 1), None, "{verb:?} {status}");
            }
            let unanswered =
                RetryPolicy::default().next_try(verb, Outcome::Unanswered, 1, &Jitter::seeded(1));
            assert_eq!(unanswered, None, "{verb:?}");
        }
        for verb in [Verb::Read, Verb::Update, Verb::Watch] {
            for status in [429, 500, 502, 503, 504] {
                assert!(next(verb, status, None, 1).is_some(), "{verb:?} {status}");
            }
        }
    }

    #[test]
    fn an_answer_is_an_answer() {
        for status in [200, 201, 400, 401, 403, 404, 409, 410, 422] {
            assert_eq!(next(Verb::Update, status, None, 1), None, "{status}");
        }
    }

    #[test]
    fn tries_end_and_retry_after_is_honoured_within_reason() {
        assert!(next(Verb::Read, 503, None, 3).is_some());
        assert_eq!(next(Verb::Read, 503, None, 4), None);
        assert_eq!(
            next(Verb::Read, 429, Some(7), 1),
            Some(Duration::from_secs(7))
        );
        assert_eq!(next(Verb::Read, 429, Some(31), 1), None);
        assert!(next(Verb::Read, 429, Some(0), 1).unwrap() >= Duration::from_millis(100));
    }

    #[test]
    fn retry_after_is_read_as_seconds() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        for (value, expected) in [
            ("5", Some(5)),
            (" 5 ", Some(5)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
        ] {
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
            assert_eq!(
                retry_after(&headers),
                expected.map(Duration::from_secs),
                "{value}"
            );
        }
    }
}
