use super::*;

fn world(keep: Keep) -> World {
    World::new(vec!["row-major.net/spiffe".parse().unwrap()], keep)
}

fn pod(name: &str, signer: &str) -> Pod {
    serde_json::from_value(serde_json::json!({
        "metadata": {"namespace": "shop", "name": name, "uid": name, "labels": {"app": name}},
        "spec": {"serviceAccountName": "default", "volumes": [
            {"projected": {"sources": [{"podCertificate": {"signerName": signer}}]}},
        ]},
    }))
    .unwrap()
}

fn identity<K: serde::de::DeserializeOwned>(name: &str, uid: &str) -> Identity<K> {
    let metadata = serde_json::json!({"namespace": "shop", "name": name, "uid": uid});
    serde_json::from_value(serde_json::json!({"metadata": metadata})).unwrap()
}

fn refused<K>() -> Seen<K> {
    Seen::Refused("cannot list".into())
}

/// The UID, or what is said instead.
fn uid_of(observed: ObservedUid<'_>) -> String {
    match observed {
        ObservedUid::Unknown => "unknown".to_owned(),
        ObservedUid::Absent => "absent".to_owned(),
        ObservedUid::Uid(uid) => uid.to_owned(),
    }
}

fn service(name: &str, type_: &str) -> Service {
    serde_json::from_value(serde_json::json!({
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"type": type_, "selector": {"app": "web"}},
    }))
    .unwrap()
}

#[test]
fn of_other_peoples_pods_little_is_kept() {
    let mut world = world(Keep::Projected);
    world.observe_pod(Event::Apply(pod("ours", "row-major.net/spiffe")));
    world.observe_pod(Event::Apply(pod("theirs", "example.com/x")));
    let ours = world.pod("shop", "ours").unwrap();
    assert_eq!((ours.projections.len(), ours.labels.len()), (1, 1));
    let theirs = world.pod("shop", "theirs").unwrap();
    assert_eq!((theirs.projections.len(), theirs.labels.len()), (0, 0));
    let mut all = self::world(Keep::All);
    all.observe_pod(Event::Apply(pod("theirs", "example.com/x")));
    assert_eq!(all.pod("shop", "theirs").unwrap().labels.len(), 1);
}

#[test]
fn a_new_list_takes_the_old_ones_place_whole() {
    let mut world = world(Keep::Projected);
    assert!(!world.is_listed());
    world.observe_pod(Event::Init);
    world.observe_pod(Event::InitApply(pod("a", "row-major.net/spiffe")));
    assert!(world.pod("shop", "a").is_none());
    assert_eq!(world.observe_pod(Event::InitDone), Change::Pods);
    assert!(world.pod("shop", "a").is_some());
    assert!(!world.is_listed());
    world.observe_service(Event::Init);
    assert_eq!(world.observe_service(Event::InitDone), Change::Services);
    assert!(!world.is_listed());
    world.observe_node(refused());
    assert!(!world.is_listed());
    world.observe_service_account(refused());
    assert!(world.is_listed());

    // The watch broke; `a` was deleted meanwhile and `b` made.
    world.observe_pod(Event::Init);
    world.observe_pod(Event::InitApply(pod("b", "row-major.net/spiffe")));
    assert!(
        world.pod("shop", "a").is_some(),
        "decisions go on from the old list"
    );
    world.observe_pod(Event::InitDone);
    assert!(world.pod("shop", "a").is_none());
    assert!(world.pod("shop", "b").is_some());
}

#[test]
fn what_no_decision_looks_at_is_no_change() {
    let mut world = world(Keep::Projected);
    let web = || pod("web", "row-major.net/spiffe");
    let changed = Change::Pod {
        namespace: "shop".into(),
        name: "web".into(),
    };
    assert_eq!(world.observe_pod(Event::Apply(web())), changed);
    assert_eq!(world.observe_pod(Event::Apply(web())), Change::Nothing);
    assert_eq!(world.observe_pod(Event::Delete(web())), changed);

    let change = world.observe_service(Event::Apply(service("web", "ClusterIP")));
    assert!(matches!(
        change,
        Change::Service {
            before: None,
            after: Some(_),
            ..
        }
    ));
    let change = world.observe_service(Event::Apply(service("web", "ClusterIP")));
    assert_eq!(change, Change::Nothing);
    let change = world.observe_service(Event::Apply(service("web", "ExternalName")));
    assert!(matches!(
        change,
        Change::Service {
            before: Some(_),
            after: Some(_),
            ..
        }
    ));
    let change = world.observe_service(Event::Delete(service("web", "ExternalName")));
    assert!(matches!(
        change,
        Change::Service {
            before: Some(_),
            after: None,
            ..
        }
    ));
}

