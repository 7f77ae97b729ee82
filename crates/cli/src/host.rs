//! Where a command's paths, listening addresses and host names lead.
//!
//! On the [real](Host::Real) host they are what they say. In a sandbox pod they are
//! [mapped](Host::Mapped): the command line was written for a container, so a path below one of
//! the pod's mounts leads into the folder the sandbox's kubelet keeps for it, listening on a port
//! makes a UNIX socket in the pod's private folder (no privileges, no clash between replicas,
//! nothing open to other local users), and a Service's DNS name leads to the sockets of its ready
//! pods. Commands that may run in a pod reach files and network through here alone.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail};
use podcert_sandbox::pod_map::PodMap;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

/// Where a command runs.
#[derive(Debug)]
pub(crate) enum Host {
    /// On the machine as it is, or in a real container.
    Real,
    /// In a pod that the sandbox plays.
    Mapped(MappedPod),
}

/// The pod that a process plays, and whose turn it is among a Service's pods.
#[derive(Debug)]
pub(crate) struct MappedPod {
    map: PodMap,
    turn: AtomicUsize,
}

/// A connection of either kind of host.
pub(crate) type Stream = Either<TcpStream, UnixStream>;

/// A listening socket of either kind of host. The file of a UNIX socket goes with it.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        file: SocketFile,
    },
}

impl Host {
    /// The host of a process that plays the pod of `map`.
    pub(crate) fn mapped(map: PodMap) -> Self {
        // The replicas of a client begin with different pods of a Service: their UIDs differ.
        let turn = map.pod.uid.bytes().map(usize::from).sum();
        Self::Mapped(MappedPod {
            map,
            turn: AtomicUsize::new(turn),
        })
    }

    /// Where the file that the command line calls `path` is.
    ///
    /// In a pod, what lies in no mount stays as it is.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        match self {
            Self::Real => path.to_owned(),
            Self::Mapped(pod) => pod.map.host_path(path).unwrap_or_else(|| path.to_owned()),
        }
    }

    /// As [`Host::path`], for a flag whose empty value means that there is no file.
    pub(crate) fn optional_path(&self, flag: &str) -> Option<PathBuf> {
        (!flag.is_empty()).then(|| self.path(Path::new(flag)))
    }

    /// Listens on `<address>:<port>` as Go understands it: without address on all of them, and
    /// empty for port 443.
    ///
    /// # Errors
    /// When the address cannot be understood or not be listened on.
    pub(crate) async fn listen(&self, address: &str) -> Result<Listener> {
        let (host, port) = parse_address(address)?;
        match self {
            Self::Real => {
                let bound = match host {
                    // All addresses: both families where the machine has both.
                    "" => match TcpListener::bind(("::", port)).await {
                        Ok(listener) => Ok(listener),
                        Err(_no_ipv6) => TcpListener::bind(("0.0.0.0", port)).await,
                    },
                    host => TcpListener::bind((host, port)).await,
                };
                let listener = bound.with_context(|| format!("cannot listen on {address:?}"))?;
                Ok(Listener::Tcp(listener))
            }
            Self::Mapped(pod) => {
                let socket = pod.map.socket(port);
                let name = || format!("cannot listen on port {port} at {}", socket.display());
                let (listener, file) = listen_unix(&pod.map.listen_dir, &socket, port)
                    .await
                    .with_context(name)?;
                Ok(Listener::Unix { listener, file })
            }
        }
    }

    /// Connects to `port` of `host`, a DNS name or an IP address.
    ///
    /// # Errors
    /// When the name does not resolve or nobody answers; in a pod also for every name that is no
    /// Service of the sandbox, since nothing else is reachable from there.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<Stream> {
        match self {
            Self::Real => {
                let stream = TcpStream::connect((host, port))
                    .await
                    .with_context(|| format!("cannot connect to {host}:{port}"))?;
                // A handshake is many small writes; if it is slower then, it still works.
                let _ = stream.set_nodelay(true);
                Ok(Either::Left(stream))
            }
            Self::Mapped(pod) => pod.connect(host, port).await.map(Either::Right),
        }
    }
}

impl MappedPod {
    async fn connect(&self, host: &str, port: u16) -> Result<UnixStream> {
        let sockets = if matches!(host, "localhost" | "127.0.0.1" | "::1") {
            vec![self.map.socket(port)]
        } else {
            let services = self.map.services()?;
            // The first entry of a pod's DNS search path is its own namespace.
            let near = format!("{host}.{}", self.map.pod.namespace);
            let near = (!host.contains('.')).then_some(near.as_str());
            match services.resolve(near.unwrap_or(host), port) {
                Some(sockets) => sockets.to_vec(),
                None => bail!("no Service of the sandbox is called {host} with port {port}"),
            }
        };
        if sockets.is_empty() {
            bail!("connection to {host}:{port} refused: no pod of the Service is ready");
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % sockets.len();
        let (before, from) = sockets.split_at(first);
        let mut failure = None;
        // Cancel safe: a connection that nobody waits for any more is closed.
        for socket in from.iter().chain(before) {
            match UnixStream::connect(socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Some((socket, error)),
            }
        }
        match failure {
            Some((socket, error)) => Err(error).with_context(|| {
                let count = sockets.len();
                format!(
                    "none of {count} pods at {host}:{port} answers, last {}",
                    socket.display()
                )
            }),
            None => bail!("connection to {host}:{port} refused"),
        }
    }
}

impl Listener {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// The system's; most pass (a client that went away, no file descriptor left).
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _peer) = listener.accept().await?;
                // As in `connect`.
                let _ = stream.set_nodelay(true);
                Ok(Either::Left(stream))
            }
            Self::Unix { listener, .. } => Ok(Either::Right(listener.accept().await?.0)),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_gone) => f.write_str("a closed socket"),
            },
            Self::Unix { file, .. } => file.0.display().fmt(f),
        }
    }
}

/// The file of a listening UNIX socket; removed when dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone with its whole folder.
        let _ = fs::remove_file(&self.0);
    }
}

/// Listens on `socket`, which appears only once connections are accepted. What a process that was
/// killed left there is replaced; a process that still listens there is not.
async fn listen_unix(
    folder: &Path,
    socket: &Path,
    port: u16,
) -> io::Result<(UnixListener, SocketFile)> {
    if UnixStream::connect(socket).await.is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let unfinished = SocketFile(folder.join(format!("{port}.new")));
    if let Err(error) = fs::remove_file(&unfinished.0)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(&unfinished.0)?;
    fs::set_permissions(&unfinished.0, Permissions::from_mode(0o600))?;
    fs::rename(&unfinished.0, socket)?;
    Ok((listener, SocketFile(socket.to_owned())))
}

/// Host and port of an address to listen on.
fn parse_address(address: &str) -> Result<(&str, u16)> {
    if address.is_empty() {
        return Ok(("", 443));
    }
    let parts = address.rsplit_once(':').and_then(|(host, port)| {
        let port = match port {
            "https" => 443,
            "http" => 80,
            number => number.parse().ok()?,
        };
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        Some((host, port))
    });
    parts.with_context(|| {
        format!("cannot listen on {address:?}: expected <address>:<port>, such as 0.0.0.0:443")
    })
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
