//! Images that were built, and the OCI layout that they are written as.
#![allow(clippy::indexing_slicing, reason = "fields of JSON objects made here")]

use std::io;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Architecture, Error};

/// An image that is ready to be written.
#[derive(Clone, Debug)]
pub struct Built {
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    /// What says its name to engines.
    pub(crate) named: Value,
    pub(crate) manifest: Blob,
    pub(crate) config: Blob,
    pub(crate) layer: Blob,
    pub(crate) program: u64,
}

/// A file of the layout that is known by its digest.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Built {
    /// Its name with its tag.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it runs on.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The digest by which registries know it: `sha256:...`.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.manifest.digest
    }

    /// The bytes that a node downloads.
    #[must_use]
    pub fn compressed(&self) -> u64 {
        self.layer.bytes.len() as u64
    }

    /// The bytes of the program, which is all that is in it.
    #[must_use]
    pub fn uncompressed(&self) -> u64 {
        self.program
    }

    /// Writes the layout as a tar file, in place of one that is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), Error> {
        write(file, self.described(), &self.named, self.blobs().into())
    }

    /// What refers to it, with what it runs on.
    fn described(&self) -> Value {
        let mut described = self.manifest.descriptor(MANIFEST);
        described["platform"] = json!({"architecture": self.architecture.oci(), "os": "linux"});
        described
    }

    fn blobs(&self) -> [&Blob; 3] {
        [&self.manifest, &self.config, &self.layer]
    }
}

/// Writes images of one name, each for another architecture, as one layout in a tar file, in place of one
/// that is there. An engine takes the one that it can run. Answers the digest of all of them together.
///
/// # Errors
/// When they are not of one name, two are for the same architecture, or it cannot be written.
pub fn write_together(images: &[Built], file: &Path) -> Result<String, Error> {
    let first = images.first().ok_or(Error::Mixed)?;
    for (number, image) in images.iter().enumerate() {
        let before = images.iter().take(number);
        let twice = before
            .clone()
            .any(|it| it.architecture == image.architecture);
        if image.name != first.name || twice {
            return Err(Error::Mixed);
        }
    }
    let manifests: Vec<Value> = images.iter().map(Built::described).collect();
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let inner = Blob::json(&inner);
    let mut blobs: Vec<&Blob> = images.iter().flat_map(Built::blobs).collect();
    blobs.push(&inner);
    write(file, inner.descriptor(INDEX), &first.named, blobs)?;
    Ok(inner.digest.clone())
}

/// Writes a layout that leads to what is `described`, under this name.
fn write(
    file: &Path,
    mut described: Value,
    named: &Value,
    mut blobs: Vec<&Blob>,
) -> Result<(), Error> {
    described["annotations"] = named.clone();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]});
    let index = index.to_string().into_bytes();
    blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    blobs.dedup_by(|a, b| a.digest == b.digest);
    let mut entries: Vec<(String, &[u8])> = blobs
        .iter()
        .map(|blob| {
            let name = format!("blobs/{}", blob.digest.replace(':', "/"));
            (name, &*blob.bytes)
        })
        .collect();
    entries.push(("index.json".to_owned(), &index));
    entries.push(("oci-layout".to_owned(), LAYOUT));

    let unfinished = file.with_extension("unfinished");
    let mut tar = tar::Builder::new(io::BufWriter::new(std::fs::File::create(&unfinished)?));
    for folder in ["blobs/", "blobs/sha256/"] {
        tar.append_data(
            &mut header(tar::EntryType::Directory, 0),
            folder,
            io::empty(),
        )?;
    }
    for (name, bytes) in entries {
        let mut header = header(tar::EntryType::Regular, bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes)?;
    }
    tar.into_inner()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    Ok(std::fs::rename(unfinished, file)?)
}

impl Blob {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let digest = digest(&bytes);
        Self { digest, bytes }
    }

    pub(crate) fn json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    /// What refers to it.
    pub(crate) fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// As registries write it: `sha256:...`.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Everybody may run it, root owns it, and it is as old as time.
pub(crate) fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
