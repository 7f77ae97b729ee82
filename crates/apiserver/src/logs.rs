//! The logs of pods: `GET …/pods/{name}/log`.
//!
//! The server has none itself: it checks the question as the real one does (`LogLocation`) and hands
//! it to a [`PodLogSource`], which plays the kubelet.

use std::fmt;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::field::FieldError;
use crate::object::{list, text};
use crate::request::{Target, flag, number};
use crate::server::ApiServer;
use crate::service::{ApiBody, respond_with};
use crate::status::Failure;

/// What somebody wants to read of a container's log. The pod exists, and has the container.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct PodLogQuery {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// The container's name: an init container's too.
    pub container: String,
    /// Whether to go on until the container ends.
    pub follow: bool,
    /// Whether the instance before the last restart is meant.
    pub previous: bool,
    /// Only this many of the last lines.
    pub tail_lines: Option<u64>,
    /// Only what was written at or after this date.
    pub since: Option<Timestamp>,
    /// Whether each line begins with its date, RFC 3339 with nanoseconds, and a space.
    pub timestamps: bool,
    /// End after this many bytes, in the middle of a line if need be. At least 1.
    pub limit_bytes: Option<u64>,
}

/// Where logs come from: what plays the kubelet behind this server.
///
/// Given to [`Builder::pod_logs`](crate::Builder::pod_logs).
pub trait PodLogSource: fmt::Debug + Send + Sync {
    /// Opens a log. The stream ends where the log does, or, followed, when the container has ended;
    /// it is dropped when the client goes.
    ///
    /// An error becomes a `400` with this message, as the kubelet's words do: for example that
    /// `container "main" in pod "web" is waiting to start: ContainerCreating`.
    fn open(
        &self,
        query: PodLogQuery,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, String>>;
}

impl ApiServer {
    pub(crate) async fn pod_log(
        &self,
        target: &Target,
        query: &str,
    ) -> Result<Response<ApiBody>, Failure> {
        let options = Options::parse(query)?;
        options.check(&target.name)?;
        let pod = self.existing(target)?;
        let container = container(&pod.value, &options.container)?;
        if text(&pod.value, &["spec", "nodeName"]).is_empty() {
            // Nothing runs yet, and nobody is to be asked.
            let mut nothing = Response::new(ApiBody::once(Bytes::new()));
            *nothing.status_mut() = StatusCode::NO_CONTENT;
            return Ok(nothing);
        }
        let Some(source) = &self.inner.pod_logs else {
            return Err(Failure::new(
                501,
                "NotImplemented",
                "no kubelet behind this API server serves logs",
            ));
        };
        let opened = source.open(PodLogQuery {
            namespace: target.namespace.clone(),
            pod: target.name.clone(),
            uid: text(&pod.value, &["metadata", "uid"]).to_owned(),
            container,
            follow: options.follow,
            previous: options.previous,
            tail_lines: options.tail_lines.and_then(|it| u64::try_from(it).ok()),
            since: options.since(self.now()),
            timestamps: options.timestamps,
            limit_bytes: options.limit_bytes.and_then(|it| u64::try_from(it).ok()),
        });
        let stream = opened.await.map_err(Failure::bad_request)?;
        let pieces = stream.filter(|piece| std::future::ready(!piece.is_empty()));
        Ok(text_stream(ApiBody::watch(pieces)))
    }
}

/// `PodLogOptions`, as they stand in a query.
#[derive(Debug, Default)]
struct Options {
    container: String,
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail_lines: Option<i64>,
    limit_bytes: Option<i64>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    has_stream: bool,
}

impl Options {
    fn parse(query: &str) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut given = std::collections::HashSet::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            if !given.insert(key.clone()) {
                continue;
            }
            match key.as_ref() {
                "container" => options.container = value.into_owned(),
                "follow" => options.follow = flag(&value),
                "previous" => options.previous = flag(&value),
                "timestamps" => options.timestamps = flag(&value),
                "tailLines" => options.tail_lines = Some(number(&value)?),
                "limitBytes" => options.limit_bytes = Some(number(&value)?),
                "sinceSeconds" => options.since_seconds = Some(number(&value)?),
                "sinceTime" if !value.is_empty() => {
                    let date = value.parse().map_err(|_| {
                        Failure::bad_request(format!(
                            "parsing time {value:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {value:?} as a date"
                        ))
                    })?;
                    options.since_time = Some(date);
                }
                "stream" => options.has_stream = true,
                _ => {}
            }
        }
        Ok(options)
    }

    fn check(&self, pod: &str) -> Result<(), Failure> {
        let mut errors = Vec::new();
        if let Some(lines) = self.tail_lines.filter(|lines| *lines < 0) {
            let why = "must be greater than or equal to 0";
            errors.push(FieldError::invalid_raw("tailLines", lines, why));
        }
        let above_zero = "must be greater than 0";
        if let Some(bytes) = self.limit_bytes.filter(|bytes| *bytes < 1) {
            errors.push(FieldError::invalid_raw("limitBytes", bytes, above_zero));
        }
        if self.since_seconds.is_some() && self.since_time.is_some() {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            // So upstream names no field at all.
            errors.push(FieldError::forbidden("[]", why));
        } else if let Some(seconds) = self.since_seconds.filter(|seconds| *seconds < 1) {
            errors.push(FieldError::invalid_raw("sinceSeconds", seconds, above_zero));
        }
        if self.has_stream {
            errors.push(FieldError::forbidden("stream", "may not be specified"));
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Failure::invalid_as("", "PodLogOptions", pod, &errors))
    }

    /// The date from which on the log is wanted.
    fn since(&self, now: Timestamp) -> Option<Timestamp> {
        let ago = self.since_seconds.map(SignedDuration::from_secs);
        ago.and_then(|ago| now.checked_sub(ago).ok())
            .or(self.since_time)
    }
}

/// The container that is meant: the one named, or the only one there is.
fn container(pod: &Value, asked: &str) -> Result<String, Failure> {
    let name = text(pod, &["metadata", "name"]);
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let names = |field: &str| -> Vec<&str> {
        list(spec, field)
            .map(|container| text(container, &["name"]))
            .collect()
    };
    let containers = names("containers");
    let all = [
        names("initContainers"),
        containers.clone(),
        names("ephemeralContainers"),
    ]
    .concat();
    if !asked.is_empty() {
        return match all.contains(&asked) {
            true => Ok(asked.to_owned()),
            false => Err(Failure::bad_request(format!(
                "container {asked} is not valid for pod {name}"
            ))),
        };
    }
    match containers.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Failure::bad_request(format!(
            "a container name must be specified for pod {name}"
        ))),
        _ => Err(Failure::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            all.join(" ")
        ))),
    }
}

fn text_stream(body: ApiBody) -> Response<ApiBody> {
    respond_with(StatusCode::OK, "text/plain", body)
}
