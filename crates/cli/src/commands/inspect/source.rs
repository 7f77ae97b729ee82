//! Where certificates come from: a file, standard input, a TLS server, a live pod.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use podcert_pki::inspect::{Inspection, Kind};
use podcert_runtime::SharedClock;
use zeroize::Zeroizing;

use super::{manifest, pod, tls};

/// One thing that was looked at.
#[derive(Debug)]
pub(crate) struct Item {
    /// The source on the command line.
    pub(crate) source: String,
    /// What it is within the source: an object, a CA of a pool, a signer.
    pub(crate) name: Option<String>,
    /// When the kubelet replaces it, if that is known.
    pub(crate) refresh_at: Option<Timestamp>,
    /// What was found.
    pub(crate) inspection: Inspection,
}

/// How sources are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    /// What the caller says it is.
    pub(crate) kind: Option<Kind>,
    /// The time of judgement.
    pub(crate) at: Timestamp,
    /// For pods.
    pub(crate) kubeconfig: Option<&'a str>,
}

impl Reading<'_> {
    /// Everything in the source of this name.
    ///
    /// # Errors
    /// When it cannot be read, or nothing is there that could be looked at.
    pub(crate) async fn items(&self, source: &str, clock: SharedClock) -> Result<Vec<Item>> {
        let mut items = if source.starts_with("https://") {
            vec![tls::presented(source, *self).await?]
        } else if let Some((namespace, name)) = pod_name(source) {
            pod::certificates(namespace, name, *self, clock).await?
        } else {
            manifest::items(&read(source)?, *self)?
        };
        for item in &mut items {
            source.clone_into(&mut item.source);
        }
        Ok(items)
    }
}

/// The namespace and name in `pod/NAMESPACE/NAME`.
fn pod_name(source: &str) -> Option<(&str, &str)> {
    let (namespace, name) = source.strip_prefix("pod/")?.split_once('/')?;
    (!name.contains('/')).then_some((namespace, name))
}

/// The bytes of a file or of standard input, wiped once they were looked at.
fn read(source: &str) -> Result<Zeroizing<Vec<u8>>> {
    // Of its full size at once: growing would leave copies of keys behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FIRST_SIZE));
    let limit = MAX_SIZE + 1;
    if source == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(source).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    }
    .context("cannot read it")?;
    if bytes.len() as u64 > MAX_SIZE {
        bail!("it is larger than {} MiB", MAX_SIZE >> 20);
    }
    Ok(bytes)
}

const FIRST_SIZE: usize = 1 << 20;
const MAX_SIZE: u64 = 16 << 20;
