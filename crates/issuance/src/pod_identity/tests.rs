use podcert_pki::ExtKeyUsages;
use proptest::prelude::*;

use super::*;
use crate::testing::{TestCa, World};
use crate::{NamePolicy, Unprojected};

const OWN_OID: &str = "1.3.6.1.4.1.99999.1";

fn try_policy(template: &str, extensions: Extensions) -> Result<Policy, TemplateError> {
    Policy::new(
        "example.org".parse().unwrap(),
        template.parse()?,
        extensions,
    )
}

fn policy(template: &str, extensions: Extensions) -> Policy {
    try_policy(template, extensions).unwrap()
}

fn own(encoding: Encoding) -> Extensions {
    Extensions {
        own: Some((OWN_OID.parse().unwrap(), encoding)),
        ..NONE
    }
}

const NONE: Extensions = Extensions {
    own: None,
    substrate: false,
};
const SUBSTRATE: Extensions = Extensions {
    substrate: true,
    ..NONE
};

fn with_policy(policy: Policy) -> World {
    let mut world = World::pod_identity();
    world.policy.names = NamePolicy::PodIdentity(policy);
    world
}

fn with_own_extension(encoding: Encoding) -> World {
    let template = IdTemplate::default().to_string();
    with_policy(policy(&template, own(encoding)))
}

#[test]
fn a_pod_gets_an_id_of_its_own() {
    let mut world = World::pod_identity();
    assert_eq!(
        world.spiffe_id(),
        "spiffe://cluster.local/ns/shop/sa/web/pod/web-1/uid/pod-uid"
    );
    let spec = world.plan().spec;
    assert_eq!(spec.ext_key_usages(), ExtKeyUsages::SERVER_AND_CLIENT);
    assert!(spec.extensions().is_empty());
}

#[test]
fn templates_and_the_ids_they_make() {
    for (text, expected) in [
        (
            "/ns/{namespace}/sa/{service-account}/pod/{pod}/uid/{pod-uid}",
            "/ns/shop/sa/web/pod/web-1/uid/pod-uid",
        ),
        ("/{pod-uid}", "/pod-uid"),
        (
            "/{node}/{node-uid}/{service-account-uid}/{pod-uid}/x",
            "/node-a/node-uid/account-uid/pod-uid/x",
        ),
    ] {
        let mut world = with_policy(policy(text, NONE));
        world.show_uids();
        assert_eq!(world.spiffe_id(), format!("spiffe://example.org{expected}"));
        assert_eq!(policy(text, NONE).template().to_string(), text);
    }
    let default = IdTemplate::default().to_string();
    assert_eq!(default.parse(), Ok(IdTemplate::default()));
}

#[test]
fn a_template_in_which_pods_would_share_an_id_is_refused() {
    let missing = TemplateError::MissingVariable {
        variable: "pod-uid",
    };
    for text in ["/x", "/ns/{namespace}/pod/{pod}", "/sa/{service-account}"] {
        assert_eq!(text.parse::<IdTemplate>(), Err(missing.clone()));
    }
    let of_account = "/ns/{namespace}/sa/{service-account}";
    for text in [of_account, &format!("{of_account}/pod/{{pod}}")] {
        assert_eq!(try_policy(text, NONE), Err(missing.clone()));
        // Where an extension has the UID, the certificate is the pod's all the same.
        for extensions in [SUBSTRATE, own(Encoding::Asn1DraftA)] {
            assert!(try_policy(text, extensions).is_ok());
        }
    }
    let mut world = with_policy(policy(of_account, SUBSTRATE));
    world.show_uids();
    assert_eq!(world.spiffe_id(), "spiffe://example.org/ns/shop/sa/web");
    let chain = TestCa::new().sign(&world.plan());
    let oid = ExtensionOid::SUBSTRATE_POD_IDENTITY;
    let said = chain.leaf().pod_identity_json(oid).unwrap().unwrap();
    assert_eq!(said.pod.pod_uid.as_str(), "pod-uid");
    let unknown = "/{uid}".parse::<IdTemplate>().unwrap_err().to_string();
    assert!(unknown.contains("{pod-uid}"), "{unknown}");
    let all =
        "/{namespace}/{service-account}/{service-account-uid}/{pod}/{pod-uid}/{node}/{node-uid}";
    let long = |literal| {
        let text = format!("{all}/{}", "x".repeat(literal));
        Policy::new(
            "d".repeat(255).parse().unwrap(),
            text.parse().unwrap(),
            NONE,
        )
    };
    assert!(matches!(
        long(600),
        Err(TemplateError::TooLong { longest: 2078 })
    ));
    assert!(long(570).is_ok());
}

