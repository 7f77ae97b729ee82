//! Replicas that share their work, on a real server: who answers, who takes over, who publishes.
//!
//! [`crowd`] has what they share. Four scenes run side by side, each on a stage of its own.

mod crowd;
mod gate;
mod go;
mod sleeper;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Instant, sleep};

use self::crowd::{Crowd, POLICIES, Replica, longest};
use crate::harness::rendezvous::{BUNDLES, owner};
use crate::harness::{CaKind, CaPool};
use crate::report::Goal;
use crate::run::{Context, Outcome};

/// Named as the pods of a Deployment are: names that differ in their last letter alone get uneven shares.
const A: &str = "mesh-controller-6d5f9c7b8-x2k4q";
const B: &str = "mesh-controller-6d5f9c7b8-7rm9z";
const C: &str = "mesh-controller-6d5f9c7b8-bq5lw";
const D: &str = "mesh-controller-6d5f9c7b8-n8tsd";

/// What a scene came to: requests that were answered, and figures.
#[derive(Debug, Default)]
struct Scene {
    answered: usize,
    figures: Vec<(&'static str, f64, Goal)>,
}

/// The step of a whole run.
pub(crate) async fn step(context: Context) -> Result<Outcome> {
    let scenes = tokio::try_join!(
        come_and_go(&context),
        sleeper::wakes(&context),
        go::beside(&context),
        without_rights(&context),
    )?;
    let scenes = [scenes.0, scenes.1, scenes.2, scenes.3];
    let answered: usize = scenes.iter().map(|scene| scene.answered).sum();
    let mut outcome = Outcome::of(format!("{answered} issued, each by its owner"));
    for (name, value, goal) in scenes.into_iter().flat_map(|scene| scene.figures) {
        outcome = outcome.with(name, value, goal);
    }
    Ok(outcome)
}

/// Three divide the work, a fourth joins, one is killed.
async fn come_and_go(context: &Context) -> Result<Scene> {
    let mut scene = Scene::default();
    let crowd = Crowd::open(context, "crowd", &[A, B, C, D]).await?;
    crowd.stage.let_share().await?;
    let (old, new) = (new_pool()?, new_pool()?);
    let (a, b, c) = tokio::try_join!(
        crowd.start(A, &old),
        crowd.start(B, &old),
        crowd.start(C, &old)
    )?;
    let three = [&a, &b, &c];
    crowd.share(&three, 3).await?;
    divide(&crowd, three, &mut scene).await?;
    publish(&crowd, three, &old, &new).await?;

    let joining = async { tokio::try_join!(crowd.start(D, &new), crowd.leased(D)) };
    let ((d, leased), answers) = tokio::try_join!(joining, crowd.until_answered_by(D))?;
    let first = answers.iter().filter(|answer| answer.by == D);
    let first = first.map(|answer| answer.seen).min();
    let first = first.context("invariant: it answered")?;
    scene.figure(
        "replica_join_seconds",
        first.saturating_duration_since(leased).as_secs_f64(),
        Goal::AtMost(5.0),
    );
    for answer in &answers {
        let owners = [&[A, B, C][..], &[A, B, C, D]].map(|live| answer.owner(live));
        ensure!(
            owners.contains(&answer.by),
            "{} is one of {owners:?}'s, and was answered by {}",
            answer.id,
            answer.by
        );
    }
    crowd.share(&[&a, &b, &c, &d], 4).await?;
    scene.answered += crowd
        .divided(&POLICIES, BURST / 2, &[A, B, C, D])
        .await?
        .len();

    let asking = crowd.ask(&POLICIES, PACED, PACE);
    sleep(PACE * 100).await;
    b.program.kill().await?;
    let killed = Instant::now();
    let answers = crowd.answered(asking).await?;
    let mut taken_over = 0;
    for answer in answers.iter().filter(|answer| answer.made > killed) {
        let heir = answer.owner(&[A, C, D]);
        ensure!(
            answer.by == heir,
            "{} is {heir}'s since {B} is dead, and was answered by {}",
            answer.id,
            answer.by
        );
        taken_over += usize::from(answer.owner(&[A, B, C, D]) == B);
    }
    ensure!(
        taken_over > 0 && longest(&answers) > 2.0,
        "nobody waited for the replica that was killed: {taken_over} were its own"
    );
    scene.figure(
        "replica_takeover_seconds",
        longest(&answers),
        Goal::AtMost(30.0),
    );
    scene.answered += answers.len();
    crowd.remove_pod(B).await?;

    // An orderly end gives the share up, which nobody waits for.
    let asking = crowd.ask(&POLICIES, PACED, PACE);
    sleep(PACE * 100).await;
    c.program.stop().await?;
    let answers = crowd.answered(asking).await?;
    scene.figure(
        "replica_handover_seconds",
        longest(&answers),
        // Less than a Lease that runs out.
        Goal::AtMost(10.0),
    );
    scene.answered += answers.len();
    for replica in [a, d] {
        replica.program.stop().await?;
    }
    crowd.stage.close().await?;
    Ok(scene)
}

/// A burst is divided as the hash says, and nothing is written twice.
async fn divide(crowd: &Crowd, replicas: [&Replica; 3], scene: &mut Scene) -> Result<()> {
    let before = written_twice(&replicas).await?;
    let names = replicas.map(|replica| replica.name);
    let answers = crowd.divided(&POLICIES, BURST, &names).await?;
    let (mut shares, mut counted) = (0.0, 0.0);
    for replica in replicas {
        shares += replica.count("podcert_share_owned_ratio").await?;
        let own = answers.iter().filter(|answer| answer.by == replica.name);
        let count = replica.count("podcert_requests_total").await?;
        ensure!(
            (count - own.count() as f64).abs() < 0.5,
            "{} counts {count} answers, and others saw other ones",
            replica.name
        );
        counted += count;
    }
    ensure!((shares - 1.0).abs() < 0.01, "the shares sum up to {shares}");
    ensure!(counted as usize == BURST, "{counted} of {BURST} counted");
    let twice = written_twice(&replicas).await? - before;
    scene.figure("replica_steady_double_writes", twice, Goal::AtMost(0.0));
    scene.answered += answers.len();
    Ok(())
}

/// Of all who follow the pool one writes.
async fn publish(crowd: &Crowd, replicas: [&Replica; 3], old: &CaPool, new: &CaPool) -> Result<()> {
    for policy in POLICIES {
        crowd.published(policy, old, new).await?;
    }
    let mut before = Vec::new();
    for replica in replicas {
        before.push(replica.bundle_writes().await?);
    }
    crowd.rotate(new)?;
    for policy in POLICIES {
        crowd.published(policy, new, old).await?;
    }
    // Others would be as fast as the one who wrote.
    sleep(Duration::from_secs(1)).await;
    let publisher = owner(BUNDLES, &replicas.map(|replica| replica.name));
    for (replica, before) in replicas.into_iter().zip(before) {
        let writes = replica.bundle_writes().await? - before;
        ensure!(
            (writes > 0.5) == (replica.name == publisher),
            "bundles are {publisher}'s, and {} made {writes} writes",
            replica.name
        );
    }
    Ok(())
}

/// A replica that may not see Leases does all of the work, and says so once.
async fn without_rights(context: &Context) -> Result<Scene> {
    let crowd = Crowd::open(context, "lonely", &[A]).await?;
    let a = crowd.start(A, &new_pool()?).await?;
    crowd.share(&[&a], 1).await?;
    let answers = crowd.divided(&POLICIES, PACED / 4, &[A]).await?;
    // Longer than a Lease would be renewed, so that it may have been refused again.
    sleep(Duration::from_secs(15)).await;
    let log = std::fs::read_to_string(&a.log)?;
    let told = log.matches("this replica works alone").count();
    ensure!(
        told == 1,
        "it was told {told} times that the replica works alone"
    );
    a.program.stop().await?;
    crowd.stage.close().await?;
    Ok(Scene {
        answered: answers.len(),
        figures: Vec::new(),
    })
}

impl Scene {
    fn figure(&mut self, name: &'static str, value: f64, goal: Goal) {
        self.figures.push((name, value, goal));
    }
}

async fn written_twice(replicas: &[&Replica]) -> Result<f64> {
    let mut twice = 0.0;
    for replica in replicas {
        twice += replica.count("podcert_double_writes_total").await?;
    }
    Ok(twice)
}

/// A pool of one more CA, which signs for nobody.
fn new_pool() -> Result<CaPool> {
    CaPool::new(CaKind::USUAL)
}

const BURST: usize = 300;
/// Requests that come one after the other.
const PACED: usize = 200;
const PACE: Duration = Duration::from_millis(20);
