//! What a text holds: PEM or DER, a CA pool, a SPIFFE bundle, or Kubernetes objects that hold one of
//! these.
//!
//! Errors about texts that may hold keys repeat nothing of them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use podcert_authority::{Pool, PoolError};
use podcert_diagnosis::REFRESH_TAKES_MINUTES;
use podcert_pki::Certificate;
use podcert_pki::inspect::{self, Check, Finding, Inspection, Kind, PrivateKeyFacts};
use serde::Deserialize;
use serde::de::{IgnoredAny, IntoDeserializer as _, value};
use zeroize::Zeroizing;

use super::source::{Item, Reading};
use crate::commands::make_ca_pool_secret::POOL_KEY;

/// Everything in `bytes`.
///
/// # Errors
/// When nothing of it can be read.
pub(super) fn items(bytes: &[u8], reading: Reading<'_>) -> Result<Vec<Item>> {
    let text = bytes.trim_ascii_start();
    if text.first() == Some(&b'{') {
        let shape: Shape = serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            anyhow::anyhow!("it is not JSON from line {line} column {column} on")
        })?;
        return match shape {
            Shape { kind: Some(_), .. } => objects(text, reading),
            Shape { keys: Some(_), .. } => Ok(vec![spiffe_bundle(text, reading.at)?]),
            _ => pool(text, None, reading.at),
        };
    }
    let is_manifest = |line: &[u8]| line.starts_with(b"kind:") || line.starts_with(b"apiVersion:");
    if bytes.split(|byte| *byte == b'\n').any(is_manifest) {
        return objects(bytes, reading);
    }
    Ok(vec![plain(bytes, None, reading)?])
}

/// An item of a text that is PEM or DER.
pub(super) fn plain(bytes: &[u8], name: Option<String>, reading: Reading<'_>) -> Result<Item> {
    Ok(item(name, inspect::text(bytes, reading.kind, reading.at)?))
}

fn item(name: Option<String>, inspection: Inspection) -> Item {
    Item {
        source: String::new(),
        name,
        refresh_at: None,
        inspection,
    }
}

/// What tells one kind of JSON from another.
#[derive(Deserialize)]
struct Shape {
    kind: Option<IgnoredAny>,
    keys: Option<IgnoredAny>,
}

/// The CAs of a pool. One that cannot sign is a finding, one that cannot be read an error.
fn pool(bytes: &[u8], name: Option<&str>, at: Timestamp) -> Result<Vec<Item>> {
    let of = |ca: &str| match name {
        Some(name) => format!("{name}, {ca}"),
        None => ca.to_owned(),
    };
    let pool = match Pool::from_json(bytes) {
        Ok(pool) => pool,
        Err(error @ PoolError::Json(_)) => return Err(error.into()),
        Err(error) => {
            let message = format!("{:#}", anyhow::Error::from(error));
            let mut inspection = inspect::certificates(Kind::Authority, Vec::new(), at);
            let finding = Finding::new(Check::PoolUnusable, None, message);
            inspection.findings.push(finding);
            return Ok(vec![item(Some(of("the pool")), inspection)]);
        }
    };
    let warnings = pool.warnings(at);
    let items = pool.cas().iter().enumerate().map(|(index, ca)| {
        let certificates = ca.chain().iter().chain([ca.root()]).cloned().collect();
        let mut inspection = inspect::certificates(Kind::Authority, certificates, at);
        inspection.private_key = Some(PrivateKeyFacts {
            key_type: ca.key().public_key().key_type().to_string(),
            // Proven when the pool was loaded.
            matches_leaf: Some(true),
        });
        for warning in &warnings {
            if let podcert_authority::Warning::UnusedIntermediate {
                ca: place, subject, ..
            } = warning
                && place.index == index
            {
                let message = format!("intermediate {subject} does not lead to the root");
                inspection
                    .findings
                    .push(Finding::new(Check::UnusedIntermediate, None, message));
            }
        }
        let active = if index == 0 { " (it signs)" } else { "" };
        item(
            Some(of(&format!("CA {:?}{active}", ca.id().as_str()))),
            inspection,
        )
    });
    Ok(items.collect())
}

