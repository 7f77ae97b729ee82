//! Dry runs: all is asked and answered, nothing stored.

use serde_json::json;

use super::map;
use crate::samples::config_map;
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("objects/dry-runs-change-nothing", dry_runs),
        Case::new("objects/dry-runs-are-for-all-stages", dry_run_values),
    ]
}

async fn dry_runs(world: World) {
    let admin = world.admin();
    let maps = world.core("configmaps");
    let dry = |path: &str| format!("{path}?dryRun=All");
    let made = admin.post(&dry(&maps), &config_map("a")).await.created();
    assert_eq!(made["metadata"].get("resourceVersion"), None);
    let (path, made) = map(&world, "a").await;
    admin
        .post(&dry(&maps), &config_map("a"))
        .await
        .refused(409, "AlreadyExists");
    let mut object = made.clone();
    object["data"] = json!({"key": "dry"});
    let dried = admin.put(&dry(&path), &object).await.ok();
    assert_eq!(dried["data"], object["data"]);
    let change = json!({"data": {"key": "dry"}});
    let dried = admin.patch(&dry(&path), "merge", &change).await.ok();
    assert_eq!(dried["data"], change["data"]);
    admin.delete(&dry(&path)).await.ok();
    assert_eq!(admin.get(&path).await.ok(), made);
}

async fn dry_run_values(world: World) {
    let (path, made) = map(&world, "a").await;
    let admin = world.admin();
    for (value, shown) in [("x", "x"), ("", "")] {
        let why = format!("Unsupported value: [{shown:?}]: supported values: \"All\"");
        let query = format!("?dryRun={value}");
        let maps = format!("{}{query}", world.core("configmaps"));
        let path = format!("{path}{query}");
        for (answer, options) in [
            (admin.post(&maps, &config_map("b")).await, "CreateOptions"),
            (admin.put(&path, &made).await, "UpdateOptions"),
            (
                admin.patch(&path, "merge", &json!({})).await,
                "PatchOptions",
            ),
            (admin.delete(&path).await, "DeleteOptions"),
        ] {
            answer.invalid(&[("dryRun", &why)]);
            assert_eq!(
                answer.body["message"],
                format!("{options}.meta.k8s.io \"\" is invalid: dryRun: {why}")
            );
        }
        // Reads do not look at it.
        admin.get(&maps).await.ok();
    }
}
