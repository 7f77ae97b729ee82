//! What Go's crypto/x509 says, through the small program in `tests/go`.

use std::{fmt::Write, path::PathBuf, process::Command, sync::OnceLock};

use podcert_pki::{
    Certificate, CertificationRequest, Chain, ExtKeyUsages, KeyType, PrivateKey, TrustBundle,
    empty_csr,
};

use crate::{
    cases::{Case, dns_spec, issue, now, server_name, spiffe_spec, table},
    tools::{available, blocks, quick_keys, run},
};

#[test]
fn go_agrees() {
    if available("go", "version") {
        assert_answers(&table().iter().collect::<Vec<_>>());
    }
}

#[test]
fn go_reads_our_keys_and_requests() {
    if !available("go", "version") {
        return;
    }
    let mut input = String::new();
    let mut count = 0;
    for key in quick_keys() {
        input += &key.to_pkcs8_pem().unwrap();
        input += &pem("CERTIFICATE REQUEST", &empty_csr(&key).unwrap());
        count += 1;
    }
    let answer = run(Command::new(program()).arg("requests"), input.as_bytes()).unwrap();
    assert_eq!(answer, "ok\n".repeat(count));
}

#[test]
fn we_read_gos_keys_and_requests() {
    if !available("go", "version") {
        return;
    }
    let text = run(Command::new(program()).arg("keys"), b"").unwrap();
    let keys = blocks(&text, "PRIVATE KEY");
    let requests = blocks(&text, "CERTIFICATE REQUEST");
    assert_eq!((keys.len(), requests.len()), (7, 7));
    for ((key, request), key_type) in keys.iter().zip(requests).zip(KeyType::ALL) {
        let key = PrivateKey::from_pkcs8_pem(key).unwrap();
        assert_eq!(key.public_key().key_type(), key_type);
        let request = CertificationRequest::from_der(&der(request)).unwrap();
        assert_eq!(request.public_key(), key.public_key());
        request
            .verify()
            .unwrap_or_else(|error| panic!("{key_type}: {error}"));
    }
}

/// Pools of meshtool have roots without a subject: they load, sign, and verify by Go and rustls.
#[test]
fn roots_with_an_empty_subject_still_work() {
    if !available("go", "version") {
        return;
    }
    let (key, root) = empty_subject_root();
    assert!(root.subject().is_empty() && root.is_ca());
    let anchors = TrustBundle::new(vec![root.clone()]).unwrap();
    let case = |name: &str, leaf, server| Case {
        name: format!("{name} below an empty subject"),
        chain: Chain::new(leaf, vec![]),
        anchors: anchors.clone(),
        server,
        at: now(),
        valid: true,
    };
    let dns = issue(
        &key,
        &root,
        &dns_spec(KeyType::EcdsaP256, ExtKeyUsages::SERVER),
    );
    let svid = issue(&key, &root, &spiffe_spec(KeyType::Ed25519));
    assert_eq!(svid.authority_key_id(), root.subject_key_id());
    assert!(
        svid.authority_key_id().is_some(),
        "Go gives its CAs a key identifier"
    );
    let cases = [
        case("service-dns", dns, Some(Some(server_name()))),
        case("spiffe server", svid.clone(), Some(None)),
        case("spiffe client", svid, None),
    ];
    assert_answers(&cases.iter().collect::<Vec<_>>());
    for case in &cases {
        let answer =
            podcert_pki::verify::verify(&case.chain, &case.anchors, case.purpose(), case.at);
        case.assert(answer.map_err(|error| error.to_string()));
    }
}

/// A root and its key as meshtool makes them: Ed25519, empty subject.
pub(crate) fn empty_subject_root() -> (PrivateKey, Certificate) {
    let text = run(Command::new(program()).arg("root"), b"").unwrap();
    let key = PrivateKey::from_pkcs8_pem(blocks(&text, "PRIVATE KEY")[0]).unwrap();
    let mut roots = Certificate::from_pem_many(blocks(&text, "CERTIFICATE")[0]).unwrap();
    (key, roots.remove(0))
}

fn assert_answers(cases: &[&Case]) {
    let folder = tempfile::tempdir().unwrap();
    let mut input = String::new();
    for (number, case) in cases.iter().enumerate() {
        let file = |kind: &str, content: String| {
            let path = folder.path().join(format!("{kind}-{number}.pem"));
            std::fs::write(&path, content).unwrap();
            path
        };
        let chain = file("chain", case.chain.to_pem());
        let roots = file("roots", case.anchors.to_pem());
        let (purpose, name) = match &case.server {
            None => ("client", "-"),
            Some(None) => ("server", "-"),
            Some(Some(name)) => ("server", name.as_str()),
        };
        let (chain, roots, at) = (chain.display(), roots.display(), case.at.as_second());
        writeln!(input, "{chain} {roots} {purpose} {name} {at}").unwrap();
    }
    let answers = run(Command::new(program()).arg("verify"), input.as_bytes()).unwrap();
    assert_eq!(answers.lines().count(), cases.len());
    for (case, answer) in cases.iter().zip(answers.lines()) {
        case.assert(if answer == "ok" {
            Ok(())
        } else {
            Err(answer.to_owned())
        });
    }
}

/// The program, built once per process; Go's build cache makes that quick after the first time.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("podcert-pki-conformance-go");
        let mut command = Command::new("go");
        command
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go"))
            .env("GOFLAGS", "-mod=mod")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off");
        run(&mut command, b"").unwrap();
        program
    })
}

fn pem(label: &str, der: &[u8]) -> String {
    pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, der).unwrap()
}

fn der(pem: &str) -> Vec<u8> {
    pem_rfc7468::decode_vec(pem.as_bytes()).unwrap().1
}
