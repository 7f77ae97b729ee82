use serde_json::json;

use super::*;
use crate::schema::schemas;

fn merged(object: Value, patch: &Value) -> Value {
    let mut object = object;
    let patch = patch.as_object().expect("a map");
    merge(schemas(), "io.k8s.api.core.v1.Pod", &mut object, patch).expect("it merges");
    object
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().filter_map(|it| it["name"].as_str()).collect()
}

fn pod() -> Value {
    json!({
        "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x/a", "x/b"]},
        "spec": {
            "containers": [
                {"name": "one", "image": "a", "args": ["x", "y"],
                 "env": [{"name": "A", "value": "1"}]},
                {"name": "two", "image": "b"},
            ],
            "volumes": [{"name": "v", "configMap": {"name": "c"}}],
            "tolerations": [{"key": "k"}],
        },
    })
}

#[test]
fn lists_with_a_key_merge_by_it_and_others_are_replaced() {
    let patch = json!({
        "metadata": {"labels": {"a": null, "c": "3"}},
        "spec": {
            "containers": [
                {"name": "one", "args": ["z"], "env": [{"name": "B", "value": "2"}]},
                {"name": "three", "image": "c", "command": null},
            ],
            "tolerations": [{"key": "l"}],
        },
    });
    let pod = merged(pod(), &patch);
    assert_eq!(pod["metadata"]["labels"], json!({"b": "2", "c": "3"}));
    let containers = &pod["spec"]["containers"];
    assert_eq!(names(containers), ["one", "three", "two"]);
    assert_eq!(containers[0]["image"], "a");
    assert_eq!(containers[0]["args"], json!(["z"]));
    assert_eq!(names(&containers[0]["env"]), ["B", "A"]);
    assert_eq!(containers[1], json!({"name": "three", "image": "c"}));
    assert_eq!(pod["spec"]["tolerations"], json!([{"key": "l"}]));
}

#[test]
fn directives_delete_replace_retain_and_order() {
    let patch = json!({
        "metadata": {
            "labels": {"$patch": "replace", "z": "9"},
            "$deleteFromPrimitiveList/finalizers": ["x/a"],
            "finalizers": ["x/c"],
        },
        "spec": {
            "$setElementOrder/containers": [{"name": "two"}, {"name": "one"}],
            "containers": [{"name": "one", "image": "n"}],
            "volumes": [{"name": "v", "$retainKeys": ["name", "secret"],
                         "secret": {"secretName": "s"}}],
            "tolerations": null,
        },
    });
    let patched = merged(pod(), &patch);
    assert_eq!(patched["metadata"]["labels"], json!({"z": "9"}));
    assert_eq!(patched["metadata"]["finalizers"], json!(["x/c", "x/b"]));
    assert_eq!(names(&patched["spec"]["containers"]), ["two", "one"]);
    assert_eq!(patched["spec"]["containers"][1]["image"], "n");
    assert_eq!(
        patched["spec"]["volumes"],
        json!([{"name": "v", "secret": {"secretName": "s"}}])
    );
    assert!(patched["spec"].get("tolerations").is_none());

    let patch = json!({"spec": {"containers": [{"name": "one", "$patch": "delete"}],
                                "volumes": [{"$patch": "replace"}, {"name": "w"}]}});
    let patched = merged(pod(), &patch);
    assert_eq!(names(&patched["spec"]["containers"]), ["two"]);
    assert_eq!(names(&patched["spec"]["volumes"]), ["w"]);
}

#[test]
fn elements_that_an_order_does_not_name_keep_their_place() {
    let list =
        |names: &[&str]| -> Vec<Value> { names.iter().map(|name| json!({"name": name})).collect() };
    for (list_now, before, order, expected) in [
        (
            ["a", "b", "c"],
            ["a", "b", "c"],
            vec!["c", "a"],
            ["b", "c", "a"],
        ),
        (
            ["a", "b", "n"],
            ["a", "b", "x"],
            vec!["n", "b"],
            ["n", "a", "b"],
        ),
    ] {
        let order = Value::from(list(&order));
        let ordered = in_order(list(&list_now), &list(&before), &order, "name").expect("in order");
        assert_eq!(names(&ordered.into()), expected, "{order}");
    }
}

#[test]
fn a_patch_that_is_none_is_refused() {
    for patch in [
        json!({"spec": {"containers": [{"image": "a"}]}}),
        json!({"spec": {"containers": ["a"]}}),
        json!({"spec": {"$patch": "explode"}}),
        json!({"spec": {"$retainKeys": "containers"}}),
        json!({"spec": {"$setElementOrder/containers": "a"}}),
    ] {
        let mut object = pod();
        let patch = patch.as_object().expect("a map");
        let failure = merge(schemas(), "io.k8s.api.core.v1.Pod", &mut object, patch);
        assert_eq!(failure.expect_err("no patch").code, 400, "{patch:?}");
    }
}
