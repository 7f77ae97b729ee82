//! A replica that stands still while pods, Services and its pool change, and wakes up: what it knew is of
//! another age, and nothing of it may come out.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use podcert_pki::Chain;
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use super::crowd::{Answer, Crowd, LOOK, POLICIES, Replica, has, longest};
use super::gate::Gate;
use super::{A, BURST, C, D, PACE, PACED, Scene, new_pool};
use crate::harness::PATIENCE;
use crate::harness::rendezvous::{BUNDLES, owner};
use crate::report::Goal;
use crate::run::Context;

/// The replica that publishes sleeps for 40 seconds.
pub(super) async fn wakes(context: &Context) -> Result<Scene> {
    let mut scene = Scene::default();
    let names = [A, C, D];
    let crowd = Crowd::open(context, "sleeper", &names).await?;
    crowd.stage.let_share().await?;
    let (old, new) = (new_pool()?, new_pool()?);
    let publisher = owner(BUNDLES, &names);
    let mut others = names.into_iter().filter(|name| *name != publisher);
    let (one, other) = others.next().zip(others.next()).context("nobody else")?;
    let (_, mut setup) = crowd.place(publisher, &old).await?;
    let gate = Gate::before(&setup.kubeconfig).await?;
    setup.kubeconfig = gate.kubeconfig(&setup.kubeconfig)?;
    let (one, other, sleeper) = tokio::try_join!(
        crowd.start(one, &old),
        crowd.start(other, &old),
        Replica::start(publisher, &setup)
    )?;
    let all = [&one, &other, &sleeper];
    crowd.share(&all, 3).await?;
    for policy in POLICIES {
        crowd.published(policy, &old, &new).await?;
    }

    // In the middle of its work: with requests that it has decided on, and others that it has not.
    let twice = crowd.written_twice(&sleeper).await?;
    let before = crowd.ask(&["spiffe"], BURST, Duration::ZERO);
    while sleeper.count("podcert_requests_total").await? < 10.0 {
        sleep(LOOK).await;
    }
    sleeper.signal(Signal::STOP)?;
    let stopped = Instant::now();
    // What was under way when it stopped has arrived, or is lost.
    sleep(Duration::from_millis(500)).await;
    gate.cut();
    // A busy server takes its time for what it has.
    sleep(Duration::from_secs(2)).await;
    let asleep = crowd.revision().await?;

    crowd.rotate(&new)?;
    let rotated = Instant::now();
    crowd.rename_service().await?;
    // The old anchor stays: who takes over takes none for what it saw before it did.
    for policy in POLICIES {
        crowd.published(policy, &new, None).await?;
    }
    scene.figure(
        "replica_bundle_takeover_seconds",
        rotated.elapsed().as_secs_f64(),
        Goal::AtMost(30.0),
    );
    let before = crowd.answered(before).await?;
    ensure!(
        longest(&before) > 2.0,
        "nothing was left to do when {} was stopped",
        sleeper.name
    );
    scene.figure(
        "replica_takeover_from_sleeper_seconds",
        longest(&before),
        Goal::AtMost(30.0),
    );
    let meanwhile = crowd.ask(&POLICIES, PACED / 2, PACE);
    let meanwhile = crowd.answered(meanwhile).await?;
    crowd.named_anew(&meanwhile)?;

    sleep_until(stopped + ASLEEP).await;
    let lease = crowd.renewed(sleeper.name).await?;
    // For the other signer: at the moment when it is taken for alive again, a request may be answered twice.
    let late = crowd.ask(&["service-dns"], PACED, PACE);
    sleep(PACE * 10).await;
    sleeper.signal(Signal::CONT)?;
    let (awake, late) =
        tokio::try_join!(crowd.first_renewal(&sleeper, &lease), crowd.answered(late))?;
    crowd.named_anew(&late)?;
    crowd.share(&all, 3).await?;
    crowd.nothing_between(&sleeper, asleep, awake).await?;
    // All of it was answered by others. Who acts on what it knew tries once more.
    let twice = crowd.written_twice(&sleeper).await? - twice;
    ensure!(
        twice < 0.5,
        "{} woke up and sent {twice} answers of before",
        sleeper.name
    );
    crowd.keeps(&new).await?;
    // The old anchor stays: who takes over takes none for what it saw before it did.
    for policy in POLICIES {
        crowd.published(policy, &new, None).await?;
    }

    let after = crowd.divided(&POLICIES, PACED, &names).await?;
    crowd.named_anew(&after)?;
    for answers in [&before, &meanwhile, &late, &after] {
        scene.answered += answers.len();
    }
    for replica in [one, other, sleeper] {
        replica.program.stop().await?;
    }
    crowd.stage.close().await?;
    Ok(scene)
}

