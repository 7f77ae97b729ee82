use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::testing::{World, labels};
use crate::{Labels, NamePolicy, ObservedUid};

fn with(world: &mut World, policy: Policy) {
    world.policy.names = NamePolicy::ServiceDns(policy);
}

fn suffixes(texts: &[&str]) -> Policy {
    Policy::with_suffixes(texts.iter().map(|text| text.parse().unwrap())).unwrap()
}

#[test]
fn every_service_that_leads_to_the_pod_gives_its_name() {
    let mut world = World::service_dns();
    world.service_of("node-port", ServiceKind::NodePort, &[("app", "web")]);
    world.service_of("balanced", ServiceKind::LoadBalancer, &[("tier", "front")]);
    world.service("both", &[("app", "web"), ("tier", "front")]);
    // Not for this pod:
    world.service("no-selector", &[]);
    world.service_of("alias", ServiceKind::ExternalName, &[("app", "web")]);
    world.service("other-value", &[("app", "db")]);
    world.service(
        "one-too-many",
        &[("app", "web"), ("tier", "front"), ("zone", "a")],
    );
    let elsewhere = ServiceFacts {
        name: "elsewhere".to_owned(),
        kind: ServiceKind::ClusterIp,
        selector: labels(&[("app", "web")]),
    };
    world.facts.apply_service("other", elsewhere);
    assert_eq!(
        world.dns_names(),
        ["balanced.shop.svc", "both.shop.svc", "node-port.shop.svc"]
    );
}

#[test]
fn suffixes_add_names_sorted_and_unique() {
    let mut world = World::service_dns();
    world.service("b", &[("app", "web")]);
    world.service("a", &[("app", "web")]);
    with(
        &mut world,
        suffixes(&["example.com", "cluster.local", "example.com"]),
    );
    assert_eq!(
        world.dns_names(),
        [
            "a.shop.svc",
            "a.shop.svc.cluster.local",
            "a.shop.svc.example.com",
            "b.shop.svc",
            "b.shop.svc.cluster.local",
            "b.shop.svc.example.com",
        ]
    );
}

#[test]
fn the_namespace_default_works_though_kubernetes_has_a_service_there() {
    let mut world = World::service_dns();
    world.request.namespace = "default".to_owned();
    world.service("kubernetes", &[]);
    assert_eq!(world.wait().reason, WaitReason::NoMatchingService);
    world.service("web", &[("app", "web")]);
    assert_eq!(world.dns_names(), ["web.default.svc"]);
}

#[test]
fn a_pod_no_service_selects_waits_for_one() {
    let mut world = World::service_dns();
    world.service("other", &[("app", "db")]);
    let wait = world.wait();
    assert_eq!(wait.reason, WaitReason::NoMatchingService);
    assert_eq!(wait.wake, Wake::PodOrServices);
    assert!(
        wait.message
            .starts_with("no Service of namespace shop selects pod shop/web-1")
    );
    world.service("web", &[("app", "web")]);
    world.plan();
}

#[test]
fn a_pod_without_labels_is_selected_by_nothing() {
    let mut world = World::service_dns();
    world.pod().labels = Labels::new();
    world.service("web", &[("app", "web")]);
    world.service("no-selector", &[]);
    assert_eq!(world.wait().reason, WaitReason::NoMatchingService);
}

#[test]
fn the_annotation_narrows_the_names() {
    for value in ["b", " b ", "b,b", "b, b"] {
        let mut world = World::service_dns();
        world.service("a", &[("app", "web")]);
        world.service("b", &[("app", "web")]);
        world.annotate(SERVICES_ANNOTATION, value);
        assert_eq!(world.dns_names(), ["b.shop.svc"], "{value:?}");
        assert!(world.plan().notes.is_empty(), "it is known");
    }
}

