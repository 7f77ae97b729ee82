use std::collections::BTreeMap;
use std::time::Duration;

use podcert_pki::{ExtKeyUsages, KeyType, PrivateKey, empty_csr};
use proptest::prelude::*;

use super::*;
use crate::status_rules::{self, IssuedStatus};
use crate::testing::{LEAF_KEY, TestCa, World, at, validity};
use crate::{
    AnnotationsDigest, FactIndex, NoteReason, Projection, UnknownAnnotations, Unprojected,
};

#[test]
fn a_pod_gets_the_id_of_its_service_account() {
    let plan = World::spiffe().plan();
    assert_eq!(
        World::spiffe().spiffe_id(),
        "spiffe://cluster.local/ns/shop/sa/web"
    );
    assert_eq!(plan.spec.public_key(), &*LEAF_KEY);
    assert_eq!(plan.spec.ext_key_usages(), ExtKeyUsages::SERVER_AND_CLIENT);
    let expected = validity("2026-11-21T11:58:00Z", "2026-11-22T11:58:00Z");
    assert_eq!(plan.spec.validity(), expected);
    assert!(plan.notes.is_empty());
}

#[test]
fn a_pod_gets_the_names_of_its_services() {
    let mut world = World::service_dns();
    world.service("web", &[("app", "web")]);
    assert_eq!(world.dns_names(), ["web.shop.svc"]);
    assert_eq!(world.plan().spec.ext_key_usages(), ExtKeyUsages::SERVER);
}

/// What is not as the request says, the reason to wait, what wakes it, and what the message names.
type Mismatch = (&'static str, fn(&mut World), WaitReason, Wake, &'static str);

