//! Creating, reading and replacing objects: what all kinds have in common.

mod creation;
mod dry_runs;
mod names;
mod namespaces;
mod reads;
mod updates;

use serde_json::{Value, json};

use crate::samples::config_map;
use crate::{Case, World};

pub(crate) fn cases() -> Vec<Case> {
    [
        creation::cases(),
        names::cases(),
        namespaces::cases(),
        updates::cases(),
        dry_runs::cases(),
        reads::cases(),
    ]
    .concat()
}

/// Creates a ConfigMap; its path, and what was answered.
async fn map(world: &World, name: &str) -> (String, Value) {
    let path = world.core("configmaps");
    let made = world.admin().post(&path, &config_map(name)).await.created();
    (format!("{path}/{name}"), made)
}

/// The `details` of a refusal about the [sample](crate::samples::samples) of this resource.
fn details(resource: &str) -> Value {
    match resource.split_once('.') {
        Some((kind, group)) => json!({"name": "x", "kind": kind, "group": group}),
        None => json!({"name": "x", "kind": resource}),
    }
}

/// The samples that an update creates when they are absent.
const CREATED_BY_UPDATE: [&str; 3] = ["events", "leases.coordination.k8s.io", "services"];
