//! What Mallory and the program may do, beyond what a stage gives.

use anyhow::Result;
use podcert_cases::User;
use serde_json::json;

use crate::harness::Stage;

/// Lets a user create requests and write statuses, in all namespaces, and waits until it is so.
pub(super) async fn grant(stage: &Stage, name: &str, user: &User) -> Result<()> {
    let rules = json!([
        {"apiGroups": [CERTIFICATES], "resources": ["podcertificaterequests"],
         "verbs": ["create", "get"]},
        {"apiGroups": [CERTIFICATES], "resources": ["podcertificaterequests/status"],
         "verbs": ["update"]},
    ]);
    stage.grant(name, user, rules).await?;
    let attributes = json!({
        "group": CERTIFICATES, "resource": "podcertificaterequests", "verb": "create",
        "namespace": "default",
    });
    stage.wait_for_rights(user, &attributes).await
}

/// Shows the program nodes and service accounts, which meshtool's RBAC does not.
pub(super) async fn show_uids(stage: &Stage) -> Result<()> {
    let controller = stage.controller();
    let resources = ["nodes", "serviceaccounts"];
    let rules = json!([
        {"apiGroups": [""], "resources": resources, "verbs": ["list", "watch"]},
    ]);
    stage.grant("uids", &controller, rules).await?;
    for resource in resources {
        let attributes = json!({"group": "", "resource": resource, "verb": "watch"});
        stage.wait_for_rights(&controller, &attributes).await?;
    }
    Ok(())
}

const CERTIFICATES: &str = "certificates.k8s.io";
