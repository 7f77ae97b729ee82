//! A pod's view of paths: the machine's own, read-only, with the pod's volumes in their places.
//!
//! The root is a small file system in memory in which each top-level folder of the machine appears, with everything
//! mounted below it, read-only. Private to the pod, empty at first and writable are `/tmp`, `/var/tmp`, `/run` and
//! `/dev/shm`; `/dev` has the few devices of a container; `/proc` shows the pod's processes. A folder of the machine in
//! which something has to be that is not there, such as `/etc` with the pod's own `hosts`, is replaced by a *mirror*: a
//! folder in memory with every entry of the original in its place. The sandbox's own folder is covered.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Component, Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, mount_move, mount_remount, unmount,
};
use rustix::process::pivot_root;

use super::{Error, Run, Step, mount_table, names};

/// A root that is being built, below [`Root::new`] in the machine's view.
#[derive(Debug)]
struct Root {
    new: PathBuf,
    /// The devices of the file systems in memory that are the pod's own.
    own: BTreeSet<u64>,
}

/// Where a path leads in the new root, with symlinks followed there.
#[derive(Debug, Eq, PartialEq)]
struct Place {
    /// What there is of it.
    there: PathBuf,
    /// What is missing, from the first missing name on.
    missing: PathBuf,
}

/// Builds the root for the run and enters it for good. `program` is made visible if it is hidden.
pub(super) fn enter(run: &Run, program: Option<&Path>) -> Result<(), Error> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).step(|| "keep mounts to this pod")?;
    let new = run.folder.join("root");
    make_folder(&new).step(|| format!("make {}", new.display()))?;
    let mut root = Root {
        new,
        own: BTreeSet::new(),
    };
    root.add_memory("", "mode=755")?;
    root.add_machine()?;
    root.add_private()?;
    root.hide_sandbox(run)?;
    root.prepare_places(run)?;
    root.add_devices()?;
    root.add_proc()?;
    root.add_names(run)?;
    root.add_volumes(run)?;
    if let Some(program) = program {
        root.show(program)?;
    }
    root.pivot()
}

/// The folder that has to be covered so that nobody sees the sandbox's: where it lies among those of other sandboxes and
/// their kubeconfigs, all of them.
fn covering(state: &Path) -> &Path {
    state
        .parent()
        .filter(|parent| crate::instance::is_folder_of_instances(parent))
        .unwrap_or(state)
}

impl Root {
    /// The place in the machine's view of what the pod calls `path`.
    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.new.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Mounts a file system in memory.
    fn add_memory(&mut self, path: &str, options: &str) -> Result<(), Error> {
        let target = self.at(path);
        let step = || format!("mount memory at /{path}");
        let options = std::ffi::CString::new(options).map_err(io::Error::from);
        let options = options.step(step)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", &target, "tmpfs", flags, options.as_c_str()).step(step)?;
        let device = fs::metadata(&target).step(step)?.dev();
        self.own.insert(device);
        Ok(())
    }

    /// The top-level folders of the machine.
    fn add_machine(&self) -> Result<(), Error> {
        for entry in fs::read_dir("/").step(|| "list /")?.flatten() {
            let path = entry.path();
            let step = || format!("show {}", path.display());
            let kind = entry.file_type().step(step)?;
            if kind.is_symlink() {
                let target = fs::read_link(&path).step(step)?;
                symlink(target, self.at(&path)).step(step)?;
            } else if kind.is_dir() {
                make_folder(&self.at(&path)).step(step)?;
                if !NOT_SHOWN.iter().any(|name| path == Path::new(name)) {
                    mount_bind_recursive(&path, self.at(&path)).step(step)?;
                }
            }
        }
        for name in NOT_SHOWN {
            make_folder(&self.at(name)).step(|| format!("make {name}"))?;
        }
        self.make_read_only()
    }

    /// Makes mounts of the new root read-only, with the flags they have.
    fn make_read_only(&self) -> Result<(), Error> {
        for (target, flags) in mount_table::read().step(|| "list mounts")? {
            if target != self.new && target.starts_with(&self.new) {
                let flags = flags | MountFlags::BIND | MountFlags::RDONLY;
                match mount_remount(&target, flags, "") {
                    // Covered by another mount, so that nobody sees it.
                    Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {}
                    Err(error) => {
                        let path = target.strip_prefix(&self.new).unwrap_or(&target);
                        return Err(error).step(|| format!("make /{} read-only", path.display()));
                    }
                }
            }
        }
        Ok(())
    }

    fn add_private(&mut self) -> Result<(), Error> {
        self.add_memory("tmp", "mode=1777")?;
        self.add_memory("run", "mode=755")?;
        let lock = self.at("run/lock");
        make_folder(&lock).step(|| "make /run/lock")?;
        // Where it is a symlink to /tmp, that is private already.
        if fs::symlink_metadata(self.at("var/tmp")).is_ok_and(|meta| meta.is_dir()) {
            self.add_memory("var/tmp", "mode=1777")?;
        }
        Ok(())
    }

