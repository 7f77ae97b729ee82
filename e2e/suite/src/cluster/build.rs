//! Building a part with `go build`, once for each version of it.
//!
//! The cache is outside the checkout: `$PODCERT_E2E_CACHE`, else `$XDG_CACHE_HOME/podcert/e2e`, else
//! `~/.cache/podcert/e2e`. A program's folder there is named by everything that decides what is in
//! it: the part, its version, and a hash of its `go.mod` and `go.sum`, the flags, the Go release and
//! the architecture. It is built under another name and renamed, so what is there is whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use podcert_cases::Release;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::folders;
use super::parts::{Built, Part, Selection};
use super::process::{Lock, with_parent};
use super::progress::Progress;

/// How the parts of one cluster are built on this machine.
#[derive(Debug)]
pub(super) struct Plan {
    selection: Selection,
    cache: PathBuf,
}

/// What of Go decides what it builds.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
struct Go {
    goversion: String,
    goos: String,
    goarch: String,
    #[serde(default)]
    goamd64: String,
}

impl Plan {
    pub(super) fn new(selection: Selection) -> Result<Self> {
        let cache = folders::cache()?;
        fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
        Ok(Self { selection, cache })
    }

    /// The part of that release from the cache, built first if it is not there.
    pub(super) async fn build(
        &self,
        part: Part,
        release: Release,
        progress: &Progress,
    ) -> Result<Built> {
        let folder = part.folder(release);
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
        let version = part
            .version(&go_mod)
            .with_context(|| folder.join("go.mod").display().to_string())?;
        let flags = flags(part, &version);
        let go = go(&folder).await?;
        let key = key(part, &version, &[&go_mod, &go_sum], &flags, &go);
        let program = self.cache.join(&key).join(part.name());
        let built = Built {
            part,
            version,
            program,
        };
        if built.program.exists() {
            return Ok(built);
        }
        let lock = self.cache.join("build.lock");
        let _lock = match Lock::try_take(&lock)? {
            Some(lock) => lock,
            None => {
                progress.begin("waiting for another run that is building".to_owned());
                Lock::take(lock).await?
            }
        };
        // Another run may have built it meanwhile.
        if !built.program.exists() {
            self.run_go(&built, &folder, &flags, progress).await?;
        }
        Ok(built)
    }

    async fn run_go(
        &self,
        built: &Built,
        module: &Path,
        flags: &[String],
        progress: &Progress,
    ) -> Result<()> {
        let parts = self.selection.parts();
        let mut what = format!("building {} {}", built.part.name(), built.version);
        if let Some(number) = parts.iter().position(|(part, _)| *part == built.part) {
            what = format!("{what} ({} of {} programs)", number + 1, parts.len());
        }
        progress.begin(what);
        let unfinished = tempfile::Builder::new()
            .prefix("unfinished-")
            .tempdir_in(&self.cache)?;
        let mut command = with_parent("go")?;
        command
            .args(["build", "-v"])
            .args(flags)
            .arg("-o")
            .arg(unfinished.path().join(built.part.name()))
            .arg(built.part.package())
            .current_dir(module)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly")
            .env("GOWORK", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut go = Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start go")?;
        let said = go.stderr.take().context("invariant: stderr is a pipe")?;
        let mut lines = BufReader::new(said).lines();
        let (mut packages, mut modules, mut last) = (0_u32, 0_u32, Vec::new());
        while let Some(line) = lines.next_line().await? {
            if line.starts_with("go: downloading ") {
                modules += 1;
                progress.detail(format!("{modules} modules downloaded"));
            } else if is_package(&line) {
                packages += 1;
                progress.detail(format!("{packages} packages compiled"));
            } else {
                last.push(line);
                if last.len() > LAST_LINES {
                    last.remove(0);
                }
            }
        }
        let status = go.wait().await?;
        if !status.success() {
            bail!(
                "cannot build {} {}: go build: {status}\n  {}",
                built.part.name(),
                built.version,
                last.join("\n  ")
            );
        }
        let folder = built
            .program
            .parent()
            .context("invariant: a program is in a folder")?;
        // Readable to others like any cache: there is nothing secret in it.
        let unfinished = unfinished.keep();
        fs::rename(&unfinished, folder)
            .with_context(|| format!("cannot rename to {}", folder.display()))?;
        progress.end_with(format!("built {} {}", built.part.name(), built.version));
        Ok(())
    }
}

/// Flags that set what the program is: the same versions as a release build has, nothing that
/// differs between two machines.
fn flags(part: Part, version: &str) -> Vec<String> {
    if let Part::Containerd | Part::ContainerdShim | Part::Ctr = part {
        let set = format!("-s -w -X {}/version.Version={version}", part.module());
        let words = ["-trimpath", "-tags", "no_btrfs", "-ldflags", &set];
        return words.map(str::to_owned).into();
    }
    if part == Part::Promtool {
        // Without the clouds' service discoveries, most of its code: no configuration of ours names one.
        let words = ["-trimpath", "-tags", "remove_all_sd", "-ldflags", "-s -w"];
        return words.map(str::to_owned).into();
    }
    let mut numbers = version.trim_start_matches('v').split('.');
    let major = numbers.next().unwrap_or_default();
    let minor = numbers.next().unwrap_or_default();
    let set = "-X k8s.io/component-base/version";
    vec![
        "-trimpath".to_owned(),
        "-ldflags".to_owned(),
        format!(
            "-s -w {set}.gitVersion={version} {set}.gitMajor={major} {set}.gitMinor={minor} \
             {set}.gitTreeState=clean {set}.gitCommit=0000000000000000000000000000000000000000 \
             {set}.buildDate=1970-01-01T00:00:00Z"
        ),
    ]
}

/// The name of a program's folder in the cache.
fn key(part: Part, version: &str, files: &[&str], flags: &[String], go: &Go) -> String {
    let mut input = Vec::new();
    let words = [part.name(), version]
        .into_iter()
        .chain(files.iter().copied())
        .chain(flags.iter().map(String::as_str))
        .chain([
            go.goversion.as_str(),
            go.goos.as_str(),
            go.goarch.as_str(),
            go.goamd64.as_str(),
        ]);
    for word in words {
        // With its length, so that no two lists of words are the same bytes.
        input.extend((word.len() as u64).to_be_bytes());
        input.extend(word.as_bytes());
    }
    let hash: String = digest(&SHA256, &input)
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{}-{version}-{hash}", part.name())
}

/// `go build -v` names each package it compiles on a line of its own.
fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.contains([' ', ':']) && !line.starts_with('#')
}

