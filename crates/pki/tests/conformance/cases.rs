//! The table of cases every verifier must answer alike.

use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};
use podcert_pki::{
    Certificate, Chain, DnsName, ExtKeyUsages, IssuerContext, KeyType, LeafNames, LeafSpec,
    PrivateKey, Serial, TrustBundle, Validity,
    ca::{self, CaSpec, SubjectName},
    check,
    verify::Purpose,
};

/// One question to a verifier, and the answer it must give.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) chain: Chain,
    pub(crate) anchors: TrustBundle,
    /// `None` for a client, else a server and the name it is asked for.
    pub(crate) server: Option<Option<DnsName>>,
    pub(crate) at: Timestamp,
    pub(crate) valid: bool,
}

impl Case {
    pub(crate) fn purpose(&self) -> Purpose<'_> {
        match &self.server {
            None => Purpose::Client,
            Some(name) => Purpose::Server(name.as_ref()),
        }
    }

    /// Holds a verifier's answer against the right one.
    pub(crate) fn assert(&self, answer: Result<(), String>) {
        match answer {
            Ok(()) => assert!(self.valid, "{}: accepted, must be refused", self.name),
            Err(error) => assert!(!self.valid, "{}: {error}", self.name),
        }
    }
}

/// Every case; the keys are made once per process.
pub(crate) fn table() -> &'static [Case] {
    static TABLE: OnceLock<Vec<Case>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut cases = Vec::new();
        for (number, ca) in cas().iter().enumerate() {
            for leaf_type in KeyType::ALL {
                // The root of an intermediate has the next type of key in the list.
                let above = &cas()[(number + 1) % cas().len()];
                for (by, issuer, intermediates, root) in [
                    ("root", &ca.root, vec![], &ca.root),
                    (
                        "intermediate",
                        &ca.intermediate,
                        vec![ca.intermediate.clone()],
                        &above.root,
                    ),
                ] {
                    let anchors = TrustBundle::new(vec![root.clone()]).unwrap();
                    let name = |profile: &str| {
                        format!("{profile} {leaf_type} signed by {by} {}", ca_type(ca))
                    };
                    let dns = issue(&ca.key, issuer, &dns_spec(leaf_type, ExtKeyUsages::SERVER));
                    cases.push(Case {
                        name: name("service-dns"),
                        chain: Chain::new(dns, intermediates.clone()),
                        anchors: anchors.clone(),
                        server: Some(Some(server_name())),
                        at: now(),
                        valid: true,
                    });
                    let svid = issue(&ca.key, issuer, &spiffe_spec(leaf_type));
                    for (who, server) in [("client", None), ("server", Some(None))] {
                        cases.push(Case {
                            name: format!("{} as {who}", name("spiffe")),
                            chain: Chain::new(svid.clone(), intermediates.clone()),
                            anchors: anchors.clone(),
                            server,
                            at: now(),
                            valid: true,
                        });
                    }
                }
            }
        }
        cases.extend(longest_names());
        cases.extend(refused());
        cases
    })
}

/// Names at the limits of their standards.
fn longest_names() -> Vec<Case> {
    let label = "l".repeat(63);
    let dns: DnsName = format!("{label}.{label}.{label}.{}", "x".repeat(61))
        .parse()
        .unwrap();
    let domain = format!("{label}_{label}.{label}-{}", "x".repeat(63));
    let id = format!("spiffe://{domain}/{}", "p".repeat(2048 - 9 - 255 - 1));
    assert_eq!((domain.len(), id.len()), (255, 2048));
    let case = |name: &str, spec: &LeafSpec, server| Case {
        name: name.to_owned(),
        chain: Chain::new(issue(&cas()[0].key, &cas()[0].root, spec), vec![]),
        anchors: TrustBundle::new(vec![cas()[0].root.clone()]).unwrap(),
        server,
        at: now(),
        valid: true,
    };
    let names = LeafNames::Dns(vec![dns.clone()]);
    let server = spec(KeyType::EcdsaP256, names, ExtKeyUsages::SERVER);
    let id = LeafNames::Spiffe(id.parse().unwrap());
    let workload = spec(KeyType::EcdsaP256, id, ExtKeyUsages::SERVER_AND_CLIENT);
    vec![
        case("a DNS name of 253 bytes", &server, Some(Some(dns))),
        case("a SPIFFE ID of 2048 bytes", &workload, None),
    ]
}

