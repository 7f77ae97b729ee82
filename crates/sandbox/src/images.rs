//! Which program plays which container image. Nothing is ever pulled: an image that is not named here does not run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Image references and the programs on this machine that stand for them.
///
/// A program is started as `<program> sandbox exec-pod --map FILE -- <the container's command and args>`.
#[derive(Clone, Debug, Default)]
pub struct Images(BTreeMap<String, PathBuf>);

impl Images {
    /// No image runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `program` play `image`: a full reference, or a repository without tag and digest, which then stands for
    /// every tag and digest of it.
    #[must_use]
    pub fn with(mut self, image: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        self.0.insert(image.into(), program.into());
        self
    }

    /// The program for the image reference of a container; the exact reference is preferred to the repository.
    #[must_use]
    pub fn program(&self, reference: &str) -> Option<&Path> {
        let found = self
            .0
            .get(reference)
            .or_else(|| self.0.get(repository(reference)));
        found.map(PathBuf::as_path)
    }
}

/// `reference` without `@digest` and `:tag`. A colon before the last slash is the registry's port.
fn repository(reference: &str) -> &str {
    let undigested = reference.split('@').next().unwrap_or(reference);
    match undigested.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => undigested,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_images_have_a_program() {
        let images = Images::new()
            .with("ghcr.io/podcert/podcert", "/bin/podcert")
            .with("localhost:5000/tool:1", "/bin/one");
        let program = |reference| images.program(reference).and_then(Path::to_str);
        let digest = "ghcr.io/podcert/podcert:0.1.0@sha256:0123";
        assert_eq!(program(digest), Some("/bin/podcert"));
        assert_eq!(
            program("ghcr.io/podcert/podcert@sha256:0123"),
            Some("/bin/podcert")
        );
        assert_eq!(program("ghcr.io/podcert/podcert"), Some("/bin/podcert"));
        assert_eq!(program("ghcr.io/podcert/podcert-evil:0.1.0"), None);
        assert_eq!(program("localhost:5000/tool:1"), Some("/bin/one"));
        assert_eq!(program("localhost:5000/tool:2"), None);
        assert_eq!(program(""), None);
    }
}
