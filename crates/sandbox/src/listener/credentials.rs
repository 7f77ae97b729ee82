//! The sandbox's own CA: it certifies the listener, and the users who may call it.
//!
//! A user is what the certificate's subject says, as in Kubernetes: CN the name, each O a group. Serving certificates
//! have podcert's usual profile; the client profile, the only one with a subject, is built here since nothing else of
//! podcert needs it.

use std::time::Duration;

use der::Decode;
use jiff::Timestamp;
use podcert_apiserver::User;
use podcert_pki::ca::{CaSpec, SubjectName, new_root};
use podcert_pki::{
    Certificate, DnsName, ExtKeyUsages, IssuerContext, KeyType, LeafNames, LeafSpec, PrivateKey,
    Serial, Validity,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_cert::name::Name;

/// A CA that lives as long as the sandbox; its key never leaves memory.
#[derive(Debug)]
pub(super) struct Ca {
    key: PrivateKey,
    certificate: Certificate,
    validity: Validity,
}

/// A certificate of the CA and its key.
#[derive(Debug)]
pub(super) struct Credential {
    pub(super) certificate: Certificate,
    pub(super) key: PrivateKey,
}

impl Ca {
    /// Makes the CA and its key.
    pub(super) fn create(now: Timestamp) -> anyhow::Result<Self> {
        let key = PrivateKey::generate(KeyType::EcdsaP256)?;
        let validity = Validity::new(now.checked_sub(BACKDATE)?, now.checked_add(LIFETIME)?)?;
        let certificate = new_root(
            &key,
            &CaSpec {
                subject: SubjectName::for_key("podcert sandbox", None, key.public_key())?,
                validity,
                serial: Serial::random()?,
            },
        )?;
        Ok(Self {
            key,
            certificate,
            validity,
        })
    }

    /// The CA's certificate.
    pub(super) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A serving certificate for these names.
    pub(super) fn server(&self, names: &[&str]) -> anyhow::Result<Credential> {
        let key = PrivateKey::generate(KeyType::EcdsaP256)?;
        let names = names.iter().map(|name| name.parse::<DnsName>());
        let spec = LeafSpec::new(
            key.public_key().clone(),
            LeafNames::Dns(names.collect::<Result<_, _>>()?),
            ExtKeyUsages {
                server_auth: true,
                client_auth: false,
            },
            self.validity,
        )?;
        let issuer = IssuerContext::new(&self.certificate, self.key.signature_algorithm())?;
        let tbs = issuer.leaf_tbs(&spec, &Serial::random()?)?;
        let der = tbs.assemble(&self.key.sign(tbs.to_be_signed())?)?;
        Ok(Credential {
            certificate: Certificate::from_der(der)?,
            key,
        })
    }

    /// A client certificate that says who the user is (RFC 5280 §4.1; subject CN and O, clientAuth).
    pub(super) fn client(&self, user: &User) -> anyhow::Result<Credential> {
        let key = PrivateKey::generate(KeyType::EcdsaP256)?;
        let groups = user.groups.iter().map(|group| rdn(ORGANIZATION, group));
        let subject = groups
            .chain([rdn(COMMON_NAME, &user.name)])
            .flatten()
            .collect::<Vec<_>>();
        let algorithm = self.key.signature_algorithm().identifier_der();
        let tbs = tlv(
            SEQUENCE,
            &[
                VERSION_3,
                &tlv(INTEGER, &[Serial::random()?.as_bytes()]),
                algorithm,
                self.certificate.subject().der(),
                &tlv(
                    SEQUENCE,
                    &[
                        &time(self.validity.not_before()),
                        &time(self.validity.not_after()),
                    ],
                ),
                &tlv(SEQUENCE, &[&subject]),
                key.public_key().spki_der(),
                &tlv(
                    EXTENSIONS,
                    &[&tlv(SEQUENCE, &[BASIC_CONSTRAINTS, KEY_USAGE, CLIENT_AUTH])],
                ),
            ],
        );
        let signature = self.key.sign(&tbs)?;
        let der = tlv(
            SEQUENCE,
            &[&tbs, algorithm, &tlv(BIT_STRING, &[&[0], &signature])],
        );
        Ok(Credential {
            certificate: Certificate::from_der(der)?,
            key,
        })
    }
}

impl Credential {
    /// For rustls.
    pub(super) fn into_rustls(
        self,
    ) -> anyhow::Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let key = PrivatePkcs8KeyDer::from(self.key.to_pkcs8_der()?.to_vec());
        Ok((
            CertificateDer::from(self.certificate.der().to_vec()),
            key.into(),
        ))
    }
}