#[test]
fn a_new_list_of_uids_takes_the_old_ones_place_whole() {
    let mut world = world(Keep::Projected);
    let (node, account) = (
        |world: &World, name| uid_of(world.node_uid(name)),
        |world: &World, name| uid_of(world.service_account_uid("shop", name)),
    );
    for (before, now) in [("unknown", "a"), ("absent", "b")] {
        world.observe_node(Seen::Event(Event::Init));
        world.observe_node(Seen::Event(Event::InitApply(identity(now, "1"))));
        assert_eq!(node(&world, now), before);
        let change = world.observe_node(Seen::Event(Event::InitDone));
        assert_eq!((change, node(&world, now)), (Change::Nodes, "1".to_owned()));

        world.observe_service_account(Seen::Event(Event::Init));
        let listed = Event::InitApply(identity(now, "2"));
        world.observe_service_account(Seen::Event(listed));
        assert_eq!(account(&world, now), before);
        let change = world.observe_service_account(Seen::Event(Event::InitDone));
        let expected = (Change::ServiceAccounts, "2".to_owned());
        assert_eq!((change, account(&world, now)), expected);
    }
    assert_eq!(node(&world, "a"), "absent");
    assert_eq!(account(&world, "a"), "absent");
    let elsewhere = world.service_account_uid("other", "b");
    assert_eq!(elsewhere, ObservedUid::Absent);

    // A right was withdrawn: what was known counts no longer, not even as missing.
    assert_eq!(world.observe_node(refused()), Change::Nodes);
    assert_eq!(node(&world, "b"), "unknown");
    assert_eq!(account(&world, "b"), "2", "the other kind is still shown");
    let change = world.observe_service_account(refused());
    assert_eq!(change, Change::ServiceAccounts);
    assert_eq!(account(&world, "b"), "unknown");
    assert_eq!(account(&world, "a"), "unknown");
}

#[test]
fn of_nodes_and_service_accounts_only_another_uid_is_a_change() {
    let mut world = world(Keep::Projected);
    for event in [Event::Init, Event::InitDone] {
        world.observe_node(Seen::Event(event));
    }
    for event in [Event::Init, Event::InitDone] {
        world.observe_service_account(Seen::Event(event));
    }
    let node = || Change::Node { name: "a".into() };
    let account = || Change::ServiceAccount {
        namespace: "shop".into(),
        name: "a".into(),
    };
    for (uid, is_change) in [("1", true), ("1", false), ("2", true), ("2", false)] {
        let (node, account) = if is_change {
            (node(), account())
        } else {
            (Change::Nothing, Change::Nothing)
        };
        let applied = Seen::Event(Event::Apply(identity("a", uid)));
        assert_eq!(world.observe_node(applied), node);
        let applied = Seen::Event(Event::Apply(identity("a", uid)));
        assert_eq!(world.observe_service_account(applied), account);
        assert_eq!(world.node_uid("a"), ObservedUid::Uid(uid));
    }
    let deleted = Seen::Event(Event::Delete(identity("a", "2")));
    assert_eq!(world.observe_node(deleted), node());
    assert_eq!(world.node_uid("a"), ObservedUid::Absent);
    let deleted = Seen::Event(Event::Delete(identity("a", "2")));
    assert_eq!(world.observe_service_account(deleted), account());
    let known = world.service_account_uid("shop", "a");
    assert_eq!(known, ObservedUid::Absent);
}

#[test]
fn a_type_nobody_knows_gives_no_names() {
    for (type_, kind) in [
        ("", ServiceKind::ClusterIp),
        ("NodePort", ServiceKind::NodePort),
        ("LoadBalancer", ServiceKind::LoadBalancer),
        ("ExternalName", ServiceKind::ExternalName),
        ("Teleport", ServiceKind::ExternalName),
    ] {
        assert_eq!(
            service_facts(service("web", type_)).unwrap().1.kind,
            kind,
            "{type_}"
        );
    }
}
