//! Container images of static programs, made without a container engine.
//!
//! An image here is one program under one or more names, and nothing else: no shell, no libraries, no
//! users' file. It is written as an OCI image layout in a tar file, which `ctr images import`, `skopeo`,
//! `podman load` and registries' tools take. The same program makes the same bytes, whenever and
//! wherever: times are zero, owners are root, and nothing of the machine is in it.
//!
//! ```text
//! Image ─▶ layer (tar, gzip) ─▶ configuration ─▶ manifest ─▶ index ─▶ layout in a tar file
//! ```

mod elf;
mod layout;

use std::io::{self, Write as _};

use crate::layout::{Blob, CONFIG, LAYER, MANIFEST, digest, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

pub use crate::elf::{Architecture, ElfError};
pub use crate::layout::{Built, write_together};

/// What goes into an image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name with its tag: `ghcr.io/podcert/podcert:0.1.0`.
    pub name: String,
    /// Absolute paths of the program in the image. The first is its entry point, the others are hard links.
    pub paths: Vec<String>,
    /// What it runs as, where a pod does not say.
    pub user: User,
    /// Labels of the image, `org.opencontainers.image.*` among them.
    pub labels: Vec<(String, String)>,
}

/// A numeric user, and the group of the same number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct User(u32);

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program would not run alone.
    #[error("the program cannot be in an image by itself")]
    Program(#[from] ElfError),
    /// The name is none that a container engine takes.
    #[error("`{0}` is no image name with a tag, such as ghcr.io/podcert/podcert:0.1.0")]
    Name(String),
    /// A path in the image is none.
    #[error("`{0}` is no absolute path of plain names, such as /podcert")]
    Path(String),
    /// An image has a program.
    #[error("an image needs a path for its program")]
    NoPath,
    /// They cannot be one image for several architectures.
    #[error("images that are written together have one name, and each another architecture")]
    Mixed,
    /// It cannot be written.
    #[error("the image cannot be written")]
    Io(#[from] io::Error),
}

/// The image of podcert, with this name and tag: the program under its own name and under that of the
/// one it takes the place of.
#[must_use]
pub fn podcert(name: &str) -> Image {
    let version = name.rsplit_once(':').map_or("", |(_, tag)| tag);
    let labels = [
        ("org.opencontainers.image.title", "podcert"),
        (
            "org.opencontainers.image.description",
            "Workload certificates for Kubernetes",
        ),
        ("org.opencontainers.image.version", version),
        (
            "org.opencontainers.image.licenses",
            env!("CARGO_PKG_LICENSE"),
        ),
        (
            "org.opencontainers.image.source",
            env!("CARGO_PKG_REPOSITORY"),
        ),
    ];
    Image {
        name: name.to_owned(),
        paths: vec!["/podcert".to_owned(), "/meshtool".to_owned()],
        user: User::NON_ROOT,
        labels: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    }
}

impl User {
    /// The usual user of images whose program needs no rights.
    pub const NON_ROOT: Self = Self(65532);
    /// For what a node itself needs.
    pub const ROOT: Self = Self(0);
}

impl Image {
    /// Puts `program` into it.
    ///
    /// # Errors
    /// When the program is not a static Linux program, or a name cannot be what it is to be.
    pub fn build(&self, program: &[u8]) -> Result<Built, Error> {
        check_name(&self.name)?;
        let architecture = elf::static_program(program)?;
        let tar = self.layer(program)?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&tar)?;
        let layer = Blob::new(gzip.finish()?);

        let entry = self.paths.first().ok_or(Error::NoPath)?;
        let labels: serde_json::Map<String, Value> = self
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        let config = Blob::json(&json!({
            "created": EPOCH,
            "architecture": architecture.oci(),
            "os": "linux",
            "config": {
                "User": format!("{0}:{0}", self.user.0),
                "Entrypoint": [entry],
                "WorkingDir": "/",
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(&tar)]},
            "history": [{"created": EPOCH, "created_by": format!("COPY {entry}")}],
        }));
        let manifest = Blob::json(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(CONFIG),
            "layers": [layer.descriptor(LAYER)],
            "annotations": labels,
        }));
        // The second is the specification's, the first is what containerd names an image by.
        let named = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.tag(),
        });
        Ok(Built {
            name: self.name.clone(),
            architecture,
            named,
            manifest,
            config,
            layer,
            program: program.len() as u64,
        })
    }

    fn tag(&self) -> &str {
        self.name.rsplit_once(':').map_or("", |(_, tag)| tag)
    }

    /// The one layer: the folders above the program, the program, its other names.
    fn layer(&self, program: &[u8]) -> Result<Vec<u8>, Error> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut folders = std::collections::BTreeSet::new();
        let mut first = None;
        for path in &self.paths {
            let inside = inside(path)?;
            let mut end = 0;
            while let Some(slash) = inside.get(end..).and_then(|rest| rest.find('/')) {
                end += slash + 1;
                if let Some(folder) = inside.get(..end)
                    && folders.insert(folder.to_owned())
                {
                    tar.append_data(
                        &mut header(tar::EntryType::Directory, 0),
                        folder,
                        io::empty(),
                    )?;
                }
            }
            match first {
                None => {
                    let size = program.len() as u64;
                    tar.append_data(&mut header(tar::EntryType::Regular, size), inside, program)?;
                    first = Some(inside);
                }
                Some(first) => {
                    tar.append_link(&mut header(tar::EntryType::Link, 0), inside, first)?;
                }
            }
        }
        Ok(tar.into_inner()?)
    }
}

