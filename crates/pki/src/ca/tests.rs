use super::*;
use crate::{
    KeyType,
    fixtures::{ca_spec, issue, key, root, server_spec},
};

#[test]
fn intermediates_point_to_their_issuer() {
    let (root_key, root) = (key(KeyType::EcdsaP256, 0), root(0));
    let sub = key(KeyType::EcdsaP384, 0);
    let ca = new_intermediate(root_key, &root, sub.public_key(), &ca_spec("intermediate")).unwrap();
    assert!(ca.is_ca() && root.names_issuer_of(&ca) && !ca.is_self_issued());
    assert_eq!(ca.path_len(), Some(0));
    assert_eq!(ca.authority_key_id(), root.subject_key_id());
    assert_eq!(ca.subject_key_id().unwrap(), sub.public_key().key_id());
    let leaf = issue(sub, &ca, &server_spec());
    assert!(ca.names_issuer_of(&leaf));

    // Below an intermediate of ours is no room for another.
    let error = new_intermediate(sub, &ca, root_key.public_key(), &ca_spec("third")).unwrap_err();
    assert!(matches!(error, IssueError::MayNotSign { .. }), "{error:?}");
    let error = new_intermediate(sub, &root, sub.public_key(), &ca_spec("third")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the signing key is not the key of issuer CN=root 0,O=podcert tests"
    );
    let error = new_intermediate(sub, &leaf, sub.public_key(), &ca_spec("third")).unwrap_err();
    assert!(matches!(error, IssueError::NotCa { .. }), "{error:?}");
}

#[test]
fn names_have_limits() {
    for (common_name, organization) in [
        ("", None),
        (" ", None),
        ("a\nb", None),
        ("a", Some("")),
        (&"x".repeat(65), None),
    ] {
        let error = SubjectName::new(common_name, organization)
            .unwrap_err()
            .to_string();
        assert!(error.contains("1 to 64 characters"), "{error}");
    }
    SubjectName::new(&"ü".repeat(64), Some("a, b = \"c\"")).unwrap();
}

#[test]
fn names_made_for_a_key_differ_by_key() {
    let name = |n| SubjectName::for_key("CA", None, key(KeyType::EcdsaP256, n).public_key());
    assert_eq!(name(0), name(0));
    assert_ne!(name(0), name(1));
    let [a, b, c, d, ..] = key(KeyType::EcdsaP256, 0).public_key().key_id();
    let spec = CaSpec {
        subject: name(0).unwrap(),
        ..ca_spec("unused")
    };
    let root = new_root(key(KeyType::EcdsaP256, 0), &spec).unwrap();
    assert_eq!(
        root.subject().to_string(),
        format!("CN=CA {a:02x}{b:02x}{c:02x}{d:02x}")
    );
}
