//! Which program plays which container image. Nothing is ever pulled: an image that is not named here does not run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::isolation;

/// Image references and the programs on this machine that stand for them.
#[derive(Clone, Debug, Default)]
pub struct Images {
    programs: BTreeMap<String, Program>,
    /// Why programs in namespaces do not run here, if they do not.
    refusal: Option<String>,
}

/// A program that plays an image, and how it is run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Program {
    /// It knows of the sandbox and is started as `<program> sandbox exec-pod --map FILE -- <command and args>`.
    Mapped(PathBuf),
    /// It knows nothing and runs in namespaces of its own, set up by `<runner> sandbox exec-pod --isolated FILE`.
    Isolated {
        /// The program.
        program: PathBuf,
        /// A `podcert`.
        runner: PathBuf,
    },
}

impl Images {
    /// No image runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `program`, which must know `sandbox exec-pod`, play `image`: a full reference, or a repository without tag
    /// and digest, which then stands for every tag and digest of it.
    #[must_use]
    pub fn with(self, image: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        self.add(image, Program::Mapped(program.into()))
    }

    /// Lets any `program` play `image`, named as in [`Images::with`]. It runs in namespaces that `runner`, a `podcert`,
    /// makes for it.
    #[must_use]
    pub fn with_isolated(
        self,
        image: impl Into<String>,
        program: impl Into<PathBuf>,
        runner: impl Into<PathBuf>,
    ) -> Self {
        let (program, runner) = (program.into(), runner.into());
        self.add(image, Program::Isolated { program, runner })
    }

    /// The program for the image reference of a container; the exact reference is preferred to the repository.
    ///
    /// # Errors
    /// A sentence: the image is not known, or its program cannot run on this machine.
    pub(crate) fn program(&self, reference: &str) -> Result<&Program, String> {
        let found = self
            .programs
            .get(reference)
            .or_else(|| self.programs.get(repository(reference)));
        match (found, &self.refusal) {
            (None, _) => Err("only images named when the sandbox was started run".to_owned()),
            (Some(Program::Isolated { program, .. }), Some(refusal)) => {
                let program = program.display();
                Err(format!("{program} cannot be run as a pod: {refusal}"))
            }
            (Some(program), _) => Ok(program),
        }
    }

    /// Finds out, where an image needs namespaces, whether they can be had, with files below `state`. If not, such
    /// images are refused from here on.
    pub(crate) async fn probed(mut self, state: &Path) -> Self {
        let mut programs = self.programs.values();
        let runner = programs.find_map(|program| match program {
            Program::Isolated { runner, .. } => Some(runner.clone()),
            Program::Mapped(_) => None,
        });
        if let Some(runner) = runner {
            self.refusal = isolation::probe(&runner, state).await.err();
        }
        if let Some(reason) = &self.refusal {
            tracing::warn!(%reason, "programs that know nothing of the sandbox do not run");
        }
        self
    }

    fn add(mut self, image: impl Into<String>, program: Program) -> Self {
        self.programs.insert(image.into(), program);
        self
    }
}

impl Program {
    /// The program itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Isolated { program, .. } | Self::Mapped(program) => program,
        }
    }
}

/// An image reference without `@digest` and `:tag`: given to [`Images::with`], it stands for all of them. A colon before
/// the last slash is the registry's port.
#[must_use]
pub fn repository(reference: &str) -> &str {
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
        let program = |reference| {
            let program = images.program(reference).ok()?;
            program.path().to_str()
        };
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

    #[test]
    fn programs_that_cannot_be_isolated_are_refused_with_the_reason() {
        let mut images = Images::new().with("podcert", "/bin/podcert").with_isolated(
            "nginx",
            "/usr/sbin/nginx",
            "/bin/podcert",
        );
        assert!(images.program("nginx:1.29").is_ok());
        images.refusal = Some("no namespaces".to_owned());
        assert!(images.program("podcert").is_ok());
        assert_eq!(
            images.program("nginx:1.29").unwrap_err(),
            "/usr/sbin/nginx cannot be run as a pod: no namespaces"
        );
    }
}
