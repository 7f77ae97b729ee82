use jiff::SignedDuration;

use super::*;
use crate::{
    KeyType,
    fixtures::{key, now, valid_for},
};

#[test]
fn specs_that_make_no_sense_are_refused() {
    let key = key(KeyType::EcdsaP256, 7).public_key();
    let spec = |names: LeafNames, usages| LeafSpec::new(key.clone(), names, usages, valid_for(1));
    let dns = || LeafNames::Dns(vec!["a.b.svc".parse().unwrap()]);
    let neither = ExtKeyUsages {
        server_auth: false,
        client_auth: false,
    };
    assert_eq!(
        spec(LeafNames::Dns(vec![]), ExtKeyUsages::SERVER),
        Err(SpecError::NoName)
    );
    assert_eq!(spec(dns(), neither), Err(SpecError::NoUsage));
    let domain: SpiffeId = "spiffe://td".parse().unwrap();
    assert_eq!(
        spec(
            LeafNames::Spiffe(domain.clone()),
            ExtKeyUsages::SERVER_AND_CLIENT
        ),
        Err(SpecError::SpiffeIdWithoutPath(domain))
    );
    let id = LeafNames::Spiffe("spiffe://td/a".parse().unwrap());
    assert_eq!(spec(id, ExtKeyUsages::CLIENT), Err(SpecError::SpiffeUsages));
}

#[test]
fn validities_are_whole_seconds_and_forward() {
    let almost = now() + SignedDuration::from_millis(999);
    let validity = Validity::new(almost, almost + SignedDuration::from_secs(1)).unwrap();
    assert_eq!(validity.not_before(), now());
    assert_eq!(validity.not_after(), now() + SignedDuration::from_secs(1));
    assert!(validity.contains(now()) && validity.contains(validity.not_after()));
    assert!(!validity.contains(now() + SignedDuration::from_secs(2)));
    assert!(!validity.contains(now() - SignedDuration::from_secs(1)));
    assert!(Validity::new(now(), almost).is_err(), "the same second");
    assert!(Validity::new(almost, now() - SignedDuration::from_hours(1)).is_err());
    assert!(Validity::new("1969-12-31T23:59:59Z".parse().unwrap(), now()).is_err());
}
