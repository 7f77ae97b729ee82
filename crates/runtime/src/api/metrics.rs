//! Requests to the API server, counted by verb and kind of answer: a few dozen series at most.

use std::{fmt, time::Duration};

use ::http::{Method, Request, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::{
    counter::Counter,
    family::Family,
    histogram::{Histogram, exponential_buckets},
};
use prometheus_client::registry::{Registry, Unit};

/// What a request does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verb {
    /// POST.
    Create,
    /// DELETE.
    Delete,
    /// PATCH.
    Patch,
    /// GET of one object or a list.
    Read,
    /// PUT.
    Update,
    /// A watch, counted when it starts.
    Watch,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Create,
        Self::Delete,
        Self::Patch,
        Self::Read,
        Self::Update,
        Self::Watch,
    ];

    /// The verb of `request`.
    pub fn of<B>(request: &Request<B>) -> Self {
        match *request.method() {
            Method::POST => Self::Create,
            Method::DELETE => Self::Delete,
            Method::PATCH => Self::Patch,
            Method::PUT => Self::Update,
            _ if request.uri().query().is_some_and(is_watch) => Self::Watch,
            _ => Self::Read,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Patch => "patch",
            Self::Read => "read",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Answer {
    /// 2xx.
    Ok,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// 410.
    Gone,
    /// 422.
    Invalid,
    /// 429.
    TooManyRequests,
    /// Any other below 500.
    Refused,
    /// 5xx.
    ServerError,
    /// No answer: the connection failed or time ran out.
    None,
}

impl Answer {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Ok,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::Gone,
        Self::Invalid,
        Self::TooManyRequests,
        Self::Refused,
        Self::ServerError,
        Self::None,
    ];

    pub(super) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Ok,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            409 => Self::Conflict,
            410 => Self::Gone,
            422 => Self::Invalid,
            429 => Self::TooManyRequests,
            500.. => Self::ServerError,
            _ => Self::Refused,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Invalid => "invalid",
            Self::TooManyRequests => "too_many_requests",
            Self::Refused => "refused",
            Self::ServerError => "server_error",
            Self::None => "none",
        }
    }
}

/// Counts of one connection. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Labels, Counter>,
    seconds: Family<VerbLabel, Histogram, fn() -> Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            // 1 ms to 16 s.
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 4.0, 8))
            }),
        }
    }
}

impl Metrics {
    /// Shows the counts in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "podcert_api_requests",
            "Requests to the API server, each try counted",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "podcert_api_request",
            "Time until the API server's answer began, each try counted",
            Unit::Seconds,
            self.seconds.clone(),
        );
    }

    /// How many tries of `verb` ended in `answer`.
    pub fn count(&self, verb: Verb, answer: Answer) -> u64 {
        // A look must not create the series it looks for.
        self.requests
            .get(&Labels { verb, answer })
            .map_or(0, |counter| counter.get())
    }

    /// How many tries of `verb` were made.
    pub fn total(&self, verb: Verb) -> u64 {
        Answer::ALL
            .into_iter()
            .map(|answer| self.count(verb, answer))
            .sum()
    }

    pub(super) fn record(&self, verb: Verb, answer: Answer, took: Duration) {
        self.requests.get_or_create(&Labels { verb, answer }).inc();
        self.seconds
            .get_or_create(&VerbLabel { verb })
            .observe(took.as_secs_f64());
    }
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    verb: Verb,
    answer: Answer,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct VerbLabel {
    verb: Verb,
}

impl EncodeLabelValue for Verb {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for Answer {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

fn is_watch(query: &str) -> bool {
    query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_told_apart() {
        for (method, uri, verb) in [
            ("GET", "/api/v1/pods?limit=500", Verb::Read),
            (
                "GET",
                "/api/v1/pods?limit=5&watch=true&resourceVersion=7",
                Verb::Watch,
            ),
            ("GET", "/api/v1/pods?labelSelector=watch=false", Verb::Read),
            ("PUT", "/x/status", Verb::Update),
            ("POST", "/x", Verb::Create),
            ("DELETE", "/x", Verb::Delete),
            ("PATCH", "/x", Verb::Patch),
        ] {
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            assert_eq!(Verb::of(&request), verb, "{method} {uri}");
        }
    }

    #[test]
    fn counts_show_in_the_registry() {
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        metrics.record(Verb::Update, Answer::Ok, Duration::from_millis(3));
        metrics.record(Verb::Update, Answer::Conflict, Duration::from_millis(3));
        assert_eq!(metrics.total(Verb::Update), 2);
        assert_eq!(metrics.count(Verb::Read, Answer::Ok), 0);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(
            text.contains(r#"podcert_api_requests_total{verb="update",answer="conflict"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"podcert_api_request_seconds_count{verb="update"} 2"#),
            "{text}"
        );
        assert!(!text.contains(r#"verb="read""#), "{text}");
    }
}
