use serde_json::json;

use super::*;
use crate::kinds::{self, KINDS};

#[test]
fn every_kind_has_a_type() {
    for kind in KINDS {
        assert!(schemas().fields(&type_name(kind)).is_some(), "{kind:?}");
    }
}

#[test]
fn the_table_of_merging_names_fields_that_are_there() {
    for (name, field, ..) in merging::TABLE {
        let found = schemas().types.iter().any(|(type_name, fields)| {
            type_name.ends_with(&format!(".{name}")) && fields.contains_key(*field)
        });
        assert!(found, "{name}.{field}");
    }
}

#[test]
fn unknown_fields_go_and_are_told_wherever_they_are() {
    let kind = &KINDS[kinds::DEPLOYMENTS];
    let mut object = json!({
        "kind": "Deployment",
        "metadata": {"name": "a", "labels": {"any": "thing"}, "color": "red"},
        "spec": {
            "replica": 1,
            "template": {"spec": {
                "containers": [{"name": "a", "imag": "b", "resources": {"limits": {"cpu": "1"}}}],
                "nodeSelector": {"any": "thing"},
            }},
        },
    });
    let mut unknown = schemas().prune(kind, &mut object);
    unknown.sort();
    assert_eq!(
        unknown,
        [
            "metadata.color",
            "spec.replica",
            "spec.template.spec.containers[0].imag"
        ]
    );
    assert_eq!(schemas().prune(kind, &mut object), [""; 0]);
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"],
        "1"
    );
}
