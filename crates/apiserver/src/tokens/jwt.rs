//! JSON Web Tokens, as far as this server makes and reads them: signed with ES256 (RFC 7515,
//! RFC 7518) by the one key of an [`Issuer`], in compact form.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::object::text;

/// Who signs tokens: a name, and a key that nobody else has.
pub(crate) struct Issuer {
    issuer: String,
    key: EcdsaKeyPair,
    key_id: String,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("issuer", &self.issuer)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl Issuer {
    /// An issuer of this name with a new key.
    pub(crate) fn new(issuer: String) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .expect("invariant: P-256 keys can be made wherever aws-lc runs");
        // As the real server derives it: the SHA-256 of the key's SubjectPublicKeyInfo.
        let info = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key())
            .expect("invariant: the public half of a P-256 key has a DER form");
        let hash = digest::digest(&digest::SHA256, info.as_ref());
        Self {
            issuer,
            key_id: URL_SAFE_NO_PAD.encode(hash),
            key,
        }
    }

    /// The name in `iss`, and the audience that is the API server itself.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A token with these claims, and with `iss`.
    pub(crate) fn sign(&self, mut claims: Map<String, Value>) -> Result<String, String> {
        claims.insert("iss".into(), self.issuer.clone().into());
        let header = json!({"alg": ALGORITHM, "kid": self.key_id});
        let mut token = encode(&header.to_string());
        token.push('.');
        token.push_str(&encode(&Value::Object(claims).to_string()));
        let signature = self
            .key
            .sign(&SystemRandom::new(), token.as_bytes())
            .map_err(|_| "failed to generate token: cannot sign".to_owned())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }

    /// The claims of a token that this issuer signed; `None` for anything else.
    pub(crate) fn verify(&self, token: &str) -> Option<Value> {
        let parsed = Parsed::read(token)?;
        let is_ours = text(&parsed.header, &["alg"]) == ALGORITHM
            && text(&parsed.header, &["kid"]) == self.key_id
            && text(&parsed.claims, &["iss"]) == self.issuer;
        if !is_ours {
            return None;
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key())
            .verify(parsed.signed.as_bytes(), &parsed.signature)
            .ok()?;
        Some(parsed.claims)
    }

    /// OpenID Provider metadata (OpenID Connect Discovery, section 3).
    pub(crate) fn configuration(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", self.issuer.trim_end_matches('/')),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        })
    }

    /// The public key as a set of one (RFC 7517).
    pub(crate) fn key_set(&self) -> Value {
        // An uncompressed point (SEC 1, 2.3.3): 4, then both coordinates.
        let point = self.key.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(COORDINATE);
        json!({"keys": [{
            "use": "sig",
            "kty": "EC",
            "kid": self.key_id,
            "crv": "P-256",
            "alg": ALGORITHM,
            "x": URL_SAFE_NO_PAD.encode(x),
            "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }
}

/// A token taken apart; nobody has looked at its signature.
struct Parsed<'a> {
    header: Value,
    claims: Value,
    /// What the signature is over.
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Parsed<'a> {
    fn read(token: &'a str) -> Option<Self> {
        if token.len() > LENGTH_LIMIT {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
            let value: Value = serde_json::from_slice(&bytes).ok()?;
            value.is_object().then_some(value)
        };
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

const ALGORITHM: &str = "ES256";
const COORDINATE: usize = 32;
/// Longer than any header that a server reads.
const LENGTH_LIMIT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn token(issuer: &Issuer) -> String {
        let claims = json!({"sub": "someone"});
        issuer.sign(claims.as_object().unwrap().clone()).unwrap()
    }

    #[test]
    fn what_was_signed_is_read_back() {
        let issuer = Issuer::new("https://issuer".into());
        let claims = issuer.verify(&token(&issuer)).unwrap();
        assert_eq!(claims, json!({"iss": "https://issuer", "sub": "someone"}));
    }

    #[test]
    fn a_changed_claim_another_key_and_no_algorithm_are_refused() {
        let issuer = Issuer::new("https://issuer".into());
        let token = token(&issuer);
        let parts: Vec<&str> = token.split('.').collect();
        let [header, _, signature] = parts[..] else {
            panic!("three parts: {token}")
        };
        let forged = encode(r#"{"iss":"https://issuer","sub":"admin"}"#);
        assert!(
            issuer
                .verify(&format!("{header}.{forged}.{signature}"))
                .is_none()
        );
        let none = encode(&format!(r#"{{"alg":"none","kid":"{}"}}"#, issuer.key_id));
        assert!(issuer.verify(&format!("{none}.{forged}.")).is_none());
        let other = Issuer::new("https://issuer".into());
        assert!(other.verify(&token).is_none());
        for end in 0..token.len() {
            assert!(issuer.verify(&token[..end]).is_none());
        }
    }

    #[test]
    fn the_published_key_verifies() {
        let issuer = Issuer::new("https://issuer".into());
        let set = issuer.key_set();
        let coordinate = |name: &str| {
            let text = set["keys"][0][name].as_str().unwrap();
            URL_SAFE_NO_PAD.decode(text).unwrap()
        };
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let token = token(&issuer);
        let parsed = Parsed::read(&token).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(parsed.signed.as_bytes(), &parsed.signature)
            .unwrap();
    }
}
