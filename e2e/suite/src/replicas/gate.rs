//! A way to the API server that can be cut: connections that a machine loses while it stands still.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The way. Gone when it is dropped.
pub(super) struct Gate {
    address: String,
    /// Counts cuts: a connection ends with the next.
    cuts: Arc<watch::Sender<u64>>,
    accepting: JoinHandle<()>,
}

impl Gate {
    /// A way to the server of this kubeconfig, which is JSON.
    pub(super) async fn before(kubeconfig: &Path) -> Result<Self> {
        let kubeconfig = read(kubeconfig)?;
        let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str();
        let server = server.and_then(|url| url.strip_prefix("https://"));
        let server = server.context("a server without an address")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let cuts = Arc::new(watch::Sender::new(0));
        let seen = Arc::clone(&cuts);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, mut cut) = (server.clone(), seen.subscribe());
                tokio::spawn(async move {
                    let passing = async {
                        let mut client = client;
                        let mut server = TcpStream::connect(server).await?;
                        copy_bidirectional(&mut client, &mut server).await
                    };
                    tokio::select! {
                        _ = passing => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Ok(Self {
            address,
            cuts,
            accepting,
        })
    }

    /// The same kubeconfig with this way in it, beside it.
    pub(super) fn kubeconfig(&self, of: &Path) -> Result<PathBuf> {
        let mut kubeconfig = read(of)?;
        kubeconfig["clusters"][0]["cluster"]["server"] = format!("https://{}", self.address).into();
        let file = of.with_extension("gate");
        std::fs::write(&file, kubeconfig.to_string())?;
        Ok(file)
    }

    /// Ends all connections there are. New ones are let through.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

fn read(kubeconfig: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(kubeconfig)?)?)
}
