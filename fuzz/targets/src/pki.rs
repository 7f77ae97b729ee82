//! X.509: certificates, certification requests, and the PEM that holds them.

use podcert_issuance::RequestedKey;
use podcert_pki::{
    Certificate, CertificationRequest, Chain, CredentialBundle, ExtensionOid, PodIdentity,
    PodIdentityWithUids, PrivateKey, TrustBundle,
};
use podcert_workload::{Anchors, Credential};

/// A certificate in DER, from a chain, a bundle or a pool.
///
/// # Panics
/// When the certificate is not written as it was read.
pub fn certificate(data: &[u8]) {
    let Ok(certificate) = Certificate::from_der(data) else {
        return;
    };
    assert_eq!(certificate.der(), data);
    let pem = certificate.to_pem();
    let again = Certificate::from_pem_many(pem).expect("what was written is read");
    assert_eq!(again, std::slice::from_ref(&certificate));

    for name in certificate.dns_names() {
        let _ = name.parse::<podcert_pki::DnsName>();
    }
    for uri in certificate.uris() {
        let _ = uri.parse::<podcert_pki::SpiffeId>();
    }
    let _ = certificate.subject().to_string();
    let _ = certificate.issuer().to_string();
    let _ = certificate.validity();
    let _ = certificate.path_len();
    let _ = certificate.key_usage();
    let _ = certificate.ext_key_usages();
    let _ = certificate.subject_key_id();
    let _ = certificate.authority_key_id();
    let _ = certificate.has_uri_name_constraints();
    let _ = certificate.service_account_issuer();
    let _ = certificate.pod_identity_json(ExtensionOid::SUBSTRATE_POD_IDENTITY);
    let _ = certificate.pod_identity_draft_a(ExtensionOid::SUBSTRATE_POD_IDENTITY);
    assert_eq!(
        certificate.names_issuer_of(&certificate),
        certificate.is_self_issued()
    );
    if let Ok(key) = certificate.public_key() {
        assert_eq!(key.spki_der(), certificate.spki_der());
    }
}

/// The value of an extension that a leaf may have beside its profile, in any of its formats.
///
/// # Panics
/// When a format takes what another one wrote.
pub fn extension(data: &[u8]) {
    let json = PodIdentityWithUids::from_json(data);
    let draft_a = PodIdentity::from_draft_a(data);
    assert!(json.is_err() || draft_a.is_err(), "{data:02x?}");
}

/// The key of a request: a CSR, or a bare key as kubelets of 1.35 show it.
///
/// # Panics
/// When the two readers of a CSR differ.
pub fn csr(data: &[u8]) {
    let parsed = CertificationRequest::from_der(data);
    if let Ok(request) = &parsed {
        let _ = request.verify();
    }
    if let RequestedKey::Key(key) = RequestedKey::from_stub_pkcs10(data) {
        let parsed = parsed.expect("a key of a CSR that cannot be read");
        assert_eq!(&key, parsed.public_key());
    }
    if let RequestedKey::Key(key) = RequestedKey::from_pkix_public_key(data) {
        assert_eq!(key.spki_der(), data);
    }
}

/// PEM: chains, trust bundles, keys, credential bundles.
///
/// # Panics
/// When anything is not written as it was read.
pub fn pem(data: &[u8]) {
    if let Ok(chain) = Chain::from_pem(data) {
        let again = Chain::from_pem(chain.to_pem()).expect("what was written is read");
        assert_eq!(again, chain);
    }
    if let Ok(bundle) = TrustBundle::from_pem(data) {
        let again = TrustBundle::from_pem(bundle.to_pem()).expect("what was written is read");
        assert!(again.same_anchors(&bundle));
    }
    if let Ok(key) = PrivateKey::from_pkcs8_pem(data) {
        let _ = key.public_key();
    }
    if let Ok(bundle) = CredentialBundle::from_pem(data) {
        assert_eq!(
            bundle.key().public_key().spki_der(),
            bundle.chain().leaf().spki_der()
        );
        let written = bundle.to_pem().expect("what was read can be written");
        let again = CredentialBundle::from_pem(written.as_bytes()).expect("and be read");
        assert_eq!(again.chain(), bundle.chain());
    }
    let _ = Credential::from_bundle_pem(data);
    let _ = Anchors::from_pem(data);
}