impl Crowd {
    /// How far the server's history has come. Versions of all kinds of objects are of one row.
    async fn revision(&self) -> Result<u64> {
        let requests = self
            .stage
            .requests(self.stage.admin.clone(), &self.namespace);
        let list = requests.list(&ListParams::default().limit(1)).await?;
        number(list.metadata.resource_version)
    }

    /// The Service of all pods gets another name, which is what certificates are for.
    async fn rename_service(&self) -> Result<()> {
        let services: Api<Service> = Api::namespaced(self.stage.admin.clone(), &self.namespace);
        self.stage.service(&self.namespace, RENAMED, "web").await?;
        services.delete("web", &DeleteParams::default()).await?;
        Ok(())
    }

    /// That these certificates say the Service's new name alone.
    fn named_anew(&self, answers: &[Answer]) -> Result<()> {
        let old = format!("web.{}.svc", self.namespace);
        let new = format!("{RENAMED}.{}.svc", self.namespace);
        ensure!(
            answers.iter().any(|answer| answer.names.contains(&new)),
            "no certificate is for {new}"
        );
        for answer in answers {
            ensure!(
                !answer.names.contains(&old),
                "{} answered {} from what it knew before: {:?}",
                answer.by,
                answer.id,
                answer.names
            );
        }
        Ok(())
    }

    /// How many answers for spiffe the replica sent in vain.
    async fn written_twice(&self, replica: &Replica) -> Result<f64> {
        let signer = self.stage.signer("spiffe");
        let metrics = replica.program.metrics().await?;
        Ok(metrics.sum("podcert_double_writes_total", &[("signer", &signer)]))
    }

    /// When a Lease says that it was renewed.
    async fn renewed(&self, name: &str) -> Result<String> {
        let lease = self.lease(name).await?.context("no Lease")?;
        let spec = lease.spec.context("a Lease of nobody")?;
        Ok(format!("{:?}", spec.renew_time))
    }

    /// The version of the Lease when it is first renewed again.
    async fn first_renewal(&self, replica: &Replica, known: &str) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lease = self.lease(replica.name).await?.context("no Lease")?;
            let renewed = lease
                .spec
                .as_ref()
                .and_then(|spec| spec.renew_time.as_ref());
            if format!("{:?}", Some(renewed).flatten()) != known {
                return number(lease.metadata.resource_version);
            }
            ensure!(
                Instant::now() < deadline,
                replica
                    .program
                    .blame(anyhow::Error::msg("it does not renew its Lease"))
            );
            sleep(LOOK).await;
        }
    }

    /// That the replica wrote no answer between these two versions.
    async fn nothing_between(&self, replica: &Replica, from: u64, to: u64) -> Result<()> {
        let requests = self
            .stage
            .requests(self.stage.admin.clone(), &self.namespace);
        let mut own = 0;
        for request in requests.list(&ListParams::default()).await? {
            let name = request.name_any();
            let written = number(request.metadata.resource_version)?;
            let chain = request.status.and_then(|status| status.certificate_chain);
            let chain = Chain::from_pem(chain.unwrap_or_default())?;
            if self.issuer(&chain)? != replica.name {
                continue;
            }
            own += 1;
            ensure!(
                !(from < written && written < to),
                "{} answered {name} at {written}: it stood still from {from} on, and its Lease was \
                 renewed at {to}",
                replica.name
            );
        }
        ensure!(own > 0, "{} never answered anything", replica.name);
        Ok(())
    }

    /// That bundles keep an anchor for as long as a replica that would take it needs for that.
    async fn keeps(&self, anchor: &crate::harness::CaPool) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            for policy in POLICIES {
                let bundle = self.stage.bundle(policy).await?;
                ensure!(
                    has(&bundle, anchor),
                    "the bundle of {policy} lost an anchor"
                );
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}

fn number(version: Option<String>) -> Result<u64> {
    let version = version.context("no resource version")?;
    version
        .parse()
        .with_context(|| format!("{version} is no number"))
}

const ASLEEP: Duration = Duration::from_secs(40);
const RENAMED: &str = "web-new";
