//! Ports for a cluster: below those that the kernel gives to outgoing connections, so that a part
//! can be stopped and started again on its port, and locked against other clusters of this user
//! from before a part binds until the cluster is gone.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Result, bail};

use super::Network;
use super::process::Lock;

/// The ports of one cluster, its own until this is dropped.
#[derive(Debug)]
pub(crate) struct Ports {
    etcd: u16,
    etcd_peers: u16,
    apiserver: u16,
    _locks: Vec<Lock>,
}

impl Ports {
    /// Chooses free ones.
    pub(crate) fn reserve(locks: &Path) -> Result<Self> {
        let ephemeral = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let mut taken = Vec::new();
        let mut ports = Vec::new();
        for port in candidates(ephemeral.as_deref().unwrap_or_default()) {
            if ports.len() == 3 {
                break;
            }
            let Some(lock) = Lock::try_take(&locks.join(format!("port-{port}")))? else {
                continue;
            };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                taken.push(lock);
                ports.push(port);
            }
        }
        let [etcd, etcd_peers, apiserver] = *ports.as_slice() else {
            bail!("there are no three free ports between {FIRST} and {LAST}");
        };
        Ok(Self {
            etcd,
            etcd_peers,
            apiserver,
            _locks: taken,
        })
    }

    pub(crate) fn etcd(&self) -> u16 {
        self.etcd
    }

    pub(crate) fn apiserver(&self) -> u16 {
        self.apiserver
    }

    pub(crate) fn etcd_url(&self) -> String {
        format!("https://{}:{}", Ipv4Addr::LOCALHOST, self.etcd)
    }

    pub(crate) fn etcd_peers_url(&self) -> String {
        format!("https://{}:{}", Ipv4Addr::LOCALHOST, self.etcd_peers)
    }

    pub(crate) fn apiserver_url(&self, network: Network) -> String {
        match network.advertise {
            IpAddr::V4(address) => format!("https://{address}:{}", self.apiserver),
            IpAddr::V6(address) => format!("https://[{address}]:{}", self.apiserver),
        }
    }

    #[cfg(test)]
    pub(super) fn fixed(etcd: u16, etcd_peers: u16, apiserver: u16) -> Self {
        Self {
            etcd,
            etcd_peers,
            apiserver,
            _locks: Vec::new(),
        }
    }
}

/// Ports to try, those of outgoing connections (as the kernel's file says it) left out.
fn candidates(ephemeral: &str) -> impl Iterator<Item = u16> {
    let mut numbers = ephemeral.split_whitespace().map(str::parse);
    let outgoing: RangeInclusive<u16> = match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        _ => 32768..=60999,
    };
    let all_outgoing = (FIRST..=LAST).all(|port| outgoing.contains(&port));
    // A machine that gives away everything leaves no better choice.
    (FIRST..=LAST).filter(move |port| all_outgoing || !outgoing.contains(port))
}

const FIRST: u16 = 24_000;
const LAST: u16 = 31_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_outgoing_connections_are_left_out() {
        assert_eq!(candidates("32768\t60999\n").next(), Some(24_000));
        assert_eq!(candidates("1024\t30000\n").next(), Some(30_001));
        assert_eq!(candidates("1024\t65535\n").next(), Some(24_000));
        assert_eq!(candidates("").count(), 8_000);
    }

    #[test]
    fn two_clusters_share_no_port() {
        let locks = tempfile::tempdir().unwrap();
        let one = Ports::reserve(locks.path()).unwrap();
        let two = Ports::reserve(locks.path()).unwrap();
        let mut all = [
            one.etcd,
            one.etcd_peers,
            one.apiserver,
            two.etcd,
            two.etcd_peers,
            two.apiserver,
        ];
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");

        drop(one);
        let three = Ports::reserve(locks.path()).unwrap();
        assert_ne!(three.etcd, two.etcd);
    }

    #[test]
    fn a_port_that_someone_listens_on_is_not_chosen() {
        let locks = tempfile::tempdir().unwrap();
        let free = Ports::reserve(locks.path()).unwrap().apiserver;
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free)).unwrap();
        let ports = Ports::reserve(locks.path()).unwrap();
        assert!(![ports.etcd, ports.etcd_peers, ports.apiserver].contains(&free));
    }
}
