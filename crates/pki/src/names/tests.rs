use proptest::prelude::*;

use super::*;

#[test]
fn spiffe_ids_of_the_standard_and_of_go_spiffe() {
    for text in [
        "spiffe://example.org",
        "spiffe://example.org/path",
        "spiffe://1.2.3.4/service",
        "spiffe://trust_domain/ns/a/sa/b",
        "spiffe://a/...",
        "spiffe://a/.path/..path/Path-1_2.3",
    ] {
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!(id.as_str(), text);
        assert_eq!(
            id.to_uri(),
            format!("{}{}", id.trust_domain().id(), id.path())
        );
    }
}

#[test]
fn malformed_spiffe_ids_say_what_is_wrong() {
    for (text, problem) in [
        ("", "must start with \"spiffe://\""),
        ("http://td/a", "must start with"),
        ("Spiffe://td/a", "must start with"),
        ("spiffe:/td", "must start with"),
        ("spiffe://", "trust domain is not valid: it is empty"),
        ("spiffe:///path", "trust domain is not valid: it is empty"),
        ("spiffe://Td/a", "'T'"),
        ("spiffe://td:80/a", "':'"),
        ("spiffe://user@td/a", "'@'"),
        ("spiffe://[::1]/a", "'['"),
        (
            "spiffe://td..x/a",
            "trust domain is not valid: it has an empty label",
        ),
        (
            "spiffe://.td/a",
            "trust domain is not valid: it has an empty label",
        ),
        (
            "spiffe://td./a",
            "trust domain is not valid: it has an empty label",
        ),
        ("spiffe://td/", "empty path segment"),
        ("spiffe://td/a/", "empty path segment"),
        ("spiffe://td/a//b", "empty path segment"),
        ("spiffe://td/.", "relative segment \".\""),
        ("spiffe://td/a/../b", "relative segment \"..\""),
        ("spiffe://td/a?q", "'?'"),
        ("spiffe://td/a#f", "'#'"),
        ("spiffe://td/a%20b", "'%'"),
        ("spiffe://td/ns/a b", "' '"),
        ("spiffe://td/é", "'é'"),
    ] {
        let error = text.parse::<SpiffeId>().unwrap_err().to_string();
        assert!(error.contains(problem), "{text:?}: {error}");
    }
}

#[test]
fn trust_domains_are_those_of_the_standard_but_for_empty_labels() {
    for text in [
        "a",
        "cluster.local",
        "1.2.3.4",
        "-a-",
        "_",
        "a_b.-.c",
        &"l".repeat(64),
    ] {
        let trust_domain: TrustDomain = text.parse().unwrap();
        assert_eq!(trust_domain.as_str(), text);
        let id = SpiffeId::new(&trust_domain, "/a").unwrap();
        assert_eq!(id.as_str().parse::<SpiffeId>().unwrap(), id);
    }
    // The standard allows these. Go reads no certificate that has one.
    for text in [".", "..", ".a", "a.", "a..b"] {
        let error = text.parse::<TrustDomain>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "trust domain {text:?} is not valid: it has an empty label (a leading, trailing or \
                 doubled dot)"
            )
        );
    }
}

#[test]
fn limits_are_exact() {
    let longest = "a".repeat(255);
    assert!(longest.parse::<TrustDomain>().is_ok());
    assert!(format!("{longest}a").parse::<TrustDomain>().is_err());

    let trust_domain: TrustDomain = "td".parse().unwrap();
    let room = 2048 - "spiffe://td/".len();
    let id = SpiffeId::new(&trust_domain, &format!("/{}", "p".repeat(room))).unwrap();
    assert_eq!(id.as_str().len(), 2048);
    assert_eq!(id.as_str().parse::<SpiffeId>().unwrap(), id);
    let error = SpiffeId::new(&trust_domain, &format!("/{}", "p".repeat(room + 1))).unwrap_err();
    assert!(
        error.to_string().ends_with("longer than 2048 bytes"),
        "{error}"
    );
    assert!(
        error.to_string().len() < 300,
        "a long name is not repeated in full"
    );

    let label = "l".repeat(63);
    let name = format!("{label}.{label}.{label}.{}", "x".repeat(61));
    assert_eq!(name.len(), 253);
    assert!(name.parse::<DnsName>().is_ok());
    assert!(format!("{name}y").parse::<DnsName>().is_err());
    assert!(format!("{label}l.svc").parse::<DnsName>().is_err());
}

