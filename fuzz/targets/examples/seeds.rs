//! Writes inputs to begin with into the corpora: `cargo run -p podcert-fuzz --example seeds`.
//!
//! They are valid, so that fuzzing starts behind the first checks. Keys in them are of nobody.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use podcert_authority::{Authority, CaId, CaOptions, Pool};
use podcert_pki::{
    Chain, CredentialBundle, ExtKeyUsages, ExtensionOid, KeyType, LeafExtension, LeafNames,
    LeafSpec, PodIdentity, PodIdentityWithUids, PrivateKey, TrustBundle, Validity, empty_csr,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    for key_type in [KeyType::EcdsaP256, KeyType::Ed25519, KeyType::Rsa2048] {
        certificates(key_type)?;
    }
    for (name, text) in [
        ("dns", "web.shop.svc.cluster.local"),
        ("spiffe", "spiffe://example.org/ns/shop/sa/web"),
        ("signer", "row-major.net/service-dns"),
        ("trust-domain", "example.org"),
        ("template", "/ns/{namespace}/sa/{service-account}"),
        ("pod-template", "/ns/{namespace}/pod/{pod}/uid/{pod-uid}"),
        ("oid", "1.3.6.1.4.1.99999.1"),
        ("issuer", "https://issuer.example:6443/a/b%20c"),
    ] {
        write("names", name, text)?;
    }
    write("extension", "json", POD_IDENTITY)?;
    write("extension", "draft-a", DRAFT_A)?;
    for (name, text) in OBJECTS {
        write("resources", name, text)?;
    }
    for (name, text) in REQUESTS {
        write("api", name, text)?;
    }
    for (name, query) in LOGS {
        write("logs", name, query)?;
    }
    for (name, yaml) in MANIFESTS {
        write("manifest", name, yaml)?;
    }
    for (name, body) in BODIES {
        write("protobuf", name, body)?;
    }
    // Their signatures are anybody's.
    for (name, token) in TOKENS {
        write("token", name, token)?;
    }
    Ok(())
}

fn certificates(key_type: KeyType) -> Result<()> {
    let name = key_type.to_string().to_lowercase();
    let from: Timestamp = "2026-11-21T12:00:00Z".parse()?;
    let until: Timestamp = "2026-11-22T12:00:00Z".parse()?;
    let pool = Pool::generate(
        &CaOptions {
            key_type,
            ..CaOptions::new(CaId::new("1"))
        },
        from,
    )?;
    write("pool", &name, &*pool.to_json())?;
    let bundle = TrustBundle::new(pool.anchors().anchors().to_vec())?;
    write("pem", &format!("bundle-{name}"), bundle.to_pem())?;

    let key = PrivateKey::generate(key_type)?;
    let csr = empty_csr(&key)?;
    write("csr", &name, csr)?;
    write("csr", &format!("spki-{name}"), key.public_key().spki_der())?;
    let spec = LeafSpec::new(
        key.public_key().clone(),
        LeafNames::Dns(vec!["web.shop.svc".parse()?]),
        ExtKeyUsages::SERVER,
        Validity::new(from, until)?,
    )?;
    let authority = Authority::from_pool(pool);
    let chain: Chain = authority.issue_now(&spec).ok_or("the key is far away")??;
    write("certificate", &name, chain.leaf().der())?;
    let spec = spec.with_extensions(vec![
        LeafExtension::PodIdentityJson {
            oid: ExtensionOid::SUBSTRATE_POD_IDENTITY,
            identity: PodIdentityWithUids::from_json(POD_IDENTITY.as_bytes())?,
        },
        LeafExtension::PodIdentityDraftA {
            oid: "1.3.6.1.4.1.99999.1".parse()?,
            identity: PodIdentity::from_draft_a(DRAFT_A)?,
        },
        LeafExtension::ServiceAccountIssuer("https://issuer.example".parse()?),
    ])?;
    let extended = authority.issue_now(&spec).ok_or("the key is far away")??;
    let extended = extended.leaf().der();
    write("certificate", &format!("extended-{name}"), extended)?;
    for root in bundle.anchors() {
        write("certificate", &format!("root-{name}"), root.der())?;
    }
    write("pem", &format!("chain-{name}"), chain.to_pem())?;
    let credential = CredentialBundle::new(key, chain)?;
    write("pem", &format!("credential-{name}"), &*credential.to_pem()?)
}

fn write(target: &str, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../corpus")
        .join(target);
    Ok(fs::write(folder.join(name), content)?)
}

const OBJECTS: &[(&str, &str)] = &[
    (
        "pod",
        r#"{"metadata":{"name":"web","namespace":"shop","uid":"u","labels":{"app":"web"}},"spec":{"nodeName":"n","serviceAccountName":"web","volumes":[{"projected":{"sources":[{"podCertificate":{"signerName":"a.b/c","userAnnotations":{"a.b/c":"d"}}}]}}]}}"#,
    ),
    (
        "service",
        r#"{"metadata":{"name":"web","namespace":"shop"},"spec":{"type":"ClusterIP","selector":{"app":"web"}}}"#,
    ),
    (
        "request",
        r#"{"metadata":{"name":"r","namespace":"shop","uid":"u"},"spec":{"signerName":"a.b/c","podName":"web","podUID":"u","serviceAccountName":"web","serviceAccountUID":"u","nodeName":"n","nodeUID":"u","maxExpirationSeconds":86400,"stubPKCS10Request":"MAA=","pkixPublicKey":null,"unverifiedUserAnnotations":null},"status":{"conditions":[{"type":"Issued","status":"True","reason":"a","message":"b","lastTransitionTime":"2026-11-21T12:00:00Z"}]}}"#,
    ),
    (
        "bundle",
        r#"{"metadata":{"name":"a.b:c:d"},"spec":{"signerName":"a.b/c","trustBundle":"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"}}"#,
    ),
];