const MISMATCHES: &[Mismatch] = &[
    (
        "the pod is gone",
        |world| world.pod = None,
        WaitReason::PodNotFound,
        Wake::Pod,
        "pod shop/web-1 does not exist",
    ),
    (
        "the pod was replaced by one of the same name",
        |world| world.pod().uid = "another".to_owned(),
        WaitReason::PodReplaced,
        Wake::Pod,
        "with UID pod-uid, but the pod of that name has UID another",
    ),
    (
        "the pod runs elsewhere",
        |world| world.pod().node_name = Some("node-b".to_owned()),
        WaitReason::PodNodeMismatch,
        Wake::Pod,
        "runs on node node-a, but it is bound to node node-b",
    ),
    (
        "the pod is not bound yet",
        |world| world.pod().node_name = None,
        WaitReason::PodNodeMismatch,
        Wake::Pod,
        "bound to none",
    ),
    (
        "the pod is another account's",
        |world| world.pod().service_account_name = "admin".to_owned(),
        WaitReason::PodServiceAccountMismatch,
        Wake::Pod,
        "runs as service account web, but it runs as admin",
    ),
    (
        "the pod mounts nothing",
        |world| world.pod().projections.clear(),
        WaitReason::NoProjection,
        Wake::Pod,
        "mounts no podCertificate projection of signer row-major.net/spiffe",
    ),
    (
        "the pod mounts another signer's",
        |world| {
            for projection in &mut world.pod().projections {
                projection.signer = "example.com/other".parse().unwrap();
            }
        },
        WaitReason::NoProjection,
        Wake::Pod,
        "mounts no podCertificate projection",
    ),
    (
        "the request has annotations the pod has not",
        |world| {
            world
                .request
                .annotations
                .insert("a.b/c".to_owned(), "d".to_owned());
        },
        WaitReason::AnnotationsMismatch,
        Wake::Pod,
        "unverifiedUserAnnotations are not the userAnnotations",
    ),
    (
        "the pod has annotations the request has not",
        |world| {
            for projection in &mut world.pod().projections {
                let annotations = BTreeMap::from([("a.b/c".to_owned(), "e".to_owned())]);
                projection.annotations = AnnotationsDigest::of(&annotations);
            }
        },
        WaitReason::AnnotationsMismatch,
        Wake::Pod,
        "unverifiedUserAnnotations are not the userAnnotations",
    ),
    (
        "the node is gone",
        |world| world.facts.watch_nodes(),
        WaitReason::NodeNotFound,
        Wake::Node,
        "node node-a does not exist",
    ),
    (
        "the node was replaced",
        |world| {
            world.facts.apply_node("node-a", "another");
        },
        WaitReason::NodeReplaced,
        Wake::Node,
        "with UID node-uid, but the node of that name has UID another",
    ),
    (
        "the service account is gone",
        |world| world.facts.watch_service_accounts(),
        WaitReason::ServiceAccountNotFound,
        Wake::ServiceAccount,
        "service account shop/web does not exist",
    ),
    (
        "the service account was replaced",
        |world| {
            world.facts.apply_service_account("shop", "web", "another");
        },
        WaitReason::ServiceAccountReplaced,
        Wake::ServiceAccount,
        "UID account-uid, but the one of that name has UID another",
    ),
    (
        "the CA has expired",
        |world| world.now = at("2027-01-01T00:00:01Z"),
        WaitReason::CaExpired,
        Wake::Authority,
        "expired at 2027-01-01T00:00:00Z",
    ),
    (
        "the CA expires within the hour",
        |world| world.now = at("2026-12-31T23:02:01Z"),
        WaitReason::CaExpiresTooSoon,
        Wake::Authority,
        "expires at 2027-01-01T00:00:00Z, too soon",
    ),
    (
        "the CA is of tomorrow",
        |world| world.chain = validity("2026-11-22T00:00:00Z", "2027-01-01T00:00:00Z"),
        WaitReason::CaNotYetValid,
        Wake::At(Timestamp::constant(1_795_305_600, 0)),
        "not valid before 2026-11-22T00:00:00Z",
    ),
    (
        "the key is in a field of v1beta1",
        |world| world.request.key = RequestedKey::from_stub_pkcs10(b""),
        WaitReason::KeyNotShown,
        Wake::ApiVersion,
        "kubelet older than 1.36",
    ),
    (
        "the CSR is malformed",
        |world| world.request.key = RequestedKey::from_stub_pkcs10(b"no CSR"),
        WaitReason::UnreadableRequest,
        Wake::Restart,
        "cannot be read, although the API server could: malformed certification request: ",
    ),
    (
        "the request is another signer's",
        |world| world.request.signer = "example.com/other".parse().unwrap(),
        WaitReason::OtherSigner,
        Wake::Restart,
        "for signer example.com/other, not for row-major.net/spiffe",
    ),
    (
        "the request is for half an hour",
        |world| world.request.max_expiration = Duration::from_secs(1_800),
        WaitReason::LifetimeTooShort,
        Wake::Restart,
        "maxExpirationSeconds of 1800",
    ),
];

/// The signers of identities.
const IDENTITIES: [fn() -> World; 2] = [World::spiffe, World::pod_identity];

#[test]
fn whatever_can_pass_waits_and_says_why() {
    for ((story, change, reason, wake, words), world) in MISMATCHES
        .iter()
        .flat_map(|mismatch| IDENTITIES.map(|world| (mismatch, world)))
    {
        let mut world = world();
        change(&mut world);
        let wait = world.wait();
        assert_eq!((wait.reason, wait.wake), (*reason, *wake), "{story}");
        let words = words.replace("row-major.net/spiffe", world.policy.signer.as_str());
        assert!(wait.message.contains(&words), "{story}: {}", wait.message);
    }
}

#[test]
fn nodes_and_accounts_that_are_as_the_request_says_are_served() {
    let mut world = World::spiffe();
    for is_new in [true, false] {
        let facts = &mut world.facts;
        assert_eq!(facts.apply_node("node-a", "node-uid"), is_new);
        let applied = facts.apply_service_account("shop", "web", "account-uid");
        assert_eq!(applied, is_new);
    }
    world.plan();
}

