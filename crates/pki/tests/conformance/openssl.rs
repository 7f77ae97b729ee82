//! What OpenSSL's command line says.

use std::process::Command;

use jiff::SignedDuration;
use podcert_pki::{
    Certificate, CertificationRequest, Chain, ExtKeyUsages, KeyType, LeafSpec, PrivateKey,
    TrustBundle, Validity, empty_csr,
};

use crate::{
    cases::{Case, cas, dns_spec, issue, now, server_name, spiffe_spec, table},
    tools::{available, blocks, files, quick_keys, run},
};

#[test]
fn openssl_agrees() {
    if !available("openssl", "version") {
        return;
    }
    for case in table() {
        case.assert(verify(case));
    }
}

#[test]
fn openssl_reads_our_keys_and_requests() {
    if !available("openssl", "version") {
        return;
    }
    for key in quick_keys() {
        let key_type = key.public_key().key_type();
        let pem = key.to_pkcs8_pem().unwrap();
        run(
            Command::new("openssl").args(["pkey", "-check", "-noout"]),
            pem.as_bytes(),
        )
        .unwrap_or_else(|error| panic!("{key_type}: {error}"));
        let spki = run(
            Command::new("openssl").args(["pkey", "-pubout"]),
            pem.as_bytes(),
        )
        .unwrap();
        let request = empty_csr(&key).unwrap();
        let mut command = Command::new("openssl");
        command.args(["req", "-inform", "DER", "-verify", "-pubkey", "-noout"]);
        let answer = run(&mut command, &request).unwrap();
        assert_eq!(
            blocks(&answer, "PUBLIC KEY"),
            blocks(&spki, "PUBLIC KEY"),
            "{key_type}"
        );
    }
}

#[test]
fn we_read_openssls_keys_and_requests() {
    if !available("openssl", "version") {
        return;
    }
    for (key_type, options) in [
        (KeyType::EcdsaP256, "EC -pkeyopt ec_paramgen_curve:P-256"),
        (KeyType::EcdsaP384, "EC -pkeyopt ec_paramgen_curve:P-384"),
        (KeyType::EcdsaP521, "EC -pkeyopt ec_paramgen_curve:P-521"),
        (KeyType::Ed25519, "ED25519"),
        (KeyType::Rsa2048, "RSA -pkeyopt rsa_keygen_bits:2048"),
        (KeyType::Rsa3072, "RSA -pkeyopt rsa_keygen_bits:3072"),
    ] {
        let mut command = Command::new("openssl");
        command
            .args(["genpkey", "-quiet", "-algorithm"])
            .args(options.split(' '));
        let pem = run(&mut command, b"").unwrap();
        let key = PrivateKey::from_pkcs8_pem(&pem).unwrap();
        assert_eq!(key.public_key().key_type(), key_type);

        let (_folder, paths) = files(&[("key.pem", &pem)]);
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-new",
            "-outform",
            "DER",
            "-subj",
            "/CN=ignored",
            "-out",
        ]);
        let out = paths[0].with_extension("der");
        run(command.arg(&out).arg("-key").arg(&paths[0]), b"").unwrap();
        let request = CertificationRequest::from_der(&std::fs::read(out).unwrap()).unwrap();
        assert_eq!(request.public_key(), key.public_key());
        request
            .verify()
            .unwrap_or_else(|error| panic!("{key_type}: {error}"));
    }
}

