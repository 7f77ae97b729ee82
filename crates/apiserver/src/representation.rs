//! In which form a client wants objects: whole, their metadata alone, or as a table.

use http::HeaderMap;
use http::header::ACCEPT;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::field::FieldError;
use crate::kinds::Kind;
use crate::request::Query;
use crate::status::Failure;
use crate::store::{Stored, append_object};
use crate::table::{Headers, Include, TableOptions, table};
use crate::versions;

/// How objects are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Representation {
    MetadataOnly,
    Table(TableOptions),
    Whole,
}

impl Representation {
    /// The first form in the `Accept` header that this server has.
    pub(crate) fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Self, Failure> {
        let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else {
            return Ok(Self::Whole);
        };
        for alternative in accept.split(',') {
            let mut parameters = alternative.split(';').map(str::trim);
            let media_type = parameters.next().unwrap_or_default();
            if !matches!(
                media_type,
                "application/json" | "*/*" | "application/*" | ""
            ) {
                continue;
            }
            let parameters: Vec<&str> = parameters.collect();
            let named = |name: &str| {
                parameters
                    .iter()
                    .find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))
            };
            let known = named("g") == Some("meta.k8s.io") && named("v") == Some("v1");
            match named("as") {
                None => return Ok(Self::Whole),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") if known => {
                    return Ok(Self::MetadataOnly);
                }
                Some("Table") if known => return table_options(query).map(Self::Table),
                // Maybe the next alternative is plainer.
                Some(_) => {}
            }
        }
        Err(Failure::not_acceptable(MEDIA_TYPES))
    }

    /// Appends an object, which is in the version of `kind`.
    pub(crate) fn append(self, kind: &Kind, value: &Value, now: Timestamp, out: &mut Vec<u8>) {
        match self {
            Self::Whole => {
                append_object(kind, value, out);
            }
            Self::MetadataOnly => append_metadata(value, out),
            Self::Table(options) => {
                let metadata = json!({
                    "resourceVersion": value.pointer("/metadata/resourceVersion"),
                });
                let value = versions::view(kind, value);
                let table = table(kind, std::iter::once(&value), &metadata, options, now);
                out.extend_from_slice(table.to_string().as_bytes());
            }
        }
    }

    /// A stored object, as bytes.
    pub(crate) fn bytes(self, kind: &Kind, object: &Stored, now: Timestamp) -> bytes::Bytes {
        if self == Self::Whole {
            return object.bytes(kind);
        }
        let mut bytes = Vec::new();
        self.append(kind, &object.value, now, &mut bytes);
        bytes.into()
    }
}

/// Appends the object's metadata as a `PartialObjectMetadata`.
pub(crate) fn append_metadata(value: &Value, out: &mut Vec<u8>) {
    let partial = json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": value.get("metadata"),
    });
    out.extend_from_slice(partial.to_string().as_bytes());
}

fn table_options(query: &Query) -> Result<TableOptions, Failure> {
    let include = match query.include_object.as_str() {
        "" | "Metadata" => Include::Metadata,
        "None" => Include::None,
        "Object" => Include::Object,
        given => {
            let why = "must be 'Metadata', 'Object', 'None', or empty";
            let error = FieldError::invalid("includeObject", given, why);
            return Err(Failure::bad_request(format!(
                "Unable to convert to Table as requested: {error}"
            )));
        }
    };
    Ok(TableOptions {
        include,
        headers: Headers::Shown,
    })
}

/// What the real server reads and writes; this one only the first.
pub(crate) const MEDIA_TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