#[test]
fn one_of_several_projections_is_enough() {
    let mut world = World::spiffe();
    world
        .request
        .annotations
        .insert("a.b/c".to_owned(), "d".to_owned());
    let other = Projection {
        signer: world.policy.signer.clone(),
        annotations: AnnotationsDigest::of(&world.request.annotations),
    };
    world.pod().projections.push(other);
    world.plan();
}

#[test]
fn annotations_are_the_same_only_if_key_and_value_are() {
    let of = |all: &[(&str, &str)]| {
        let all = all.iter();
        AnnotationsDigest::of(
            &all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        )
    };
    let known = of(&[("a.b/c", "de"), ("f", "g")]);
    assert_eq!(known, of(&[("f", "g"), ("a.b/c", "de")]));
    for other in [
        of(&[]),
        of(&[("a.b/c", "de")]),
        of(&[("a.b/c", "d"), ("ef", "g")]),
        of(&[("a.b/cd", "e"), ("f", "g")]),
        of(&[("a.b/c", "def"), ("", "g")]),
        of(&[("a.b/c", "de"), ("f", "g"), ("", "")]),
    ] {
        assert_ne!(known, other);
    }
    assert_ne!(of(&[]), of(&[("", "")]));
}

#[test]
fn pods_without_projection_are_served_only_where_configured() {
    let mut world = World::spiffe();
    world.pod().projections.clear();
    for (namespace, account) in [("shop", "other"), ("other", "web")] {
        world.policy.unprojected.push(Unprojected {
            namespace: namespace.to_owned(),
            service_account: account.to_owned(),
        });
        assert_eq!(world.wait().reason, WaitReason::NoProjection);
    }
    world.policy.unprojected.push(Unprojected {
        namespace: "shop".to_owned(),
        service_account: "web".to_owned(),
    });
    world.plan();
    world.pod().uid = "another".to_owned();
    assert_eq!(
        world.wait().reason,
        WaitReason::PodReplaced,
        "everything else is still compared"
    );
}

#[test]
fn every_key_kubernetes_offers_is_certified() {
    for key_type in KeyType::ALL {
        let key = PrivateKey::generate(key_type).unwrap();
        let mut world = World::spiffe();
        world.request.key = RequestedKey::from_stub_pkcs10(&empty_csr(&key).unwrap());
        assert_eq!(
            world.plan().spec.public_key(),
            key.public_key(),
            "{key_type}"
        );
        world.request.key = RequestedKey::from_pkix_public_key(key.public_key().spki_der());
        assert_eq!(
            world.plan().spec.public_key(),
            key.public_key(),
            "{key_type}"
        );
    }
}

#[test]
fn a_key_nobody_certifies_is_denied_for_good() {
    for mut world in [World::spiffe(), World::service_dns()] {
        world.request.key = RequestedKey::from_pkix_public_key(SECP256K1_SPKI);
        let denial = world.denial();
        assert_eq!(denial.reason, DenialReason::UnsupportedKeyType);
        assert!(
            denial.message.contains("1.3.132.0.10"),
            "{}",
            denial.message
        );
    }
}

#[test]
fn csrs_cut_short_or_lengthened_wait() {
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let csr = empty_csr(&key).unwrap();
    let mut damaged: Vec<Vec<u8>> = (1..csr.len()).map(|len| csr[..len].to_vec()).collect();
    damaged.push([csr.as_slice(), b"x"].concat());
    for der in damaged {
        let mut world = World::spiffe();
        world.request.key = RequestedKey::from_stub_pkcs10(&der);
        assert_eq!(world.wait().reason, WaitReason::UnreadableRequest);
    }
}

#[test]
fn annotations_that_mean_nothing_are_ignored_with_a_note_or_denied() {
    let mut world = World::spiffe();
    world.annotate("example.com/one", "1");
    world.annotate("example.com/two", "2");
    let [note] = world.plan().notes.try_into().unwrap();
    assert_eq!(note.reason, NoteReason::IgnoredAnnotations);
    assert!(
        note.message.ends_with("example.com/one, example.com/two"),
        "{}",
        note.message
    );

    world.policy.unknown_annotations = UnknownAnnotations::Deny;
    let denial = world.denial();
    assert_eq!(
        denial.reason,
        DenialReason::InvalidUnverifiedUserAnnotations
    );
    assert!(
        denial.message.contains("example.com/one"),
        "{}",
        denial.message
    );
}

