//! Binding: `POST …/pods/{name}/binding`, by which a scheduler gives a pod its node, once
//! (`pkg/registry/core/pod/storage/storage.go`). `POST …/bindings` is the same, and older.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::write::{add_labels, check_same_namespace, check_uid};
use super::{media_type, rfc3339};
use crate::field::FieldError;
use crate::node::restriction::Operation;
use crate::object::{as_map_mut, at, list, map_mut, metadata_mut, text};
use crate::protobuf;
use crate::representation::MEDIA_TYPES;
use crate::request::{DryRun, Query, Target};
use crate::reviews;
use crate::server::ApiServer;
use crate::service::{ApiBody, json_response};
use crate::status::Failure;
use crate::store::Expect;
use crate::strategy::names;
use crate::user::User;

impl ApiServer {
    /// Gives a pod its node.
    pub(super) fn assign(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response<ApiBody>, Failure> {
        if !matches!(
            media_type(headers),
            "" | "application/json" | protobuf::MEDIA_TYPE
        ) {
            return Err(Failure::unsupported_media_type(MEDIA_TYPES));
        }
        query.check_write("CreateOptions")?;
        let mut binding = reviews::parse(body, "Binding", "v1")?;
        // The older path takes no conditions.
        if target.name.is_empty() {
            let metadata = metadata_mut(&mut binding);
            metadata.remove("uid");
            metadata.remove("resourceVersion");
        }
        let name = match target.name.as_str() {
            "" => text(&binding, &["metadata", "name"]),
            name => name,
        };
        let target = &Target {
            name: name.to_owned(),
            ..target.clone()
        };
        if target.name.is_empty() {
            return Err(Failure::bad_request("Name parameter required."));
        }
        check_same_namespace(target, &binding)?;
        self.check_namespace(target, &target.name)?;
        self.restrict(user, target, Operation::Create(&binding))?;
        if text(&binding, &["metadata", "name"]) != target.name {
            return Err(Failure::bad_request(
                "name in URL does not match name in Binding object",
            ));
        }
        check(&binding)?;
        if text(&binding, &["target", "kind"]) == "Node" {
            let labels = self.topology_labels(text(&binding, &["target", "name"]));
            if !labels.is_empty() {
                add_labels(&mut binding, labels);
            }
        }
        loop {
            let old = self.existing(target)?;
            check_conditions(target, &binding, &old.value)?;
            if let Some(why) = obstacle(&target.name, &old.value) {
                return Err(Failure::conflict_of("pods/binding", &target.name, &why));
            }
            let pod = bound(&old.value, &binding, &rfc3339(self.now()));
            if query.dry_run == DryRun::Yes {
                break;
            }
            let expected = Expect::Revision(old.revision);
            let put = self
                .inner
                .store
                .put(target.kind, old.key.clone(), pod, expected);
            if put.is_ok() {
                break;
            }
        }
        let status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "code": StatusCode::CREATED.as_u16(),
        });
        Ok(json_response(StatusCode::CREATED, status.to_string()))
    }
}

/// Upstream tells these errors without a reason, and all in one line.
fn check(binding: &Value) -> Result<(), Failure> {
    let kind = text(binding, &["target", "kind"]);
    let mut errors = Vec::new();
    if !matches!(kind, "" | "Node") {
        let supported = &["Node", "<empty>"];
        errors.push(FieldError::not_supported("target.kind", kind, supported));
    }
    let node = text(binding, &["target", "name"]);
    if node.is_empty() {
        errors.push(FieldError::required("target.name", ""));
    } else if matches!(kind, "" | "Node") {
        let complaints = names::dns_subdomain(node).into_iter();
        errors.extend(complaints.map(|why| FieldError::invalid("target.name", node, why)));
    }
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match said.as_slice() {
        [] => Ok(()),
        [one] => Err(Failure::new(500, "", one.clone())),
        many => Err(Failure::new(500, "", format!("[{}]", many.join(", ")))),
    }
}

/// The UID and the version in a binding are conditions on the pod.
fn check_conditions(target: &Target, binding: &Value, pod: &Value) -> Result<(), Failure> {
    check_uid(target, binding, text(pod, &["metadata", "uid"]))?;
    let version = text(binding, &["metadata", "resourceVersion"]);
    let current = text(pod, &["metadata", "resourceVersion"]);
    if version.is_empty() || version == current {
        return Ok(());
    }
    Err(Failure::conflict(
        target.kind,
        &target.name,
        &format!(
            "StorageError: invalid object, Code: 4, Key: /registry/pods/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {current}",
            target.namespace, target.name
        ),
    ))
}

/// Why the pod cannot be given a node.
fn obstacle(name: &str, pod: &Value) -> Option<String> {
    if at(pod, &["metadata", "deletionTimestamp"]).is_some() {
        return Some(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        ));
    }
    let node = text(pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        return Some(format!("pod {name} is already assigned to node {node:?}"));
    }
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let gated = list(spec, "schedulingGates").next().is_some();
    gated.then(|| format!("pod {name} has non-empty .spec.schedulingGates"))
}

/// The pod on its node, with the binding's labels and annotations.
fn bound(pod: &Value, binding: &Value, now: &str) -> Value {
    let mut pod = pod.clone();
    let node = text(binding, &["target", "name"]);
    map_mut(&mut pod, "spec").insert("nodeName".into(), node.into());
    let given = |field: &str| -> Map<String, Value> {
        let map = at(binding, &["metadata", field]).and_then(Value::as_object);
        map.cloned().unwrap_or_default()
    };
    let (annotations, labels) = (given("annotations"), given("labels"));
    if !annotations.is_empty() {
        let metadata = metadata_mut(&mut pod);
        as_map_mut(metadata.entry("annotations").or_insert_with(|| json!({}))).extend(annotations);
    }
    if !labels.is_empty() {
        add_labels(&mut pod, labels);
    }
    let status = map_mut(&mut pod, "status");
    status.remove("nominatedNodeName");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        let mut scheduled = json!({
            "type": SCHEDULED, "status": "True", "lastTransitionTime": now,
        });
        let before = conditions
            .iter_mut()
            .find(|condition| text(condition, &["type"]) == SCHEDULED);
        match before {
            None => conditions.push(scheduled),
            Some(before) => {
                if text(before, &["status"]) == "True" {
                    let since = before.get("lastTransitionTime").cloned();
                    as_map_mut(&mut scheduled)
                        .insert("lastTransitionTime".into(), since.unwrap_or_default());
                }
                *before = scheduled;
            }
        }
    }
    pod
}

const SCHEDULED: &str = "PodScheduled";
