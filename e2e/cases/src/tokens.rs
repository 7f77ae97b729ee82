//! Tokens of service accounts: who gets them, what they say, and what a review says of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::rights::eventually;
use crate::samples::{pod, pod_account};
use crate::{Answer, Case, Release, User, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("tokens/say-whose-they-are", claims),
        Case::new("tokens/are-bound-to-a-pod-and-its-node", bound),
        Case::new("tokens/bind-only-what-is-there", unbound),
        Case::new("tokens/live-ten-minutes-at-least", lifetimes),
        Case::new("tokens/are-asked-for-where-the-account-is", places),
        Case::new("tokens/are-asked-for-in-the-right-types", types),
        Case::new("tokens/a-review-tells-who-it-is", review),
        Case::new("tokens/a-review-is-for-audiences", audiences),
        Case::new("tokens/a-review-knows-what-is-none", no_token),
        Case::new("tokens/end-with-the-pod", ended),
        Case::new("tokens/the-key-is-published", published),
        // The wording is the newest.
        Case::new("tokens/a-node-gets-those-of-its-pods", nodes)
            .only(|target| target.release >= Release::V1_37),
    ]
}

fn path(world: &World, account: &str) -> String {
    format!("{}/{account}/token", world.core("serviceaccounts"))
}

/// Asks for a token of the account `web`.
async fn ask(world: &World, user: &User, spec: &Value) -> Answer {
    let body = json!({
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "spec": spec,
    });
    world.as_user(user).post(&path(world, "web"), &body).await
}

/// What a token says.
fn read(answer: &Value) -> Value {
    let token = answer["status"]["token"].as_str().expect("a token");
    let part = token.split('.').nth(1).expect("three parts");
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}

async fn types(world: World) {
    pod_account(&world).await;
    for (spec, why) in [
        (
            json!({"audiences": "vault"}),
            "string into Go struct field TokenRequestSpec.spec.audiences of type []string",
        ),
        (
            json!({"audiences": ["vault"], "boundObjectRef": "web-1"}),
            "string into Go struct field TokenRequestSpec.spec.boundObjectRef of type v1.BoundObjectReference",
        ),
        (
            json!(5),
            "number into Go struct field TokenRequest.spec of type v1.TokenRequestSpec",
        ),
    ] {
        let answer = ask(&world, &User::admin(), &spec).await;
        assert_eq!(
            answer.refused(400, "BadRequest"),
            format!(
                "TokenRequest in version \"v1\" cannot be handled as a TokenRequest: json: cannot unmarshal {why}"
            )
        );
    }
}

async fn uid(world: &World, path: &str) -> Value {
    world.admin().get(path).await.ok()["metadata"]["uid"].clone()
}