#[test]
fn a_thousand_annotations_fit_an_event() {
    let mut world = World::spiffe();
    for number in 0..1_000 {
        world.annotate(&format!("{}.example.com/{number}", "a".repeat(200)), "");
    }
    let [note] = world.plan().notes.try_into().unwrap();
    assert!(note.message.len() < 1_024, "{}", note.message.len());
    assert!(note.message.ends_with(" and 999 more"), "{}", note.message);
}

#[test]
fn a_thousand_requests_of_another_signer_stop_nothing() {
    let mut world = World::spiffe();
    let ours = world.request.clone();
    for number in 0..1_000 {
        world.request.signer = format!("example.com/other-{number}").parse().unwrap();
        world.request.key = RequestedKey::from_pkix_public_key(SECP256K1_SPKI);
        assert_eq!(world.wait().reason, WaitReason::OtherSigner);
    }
    world.request = ours;
    world.plan();
}

#[test]
fn words_are_as_kubernetes_wants_reasons() {
    let word = |text: &str| {
        text.len() <= 128
            && text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.chars().all(|c| c.is_ascii_alphanumeric())
    };
    for (_, _, reason, _, _) in MISMATCHES {
        assert!(word(reason.as_str()), "{reason}");
        assert_eq!(reason.as_str(), format!("{reason:?}"));
    }
    for reason in [
        DenialReason::InvalidUnverifiedUserAnnotations,
        DenialReason::UnsupportedKeyType,
    ] {
        assert_eq!(reason.as_str(), format!("{reason:?}"));
    }
}

#[test]
fn messages_fit_events_when_all_names_are_at_their_limits() {
    for (story, change, ..) in MISMATCHES {
        let mut world = World::spiffe();
        change(&mut world);
        let long = |len| "x".repeat(len);
        world.request.pod_name = long(253);
        world.request.namespace = long(63);
        world.request.service_account_name = long(253);
        world.request.node_name = long(253);
        world.request.pod_uid = long(128);
        if let Some(pod) = &mut world.pod {
            pod.service_account_name = long(252);
            pod.node_name = Some(long(252));
        }
        let wait = world.wait();
        assert!(
            wait.message.len() < 1_024,
            "{story}: {} bytes",
            wait.message.len()
        );
    }
}

