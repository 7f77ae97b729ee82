//! `podcert sandbox down`: asks the sandbox's process to end, and waits until it has.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use podcert_sandbox::instance::Instances;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::NameArgs;
use crate::output;

/// The flags of `sandbox down`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "EXIT CODES\n  0  it does not run any more, or did not\n  1  it does not end\n  2  wrong usage\n  130  stopped by Ctrl-C"
)]
pub(crate) struct Args {
    #[command(flatten)]
    name: NameArgs,
}

/// Ends the sandbox.
///
/// # Errors
/// It does not end within half a minute, or is just starting.
pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let name = &args.name.name;
    let instances = Instances::of_this_user()?;
    let Some(record) = instances.find(name)? else {
        if instances.is_alive(name) {
            bail!("sandbox {name} is starting: try again in a moment");
        }
        output::text(&format!("sandbox {name} does not run"))?;
        return Ok(ExitCode::SUCCESS);
    };
    let pid = i32::try_from(record.pid).ok().and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("{} is no process", record.pid))?;
    match kill_process(pid, Signal::TERM) {
        // It has just ended by itself.
        Err(rustix::io::Errno::SRCH) | Ok(()) => {}
        Err(error) => {
            return Err(io::Error::from(error))
                .with_context(|| format!("cannot end process {}", record.pid));
        }
    }
    let begin = Instant::now();
    let mut told = false;
    while instances.is_alive(name) {
        if begin.elapsed() > PATIENCE {
            bail!(
                "process {} of sandbox {name} does not end{}",
                record.pid,
                super::log_hint(&record)
            );
        }
        if begin.elapsed() > QUIET && !told {
            told = true;
            // Nothing is lost if nobody reads it.
            let _ = writeln!(io::stderr(), "waiting for the pods' processes to end");
        }
        sleep(LOOK).await;
    }
    if record.state_dir.exists() {
        bail!(
            "sandbox {name} has ended, but could not remove {}{}",
            record.state_dir.display(),
            super::log_hint(&record)
        );
    }
    output::text(&format!("sandbox {name} has ended"))?;
    Ok(ExitCode::SUCCESS)
}

const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(2);
