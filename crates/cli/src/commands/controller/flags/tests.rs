use clap::Parser as _;

use super::*;

#[derive(Debug, clap::Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn parse(words: &[&str]) -> Result<Args, String> {
    let words = std::iter::once("controller").chain(words.iter().copied());
    Command::try_parse_from(words)
        .map(|command| command.args)
        .map_err(|error| error.to_string())
}

/// The command of meshtool's own Deployment.
const MESHTOOL: &[&str] = &[
    "--in-cluster=true",
    "--sharding-pod-namespace=mesh-controller",
    "--sharding-pod-name=mesh-controller-abc",
    "--sharding-pod-uid=u",
    "--sharding-application-name=mesh-controller",
    "--enable-service-dns-signer=true",
    "--service-dns-ca-pool=/run/ca-state/service-dns-pool.json",
    "--enable-spiffe-signer=true",
    "--spiffe-trust-domain=cluster.local",
    "--spiffe-ca-pool=/run/ca-state/spiffe-pool.json",
];

#[test]
fn meshtools_command_line_works_as_it_is() {
    let args = parse(MESHTOOL).unwrap();
    let config = args.config().unwrap();
    let names: Vec<_> = config
        .signers
        .iter()
        .map(|s| s.policy.signer.as_str())
        .collect();
    assert_eq!(names, ["row-major.net/service-dns", "row-major.net/spiffe"]);
    assert_eq!(config.own_pod.unwrap().name, "mesh-controller-abc");
    assert_eq!(config.application.unwrap().as_str(), "mesh-controller");
    assert_eq!(config.unknown_anchors, UnknownAnchors::Keep);
    assert_eq!(config.instance, "mesh-controller-abc");
    let policy = &config.signers[0].policy;
    assert_eq!(policy.unknown_annotations, UnknownAnnotations::Ignore);
    assert_eq!(policy.lifetime.max_lifetime(), Duration::from_secs(86_400));
    let Listen::At(addresses) = args.listen().unwrap() else {
        panic!()
    };
    assert!(addresses.iter().all(|address| address.port() == 8080));
}

#[test]
fn booleans_are_gos() {
    for (word, enabled) in [
        ("--enable-spiffe-signer", true),
        ("--enable-spiffe-signer=1", true),
        ("--enable-spiffe-signer=T", true),
        ("--enable-spiffe-signer=F", false),
    ] {
        assert_eq!(
            parse(&[word]).unwrap().enable_spiffe_signer,
            enabled,
            "{word}"
        );
    }
    assert!(parse(&["--enable-spiffe-signer=yes"]).is_err());
    assert!(parse(&["--enable-spiffe-signer", "true"]).is_err());
}

#[test]
fn what_is_missing_is_named() {
    let problem = |words: &[&str]| parse(words).unwrap().config().unwrap_err().to_string();
    assert!(problem(&[]).contains("no signer is enabled"));
    assert_eq!(
        problem(&["--enable-spiffe-signer"]),
        "--spiffe-trust-domain must be set"
    );
    assert_eq!(
        problem(&["--enable-spiffe-signer", "--spiffe-trust-domain=td"]),
        "--spiffe-ca-pool must be set"
    );
    assert!(
        problem(&[
            "--enable-spiffe-signer",
            "--spiffe-trust-domain=Not A Domain"
        ])
        .contains("Not A Domain")
    );
    assert_eq!(
        problem(&["--enable-service-dns-signer"]),
        "--service-dns-ca-pool must be set"
    );
}

#[test]
fn values_are_checked_where_they_are_given() {
    for words in [
        "--service-dns-suffix=Not_A_Name",
        "--spiffe-id-template=/ns/{namespace}",
        "--spiffe-signer-name=noslash",
        "--max-lifetime=10m",
        "--max-lifetime=92000h",
        "--max-lifetime=soon",
        "--concurrency=0",
        "--spiffe-allow-unprojected=default",
        "--pod-identity-id-template=/ns/{namespace}/pod/{pod}",
        "--pod-identity-extension-oid=2.5.29.17",
        "--pod-identity-extension-encoding=asn1-draft-b",
        "--service-account-issuer=http://kubernetes.default.svc",
    ] {
        let error = parse(&[words]).unwrap_err();
        let flag = words.split('=').next().unwrap();
        assert!(error.contains(flag), "{words}: {error}");
    }
}