#[test]
fn the_annotation_never_adds_a_name() {
    for (kind, selector, problem) in [
        (None, labels(&[]), "does not exist"),
        (
            Some(ServiceKind::ClusterIp),
            labels(&[("app", "db")]),
            "does not select the pod",
        ),
        (Some(ServiceKind::ClusterIp), labels(&[]), "has no selector"),
        (
            Some(ServiceKind::ExternalName),
            labels(&[("app", "web")]),
            "is of type ExternalName",
        ),
    ] {
        let mut world = World::service_dns();
        world.service("web", &[("app", "web")]);
        if let Some(kind) = kind {
            let service = ServiceFacts {
                name: "wanted".to_owned(),
                kind,
                selector,
            };
            world.facts.apply_service("shop", service);
        }
        world.annotate(SERVICES_ANNOTATION, "web,wanted");
        let wait = world.wait();
        assert_eq!(wait.reason, WaitReason::RequestedServiceNotMatching);
        assert_eq!(wait.wake, Wake::PodOrServices);
        assert!(wait.message.contains(problem), "{}", wait.message);
        assert!(
            wait.message.contains("Service shop/wanted"),
            "{}",
            wait.message
        );
    }
}

#[test]
fn a_malformed_annotation_is_denied_whatever_the_cluster_looks_like() {
    let label = "x".repeat(64);
    for value in [
        "", ",", "a,", ",a", "a,,b", "A", "a.b", "a b", "a_b", "-a", "a-", "ä", "*", &label,
    ] {
        let mut world = World::service_dns();
        world
            .request
            .annotations
            .insert(SERVICES_ANNOTATION.to_owned(), value.to_owned());
        world.pod = None;
        let denial = world.denial();
        assert_eq!(
            denial.reason,
            DenialReason::InvalidUnverifiedUserAnnotations,
            "{value:?}"
        );
        assert!(
            denial.message.contains(SERVICES_ANNOTATION),
            "{}",
            denial.message
        );
        assert!(denial.message.len() < 1_024);
    }
    let mut world = World::service_dns();
    world
        .request
        .annotations
        .insert(SERVICES_ANNOTATION.to_owned(), "Ä".repeat(100_000));
    assert!(world.denial().message.len() < 1_024);
}

#[test]
fn an_annotation_other_than_ours_is_noted_and_ours_is_not() {
    let mut world = World::service_dns();
    world.service("web", &[("app", "web")]);
    world.annotate(SERVICES_ANNOTATION, "web");
    world.annotate("service-dns.row-major.net/service", "web");
    let [note] = world.plan().notes.try_into().unwrap();
    assert!(
        note.message
            .ends_with(": service-dns.row-major.net/service"),
        "{}",
        note.message
    );
}

#[test]
fn ten_thousand_services_that_do_not_match() {
    let mut world = World::service_dns();
    for number in 0..10_000 {
        world.service(&format!("s{number}"), &[("app", &format!("app-{number}"))]);
    }
    assert_eq!(world.wait().reason, WaitReason::NoMatchingService);
    world.service("web", &[("app", "web")]);
    assert_eq!(world.dns_names(), ["web.shop.svc"]);
    let pod_labels = world.pod().labels.clone();
    let looked_at = world.facts.services_selecting("shop", &pod_labels);
    assert_eq!(looked_at.len(), 1, "the index leads there directly");
}

#[test]
fn ten_thousand_services_that_all_match() {
    let mut world = World::service_dns();
    for number in 0..10_000 {
        world.service(&format!("s{number}"), &[("app", "web")]);
    }
    let wait = world.wait();
    assert_eq!(wait.reason, WaitReason::TooManyNames);
    assert!(
        wait.message
            .starts_with("10000 Services select pod shop/web-1"),
        "{}",
        wait.message
    );
    assert!(
        wait.message.contains(SERVICES_ANNOTATION),
        "{}",
        wait.message
    );
    world.annotate(SERVICES_ANNOTATION, "s7,s77");
    assert_eq!(world.dns_names(), ["s7.shop.svc", "s77.shop.svc"]);
}

