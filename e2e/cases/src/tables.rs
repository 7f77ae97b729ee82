//! Tables: objects as rows, for `kubectl get`.

use serde_json::{Value, json};

use crate::samples::{config_map, pod};
use crate::{Case, Release, Target, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("tables/columns-are-those-of-the-kind", columns).only(newest),
        Case::new("tables/rows-have-cells-and-metadata", rows),
        Case::new("tables/rows-include-what-is-asked-for", include),
        Case::new("tables/an-unknown-inclusion-is-refused", unknown),
        Case::new("tables/of-one-object-have-one-row", one),
        Case::new("tables/of-a-watch-name-columns-once", watched),
        Case::new("tables/may-leave-the-choice-to-json", fallback),
        Case::new("tables/an-ended-pod-says-so", ended),
    ]
}

fn newest(target: Target) -> bool {
    target.release >= Release::V1_37
}

/// Columns as `Name`, those of priority 1 in parentheses.
fn shown(table: &Value) -> String {
    let columns = table["columnDefinitions"].as_array().expect("columns");
    let names: Vec<String> = columns
        .iter()
        .map(|column| {
            let name = column["name"].as_str().unwrap();
            match column["priority"].as_i64().unwrap() {
                0 => name.to_owned(),
                _ => format!("({name})"),
            }
        })
        .collect();
    names.join(", ")
}

async fn columns(world: World) {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let namespace = &world.namespace;
    let apps = format!("/apis/apps/v1/namespaces/{namespace}");
    let bindings = "Name, Role, Age, (Users), (Groups), (ServiceAccounts)";
    let template = "(Containers), (Images), (Selector)";
    let events = "Last Seen, Type, Reason, Object, (Subobject), (Source), Message, (First Seen), (Count), (Name)";
    for (path, expected) in [
        (
            world.core("pods"),
            "Name, Ready, Status, Restarts, Age, (IP), (Node), (Nominated Node), (Readiness Gates)",
        ),
        (
            "/api/v1/nodes".into(),
            "Name, Status, Roles, Age, Version, (Internal-IP), (External-IP), (OS-Image), (Kernel-Version), (Container-Runtime)",
        ),
        ("/api/v1/namespaces".into(), "Name, Status, Age"),
        (
            world.core("services"),
            "Name, Type, Cluster-IP, External-IP, Port(s), Age, (Selector)",
        ),
        (world.core("serviceaccounts"), "Name, Age"),
        (world.core("secrets"), "Name, Type, Data, Age"),
        (world.core("configmaps"), "Name, Data, Age"),
        (world.core("events"), events),
        (
            format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"),
            events,
        ),
        (
            format!("{apps}/daemonsets"),
            &format!(
                "Name, Desired, Current, Ready, Up-to-date, Available, Node Selector, Age, {template}"
            ),
        ),
        (
            format!("{apps}/deployments"),
            &format!("Name, Ready, Up-to-date, Available, Age, {template}"),
        ),
        (
            format!("{apps}/replicasets"),
            &format!("Name, Desired, Current, Ready, Age, {template}"),
        ),
        (
            format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"),
            "Name, Holder, Age",
        ),
        (
            world.requests(),
            "Name, PodName, ServiceAccountName, NodeName, SignerName, State, UnverifiedUserAnnotations",
        ),
        (world.bundles(), "Name, SignerName"),
        (
            format!("{rbac}/namespaces/{namespace}/roles"),
            "Name, Created At",
        ),
        (format!("{rbac}/clusterroles"), "Name, Created At"),
        (
            format!("{rbac}/namespaces/{namespace}/rolebindings"),
            bindings,
        ),
        (format!("{rbac}/clusterrolebindings"), bindings),
    ] {
        let table = world.admin().get_as(&path, TABLE).await.ok();
        assert_eq!(table["kind"], "Table", "{path}");
        assert_eq!(shown(&table), expected, "{path}");
        for column in table["columnDefinitions"].as_array().unwrap() {
            let named = column["name"] == "Name";
            let format = if named { "name" } else { "" };
            assert_eq!(column["format"], format, "{path}: {column}");
        }
    }
}