async fn claims(world: World) {
    pod_account(&world).await;
    let spec = json!({"audiences": ["vault", "other"], "expirationSeconds": 900});
    let answer = ask(&world, &User::admin(), &spec).await.created();
    assert_eq!(answer["kind"], "TokenRequest");
    assert_eq!(answer["metadata"]["name"], "web");
    assert_eq!(answer["spec"]["audiences"], spec["audiences"]);
    assert_eq!(answer["spec"]["expirationSeconds"], 900);
    assert_eq!(answer["spec"]["boundObjectRef"], Value::Null);
    let says = read(&answer);
    let namespace = &world.namespace;
    assert_eq!(says["aud"], json!(["vault", "other"]));
    assert_eq!(
        says["sub"],
        format!("system:serviceaccount:{namespace}:web")
    );
    let (from, to) = (says["iat"].as_i64().unwrap(), says["exp"].as_i64().unwrap());
    assert_eq!(to - from, 900, "{says}");
    assert_eq!(says["nbf"], says["iat"]);
    assert!(!says["jti"].as_str().unwrap().is_empty());
    let account = uid(&world, &format!("{}/web", world.core("serviceaccounts"))).await;
    assert_eq!(
        says["kubernetes.io"],
        json!({"namespace": namespace, "serviceaccount": {"name": "web", "uid": account}})
    );
    let end: jiff::Timestamp = answer["status"]["expirationTimestamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((end.as_second() - to).abs() <= 1, "{answer}");
    // Without an audience it is for the issuer's own server.
    let says = read(&ask(&world, &User::admin(), &json!({})).await.created());
    assert_eq!(says["aud"], json!([says["iss"]]));
    assert_eq!(
        says["exp"].as_i64().unwrap() - says["iat"].as_i64().unwrap(),
        3_600
    );
}

async fn bound(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    let mut object = pod("a");
    object["spec"]["nodeName"] = "nowhere".into();
    let created = admin.post(&world.core("pods"), &object).await.created();
    let spec = json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "a"}});
    let says = read(&ask(&world, &User::admin(), &spec).await.created());
    let own = &says["kubernetes.io"];
    assert_eq!(
        own["pod"],
        json!({"name": "a", "uid": created["metadata"]["uid"]})
    );
    // A node that is not there is named all the same.
    assert_eq!(own["node"], json!({"name": "nowhere"}));

    let secret = json!({"metadata": {"name": "s"}});
    let created = admin.post(&world.core("secrets"), &secret).await.created();
    let spec = json!({"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "s"}});
    let says = read(&ask(&world, &User::admin(), &spec).await.created());
    assert_eq!(
        says["kubernetes.io"]["secret"],
        json!({"name": "s", "uid": created["metadata"]["uid"]})
    );
}

async fn unbound(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    let other = json!({"metadata": {"name": "other"}});
    let accounts = world.core("serviceaccounts");
    admin.post(&accounts, &other).await.created();
    let mut object = pod("b");
    object["spec"]["serviceAccountName"] = "other".into();
    admin.post(&world.core("pods"), &object).await.created();
    let user = User::admin();
    let reference = |kind: &str, name: &str, uid: &str| json!({"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name, "uid": uid}});
    let answer = ask(&world, &user, &reference("Pod", "gone", "")).await;
    assert_eq!(answer.refused(404, "NotFound"), "pods \"gone\" not found");
    let answer = ask(&world, &user, &reference("Pod", "b", "")).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "cannot bind token for serviceaccount \"web\" to pod running with different serviceaccount name."
    );
    let answer = ask(&world, &user, &reference("ConfigMap", "c", "")).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "cannot bind token to object of type /v1, Kind=ConfigMap"
    );
    admin.post(&world.core("pods"), &pod("c")).await.created();
    let answer = ask(&world, &user, &reference("Pod", "c", "another")).await;
    assert_eq!(
        answer.refused(409, "Conflict"),
        "Operation cannot be fulfilled on Pod \"c\": the UID in the bound object reference (another) does not match the UID in record. The object might have been deleted and then recreated"
    );
}

async fn lifetimes(world: World) {
    pod_account(&world).await;
    for (seconds, why) in [
        (599_i64, "may not specify a duration less than 10 minutes"),
        (-1, "may not specify a duration less than 10 minutes"),
        (
            (1 << 32) + 1,
            "may not specify a duration larger than 2^32 seconds",
        ),
    ] {
        let spec = json!({"expirationSeconds": seconds});
        let answer = ask(&world, &User::admin(), &spec).await;
        let why = format!("Invalid value: {seconds}: {why}");
        answer.invalid(&[("spec.expirationSeconds", &why)]);
        assert_eq!(answer.body["details"]["kind"], "TokenRequest");
    }
}

async fn places(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    let answer = admin.post(&path(&world, "gone"), &json!({})).await;
    assert_eq!(
        answer.refused(404, "NotFound"),
        "serviceaccounts \"gone\" not found"
    );
    let body = json!({"metadata": {"name": "other"}});
    let answer = admin.post(&path(&world, "web"), &body).await;
    answer.invalid(&[(
        "metadata.name",
        "Invalid value: \"other\": must match the service account name if specified",
    )]);
    let answer = admin.get(&path(&world, "web")).await;
    answer.refused(405, "MethodNotAllowed");
}

/// Asks who a token is.
async fn who(world: &World, token: &Value, audiences: &Value) -> Value {
    let body = json!({
        "kind": "TokenReview",
        "apiVersion": "authentication.k8s.io/v1",
        "spec": {"token": token, "audiences": audiences},
    });
    let answer = world.admin().post(REVIEWS, &body).await.created();
    answer["status"].clone()
}

async fn review(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    let created = admin.post(&world.core("pods"), &pod("a")).await.created();
    let spec = json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "a"}});
    let answer = ask(&world, &User::admin(), &spec).await.created();
    let status = who(&world, &answer["status"]["token"], &Value::Null).await;
    let says = read(&answer);
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["audiences"], says["aud"]);
    let namespace = &world.namespace;
    let user = &status["user"];
    assert_eq!(user["username"], says["sub"]);
    assert_eq!(user["uid"], says["kubernetes.io"]["serviceaccount"]["uid"]);
    assert_eq!(
        user["groups"],
        json!([
            "system:serviceaccounts",
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated",
        ])
    );
    let extra = |key: &str| user["extra"][format!("authentication.kubernetes.io/{key}")].clone();
    assert_eq!(extra("pod-name"), json!(["a"]));
    assert_eq!(extra("pod-uid"), json!([created["metadata"]["uid"]]));
    let id = format!("JTI={}", says["jti"].as_str().unwrap());
    assert_eq!(extra("credential-id"), json!([id]));
}

async fn audiences(world: World) {
    pod_account(&world).await;
    let spec = json!({"audiences": ["vault", "other"]});
    let answer = ask(&world, &User::admin(), &spec).await.created();
    let token = &answer["status"]["token"];
    let status = who(&world, token, &json!(["vault", "third"])).await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["audiences"], json!(["vault"]));
    // It is none for the server itself.
    let status = who(&world, token, &Value::Null).await;
    assert_eq!(status["authenticated"], Value::Null, "{status}");
    let why = status["error"].as_str().unwrap();
    assert!(why.contains("is invalid for the target audiences"), "{why}");
}