#[test]
fn our_own_flags_reach_the_policies() {
    let mut words = MESHTOOL.to_vec();
    words.extend([
        "--service-dns-suffix=cluster.local",
        "--service-dns-suffix=example.com",
        "--service-dns-client-auth",
        "--service-dns-signer-name=certs.example.com/web",
        "--spiffe-allow-unprojected=shop/web",
        "--strict-annotations",
        "--max-lifetime=6h",
        "--concurrency=4",
        "--listen=",
    ]);
    let args = parse(&words).unwrap();
    assert_eq!(args.listen().unwrap(), Listen::Nowhere);
    let config = args.config().unwrap();
    assert_eq!(config.concurrency, 4);
    let policy = &config.signers[0].policy;
    assert_eq!(policy.signer.as_str(), "certs.example.com/web");
    assert_eq!(
        policy.lifetime.max_lifetime(),
        Duration::from_secs(6 * 3600)
    );
    assert_eq!(policy.unknown_annotations, UnknownAnnotations::Deny);
    let NamePolicy::ServiceDns(names) = &policy.names else {
        panic!()
    };
    assert_eq!(names.suffixes().len(), 2);
    assert!(names.ext_key_usages().client_auth);
    assert_eq!(config.signers[1].policy.unprojected.len(), 1);
}

#[test]
fn addresses_to_listen_on() {
    let listen = |words: &[&str]| parse(words).unwrap().listen();
    let at = |text: &str| Listen::At(vec![text.parse().unwrap()]);
    assert_eq!(listen(&[]).unwrap(), at("127.0.0.1:0"));
    assert_eq!(listen(&["--listen=:9090"]).unwrap(), at("0.0.0.0:9090"));
    assert_eq!(listen(&["--listen=[::1]:9090"]).unwrap(), at("[::1]:9090"));
    let error = listen(&["--listen=localhost"]).unwrap_err();
    assert!(error.to_string().contains("localhost"), "{error}");
}

const POD_IDENTITY: &[&str] = &[
    "--enable-pod-identity-signer=true",
    "--pod-identity-ca-pool=/run/ca-state/pod-identity-pool.json",
];