#[test]
fn spiffe_id_from_parts() {
    let trust_domain: TrustDomain = "cluster.local".parse().unwrap();
    let id = SpiffeId::new(&trust_domain, "/ns/shop/sa/web").unwrap();
    assert_eq!(id.to_string(), "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!(id.path(), "/ns/shop/sa/web");
    assert_eq!(id.trust_domain(), &trust_domain);
    assert!(
        SpiffeId::new(&trust_domain, "ns/shop").is_err(),
        "a path starts with a slash"
    );
    assert_eq!(SpiffeId::new(&trust_domain, "").unwrap().path(), "");
}

#[test]
fn dns_names() {
    for text in [
        "server.shop.svc",
        "a",
        "1.svc",
        "xn--bcher-kva.example",
        "a-b.c-d.svc.cluster.local",
    ] {
        assert_eq!(text.parse::<DnsName>().unwrap().as_str(), text);
    }
    for (text, problem) in [
        ("", "it is empty"),
        (".", "empty label"),
        ("a.", "empty label"),
        (".a", "empty label"),
        ("a..b", "empty label"),
        ("*.shop.svc", "'*'"),
        ("Server.svc", "'S'"),
        ("under_score.svc", "'_'"),
        ("-a.svc", "hyphen"),
        ("a-.svc", "hyphen"),
        ("10.0.0.1", "IP address"),
        ("web.1", "IP address"),
        ("::1", "':'"),
        ("bücher.example", "'ü'"),
        ("a\0.svc", "'\\0'"),
    ] {
        let error = text.parse::<DnsName>().unwrap_err().to_string();
        assert!(error.contains(problem), "{text:?}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<SpiffeId>();
        let _ = text.parse::<TrustDomain>();
        let _ = text.parse::<DnsName>();
        let _ = format!("spiffe://{text}").parse::<SpiffeId>();
        let _ = SpiffeId::new(&"td".parse().unwrap(), &text);
    }

    #[test]
    fn what_parses_comes_back_as_it_was(
        domain in "[a-z0-9_-]{1,40}(\\.[a-z0-9_-]{1,40}){0,5}",
        segments in prop::collection::vec("[a-zA-Z0-9._-]{1,12}", 0..8),
    ) {
        let trust_domain: TrustDomain = domain.parse().unwrap();
        prop_assert_eq!(trust_domain.as_str(), &domain);
        let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        let relative = segments.iter().any(|segment| segment == "." || segment == "..");
        match SpiffeId::new(&trust_domain, &path) {
            Ok(id) => {
                prop_assert!(!relative);
                prop_assert_eq!(id.as_str().parse::<SpiffeId>().unwrap(), id.clone());
                prop_assert_eq!(id.path(), path);
            }
            Err(_) => prop_assert!(relative),
        }
    }

    /// rustls must be able to use every DNS name we would certify.
    #[test]
    fn dns_names_are_those_rustls_takes(text in "[a-zA-Z0-9._*-]{0,70}(\\.[a-z0-9-]{1,64}){0,4}") {
        if let Ok(name) = text.parse::<DnsName>() {
            prop_assert!(rustls_pki_types::DnsName::try_from(name.as_str()).is_ok());
            prop_assert_eq!(name.as_str(), &text);
        }
    }
}

#[test]
fn names_and_uids_of_objects() {
    for name in [
        "a",
        "web-1",
        "ip-10-0-0-1.ec2.internal",
        "1.2.3.4",
        &"x".repeat(253),
    ] {
        assert_eq!(name.parse::<ObjectName>().unwrap().as_str(), name);
    }
    let long = "x".repeat(254);
    for (name, problem) in [
        ("", "it is empty"),
        ("Web", "'W'"),
        ("system:node", "':'"),
        ("a/b", "'/'"),
        ("a\"b", "'\"'"),
        ("a..b", "empty label"),
        (".a", "empty label"),
        ("-a", "hyphen"),
        ("a-.b", "hyphen"),
        (&long, "longer than 253"),
    ] {
        let error = name.parse::<ObjectName>().unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    for uid in [
        "u",
        "0b7f6c0e-5a2c-4f0e-9d6e-2f1f4f3b9a10",
        "A_b.C",
        &"x".repeat(128),
    ] {
        assert_eq!(uid.parse::<ObjectUid>().unwrap().as_str(), uid);
    }
    for uid in ["", "a b", "a\n", "\u{e9}", "a\"", "a/b", &"x".repeat(129)] {
        assert!(uid.parse::<ObjectUid>().is_err(), "{uid}");
    }
}

#[test]
fn issuer_urls() {
    for url in [
        "https://kubernetes.default.svc.cluster.local",
        "https://Issuer.example/",
        "https://issuer.example:6443/a/b%20c/",
        "https://10.0.0.1:443",
        "https://[fd00::1]",
        "https://[fd00::1]:443/x",
        "https://oidc.eks.eu-west-1.amazonaws.com/id/AB12",
    ] {
        assert_eq!(url.parse::<IssuerUrl>().unwrap().as_str(), url);
    }
    let long = format!("https://a/{}", "x".repeat(1015));
    for (url, problem) in [
        ("", "must start with"),
        ("http://issuer.example", "must start with \"https://\""),
        ("HTTPS://issuer.example", "must start with"),
        ("kubernetes/serviceaccount", "must start with"),
        ("https://", "host"),
        ("https:///a", "host"),
        ("https://a..b", "host"),
        ("https://user@a", "host"),
        ("https://user:pw@a", "port"),
        ("https://[::1", "host"),
        ("https://[1.2.3.4]", "host"),
        ("https://[::1]x", "host"),
        ("https://a?x", "host"),
        ("https://a:", "port"),
        ("https://a:0", "port"),
        ("https://a:+1", "port"),
        ("https://a:65536", "port"),
        ("https://a/?q", "no query"),
        ("https://a/#f", "no fragment"),
        ("https://a/b c", "' '"),
        ("https://a/\u{e9}", "'\u{e9}'"),
        ("https://a/%4", "percent"),
        ("https://a/%zz", "percent"),
        (&long, "longer than 1024"),
    ] {
        let error = url.parse::<IssuerUrl>().unwrap_err().to_string();
        assert!(error.contains(problem), "{url}: {error}");
    }
}