async fn no_token(world: World) {
    let status = who(&world, &json!("nonsense"), &Value::Null).await;
    assert_eq!(status["authenticated"], Value::Null, "{status}");
    assert_eq!(status["user"], json!({}));
    assert!(!status["error"].as_str().unwrap().is_empty());
    let answer = world.admin().post(REVIEWS, &json!({"spec": {}})).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "token is required for TokenReview in authentication"
    );
}

async fn ended(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    let pods = world.core("pods");
    admin.post(&pods, &pod("a")).await.created();
    let spec = json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "a"}});
    let answer = ask(&world, &User::admin(), &spec).await.created();
    let token = answer["status"]["token"].clone();
    let status = who(&world, &token, &Value::Null).await;
    assert_eq!(status["authenticated"], true, "{status}");
    let gone = json!({"gracePeriodSeconds": 0});
    admin.delete_with(&format!("{pods}/a"), &gone).await.ok();
    // The real server keeps what it found for some seconds.
    let body = json!({"spec": {"token": token}});
    eventually(
        || async { world.admin().post(REVIEWS, &body).await },
        |answer| answer.code == 201 && answer.body["status"]["authenticated"].is_null(),
    )
    .await;
}

async fn published(world: World) {
    pod_account(&world).await;
    let answer = ask(&world, &User::admin(), &json!({})).await.created();
    let admin = world.admin();
    let about = admin.get("/.well-known/openid-configuration").await.ok();
    assert_eq!(about["issuer"], read(&answer)["iss"]);
    assert_eq!(about["response_types_supported"], json!(["id_token"]));
    let set = "application/jwk-set+json";
    let keys = admin.get_as("/openid/v1/jwks", set).await.ok();
    let token = answer["status"]["token"].as_str().unwrap();
    let header = URL_SAFE_NO_PAD
        .decode(token.split('.').next().unwrap())
        .unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let keys = keys["keys"].as_array().unwrap();
    assert!(
        keys.iter()
            .any(|key| key["kid"] == header["kid"] && key["alg"] == header["alg"])
    );
    let signed = &about["id_token_signing_alg_values_supported"];
    assert!(signed.as_array().unwrap().contains(&header["alg"]));
    // Service accounts may read it; who is nobody may not.
    let account = User::service_account(&world.namespace, "web");
    let account = world.as_user(&account);
    account.get_as("/openid/v1/jwks", set).await.ok();
    let nobody = world.as_user(&User::anonymous());
    let answer = nobody.get("/openid/v1/jwks").await;
    answer.refused(403, "Forbidden");
}

async fn nodes(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    let node = format!("{}-a", world.namespace);
    let object = json!({"metadata": {"name": node}});
    admin.post("/api/v1/nodes", &object).await.created();
    let mut on_node = pod("a");
    on_node["spec"]["nodeName"] = node.clone().into();
    on_node["spec"]["volumes"] = json!([{"name": "token", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "audience": "vault"}},
    ]}}]);
    let pods = world.core("pods");
    let created = admin.post(&pods, &on_node).await.created();
    let uid = created["metadata"]["uid"].clone();
    let user = User::node(&node);
    let reference = json!({"kind": "Pod", "apiVersion": "v1", "name": "a", "uid": uid});
    let spec = json!({"audiences": ["vault"], "boundObjectRef": reference});
    // The authorizer's graph and the plugin's cache may lag.
    eventually(|| ask(&world, &user, &spec), |answer| answer.code == 201).await;

    let refused = async |spec: Value, why: &str| {
        let answer = ask(&world, &user, &spec).await;
        assert_eq!(
            answer.refused(403, "Forbidden"),
            format!("serviceaccounts \"web\" is forbidden: {why}")
        );
    };
    refused(json!({}), "node requested token not bound to a pod").await;
    let mut nameless = spec.clone();
    nameless["boundObjectRef"]["uid"] = Value::Null;
    refused(
        nameless,
        "node requested token with a pod binding without a uid",
    )
    .await;
    let mut other = spec.clone();
    other["audiences"] = json!(["bank"]);
    refused(
        other,
        &format!("system:node:{node} is not authorized to request tokens for audience \"bank\""),
    )
    .await;
    let mut both = spec.clone();
    both["audiences"] = json!(["vault", "bank"]);
    refused(both, "node may only request 0 or 1 audiences").await;
    admin.post(&pods, &pod("b")).await.created();
    let elsewhere = admin.get(&format!("{pods}/b")).await.ok();
    let mut other = spec;
    other["boundObjectRef"]["name"] = "b".into();
    other["boundObjectRef"]["uid"] = elsewhere["metadata"]["uid"].clone();
    eventually(|| ask(&world, &user, &other), |answer| answer.code == 403).await;
    refused(
        other,
        "node requested token bound to a pod scheduled on a different node",
    )
    .await;
    admin.delete(&format!("/api/v1/nodes/{node}")).await;
}

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
