//! What a scene looks at beside its requests: report, readiness, Events, bundle, a new CA, Lease.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use podcert_pki::Chain;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::super::rules::Pair;
use super::super::table::{Becomes, Need, NewCa, Sharing};
use super::{EARLY, Fact, SPIFFE, Scene, read_log, until};
use crate::harness::{PATIENCE, Program, bundle_name};

impl Scene {
    /// What the first replica says of rights: level, resource, verb.
    fn report(&self) -> Result<Option<BTreeSet<(String, String, String)>>> {
        let setup = self.setups.first().context("no replica")?;
        let mut complete = false;
        let mut missing = BTreeSet::new();
        for line in read_log(setup)? {
            if line.pointer("/fields/message") == Some(&json!("no right is missing")) {
                complete = true;
            }
            let text = |path: &str| line.pointer(path).and_then(Value::as_str);
            if text("/fields/rule").is_some() {
                complete = true;
                let level = text("/level").unwrap_or_default().to_owned();
                let resource = text("/fields/resource").unwrap_or_default().to_owned();
                for verb in text("/fields/verbs").unwrap_or_default().split(',') {
                    missing.insert((level.clone(), resource.clone(), verb.to_owned()));
                }
            }
        }
        Ok(complete.then_some(missing))
    }

    pub(super) async fn first_report(&self) -> Result<()> {
        until(async || self.report()?.context("no word about rights").map(drop)).await
    }

    /// It names what is missing, and nothing else.
    pub(super) async fn look_at_the_report(&self) -> Result<()> {
        self.first_report().await?;
        let said = self.report()?.unwrap_or_default();
        let expected: BTreeSet<_> = self
            .play
            .row
            .map(|row| {
                let Pair { resource, verb } = row.pair();
                let level = match row.need {
                    Need::Required => "ERROR",
                    Need::Optional => "WARN",
                };
                (level.to_owned(), resource, verb)
            })
            .into_iter()
            .collect();
        ensure!(said == expected, "the log says {said:?} is missing");
        let needed = self.play.row.is_some_and(|row| row.need == Need::Required);
        until(async || {
            let told = self.told(&self.stage.controller_namespace()).await?;
            ensure!(
                told.contains("RightsMissing") == needed,
                "Events on the controller's pod: {told:?}"
            );
            Ok(())
        })
        .await
    }

    pub(super) async fn look_at_readiness(&self, programs: &[Program]) -> Result<()> {
        let expected = &self.play.expected;
        for program in programs {
            until(async || {
                let (ready, report) = program.readiness().await?;
                ensure!(ready == expected.ready, "ready: {ready}: {report}");
                let sharing = if report.contains("works alone") {
                    Sharing::Alone
                } else if report.contains("shares the work") {
                    Sharing::WithOthers
                } else {
                    Sharing::NotYet
                };
                ensure!(
                    sharing == expected.sharing,
                    "it works {sharing:?}: {report}"
                );
                let others = programs.len() == 2 && sharing == Sharing::WithOthers;
                ensure!(
                    !others || report.contains("replica-0 replica-1"),
                    "replicas do not know of each other: {report}"
                );
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Reasons that Events in a namespace give.
    async fn told(&self, namespace: &str) -> Result<BTreeSet<String>> {
        let events: Api<Event> = Api::namespaced(self.stage.admin.clone(), namespace);
        let events = events.list(&ListParams::default()).await?;
        Ok(events.into_iter().filter_map(|it| it.reason).collect())
    }

    pub(super) async fn look_at_events(&self, facts: &[Fact]) -> Result<()> {
        let mut expected = BTreeSet::new();
        for fact in facts {
            match fact.becomes {
                Becomes::Waits(reason) if self.play.expected.told => {
                    expected.insert(reason.to_owned());
                }
                _ => {}
            }
        }
        until(async || {
            let told = self.told(&self.namespace).await?;
            // Services without a match and the like, which passed, may have been told of as well.
            let complete = expected.is_subset(&told);
            ensure!(
                complete && told.is_empty() == expected.is_empty(),
                "Events: {told:?}"
            );
            Ok(())
        })
        .await
    }

    /// The anchors of the signer spiffe, if there are any.
    async fn published(&self) -> Result<Option<String>> {
        let bundles = self.stage.bundles();
        let name = bundle_name(&self.stage.signer(SPIFFE));
        if bundles.get_opt(&name).await?.is_none() {
            return Ok(None);
        }
        self.stage.bundle(SPIFFE).await.map(Some)
    }

    pub(super) async fn look_at_the_bundle(&self) -> Result<()> {
        let published = self.play.expected.published;
        let wanted = published.then(|| self.pool.root.to_pem());
        until(async || self.shows(wanted.as_deref()).await).await
    }

    async fn shows(&self, anchors: Option<&str>) -> Result<()> {
        let shown = self.published().await?;
        let same = match (&shown, anchors) {
            (Some(shown), Some(anchors)) => shown.trim() == anchors.trim(),
            (None, None) => true,
            _ => false,
        };
        ensure!(same, "the bundle holds {shown:?}, not {anchors:?}");
        Ok(())
    }

    /// The other pool takes the place of the first.
    pub(super) async fn change_the_ca(&self) -> Result<()> {
        let expected = self.play.expected.new_ca;
        if expected == NewCa::Nothing {
            return Ok(());
        }
        let setup = self.setups.first().context("no replica")?;
        self.next.write(&setup.pool)?;
        let changed = Instant::now();
        let anchors = self.next.root.to_pem();
        if expected == NewCa::Published {
            return until(async || self.shows(Some(&anchors)).await).await;
        }
        let signs = async || {
            let id = self.kubelet.ask(&self.request(EARLY, SPIFFE)?).await?;
            let outcome = self.answers.of(&id, PATIENCE).await?;
            let chain = outcome.issued()?.certificate_chain.clone();
            let chain = Chain::from_pem(chain.unwrap_or_default())?;
            let by = chain.leaf().authority_key_id();
            Ok::<_, anyhow::Error>(by == self.next.root.subject_key_id())
        };
        while !signs().await? {
            ensure!(changed.elapsed() < PATIENCE, "the new CA does not sign");
            sleep(Duration::from_millis(500)).await;
        }
        if expected == NewCa::Signs {
            return self.shows(Some(&anchors)).await;
        }
        ensure!(
            changed.elapsed() >= GRACE,
            "the new CA signs after {:?}, though its anchor is not published",
            changed.elapsed()
        );
        self.look_at_the_bundle().await
    }

    pub(super) async fn look_at_the_lease(&self) -> Result<()> {
        let leases: Api<Lease> =
            Api::namespaced(self.stage.admin.clone(), &self.stage.controller_namespace());
        for number in 0..self.setups.len() {
            let left = leases
                .get_opt(&format!("replica-{number}"))
                .await?
                .is_some();
            let expected = self.play.expected.lease_left;
            ensure!(left == expected, "is the Lease there after the end: {left}");
        }
        Ok(())
    }
}

/// How long a new CA waits for its anchor to be published, nearly.
const GRACE: Duration = Duration::from_secs(28);
