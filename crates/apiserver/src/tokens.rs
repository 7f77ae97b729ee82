//! Service account tokens: made by TokenRequests, read by TokenReviews and by whoever puts a
//! listener in front of the server, and described to relying parties as OpenID Connect has it.
//!
//! ```text
//! POST …/serviceaccounts/{name}/token ─▶ request ─▶ claims ─▶ jwt (ES256) ─▶ the token
//! ApiServer::authenticate, TokenReview ─▶ jwt ─▶ claims, held against the objects ─▶ User
//! /.well-known/openid-configuration, /openid/v1/jwks ─▶ jwt: issuer and public key
//! ```
//!
//! The key is made when the server is built and dies with it, and with it all tokens. Lifetimes are
//! those asked for: the real server gives a kubelet's token of 3607 seconds a year, and warns; this
//! one does not.

mod claims;
mod jwt;
mod request;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::claims::Claims;
pub(crate) use self::jwt::Issuer;
use crate::server::ApiServer;
use crate::service::{ApiBody, json_response};
use crate::store::Store;
use crate::user::User;

/// Who a token speaks for, and to whom among those it was asked to speak to.
pub(crate) struct Authenticated {
    pub(crate) user: User,
    pub(crate) audiences: Vec<String>,
}

impl ApiServer {
    /// Who calls with this bearer token; `None` if it is no token of this server's that is good for
    /// the API server itself, now: signed here, not expired by the server's clock (with the real
    /// server's minute of leeway), and its service account and the object it is bound to still
    /// there.
    ///
    /// For listeners: `Authorization: Bearer …` is this, and a call without any is
    /// [`User::anonymous`].
    pub fn authenticate(&self, bearer: &str) -> Option<User> {
        let inner = &self.inner;
        let audiences = [inner.tokens.issuer().to_owned()];
        authenticate(
            &inner.store,
            &inner.tokens,
            self.now(),
            bearer.trim(),
            &audiences,
        )
        .map(|authenticated| authenticated.user)
        .ok()
    }

    /// The documents by which relying parties find the key; `None` if the path is no such.
    pub(crate) fn issuer_document(&self, path: &[String]) -> Option<Response<ApiBody>> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let issuer = &self.inner.tokens;
        let (document, media) = match path.as_slice() {
            [".well-known", "openid-configuration"] => (issuer.configuration(), "application/json"),
            ["openid", "v1", "jwks"] => (issuer.key_set(), "application/jwk-set+json"),
            _ => return None,
        };
        let mut response = json_response(StatusCode::OK, document.to_string());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=3600"),
        );
        Some(response)
    }
}

/// Who this token speaks for to one of these audiences; else what is wrong with it.
pub(crate) fn authenticate(
    store: &Store,
    issuer: &Issuer,
    now: Timestamp,
    token: &str,
    audiences: &[String],
) -> Result<Authenticated, String> {
    let claims = issuer
        .verify(token)
        .ok_or_else(|| "invalid bearer token".to_owned())?;
    let claims = Claims::read(&claims).ok_or_else(|| "invalid bearer token".to_owned())?;
    let common: Vec<String> = claims
        .audiences
        .iter()
        .filter(|audience| audiences.contains(audience))
        .cloned()
        .collect();
    if common.is_empty() {
        return Err(format!(
            "token audiences {} is invalid for the target audiences {}",
            go_list(&claims.audiences),
            go_list(audiences)
        ));
    }
    Ok(Authenticated {
        user: claims.check(store, now)?,
        audiences: common,
    })
}

/// The status of a TokenReview.
pub(crate) fn review(
    store: &Store,
    issuer: &Issuer,
    now: Timestamp,
    token: &str,
    mut audiences: Vec<String>,
) -> Value {
    if audiences.is_empty() {
        audiences.push(issuer.issuer().to_owned());
    }
    match authenticate(store, issuer, now, token, &audiences) {
        Ok(found) => json!({
            "authenticated": true,
            "user": crate::reviews::user_info(&found.user),
            "audiences": found.audiences,
        }),
        Err(why) => json!({"user": {}, "error": why}),
    }
}

/// A list of strings as Go's `%q` shows it.
fn go_list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}
