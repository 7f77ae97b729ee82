//! Lists, page by page, and what can be read of them.

use std::collections::HashSet;

use podcert_diagnosis::Unread;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The API server refuses, or does not answer.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// It answers with something else.
    #[error("the API server answers with what cannot be read: {0}")]
    Unreadable(serde_json::Error),
    /// It answers without end.
    #[error("the API server's list has no end: {0}")]
    Endless(&'static str),
}

impl Failed {
    /// The HTTP status that the API server refused with.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}

/// A page of a list, its objects as they came.
#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    metadata: Metadata,
    items: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// All objects of the collection at `path` that `selectors` (a query) selects, as `get` has them.
pub(super) async fn all(
    path: &str,
    selectors: &str,
    get: impl AsyncFn(String) -> Result<Page, Failed>,
) -> Result<Vec<Value>, Failed> {
    let mut objects = Vec::new();
    let mut seen = HashSet::new();
    let mut query = format!("{path}?limit={PAGE}");
    if !selectors.is_empty() {
        query.push('&');
        query.push_str(selectors);
    }
    let mut next = String::new();
    for _ in 0..MOST_PAGES {
        let page = get(format!("{query}{next}")).await?;
        objects.extend(page.items.into_iter().flatten());
        let Some(token) = page.metadata.next.filter(|next| !next.is_empty()) else {
            return Ok(objects);
        };
        let quoted: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
        next = format!("&continue={quoted}");
        if !seen.insert(token) {
            return Err(Failed::Endless("it sends the same continue token again"));
        }
    }
    Err(Failed::Endless("it has more than a million objects"))
}

/// Those of `objects`, a list called `what`, that can be read, and how many cannot.
pub(super) fn read<T: DeserializeOwned>(
    objects: Vec<Value>,
    what: &str,
) -> (Vec<T>, Option<Unread>) {
    let mut unread: Option<Unread> = None;
    let readable = objects.into_iter().filter_map(|object| {
        let text = |field: &str| Some(object.get("metadata")?.get(field)?.as_str()?.to_owned());
        let (namespace, name) = (text("namespace"), text("name"));
        match T::deserialize(object) {
            Ok(object) => Some(object),
            Err(error) => {
                let names = [namespace, name];
                let name = names.into_iter().flatten().collect::<Vec<_>>().join("/");
                tracing::debug!(what, name, %error, "an object cannot be read");
                let known = unread.get_or_insert_with(|| Unread {
                    what: what.to_owned(),
                    count: 0,
                    first: name,
                });
                known.count += 1;
                None
            }
        }
    });
    (readable.collect(), unread)
}

/// So many objects at once, which is kubectl's number too.
const PAGE: usize = 500;
/// More than any cluster has.
const MOST_PAGES: usize = 2000;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use k8s_openapi::api::coordination::v1::Lease;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_left_out_and_counted() {
        let lease = |name: &str, renewed: &str| {
            json!({
                "metadata": {"namespace": "shop", "name": name}, "spec": {"renewTime": renewed},
            })
        };
        let never = "9999-12-31T23:59:59.000000Z";
        let list = vec![
            lease("a", "2026-12-01T12:00:00.000000Z"),
            lease("b", never),
            lease("c", never),
            json!({}),
            json!("what is that"),
        ];
        let (leases, unread) = read::<Lease>(list, "Leases");
        assert_eq!(leases.len(), 2);
        let unread = unread.unwrap();
        assert_eq!((unread.count, unread.first.as_str()), (3, "shop/b"));
        let (none, unread) = read::<Lease>(Vec::new(), "Leases");
        assert!(none.is_empty() && unread.is_none());
    }

    fn page(next: &str) -> Page {
        serde_json::from_value(json!({"metadata": {"continue": next}, "items": [next]})).unwrap()
    }

    #[tokio::test]
    async fn pages_are_read_until_the_last() {
        let objects = all("/api/v1/pods", "a=b", async |query| match query.as_str() {
            "/api/v1/pods?limit=500&a=b" => Ok(page("x/y")),
            "/api/v1/pods?limit=500&a=b&continue=x%2Fy" => Ok(page("")),
            other => panic!("{other}"),
        });
        assert_eq!(objects.await.unwrap(), [json!("x/y"), json!("")]);
    }

    #[tokio::test]
    async fn a_list_without_end_is_an_error() {
        let tokens = Cell::new(0);
        let same = all("/a", "", async |_| {
            tokens.set(tokens.get() + 1);
            Ok(page(["x", "y"][tokens.get() % 2]))
        });
        let error = same.await.unwrap_err().to_string();
        assert!(error.contains("the same continue token"), "{error}");
        assert_eq!(tokens.get(), 3);

        let others = all("/a", "", async |_| {
            tokens.set(tokens.get() + 1);
            Ok(page(&tokens.get().to_string()))
        });
        let error = others.await.unwrap_err().to_string();
        assert!(error.contains("a million objects"), "{error}");
    }
}
