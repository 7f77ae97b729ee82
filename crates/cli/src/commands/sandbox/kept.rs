//! A sandbox that `podcert demo --keep` leaves running, known like any other.

use std::path::Path;

use anyhow::{Context as _, Result};
use podcert_runtime::ScaledClock;
use podcert_sandbox::Sandbox;
use podcert_sandbox::instance::{Claim, InstanceName, Instances};
use tokio_util::sync::CancellationToken;

use super::{env_line, name_flag, serve};
use crate::commands::stage::Controller;
use crate::output;

/// The name is taken for as long as this is there.
#[derive(Debug)]
pub(crate) struct Kept {
    instances: Instances,
    name: InstanceName,
    claim: Claim,
}

impl Kept {
    /// Takes the name `demo`.
    ///
    /// # Errors
    /// Somebody keeps a demo already.
    pub(crate) fn claim() -> Result<Self> {
        let instances = Instances::of_this_user()?;
        let name: InstanceName = NAME.parse()?;
        let claim = instances.claim(&name).context(
            "cannot keep the demo's sandbox; podcert sandbox down --name demo ends the one there is",
        )?;
        Ok(Self {
            instances,
            name,
            claim,
        })
    }

    /// Where the sandbox's folder is to be.
    pub(crate) fn folder(&self) -> &Path {
        self.instances.folder()
    }

    /// Makes it known, says how to use it, and looks after its controller until `shutdown`.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub(crate) async fn stay(
        &self,
        sandbox: &Sandbox,
        scaled: Option<&ScaledClock>,
        controller: &mut Controller,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let record = serve::publish(sandbox, &self.claim, None, scaled)?;
        output::text(&format!(
            "\nthe sandbox stays until Ctrl-C, or: podcert sandbox down{}\n\n  {}\n  kubectl get pods -A",
            name_flag(&self.name),
            env_line(&record),
        ))?;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            never = controller.look_after() => match never {},
        }
    }
}

const NAME: &str = "demo";
