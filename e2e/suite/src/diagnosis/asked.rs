//! Pods in all states, and what is to be said of each.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use podcert_cases::Release;
use serde_json::{Value, json};

use super::asker::Asker;
use super::place::{Place, anchors, certificate};
use crate::harness::{Answers, PATIENCE, Pod, RequestId, until};

/// How many pods are asked about.
pub(super) const COUNT: usize = 6;

/// The pods, and their requests.
pub(super) struct Pods {
    issued: Arc<Pod>,
    service_dns: RequestId,
    spiffe: RequestId,
    waiting: Arc<Pod>,
    waits: RequestId,
    refused: Arc<Pod>,
    refusal: RequestId,
    unserved: Arc<Pod>,
    unanswered: RequestId,
    plain: Arc<Pod>,
    version: String,
    /// Whether the server keeps a pod's anchors: before 1.37 a gate of their own is shut here.
    has_anchors: bool,
}

impl Pods {
    /// Makes them, and waits for the answers of those that get any.
    ///
    /// # Errors
    /// When something else is answered.
    pub(super) async fn create(place: &mut Place) -> Result<Self> {
        let shop = place.namespace("shop").await?;
        let alone = place.namespace("alone").await?;
        place.stage.service(&shop, "web", "web").await?;
        let answers = Answers::watch(&place.stage).await?;

        let sources = json!([
            certificate(SERVICE_DNS),
            certificate(SPIFFE),
            anchors(SPIFFE)
        ]);
        let issued = place.pod(&shop, "issued", sources).await?;
        let service_dns = place.ask(&issued, SERVICE_DNS, &[]).await?;
        let spiffe = place.ask(&issued, SPIFFE, &[]).await?;
        for request in [&service_dns, &spiffe] {
            answers.of(request, PATIENCE).await?.issued()?;
        }
        let sources = json!([certificate(SERVICE_DNS)]);
        let waiting = place.pod(&alone, "waiting", sources).await?;
        let waits = place.ask(&waiting, SERVICE_DNS, &[]).await?;

        let mut source = certificate(SERVICE_DNS);
        let annotation = ("service-dns.row-major.net/services", "web,");
        source["podCertificate"]["userAnnotations"] = json!({annotation.0: annotation.1});
        let refused = place.pod(&shop, "refused", json!([source])).await?;
        let refusal = place.ask(&refused, SERVICE_DNS, &[annotation]).await?;
        answers.of(&refusal, PATIENCE).await?;

        let sources = json!([certificate(UNSERVED)]);
        let unserved = place.pod(&shop, "unserved", sources).await?;
        let unanswered = place.ask(&unserved, UNSERVED, &[]).await?;
        let plain = place.pod(&shop, "plain", json!([])).await?;
        Ok(Self {
            issued,
            service_dns,
            spiffe,
            waiting,
            waits,
            refused,
            refusal,
            unserved,
            unanswered,
            plain,
            has_anchors: place.stage.skew.server >= Release::V1_37,
            version: format!("certificates.k8s.io/{}", place.stage.skew.api().as_str()),
        })
    }

    /// The API version that is served to all.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// What is to be said of the issued pod's anchors: `wanted`, where it has any.
    pub(super) fn anchors(&self, wanted: &str) -> Value {
        if self.has_anchors {
            json!(wanted)
        } else {
            Value::Null
        }
    }

    /// The one that has all it wants, with its namespace.
    pub(super) fn issued(&self) -> String {
        full(&self.issued)
    }

    /// The one that waits, with its namespace.
    pub(super) fn waiting(&self) -> String {
        full(&self.waiting)
    }

    /// The namespace of that.
    pub(super) fn namespace_of_waiting(&self) -> &str {
        &self.waiting.namespace
    }

    /// The namespace of the others.
    pub(super) fn namespace(&self) -> &str {
        &self.issued.namespace
    }

    /// Each is explained.
    ///
    /// # Errors
    /// What is said otherwise.
    pub(super) async fn are_explained(&self, place: &Place, asker: &Asker) -> Result<()> {
        self.explained_issued(place, asker)
            .await
            .context("a pod whose certificates are issued")?;
        self.explained_refused(asker)
            .await
            .context("a pod that is refused one")?;
        self.explained_plain(asker)
            .await
            .context("a pod without projections")?;
        explained_missing(asker, self.namespace())
            .await
            .context("a pod that is not there")?;
        // Both change after seconds.
        self.explained_waiting(asker)
            .await
            .context("a pod that no Service selects")?;
        self.explained_unserved(asker)
            .await
            .context("a pod whose signer nobody serves")
    }