fn pod_identity(config: &Config) -> &pod_identity::Policy {
    match &config.signers.last().unwrap().policy.names {
        NamePolicy::PodIdentity(policy) => policy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_pod_identity_flags_of_meshtool_sign() {
    let config = parse(&[MESHTOOL, POD_IDENTITY].concat()).unwrap().config();
    let config = config.unwrap();
    let policy = &config.signers[2].policy;
    assert_eq!(policy.signer.as_str(), "row-major.net/pod-identity");
    assert_eq!(policy.service_account_issuer, None);
    // meshtool has no flag for its trust domain.
    assert_eq!(
        pod_identity(&config).trust_domain().as_str(),
        "cluster.local"
    );
    let template = pod_identity(&config).template().to_string();
    assert_eq!(
        template,
        "/ns/{namespace}/sa/{service-account}/pod/{pod}/uid/{pod-uid}"
    );
    let problem = |words: &[&str]| parse(words).unwrap().config().unwrap_err().to_string();
    assert_eq!(
        problem(POD_IDENTITY),
        "--pod-identity-trust-domain must be set"
    );
    assert_eq!(
        problem(&[POD_IDENTITY[0], "--pod-identity-trust-domain=td"]),
        "--pod-identity-ca-pool must be set"
    );
}

#[test]
fn pod_identity_that_did_nothing_in_meshtool_does_not_stop_the_others() {
    let args = parse(&[MESHTOOL, &POD_IDENTITY[..1]].concat()).unwrap();
    assert!(args.leaves_pod_identity_out());
    let config = args.config().unwrap();
    assert_eq!(config.signers.len(), 2);
    // Alone it would be a controller without a signer.
    let alone = parse(&["--enable-pod-identity-signer", "--spiffe-trust-domain=td"]).unwrap();
    assert!(!alone.leaves_pod_identity_out());
    assert_eq!(
        alone.config().unwrap_err().to_string(),
        "--pod-identity-ca-pool must be set"
    );
    // Who names its trust domain does not come from meshtool.
    let ours = [
        MESHTOOL,
        &POD_IDENTITY[..1],
        &["--pod-identity-trust-domain=td"],
    ]
    .concat();
    assert!(parse(&ours).unwrap().config().is_err());
}

#[test]
fn extensions_are_there_on_request() {
    let policy = |words: &[&str]| {
        let words = [MESHTOOL, POD_IDENTITY, words].concat();
        let config = parse(&words).unwrap().config().unwrap();
        pod_identity(&config).clone()
    };
    let plain = policy(&["--pod-identity-trust-domain=td"]);
    assert_eq!(plain.trust_domain().as_str(), "td");
    let oid: ExtensionOid = "1.3.6.1.4.1.99999.1".parse().unwrap();
    let flag = "--pod-identity-extension-oid=1.3.6.1.4.1.99999.1";
    let domain = "--pod-identity-trust-domain=td";
    let of = |own, substrate| {
        let domain = "td".parse().unwrap();
        let extensions = pod_identity::Extensions { own, substrate };
        pod_identity::Policy::new(domain, plain.template().clone(), extensions).unwrap()
    };
    let with = |encoding| of(Some((oid, encoding)), false);
    assert_eq!(policy(&[domain, flag]), with(pod_identity::Encoding::Json));
    assert_eq!(
        policy(&[
            domain,
            flag,
            "--pod-identity-extension-encoding=asn1-draft-a"
        ]),
        with(pod_identity::Encoding::Asn1DraftA)
    );
    assert_eq!(
        policy(&[domain, "--pod-identity-substrate-extension"]),
        of(None, true)
    );
    // The pod's UID stands in the ID or in an extension.
    let of_account = "--pod-identity-id-template=/ns/{namespace}/sa/{service-account}";
    policy(&[domain, of_account, "--pod-identity-substrate-extension"]);
    let words = [MESHTOOL, POD_IDENTITY, &[of_account]].concat();
    let error = parse(&words).unwrap().config().unwrap_err();
    assert!(format!("{error:#}").contains("{pod-uid}"), "{error:#}");
    let error = parse(&["--pod-identity-extension-encoding=json"]).unwrap_err();
    assert!(error.contains("--pod-identity-extension-oid"), "{error}");
}

#[test]
fn the_issuer_is_every_signers() {
    let words = [
        MESHTOOL,
        POD_IDENTITY,
        &["--service-account-issuer=https://kubernetes.default.svc"],
    ];
    let config = parse(&words.concat()).unwrap().config().unwrap();
    assert_eq!(config.signers.len(), 3);
    for signer in config.signers {
        let issuer = signer.policy.service_account_issuer.unwrap();
        assert_eq!(issuer.as_str(), "https://kubernetes.default.svc");
    }
}

const SIGNER: [&str; 3] = [
    "--enable-spiffe-signer",
    "--spiffe-trust-domain=td",
    "--spiffe-ca-pool=pool.json",
];

#[test]
fn work_is_shared_under_an_application_by_pods_with_names() {
    let config = |words: &[&str]| parse(&[&SIGNER, words].concat()).unwrap().config();
    let alone = config(&[
        "--sharding-pod-namespace=mesh",
        "--sharding-pod-name=a",
        "--sharding-pod-uid=u",
    ]);
    let alone = alone.unwrap();
    assert!(alone.own_pod.is_some() && alone.application.is_none());
    assert!(config(&[]).unwrap().application.is_none());
    for words in [
        &["--sharding-application-name=app"][..],
        &["--sharding-application-name=app", "--sharding-pod-name=a"],
        &[
            "--sharding-application-name=app",
            "--sharding-pod-namespace=n",
        ],
    ] {
        let error = config(words).unwrap_err().to_string();
        assert!(
            error.contains("--sharding-pod-namespace and --sharding-pod-name"),
            "{error}"
        );
    }
    let error = config(&["--sharding-application-name=a b"]).unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("--sharding-application-name") && error.contains("label value"),
        "{error}"
    );
}

#[test]
fn anchors_nobody_knows_are_removed_on_request() {
    let words = [&SIGNER[..], &["--remove-unknown-anchors"]].concat();
    let config = parse(&words).unwrap().config().unwrap();
    assert_eq!(config.unknown_anchors, UnknownAnchors::Remove);
}
