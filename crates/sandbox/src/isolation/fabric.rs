//! The network between pods: TCP in a pod's namespaces, UNIX sockets between them.
//!
//! Outwards, process 1 listens on every address and port that [`Services`] lists and hands each connection to one of the
//! sockets behind it. Inwards, for each port on which the pod's processes listen it has the socket that stands for that
//! port, and hands each connection on to the pod's address. Both follow what changes; a port that nobody serves has no
//! listener, so that a connection to it is refused by the kernel, as in a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::pod_map::{PodMap, Services};
use crate::sockets::is_served;

/// What the network follows.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// What names and addresses lead to.
    pub(super) services: Arc<Services>,
    /// The ports on which the pod's processes listen.
    pub(super) ports: BTreeSet<u16>,
}

/// Connects the pod with the others until dropped.
pub(super) async fn run(map: &PodMap, mut seen: watch::Receiver<Surroundings>) -> Infallible {
    let turn: usize = map.pod.uid.bytes().map(usize::from).sum();
    let turn = Arc::new(AtomicUsize::new(turn));
    let mut outwards = BTreeMap::new();
    let mut inwards = BTreeMap::new();
    loop {
        let now = seen.borrow_and_update().clone();
        let wanted = destinations(&now.services, map.address);
        outwards.retain(|destination, _: &mut AbortOnDropHandle<()>| wanted.contains(destination));
        for destination in wanted {
            outwards.entry(destination).or_insert_with(|| {
                let served = serve_outwards(destination, seen.clone(), turn.clone());
                AbortOnDropHandle::new(tokio::spawn(served))
            });
        }
        inwards.retain(|port, _: &mut Inwards| now.ports.contains(port));
        for port in now.ports {
            inwards
                .entry(port)
                .or_insert_with(|| Inwards::start(map, port));
        }
        if seen.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Every address and port at which somebody answers, but the pod itself.
fn destinations(services: &Services, own: Ipv4Addr) -> BTreeSet<(Ipv4Addr, u16)> {
    let addresses = services
        .sockets
        .iter()
        .filter_map(|(host, ports)| Some((host.parse::<Ipv4Addr>().ok()?, ports)));
    addresses
        .filter(|(address, _)| *address != own)
        .flat_map(|(address, ports)| {
            let served = ports.iter().filter(|(_, sockets)| !sockets.is_empty());
            served.map(move |(port, _)| (address, *port))
        })
        .collect()
}

async fn serve_outwards(
    destination: (Ipv4Addr, u16),
    seen: watch::Receiver<Surroundings>,
    turn: Arc<AtomicUsize>,
) {
    let address = SocketAddr::from(destination);
    let mut complaint = Some(format!("let the pod reach {address}"));
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            // Too many open files, perhaps for now.
            Err(error) => complain(&mut complaint, &error),
        }
        sleep(RETRY).await;
    };
    let accept = async move || Ok(listener.accept().await?.0);
    receive(accept, |stream: TcpStream| {
        let services = seen.borrow().services.clone();
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        async move {
            let host = address.ip().to_string();
            let sockets = services.resolve(&host, address.port()).unwrap_or_default();
            match connect(sockets, turn).await {
                Some(there) => relay(stream, there).await,
                None => refuse(&stream),
            }
        }
    })
    .await;
}

/// Serves each connection that comes in a task of its own, for ever; all end when this is dropped.
async fn receive<S, T>(accept: impl AsyncFn() -> io::Result<S>, serve: impl Fn(S) -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            Some(_) = connections.join_next() => continue,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok(stream) => {
                connections.spawn(serve(stream));
            }
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// Connects to the first that answers, beginning with the one whose turn it is.
async fn connect(sockets: &[PathBuf], turn: usize) -> Option<UnixStream> {
    let first = turn.checked_rem(sockets.len())?;
    let (before, from) = sockets.split_at(first);
    for socket in from.iter().chain(before) {
        if let Ok(stream) = UnixStream::connect(socket).await {
            return Some(stream);
        }
    }
    None
}

/// A port of the pod as others see it: a socket in the pod's folder. The file goes when this is dropped, if it is ours:
/// another container of the pod may have had the port first.
#[derive(Debug)]
struct Inwards {
    file: PathBuf,
    bound: Arc<OnceLock<(u64, u64)>>,
    _served: AbortOnDropHandle<()>,
}

impl Inwards {
    fn start(map: &PodMap, port: u16) -> Self {
        let file = map.socket(port);
        let bound = Arc::default();
        let address = SocketAddr::from((map.address, port));
        let served = serve_inwards(file.clone(), Arc::clone(&bound), address);
        Self {
            file,
            bound,
            _served: AbortOnDropHandle::new(tokio::spawn(served)),
        }
    }
}

impl Drop for Inwards {
    fn drop(&mut self) {
        if self.bound.get().is_some() && self.bound.get().copied() == identity(&self.file) {
            // It may be gone with its whole folder.
            let _ = std::fs::remove_file(&self.file);
        }
    }
}

/// Which file it is.
fn identity(file: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::symlink_metadata(file).ok()?;
    Some((meta.dev(), meta.ino()))
}

async fn serve_inwards(file: PathBuf, bound: Arc<OnceLock<(u64, u64)>>, address: SocketAddr) {
    let mut complaint = Some(format!("receive connections to port {}", address.port()));
    let listener = loop {
        match bind(&file) {
            Ok(listener) => break listener,
            Err(error) => complain(&mut complaint, &error),
        }
        sleep(RETRY).await;
    };
    if let Some(identity) = identity(&file) {
        // Nobody else sets it.
        let _ = bound.set(identity);
    }
    let accept = async move || Ok(listener.accept().await?.0);
    receive(accept, |stream: UnixStream| async move {
        // Closing the stream says the same if the process has just stopped listening.
        if let Ok(there) = TcpStream::connect(address).await {
            relay(there, stream).await;
        }
    })
    .await;
}

/// Says once, in the container's log, what is tried again and again.
fn complain(what: &mut Option<String>, error: &io::Error) {
    if let Some(what) = what.take() {
        // Nobody is left to tell if it is closed.
        let _ = writeln!(io::stderr(), "podcert: cannot {what} yet: {error}");
    }
}

/// Listens on a UNIX socket of ours alone, which appears once it accepts connections. One at which somebody listens stays.
pub(super) fn bind(file: &Path) -> io::Result<UnixListener> {
    if is_served(file)? {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let unfinished = file.with_extension("new");
    if let Err(error) = std::fs::remove_file(&unfinished)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(&unfinished)?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&unfinished, file)?;
    Ok(listener)
}

/// Copies both ways; the end of one direction is passed on and does not end the other.
async fn relay(mut tcp: TcpStream, mut unix: UnixStream) {
    // What is not sent at once is only slower.
    let _ = tcp.set_nodelay(true);
    if copy_bidirectional(&mut tcp, &mut unix).await.is_err() {
        refuse(&tcp);
    }
}

/// Lets the connection end with a reset instead of an end of data.
fn refuse(stream: &TcpStream) {
    // It ends in any case.
    let _ = stream.set_zero_linger();
}

const RETRY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_is_its_first_listeners_until_that_ends() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("443.sock");
        let first = bind(&file).unwrap();
        let second = bind(&file).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let _third = bind(&file).unwrap();
        assert!(is_served(&file).unwrap());
    }
}