    async fn explained_issued(&self, place: &Place, asker: &Asker) -> Result<()> {
        let Pod {
            namespace,
            name,
            uid,
            ..
        } = &*self.issued;
        let said = asker.explain(&self.issued()).await?;
        said.ends_with(0)?;
        said.hides(&[])?;
        said.has(&[
            ("/namespace", json!(namespace)),
            ("/name", json!(name)),
            ("/uid", json!(uid)),
            ("/node", json!(place.node())),
            ("/phase", json!("Pending")),
            ("/serviceAccount", json!("web")),
            ("/warnings", json!([])),
            ("/sources/0/kind", json!("certificate")),
            ("/sources/0/volume", json!("tls")),
            ("/sources/0/paths", json!(["service-dns.pem"])),
            ("/sources/0/signer", json!(SERVICE_DNS)),
            ("/sources/0/keyType", json!("ECDSAP256")),
            ("/sources/1/signer", json!(SPIFFE)),
            ("/sources/2/kind", self.anchors("anchors")),
            ("/sources/2/state", self.anchors("present")),
            ("/sources/3", Value::Null),
        ])?;
        let dns = format!("web.{namespace}.svc");
        let id = format!("spiffe://cluster.local/ns/{namespace}/sa/web");
        for (number, request, one) in [(0, &self.service_dns, &dns), (1, &self.spiffe, &id)] {
            let (serial, not_after) = place.issued(request).await?;
            let at = |field: &str| format!("/sources/{number}/{field}");
            said.has(&[
                (&at("state"), json!("present")),
                (&at("request"), json!(request.name)),
                (&at("reason"), Value::Null),
                (&at("cure"), Value::Null),
                (&at("certificate/serial"), json!(serial)),
                (&at("certificate/notAfter"), not_after),
                (&at("certificate/names"), json!([one])),
            ])?;
        }
        let page = asker.page(&["explain", "pod", &self.issued()]).await?;
        page.says(
            0,
            &[
                "there",
                SERVICE_DNS,
                &dns,
                SPIFFE,
                &id,
                "issued",
                "expires in",
            ],
        )
    }

    async fn explained_refused(&self, asker: &Asker) -> Result<()> {
        let said = asker.explain(&full(&self.refused)).await?;
        said.ends_with(3)?;
        said.has(&[
            ("/sources/0/state", json!("refused")),
            ("/sources/0/reason", json!(REFUSED)),
            ("/sources/0/request", json!(self.refusal.name)),
            ("/sources/0/certificate", Value::Null),
            ("/sources/1", Value::Null),
        ])?;
        said.tells(
            "/sources/0/details",
            &["service-dns.row-major.net/services"],
        )?;
        ensure!(said.at("/sources/0/cure").is_string(), "{said:?}");
        let page = asker
            .page(&["explain", "pod", &full(&self.refused)])
            .await?;
        page.says(3, &["refused", REFUSED, "for good", "->"])
    }

    async fn explained_plain(&self, asker: &Asker) -> Result<()> {
        let said = asker.explain(&full(&self.plain)).await?;
        said.ends_with(0)?;
        said.hides(&[])?;
        said.has(&[("/name", json!("plain")), ("/sources", json!([]))])?;
        let page = asker.page(&["explain", "pod", &full(&self.plain)]).await?;
        page.says(0, &["no certificates and no trust anchors"])
    }

    async fn explained_waiting(&self, asker: &Asker) -> Result<()> {
        // By what the objects say, until there is an Event, and then by that.
        for by_event in [false, true] {
            until(|| async {
                let said = asker.explain(&self.waiting()).await?;
                said.ends_with(3)?;
                said.hides(&[])?;
                said.has(&[
                    ("/sources/0/state", json!("waiting")),
                    ("/sources/0/reason", json!(WAITS)),
                    ("/sources/0/request", json!(self.waits.name)),
                    ("/sources/0/certificate", Value::Null),
                    ("/sources/1", Value::Null),
                ])?;
                ensure!(said.at("/sources/0/cure").is_string(), "{said:?}");
                if by_event {
                    ensure!(
                        said.tells("/sources/0/details", &["no Event"]).is_err(),
                        "the Event is not seen: {said:?}"
                    );
                }
                Ok(())
            })
            .await?;
        }
        let page = asker.page(&["explain", "pod", &self.waiting()]).await?;
        page.says(3, &["waits", WAITS, "-> a Service"])
    }

