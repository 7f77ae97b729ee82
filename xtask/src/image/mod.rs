//! `cargo xtask image`: podcert as a container image, made without a container engine, and its SBOM.
//!
//! The program is linked statically (`+crt-static` on the gnu target: since glibc 2.34 names of hosts are
//! resolved without a library that is loaded later), so nothing else is in the image. What comes out is the
//! same, byte for byte, wherever the same sources are built by the same toolchain.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use podcert_image::{podcert, write_together};

use crate::run::{cargo, say, target};

mod sbom;

/// What to make.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What it runs on; given again, one image for each of them [default: this machine's]
    #[arg(long = "arch", value_enum)]
    archs: Vec<Arch>,
    /// The image's name with its tag [default: ghcr.io/podcert/podcert with the version]
    #[arg(long)]
    name: Option<String>,
    /// A profile of cargo: `dist` is what is shipped, `dev` is what is built soonest
    #[arg(long, default_value = "dist")]
    profile: String,
}

/// What an image runs on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Arch {
    /// x86-64
    Amd64,
    /// AArch64
    Arm64,
}

impl Arch {
    pub(crate) fn host() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::Amd64
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Rust's name for it.
    fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The C compiler that makes code for it on another machine, as Debian names it.
    fn cross_compiler(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu-gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }
}

/// Makes the image and its SBOMs, and says how large it is.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut archs = args.archs.clone();
    if archs.is_empty() {
        archs.push(Arch::host());
    }
    // What is missing for one is told before another is built.
    for arch in &archs {
        check_toolchain(*arch)?;
    }
    let name = match &args.name {
        Some(name) => name.clone(),
        None => format!("ghcr.io/podcert/podcert:{}", env!("CARGO_PKG_VERSION")),
    };
    let folder = target()?.join("image");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let mut images = Vec::new();
    for arch in &archs {
        let program = static_program(*arch, &args.profile)?;
        let bytes = std::fs::read(&program)
            .with_context(|| format!("cannot read {}", program.display()))?;
        let image = podcert(&name).build(&bytes)?;
        let bill = sbom::of("podcert-cli", arch.target(), &name, image.digest())?;
        let bill_file = folder.join(format!("podcert-{}.cdx.json", arch.name()));
        std::fs::write(&bill_file, serde_json::to_string_pretty(&bill)? + "\n")
            .with_context(|| format!("cannot write {}", bill_file.display()))?;
        let (whole, packed) = (image.uncompressed(), image.compressed());
        say(&format!("{name} for {}, {}", arch.name(), image.digest()));
        say(&format!(
            "  {}, {} to download",
            megabytes(whole),
            megabytes(packed)
        ));
        say(&format!("  SBOM   {}", bill_file.display()));
        figure(&format!("image_megabytes_{}", arch.name()), whole);
        figure(&format!("image_download_megabytes_{}", arch.name()), packed);
        images.push(image);
    }
    let names: Vec<_> = archs.iter().map(|arch| arch.name()).collect();
    let file = folder.join(format!("podcert-{}.tar", names.join("-")));
    match &*images {
        [alone] => alone.write(&file)?,
        several => {
            let digest = write_together(several, &file)?;
            say(&format!("{name} for {}, {digest}", names.join(" and ")));
        }
    }
    say(&format!("  image  {}", file.display()));
    Ok(())
}

/// Builds podcert as a program that needs nothing beside it.
pub(crate) fn static_program(arch: Arch, profile: &str) -> Result<PathBuf> {
    let triple = arch.target();
    let mut build = cargo(&[
        "build",
        "--locked",
        "--package",
        "podcert-cli",
        "--profile",
        profile,
        "--target",
        triple,
    ])
    .env("RUSTFLAGS", "-C target-feature=+crt-static");
    if arch != Arch::host() {
        let compiler = arch.cross_compiler();
        let (upper, lower) = (triple.to_uppercase(), triple.replace('-', "_"));
        build = build
            .env(
                &format!("CARGO_TARGET_{}_LINKER", upper.replace('-', "_")),
                compiler,
            )
            .env(&format!("CC_{lower}"), compiler);
    }
    if profile == "dev" {
        // What is built soonest is to be small too.
        build = build
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_PROFILE_DEV_STRIP", "symbols");
    }
    build.status_ok()?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let program = target()?.join(triple).join(folder).join("podcert");
    ensure!(program.exists(), "cargo built no {}", program.display());
    Ok(program)
}

/// What building for another machine needs is told before minutes of building.
fn check_toolchain(arch: Arch) -> Result<()> {
    if arch == Arch::host() {
        return Ok(());
    }
    let (triple, compiler) = (arch.target(), arch.cross_compiler());
    if Command::new(compiler).arg("--version").output().is_err() {
        bail!(
            "there is no {compiler}: `apt-get install gcc-{}`",
            match arch {
                Arch::Amd64 => "x86-64-linux-gnu",
                Arch::Arm64 => "aarch64-linux-gnu",
            }
        );
    }
    let sysroot = crate::run::Step::new("rustc", &["--print", "sysroot"]).output()?;
    let library = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(triple)
        .join("lib");
    if !library.exists() {
        bail!("Rust has no standard library for {triple} here: `rustup target add {triple}`");
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a size in three digits")]
#[allow(clippy::print_stdout, reason = "what programs read")]
fn figure(name: &str, bytes: u64) {
    println!("figure {name} {:.3} goal none", bytes as f64 / 1e6);
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
