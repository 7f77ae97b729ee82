//! Lists and watches: the reads of collections.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::field::FieldError;
use crate::kinds::{self, Kind};
use crate::representation::{Representation, append_metadata};
use crate::request::{Query, Target, refuse_options};
use crate::selectors::Selection;
use crate::server::ApiServer;
use crate::service::{ApiBody, json_response, respond_with};
use crate::status::Failure;
use crate::store::{Compacted, Key, Page};
use crate::table::table;
use crate::user::User;
use crate::versions;
use crate::watch::Watch;

impl ApiServer {
    pub(super) fn list(
        &self,
        target: &Target,
        query: &Query,
        representation: Representation,
    ) -> Result<Response<ApiBody>, Failure> {
        refuse_options("ListOptions", &list_errors(query))?;
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
            (Some(token), _) => token.revision,
            (None, Some(revision)) if query.version_match == "Exact" => Some(revision),
            // Before there was `resourceVersionMatch`, a limit made a version exact.
            (None, Some(revision))
                if query.version_match.is_empty() && query.limit > 0 && revision > 0 =>
            {
                Some(revision)
            }
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
            .map_err(|_: Compacted| match &token {
                Some(token) => {
                    Failure::expired_list(CONTINUE_EXPIRED, Token::encode(None, &token.start))
                }
                None => Failure::expired(LIST_EXPIRED),
            })?;
        let metadata = page_metadata(&page, &selection);
        if let Representation::Table(options) = representation {
            let objects: Vec<Value> = page
                .objects
                .iter()
                .map(|object| versions::view(target.kind, &object.value))
                .collect();
            let table = table(target.kind, objects.iter(), &metadata, options, self.now());
            return Ok(json_response(StatusCode::OK, table.to_string()));
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
        refuse_options("ListOptions", &watch_errors(query))?;
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
            clock: inner.clock.clone(),
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
        let too_new = match initial {
            true => self.check_reached(from).err(),
            false => None,
        };
        match (initial, from) {
            (true, _) if too_new.is_some() => {
                if let Some(failure) = too_new {
                    watch.queue_error(&failure);
                }
            }
            (true, _) => {
                let page = inner
                    .store
                    .list(kind, &watch.selection, None, None, usize::MAX)
                    .map_err(|_: Compacted| Failure::expired(LIST_EXPIRED))?;
                watch.cursor = page.revision;
                watch.queue_initial(&page.objects);
                if query.bookmarks {
                    watch.queue_initial_end();
                }
            }
            (false, None) => watch.cursor = inner.store.revision(),
            (false, Some(from)) => match inner.store.check_start(kind, from) {
                Ok(()) => watch.cursor = from,
                Err(Compacted { oldest }) => {
                    watch.queue_error(&Failure::expired(watch_expired(kind, from, oldest)));
                }
            },
        }
        let body = ApiBody::watch(watch.into_stream());
        Ok(respond_with(StatusCode::OK, "application/json", body))
    }

    /// Refuses reads at versions that do not exist yet.
    pub(super) fn check_reached(&self, revision: Option<u64>) -> Result<(), Failure> {
        let current = self.inner.store.revision();
        match revision {
            Some(asked) if asked > current => Err(Failure::future_revision(asked, current)),
            _ => Ok(()),
        }
    }
}

/// The metadata of a list: its version, and where it goes on.
pub(super) fn page_metadata(page: &Page, selection: &Selection) -> Value {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let (Some(remaining), Some(last), Some(map)) = (
        page.remaining,
        page.objects.last(),
        metadata.as_object_mut(),
    ) {
        map.insert(
            "continue".into(),
            Token::encode(Some(page.revision), &last.key).into(),
        );
        if !selection.is_partial() {
            map.insert("remainingItemCount".into(), remaining.into());
        }
    }
    metadata
}

fn list_bytes(
    target: &Target,
    page: &Page,
    metadata: &Value,
    representation: Representation,
) -> Vec<u8> {
    let (kind, api_version) = match representation {
        Representation::MetadataOnly => (
            "PartialObjectMetadataList".to_owned(),
            "meta.k8s.io/v1".to_owned(),
        ),
        _ => (
            format!("{}List", target.kind.kind),
            target.kind.api_version(),
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
            Representation::MetadataOnly => append_metadata(&object.value, &mut bytes),
            _ => object.append_item(target.kind, &mut bytes),
        }
    }
    bytes.extend_from_slice(b"]}");
    bytes
}

/// Where a list goes on: opaque to clients, encoded as upstream encodes it.
struct Token {
    /// The snapshot to go on with; the newest when the list need not be consistent any more.
    revision: Option<u64>,
    start: Key,
}

impl Token {
    fn decode(token: &str) -> Result<Option<Self>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        let malformed =
            || Failure::bad_request("invalid continue token: continue key is not valid");
        let json = URL_SAFE_NO_PAD.decode(token).map_err(|_| malformed())?;
        let value: Value = serde_json::from_slice(&json).map_err(|_| malformed())?;
        let revision = value.get("rv").and_then(Value::as_i64);
        let start = value
            .get("start")
            .and_then(Value::as_str)
            .and_then(|start| start.strip_suffix('\0'));
        let (Some(revision), Some(start)) = (revision, start) else {
            return Err(malformed());
        };
        let (namespace, name) = start.split_once('/').unwrap_or(("", start));
        Ok(Some(Self {
            // A negative version stands for any.
            revision: u64::try_from(revision).ok(),
            start: Key::new(namespace, name),
        }))
    }

    fn encode(revision: Option<u64>, last: &Key) -> String {
        let start = if last.namespace.is_empty() {
            format!("{}\0", last.name)
        } else {
            format!("{}/{}\0", last.namespace, last.name)
        };
        let revision = revision.map_or(json!(-1), |revision| json!(revision));
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
    // Without a version, a watch begins with a list, which is no older than any and has no pages.
    if !query.continue_token.is_empty() {
        errors.push(FieldError::forbidden(
            MATCH,
            "resourceVersionMatch is forbidden when continue is provided",
        ));
    }
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

/// Events are watched in etcd, everything else in a cache in front of it, and the two say in
/// different words that the past is gone.
fn watch_expired(kind: &Kind, from: u64, oldest: u64) -> String {
    match kind.table {
        kinds::EVENTS => "The resourceVersion for the provided watch is too old.".into(),
        _ => format!("too old resource version: {from} ({oldest})"),
    }
}

const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
const LIST_EXPIRED: &str = "The resourceVersion for the provided list is too old.";
