//! `podcert controller`: signs the certificates pods ask for, publishes what verifies them.
//!
//! A drop-in for meshtool's command of this name: its flags, their defaults and their spellings
//! are taken, and what it parsed and never used has the effect its name promises.

mod flags;

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::{Context as _, Result};
use clap::Parser;
use podcert_controller::Controller;
use podcert_issuance::Policy;
use podcert_runtime::api::{Connection, Options};
use podcert_runtime::http::Listener;
use podcert_runtime::{Jitter, ScaledClock, SharedClock};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

pub(crate) use self::flags::Args;
use self::flags::Listen;
use crate::commands::sandbox;
use crate::kubeconfig;

/// Signs and publishes until `shutdown`.
///
/// While the API server cannot be reached or a pool file is missing it goes on, not ready.
///
/// # Errors
/// When the flags make no sense, the kubeconfig cannot be used, or the health address not be
/// listened on.
pub(crate) async fn run(
    args: Args,
    clock: SharedClock,
    shutdown: CancellationToken,
) -> Result<ExitCode> {
    let config = args.config()?;
    if args.leaves_pod_identity_out() {
        tracing::warn!(
            "pod-identity is not signed for: --enable-pod-identity-signer is set and --pod-identity-ca-pool is not"
        );
    }
    let cluster = if args.in_cluster {
        kube::Config::incluster().context(
            "cannot use the service account of this pod (--in-cluster); outside a cluster use \
             --kubeconfig",
        )?
    } else {
        kubeconfig::config(args.kubeconfig.as_deref()).await?
    };
    let listener = bind(&args.listen()?).await?;
    let connection = Connection::from_config(&cluster, Options::new(clock))?;

    let signers: Vec<_> = config
        .signers
        .iter()
        .map(|signer| signer.policy.signer.to_string())
        .collect();
    let mut registry = Registry::default();
    let controller = Controller::new(config, connection, Jitter::from_process(), &mut registry)?;
    tracing::info!(server = %cluster.cluster_url, signers = signers.join(" "), "controller starts");

    let serving = listener.map(|listener| {
        tracing::info!(
            address = %listener.address(),
            "serving /livez, /readyz and /metrics"
        );
        let health = controller.health().clone();
        tokio::spawn(listener.serve(health, Arc::new(registry), shutdown.clone()))
    });
    controller.run(shutdown).await?;
    if let Some(serving) = serving {
        serving.await.context("the health listener broke")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a sandbox's clock that this process was told of for another cluster.
///
/// # Errors
/// The kubeconfig is not that sandbox's.
pub(crate) fn check_clock(args: &Args, clock: &ScaledClock) -> Result<()> {
    if args.in_cluster {
        // Its own pod says which clock it has.
        return Ok(());
    }
    sandbox::clock::check(clock, args.kubeconfig.as_deref())
}

/// The command line of a controller without the words before its flags.
#[derive(Debug, Parser)]
// As the program itself takes them: of a flag given twice the last counts.
#[command(no_binary_name = true, args_override_self = true)]
struct ControllerLine {
    /// Set for every command of podcert.
    #[arg(long)]
    #[allow(dead_code, reason = "only whether it can be read matters")]
    log: Option<String>,
    #[arg(long)]
    #[allow(dead_code, reason = "only whether it can be read matters")]
    log_format: Option<String>,
    #[command(flatten)]
    args: Args,
}

/// The flags of a controller's command line, from words a manifest has after `controller`.
///
/// # Errors
/// Which of them it does not take.
pub(crate) fn read(flags: &[String]) -> Result<Args> {
    let flags = crate::go_flags::normalize(
        std::iter::once("podcert")
            .chain(flags.iter().map(String::as_str))
            .map(Into::into),
    );
    let line = ControllerLine::try_parse_from(flags.into_iter().skip(1)).map_err(|error| {
        // Without its hints at usage.
        let words = error.to_string();
        let said = words.lines().next().unwrap_or_default();
        anyhow::anyhow!("{}", said.trim_start_matches("error: "))
    })?;
    Ok(line.args)
}

/// Whether a controller in a pod serves health and metrics with these flags on this port of all addresses.
pub(crate) fn serves(args: &Args, port: u16) -> bool {
    match args.listen() {
        Ok(Listen::At(addresses)) => addresses
            .iter()
            .all(|address| address.port() == port && address.ip().is_unspecified()),
        Ok(Listen::Nowhere) | Err(_) => false,
    }
}

/// What a controller with these flags issues, signer by signer.
///
/// # Errors
/// Which flag is missing or wrong.
pub(crate) fn policies(args: &Args) -> Result<Vec<Policy>> {
    let signers = args.config()?.signers.into_iter();
    Ok(signers.map(|signer| signer.policy).collect())
}

/// The application whose work a controller with these flags shares.
pub(crate) fn application(args: &Args) -> Option<String> {
    Some(args.config().ok()?.application?.to_string())
}

/// Whether a controller with these flags starts, as far as the flags tell.
///
/// # Errors
/// Which flag is missing or wrong.
pub(crate) fn check(args: &Args) -> Result<()> {
    args.config()?.check()?;
    args.listen()?;
    Ok(())
}

/// Binds the first address of those asked for that can be.
async fn bind(listen: &Listen) -> Result<Option<Listener>> {
    let addresses: &[SocketAddr] = match listen {
        Listen::Nowhere => return Ok(None),
        Listen::At(addresses) => addresses,
    };
    let mut refused = None;
    for address in addresses {
        match Listener::bind(*address).await {
            Ok(listener) => return Ok(Some(listener)),
            Err(error) => refused = Some((address, error)),
        }
    }
    let (address, error) = refused.context("--listen names no address")?;
    Err(error).with_context(|| {
        format!(
            "cannot listen on {address} for health and metrics; choose another with --listen, or \
             none with --listen=''"
        )
    })
}
