//! The last step: into the pod's root, out of every capability, and into the program.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use nix::sched::{CloneFlags, unshare};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, clear_ambient_capability_set,
    move_into_link_name_space, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

use super::{Error, Play, Run, Step, root};

/// Becomes the container's program, in a fresh root.
pub(super) fn play(run: &Run) -> Result<ExitCode, Error> {
    unshare(CloneFlags::CLONE_NEWNS).step(|| "make a mount namespace")?;
    match &run.play {
        Play::Nothing => {
            root::enter(run, None)?;
            give_up_privileges()?;
            Ok(ExitCode::SUCCESS)
        }
        Play::Program { program, argv } => {
            root::enter(run, Some(program))?;
            give_up_privileges()?;
            let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
            become_command(run, program, &argv)
        }
    }
}

/// Becomes another command in the root of a program that runs. The first word is the number of its process.
pub(super) fn exec(run: &Run, argv: &[OsString]) -> Result<ExitCode, Error> {
    let Play::Program { program, .. } = &run.play else {
        return Ok(ExitCode::FAILURE);
    };
    let Some((pid, argv)) = argv.split_first() else {
        return Ok(ExitCode::FAILURE);
    };
    let process = Path::new("/proc").join(pid);
    // Until then it is one of ours that still builds its root.
    let ours = fs::read_link("/proc/self/ns/mnt").step(|| "look at the mount namespace")?;
    let theirs = process.join("ns/mnt");
    let step = || "enter the container";
    if fs::read_link(&theirs).step(step)? == ours || has_machine(&process).step(step)? {
        return Err(io::Error::from(io::ErrorKind::NotFound)).step(step);
    }
    let theirs = File::open(theirs).step(step)?;
    move_into_link_name_space(theirs.as_fd(), Some(LinkNameSpaceType::Mount)).step(step)?;
    give_up_privileges()?;
    become_command(run, program, argv)
}

/// Whether the process still has privileges, which the last step before the program takes from it.
fn has_machine(process: &Path) -> io::Result<bool> {
    let status = fs::read_to_string(process.join("status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NoNewPrivs:"));
    Ok(line.map(str::trim) != Some("1"))
}

/// Gives up what a fresh user namespace gives, for this process and all that come after it.
fn give_up_privileges() -> Result<(), Error> {
    let step = || "give up privileges";
    clear_ambient_capability_set().step(step)?;
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not know.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error).step(step),
        }
    }
    let nothing = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, nothing).step(step)?;
    set_no_new_privs(true).step(step)
}

/// Becomes `argv`; answers only when that fails.
fn become_command(run: &Run, program: &Path, argv: &[OsString]) -> Result<ExitCode, Error> {
    let Some((name, arguments)) = argv.split_first() else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).step(|| "run no command");
    };
    let path = find(
        name,
        program,
        run.environment.get("PATH").map(String::as_str),
    );
    let error = Command::new(path)
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(&run.environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .exec();
    Err(error).step(|| format!("run {}", name.display()))
}

/// The file that a command's first word means: the image's program if it has that file name, else what the pod finds at
/// that path or along its `PATH`.
fn find(name: &OsStr, program: &Path, path: Option<&str>) -> PathBuf {
    let word = Path::new(name);
    if word.file_name() == program.file_name() {
        return program.to_owned();
    }
    if word.components().count() > 1 || word.is_absolute() {
        return word.to_owned();
    }
    let folders = std::env::split_paths(path.unwrap_or_default());
    let found = folders
        .map(|folder| folder.join(word))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_program_goes_before_what_the_pod_has() {
        let program = Path::new("/opt/tools/sh");
        let find = |name: &str| find(OsStr::new(name), program, Some("/nowhere:/bin:/usr/bin"));
        assert_eq!(find("sh"), program);
        assert_eq!(find("/bin/sh"), program);
        assert_eq!(find("/bin/cat"), Path::new("/bin/cat"));
        assert!(find("cat").is_absolute());
        assert_eq!(find("no-such-thing"), Path::new("no-such-thing"));
    }
}
