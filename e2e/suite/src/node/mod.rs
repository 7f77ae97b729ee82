//! Steps on a real node: `cargo xtask e2e --node`.
//!
//! podcert's controller runs in a pod, from an image with nothing in it but the program; the examples of
//! `deploy/examples` run in theirs; a real kubelet asks for their certificates and puts them there. Each step
//! begins by making sure of that, so that it can be run alone, then disturbs something, waits until the
//! clients have settled, and lets no call fail from then on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use podcert_cases::Release;

use self::polls::Clients;
use self::world::{Example, IMAGE, World};
use crate::cluster::Cluster;
use crate::dropin::audit::Asked;
use crate::dropin::place::{self, Pools};
use crate::manifests;
use crate::run::{Context, Outcome, Step};

mod diagnosis;
mod polls;
mod replicas;
mod world;

/// All of them, for the newest server; older kubelets have clusters of their own.
pub(crate) fn steps() -> Vec<Step> {
    let on_the_newest = |name, run| Step {
        name,
        releases: &[Release::V1_37],
        run,
    };
    vec![
        on_the_newest("node-examples", |context| Box::pin(examples(context))),
        // While the requests of the examples are kept.
        on_the_newest("node-diagnosis", |context| {
            Box::pin(diagnosis::step(context))
        }),
        on_the_newest("node-kubelet-restart", |context| {
            Box::pin(kubelet_restart(context))
        }),
        on_the_newest("node-apiserver-restart", |context| {
            Box::pin(apiserver_restart(context))
        }),
        on_the_newest("node-controller-replaced", |context| {
            Box::pin(controller_replaced(context))
        }),
        on_the_newest("node-replica-lost", |context| {
            Box::pin(replicas::lost(context))
        }),
        on_the_newest("node-default-namespace", |context| {
            Box::pin(default_namespace(context))
        }),
        on_the_newest("node-drop-in", |context| Box::pin(drop_in(context))),
        on_the_newest("node-kubelet-1.36", |context| {
            Box::pin(older_kubelet(context, Release::V1_36))
        }),
        on_the_newest("node-kubelet-1.35", |context| {
            Box::pin(older_kubelet(context, Release::V1_35))
        }),
    ]
}

/// The examples run as they say.
async fn examples(context: Context) -> Result<Outcome> {
    let world = World::on(Arc::clone(&context.cluster), &context).await?;
    settled(&world, "").await
}

/// A kubelet that starts again knows no key of before: it asks for all certificates anew, at once.
async fn kubelet_restart(context: Context) -> Result<Outcome> {
    let world = World::on(Arc::clone(&context.cluster), &context).await?;
    run_examples(&world).await?;
    let clients = Clients::of(&world.client, Example::Spiffe.namespace());
    let count = Example::Spiffe.clients();
    let before: BTreeSet<String> = own_serials(&clients.settled(count).await?);
    ensure!(
        before.len() == count,
        "each client has a certificate of its own: {before:?}"
    );
    world.cluster.restart_kubelet().await?;
    let after = clients
        .until(count, |poll| !before.contains(poll.get("own_serial")))
        .await?;
    let after = own_serials(&after);
    ensure!(
        after.len() == count,
        "each client has a certificate of its own: {after:?}"
    );
    settled(&world, "all certificates anew, ").await
}

/// Clients do not need the API server, and a pod that starts after its restart gets what it asks for.
async fn apiserver_restart(context: Context) -> Result<Outcome> {
    let world = World::on(Arc::clone(&context.cluster), &context).await?;
    run_examples(&world).await?;
    world.cluster.restart_apiserver().await?;
    replace_clients(&world).await?;
    settled(&world, "a new client served, ").await
}

