//! `--image NAME=PROGRAM`: which program of this machine plays an image.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

/// One `--image`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ImageProgram {
    /// The image reference of the manifests, with or without tag.
    pub(super) image: String,
    /// The program.
    pub(super) program: PathBuf,
}

impl FromStr for ImageProgram {
    type Err = anyhow::Error;

    fn from_str(words: &str) -> Result<Self> {
        let (image, program) = words
            .split_once('=')
            .context("expected NAME=PROGRAM, such as nginx=/usr/sbin/nginx")?;
        ensure!(!image.is_empty(), "the image's name before '=' is empty");
        let program = std::path::absolute(program)
            .with_context(|| format!("{program:?} is no program's path"))?;
        Ok(Self {
            image: image.to_owned(),
            program,
        })
    }
}

impl ImageProgram {
    /// Makes sure that the program is there and can be run, before a pod has to say so.
    pub(super) fn check(&self) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let meta = std::fs::metadata(&self.program).with_context(|| {
            format!(
                "--image {}: cannot find {}",
                self.image,
                self.program.display()
            )
        })?;
        ensure!(
            meta.is_file() && meta.permissions().mode() & 0o111 != 0,
            "--image {}: {} is no program",
            self.image,
            self.program.display()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_name_and_a_program() {
        let image: ImageProgram = "localhost:5000/nginx:1=/usr/sbin/nginx".parse().unwrap();
        assert_eq!(image.image, "localhost:5000/nginx:1");
        assert_eq!(image.program, PathBuf::from("/usr/sbin/nginx"));
        assert!(
            "nginx=sbin"
                .parse::<ImageProgram>()
                .unwrap()
                .program
                .is_absolute()
        );
        for bad in ["", "nginx", "=/bin/true", "nginx="] {
            assert!(bad.parse::<ImageProgram>().is_err(), "{bad}");
        }
        assert!("x=/bin/sh".parse::<ImageProgram>().unwrap().check().is_ok());
        for bad in ["x=/etc/passwd", "x=/", "x=/nowhere/at/all"] {
            assert!(
                bad.parse::<ImageProgram>().unwrap().check().is_err(),
                "{bad}"
            );
        }
    }
}
