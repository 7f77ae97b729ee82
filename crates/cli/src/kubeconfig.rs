//! Which cluster a command talks to: `--kubeconfig`, else `$KUBECONFIG`, else `~/.kube/config`.

use anyhow::{Context as _, Result};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use podcert_runtime::SharedClock;
use podcert_runtime::api::{Connection, Options};

/// The configuration of the cluster that `path` names, or of the default one.
///
/// # Errors
/// When the file is missing or cannot be used; the message names the file.
pub(crate) async fn config(path: Option<&str>) -> Result<Config> {
    let options = KubeConfigOptions::default();
    match path.filter(|path| !path.is_empty()) {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .with_context(|| format!("cannot read kubeconfig {path}"))?;
            Config::from_custom_kubeconfig(file, &options)
                .await
                .with_context(|| format!("cannot use kubeconfig {path}"))
        }
        None => Config::from_kubeconfig(&options)
            .await
            .context("cannot use the default kubeconfig ($KUBECONFIG or ~/.kube/config); name one with --kubeconfig"),
    }
}

/// A connection for a short command, with the same retries as the controller's.
///
/// # Errors
/// As [`config`], or when the credentials cannot be used.
pub(crate) async fn connection(path: Option<&str>, clock: SharedClock) -> Result<Connection> {
    Connection::from_config(&config(path).await?, Options::new(clock))
        .context("cannot make a client of the kubeconfig")
}

/// The client of such a connection.
///
/// # Errors
/// As [`connection`].
pub(crate) async fn client(path: Option<&str>, clock: SharedClock) -> Result<kube::Client> {
    Ok(connection(path, clock).await?.client().clone())
}