proptest! {
    /// Whatever the cluster, the CA and the clock look like: never a denial, and a plan only within
    /// the rules.
    #[test]
    fn only_the_request_alone_is_ever_denied(
        world in prop::sample::select(IDENTITIES.to_vec()),
        changes in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        now in -10_000_000_000_i64..253_000_000_000,
        ca_begins in -100_000_i64..100_000,
        ca_lasts in 1_i64..1_000_000,
        max_expiration in 0_u64..10_000_000,
    ) {
        let mut world = world();
        world.now = Timestamp::from_second(now).unwrap();
        let begins = Timestamp::from_second(now + ca_begins).unwrap();
        let ends = Timestamp::from_second(now + ca_begins + ca_lasts).unwrap();
        if let Ok(chain) = Validity::new(begins, ends) {
            world.chain = chain;
        }
        world.request.max_expiration = Duration::from_secs(max_expiration);
        for change in changes {
            let (_, change, ..) = change.get(MISMATCHES);
            if world.pod.is_some() {
                change(&mut world);
            }
        }
        match world.decide() {
            Decision::Deny(denial) => prop_assert!(false, "{denial:?}"),
            Decision::Wait(wait) => prop_assert!(!wait.message.is_empty()),
            Decision::Issue(plan) => {
                let times = IssuedStatus {
                    certificate_chain: "",
                    not_before: plan.spec.validity().not_before(),
                    begin_refresh_at: plan.begin_refresh_at,
                    not_after: plan.spec.validity().not_after(),
                };
                let checked = status_rules::check_times(
                    &times, world.request.max_expiration, world.now,
                );
                prop_assert_eq!(checked, Ok(()));
                prop_assert!(times.not_after <= world.chain.not_after());
            }
        }
        // The same again.
        let first = world.decide();
        prop_assert_eq!(first, world.decide());
    }

    /// A denial stays one, whatever the cluster, the CA and the clock look like.
    #[test]
    fn a_denial_depends_on_nothing_that_changes(
        world in prop::sample::select(IDENTITIES.to_vec()),
        change in any::<prop::sample::Index>(),
        now in 0_i64..253_000_000_000,
    ) {
        let mut world = world();
        let (_, change, reason, ..) = change.get(MISMATCHES);
        change(&mut world);
        prop_assume!(*reason != WaitReason::OtherSigner);
        world.request.key = RequestedKey::from_pkix_public_key(SECP256K1_SPKI);
        world.now = Timestamp::from_second(now).unwrap();
        prop_assert_eq!(world.denial().reason, DenialReason::UnsupportedKeyType);
        world.facts = FactIndex::new();
        prop_assert_eq!(world.denial().reason, DenialReason::UnsupportedKeyType);
    }

    /// A key of whatever bytes is a key, or a named reason.
    #[test]
    fn any_bytes_are_a_key_or_a_reason(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for key in [RequestedKey::from_stub_pkcs10(&bytes), RequestedKey::from_pkix_public_key(&bytes)] {
            let mut world = World::spiffe();
            world.request.key = key;
            world.decide();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The whole way: decided, signed, and accepted by every rule of the API server.
    #[test]
    fn what_is_issued_satisfies_the_api_server(
        subsecond in 0_i32..1_000_000_000,
        seconds in 0_i64..3_000_000,
        max_expiration in 3_600_u64..7_862_400,
        pod_uid in "[0-9a-f]{8}-[0-9a-f]{4}",
        services in proptest::collection::btree_set("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", 0..5),
        identity in prop::sample::select(IDENTITIES.to_vec()),
        issuer in proptest::option::of("https://[a-z0-9]{1,60}(/[a-zA-Z0-9]{0,900})?"),
    ) {
        let ca = TestCa::new();
        let mut world = if services.is_empty() { identity() } else { World::service_dns() };
        world.policy.service_account_issuer = issuer.map(|url| url.parse().unwrap());
        for name in services {
            world.service(&name, &[("app", "web")]);
        }
        world.now = Timestamp::new(at("2026-11-21T12:00:00Z").as_second() + seconds, subsecond).unwrap();
        world.request.max_expiration = Duration::from_secs(max_expiration);
        world.request.pod_uid.clone_from(&pod_uid);
        world.pod().uid = pod_uid;
        world.chain = ca.root().validity().unwrap();
        let plan = world.plan();
        let pem = ca.sign(&plan).to_pem();
        let status = IssuedStatus {
            certificate_chain: &pem,
            not_before: plan.spec.validity().not_before(),
            begin_refresh_at: plan.begin_refresh_at,
            not_after: plan.spec.validity().not_after(),
        };
        prop_assert_eq!(status_rules::check(&status, &world.request, world.now), Ok(()));
    }
}

/// An elliptic curve key on secp256k1, which Kubernetes does not know.
const SECP256K1_SPKI: &[u8] = b"\x30\x56\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\
    \x00\x0a\x03\x42\x00\x04\
    \x79\xbe\x66\x7e\xf9\xdc\xbb\xac\x55\xa0\x62\x95\xce\x87\x0b\x07\x02\x9b\xfc\xdb\x2d\xce\x28\xd9\
    \x59\xf2\x81\x5b\x16\xf8\x17\x98\x48\x3a\xda\x77\x26\xa3\xc4\x65\x5d\xa4\xfb\xfc\x0e\x11\x08\xa8\
    \xfd\x17\xb4\x48\xa6\x85\x54\x19\x9c\x47\xd0\x8f\xfb\x10\xd4\xb8";
