use proptest::prelude::*;
use serde_json::json;

use super::*;

fn matches(selector: &str, labels: &serde_json::Value) -> bool {
    LabelSelector::parse(selector)
        .expect("selector parses")
        .matches(&json!({"metadata": {"labels": labels}}))
}

#[test]
fn label_operators_follow_the_documented_truth_table() {
    let labels = json!({"app": "web", "tier": "", "weight": "7"});
    for (selector, expected) in [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app=db", false),
        ("app!=db", true),
        ("absent!=x", true),
        ("app in (db,web)", true),
        ("app in (db)", false),
        ("app notin (db)", true),
        ("absent notin (db)", true),
        ("app", true),
        ("absent", false),
        ("!absent", true),
        ("!app", false),
        ("tier=", true),
        ("tier in ()", true),
        ("weight>6", true),
        ("weight>7", false),
        ("weight<8,app", true),
        ("app = web , weight", true),
    ] {
        assert_eq!(matches(selector, &labels), expected, "{selector:?}");
    }
}

#[test]
fn malformed_label_selectors_are_bad_requests() {
    for selector in [
        "=x", "a=b=c", "a in b", "a in (b", "a,,b", "a,", "-x=1", "a>x", "a b", "!",
    ] {
        let failure = LabelSelector::parse(selector).expect_err(selector);
        assert_eq!(failure.code, 400, "{selector:?}");
        assert_eq!(failure.reason, "BadRequest", "{selector:?}");
    }
}

#[test]
fn field_values_may_escape_commas_and_equals_signs() {
    let kind = crate::kinds::find("", "v1", "pods").expect("pods are served");
    let selector = FieldSelector::parse(r"metadata.name=a\,b\=c\\,status.phase!=Running", kind)
        .expect("parses");
    assert_eq!(selector.0[0].value, r"a,b=c\");
    assert_eq!(selector.0[1].wanted, Wanted::Different);
    assert!(FieldSelector::parse("metadata.name=a=b", kind).is_err());
    assert!(FieldSelector::parse("metadata.name", kind).is_err());
    assert!(FieldSelector::parse("spec.hostname=x", kind).is_err());
}

fn key() -> impl Strategy<Value = String> {
    "[a-z]([a-z0-9._-]{0,6}[a-z0-9])?(/[a-z][a-z0-9]{0,4})?"
}

fn value() -> impl Strategy<Value = String> {
    "([A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?)?"
}

proptest! {
    #[test]
    fn parsing_never_panics(input in ".{0,40}") {
        let kind = crate::kinds::find("", "v1", "pods").expect("pods are served");
        let _ = LabelSelector::parse(&input);
        let _ = FieldSelector::parse(&input, kind);
    }

    #[test]
    fn an_object_matches_the_equality_selector_made_of_its_labels(
        labels in proptest::collection::btree_map(key(), value(), 1..5)
    ) {
        let labels: std::collections::BTreeMap<_, _> = labels
            .into_iter()
            .filter(|(key, _)| crate::strategy::names::label_key(key).is_empty())
            .collect();
        let selector: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let json = serde_json::to_value(&labels).expect("labels are JSON");
        prop_assert!(matches(&selector.join(","), &json));
        for (key, value) in &labels {
            let refuted = format!("{key}!={value}");
            prop_assert!(!matches(&refuted, &json));
            let set = format!("{key} in (zz,{value})");
            prop_assert!(matches(&set, &json));
            let refuted = format!("{key} notin ({value})");
            prop_assert!(!matches(&refuted, &json));
            let absent = format!("!{key}");
            prop_assert!(!matches(&absent, &json));
        }
    }

    #[test]
    fn in_and_notin_are_opposites(
        key in key(), values in proptest::collection::vec(value(), 1..4),
        actual in proptest::option::of(value())
    ) {
        prop_assume!(crate::strategy::names::label_key(&key).is_empty());
        let labels = actual.map_or_else(|| json!({}), |actual| json!({key.clone(): actual}));
        let set = values.join(",");
        prop_assert_ne!(
            matches(&format!("{key} in ({set})"), &labels),
            matches(&format!("{key} notin ({set})"), &labels)
        );
    }
}
