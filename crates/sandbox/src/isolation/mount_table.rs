//! The mounts that this process sees, from `/proc/self/mountinfo`: proc(5).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

/// Where something is mounted, and with which flags; what covers another comes after it.
pub(super) fn read() -> io::Result<Vec<(PathBuf, MountFlags)>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().filter_map(mount_of).collect())
}

/// The flags of what is mounted there, which its file system may insist on.
pub(super) fn flags(target: &Path) -> io::Result<MountFlags> {
    let mounts = read()?;
    let found = mounts.into_iter().rev().find(|(at, _)| at == target);
    Ok(found.map_or(MountFlags::empty(), |(_, flags)| flags))
}

/// Where a mount is and which of its flags must stay, from a line of `/proc/self/mountinfo`: proc(5).
fn mount_of(line: &str) -> Option<(PathBuf, MountFlags)> {
    let mut fields = line.split(' ').skip(4);
    let (target, options) = (fields.next()?, fields.next()?);
    let flags = options.split(',').map(|option| match option {
        "ro" => MountFlags::RDONLY,
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        "nosymfollow" => MountFlags::NOSYMFOLLOW,
        _ => MountFlags::empty(),
    });
    let flags = flags.fold(MountFlags::empty(), |all, flag| all | flag);
    Some((unescaped(target), flags))
}

/// Blanks and the like are in three octal digits after a backslash.
fn unescaped(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| *first == b'\\');
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|number| u8::from_str_radix(number, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_flags() {
        let line = r"36 35 98:0 /mnt1 /mnt\040two rw,nosuid,noatime master:1 - ext3 /dev/root rw";
        let (target, flags) = mount_of(line).unwrap();
        assert_eq!(target, Path::new("/mnt two"));
        assert_eq!(flags, MountFlags::NOSUID | MountFlags::NOATIME);
        assert_eq!(mount_of("36 35"), None);
    }
}
