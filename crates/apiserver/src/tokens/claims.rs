//! What a token says, and whether it still holds (`pkg/serviceaccount/claims.go`).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::kinds::{self, KINDS};
use crate::object::{at, text};
use crate::store::{Key, Store};
use crate::user::User;

/// A name and a UID.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) uid: String,
}

impl Reference {
    /// To this object.
    pub(super) fn to(object: &Value) -> Self {
        Self {
            name: text(object, &["metadata", "name"]).to_owned(),
            uid: text(object, &["metadata", "uid"]).to_owned(),
        }
    }

    fn read(value: Option<&Value>) -> Option<Self> {
        let value = value?;
        Some(Self {
            name: text(value, &["name"]).to_owned(),
            uid: text(value, &["uid"]).to_owned(),
        })
    }

    fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (field, value) in [("name", &self.name), ("uid", &self.uid)] {
            if !value.is_empty() {
                map.insert(field.into(), value.clone().into());
            }
        }
        map.into()
    }
}

/// A token's claims but for the issuer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Claims {
    pub(super) audiences: Vec<String>,
    pub(super) issued: i64,
    pub(super) expires: i64,
    /// Not valid before; what this server signs is valid from its issuance on.
    pub(super) begins: i64,
    /// The token's own identifier.
    pub(super) id: String,
    pub(super) namespace: String,
    pub(super) account: Reference,
    pub(super) pod: Option<Reference>,
    pub(super) node: Option<Reference>,
    pub(super) secret: Option<Reference>,
}

impl Claims {
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let mut own = Map::new();
        own.insert("namespace".into(), self.namespace.clone().into());
        own.insert("serviceaccount".into(), self.account.to_json());
        for (field, reference) in [
            ("pod", &self.pod),
            ("node", &self.node),
            ("secret", &self.secret),
        ] {
            if let Some(reference) = reference {
                own.insert(field.into(), reference.to_json());
            }
        }
        let mut claims = Map::new();
        claims.insert("aud".into(), json!(self.audiences));
        claims.insert("exp".into(), self.expires.into());
        claims.insert("iat".into(), self.issued.into());
        claims.insert("jti".into(), self.id.clone().into());
        claims.insert(PRIVATE.into(), own.into());
        claims.insert("nbf".into(), self.begins.into());
        claims.insert("sub".into(), self.subject().into());
        claims
    }

    /// The claims in a token whose signature is good; `None` if it is no service account's.
    pub(super) fn read(claims: &Value) -> Option<Self> {
        let own = claims.get(PRIVATE)?;
        let date = |name: &str| claims.get(name).and_then(Value::as_i64);
        let audiences = match claims.get("aud")? {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many
                .iter()
                .map(|it| it.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
            _ => return None,
        };
        let read = Self {
            audiences,
            issued: date("iat")?,
            expires: date("exp")?,
            begins: date("nbf")?,
            id: text(claims, &["jti"]).to_owned(),
            namespace: text(own, &["namespace"]).to_owned(),
            account: Reference::read(own.get("serviceaccount"))?,
            pod: Reference::read(own.get("pod")),
            node: Reference::read(own.get("node")),
            secret: Reference::read(own.get("secret")),
        };
        (text(claims, &["sub"]) == read.subject()).then_some(read)
    }

    fn subject(&self) -> String {
        format!(
            "system:serviceaccount:{}:{}",
            self.namespace, self.account.name
        )
    }

    /// Holds the claims against the clock and the objects they name.
    pub(super) fn check(&self, store: &Store, now: Timestamp) -> Result<User, String> {
        let second = now.as_second();
        if second - LEEWAY > self.expires {
            return Err("service account token has expired".into());
        }
        if second + LEEWAY < self.begins {
            return Err("service account token is not valid yet".into());
        }
        if second + LEEWAY < self.issued {
            return Err("service account token is issued in the future".into());
        }
        let namespace = self.namespace.as_str();
        let account = find(store, kinds::SERVICE_ACCOUNTS, namespace, &self.account)
            .ok_or_else(|| format!("serviceaccounts {:?} not found", self.account.name))?;
        if account.uid != self.account.uid {
            return Err(format!(
                "service account UID ({}) does not match claim ({})",
                account.uid, self.account.uid
            ));
        }
        if account.is_gone(now) {
            let name = &self.account.name;
            return Err(format!(
                "service account {namespace}/{name} has been deleted"
            ));
        }
        if let Some(secret) = &self.secret {
            check_bound(store, kinds::SECRETS, namespace, secret, "secret", now)?;
        }
        if let Some(pod) = &self.pod {
            check_bound(store, kinds::PODS, namespace, pod, "pod", now)?;
        } else if let Some(node) = &self.node {
            check_bound(store, kinds::NODES, "", node, "node", now)?;
        }
        Ok(self.user())
    }

    fn user(&self) -> User {
        let mut user = User::service_account(&self.namespace, &self.account.name);
        user.uid = Some(self.account.uid.clone());
        let mut extra = BTreeMap::new();
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                extra.insert(
                    format!("authentication.kubernetes.io/{key}"),
                    vec![value.to_owned()],
                );
            }
        };
        if !self.id.is_empty() {
            add("credential-id", &format!("JTI={}", self.id));
        }
        if let Some(pod) = &self.pod {
            add("pod-name", &pod.name);
            add("pod-uid", &pod.uid);
        }
        if let Some(node) = &self.node {
            add("node-name", &node.name);
            add("node-uid", &node.uid);
        }
        user.extra = extra;
        user
    }
}

/// The object a token is bound to must be there, the same as then.
fn check_bound(
    store: &Store,
    row: usize,
    namespace: &str,
    reference: &Reference,
    what: &str,
    now: Timestamp,
) -> Result<(), String> {
    let invalidated = || "service account token has been invalidated".to_owned();
    let live = find(store, row, namespace, reference).ok_or_else(invalidated)?;
    if live.uid == reference.uid {
        return if live.is_gone(now) {
            Err(invalidated())
        } else {
            Ok(())
        };
    }
    Err(format!(
        "{what} UID ({}) does not match service account {what} ref claim ({})",
        live.uid, reference.uid
    ))
}

/// What there is under a reference's name.
struct Live {
    uid: String,
    deleted: Option<Timestamp>,
}

impl Live {
    /// Whether it was deleted longer ago than the leeway.
    fn is_gone(&self, now: Timestamp) -> bool {
        let latest = now.saturating_sub(SignedDuration::from_secs(LEEWAY));
        match (self.deleted, latest) {
            (Some(deleted), Ok(latest)) => deleted < latest,
            _ => false,
        }
    }
}

fn find(store: &Store, row: usize, namespace: &str, reference: &Reference) -> Option<Live> {
    let stored = store.get(KINDS.get(row)?, &Key::new(namespace, &reference.name))?;
    let deleted = at(&stored.value, &["metadata", "deletionTimestamp"]).and_then(Value::as_str);
    Some(Live {
        uid: text(&stored.value, &["metadata", "uid"]).to_owned(),
        deleted: deleted.and_then(|date| date.parse().ok()),
    })
}

const PRIVATE: &str = "kubernetes.io";
/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 60;