/// A rollout of the controller leaves clients alone, and what comes after it is answered by the new one.
async fn controller_replaced(context: Context) -> Result<Outcome> {
    let world = World::on(Arc::clone(&context.cluster), &context).await?;
    run_examples(&world).await?;
    let before = world.digests().await?;
    world.run_build(&format!("{IMAGE}-next"), b"next").await?;
    let after = world.digests().await?;
    ensure!(
        before.len() == 1 && after.len() == 1 && before != after,
        "the controller ran from {before:?} and runs from {after:?}"
    );
    replace_clients(&world).await?;
    settled(&world, "a new client served, ").await
}

/// The namespace with the Service `kubernetes`, which has no selector.
async fn default_namespace(context: Context) -> Result<Outcome> {
    let world = World::on(Arc::clone(&context.cluster), &context).await?;
    let mut watched = 0;
    for example in Example::ALL {
        world.run_example(example, "default").await?;
        let clients = Clients::of(&world.client, "default");
        watched += clients.none_fails(example.clients()).await?;
        // Both have the same names for their objects.
        world.remove_example("default").await?;
    }
    Ok(Outcome::of(format!("{watched} calls, 0 failed")))
}

/// A node of an earlier release on this server, which serves v1beta1 for it.
async fn older_kubelet(context: Context, kubelet: Release) -> Result<Outcome> {
    on_a_cluster_of_its_own(&context, kubelet, async |cluster| {
        let world = World::on(cluster, &context).await?;
        run_examples(&world).await?;
        world.cluster.restart_kubelet().await?;
        settled(&world, "").await
    })
    .await
}

/// meshtool's installation with the name of the image replaced, and nothing else.
async fn drop_in(context: Context) -> Result<Outcome> {
    on_a_cluster_of_its_own(&context, context.release, async |cluster| {
        let world = World::bare(cluster, &context)?;
        let folder = tempfile::tempdir()?;
        place::install(&world.client, &Pools::build(folder.path()).await?).await?;
        world.load(IMAGE, b"").await?;
        let deployment = place::DEPLOYMENT.replace(place::MESHTOOLS_IMAGE, IMAGE);
        manifests::apply(&world.client, &deployment).await?;
        world
            .rolled_out(place::NAMESPACE, place::APPLICATION)
            .await?;
        let outcome = settled(&world, "").await?;
        let asked = Asked::read(&world.cluster.audit_log())?;
        asked.check_refusals()?;
        Ok(outcome)
    })
    .await
}

async fn on_a_cluster_of_its_own(
    context: &Context,
    kubelet: Release,
    run: impl AsyncFnOnce(Arc<Cluster>) -> Result<Outcome>,
) -> Result<Outcome> {
    let options = context.options().with_node(kubelet);
    let cluster = Arc::new(Cluster::start(&options).await?);
    let outcome = run(Arc::clone(&cluster)).await;
    if let Ok(cluster) = Arc::try_unwrap(cluster) {
        cluster.shutdown().await?;
    }
    outcome
}

async fn run_examples(world: &World) -> Result<()> {
    for example in Example::ALL {
        world.run_example(example, example.namespace()).await?;
    }
    Ok(())
}

async fn replace_clients(world: &World) -> Result<()> {
    for example in Example::ALL {
        Clients::of(&world.client, example.namespace())
            .replace_one()
            .await?;
    }
    Ok(())
}

/// Both examples are served as they promise, and no call fails while they are watched.
async fn settled(world: &World, what: &str) -> Result<Outcome> {
    run_examples(world).await?;
    let mut watched = 0;
    for example in Example::ALL {
        let clients = Clients::of(&world.client, example.namespace());
        watched += clients.none_fails(example.clients()).await?;
    }
    Ok(Outcome::of(format!("{what}{watched} calls, 0 failed")))
}

fn own_serials(polls: &[polls::Poll]) -> BTreeSet<String> {
    polls
        .iter()
        .map(|poll| poll.get("own_serial").to_owned())
        .collect()
}

/// How long anything may take; a bundle that is new may reach a pod after a minute, and images of a debug
/// build are large.
const PATIENCE: Duration = Duration::from_secs(240);
const PAUSE: Duration = Duration::from_millis(500);