    async fn explained_unserved(&self, asker: &Asker) -> Result<()> {
        until(|| async {
            let said = asker.explain(&full(&self.unserved)).await?;
            said.ends_with(3)?;
            said.has(&[
                ("/sources/0/signer", json!(UNSERVED)),
                ("/sources/0/state", json!("waiting")),
                ("/sources/0/reason", Value::Null),
                ("/sources/0/request", json!(self.unanswered.name)),
                ("/sources/0/certificate", Value::Null),
            ])?;
            said.tells("/sources/0/details", &["no controller", "answers"])
        })
        .await?;
        let page = asker
            .page(&["explain", "pod", &full(&self.unserved)])
            .await?;
        page.says(3, &["waits", UNSERVED, "no controller", "-> run one"])
    }

    /// All of them, together.
    ///
    /// # Errors
    /// What is said otherwise.
    pub(super) async fn are_in_the_status(&self, asker: &Asker) -> Result<()> {
        // A wait is a finding after half a minute.
        until(|| async {
            let said = asker.status().await?;
            said.tells("/findings", &["warning", "waits", &self.waiting()])
        })
        .await?;
        let said = asker.status().await?;
        said.ends_with(3)?;
        said.hides(&[])?;
        said.has(&[
            ("/waiting/0/namespace", json!(self.waiting.namespace)),
            ("/waiting/0/pod", json!("waiting")),
            ("/waiting/0/request", json!(self.waits.name)),
            ("/waiting/0/signer", json!(SERVICE_DNS)),
            ("/waiting/0/reason", json!(WAITS)),
            ("/waiting/0/told", json!(true)),
            // Other signers are none of podcert's.
            ("/waiting/1", Value::Null),
            ("/signers/1/name", json!(SERVICE_DNS)),
            ("/signers/1/issued", json!(1)),
            ("/signers/1/waiting", json!(1)),
            ("/signers/1/refused", json!(1)),
            ("/signers/1/bundle/anchors/0/signs", json!(true)),
            ("/signers/2/name", json!(SPIFFE)),
            ("/signers/2/issued", json!(1)),
            ("/signers/2/waiting", json!(0)),
            ("/signers/2/refused", json!(0)),
            ("/signers/3", Value::Null),
        ])?;
        said.tells("/findings", &["warning", &full(&self.refused), REFUSED])?;
        ensure!(said.count("/findings") == 2, "{said:?}");
        let page = asker.page(&["status"]).await?;
        let counts = "1 issued";
        page.says(
            3,
            &[
                "waiting: 1",
                &self.waiting(),
                WAITS,
                REFUSED,
                counts,
                "1 waiting, 1 refused",
            ],
        )
    }

    /// The waiting pod gets its Service, and so its certificate.
    ///
    /// # Errors
    /// What is said otherwise.
    pub(super) async fn cure(&self, place: &Place, asker: &Asker) -> Result<()> {
        let namespace = &self.waiting.namespace;
        place.stage.service(namespace, "web", "web").await?;
        until(|| async {
            let said = asker.explain(&self.waiting()).await?;
            said.has(&[("/sources/0/state", json!("present"))])
        })
        .await?;
        let said = asker.explain(&self.waiting()).await?;
        said.ends_with(0)?;
        let (serial, not_after) = place.issued(&self.waits).await?;
        said.has(&[
            ("/sources/0/request", json!(self.waits.name)),
            ("/sources/0/reason", Value::Null),
            ("/sources/0/certificate/serial", json!(serial)),
            ("/sources/0/certificate/notAfter", not_after),
            (
                "/sources/0/certificate/names",
                json!([format!("web.{namespace}.svc")]),
            ),
        ])?;
        let said = asker.status().await?;
        said.has(&[("/waiting", json!([])), ("/signers/1/issued", json!(2))])
    }
}

async fn explained_missing(asker: &Asker, namespace: &str) -> Result<()> {
    let pod = format!("{namespace}/nobody");
    let page = asker
        .page(&["explain", "pod", &pod, "--output=json"])
        .await?;
    page.says(1, &[&format!("there is no pod {pod}")])?;
    page.is_silent_on(&["sources"])
}

fn full(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

pub(super) const SERVICE_DNS: &str = "row-major.net/service-dns";
const SPIFFE: &str = "row-major.net/spiffe";
/// Of no controller.
const UNSERVED: &str = "nobody.example/ids";
pub(super) const WAITS: &str = "NoMatchingService";
const REFUSED: &str = "InvalidUnverifiedUserAnnotations";
