//! What is made up: requests that differ from an honest one in what their name says.

use std::collections::BTreeMap;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use podcert_cases::Release;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType,
};

use super::{BOAST, Scene};
use crate::harness::Spec;
use crate::matrix::Policy;

/// A request that is not what it says.
pub(super) struct Forgery {
    pub(super) name: &'static str,
    pub(super) spec: Spec,
    pub(super) becomes: Becomes,
}

/// What becomes of a request where nothing guards creation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Becomes {
    /// A certificate with the names of the pod, and nothing else.
    Issued,
    /// Nothing, for this reason, as long as it is there.
    Waits(&'static str),
}

impl Scene {
    /// What Mallory makes.
    pub(super) fn forgeries(&self) -> Result<Vec<Forgery>> {
        let honest = |change: &dyn Fn(&mut Spec)| {
            let mut spec = self.ask(&self.victim, Policy::Spiffe).spec(self.release());
            change(&mut spec);
            // The proof of possession is over the UID that the request names.
            self.key.show(self.release(), &mut spec);
            spec
        };
        let forgery = |name, becomes, change: &dyn Fn(&mut Spec)| Forgery {
            name,
            spec: honest(change),
            becomes,
        };
        let not_mounted = Forgery {
            name: "a signer the pod does not mount",
            spec: self.ask(&self.plain, Policy::Spiffe).spec(self.release()),
            becomes: Becomes::Waits("NoProjection"),
        };
        let mut forgeries = vec![
            forgery("no such pod", Becomes::Waits("PodNotFound"), &|spec| {
                spec.pod_name = "nobody".into();
            }),
            forgery("another pod UID", Becomes::Waits("PodReplaced"), &|spec| {
                spec.pod_uid = WRONG_UID.into();
            }),
            forgery("all UIDs wrong", Becomes::Waits("PodReplaced"), &|spec| {
                spec.pod_uid = WRONG_UID.into();
                spec.service_account_uid = WRONG_UID.into();
                spec.node_uid = WRONG_UID.into();
            }),
            forgery("another node", Becomes::Waits("PodNodeMismatch"), &|spec| {
                spec.node_name.clone_from(&self.elsewhere.name);
                spec.node_uid.clone_from(&self.elsewhere.uid);
            }),
            forgery(
                "another service account",
                Becomes::Waits("PodServiceAccountMismatch"),
                &|spec| {
                    spec.service_account_name = "other".into();
                    spec.service_account_uid.clone_from(&self.other_account_uid);
                },
            ),
            not_mounted,
            forgery(
                "annotations the pod does not have",
                Becomes::Waits("AnnotationsMismatch"),
                &|spec| {
                    let annotation = ("service-dns.row-major.net/services", "web");
                    spec.unverified_user_annotations =
                        BTreeMap::from([(annotation.0.to_owned(), annotation.1.to_owned())]);
                },
            ),
            forgery("the pod's true UIDs", Becomes::Issued, &|_| {}),
            // The program is shown nodes and service accounts; under meshtool's RBAC, which shows
            // neither, these three would be issued.
            forgery(
                "the pod's true UID alone",
                Becomes::Waits("NodeReplaced"),
                &|spec| {
                    spec.service_account_uid = WRONG_UID.into();
                    spec.node_uid = WRONG_UID.into();
                },
            ),
            forgery(
                "another node UID",
                Becomes::Waits("NodeReplaced"),
                &|spec| spec.node_uid = WRONG_UID.into(),
            ),
            forgery(
                "another service account UID",
                Becomes::Waits("ServiceAccountReplaced"),
                &|spec| spec.service_account_uid = WRONG_UID.into(),
            ),
        ];
        if let Some(csr) = self.boastful_csr()? {
            let mut spec = honest(&|_| {});
            spec.stub_pkcs10_request = Some(csr);
            forgeries.push(Forgery {
                name: "true UIDs and a CSR with names",
                spec,
                becomes: Becomes::Issued,
            });
        }
        Ok(forgeries)
    }

    /// A CSR that asks for everything; there is none where requests have a bare key.
    pub(super) fn boastful_csr(&self) -> Result<Option<String>> {
        if self.release() < Release::V1_36 {
            return Ok(None);
        }
        let mut params = CertificateParams::new([format!("{BOAST}.example.com")])?;
        params.distinguished_name.push(DnType::CommonName, BOAST);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        params.subject_alt_names.extend([
            SanType::URI(format!("spiffe://cluster.local/ns/{BOAST}/sa/{BOAST}").try_into()?),
            SanType::Rfc822Name(format!("{BOAST}@example.com").try_into()?),
            SanType::IpAddress([10, 0, 0, 1].into()),
        ]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.custom_extensions = vec![CustomExtension::from_oid_content(
            &[1, 3, 6, 1, 4, 1, 57683, 1],
            BOAST.as_bytes().to_vec(),
        )];
        let csr = params.serialize_request(self.key.pair())?;
        Ok(Some(STANDARD.encode(csr.der())))
    }
}

const WRONG_UID: &str = "99999999-9999-9999-9999-999999999999";
