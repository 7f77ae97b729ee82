//! What containers ask for and may have: names of resources, amounts, and that nobody asks for more
//! than they may have.

use serde_json::Value;

use crate::field::FieldError;
use crate::object::at;
use crate::quantity::Quantity;
use crate::strategy::names;

/// Checks the `resources` of a container.
pub(super) fn check(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let amounts = |kind: &str| at(container, &["resources", kind]).and_then(Value::as_object);
    let limits = amounts("limits");
    for (name, amount) in limits.into_iter().flatten() {
        check_amount(name, amount, &format!("{path}.limits[{name}]"), errors);
    }
    for (name, amount) in amounts("requests").into_iter().flatten() {
        let field = format!("{path}.requests[{name}]");
        let Some(request) = check_amount(name, amount, &field, errors) else {
            continue;
        };
        let limit = limits.and_then(|limits| limits.get(name)).and_then(parsed);
        let overcommits = is_native(name) && !name.starts_with(HUGE_PAGES);
        let field = format!("{path}.requests");
        match limit {
            Some(limit) if !overcommits && request != limit => {
                let why = format!("must be equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(&field, &request.to_string(), why));
            }
            Some(limit) if request > limit => {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(&field, &request.to_string(), why));
            }
            None if !overcommits => errors.push(FieldError::required(
                &format!("{path}.limits"),
                "Limit must be set for non overcommitable resources",
            )),
            _ => {}
        }
    }
}

fn check_amount(
    name: &str,
    amount: &Value,
    field: &str,
    errors: &mut Vec<FieldError>,
) -> Option<Quantity> {
    let mut complain = |why: &str| errors.push(FieldError::invalid(field, name, why));
    let complaints = names::label_key(name);
    for why in &complaints {
        complain(why);
    }
    let in_containers =
        matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with(HUGE_PAGES);
    if !name.contains('/') && !in_containers {
        if complaints.is_empty() && !STANDARD.contains(&name) {
            complain("must be a standard resource type or fully qualified");
        }
        complain("must be a standard resource for containers");
    } else if !is_native(name) && !is_extended(name) {
        complain("doesn't follow extended resource name standard");
    }
    let quantity = parsed(amount)?;
    if quantity.is_negative() {
        errors.push(FieldError::invalid(
            field,
            &quantity.to_string(),
            "must be greater than or equal to 0",
        ));
    }
    if is_extended(name) && !quantity.is_whole() {
        let shown = quantity.to_string();
        errors.push(FieldError::invalid(field, &shown, "must be an integer"));
    }
    Some(quantity)
}

fn parsed(amount: &Value) -> Option<Quantity> {
    Quantity::parse(amount.as_str()?).ok()
}

/// Whether Kubernetes itself has named the resource.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::label_key(&format!("requests.{name}")).is_empty()
}

const HUGE_PAGES: &str = "hugepages-";
/// What resources may be called without a domain, somewhere.
const STANDARD: &[&str] = &[
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];