#[test]
fn the_extension_of_ones_own_says_the_pod() {
    let mut world = with_own_extension(Encoding::Asn1DraftA);
    let oid = OWN_OID.parse().unwrap();
    let leaf = TestCa::new().sign(&world.plan());
    let found = leaf.leaf().pod_identity_draft_a(oid).unwrap().unwrap();
    assert_eq!(found.namespace.as_str(), "shop");
    assert_eq!(found.service_account_name.as_str(), "web");
    assert_eq!(found.pod_name.as_str(), "web-1");
    assert_eq!(found.pod_uid.as_str(), "pod-uid");
    assert_eq!(found.node_name.as_str(), "node-a");

    let mut world = with_own_extension(Encoding::Json);
    world.show_uids();
    let leaf = TestCa::new().sign(&world.plan());
    let with_uids = leaf.leaf().pod_identity_json(oid).unwrap().unwrap();
    assert_eq!(with_uids.pod, found);
    assert_eq!(with_uids.service_account_uid.as_str(), "account-uid");
    assert_eq!(with_uids.node_uid.as_str(), "node-uid");
}

#[test]
fn both_extensions_and_the_issuer_stand_together() {
    let both = Extensions {
        substrate: true,
        ..own(Encoding::Json)
    };
    let mut world = with_policy(policy("/{pod-uid}", both));
    world.show_uids();
    world.policy.service_account_issuer = Some("https://issuer.example".parse().unwrap());
    let chain = TestCa::new().sign(&world.plan());
    let own = chain.leaf().pod_identity_json(OWN_OID.parse().unwrap());
    let substrate = ExtensionOid::SUBSTRATE_POD_IDENTITY;
    assert_eq!(chain.leaf().pod_identity_json(substrate), own);
    assert!(own.unwrap().is_some());
    let issuer = chain.leaf().service_account_issuer().unwrap().unwrap();
    assert_eq!(issuer.as_str(), "https://issuer.example");
}

#[test]
fn every_signer_can_say_the_issuer() {
    let mut service_dns = World::service_dns();
    service_dns.service("web", &[("app", "web")]);
    for mut world in [service_dns, World::spiffe(), World::pod_identity()] {
        assert!(world.plan().spec.extensions().is_empty());
        world.policy.service_account_issuer = Some("https://issuer.example/a".parse().unwrap());
        let chain = TestCa::new().sign(&world.plan());
        let issuer = chain.leaf().service_account_issuer().unwrap().unwrap();
        assert_eq!(issuer.as_str(), "https://issuer.example/a");
    }
}

/// Policies whose certificates have the UID of the service account, and that of the node.
fn policies_with_uids() -> [(Policy, bool, bool); 4] {
    [
        (policy("/{pod-uid}", own(Encoding::Json)), true, true),
        (policy("/{pod-uid}", SUBSTRATE), true, true),
        (
            policy("/{pod-uid}/{service-account-uid}", NONE),
            true,
            false,
        ),
        (policy("/{pod-uid}/{node-uid}", NONE), false, true),
    ]
}

#[test]
fn a_uid_nobody_compared_reaches_no_certificate() {
    for (policy, of_account, of_node) in policies_with_uids() {
        let expected = |account_shown: bool, node_shown: bool| {
            if of_account && !account_shown {
                Some(Wake::ServiceAccount)
            } else if of_node && !node_shown {
                Some(Wake::Node)
            } else {
                None
            }
        };
        for (account_shown, node_shown) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let mut world = with_policy(policy.clone());
            if account_shown {
                world
                    .facts
                    .apply_service_account("shop", "web", "account-uid");
            }
            if node_shown {
                world.facts.apply_node("node-a", "node-uid");
            }
            let Some(wake) = expected(account_shown, node_shown) else {
                world.plan();
                continue;
            };
            let wait = world.wait();
            assert_eq!((wait.reason, wait.wake), (WaitReason::UidNotShown, wake));
            assert!(wait.message.contains("list and watch"), "{}", wait.message);
        }
        // Nor one that was compared and is another.
        let mut world = with_policy(policy);
        world.show_uids();
        world.request.node_uid = "forged".to_owned();
        assert_eq!(world.wait().reason, WaitReason::NodeReplaced);
        world.request.node_uid = "node-uid".to_owned();
        world.request.service_account_uid = "forged".to_owned();
        assert_eq!(world.wait().reason, WaitReason::ServiceAccountReplaced);
    }
    // What has neither asks for no right.
    with_own_extension(Encoding::Asn1DraftA).plan();
    World::pod_identity().plan();
}