    /// Nothing of the sandbox is a pod's business but what is mounted for it.
    fn hide_sandbox(&mut self, run: &Run) -> Result<(), Error> {
        let Some(state) = run.map.services_file.parent() else {
            return Ok(());
        };
        let state = fs::canonicalize(state).step(|| "find the sandbox's folder")?;
        let secret = covering(&state);
        if self.at(secret).exists() {
            let path = secret.to_string_lossy();
            self.add_memory(path.trim_start_matches('/'), "mode=555,size=4k")?;
        }
        Ok(())
    }

    /// Makes every folder in which something will be mounted.
    fn prepare_places(&mut self, run: &Run) -> Result<(), Error> {
        let mounts = run
            .map
            .mounts
            .iter()
            .map(|mount| mount.mount_path.as_path());
        let paths: Vec<&Path> = mounts.chain([Path::new(NAMES)]).collect();
        let mut mirrors = BTreeSet::new();
        for path in &paths {
            let place = self
                .resolve(path)
                .step(|| format!("look at {}", path.display()))?;
            if place.missing != Path::new("") && !self.is_own(&place.there) {
                mirrors.insert(place.there);
            }
        }
        // A folder sorts before what is below it, and must be mirrored before that.
        mirrors.insert(PathBuf::from("/etc"));
        for folder in mirrors {
            let step = || {
                let folder = folder.display();
                format!("mirror {folder}, in which something new has to be")
            };
            self.mirror(&folder).step(step)?;
        }
        for path in paths {
            self.make(path)?;
        }
        Ok(())
    }

    /// Makes the folder that the pod calls `path`, where all its parents that are there are the pod's own.
    fn make(&self, path: &Path) -> Result<PathBuf, Error> {
        let step = || format!("make {}", path.display());
        let place = self.resolve(path).step(step)?;
        let mut made = place.there;
        for name in place.missing.components() {
            made.push(name);
            make_folder(&self.at(&made)).step(step)?;
        }
        Ok(made)
    }