/// Names with repeated and multi-valued attributes are where other libraries break the chain.
#[test]
fn leaves_below_a_ca_made_by_openssl() {
    if !available("openssl", "version") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("ca.pem"));
    let mut command = Command::new("openssl");
    command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-384",
        ])
        .args(["-nodes", "-sha384", "-days", "36500", "-multivalue-rdn"])
        .args([
            "-subj",
            "/C=DE/O=Acme/OU=one/OU=two/CN=Workload CA+UID=7",
            "-out",
        ])
        .arg(&certificate)
        .args(["-addext", "keyUsage=critical,keyCertSign", "-keyout"])
        .arg(&key);
    run(&mut command, b"").unwrap();
    let key = PrivateKey::from_pkcs8_pem(std::fs::read(key).unwrap()).unwrap();
    let roots = Certificate::from_pem_many(std::fs::read(certificate).unwrap()).unwrap();
    let root = &roots[0];
    assert!(
        root.subject().to_string().contains("OU=two,OU=one"),
        "{}",
        root.subject()
    );
    // openssl gives its certificates the machine's time.
    let at = root.not_before() + SignedDuration::from_hours(1);
    let validity = Validity::new(root.not_before(), at + SignedDuration::from_hours(1)).unwrap();
    let spec = dns_spec(KeyType::EcdsaP256, ExtKeyUsages::SERVER);
    let (names, usages) = (spec.names().clone(), spec.ext_key_usages());
    let spec = LeafSpec::new(spec.public_key().clone(), names, usages, validity).unwrap();
    let leaf = issue(&key, root, &spec);
    let case = Case {
        name: "below a CA of openssl".to_owned(),
        chain: Chain::new(leaf, vec![]),
        anchors: TrustBundle::new(roots.clone()).unwrap(),
        server: Some(Some(server_name())),
        at,
        valid: true,
    };
    case.assert(verify(&case));
    case.assert(
        podcert_pki::verify::verify(&case.chain, &case.anchors, case.purpose(), case.at)
            .map_err(|error| error.to_string()),
    );
}

/// Why CAs have a subject: below one without, OpenSSL accepts nothing when it is strict. Otherwise it
/// takes a leaf (whose subject is empty too) for self-signed if the key is of the CA's type, unless
/// the leaf says a key identifier of its own. Go and rustls: see the test beside Go's.
#[test]
fn below_an_empty_subject_openssl_is_content_unless_it_is_strict() {
    if !available("openssl", "version") || !available("go", "version") {
        return;
    }
    let (key, root) = crate::go::empty_subject_root();
    for key_type in [KeyType::Ed25519, KeyType::EcdsaP256] {
        let leaf = issue(&key, &root, &spiffe_spec(key_type));
        let case = Case {
            name: format!("{key_type} below an empty subject"),
            chain: Chain::new(leaf, vec![]),
            anchors: TrustBundle::new(vec![root.clone()]).unwrap(),
            server: None,
            at: now(),
            valid: true,
        };
        case.assert(verify_by(&[], &case));
        let strict = verify(&case).unwrap_err();
        assert!(strict.contains("Issuer name empty"), "{strict}");
    }
}

#[test]
fn every_ca_certificate_is_strictly_right() {
    if !available("openssl", "version") {
        return;
    }
    for ca in cas() {
        for certificate in [&ca.root, &ca.intermediate] {
            let command = &mut Command::new("openssl");
            command.args(["x509", "-noout", "-ext", "basicConstraints,keyUsage"]);
            let text = run(command, certificate.to_pem().as_bytes()).unwrap();
            let lines: Vec<_> = text.lines().map(str::trim).collect();
            let path_len = if certificate.is_self_issued() {
                ""
            } else {
                ", pathlen:0"
            };
            assert_eq!(
                lines,
                [
                    "X509v3 Basic Constraints: critical",
                    &format!("CA:TRUE{path_len}"),
                    "X509v3 Key Usage: critical",
                    "Certificate Sign, CRL Sign",
                ]
            );
        }
    }
}

fn verify(case: &Case) -> Result<(), String> {
    verify_by(&["-x509_strict"], case)
}

fn verify_by(options: &[&str], case: &Case) -> Result<(), String> {
    let intermediates: String = case
        .chain
        .intermediates()
        .iter()
        .map(Certificate::to_pem)
        .collect();
    let (_folder, paths) = files(&[
        ("leaf.pem", &case.chain.leaf().to_pem()),
        ("roots.pem", &case.anchors.to_pem()),
        ("intermediates.pem", &intermediates),
    ]);
    let mut command = Command::new("openssl");
    command.args(["verify", "-no-CAfile", "-no-CApath", "-no-CAstore"]);
    command.args(options);
    command.args(["-attime", &case.at.as_second().to_string()]);
    command.arg("-purpose").arg(if case.server.is_some() {
        "sslserver"
    } else {
        "sslclient"
    });
    if let Some(Some(name)) = &case.server {
        command.args(["-verify_hostname", name.as_str()]);
    }
    command.arg("-trusted").arg(&paths[1]);
    if !intermediates.is_empty() {
        command.arg("-untrusted").arg(&paths[2]);
    }
    run(command.arg(&paths[0]), b"").map(drop)
}
