//! Lists and watches: the reads of collections.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::field::FieldError;
use crate::request::{Query, Target};
use crate::server::ApiServer;
use crate::service::{ApiBody, json_response, respond_with};
use crate::status::Failure;
use crate::store::{Compacted, Key, Page};
use crate::user::User;
use crate::watch::{Representation, Watch, append_metadata};

impl ApiServer {
    pub(super) fn list(
        &self,
        target: &Target,
        query: &Query,
        representation: Representation,
    ) -> Result<Response<ApiBody>, Failure> {
        refuse_options(&list_errors(query))?;
        let selection = query.selection(target)?;
        let revision = query.revision(target)?;
        self.check_reached(revision)?;
        let token = Token::decode(&query.continue_token)?;
        let at = match (&token, revision) {
            (Some(_), Some(revision)) if revision != 0 => {
                return Err(Failure::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            (Some(token), _) => Some(token.revision),
            (None, Some(revision)) if query.version_match == "Exact" => Some(revision),
            (None, _) => None,
        };
        // At "any" version upstream answers from its cache and ignores the limit.
        let limit = match query.limit {
            0 => usize::MAX,
            _ if revision == Some(0) && token.is_none() => usize::MAX,
            limit => limit,
        };
        let start = token.as_ref().map(|token| token.start.clone());
        let page = self
            .inner
            .store
            .list(target.kind, &selection, at, start.as_ref(), limit)
            .map_err(|_: Compacted| match token {
                Some(_) => Failure::expired(CONTINUE_EXPIRED),
                None => Failure::expired(format!(
                    "The resourceVersion for the provided list is too old. ({})",
                    query.resource_version
                )),
            })?;
        let mut metadata = json!({"resourceVersion": page.revision.to_string()});
        if let (Some(remaining), Some(last), Some(map)) = (
            page.remaining,
            page.objects.last(),
            metadata.as_object_mut(),
        ) {
            map.insert(
                "continue".into(),
                Token::encode(page.revision, &last.key).into(),
            );
            if !selection.is_partial() {
                map.insert("remainingItemCount".into(), remaining.into());
            }
        }
        Ok(json_response(
            StatusCode::OK,
            list_bytes(target, &page, &metadata, representation),
        ))
    }

    pub(super) fn watch(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        representation: Representation,
    ) -> Result<Response<ApiBody>, Failure> {
        refuse_options(&watch_errors(query))?;
        let inner = &self.inner;
        let kind = target.kind;
        let selection = query.selection(target)?;
        let revision = query.revision(target)?;
        let timeout = query.timeout.or_else(|| {
            // Between once and twice the configured time, so that watches do not end together.
            let base = inner.watch_timeout?;
            let millis = u64::try_from(base.as_millis()).unwrap_or(u64::MAX);
            Some(base + std::time::Duration::from_millis(inner.random.below(millis)))
        });
        let Some(changed) = inner.store.subscribe(kind) else {
            return Err(Failure::no_such_resource());
        };
        let mut watch = Watch {
            store: inner.store.clone(),
            kind,
            selection,
            representation,
            cursor: 0,
            queue: VecDeque::new(),
            bookmarks: query.bookmarks.then_some(inner.bookmark_interval),
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            changed,
            dropped: inner.rig.register(target, user),
            ending: false,
        };
        let from = revision.filter(|&revision| revision != 0);
        let initial = match (query.send_initial_events, from) {
            (Some(wanted), _) => wanted,
            (None, from) => from.is_none(),
        };
        match (initial, from) {
            (true, from) => {
                self.check_reached(from)?;
                let page = inner
                    .store
                    .list(kind, &watch.selection, None, None, usize::MAX)
                    .map_err(|_: Compacted| Failure::expired(WATCH_EXPIRED))?;
                watch.cursor = page.revision;
                watch.queue_initial(&page.objects);
                if query.send_initial_events == Some(true) && query.bookmarks {
                    watch.queue_initial_end();
                }
            }
            (false, None) => watch.cursor = inner.store.revision(),
            (false, Some(from)) => match inner.store.check_start(kind, from) {
                Ok(()) => watch.cursor = from,
                Err(Compacted { oldest }) => {
                    let message = format!("too old resource version: {from} ({oldest})");
                    watch.queue_error(&Failure::expired(message));
                }
            },
        }
        let body = ApiBody::watch(watch.into_stream());
        Ok(respond_with(StatusCode::OK, "application/json", body))
    }

    /// Refuses reads at versions that do not exist yet.
    fn check_reached(&self, revision: Option<u64>) -> Result<(), Failure> {
        let current = self.inner.store.revision();
        match revision {
            Some(asked) if asked > current => Err(Failure::future_revision(asked, current)),
            _ => Ok(()),
        }
    }
}

fn list_bytes(
    target: &Target,
    page: &Page,
    metadata: &Value,
    representation: Representation,
) -> Vec<u8> {
    let (kind, api_version) = match representation {
        Representation::Whole => (
            format!("{}List", target.kind.kind),
            target.kind.api_version(),
        ),
        Representation::MetadataOnly => (
            "PartialObjectMetadataList".to_owned(),
            "meta.k8s.io/v1".to_owned(),
        ),
    };
    let items: usize = page.objects.iter().map(|object| object.size()).sum();
    let mut bytes = Vec::with_capacity(items + 256);
    bytes.extend_from_slice(
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[")
            .as_bytes(),
    );
    for (index, object) in page.objects.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        match representation {
            Representation::Whole => object.append_item(target.kind, &mut bytes),
            Representation::MetadataOnly => append_metadata(&object.value, &mut bytes),
        }
    }
    bytes.extend_from_slice(b"]}");
    bytes
}

/// Where a list goes on: opaque to clients, encoded as upstream encodes it.
struct Token {
    revision: u64,
    start: Key,
}

impl Token {
    fn decode(token: &str) -> Result<Option<Self>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        let malformed = || Failure::bad_request("continue key is not valid");
        let json = URL_SAFE_NO_PAD.decode(token).map_err(|_| malformed())?;
        let value: Value = serde_json::from_slice(&json).map_err(|_| malformed())?;
        let revision = value.get("rv").and_then(Value::as_u64);
        let start = value
            .get("start")
            .and_then(Value::as_str)
            .and_then(|start| start.strip_suffix('\0'));
        let (Some(revision), Some(start)) = (revision, start) else {
            return Err(malformed());
        };
        let (namespace, name) = start.split_once('/').unwrap_or(("", start));
        Ok(Some(Self {
            revision,
            start: Key::new(namespace, name),
        }))
    }

    fn encode(revision: u64, last: &Key) -> String {
        let start = if last.namespace.is_empty() {
            format!("{}\0", last.name)
        } else {
            format!("{}/{}\0", last.namespace, last.name)
        };
        let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }
}

fn list_errors(query: &Query) -> Vec<FieldError> {
    const MATCH: &str = "resourceVersionMatch";
    let mut errors = Vec::new();
    let wanted = query.version_match.as_str();
    if !wanted.is_empty() {
        if query.resource_version.is_empty() {
            errors.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if !query.continue_token.is_empty() {
            errors.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if !matches!(wanted, "Exact" | "NotOlderThan") {
            errors.push(FieldError::not_supported(
                MATCH,
                wanted,
                &["Exact", "NotOlderThan", ""],
            ));
        }
        if wanted == "Exact" && query.resource_version == "0" {
            errors.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if query.send_initial_events.is_some() {
        errors.push(FieldError::forbidden(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for list",
        ));
    }
    errors
}

fn watch_errors(query: &Query) -> Vec<FieldError> {
    const MATCH: &str = "resourceVersionMatch";
    let mut errors = Vec::new();
    let wanted = query.version_match.as_str();
    if query.send_initial_events.is_some() && wanted != "NotOlderThan" {
        errors.push(FieldError::forbidden(
            MATCH,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    if !wanted.is_empty() {
        if query.send_initial_events.is_none() {
            errors.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if wanted != "NotOlderThan" {
            errors.push(FieldError::not_supported(MATCH, wanted, &["NotOlderThan"]));
        }
    }
    errors
}

fn refuse_options(errors: &[FieldError]) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid_as(
        "meta.k8s.io",
        "ListOptions",
        "",
        errors,
    ))
}

const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.";
const WATCH_EXPIRED: &str = "The resourceVersion for the provided watch is too old.";
