//! podcert's own API server as a process of its own, behind TLS and client certificates, as a real
//! one is.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use podcert_apiserver::{ApiServer, User};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cluster::pki;

/// Be podcert's own API server
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An empty folder, where the kubeconfig of an administrator appears once it listens
    folder: PathBuf,
}

/// Where [`run`] writes the kubeconfig.
pub(super) fn kubeconfig(folder: &Path) -> PathBuf {
    folder.join("kubeconfig")
}

/// Serves until it is killed, on every core.
///
/// # Errors
/// When it cannot listen.
pub(crate) fn run(args: &Args) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve(&args.folder))
}

async fn serve(folder: &Path) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("https://{}", listener.local_addr()?);
    let material = pki::Material::new(&url)?;
    let tls = TlsAcceptor::from(Arc::new(tls(&material)?));
    let api = ApiServer::builder()
        .rbac()
        .clock(Arc::new(crate::harness::now))
        .build();
    // At once, so that whoever waits for it never reads half of it.
    let draft = folder.join("draft");
    pki::file(&draft, &material.kubeconfig)?;
    std::fs::rename(&draft, kubeconfig(folder))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let tls = tls.clone();
        let service = TowerToHyperService::new(api.as_user(User::admin()));
        tokio::spawn(async move {
            // A connection that breaks is its client's to complain about.
            if let Ok(stream) = tls.accept(stream).await {
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
    }
}

fn tls(material: &pki::Material) -> Result<rustls::ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(
        material.authority.as_bytes(),
    )?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()?;
    let chain = vec![CertificateDer::from_pem_slice(
        material.certificate.as_bytes(),
    )?];
    let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes())?;
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .context("its own certificate")
}
