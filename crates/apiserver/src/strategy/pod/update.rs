//! What of a pod's spec may change: nearly nothing.

use serde_json::Value;

use crate::field::FieldError;
use crate::object::{as_map_mut, at, copy_key, list, text};

/// Holds a pod against the one it is to replace.
pub(crate) fn check_update(pod: &Value, old: &Value) -> Vec<FieldError> {
    let nothing = Value::Null;
    let (new, old) = (
        pod.get("spec").unwrap_or(&nothing),
        old.get("spec").unwrap_or(&nothing),
    );
    let mut errors = Vec::new();
    for kind in ["containers", "initContainers"] {
        if list(new, kind).count() != list(old, kind).count() {
            errors.push(FieldError::forbidden(
                &format!("spec.{kind}"),
                "pod updates may not add or remove containers",
            ));
            return errors;
        }
        for (index, container) in list(new, kind).enumerate() {
            let image = text(container, &["image"]);
            let field = format!("spec.{kind}[{index}].image");
            if image.is_empty() {
                errors.push(FieldError::required(&field, ""));
            }
            if image.trim() != image {
                let why = "must not have leading or trailing whitespace";
                errors.push(FieldError::invalid(&field, image, why));
            }
        }
    }
    if let Some(error) = check_deadline(new, old) {
        // What is no decision ends it, as upstream.
        let ends = at(new, &["activeDeadlineSeconds"]).is_some();
        errors.push(error);
        if ends {
            return errors;
        }
    }
    let kept = list(old, "tolerations").all(|before| {
        list(new, "tolerations").any(|after| without_seconds(after) == without_seconds(before))
    });
    if !kept {
        errors.push(FieldError::forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
    errors.extend(check_gates(new, old));
    if new == old {
        return errors;
    }
    let mut munged = new.clone();
    for kind in ["containers", "initContainers"] {
        let containers = munged.get_mut(kind).and_then(Value::as_array_mut);
        for (container, before) in containers.into_iter().flatten().zip(list(old, kind)) {
            copy_key(Some(before), as_map_mut(container), "image");
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        copy_key(Some(old), as_map_mut(&mut munged), field);
    }
    // Pods from before negative ones were refused.
    let grace = |spec: &Value| at(spec, &["terminationGracePeriodSeconds"]).and_then(Value::as_i64);
    if grace(old).is_some_and(|seconds| seconds < 0) && grace(&munged) == Some(1) {
        copy_key(
            Some(old),
            as_map_mut(&mut munged),
            "terminationGracePeriodSeconds",
        );
    }
    if list(old, "schedulingGates").next().is_some() && selects_less(&munged, old) {
        copy_key(Some(old), as_map_mut(&mut munged), "nodeSelector");
    }
    if munged != *old {
        errors.push(FieldError::forbidden(
            "spec",
            format!("{FIXED}\n{}", difference(old, &munged)),
        ));
    }
    errors
}

/// A deadline may be set, or come earlier.
fn check_deadline(new: &Value, old: &Value) -> Option<FieldError> {
    const FIELD: &str = "spec.activeDeadlineSeconds";
    let seconds = |spec: &Value| at(spec, &["activeDeadlineSeconds"]).and_then(Value::as_i64);
    match (seconds(new), seconds(old)) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            let why = "must be between 0 and 2147483647, inclusive";
            Some(FieldError::invalid_raw(FIELD, new, why))
        }
        (Some(new), Some(old)) if old < new => {
            let why = "must be less than or equal to previous value";
            Some(FieldError::invalid_raw(FIELD, new, why))
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            Some(FieldError::invalid_raw(FIELD, "null", why))
        }
        _ => None,
    }
}

fn without_seconds(toleration: &Value) -> Value {
    let mut rest = toleration.clone();
    as_map_mut(&mut rest).remove("tolerationSeconds");
    rest
}

/// Gates are only ever taken away.
fn check_gates(new: &Value, old: &Value) -> Vec<FieldError> {
    let gates = list(new, "schedulingGates").enumerate();
    gates
        .filter(|(_, gate)| list(old, "schedulingGates").all(|before| before != *gate))
        .map(|(index, gate)| {
            let name = text(gate, &["name"]);
            FieldError::forbidden(
                &format!("spec.schedulingGates[{index}].name"),
                format!("only deletion is allowed, but found new scheduling gate '{name}'"),
            )
        })
        .collect()
}

/// Whether the new selector keeps all of the old: what a pod behind gates may be given.
fn selects_less(new: &Value, old: &Value) -> bool {
    let before = at(old, &["nodeSelector"]).and_then(Value::as_object);
    before
        .into_iter()
        .flatten()
        .all(|(key, value)| at(new, &["nodeSelector", key]) == Some(value))
}

/// What changed, as a unified diff of the JSON. (Upstream shows its internal type, in whose fields
/// nobody can patch.)
fn difference(old: &Value, new: &Value) -> String {
    let lines = |spec: &Value| -> Vec<String> {
        let text = serde_json::to_string_pretty(spec).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let (old, new) = (lines(old), lines(new));
    let before = common(old.iter(), new.iter());
    let most = old.len().min(new.len()) - before;
    let after = common(old.iter().rev(), new.iter().rev()).min(most);
    let begin = before.saturating_sub(CONTEXT);
    let ends = |lines: &[String]| {
        let changed = lines.len() - after;
        (changed, (changed + CONTEXT).min(lines.len()))
    };
    let ((old_changed, old_end), (new_changed, new_end)) = (ends(&old), ends(&new));
    let mut shown = format!(
        "@@ -{},{} +{},{} @@\n",
        begin + 1,
        old_end - begin,
        begin + 1,
        new_end - begin
    );
    for (mark, lines) in [
        (' ', old.get(begin..before)),
        ('-', old.get(before..old_changed)),
        ('+', new.get(before..new_changed)),
        (' ', old.get(old_changed..old_end)),
    ] {
        for line in lines.into_iter().flatten() {
            shown.push(mark);
            shown.push_str(line);
            shown.push('\n');
        }
    }
    shown
}

/// How many lines are the same.
fn common<'a>(
    one: impl Iterator<Item = &'a String>,
    other: impl Iterator<Item = &'a String>,
) -> usize {
    one.zip(other)
        .take_while(|(one, other)| one == other)
        .count()
}

const CONTEXT: usize = 3;
const FIXED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_shows_what_changed_and_little_else() {
        let old = json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8, "i": 9});
        let mut new = old.clone();
        new["e"] = 0.into();
        let lines = [
            "@@ -3,7 +3,7 @@",
            "   \"b\": 2,",
            "   \"c\": 3,",
            "   \"d\": 4,",
            "-  \"e\": 5,",
            "+  \"e\": 0,",
            "   \"f\": 6,",
            "   \"g\": 7,",
            "   \"h\": 8,",
            "",
        ];
        assert_eq!(difference(&old, &new), lines.join("\n"));
        assert!(difference(&json!({}), &json!({"a": {}})).contains("+  \"a\": {}"));
        assert!(difference(&Value::Null, &json!([1, 1])).starts_with("@@ "));
    }
}