/// What must be refused by everyone; each differs from a good case in one thing.
fn refused() -> Vec<Case> {
    let (ca, other) = (&cas()[0], &cas()[3]);
    let chain = |spec: &LeafSpec| {
        let leaf = issue(&ca.key, &ca.intermediate, spec);
        Chain::new(leaf, vec![ca.intermediate.clone()])
    };
    let anchors = TrustBundle::new(vec![cas()[1].root.clone()]).unwrap();
    let spec = dns_spec(KeyType::EcdsaP256, ExtKeyUsages::SERVER);
    let case = |name: &str| Case {
        name: name.to_owned(),
        chain: chain(&spec),
        anchors: anchors.clone(),
        server: Some(Some(server_name())),
        at: now(),
        valid: false,
    };
    let day = SignedDuration::from_hours(24);
    let bare = Chain::new(chain(&spec).leaf().clone(), vec![]);
    // A leaf that claims to be signed by the intermediate, but was signed by another key.
    let forged = {
        let context = IssuerContext::new(&ca.intermediate, ca.key.signature_algorithm()).unwrap();
        let tbs = context.leaf_tbs(&spec, &Serial::random().unwrap()).unwrap();
        let another = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let signature = another.sign(tbs.to_be_signed()).unwrap();
        let leaf = check::leaf(tbs.assemble(&signature).unwrap(), &spec).unwrap();
        Chain::new(leaf, vec![ca.intermediate.clone()])
    };
    vec![
        Case {
            valid: true,
            ..case("the good case the bad ones are made from")
        },
        Case {
            server: Some(Some("other.shop.svc".parse().unwrap())),
            ..case("for another name")
        },
        Case {
            at: now() + day,
            ..case("expired")
        },
        Case {
            at: now() - day,
            ..case("not yet valid")
        },
        Case {
            server: None,
            ..case("server leaf as client")
        },
        Case {
            chain: chain(&dns_spec(KeyType::EcdsaP256, ExtKeyUsages::CLIENT)),
            ..case("client leaf as server")
        },
        Case {
            anchors: TrustBundle::new(vec![other.root.clone()]).unwrap(),
            ..case("of another CA")
        },
        Case {
            anchors: TrustBundle::new(vec![expired_root(&cas()[1].key)]).unwrap(),
            ..case("below an expired root")
        },
        Case {
            chain: bare,
            ..case("without its intermediate")
        },
        Case {
            chain: forged,
            ..case("with a forged signature")
        },
    ]
}

/// A CA key with the two certificates it may have.
pub(crate) struct Ca {
    pub(crate) key: PrivateKey,
    pub(crate) root: Certificate,
    /// Signed by the root of the next CA in the list.
    pub(crate) intermediate: Certificate,
}

pub(crate) fn cas() -> &'static [Ca] {
    static CAS: OnceLock<Vec<Ca>> = OnceLock::new();
    CAS.get_or_init(|| {
        let keys: Vec<_> = KeyType::ALL
            .into_iter()
            .map(|key_type| PrivateKey::generate(key_type).unwrap())
            .collect();
        let root = |key: &PrivateKey| {
            let name = format!("Root {}", key.public_key().key_type());
            ca::new_root(key, &ca_spec(&name)).unwrap()
        };
        let roots: Vec<_> = keys.iter().map(root).collect();
        let next = |number: usize| (number + 1) % roots.len();
        let intermediates: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(number, key)| {
                let (above, root) = (&keys[next(number)], &roots[next(number)]);
                let name = format!("Intermediate {}", key.public_key().key_type());
                ca::new_intermediate(above, root, key.public_key(), &ca_spec(&name)).unwrap()
            })
            .collect();
        keys.into_iter()
            .zip(roots)
            .zip(intermediates)
            .map(|((key, root), intermediate)| Ca {
                key,
                root,
                intermediate,
            })
            .collect()
    })
}

/// The root of this key as it was until yesterday.
fn expired_root(key: &PrivateKey) -> Certificate {
    let validity = Validity::new(in_hours(-240), in_hours(-24)).unwrap();
    let name = format!("Root {}", key.public_key().key_type());
    ca::new_root(
        key,
        &CaSpec {
            validity,
            ..ca_spec(&name)
        },
    )
    .unwrap()
}

fn ca_type(ca: &Ca) -> KeyType {
    ca.key.public_key().key_type()
}

fn ca_spec(name: &str) -> CaSpec {
    let validity = Validity::new(now() - SignedDuration::from_hours(240), in_hours(8760)).unwrap();
    let subject = SubjectName::new(name, Some("podcert conformance")).unwrap();
    CaSpec {
        subject,
        validity,
        serial: Serial::random().unwrap(),
    }
}

/// The time at which all of this plays.
pub(crate) fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn in_hours(hours: i64) -> Timestamp {
    now() + SignedDuration::from_hours(hours)
}

pub(crate) fn server_name() -> DnsName {
    "server.shop.svc".parse().unwrap()
}

pub(crate) fn dns_spec(key_type: KeyType, usages: ExtKeyUsages) -> LeafSpec {
    let names = vec![
        "server.shop.svc.cluster.local".parse().unwrap(),
        server_name(),
    ];
    spec(key_type, LeafNames::Dns(names), usages)
}

pub(crate) fn spiffe_spec(key_type: KeyType) -> LeafSpec {
    let id = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
    spec(
        key_type,
        LeafNames::Spiffe(id),
        ExtKeyUsages::SERVER_AND_CLIENT,
    )
}

fn spec(key_type: KeyType, names: LeafNames, usages: ExtKeyUsages) -> LeafSpec {
    static KEYS: [OnceLock<PrivateKey>; 7] = [const { OnceLock::new() }; 7];
    let number = KeyType::ALL
        .iter()
        .position(|known| *known == key_type)
        .unwrap();
    let key = KEYS[number].get_or_init(|| PrivateKey::generate(key_type).unwrap());
    let validity = Validity::new(now() - SignedDuration::from_mins(2), in_hours(23)).unwrap();
    LeafSpec::new(key.public_key().clone(), names, usages, validity).unwrap()
}

pub(crate) fn issue(key: &PrivateKey, issuer: &Certificate, spec: &LeafSpec) -> Certificate {
    let context = IssuerContext::new(issuer, key.signature_algorithm()).unwrap();
    let tbs = context.leaf_tbs(spec, &Serial::random().unwrap()).unwrap();
    let signature = key.sign(tbs.to_be_signed()).unwrap();
    check::leaf(tbs.assemble(&signature).unwrap(), spec).unwrap()
}