/// Who a verified client certificate names. Everybody who has one is in `system:authenticated`.
///
/// # Errors
/// The certificate has no common name.
pub(super) fn user(certificate: &CertificateDer<'_>) -> anyhow::Result<User> {
    let certificate = Certificate::from_der(certificate.to_vec())?;
    let subject = Name::from_der(certificate.subject().der())?;
    let (mut name, mut groups) = (None, Vec::new());
    for attribute in subject.iter() {
        let text = || -> anyhow::Result<String> {
            Ok(der::asn1::Utf8StringRef::try_from(&attribute.value)?
                .as_str()
                .to_owned())
        };
        match attribute.oid.as_bytes() {
            COMMON_NAME => name = Some(text()?),
            ORGANIZATION => groups.push(text()?),
            _ => {}
        }
    }
    let name = name.ok_or_else(|| anyhow::anyhow!("the certificate's subject has no CN"))?;
    let mut user = User::new(name);
    groups.retain(|group| !user.groups.contains(group));
    groups.append(&mut user.groups);
    user.groups = groups;
    Ok(user)
}

/// One attribute as a relative distinguished name of its own, a UTF8String.
fn rdn(oid: &[u8], value: &str) -> Vec<u8> {
    let value = tlv(UTF8_STRING, &[value.as_bytes()]);
    tlv(SET, &[&tlv(SEQUENCE, &[&tlv(OID, &[oid]), &value])])
}

/// UTCTime until 2049, GeneralizedTime from then on (RFC 5280 §4.1.2.5).
fn time(at: Timestamp) -> Vec<u8> {
    let utc = at.to_zoned(jiff::tz::TimeZone::UTC);
    if (1950..2050).contains(&utc.year()) {
        tlv(
            UTC_TIME,
            &[utc.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()],
        )
    } else {
        tlv(
            GENERALIZED_TIME,
            &[utc.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes()],
        )
    }
}

/// Tag, length and the parts one after the other.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let significant = bytes.iter().skip_while(|byte| **byte == 0).copied();
            let significant: Vec<u8> = significant.collect();
            // At most eight length octets, so this fits seven bits.
            out.push(0x80 | u8::try_from(significant.len()).unwrap_or(0x7f));
            out.extend(significant);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

const BACKDATE: Duration = Duration::from_secs(5 * 60);
const LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

const BIT_STRING: u8 = 0x03;
const EXTENSIONS: u8 = 0xa3;
const GENERALIZED_TIME: u8 = 0x18;
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const UTC_TIME: u8 = 0x17;
const UTF8_STRING: u8 = 0x0c;

/// 2.5.4.3 and 2.5.4.10.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// `[0] { INTEGER 2 }`.
const VERSION_3: &[u8] = &[0xa0, 0x03, 0x02, 0x01, 0x02];
/// 2.5.29.19, critical, no CA.
const BASIC_CONSTRAINTS: &[u8] = &[
    0x30, 0x0c, 0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x02, 0x30, 0x00,
];
/// 2.5.29.15, critical, digitalSignature.
const KEY_USAGE: &[u8] = &[
    0x30, 0x0e, 0x06, 0x03, 0x55, 0x1d, 0x0f, 0x01, 0x01, 0xff, 0x04, 0x04, 0x03, 0x02, 0x07, 0x80,
];
/// 2.5.29.37 with 1.3.6.1.5.5.7.3.2.
const CLIENT_AUTH: &[u8] = &[
    0x30, 0x13, 0x06, 0x03, 0x55, 0x1d, 0x25, 0x04, 0x0c, 0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01,
    0x05, 0x05, 0x07, 0x03, 0x02,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_survives_its_certificate() {
        let ca = Ca::create(Timestamp::from_second(1_800_000_000).unwrap()).unwrap();
        for user_in in [
            User::admin(),
            User::node("sandbox"),
            User::service_account("ns", "sa"),
        ] {
            let credential = ca.client(&user_in).unwrap();
            assert!(!credential.certificate.is_ca());
            assert!(!credential.certificate.ext_key_usages().unwrap().server_auth);
            assert_eq!(
                credential.certificate.public_key().unwrap(),
                *credential.key.public_key()
            );
            let (der, _) = credential.into_rustls().unwrap();
            assert_eq!(user(&der).unwrap(), user_in);
        }
        let long = User::new("x".repeat(3000));
        let (der, _) = ca.client(&long).unwrap().into_rustls().unwrap();
        assert_eq!(user(&der).unwrap(), long);
    }

    #[test]
    fn a_certificate_without_a_name_is_nobody() {
        let ca = Ca::create(Timestamp::from_second(1_800_000_000).unwrap()).unwrap();
        let (der, _) = ca.server(&["localhost"]).unwrap().into_rustls().unwrap();
        assert!(user(&der).is_err());
    }
}