/// The path as a layer has it, without the slash in front.
fn inside(path: &str) -> Result<&str, Error> {
    let plain = |name: &str| {
        !name.is_empty()
            && name != "."
            && name != ".."
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    path.strip_prefix('/')
        .filter(|inside| inside.len() < 100 && inside.split('/').all(plain))
        .ok_or_else(|| Error::Path(path.to_owned()))
}

/// As strict as the grammar of references where it matters: something before the tag, and a tag.
fn check_name(name: &str) -> Result<(), Error> {
    let valid = name.rsplit_once(':').is_some_and(|(repository, tag)| {
        let of_repository = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._/:".contains(&byte)
        };
        let of_tag = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !repository.is_empty()
            && repository.split('/').all(|part| {
                part.bytes()
                    .next()
                    .is_some_and(|byte| byte.is_ascii_alphanumeric())
            })
            && repository.bytes().all(of_repository)
            && (1..=128).contains(&tag.len())
            && tag.bytes().all(of_tag)
            && !tag.starts_with(['-', '.'])
    });
    if valid {
        Ok(())
    } else {
        Err(Error::Name(name.to_owned()))
    }
}

const EPOCH: &str = "1970-01-01T00:00:00Z";

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its report"
)]
mod tests {
    use std::io::Read as _;
    use std::path::Path;

    use super::*;

    fn image() -> Image {
        Image {
            name: "example.com/a/b:1".into(),
            paths: vec!["/bin/podcert".into(), "/meshtool".into()],
            user: User::NON_ROOT,
            labels: vec![("org.opencontainers.image.version".into(), "1".into())],
        }
    }

