use proptest::prelude::*;

use super::*;
use crate::NamePolicy;
use crate::testing::World;

fn template(text: &str) -> Result<IdTemplate, TemplateError> {
    text.parse()
}

#[test]
fn templates_and_the_ids_they_make() {
    for (text, expected) in [
        (
            "/ns/{namespace}/sa/{service-account}",
            "spiffe://example.org/ns/shop/sa/web",
        ),
        (
            "/{namespace}/{service-account}",
            "spiffe://example.org/shop/web",
        ),
        (
            "/{service-account}/v1.0/{namespace}",
            "spiffe://example.org/web/v1.0/shop",
        ),
        (
            "/Prod_EU/{namespace}/.../{service-account}/x",
            "spiffe://example.org/Prod_EU/shop/.../web/x",
        ),
    ] {
        let parsed = template(text).unwrap();
        assert_eq!(parsed.to_string(), text);
        let mut world = World::spiffe();
        let policy = Policy::new("example.org".parse().unwrap(), parsed).unwrap();
        world.policy.names = NamePolicy::Spiffe(policy);
        assert_eq!(world.spiffe_id(), expected);
    }
    assert_eq!(
        IdTemplate::default().to_string(),
        "/ns/{namespace}/sa/{service-account}"
    );
    assert_eq!(
        template("/ns/{namespace}/sa/{service-account}"),
        Ok(IdTemplate::default())
    );
}

#[test]
fn templates_that_are_none() {
    use TemplateError::{
        IllegalSegment, MissingVariable, NotAPath, PartialVariable, RepeatedVariable,
        UnknownVariable,
    };
    let segment = |text: &str| text.to_owned();
    for (text, expected) in [
        (
            "",
            NotAPath {
                template: String::new(),
            },
        ),
        (
            "ns/{namespace}",
            NotAPath {
                template: segment("ns/{namespace}"),
            },
        ),
        (
            "/",
            IllegalSegment {
                segment: String::new(),
            },
        ),
        (
            "//{namespace}/{service-account}",
            IllegalSegment {
                segment: String::new(),
            },
        ),
        (
            "/{namespace}/{service-account}/",
            IllegalSegment {
                segment: String::new(),
            },
        ),
        (
            "/./{namespace}/{service-account}",
            IllegalSegment {
                segment: segment("."),
            },
        ),
        (
            "/../{namespace}/{service-account}",
            IllegalSegment {
                segment: segment(".."),
            },
        ),
        (
            "/a b/{namespace}/{service-account}",
            IllegalSegment {
                segment: segment("a b"),
            },
        ),
        (
            "/%41/{namespace}/{service-account}",
            IllegalSegment {
                segment: segment("%41"),
            },
        ),
        (
            "/ä/{namespace}/{service-account}",
            IllegalSegment {
                segment: segment("ä"),
            },
        ),
        (
            "/{namespace}",
            MissingVariable {
                variable: "service-account",
            },
        ),
        (
            "/{service-account}",
            MissingVariable {
                variable: "namespace",
            },
        ),
        (
            "/ns",
            MissingVariable {
                variable: "namespace",
            },
        ),
        (
            "/{labels.app}",
            UnknownVariable {
                segment: segment("{labels.app}"),
                known: segment("{namespace}, {service-account}"),
            },
        ),
        (
            "/{Namespace}",
            UnknownVariable {
                segment: segment("{Namespace}"),
                known: segment("{namespace}, {service-account}"),
            },
        ),
        (
            "/{}",
            UnknownVariable {
                segment: segment("{}"),
                known: segment("{namespace}, {service-account}"),
            },
        ),
        (
            "/{namespace}-{service-account}",
            PartialVariable {
                segment: segment("{namespace}-{service-account}"),
            },
        ),
        (
            "/ns-{namespace}",
            PartialVariable {
                segment: segment("ns-{namespace}"),
            },
        ),
        (
            "/{namespace",
            PartialVariable {
                segment: segment("{namespace"),
            },
        ),
        (
            "/{{namespace}}",
            PartialVariable {
                segment: segment("{{namespace}}"),
            },
        ),
        (
            "/{namespace}/{namespace}/{service-account}",
            RepeatedVariable {
                segment: segment("{namespace}"),
            },
        ),
    ] {
        assert_eq!(template(text), Err(expected), "{text}");
    }
}

#[test]
fn ids_of_the_longest_names_fit_or_the_template_is_refused() {
    // 9 for the scheme, 255 for the trust domain, and 5 + 63 + 253 for the rest of the path.
    let room = 2048 - 9 - 255 - (1 + 63 + 1 + 253 + 1);
    let domain = "d".repeat(255);
    let make = |literal: usize| {
        let text = format!("/{{namespace}}/{{service-account}}/{}", "x".repeat(literal));
        Policy::new(domain.parse().unwrap(), template(&text).unwrap())
    };
    assert_eq!(
        make(room + 1),
        Err(TemplateError::TooLong { longest: 2049 })
    );
    let mut world = World::spiffe();
    world.policy.names = NamePolicy::Spiffe(make(room).unwrap());
    world.request.namespace = "n".repeat(63);
    world.request.service_account_name = "s".repeat(253);
    world.pod().service_account_name = "s".repeat(253);
    assert_eq!(world.spiffe_id().len(), 2048);
}

#[test]
fn a_name_the_api_server_should_have_refused_waits() {
    let mut world = World::spiffe();
    for name in ["", "..", "system:admin", "a/b"] {
        world.request.service_account_name = name.to_owned();
        world.pod().service_account_name = name.to_owned();
        assert_eq!(world.wait().reason, WaitReason::UnusableName, "{name:?}");
    }
}

proptest! {
    #[test]
    fn no_two_accounts_share_an_id(
        one in ("[a-z0-9.-]{1,8}", "[a-z0-9.-]{1,8}"),
        other in ("[a-z0-9.-]{1,8}", "[a-z0-9.-]{1,8}"),
        text in prop::sample::select(vec![
            "/ns/{namespace}/sa/{service-account}",
            "/{service-account}/{namespace}",
            "/{namespace}/{service-account}/sa",
        ]),
    ) {
        let template = template(text).unwrap();
        let path = |(namespace, account): &(String, String)| {
            let path = template.0.path(|variable| match variable {
                Variable::Namespace => namespace.as_str(),
                Variable::ServiceAccount => account.as_str(),
            });
            path.unwrap()
        };
        prop_assert_eq!(path(&one) == path(&other), one == other);
    }

    #[test]
    fn any_text_is_a_template_or_refused(text in "[/{}a-z.-]{0,40}|\\PC{0,20}") {
        if let Ok(template) = template(&text) {
            prop_assert_eq!(template.to_string(), text);
        }
    }
}