#[test]
fn names_are_counted_with_their_suffixes() {
    let mut world = World::service_dns();
    with(
        &mut world,
        suffixes(&["cluster.local"]).with_max_names(4).unwrap(),
    );
    world.service("a", &[("app", "web")]);
    world.service("b", &[("app", "web")]);
    assert_eq!(world.dns_names().len(), 4);
    world.service("c", &[("app", "web")]);
    assert_eq!(world.wait().reason, WaitReason::TooManyNames);
}

#[test]
fn names_at_their_limits_fit_a_certificate() {
    let mut world = World::service_dns();
    let long = |letter: &str| letter.repeat(63);
    let suffix = [long("x").as_str(), &"y".repeat(57)].join(".");
    assert_eq!(suffix.len(), 121);
    with(&mut world, suffixes(&[&suffix]));
    world.request.namespace = long("n");
    world.service(&long("s"), &[("app", "web")]);
    let names = world.dns_names();
    assert_eq!(
        names.iter().map(String::len).collect::<Vec<_>>(),
        [131, 253]
    );

    let too_long = Policy::with_suffixes([format!("{suffix}y").parse().unwrap()]).unwrap_err();
    assert!(too_long.to_string().ends_with(
        "has 122 characters, at most 121 leave room for the longest '<service>.<namespace>.svc.'"
    ));
}

#[test]
fn long_names_are_limited_by_their_bytes_too() {
    let mut world = World::service_dns();
    with(&mut world, Policy::default().with_max_names(1_000).unwrap());
    world.request.namespace = "n".repeat(63);
    for number in 0..400 {
        world.service(&format!("{}{number:03}", "s".repeat(60)), &[("app", "web")]);
    }
    assert_eq!(
        world.wait().reason,
        WaitReason::TooManyNames,
        "400 times 134 bytes"
    );
    for number in 350..400 {
        world.facts.delete_service(
            &world.request.namespace,
            &format!("{}{number:03}", "s".repeat(60)),
        );
    }
    assert_eq!(world.dns_names().len(), 350);
}

#[test]
fn a_service_whose_name_cannot_stand_in_a_certificate_is_left_out() {
    let mut world = World::service_dns();
    world.service("Not_A_Name", &[("app", "web")]);
    let wait = world.wait();
    assert_eq!(wait.reason, WaitReason::UnusableName);
    assert_eq!(wait.wake, Wake::PodOrServices);
    world.service("web", &[("app", "web")]);
    let plan = world.plan();
    assert_eq!(world.dns_names(), ["web.shop.svc"]);
    assert_eq!(plan.notes[0].reason, NoteReason::UnusableServiceName);
    assert!(
        plan.notes[0].message.starts_with("Service shop/Not_A_Name"),
        "{:?}",
        plan.notes
    );
}

#[test]
fn names_of_two_services_never_meet() {
    // Were they not refused by the API server, both would be a.b.c.svc.
    for (namespace, service) in [("c", "a.b"), ("b.c", "a")] {
        let mut world = World::service_dns();
        world.request.namespace = namespace.to_owned();
        world.service(service, &[("app", "web")]);
        assert_eq!(world.wait().reason, WaitReason::UnusableName);
    }
}

#[test]
fn client_authentication_is_an_option() {
    let mut world = World::service_dns();
    world.service("web", &[("app", "web")]);
    with(&mut world, Policy::default().with_client_auth());
    assert_eq!(
        world.plan().spec.ext_key_usages(),
        ExtKeyUsages::SERVER_AND_CLIENT
    );
}

#[test]
fn limits_that_are_none_are_refused() {
    assert!(Policy::default().with_max_names(0).is_err());
    assert!(Policy::default().with_max_names(1_001).is_err());
    assert!(Policy::default().with_max_names(1_000).is_ok());
}

/// Facts without an index: every Service of the namespace is looked at.
struct Linear<'a> {
    pod: PodFacts,
    services: &'a [ServiceFacts],
}

