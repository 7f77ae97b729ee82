//! Tables: objects as the rows that `kubectl get` prints (`meta.k8s.io/v1`, kind `Table`).
//!
//! The server says which columns a kind has and what stands in them; kubectl only aligns them. The
//! columns are those of Kubernetes 1.37 (`pkg/printers/internalversion`), their descriptions left
//! empty. Columns of priority 1 are sent too: kubectl hides them unless asked for `-o wide`.
//!
//! - [`columns`]: which columns a kind has; `cells`: what stands in them; `pods`: those of pods.
//! - `age`: durations as kubectl's users know them.

mod age;
mod cells;
mod pods;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use self::cells::selector;
use crate::kinds::{self, Kind};
use crate::object::text;

/// What of each object a table carries beside the cells.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Include {
    /// Its metadata, as a `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// Nothing.
    None,
    /// All of it.
    Object,
}

/// Whether a table names its columns.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Headers {
    #[default]
    Shown,
    /// Later events of a watch, and whoever asks for `noHeaders`.
    Left,
}

/// How a client wants tables.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct TableOptions {
    pub(crate) include: Include,
    pub(crate) headers: Headers,
}

/// A table of these objects, already in the version of `kind`. `metadata` is that of the list, or
/// just a resource version.
pub(crate) fn table<'a>(
    kind: &Kind,
    objects: impl Iterator<Item = &'a Value>,
    metadata: &Value,
    options: TableOptions,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects
        .map(|object| row(kind, object, options, now))
        .collect();
    let columns = match options.headers {
        Headers::Shown => columns(kind).iter().map(Column::to_json).collect(),
        Headers::Left => Value::Null,
    };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

fn row(kind: &Kind, object: &Value, options: TableOptions, now: Timestamp) -> Value {
    let mut row = json!({"cells": cells::of(kind, object, now)});
    let included = match options.include {
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": object.get("metadata"),
        }),
        Include::None => Value::Null,
        Include::Object => object.clone(),
    };
    if let Some(map) = row.as_object_mut() {
        if kind.id == kinds::PODS {
            let ended = text(object, &["status", "phase"]);
            let message = match ended {
                "Succeeded" => "The pod has completed successfully.",
                "Failed" => "The pod failed.",
                _ => "",
            };
            if !message.is_empty() {
                let condition = json!({
                    "type": "Completed",
                    "status": "True",
                    "reason": ended,
                    "message": message,
                });
                map.insert("conditions".into(), json!([condition]));
            }
        }
        map.insert("object".into(), included);
    }
    row
}

/// A column's name, type and priority.
struct Column(&'static str, Type, u8);

enum Type {
    /// The one column with the object's name.
    Name,
    Text,
    Integer,
    Date,
}

impl Column {
    fn to_json(&self) -> Value {
        let Self(name, kind, priority) = self;
        json!({
            "name": name,
            "type": match kind {
                Type::Name | Type::Text => "string",
                Type::Integer => "integer",
                Type::Date => "date",
            },
            "format": match kind {
                Type::Name => "name",
                _ => "",
            },
            "description": "",
            "priority": priority,
        })
    }
}

use Type::{Date, Integer, Name, Text};

const NAME: Column = Column("Name", Name, 0);
const AGE: Column = Column("Age", Text, 0);
const CONTAINERS: Column = Column("Containers", Text, 1);
const IMAGES: Column = Column("Images", Text, 1);
const SELECTOR: Column = Column("Selector", Text, 1);

fn columns(kind: &Kind) -> &'static [Column] {
    match kind.table {
        kinds::PODS => &[
            NAME,
            Column("Ready", Text, 0),
            Column("Status", Text, 0),
            Column("Restarts", Text, 0),
            AGE,
            Column("IP", Text, 1),
            Column("Node", Text, 1),
            Column("Nominated Node", Text, 1),
            Column("Readiness Gates", Text, 1),
        ],
        kinds::NODES => &[
            NAME,
            Column("Status", Text, 0),
            Column("Roles", Text, 0),
            AGE,
            Column("Version", Text, 0),
            Column("Internal-IP", Text, 1),
            Column("External-IP", Text, 1),
            Column("OS-Image", Text, 1),
            Column("Kernel-Version", Text, 1),
            Column("Container-Runtime", Text, 1),
        ],
        kinds::NAMESPACES => &[NAME, Column("Status", Text, 0), AGE],
        kinds::SERVICES => &[
            NAME,
            Column("Type", Text, 0),
            Column("Cluster-IP", Text, 0),
            Column("External-IP", Text, 0),
            Column("Port(s)", Text, 0),
            AGE,
            SELECTOR,
        ],
        kinds::SERVICE_ACCOUNTS => &[NAME, AGE],
        kinds::SECRETS => &[NAME, Column("Type", Text, 0), Column("Data", Text, 0), AGE],
        kinds::CONFIG_MAPS => &[NAME, Column("Data", Text, 0), AGE],
        kinds::EVENTS | kinds::EVENTS_V1 => &[
            Column("Last Seen", Text, 0),
            Column("Type", Text, 0),
            Column("Reason", Text, 0),
            Column("Object", Text, 0),
            Column("Subobject", Text, 1),
            Column("Source", Text, 1),
            Column("Message", Text, 0),
            Column("First Seen", Text, 1),
            Column("Count", Text, 1),
            Column("Name", Name, 1),
        ],
        kinds::DAEMON_SETS => &[
            NAME,
            Column("Desired", Integer, 0),
            Column("Current", Integer, 0),
            Column("Ready", Integer, 0),
            Column("Up-to-date", Integer, 0),
            Column("Available", Integer, 0),
            Column("Node Selector", Text, 0),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        kinds::DEPLOYMENTS => &[
            NAME,
            Column("Ready", Text, 0),
            Column("Up-to-date", Text, 0),
            Column("Available", Text, 0),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        kinds::REPLICA_SETS => &[
            NAME,
            Column("Desired", Integer, 0),
            Column("Current", Integer, 0),
            Column("Ready", Integer, 0),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        kinds::LEASES => &[NAME, Column("Holder", Text, 0), AGE],
        kinds::POD_CERTIFICATE_REQUESTS => &[
            NAME,
            Column("PodName", Text, 0),
            Column("ServiceAccountName", Text, 0),
            Column("NodeName", Text, 0),
            Column("SignerName", Text, 0),
            Column("State", Text, 0),
            Column("UnverifiedUserAnnotations", Text, 0),
        ],
        kinds::CLUSTER_TRUST_BUNDLES => &[NAME, Column("SignerName", Text, 0)],
        kinds::ROLE_BINDINGS | kinds::CLUSTER_ROLE_BINDINGS => &[
            NAME,
            Column("Role", Text, 0),
            AGE,
            Column("Users", Text, 1),
            Column("Groups", Text, 1),
            Column("ServiceAccounts", Text, 1),
        ],
        // Roles among them: what nobody wrote columns for has these.
        _ => &[NAME, Column("Created At", Date, 0)],
    }
}
