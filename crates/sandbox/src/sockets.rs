//! UNIX sockets that stand for ports: whether somebody still listens at one.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect};

/// Whether somebody listens there, asked without ever waiting: one who does not get round to accepting connections is
/// alive as well.
pub(crate) fn is_served(path: &Path) -> io::Result<bool> {
    match connect(unwaiting()?, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A socket on which nothing waits, and that no child gets.
#[cfg(target_os = "linux")]
fn unwaiting() -> rustix::io::Result<OwnedFd> {
    use rustix::net::{SocketFlags, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// The same in steps, where there are no such flags.
#[cfg(not(target_os = "linux"))]
fn unwaiting() -> rustix::io::Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

// Elsewhere a full queue looks like nobody.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn who_listens_is_there_however_busy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("443.sock");
        assert!(!is_served(&path).unwrap());
        let listener = UnixListener::bind(&path).unwrap();
        assert!(is_served(&path).unwrap());
        // Nobody accepts: connections queue up until there is no room, where a blocking connect would wait for ever.
        rustix::net::listen(&listener, 0).unwrap();
        let mut queued = Vec::new();
        for _ in 0..8 {
            assert!(is_served(&path).unwrap());
            let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None);
            let socket = UnixStream::from(socket.unwrap());
            socket.set_nonblocking(true).unwrap();
            let _ = connect(&socket, &SocketAddrUnix::new(&path).unwrap());
            queued.push(socket);
        }
        drop(listener);
        assert!(!is_served(&path).unwrap());
    }
}
