//! Images in a node: made from static programs, given to containerd without a registry.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use podcert_image::{Image, User};
use tokio::process::Command;

use super::config::socket;
use super::space::run;
use crate::cluster::folders::Folder;
use crate::cluster::parts::{Built, Part};

/// containerd's command line, for one node.
#[derive(Clone, Debug)]
pub(crate) struct Ctr {
    program: PathBuf,
    socket: PathBuf,
}

impl Ctr {
    /// For the node of the cluster in that folder.
    pub(crate) fn of(folder: &Folder) -> Self {
        Self {
            program: folder.programs().join(Part::Ctr.name()),
            socket: socket(folder),
        }
    }

    /// Whether containerd runs.
    pub(super) async fn answers(&self) -> bool {
        run(&mut self.command(&["version"])).await.is_ok()
    }

    /// Gives the node an image, in place of one of the name.
    pub(crate) async fn import(&self, file: &Path) -> Result<()> {
        let file = file
            .to_str()
            .context("an image's file has a name in UTF-8")?;
        run(&mut self.command(&["images", "import", file])).await?;
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--address")
            .arg(&self.socket)
            // Where the kubelet's images are.
            .args(["--namespace", "k8s.io"])
            .args(words);
        command
    }
}

/// The name of a part's image.
pub(super) fn name(built: &Built) -> String {
    format!("podcert.dev/e2e/{}:{}", built.part.name(), built.version)
}

/// The image of a part that runs in a container, made once and kept beside the program.
pub(super) fn of_part(built: &Built) -> Result<PathBuf> {
    let file = built.program.with_file_name(FILE);
    if file.exists() {
        return Ok(file);
    }
    let program = std::fs::read(&built.program)
        .with_context(|| format!("cannot read {}", built.program.display()))?;
    let image = Image {
        name: name(built),
        paths: vec![format!("/{}", built.part.name())],
        user: User::NON_ROOT,
        labels: Vec::new(),
    };
    let made = image.build(&program).and_then(|image| image.write(&file));
    made.with_context(|| format!("cannot make the image of {}", built.part.name()))?;
    Ok(file)
}

/// With a number for the way in which images are made.
const FILE: &str = "image-1.tar";