    /// Replaces `folder` by one in memory with the same entries.
    fn mirror(&mut self, folder: &Path) -> io::Result<()> {
        let (original, aside) = (self.at(folder), self.at(ASIDE));
        make_folder(&aside)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", &aside, "tmpfs", flags, Some(c"mode=755"))?;
        self.own.insert(fs::metadata(&aside)?.dev());
        for entry in fs::read_dir(&original)? {
            let (entry, copy) = {
                let entry = entry?;
                let copy = aside.join(entry.file_name());
                (entry, copy)
            };
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                symlink(fs::read_link(entry.path())?, copy)?;
            } else if kind.is_dir() {
                make_folder(&copy)?;
                mount_bind_recursive(entry.path(), copy)?;
            } else if kind.is_file() {
                fs::File::create(&copy)?;
                mount_bind(entry.path(), copy)?;
            }
        }
        mount_move(&aside, &original)?;
        fs::remove_dir(&aside)
    }

    fn add_devices(&mut self) -> Result<(), Error> {
        self.add_memory("dev", "mode=755")?;
        for device in ["null", "zero", "full", "random", "urandom", "tty"] {
            let source = Path::new("/dev").join(device);
            let step = || format!("show {}", source.display());
            fs::File::create(self.at(&source)).step(step)?;
            mount_bind(&source, self.at(&source)).step(step)?;
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            symlink(target, self.at("dev").join(name)).step(|| format!("make /dev/{name}"))?;
        }
        make_folder(&self.at("dev/shm")).step(|| "make /dev/shm")?;
        self.add_memory("dev/shm", "mode=1777")
    }

    /// The pod's processes; what steers the machine there is read-only.
    fn add_proc(&self) -> Result<(), Error> {
        let proc = self.at("proc");
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("proc", &proc, "proc", flags, None).step(|| "mount /proc")?;
        for name in ["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi"] {
            let path = proc.join(name);
            if path.exists() {
                let step = || format!("make /proc/{name} read-only");
                mount_bind(&path, &path).step(step)?;
                let flags = flags | MountFlags::BIND | MountFlags::RDONLY;
                mount_remount(&path, flags, "").step(step)?;
            }
        }
        Ok(())
    }

    /// The pod's own files in `/etc`, as symlinks into a folder: a mounted file would not follow its replacement.
    fn add_names(&self, run: &Run) -> Result<(), Error> {
        mount_bind(names::folder(run), self.at(NAMES)).step(|| "show the pod's files in /etc")?;
        let flags = MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOEXEC
            | MountFlags::BIND
            | MountFlags::RDONLY;
        mount_remount(self.at(NAMES), flags, "").step(|| "protect the pod's files in /etc")?;
        for name in ["hosts", "resolv.conf", "hostname"] {
            let path = self.at("etc").join(name);
            let step = || format!("replace /etc/{name}");
            // The machine's, as the mirror shows it, a mount or a symlink.
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
                unmount(&path, UnmountFlags::DETACH).step(step)?;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).step(step);
                }
                _ => symlink(Path::new(NAMES).join(name), path).step(step)?,
            }
        }
        Ok(())
    }

    fn add_volumes(&self, run: &Run) -> Result<(), Error> {
        let mut mounts: Vec<_> = run.map.mounts.iter().collect();
        mounts.sort_by_key(|mount| mount.mount_path.components().count());
        for mount in mounts {
            let path = &mount.mount_path;
            let step = || format!("mount a volume at {}", path.display());
            let target = self.at(self.make(path)?);
            let kind = fs::metadata(&target).step(step)?;
            if !kind.is_dir() {
                return Err(io::Error::from(io::ErrorKind::NotADirectory)).step(step);
            }
            mount_bind(&mount.host_path, &target).step(step)?;
            let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::BIND;
            if mount.read_only {
                flags |= MountFlags::RDONLY;
            }
            flags |= mount_table::flags(&target).step(step)?;
            mount_remount(&target, flags, "").step(step)?;
        }
        Ok(())
    }

    /// Makes the program visible where the machine has it, if it lies in a folder that is private here.
    fn show(&self, program: &Path) -> Result<(), Error> {
        let step = || format!("show {}", program.display());
        let real = fs::canonicalize(program).step(step)?;
        for path in [real.as_path(), program] {
            let place = self.resolve(path).step(step)?;
            if place.missing == Path::new("") {
                continue;
            }
            let Some(folder) = path.parent() else {
                continue;
            };
            let folder = self.make(folder)?;
            let target = self.at(folder.join(path.file_name().unwrap_or_default()));
            fs::File::create(&target).step(step)?;
            mount_bind(&real, &target).step(step)?;
            let flags = MountFlags::NOSUID | MountFlags::BIND | MountFlags::RDONLY;
            let kept = mount_table::flags(&target).step(step)?;
            mount_remount(&target, flags | kept, "").step(step)?;
        }
        Ok(())
    }

    /// Makes it the root of this process, and forgets the machine's.
    fn pivot(&self) -> Result<(), Error> {
        let step = || "enter the pod's root";
        std::env::set_current_dir(&self.new).step(step)?;
        // The old root is put over the new one, and taken away from there: pivot_root(2).
        pivot_root(".", ".").step(step)?;
        unmount(".", UnmountFlags::DETACH).step(|| "leave the machine's root")?;
        std::env::set_current_dir("/").step(step)
    }

    fn is_own(&self, path: &Path) -> bool {
        let device = fs::metadata(self.at(path)).map(|meta| meta.dev());
        device.is_ok_and(|device| self.own.contains(&device))
    }

    /// Follows `path` as a process in the new root would.
    fn resolve(&self, path: &Path) -> io::Result<Place> {
        let mut rest: Vec<PathBuf> = parts(path);
        let mut there = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == Path::new("..") {
                there.pop();
                continue;
            }
            let next = there.join(&part);
            match fs::symlink_metadata(self.at(&next)) {
                Ok(meta) if meta.is_symlink() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(rustix::io::Errno::LOOP.into());
                    }
                    let target = fs::read_link(self.at(&next))?;
                    if target.is_absolute() {
                        there = PathBuf::from("/");
                    }
                    rest.extend(parts(&target));
                }
                Ok(_) => there = next,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    rest.push(part);
                    let missing = rest.iter().rev().collect();
                    return Ok(Place { there, missing });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Place {
            there,
            missing: PathBuf::new(),
        })
    }
}

/// The names in a path, last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(_) | Component::ParentDir => Some(PathBuf::from(component.as_os_str())),
        Component::CurDir | Component::Prefix(_) | Component::RootDir => None,
    });
    let mut parts: Vec<PathBuf> = names.collect();
    parts.reverse();
    parts
}

/// A folder that is there afterwards, readable for all in the pod.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Where a mirror is prepared.
const ASIDE: &str = "/.mirror";
const MAX_LINKS: u32 = 40;
/// The pod's folder with its own files of `/etc`.
const NAMES: &str = "/etc/.pod";
/// Top-level folders of which the pod has its own.
const NOT_SHOWN: [&str; 4] = ["/dev", "/proc", "/run", "/tmp"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_followed_inside_the_new_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root {
            new: folder.path().to_owned(),
            own: BTreeSet::new(),
        };
        fs::create_dir_all(folder.path().join("run/deep")).unwrap();
        fs::create_dir_all(folder.path().join("var")).unwrap();
        symlink("/run", folder.path().join("var/run")).unwrap();
        symlink("loop", folder.path().join("loop")).unwrap();
        let place = |path: &str| root.resolve(Path::new(path)).unwrap();
        let expected = |there: &str, missing: &str| Place {
            there: there.into(),
            missing: missing.into(),
        };
        assert_eq!(place("/var/run/deep"), expected("/run/deep", ""));
        assert_eq!(place("/var/run/a/b"), expected("/run", "a/b"));
        assert_eq!(place("/../var/../run"), expected("/run", ""));
        assert!(root.resolve(Path::new("/loop")).is_err());
    }
}
