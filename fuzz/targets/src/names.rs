//! Names: what a certificate, a flag or an annotation calls something.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use podcert_issuance::SignerName;
use podcert_pki::{
    DnsName, ExtensionOid, IssuerUrl, KeyType, ObjectName, ObjectUid, SpiffeId, TrustDomain,
};

/// Any name.
///
/// # Panics
/// When a name is not written as it was read.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    round_trip::<DnsName>(text);
    round_trip::<ExtensionOid>(text);
    round_trip::<IssuerUrl>(text);
    round_trip::<KeyType>(text);
    round_trip::<ObjectName>(text);
    round_trip::<ObjectUid>(text);
    round_trip::<SignerName>(text);
    round_trip::<SpiffeId>(text);
    round_trip::<TrustDomain>(text);
    round_trip::<podcert_issuance::pod_identity::IdTemplate>(text);
    round_trip::<podcert_issuance::spiffe::IdTemplate>(text);
}

fn round_trip<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    let Ok(name) = text.parse::<T>() else {
        return;
    };
    let again = name.to_string().parse::<T>().ok();
    assert_eq!(again.as_ref(), Some(&name), "{text:?}");
}