const REQUESTS: &[(&str, &str)] = &[
    (
        "label-selector",
        "GET\n/api/v1/namespaces/default/configmaps?labelSelector=app+in+(web,a),!b,c!%3Dd&limit=1\n\n",
    ),
    (
        "field-selector",
        "GET\n/apis/certificates.k8s.io/v1/podcertificaterequests?fieldSelector=spec.signerName%3Da.b%2Fc,metadata.name!%3Dd\n\n",
    ),
    (
        "merge-patch",
        "PATCH\n/api/v1/namespaces/default/configmaps/a\napplication/merge-patch+json\n{\"data\":{\"k\":null,\"l\":\"m\"}}",
    ),
    (
        "json-patch",
        "PATCH\n/api/v1/namespaces/default/configmaps/a\napplication/json-patch+json\n[{\"op\":\"test\",\"path\":\"/data/k\",\"value\":\"v\"},{\"op\":\"move\",\"from\":\"/data/k\",\"path\":\"/data/l\"}]",
    ),
    (
        "strategic-merge-patch",
        "PATCH\n/api/v1/namespaces/default/configmaps/a\napplication/strategic-merge-patch+json\n{\"metadata\":{\"labels\":{\"app\":null},\"$patch\":\"merge\"}}",
    ),
    (
        "apply",
        "PATCH\n/api/v1/namespaces/default/configmaps/a?fieldManager=f&force=true\napplication/apply-patch+yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: w\n",
    ),
    (
        "create",
        "POST\n/api/v1/namespaces/default/configmaps?dryRun=All\napplication/json\n{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"generateName\":\"b-\"}}",
    ),
    (
        "bundle",
        "POST\n/apis/certificates.k8s.io/v1/clustertrustbundles\napplication/json\n{\"apiVersion\":\"certificates.k8s.io/v1\",\"kind\":\"ClusterTrustBundle\",\"metadata\":{\"name\":\"a\"},\"spec\":{\"trustBundle\":\"-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----\\n\"}}",
    ),
    (
        "request",
        "POST\n/apis/certificates.k8s.io/v1/namespaces/default/podcertificaterequests\napplication/json\n{\"apiVersion\":\"certificates.k8s.io/v1\",\"kind\":\"PodCertificateRequest\",\"metadata\":{\"name\":\"a\"},\"spec\":{\"signerName\":\"a.b/c\",\"podName\":\"p\",\"podUID\":\"u\",\"serviceAccountName\":\"s\",\"serviceAccountUID\":\"u\",\"nodeName\":\"n\",\"nodeUID\":\"u\",\"stubPKCS10Request\":\"MAA=\"}}",
    ),
    (
        "delete",
        "DELETE\n/api/v1/namespaces/default/configmaps/a\napplication/json\n{\"preconditions\":{\"uid\":\"x\"},\"propagationPolicy\":\"Background\"}",
    ),
];

const POD_IDENTITY: &str = r#"{"Namespace":"shop","ServiceAccountName":"web","ServiceAccountUID":"a","PodName":"web-1","PodUID":"u","NodeName":"node-a","NodeUID":"n"}"#;
const DRAFT_A: &[u8] = b"\x30\x1d\x0c\x04shop\x0c\x03web\x0c\x05web-1\x0c\x01u\x0c\x06node-a";

const LOGS: &[(&str, &str)] = &[
    (
        "all",
        "container=main&follow=true&previous=0&tailLines=10&sinceSeconds=60&timestamps=1&limitBytes=9",
    ),
    ("since", "sinceTime=2026-11-21T12%3A00%3A00Z&pretty=true"),
];

const MANIFESTS: &[(&str, &str)] = &[
    (
        "two",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: shop\nspec: &spec\n  containers:\n  - name: main\n    args: [\"a\", 'b']\n",
    ),
    (
        "anchor",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: &x b, c: *x, d: |\n  e\n}\n",
    ),
];

const BODIES: &[(&str, &[u8])] = &[
    (
        "pod",
        b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x13\x0a\x05\x0a\x03web\x12\x0a\x12\x08\x0a\x01m\x12\x03i:1",
    ),
    (
        "deployment",
        b"k8s\0\x0a\x15\x0a\x07apps/v1\x12\x0aDeployment\x12\x0b\x0a\x05\x0a\x03web\x12\x02\x08\x03",
    ),
    (
        "token",
        b"k8s\0\x0a\x28\x0a\x18authentication.k8s.io/v1\x12\x0cTokenRequest\x12\x0c\x12\x0a\x0a\x05vault\x20\xd8\x04",
    ),
];

const TOKENS: &[(&str, &str)] = &[
    (
        "service-account",
        "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.eyJhdWQiOlsiYSJdLCJleHAiOjEsImlhdCI6MCwiaXNzIjoiYSIsImt1YmVybmV0ZXMuaW8iOnsibmFtZXNwYWNlIjoiYSIsInNlcnZpY2VhY2NvdW50Ijp7Im5hbWUiOiJiIiwidWlkIjoiYyJ9fSwibmJmIjowLCJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6YTpiIn0.AAAA",
    ),
    ("unsigned", "eyJhbGciOiJub25lIn0.e30."),
];