    fn entries(tar: &[u8]) -> Vec<(String, tar::Header, Vec<u8>)> {
        let mut archive = tar::Archive::new(tar);
        archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                let name = entry.path().unwrap().display().to_string();
                (name, entry.header().clone(), bytes)
            })
            .collect()
    }

    #[test]
    fn a_layout_leads_from_its_index_to_the_program() {
        let program = elf::tests::program(|_| {});
        let there = tempfile::tempdir().unwrap();
        let file = there.path().join("image.tar");
        image().build(&program).unwrap().write(&file).unwrap();
        let layout = entries(&std::fs::read(&file).unwrap());
        let file = |name: &str| {
            layout
                .iter()
                .find(|(found, ..)| found == name)
                .unwrap()
                .2
                .clone()
        };
        let blob = |descriptor: &Value| {
            let named = descriptor["digest"].as_str().unwrap();
            let bytes = file(&format!("blobs/{}", named.replace(':', "/")));
            assert_eq!(digest(&bytes), named);
            assert_eq!(descriptor["size"], bytes.len());
            bytes
        };
        let read = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap();

        assert_eq!(read(file("oci-layout"))["imageLayoutVersion"], "1.0.0");
        let index = read(file("index.json"));
        let named = &index["manifests"][0]["annotations"];
        assert_eq!(named["io.containerd.image.name"], "example.com/a/b:1");
        let manifest = read(blob(&index["manifests"][0]));
        let config = read(blob(&manifest["config"]));
        assert_eq!(config["architecture"], "amd64");
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/podcert"]));
        let mut layer = Vec::new();
        flate2::read::GzDecoder::new(&*blob(&manifest["layers"][0]))
            .read_to_end(&mut layer)
            .unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));

        let files = entries(&layer);
        let names: Vec<&str> = files.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["bin/", "bin/podcert", "meshtool"]);
        assert_eq!(files[1].2, program);
        assert_eq!(
            files[2].1.link_name().unwrap().unwrap(),
            Path::new("bin/podcert")
        );
        for (_, header, _) in files {
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
            assert_eq!(header.mode().unwrap(), 0o755);
        }
    }

    #[test]
    fn an_image_for_two_architectures_leads_to_the_program_of_each() {
        let amd = elf::tests::program(|_| {});
        let arm = elf::tests::program(|bytes| bytes[18] = 183);
        let built = [&amd, &arm].map(|program| image().build(program).unwrap());
        let there = tempfile::tempdir().unwrap();
        let file = there.path().join("both.tar");
        let together = write_together(&built, &file).unwrap();
        let layout = entries(&std::fs::read(&file).unwrap());
        let read = |name: &str| -> Value {
            let (.., bytes) = layout.iter().find(|(found, ..)| found == name).unwrap();
            serde_json::from_slice(bytes).unwrap()
        };
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            read(&format!("blobs/{}", digest.replace(':', "/")))
        };

        let outer = &read("index.json")["manifests"];
        assert_eq!(outer.as_array().unwrap().len(), 1);
        assert_eq!(outer[0]["digest"], json!(together));
        assert_eq!(
            outer[0]["annotations"]["io.containerd.image.name"],
            "example.com/a/b:1"
        );
        let inner = blob(&outer[0]);
        for (number, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
            let described = &inner["manifests"][number];
            assert_eq!(
                described["platform"],
                json!({"architecture": architecture, "os": "linux"})
            );
            assert_eq!(described["digest"], json!(built[number].digest()));
            let config = blob(&blob(described)["config"]);
            assert_eq!(config["architecture"], architecture);
        }

        let other = Image {
            name: "example.com/a/b:2".into(),
            ..image()
        };
        let other = other.build(&arm).unwrap();
        for mixed in [
            &[][..],
            &[built[0].clone(), built[0].clone()],
            &[built[0].clone(), other],
        ] {
            assert!(matches!(write_together(mixed, &file), Err(Error::Mixed)));
        }
    }

    #[test]
    fn the_same_program_makes_the_same_bytes_and_another_does_not() {
        let there = tempfile::tempdir().unwrap();
        let write = |name: &str, program: &[u8]| {
            let file = there.path().join(name);
            image().build(program).unwrap().write(&file).unwrap();
            std::fs::read(file).unwrap()
        };
        let program = elf::tests::program(|_| {});
        let mut other = program.clone();
        other.push(1);
        assert_eq!(write("one", &program), write("two", &program));
        assert_ne!(write("one", &program), write("three", &other));
    }

    #[test]
    fn what_is_no_name_or_path_is_refused_with_it() {
        let program = elf::tests::program(|_| {});
        for bad in [
            "podcert",
            "podcert:",
            ":1",
            "Podcert:1",
            "a//b:1",
            "a:b c",
            "a:.b",
        ] {
            let image = Image {
                name: bad.into(),
                ..image()
            };
            let error = image.build(&program).unwrap_err().to_string();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
        for good in [
            "podcert:1",
            "localhost:5000/a:1",
            "ghcr.io/podcert/podcert:0.1.0-rc.1",
        ] {
            let image = Image {
                name: good.into(),
                ..image()
            };
            assert!(image.build(&program).is_ok(), "{good}");
        }
        for bad in ["podcert", "/", "/a/../b", "/a//b", "/a b"] {
            let image = Image {
                paths: vec![bad.into()],
                ..image()
            };
            let error = image.build(&program).unwrap_err().to_string();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
        let none = Image {
            paths: Vec::new(),
            ..image()
        };
        assert!(matches!(none.build(&program), Err(Error::NoPath)));
    }
}