impl Facts for Linear<'_> {
    fn pod(&self, _: &str, _: &str) -> Option<&PodFacts> {
        Some(&self.pod)
    }

    fn services_selecting(&self, _: &str, _: &Labels) -> Vec<&ServiceFacts> {
        self.services.iter().collect()
    }

    fn service(&self, _: &str, name: &str) -> Option<&ServiceFacts> {
        self.services.iter().find(|service| service.name == name)
    }

    fn node_uid(&self, _: &str) -> ObservedUid<'_> {
        ObservedUid::Unknown
    }
}

fn any_labels(most: usize) -> impl Strategy<Value = Labels> {
    proptest::collection::btree_map("[abc]", "[xy]", 0..most)
}

fn any_service() -> impl Strategy<Value = ServiceFacts> {
    let kinds = [
        ServiceKind::ClusterIp,
        ServiceKind::NodePort,
        ServiceKind::LoadBalancer,
        ServiceKind::ExternalName,
    ];
    ("[a-e]", prop::sample::select(kinds.to_vec()), any_labels(3)).prop_map(
        |(name, kind, selector)| ServiceFacts {
            name,
            kind,
            selector,
        },
    )
}

proptest! {
    /// However Services came and went, the index leads to the same decision as looking at all.
    #[test]
    fn the_index_and_a_look_at_everything_agree(
        events in proptest::collection::vec((any_service(), any::<bool>()), 0..30),
        pod_labels in any_labels(4),
        wanted in proptest::option::of(proptest::collection::btree_set("[a-e]", 1..3)),
    ) {
        let mut world = World::service_dns();
        let mut all = BTreeMap::new();
        for (service, deleted) in events {
            if deleted {
                world.facts.delete_service("shop", &service.name);
                all.remove(&service.name);
            } else {
                let changed = all.insert(service.name.clone(), service.clone()) != Some(service.clone());
                prop_assert_eq!(world.facts.apply_service("shop", service), changed);
            }
        }
        world.pod().labels = pod_labels;
        if let Some(wanted) = wanted {
            let wanted = wanted.into_iter().collect::<Vec<_>>().join(",");
            world.annotate(SERVICES_ANNOTATION, &wanted);
        }
        let indexed = world.decide();
        let services = all.into_values().collect::<Vec<_>>();
        let linear = Linear { pod: world.pod().clone(), services: &services };
        let looked = crate::decide(&world.policy, &world.request, &linear, world.chain, world.now);
        prop_assert_eq!(indexed, looked);
        prop_assert_eq!(world.facts.service_count(), services.len());
    }

    /// Names are sorted, unique, of the pod's namespace and of Services that select it.
    #[test]
    fn names_come_from_services_that_select_the_pod(
        services in proptest::collection::vec(any_service(), 1..20),
        pod_labels in any_labels(4),
    ) {
        let mut world = World::service_dns();
        with(&mut world, suffixes(&["cluster.local"]));
        for service in &services {
            world.facts.apply_service("shop", service.clone());
        }
        world.pod().labels = pod_labels;
        if let crate::Decision::Issue(_) = world.decide() {
            let names = world.dns_names();
            prop_assert!(names.is_sorted() && names.windows(2).all(|pair| pair[0] != pair[1]));
            for name in names {
                let (service, rest) = name.split_once('.').unwrap();
                prop_assert!(["shop.svc", "shop.svc.cluster.local"].contains(&rest));
                let service = world.facts.service("shop", service).unwrap();
                prop_assert!(!service.selector.is_empty());
                prop_assert!(service.kind != ServiceKind::ExternalName);
                let labels = &world.pod.as_ref().unwrap().labels;
                prop_assert!(service.selector.iter().all(|(k, v)| labels.get(k) == Some(v)));
            }
        }
    }

    #[test]
    fn any_annotation_is_read_or_denied(value in "[a-c, .-]{0,12}|\\PC{0,20}") {
        let mut world = World::service_dns();
        world.service("a", &[("app", "web")]);
        world.annotate(SERVICES_ANNOTATION, &value);
        world.decide();
    }
}