/// The Go that builds in this module: `go` itself picks a newer toolchain where `go.mod` asks for
/// one and GOTOOLCHAIN allows it.
async fn go(module: &Path) -> Result<Go> {
    let output = Command::new("go")
        .args(["env", "-json", "GOVERSION", "GOOS", "GOARCH", "GOAMD64"])
        .current_dir(module)
        .stdin(Stdio::null())
        .output()
        .await;
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no `go` on the PATH, and it builds Kubernetes: {INSTALL}")
        }
        Err(error) => return Err(error).context("cannot start go"),
    };
    if !output.status.success() {
        bail!(
            "this `go` cannot build {}: {}\n{INSTALL}",
            module.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let go: Go = serde_json::from_slice(&output.stdout).context("`go env -json` is no JSON")?;
    let wanted = fs::read_to_string(module.join("go.mod"))?;
    let wanted = wanted
        .lines()
        .find_map(|line| line.strip_prefix("go "))
        .context("go.mod has no `go` line")?
        .trim();
    if !at_least(&go.goversion, wanted) {
        bail!("{} is too old, {wanted} is needed: {INSTALL}", go.goversion);
    }
    Ok(go)
}

/// Whether `go1.26.8` is at least `1.26.0`.
fn at_least(have: &str, want: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        text.trim_start_matches("go")
            .split('.')
            .map(|part| {
                let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
                digits.parse().unwrap_or(0)
            })
            .collect()
    };
    numbers(have) >= numbers(want)
}

const INSTALL: &str = "install Go 1.26 from https://go.dev/dl/, or any Go from 1.21 with \
                       GOTOOLCHAIN=auto, which fetches it";

/// What is shown of a failed build.
const LAST_LINES: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn linux() -> Go {
        Go {
            goversion: "go1.26.8".into(),
            goos: "linux".into(),
            goarch: "amd64".into(),
            goamd64: "v1".into(),
        }
    }

    #[test]
    fn a_key_names_part_and_version_and_moves_with_everything_that_decides() {
        let flags = flags(Part::Apiserver, "v1.37.0");
        let key = |files: &[&str], flags: &[String], go: &Go| {
            key(Part::Apiserver, "v1.37.0", files, flags, go)
        };
        let usual = key(&["mod", "sum"], &flags, &linux());
        assert!(usual.starts_with("kube-apiserver-v1.37.0-"), "{usual}");
        assert_eq!(usual, key(&["mod", "sum"], &flags, &linux()));

        let arm = Go {
            goarch: "arm64".into(),
            ..linux()
        };
        let newer = Go {
            goversion: "go1.27.0".into(),
            ..linux()
        };
        for other in [
            key(&["mod", "sums"], &flags, &linux()),
            key(&["mods", "um"], &flags, &linux()),
            key(&["mod", "sum"], &[], &linux()),
            key(&["mod", "sum"], &flags, &arm),
            key(&["mod", "sum"], &flags, &newer),
        ] {
            assert_ne!(usual, other);
        }
    }

    #[test]
    fn the_server_learns_its_version_from_the_flags() {
        let flags = flags(Part::Apiserver, "v1.36.3").join(" ");
        for part in [".gitVersion=v1.36.3 ", ".gitMajor=1 ", ".gitMinor=36 "] {
            assert!(flags.contains(part), "{flags}");
        }
    }

    #[test]
    fn go_releases_compare_by_number() {
        assert!(at_least("go1.26.8", "1.26.0"));
        assert!(at_least("go1.26", "1.26"));
        assert!(at_least("go1.100.0", "1.26.0"));
        assert!(at_least("go1.27rc1", "1.26.0"));
        assert!(!at_least("go1.19.8", "1.26.0"));
        assert!(!at_least("go1.25.9", "1.26.0"));
    }

    #[test]
    fn only_package_lines_count_as_packages() {
        assert!(is_package("k8s.io/api/core/v1"));
        assert!(is_package("fmt"));
        assert!(!is_package("# k8s.io/api/core/v1"));
        assert!(!is_package("main.go:3:2: no required module"));
        assert!(!is_package("go: finding module"));
    }
}
