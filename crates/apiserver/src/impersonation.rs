//! Acting as somebody else: the headers `Impersonate-User` and `Impersonate-Group` (`kubectl --as`).
//!
//! Who may use them is asked of the authorizer, once for each identity: the verb `impersonate` on
//! `users`, `groups` or `serviceaccounts`. `Impersonate-Uid` and `Impersonate-Extra-…` are refused
//! in words: nothing here looks at what they say. (Upstream: `endpoints/filters/impersonation`.)

use http::HeaderMap;

use crate::authorization::Asked;
use crate::server::ApiServer;
use crate::status::Failure;
use crate::strategy::names;
use crate::user::{Permission, User};

/// Who the request speaks for: `user`, or whom it names if `user` may.
pub(crate) fn effective(
    server: &ApiServer,
    user: &User,
    headers: &HeaderMap,
) -> Result<Option<User>, Failure> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let name = headers.get(USER).map(text).unwrap_or_default();
    let groups: Vec<String> = headers.get_all(GROUP).iter().map(text).collect();
    if let Some(other) = headers
        .keys()
        .map(http::HeaderName::as_str)
        .find(|key| *key == UID || key.starts_with(EXTRA))
    {
        return Err(Failure::bad_request(format!(
            "this server does not act on the header {other}"
        )));
    }
    if name.is_empty() {
        return match groups.first() {
            None => Ok(None),
            Some(_) => Err(Failure::new(
                500,
                "InternalError",
                format!(
                    "Internal error occurred: requested {groups:?} without impersonating a user"
                ),
            )),
        };
    }
    let account = service_account(&name);
    let asked = match account {
        Some((namespace, name)) => Asked::impersonation("serviceaccounts", namespace, name),
        None => Asked::impersonation("users", "", &name),
    };
    let groups_asked = groups
        .iter()
        .map(|group| Asked::impersonation("groups", "", group));
    for asked in std::iter::once(asked).chain(groups_asked) {
        let authorizer = &server.inner.authorizer;
        let attributes = asked.attributes();
        if let Permission::Denied = authorizer.authorize(user, &attributes) {
            let reason = authorizer.reason(user, &attributes);
            return Err(asked.forbidden(user, &reason));
        }
    }
    let mut effective = match account {
        // Without groups a service account has its own; with any, those alone.
        Some((namespace, name)) if groups.is_empty() => User::service_account(namespace, name),
        _ if name == User::anonymous().name => User::anonymous(),
        _ => User::new(name),
    };
    let own = std::mem::take(&mut effective.groups);
    effective.groups.extend(groups);
    let is_told = |group: &String| {
        matches!(
            group.as_str(),
            "system:authenticated" | "system:unauthenticated"
        )
    };
    let told = effective.groups.iter().any(is_told);
    for group in own {
        if told && is_told(&group) {
            continue;
        }
        if !effective.groups.contains(&group) {
            effective.groups.push(group);
        }
    }
    Ok(Some(effective))
}

/// Namespace and name of the service account that a user name stands for, if it is one's.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    let valid = names::dns_label(namespace).is_empty() && names::dns_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}

const EXTRA: &str = "impersonate-extra-";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const USER: &str = "impersonate-user";

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn ask(user: &User, headers: &[(&'static str, &'static str)]) -> Result<Option<User>, String> {
        let server = ApiServer::builder()
            .clock(std::sync::Arc::new(|| jiff::Timestamp::UNIX_EPOCH))
            .rbac()
            .build();
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        effective(&server, user, &headers).map_err(|failure| failure.message)
    }

    #[test]
    fn an_administrator_may_be_anybody() {
        let admin = User::admin();
        assert_eq!(ask(&admin, &[]).unwrap(), None);
        let bob = ask(&admin, &[(USER, "bob")]).unwrap().unwrap();
        assert_eq!(bob, User::new("bob"));
        let account = "system:serviceaccount:ns:sa";
        let account = ask(&admin, &[(USER, account)]).unwrap().unwrap();
        assert_eq!(account, User::service_account("ns", "sa"));
        for name in ["system:serviceaccount:ns:a:b", "system:serviceaccount::a"] {
            let other = ask(&admin, &[(USER, name)]).unwrap().unwrap();
            assert_eq!(other, User::new(name));
        }
        let anonymous = ask(&admin, &[(USER, "system:anonymous")]).unwrap();
        assert_eq!(anonymous, Some(User::anonymous()));
        let grouped = [
            (USER, "system:serviceaccount:ns:sa"),
            (GROUP, "a"),
            (GROUP, "b"),
        ];
        let grouped = ask(&admin, &grouped).unwrap().unwrap();
        assert_eq!(grouped.groups, ["a", "b", "system:authenticated"]);
    }

    #[test]
    fn nobody_becomes_more_than_they_may() {
        let bob = User::new("bob");
        let refused = ask(
            &bob,
            &[(USER, "kubernetes-admin"), (GROUP, "system:masters")],
        );
        let refused = refused.unwrap_err();
        assert!(
            refused.contains(r#"User "bob" cannot impersonate resource "users""#),
            "{refused}"
        );
        assert!(ask(&bob, &[(GROUP, "system:masters")]).is_err());
        assert!(ask(&User::admin(), &[(USER, "x"), (UID, "1")]).is_err());
        assert!(
            ask(
                &User::admin(),
                &[(USER, "x"), ("impersonate-extra-scopes", "1")]
            )
            .is_err()
        );
    }
}