/// Makes a ConfigMap and answers with the path of all and the one.
async fn map(world: &World) -> (String, Value) {
    let path = world.core("configmaps");
    let made = world.admin().post(&path, &config_map("a")).await.created();
    (format!("{path}?fieldSelector=metadata.name%3Da"), made)
}

async fn rows(world: World) {
    let (path, made) = map(&world).await;
    let table = world.admin().get_as(&path, TABLE).await.ok();
    assert_eq!(table["apiVersion"], "meta.k8s.io/v1");
    assert!(table["metadata"]["resourceVersion"].is_string(), "{table}");
    let [row] = &table["rows"].as_array().unwrap()[..] else {
        panic!("{table}");
    };
    assert_eq!(row["cells"][0], "a");
    assert_eq!(row["cells"][1], 1);
    assert!(row["cells"][2].as_str().unwrap().ends_with('s'), "{row}");
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(row["object"]["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(row["object"]["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(row["object"].get("data"), None);
}

async fn include(world: World) {
    let (path, made) = map(&world).await;
    for (include, expected) in [
        ("None", Value::Null),
        ("Metadata", Value::Null),
        ("Object", made["data"].clone()),
    ] {
        let path = format!("{path}&includeObject={include}");
        let table = world.admin().get_as(&path, TABLE).await.ok();
        let object = &table["rows"][0]["object"];
        assert_eq!(object["data"], expected, "{include}");
        assert_eq!(object.is_null(), include == "None", "{include}");
    }
}

async fn unknown(world: World) {
    let path = format!("{}?includeObject=All", world.core("configmaps"));
    let answer = world.admin().get_as(&path, TABLE).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "Unable to convert to Table as requested: includeObject: Invalid value: \"All\": must be 'Metadata', 'Object', 'None', or empty"
    );
}

async fn one(world: World) {
    let (_, made) = map(&world).await;
    let path = format!("{}/a", world.core("configmaps"));
    let table = world.admin().get_as(&path, TABLE).await.ok();
    assert_eq!(shown(&table), "Name, Data, Age");
    assert_eq!(table["rows"].as_array().unwrap().len(), 1);
    assert_eq!(
        table["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
}

async fn watched(world: World) {
    let (path, made) = map(&world).await;
    let version = made["metadata"]["resourceVersion"].as_str().unwrap();
    let admin = world.admin();
    let path = format!("{path}&resourceVersion={version}");
    let mut changes = admin.watch_as(&path, TABLE).await.expect("a watch");
    let object = format!("{}/a", world.core("configmaps"));
    for value in ["1", "2"] {
        let patch = json!({"data": {"more": value}});
        admin.patch(&object, "merge", &patch).await.ok();
    }
    let (kind, first) = changes.next().await.expect("a change");
    assert_eq!(
        (kind.as_str(), &first["kind"]),
        ("MODIFIED", &json!("Table"))
    );
    assert_eq!(shown(&first), "Name, Data, Age");
    assert_eq!(first["rows"][0]["cells"][1], 2);
    let (_, second) = changes.next().await.expect("another change");
    assert_eq!(second["columnDefinitions"], Value::Null, "{second}");
    assert_eq!(second["rows"][0]["cells"][0], "a");
}

async fn fallback(world: World) {
    let (path, _) = map(&world).await;
    let other = "application/json;as=Table;v=v9;g=meta.k8s.io,application/json";
    let list = world.admin().get_as(&path, other).await.ok();
    assert_eq!(list["kind"], "ConfigMapList");
}

async fn ended(world: World) {
    let admin = world.admin();
    let path = world.core("pods");
    crate::samples::pod_account(&world).await;
    admin.post(&path, &pod("a")).await.created();
    let status = json!({"status": {"phase": "Succeeded"}});
    let path = format!("{path}/a");
    admin
        .patch(&format!("{path}/status"), "merge", &status)
        .await
        .ok();
    let table = admin.get_as(&path, TABLE).await.ok();
    assert_eq!(table["rows"][0]["cells"][2], "Succeeded");
    let condition = &table["rows"][0]["conditions"][0];
    assert_eq!(condition["type"], "Completed", "{table}");
    assert_eq!(condition["reason"], "Succeeded");
}

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