/// A SPIFFE bundle (SPIFFE Trust Domain and Bundle §4). Its entries for tokens are no certificates.
fn spiffe_bundle(bytes: &[u8], at: Timestamp) -> Result<Item> {
    #[derive(Deserialize)]
    struct Bundle {
        keys: Vec<Key>,
    }
    #[derive(Deserialize)]
    struct Key {
        #[serde(rename = "use", default)]
        purpose: String,
        #[serde(default)]
        x5c: Vec<ByteString>,
    }
    let bundle: Bundle = serde_json::from_slice(bytes)
        .map_err(|error| anyhow::anyhow!("it is not a SPIFFE bundle: line {}", error.line()))?;
    let mut certificates = Vec::new();
    let mut findings = Vec::new();
    for (number, key) in (1..).zip(bundle.keys) {
        if key.purpose != "x509-svid" {
            continue;
        }
        if key.x5c.len() != 1 {
            let message = format!("keys[{}] has {} certificates", number - 1, key.x5c.len());
            findings.push(Finding::new(Check::SpiffeBundleKeys, None, message));
        }
        if let Some(ByteString(der)) = key.x5c.into_iter().next() {
            let read = Certificate::from_der(der);
            certificates.push(read.with_context(|| format!("keys[{}]", number - 1))?);
        }
    }
    let mut inspection = inspect::certificates(Kind::TrustBundle, certificates, at);
    inspection.findings.extend(findings);
    Ok(item(Some("SPIFFE bundle".to_owned()), inspection))
}

/// A Kubernetes object, or a list of them; only what may hold certificates.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Object {
    kind: String,
    pub(super) metadata: Metadata,
    items: Vec<Object>,
    data: Option<BTreeMap<String, Option<Secret>>>,
    string_data: Option<BTreeMap<String, Option<Secret>>>,
    pub(super) spec: Spec,
    pub(super) status: Status,
}

/// A value that may be a key: wiped, and not printed.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Secret(Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    namespace: Option<String>,
    pub(super) name: String,
    pub(super) creation_timestamp: Option<String>,
    pub(super) uid: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    trust_bundle: Option<String>,
    pub(super) signer_name: String,
    pub(super) pod_name: String,
    #[serde(rename = "podUID")]
    pub(super) pod_uid: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) certificate_chain: Option<String>,
    pub(super) begin_refresh_at: Option<Timestamp>,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) reason: String,
    pub(super) message: String,
}

/// The items of manifests, in YAML or JSON.
fn objects(bytes: &[u8], reading: Reading<'_>) -> Result<Vec<Item>> {
    let text = std::str::from_utf8(bytes).context("the manifest is not UTF-8")?;
    // The parsers' own words may repeat what stands there.
    let unreadable = || anyhow::anyhow!("it is not a manifest that can be read: is it whole?");
    let objects: Vec<Object> = if text.starts_with('{') {
        vec![serde_json::from_str(text).map_err(|_| unreadable())?]
    } else {
        serde_saphyr::from_multiple(text).map_err(|_| unreadable())?
    };
    let mut found = Vec::new();
    let mut waiting = Vec::new();
    for object in objects {
        if object.items.is_empty() {
            of_object(&object, reading, &mut found, &mut waiting)?;
        } else {
            for object in &object.items {
                of_object(object, reading, &mut found, &mut waiting)?;
            }
        }
    }
    if found.is_empty() {
        match waiting.as_slice() {
            [] => bail!("no object in it holds certificates"),
            _ => bail!("no certificate was issued: {}", waiting.join("; ")),
        }
    }
    Ok(found)
}

/// Adds what one object holds, or that it is a request without a certificate so far.
fn of_object(
    object: &Object,
    reading: Reading<'_>,
    found: &mut Vec<Item>,
    waiting: &mut Vec<String>,
) -> Result<()> {
    let name = object.name();
    let found_before = found.len();
    let mut into = |found: &mut Vec<Item>| -> Result<()> {
        match object.kind.as_str() {
            "ClusterTrustBundle" => {
                let text = object.spec.trust_bundle.as_deref().unwrap_or_default();
                let kind = Some(reading.kind.unwrap_or(Kind::TrustBundle));
                let reading = Reading { kind, ..reading };
                found.push(plain(text.as_bytes(), Some(name.clone()), reading)?);
            }
            "PodCertificateRequest" => match &object.status.certificate_chain {
                Some(_) => found.push(issued(object, name.clone(), reading)?),
                None => waiting.push(format!("{name}: {}", object.state())),
            },
            "Secret" | "ConfigMap" => texts(object, &name, reading, found)?,
            _ => {}
        }
        Ok(())
    };
    into(found).with_context(|| name.clone())?;
    for item in found.iter_mut().skip(found_before) {
        overdue(item, reading.at);
    }
    Ok(())
}

