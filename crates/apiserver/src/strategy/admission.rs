//! What the admission plugins that are on by default do to pods: ServiceAccount names the account,
//! DefaultTolerationSeconds adds tolerations, Priority a priority. (The volume with the account's
//! token is [`crate::verbs`]' doing: it needs other objects.)

use serde_json::{Value, json};

use crate::kinds::{KINDS, PODS};
use crate::node::restriction::MIRROR;
use crate::object::{at, copy_key, list, map_mut, set_default, text};
use crate::status::Failure;

/// Admits a new pod, which errors call by `name`.
pub(crate) fn admit_pod(pod: &mut Value, name: &str) -> Result<(), Failure> {
    let forbidden = |why: String| match KINDS.get(PODS) {
        Some(kind) => Failure::forbidden(kind, name, &why),
        None => Failure::no_such_resource(),
    };
    let is_mirror = at(pod, &["metadata", "annotations", MIRROR]).is_some();
    let spec = map_mut(pod, "spec");
    let account = ["serviceAccountName", "serviceAccount"]
        .into_iter()
        .find_map(|field| {
            spec.get(field)
                .and_then(Value::as_str)
                .filter(|it| !it.is_empty())
        })
        .or((!is_mirror).then_some("default"))
        .map(str::to_owned);
    if let Some(account) = account {
        spec.insert("serviceAccountName".into(), account.into());
    }
    let class = text(pod, &["spec", "priorityClassName"]);
    let priority = match class {
        "" => 0,
        "system-cluster-critical" => 2_000_000_000,
        "system-node-critical" => 2_000_001_000,
        class => {
            let why = format!("no PriorityClass with name {class} was found");
            return Err(forbidden(why));
        }
    };
    let given = at(pod, &["spec", "priority"]).and_then(Value::as_i64);
    if let Some(given) = given.filter(|given| *given != priority) {
        return Err(forbidden(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        )));
    }
    let policy = text(pod, &["spec", "preemptionPolicy"]);
    if !matches!(policy, "" | PREEMPT) {
        return Err(forbidden(format!(
            "the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; priority admission controller computed {PREEMPT} from the given PriorityClass name"
        )));
    }
    let spec = map_mut(pod, "spec");
    set_default(spec, "priority", priority);
    spec.insert("preemptionPolicy".into(), PREEMPT.into());
    tolerate(pod);
    Ok(())
}

/// Admits a changed pod: what is left out of what admission once gave it stays.
pub(crate) fn readmit_pod(pod: &mut Value, old: &Value) {
    let spec = map_mut(pod, "spec");
    for field in ["priority", "preemptionPolicy"] {
        if !spec.contains_key(field) {
            copy_key(old.get("spec"), spec, field);
        }
    }
    tolerate(pod);
}

/// A pod outlives its node's trouble by five minutes.
fn tolerate(pod: &mut Value) {
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let spec = pod.get("spec").unwrap_or(&Value::Null);
        let tolerated = list(spec, "tolerations").any(|toleration| {
            let field = |name: &str| toleration.get(name).and_then(Value::as_str).unwrap_or("");
            (field("key") == key || field("key").is_empty())
                && matches!(field("effect"), "NoExecute" | "")
        });
        if tolerated {
            continue;
        }
        let tolerations = map_mut(pod, "spec")
            .entry("tolerations")
            .or_insert_with(|| json!([]));
        if let Some(tolerations) = tolerations.as_array_mut() {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
            }));
        }
    }
}

const PREEMPT: &str = "PreemptLowerPriority";