#[test]
fn a_fact_the_api_server_should_have_refused_waits() {
    type Change = fn(&mut World, &str);
    let pod_uid: Change = |world, text| {
        world.request.pod_uid = text.to_owned();
        world.pod().uid = text.to_owned();
    };
    let account: Change = |world, text| {
        world.request.service_account_name = text.to_owned();
        world.pod().service_account_name = text.to_owned();
    };
    let node: Change = |world, text| {
        world.request.node_name = text.to_owned();
        world.pod().node_name = Some(text.to_owned());
    };
    let node_uid: Change = |world, text| world.request.node_uid = text.to_owned();
    let account_uid: Change = |world, text| world.request.service_account_uid = text.to_owned();
    for text in ["", "a/b", "a b", "\"", "a\u{0}", "\u{e9}", &"x".repeat(300)] {
        for change in [pod_uid, account, node, node_uid, account_uid] {
            let mut world = with_own_extension(Encoding::Json);
            change(&mut world, text);
            world.show_uids();
            assert_eq!(world.wait().reason, WaitReason::UnusableName, "{text:?}");
        }
    }
    // Without an extension only what stands in the ID can be wrong.
    for change in [pod_uid, account] {
        let mut world = World::pod_identity();
        change(&mut world, "a/b");
        assert_eq!(world.wait().reason, WaitReason::UnusableName);
    }
}

#[test]
fn pods_without_projection_are_compared_all_the_same() {
    let mut world = World::pod_identity();
    world.pod().projections.clear();
    assert_eq!(world.wait().reason, WaitReason::NoProjection);
    world.policy.unprojected.push(Unprojected {
        namespace: "shop".to_owned(),
        service_account: "web".to_owned(),
    });
    world.plan();
    world.request.pod_uid = "another".to_owned();
    assert_eq!(world.wait().reason, WaitReason::PodReplaced);
}

#[test]
fn encodings_have_names() {
    for encoding in Encoding::ALL {
        assert_eq!(encoding.to_string().parse(), Ok(encoding));
    }
    for text in ["", "JSON", "asn1", "asn1-draft-b"] {
        let error = text.parse::<Encoding>().unwrap_err().to_string();
        assert!(error.contains("asn1-draft-a"), "{error}");
    }
}

proptest! {
    /// Whatever the template, two pods never share an ID.
    #[test]
    fn no_two_pods_share_an_id(
        one in proptest::array::uniform7("[a-z0-9._-]{1,6}"),
        other in proptest::array::uniform7("[a-z0-9._-]{1,6}"),
        order in Just(Variable::ALL.to_vec()).prop_shuffle(),
        length in 0_usize..7,
    ) {
        let mut variables = order;
        variables.truncate(length);
        variables.retain(|variable| *variable != Variable::PodUid);
        variables.push(Variable::PodUid);
        let text: String = variables.iter().map(|it| format!("/x/{{{}}}", it.name())).collect();
        let template: IdTemplate = text.parse().unwrap();
        let path = |values: &[String; 7]| {
            let value = |variable| {
                let at = Variable::ALL.iter().position(|it| *it == variable).unwrap();
                values[at].as_str()
            };
            template.0.path(value).unwrap()
        };
        let uid = |values: &[String; 7]| values[4].clone();
        prop_assert_eq!(Variable::ALL[4], Variable::PodUid);
        if uid(&one) != uid(&other) {
            prop_assert_ne!(path(&one), path(&other));
        }
        prop_assert_eq!(path(&one), path(&one.clone()));
    }

    #[test]
    fn any_text_is_a_template_or_refused(text in "[/{}a-z.-]{0,40}|\\PC{0,20}") {
        if let Ok(template) = text.parse::<IdTemplate>() {
            prop_assert_eq!(template.to_string(), text);
        }
    }

    /// Whatever a request says: a certificate that says the same, or a reason to wait.
    #[test]
    fn what_a_certificate_says_is_what_was_compared(
        names in proptest::array::uniform4("[a-z0-9]{1,9}|\\PC{0,9}"),
        uids in proptest::array::uniform3("[a-z0-9-]{1,9}|\\PC{0,9}"),
    ) {
        let mut world = with_own_extension(Encoding::Json);
        let [namespace, account, pod, node] = names;
        let [pod_uid, account_uid, node_uid] = uids;
        world.request.namespace = namespace;
        world.request.service_account_name.clone_from(&account);
        world.request.pod_name = pod;
        world.request.node_name.clone_from(&node);
        world.request.pod_uid.clone_from(&pod_uid);
        world.request.service_account_uid = account_uid;
        world.request.node_uid = node_uid;
        world.pod().uid = pod_uid;
        world.pod().service_account_name = account;
        world.pod().node_name = Some(node);
        world.show_uids();
        match world.decide() {
            crate::Decision::Issue(plan) => {
                let identity = with_uids(&world.request).unwrap();
                let oid = OWN_OID.parse().unwrap();
                let expected = LeafExtension::PodIdentityJson { oid, identity };
                prop_assert_eq!(plan.spec.extensions(), [expected]);
            }
            crate::Decision::Wait(wait) => prop_assert_eq!(wait.reason, WaitReason::UnusableName),
            crate::Decision::Deny(denial) => prop_assert!(false, "{denial:?}"),
        }
    }
}