/// What was issued for a request.
///
/// # Errors
/// When its chain cannot be read.
pub(super) fn issued(object: &Object, name: String, reading: Reading<'_>) -> Result<Item> {
    let text = object
        .status
        .certificate_chain
        .as_deref()
        .unwrap_or_default();
    let kind = Some(reading.kind.unwrap_or(Kind::Chain));
    let mut item = plain(text.as_bytes(), Some(name), Reading { kind, ..reading })?;
    item.refresh_at = object.status.begin_refresh_at;
    Ok(item)
}

/// Adds the finding that a certificate should have been replaced.
pub(super) fn overdue(item: &mut Item, at: Timestamp) {
    if let Some(refresh) = item.refresh_at
        && at.duration_since(refresh).as_mins() >= REFRESH_TAKES_MINUTES
    {
        let ago = inspect::describe::span(refresh, at);
        let message = format!("the kubelet should have replaced it {ago} ago, at {refresh}");
        let finding = Finding::new(Check::RefreshOverdue, Some(1), message);
        item.inspection.findings.push(finding);
    }
}

/// The values of a Secret or ConfigMap that hold something.
fn texts(object: &Object, name: &str, reading: Reading<'_>, found: &mut Vec<Item>) -> Result<()> {
    let mut values: BTreeMap<&str, Zeroizing<Vec<u8>>> = BTreeMap::new();
    for (key, value) in object.data.iter().flatten() {
        let text = value.as_ref().map_or("", |text| text.0.as_str());
        let bytes = if object.kind == "Secret" {
            let text: value::StrDeserializer<'_, value::Error> = text.into_deserializer();
            let decoded = ByteString::deserialize(text);
            decoded
                .map_err(|_| anyhow::anyhow!("data[{key:?}] is not base64"))?
                .0
        } else {
            text.as_bytes().to_vec()
        };
        values.insert(key, Zeroizing::new(bytes));
    }
    for (key, value) in object.string_data.iter().flatten() {
        let text = value.as_ref().map_or("", |text| text.0.as_str());
        values.insert(key, Zeroizing::new(text.as_bytes().to_vec()));
    }
    // A Secret of type kubernetes.io/tls has key and chain apart.
    if let (Some(key), Some(chain)) = (values.get("tls.key"), values.get("tls.crt")) {
        let mut both = Zeroizing::new(Vec::with_capacity(key.len() + chain.len() + 1));
        both.extend_from_slice(key);
        both.push(b'\n');
        both.extend_from_slice(chain);
        let of = Some(format!("{name}, tls.key and tls.crt"));
        found.push(plain(&both, of, reading)?);
        values.remove("tls.key");
        values.remove("tls.crt");
    }
    for (key, value) in &values {
        let name = format!("{name}, {key}");
        let is_json = value.trim_ascii_start().first() == Some(&b'{');
        if *key == POOL_KEY || is_json && serde_json::from_slice::<PoolShape>(value).is_ok() {
            found.extend(pool(value, Some(&name), reading.at).with_context(|| name.clone())?);
        } else if value.windows(BEGIN.len()).any(|window| window == BEGIN) {
            found.push(plain(value, Some(name.clone()), reading).with_context(|| name.clone())?);
        }
    }
    Ok(())
}

/// What a pool has at least, as meshtool writes it.
#[derive(Deserialize)]
struct PoolShape {
    #[serde(rename = "CAs")]
    _cas: Vec<IgnoredAny>,
}

impl Object {
    /// Its kind and name.
    pub(super) fn name(&self) -> String {
        match &self.metadata.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.kind, self.metadata.name),
            None => format!("{} {}", self.kind, self.metadata.name),
        }
    }

    /// How far a request got.
    pub(super) fn state(&self) -> String {
        let settled = self.status.conditions.first();
        settled.map_or_else(
            || "it waits for its signer".to_owned(),
            |condition| {
                let Condition {
                    type_,
                    reason,
                    message,
                } = condition;
                format!("{type_}, {reason}: {message}")
            },
        )
    }
}

const BEGIN: &[u8] = b"-----BEGIN ";
