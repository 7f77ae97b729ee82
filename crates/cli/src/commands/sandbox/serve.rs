//! The sandbox's process: `podcert sandbox up --foreground`, also what `up` starts in the background.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use podcert_runtime::{Clock as _, ScaledClock, SharedClock, SystemClock};
use podcert_sandbox::instance::{Claim, Instances, Record};
use podcert_sandbox::{FaultPlan, Images, Sandbox, User, repository};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::up::{self, Args};
use crate::commands::stage::{self, Controller, Examples};
use crate::output;

/// Is the sandbox until `shutdown`.
///
/// # Errors
/// The name is taken, the plan of faults makes no sense, or something cannot be started; whatever was
/// started has ended then.
pub(super) async fn run(args: Args, shutdown: CancellationToken) -> Result<ExitCode> {
    if args.announce.is_some() {
        // Neither Ctrl-C nor the end of the terminal is for the sandbox, and no pod can open it.
        rustix::process::setsid()
            .map_err(io::Error::from)
            .context("cannot leave the terminal's session")?;
    }
    let images = images(&args)?;
    let instances = Instances::of_this_user()?;
    let claim = instances.claim(&args.name.name)?;
    let log = match &args.announce {
        None => None,
        Some(file) => Some(claim.take_log(file)?),
    };
    let faults = match &args.faults {
        None => FaultPlan::default(),
        Some(path) => {
            let cannot = || format!("cannot read {}", path.display());
            // A pipe would keep the sandbox from starting, and a device from ever ending.
            let meta = std::fs::metadata(path).with_context(cannot)?;
            anyhow::ensure!(
                meta.is_file() && meta.len() <= MAX_PLAN,
                "{} is no plan of faults: expected a file of at most 1 MiB",
                path.display()
            );
            let text = std::fs::read_to_string(path).with_context(cannot)?;
            FaultPlan::parse(&text).with_context(|| path.display().to_string())?
        }
    };

    if args.announce.is_some() {
        // Every path of the command line has been read: no folder of the user's is to be held.
        std::env::set_current_dir("/").context("cannot enter /")?;
    }

    let (mut options, scaled) = stage::options(Arc::new(SystemClock), args.speed, images);
    options.state_parent = Some(instances.folder().to_owned());
    if args.nodes > 1 {
        options.nodes = (1..=args.nodes)
            .map(|number| format!("sandbox-{number}"))
            .collect();
    }
    let clock = options.clock.clone();
    let sandbox = Sandbox::start(options).await?;

    let lived = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        lived = live(&sandbox, &args, &claim, log, (&clock, scaled.as_ref()), faults) => lived,
    };
    let ended = sandbox
        .shutdown()
        .await
        .context("the sandbox left something behind");
    drop(claim);
    lived.and(ended)?;
    tracing::info!("the sandbox has ended");
    Ok(ExitCode::SUCCESS)
}

/// Makes the sandbox ready, says so, and looks after it. Cancel safe: what it starts ends with it.
async fn live(
    sandbox: &Sandbox,
    args: &Args,
    claim: &Claim,
    log: Option<PathBuf>,
    (clock, scaled): (&SharedClock, Option<&ScaledClock>),
    faults: FaultPlan,
) -> Result<()> {
    let mut controller = match args.without_controller {
        true => None,
        false => {
            let tell = |who: &str, what: &str| tracing::info!("{who}: {what}");
            Some(Controller::start(sandbox, clock, scaled, &tell, echo).await?)
        }
    };
    let record = publish(sandbox, claim, log.clone(), scaled)?;
    if args.announce.is_some() {
        output::text(&serde_json::to_string(&record)?)?;
    } else {
        up::print(args, &record)?;
    }
    if !faults.is_empty() {
        tracing::info!(faults = faults.len(), "a plan of faults begins");
    }
    let look_after = async {
        if let Some(controller) = &mut controller {
            controller.look_after().await;
        }
    };
    tokio::join!(faults.play(sandbox), look_after, bound(log.as_deref()));
    // Whoever started it ends it.
    std::future::pending().await
}

/// Keeps the log from filling the folder, which may be memory: what it has grown to is kept beside it, once.
async fn bound(log: Option<&Path>) {
    let Some(log) = log else { return };
    let old = log.with_extension("log.old");
    loop {
        sleep(LOOK).await;
        if std::fs::metadata(log).is_ok_and(|meta| meta.len() > MAX_LOG)
            && let Err(error) = start_anew(log, &old)
        {
            tracing::warn!("cannot start {} anew: {error}", log.display());
            return;
        }
    }
}

/// Its writers append, so they go on at the new end.
fn start_anew(log: &Path, old: &Path) -> io::Result<()> {
    std::fs::copy(log, old)?;
    std::fs::OpenOptions::new()
        .write(true)
        .open(log)?
        .set_len(0)
}

/// Writes the kubeconfig, and tells everybody who asks that the sandbox is ready.
pub(super) fn publish(
    sandbox: &Sandbox,
    claim: &Claim,
    log: Option<PathBuf>,
    scaled: Option<&ScaledClock>,
) -> Result<Record> {
    let kubeconfig = sandbox.kubeconfig(&User::admin())?;
    let credentials = Zeroizing::new(
        std::fs::read(&kubeconfig)
            .with_context(|| format!("cannot read {}", kubeconfig.display()))?,
    );
    let record = Record {
        pid: std::process::id(),
        address: sandbox.address().context("the sandbox has no listener")?,
        kubeconfig: claim.write_kubeconfig(&credentials)?,
        state_dir: sandbox.state_dir().to_owned(),
        log,
        started: SystemClock.now(),
        speed: scaled.map_or(1, ScaledClock::factor),
        clock: scaled.map(ToString::to_string),
        nodes: sandbox.nodes().map(str::to_owned).collect(),
    };
    claim.publish(&record)?;
    Ok(record)
}

/// podcert's images are played by this program; the others by what the command line says.
fn images(args: &Args) -> Result<Images> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let ours = Examples::load(None)?
        .images()
        .fold(Images::new(), |images, image| {
            images.with(repository(&image), program.clone())
        });
    Ok(args.images.iter().fold(ours, |images, played| {
        images.with_isolated(
            played.image.clone(),
            played.program.clone(),
            program.clone(),
        )
    }))
}

/// The controller's lines are part of the sandbox's log.
fn echo(line: &str) {
    use std::io::Write as _;
    // Who closed the log has seen enough.
    let _ = writeln!(std::io::stderr().lock(), "controller: {line}");
}

const MAX_PLAN: u64 = 1 << 20;
/// In bytes.
const MAX_LOG: u64 = 8 << 20;
const LOOK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_starts_anew_is_kept_and_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("default.log");
        let mut writer = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        io::Write::write_all(&mut writer, b"before").unwrap();
        let old = folder.path().join("default.log.old");
        start_anew(&log, &old).unwrap();
        io::Write::write_all(&mut writer, b"after").unwrap();
        assert_eq!(std::fs::read(&old).unwrap(), b"before");
        assert_eq!(std::fs::read(&log).unwrap(), b"after");
    }
}
